//! Patches of SCIM (RFC 7644, section 3.5.2), also in the forms in which clients really send them: operations with a capital
//! letter, truths as text, several attributes in one value, and values to remove beside the path.
//!
//! Invariant: a resource that was read with its schema is one after a patch, too.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::{
    attributes::{Attribute, Kind, Mutability, Path, Schema},
    filter::{Filter, Target, parse_path},
    invalid_value,
};
use crate::problem::Problem;

/// Operations of one patch.
pub const OPERATIONS_MAX: usize = 1_000;
const VALUE: &str = "value";
const PRIMARY: &str = "primary";
/// What is never taken, and where clients that send it are not told off.
const IGNORED: [&str; 2] = ["password", "schemas"];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Replace,
    Remove,
}

/// Changes a resource as a body says.
///
/// # Errors
/// 400, with the operation, when it is no patch, or one that does not fit.
pub fn apply(
    schema: &'static Schema,
    resource: &mut Map<String, Json>,
    body: &Map<String, Json>,
) -> Result<(), Problem> {
    let member = |map: &Map<String, Json>, name: &str| {
        map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let Some(Json::Array(operations)) = member(body, "Operations") else {
        return Err(syntax("a patch has `Operations`, a list"));
    };
    if operations.is_empty() || operations.len() > OPERATIONS_MAX {
        return Err(syntax(&format!("a patch has 1 to {OPERATIONS_MAX} operations")));
    }
    for (at, operation) in operations.iter().enumerate() {
        let Json::Object(operation) = operation else { return Err(syntax("an operation is an object")) };
        let verb = match member(operation, "op").as_ref().and_then(Json::as_str).map(str::to_ascii_lowercase).as_deref()
        {
            Some("add") => Verb::Add,
            Some("replace") => Verb::Replace,
            Some("remove") => Verb::Remove,
            _ => return Err(syntax("`op` is `add`, `replace` or `remove`")),
        };
        let path = match member(operation, "path") {
            None | Some(Json::Null) => None,
            Some(Json::String(path)) if path.is_empty() => None,
            Some(Json::String(path)) => Some(path),
            Some(_) => return Err(syntax("`path` is text")),
        };
        let value = member(operation, "value").unwrap_or_default();
        let done = match path {
            Some(path) => at_path(schema, resource, (verb, &path, &value)),
            None => everywhere(schema, resource, (verb, &value)),
        };
        done.map_err(|problem| problem.with_detail(|detail| format!("operation {}: {detail}", at + 1)))?;
    }
    Ok(())
}

fn syntax(detail: &str) -> Problem {
    Problem::bad_request("invalid_syntax", detail)
}

fn no_target(detail: &str) -> Problem {
    Problem::bad_request("no_target", detail)
}

/// Without a path: each member of the value is one.
fn everywhere(
    schema: &'static Schema,
    resource: &mut Map<String, Json>,
    (verb, value): (Verb, &Json),
) -> Result<(), Problem> {
    if verb == Verb::Remove {
        return Err(no_target("what is removed needs a `path`"));
    }
    let Json::Object(map) = value else {
        return Err(invalid_value("without a `path`, `value` is an object".to_owned()));
    };
    for (path, value) in map {
        // Whoever sends back all that it was given means no change by it.
        if let Some(target) = parse_path(schema, path)?
            && !matches!(&target, Target::Attribute(path, _) if path.attribute.mutability == Mutability::ReadOnly)
        {
            change(resource, &target, (verb, value))?;
        }
    }
    Ok(())
}

fn at_path(
    schema: &'static Schema,
    resource: &mut Map<String, Json>,
    (verb, path, value): (Verb, &str, &Json),
) -> Result<(), Problem> {
    let Some(target) = parse_path(schema, path)? else {
        if IGNORED.iter().any(|it| path.eq_ignore_ascii_case(it)) {
            return Ok(());
        }
        let path: String = path.chars().take(100).collect();
        return Err(Problem::bad_request("invalid_path", format!("`{path}` is no attribute that is known")));
    };
    if let Target::Attribute(path, _) = &target
        && path.attribute.mutability == Mutability::ReadOnly
    {
        let detail = format!("`{}` is set by this server", path.attribute.name);
        return Err(Problem::bad_request("not_mutable", detail));
    }
    change(resource, &target, (verb, value))
}

fn change(resource: &mut Map<String, Json>, target: &Target, what: (Verb, &Json)) -> Result<(), Problem> {
    match target {
        Target::Extension(extension) => change_extension(resource, extension, what),
        Target::Attribute(path, filter) => {
            let place = match path.extension {
                None => &mut *resource,
                Some(urn) => object(resource, urn),
            };
            let changed = match (path.attribute.many, filter) {
                (false, _) => change_one(place, path, what),
                (true, None) => change_all(place, path, what),
                (true, Some(filter)) => change_some(place, (path, filter), what),
            };
            // What is empty is unassigned.
            if let Some(urn) = path.extension
                && resource.get(urn).and_then(Json::as_object).is_some_and(Map::is_empty)
            {
                resource.remove(urn);
            }
            changed
        }
    }
}

/// The object of that name, made where there is none.
fn object<'a>(place: &'a mut Map<String, Json>, name: &str) -> &'a mut Map<String, Json> {
    let value = place.entry(name).or_insert_with(|| Json::Object(Map::new()));
    if !value.is_object() {
        *value = Json::Object(Map::new());
    }
    value.as_object_mut().expect("it is an object since a moment")
}

