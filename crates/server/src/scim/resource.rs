//! Users and groups as clients of SCIM see them, and what of them is kept.

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_resource::patterns::{EMAIL, HTTPS};
use windlass_store::{Belongs, PersonSaid, ProvisionedGroup, ProvisionedMember};

use super::{
    ROOT,
    attributes::{GROUPS, MEMBERS, Named, Path, Schema},
    invalid_value,
};
use crate::problem::Problem;

const PROFILE_BYTES_MAX: usize = 32 << 10;
const NAME_CHARS_MAX: usize = 200;
const USER_NAME_CHARS_MAX: usize = 254;
const EXTERNAL_ID_CHARS_MAX: usize = 255;
const EMAIL_CHARS: std::ops::RangeInclusive<usize> = 3..=254;
const PICTURE_CHARS_MAX: usize = 2_000;

/// A resource, and at which revision.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id.
    pub id: Uuid,
    /// Counts its changes.
    pub revision: i64,
    /// As clients see it.
    pub json: Map<String, Json>,
}

/// The ETag of a revision.
pub fn version(revision: i64) -> String {
    format!("W/\"{revision}\"")
}

/// Where resources of this server are.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a>(pub Option<&'a str>);

impl Base<'_> {
    /// The address of a resource; a path where the server does not know its own address.
    pub fn location(self, place: &str, id: Uuid) -> String {
        format!("{}{ROOT}/{place}/{id}", self.0.unwrap_or_default())
    }

    fn meta(self, schema: &Schema, id: Uuid, (revision, created, changed): (i64, Timestamp, Timestamp)) -> Json {
        json!({
            "resourceType": schema.name, "created": created, "lastModified": changed,
            "version": version(revision), "location": self.location(schema.place, id),
        })
    }

    /// Puts the groups of a user, or the members of a group, into it.
    pub fn put(self, schema: &Schema, found: &mut Found, belongs: &[Belongs]) {
        let (name, place, kind) = match schema.place {
            "Users" => (GROUPS, "Groups", "direct"),
            _ => (MEMBERS, "Users", "User"),
        };
        let own = belongs.iter().filter(|it| it.of == found.id);
        let own: Vec<Json> = own
            .map(|it| json!({ "value": it.id, "$ref": self.location(place, it.id), "display": it.name, "type": kind }))
            .collect();
        if !own.is_empty() {
            found.json.insert(name.to_owned(), Json::Array(own));
        }
    }

    /// A user, without its groups.
    pub fn user(self, schema: &Schema, member: ProvisionedMember) -> Found {
        let ProvisionedMember { id, revision, created_at, updated_at, .. } = member;
        let mut json = match member.profile {
            Json::Object(map) => map,
            _ => Map::new(),
        };
        let mut schemas = vec![schema.urn];
        schemas.extend(schema.extension.map(|it| it.urn).filter(|urn| json.contains_key(*urn)));
        let meta = self.meta(schema, id, (revision, created_at, updated_at));
        json.insert("schemas".to_owned(), json!(schemas));
        json.insert("id".to_owned(), json!(id));
        json.insert("meta".to_owned(), meta);
        json.insert("active".to_owned(), json!(member.active));
        json.entry("userName").or_insert_with(|| json!(member.user_name));
        json.extend(member.external_id.map(|it| ("externalId".to_owned(), json!(it))));
        Found { id, revision, json }
    }

    /// A group, without its members.
    pub fn group(self, schema: &Schema, group: ProvisionedGroup) -> Found {
        let ProvisionedGroup { id, revision, created_at, updated_at, .. } = group;
        let meta = self.meta(schema, id, (revision, created_at, updated_at));
        let json = json!({ "schemas": [schema.urn], "id": id, "displayName": group.name, "meta": meta });
        let mut json = json.as_object().cloned().unwrap_or_default();
        json.extend(group.external_id.map(|it| ("externalId".to_owned(), json!(it))));
        Found { id, revision, json }
    }
}

fn text<'a>(of: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    of.get(name).and_then(Json::as_str).map(str::trim).filter(|it| !it.is_empty())
}