fn change_extension(
    resource: &mut Map<String, Json>,
    extension: &Schema,
    (verb, value): (Verb, &Json),
) -> Result<(), Problem> {
    if verb == Verb::Remove {
        resource.remove(extension.urn);
        return Ok(());
    }
    let Json::Object(map) = value else { return Err(invalid_value(format!("`{}` must be an object", extension.urn))) };
    let more = extension.read_own(map)?;
    if !more.is_empty() {
        object(resource, extension.urn).extend(more);
    }
    Ok(())
}

/// Sets or removes a part of an object.
fn set(place: &mut Map<String, Json>, attribute: &Attribute, value: Option<Json>) {
    match value {
        Some(value) => drop(place.insert(attribute.name.to_owned(), value)),
        None => drop(place.remove(attribute.name)),
    }
}

/// An attribute that has one value.
fn change_one(place: &mut Map<String, Json>, path: &Path, (verb, value): (Verb, &Json)) -> Result<(), Problem> {
    let attribute = path.attribute;
    let given = |of: &Attribute| if verb == Verb::Remove { Ok(None) } else { of.read(value) };
    match path.sub {
        Some(sub) => {
            let read = given(sub)?;
            let parts = object(place, attribute.name);
            set(parts, sub, read);
            if parts.is_empty() {
                place.remove(attribute.name);
            }
        }
        None => match given(attribute)? {
            // Parts that it does not name stay.
            Some(Json::Object(parts)) => object(place, attribute.name).extend(parts),
            read => set(place, attribute, read),
        },
    }
    Ok(())
}

fn list<'a>(place: &'a mut Map<String, Json>, attribute: &Attribute) -> &'a mut Vec<Json> {
    let value = place.entry(attribute.name).or_insert_with(|| Json::Array(Vec::new()));
    if !value.is_array() {
        *value = Json::Array(Vec::new());
    }
    value.as_array_mut().expect("it is a list since a moment")
}

/// An attribute that may have several values, all of them.
fn change_all(place: &mut Map<String, Json>, path: &Path, (verb, value): (Verb, &Json)) -> Result<(), Problem> {
    let attribute = path.attribute;
    if let Some(sub) = path.sub {
        let read = if verb == Verb::Remove { None } else { sub.read(value)? };
        let items = list(place, attribute);
        if items.is_empty() && read.is_some() {
            items.push(Json::Object(Map::new()));
        }
        items.iter_mut().filter_map(Json::as_object_mut).for_each(|item| set(item, sub, read.clone()));
        return tidy(place, attribute);
    }
    let read = match attribute.read(value)? {
        Some(Json::Array(items)) => items,
        _ => Vec::new(),
    };
    match verb {
        Verb::Replace => *list(place, attribute) = read,
        Verb::Add => add(list(place, attribute), read),
        Verb::Remove if value.is_null() => list(place, attribute).clear(),
        Verb::Remove => {
            let gone: HashSet<String> = read.iter().filter_map(known_by).collect();
            list(place, attribute).retain(|item| known_by(item).is_none_or(|it| !gone.contains(&it)));
        }
    }
    tidy(place, attribute)
}

/// By what one of several values is the same as another one.
fn known_by(item: &Json) -> Option<String> {
    item.get(VALUE).and_then(Json::as_str).map(str::to_lowercase)
}

/// Adds values; one that is there already gets the parts that are new.
fn add(items: &mut Vec<Json>, more: Vec<Json>) {
    let mut places: std::collections::HashMap<String, usize> =
        items.iter().enumerate().filter_map(|(at, item)| known_by(item).map(|it| (it, at))).collect();
    for item in more {
        let place = known_by(&item).and_then(|it| places.get(&it).copied());
        if item.get(PRIMARY) == Some(&Json::Bool(true)) {
            only_primary(items);
        }
        match (place.and_then(|at| items.get_mut(at)), item) {
            (Some(Json::Object(there)), Json::Object(parts)) => there.extend(parts),
            (_, item) => {
                places.extend(known_by(&item).map(|it| (it, items.len())));
                items.push(item);
            }
        }
    }
}

/// Of several values one is the first to use: not these any more.
fn only_primary(items: &mut [Json]) {
    for item in items.iter_mut().filter_map(Json::as_object_mut).filter(|it| it.contains_key(PRIMARY)) {
        item.insert(PRIMARY.to_owned(), Json::Bool(false));
    }
}

/// Those values for which a filter holds; where none is, one is made as the filter describes it.
fn change_some(
    place: &mut Map<String, Json>,
    (path, filter): (&Path, &Filter),
    (verb, value): (Verb, &Json),
) -> Result<(), Problem> {
    let attribute = path.attribute;
    let holds = |item: &Json| item.as_object().is_some_and(|it| filter.holds(it));
    if verb == Verb::Remove {
        match path.sub {
            None => list(place, attribute).retain(|item| !holds(item)),
            Some(sub) => {
                for item in list(place, attribute).iter_mut().filter(|it| holds(it)) {
                    item.as_object_mut().map(|item| item.remove(sub.name));
                }
            }
        }
        return tidy(place, attribute);
    }
    let parts = match path.sub {
        Some(sub) => {
            let mut parts = Map::new();
            set(&mut parts, sub, sub.read(value)?);
            parts
        }
        None => match attribute.read_one(value)? {
            Some(Json::Object(parts)) => parts,
            _ => Map::new(),
        },
    };
    let items = list(place, attribute);
    let found: Vec<usize> = items.iter().enumerate().filter(|(_, it)| holds(it)).map(|(at, _)| at).collect();
    if parts.get(PRIMARY) == Some(&Json::Bool(true)) {
        only_primary(items);
    }
    for at in &found {
        if let Some(item) = items.get_mut(*at).and_then(Json::as_object_mut) {
            match path.sub {
                // A value that is unassigned is taken away.
                Some(sub) => set(item, sub, parts.get(sub.name).cloned()),
                None => item.extend(parts.clone()),
            }
        }
    }
    if found.is_empty() && !parts.is_empty() {
        let described = filter.describes().ok_or_else(|| no_target("the filter of its path finds nothing"))?;
        let made = attribute.read_one(&Json::Object(described.into_iter().chain(parts).collect()))?;
        items.extend(made);
    }
    tidy(place, attribute)
}

/// What is empty is unassigned; and a list has its bound.
fn tidy(place: &mut Map<String, Json>, attribute: &Attribute) -> Result<(), Problem> {
    debug_assert_eq!((attribute.kind, attribute.many), (Kind::Complex, true), "{}", attribute.name);
    let items = list(place, attribute);
    items.retain(|item| item.as_object().is_some_and(|it| !it.is_empty()));
    if items.is_empty() {
        place.remove(attribute.name);
        return Ok(());
    }
    if items.len() > attribute.values_max() {
        return Err(invalid_value(format!("`{}` has over {} values", attribute.name, attribute.values_max())));
    }
    Ok(())
}