fn bounded(text: &str, name: &str, chars_max: usize) -> Result<String, Problem> {
    if text.chars().count() > chars_max {
        return Err(invalid_value(format!("`{name}` has over {chars_max} characters")));
    }
    Ok(text.to_owned())
}

/// What the client knows a resource by.
///
/// # Errors
/// 400 when it is too long.
pub fn external_id(of: &Map<String, Json>) -> Result<Option<String>, Problem> {
    text(of, "externalId").map(|it| bounded(it, "externalId", EXTERNAL_ID_CHARS_MAX)).transpose()
}

/// The name of a group.
///
/// # Errors
/// 400 when there is none, or it is too long.
pub fn group_name(of: &Map<String, Json>) -> Result<String, Problem> {
    let name = text(of, "displayName").ok_or_else(|| invalid_value("`displayName` is needed".to_owned()))?;
    bounded(name, "displayName", NAME_CHARS_MAX)
}

/// The members that a group is said to have.
///
/// # Errors
/// 400 when one is no id.
pub fn members(of: &Map<String, Json>) -> Result<Vec<Uuid>, Problem> {
    let items = of.get(MEMBERS).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let id = |item: &Json| {
        let text = item.get("value").and_then(Json::as_str).unwrap_or_default();
        text.parse().map_err(|_| {
            let text: String = text.chars().take(60).collect();
            invalid_value(format!("there is no user `{text}`: members are named by their `id`"))
        })
    };
    items.iter().map(id).collect()
}

/// What is kept of a user.
///
/// # Errors
/// 400 when it has no name or no address, or something is too long.
pub fn person(of: &Map<String, Json>) -> Result<PersonSaid, Problem> {
    let user_name = text(of, "userName").ok_or_else(|| invalid_value("`userName` is needed".to_owned()))?;
    let user_name = bounded(user_name, "userName", USER_NAME_CHARS_MAX)?.to_lowercase();
    let email = first(of, "emails", |_| true).map_or_else(|| user_name.clone(), |it| it.to_lowercase());
    let is_address = EMAIL.compiled().is_some_and(|pattern| pattern.is_match(&email));
    if !is_address || !EMAIL_CHARS.contains(&email.chars().count()) {
        let detail = "an e-mail address is needed: the primary one of `emails`, or `userName`";
        return Err(invalid_value(detail.to_owned()));
    }
    let is_picture =
        |it: &str| it.len() <= PICTURE_CHARS_MAX && HTTPS.compiled().is_some_and(|pattern| pattern.is_match(it));
    let mut profile = of.clone();
    for name in ["schemas", "id", "meta", "externalId", "active", GROUPS] {
        profile.remove(name);
    }
    let profile = Json::Object(profile).to_string();
    if profile.len() > PROFILE_BYTES_MAX {
        return Err(invalid_value(format!("what is said of the person has over {PROFILE_BYTES_MAX} bytes")));
    }
    Ok(PersonSaid {
        name: name(of).unwrap_or_else(|| user_name.clone()).chars().take(NAME_CHARS_MAX).collect(),
        external_id: external_id(of)?,
        avatar_url: first(of, "photos", is_picture).map(str::to_owned),
        active: of.get("active") != Some(&Json::Bool(false)),
        user_name,
        email,
        profile,
    })
}

/// Of several values the primary one, that for work, or the first.
fn first<'a>(of: &'a Map<String, Json>, name: &str, fits: impl Fn(&str) -> bool) -> Option<&'a str> {
    let items = of.get(name).and_then(Json::as_array)?;
    let rank = |item: &&Map<String, Json>| match () {
        () if item.get("primary") == Some(&Json::Bool(true)) => 0,
        () if text(item, "type").is_some_and(|it| it.eq_ignore_ascii_case("work")) => 1,
        () => 2,
    };
    let items = items.iter().filter_map(Json::as_object).filter(|it| text(it, "value").is_some_and(&fits));
    items.min_by_key(rank).and_then(|it| text(it, "value"))
}

/// What people call a user.
fn name(of: &Map<String, Json>) -> Option<String> {
    let parts = of.get("name").and_then(Json::as_object);
    let part = |name: &str| parts.and_then(|it| text(it, name));
    let whole = text(of, "displayName").or_else(|| part("formatted")).map(str::to_owned);
    let both: Vec<&str> = ["givenName", "familyName"].into_iter().filter_map(part).collect();
    whole.or_else(|| (!both.is_empty()).then(|| both.join(" ")))
}

/// Which attributes an answer has.
#[derive(Debug, Default)]
pub struct Shape {
    only: Option<Vec<Path>>,
    without: Vec<Path>,
}

/// What every answer has.
const ALWAYS: [&str; 2] = ["schemas", "id"];

impl Shape {
    /// As the two parameters say; names that are none are passed over.
    pub fn read(schema: &'static Schema, only: Option<&str>, without: Option<&str>) -> Shape {
        let paths = |text: &str| {
            let named = text.split(',').filter_map(|name| match schema.named(name.trim()) {
                Some(Named::Attribute(path)) => Some(path),
                _ => None,
            });
            named.collect::<Vec<_>>()
        };
        let only = only.filter(|it| !it.trim().is_empty()).map(paths);
        Shape { only, without: without.map(paths).unwrap_or_default() }
    }

    /// Whether an attribute is in the answer.
    pub fn has(&self, name: &str) -> bool {
        let all_of = |it: &Path| it.attribute.name == name;
        self.only.as_ref().is_none_or(|only| only.iter().any(all_of))
            && !self.without.iter().any(|it| all_of(it) && it.sub.is_none())
    }

    /// The resource with these attributes.
    pub fn of(&self, mut resource: Map<String, Json>) -> Json {
        for path in &self.without {
            take(&mut resource, path);
        }
        if let Some(only) = &self.only {
            let mut kept = Map::new();
            for path in only {
                keep(&resource, path, &mut kept);
            }
            kept.extend(ALWAYS.into_iter().filter_map(|name| Some((name.to_owned(), resource.remove(name)?))));
            resource = kept;
        }
        Json::Object(resource)
    }
}

fn take(resource: &mut Map<String, Json>, path: &Path) {
    let place = match path.extension {
        None => resource,
        Some(urn) => match resource.get_mut(urn).and_then(Json::as_object_mut) {
            Some(place) => place,
            None => return,
        },
    };
    match (path.sub, place.get_mut(path.attribute.name)) {
        (None, _) if path.extension.is_none() && ALWAYS.contains(&path.attribute.name) => {}
        (None, _) => drop(place.remove(path.attribute.name)),
        (Some(sub), Some(Json::Array(items))) => {
            items.iter_mut().filter_map(Json::as_object_mut).for_each(|it| drop(it.remove(sub.name)));
        }
        (Some(sub), Some(Json::Object(parts))) => drop(parts.remove(sub.name)),
        _ => {}
    }
}

fn keep(resource: &Map<String, Json>, path: &Path, kept: &mut Map<String, Json>) {
    let (from, to) = match path.extension {
        None => (Some(resource), kept),
        Some(urn) => {
            let from = resource.get(urn).and_then(Json::as_object);
            let to = kept.entry(urn).or_insert_with(|| Json::Object(Map::new()));
            match to {
                Json::Object(to) => (from, to),
                _ => return,
            }
        }
    };
    let name = path.attribute.name;
    let Some(value) = from.and_then(|from| from.get(name)) else { return };
    let part = |of: &Json, sub: &str| of.get(sub).map(|it| Map::from_iter([(sub.to_owned(), it.clone())]));
    match (path.sub, value) {
        (None, value) => drop(to.insert(name.to_owned(), value.clone())),
        (Some(sub), Json::Array(items)) => {
            let there = to.entry(name).or_insert_with(|| json!(vec![json!({}); items.len()]));
            for (item, from) in there.as_array_mut().into_iter().flatten().zip(items) {
                if let (Some(item), Some(part)) = (item.as_object_mut(), part(from, sub.name)) {
                    item.extend(part);
                }
            }
        }
        (Some(sub), value) => {
            let there = to.entry(name).or_insert_with(|| json!({}));
            if let (Some(there), Some(part)) = (there.as_object_mut(), part(value, sub.name)) {
                there.extend(part);
            }
        }
    }
}
