//! A `with` against the schema of its step type, each mismatch at its place. A text with `${{` fits anywhere: what it
//! gives is checked when the step runs.

use super::Compiler;
use crate::{
    Value,
    diagnostic::{DIAGNOSTICS_MAX, Problem, nearest},
    document::{listed, shortened},
    duration,
    source::{Entry, Kind, Node, Span},
    step_type::StepType,
    value::{Key, Map},
};

/// How the `with` itself is called in sentences.
const WITH: &str = "`with`";

/// The schema of a `with`, for what it refers to.
#[derive(Clone, Copy)]
struct Shape<'s> {
    root: &'s Value,
    type_name: &'s str,
}

impl Compiler<'_> {
    /// Checks a `with`; what is missing altogether is reported at the step.
    pub(super) fn check_with(&mut self, with: Option<&Node>, step_type: &StepType, step: Span) {
        let shape = Shape { root: &step_type.with_schema, type_name: step_type.name };
        let Some(node) = with else {
            for name in required(shape.root) {
                let message = format!("a step of type `{}` needs `with.{name}`", step_type.name);
                self.report(Problem::of_map(step, message));
            }
            self.check_alternatives(&Node::new(Kind::Map(Vec::new()), step), shape.root);
            return;
        };
        if is_open(node) {
            return;
        }
        let mut problems = Vec::new();
        check(node, shape.root, shape, (WITH, &mut problems));
        if problems.is_empty()
            && let Some(checker) = self.types.checker(step_type.name)
            && let Err(misfit) = checker(&node.to_value())
        {
            let span = node.entry(misfit.field).map_or(head_of(node), |it| it.value.span);
            problems.push(Problem::new(span, format!("`{}`: {}", misfit.field, misfit.message)));
        }
        for problem in problems {
            self.report(problem);
        }
        self.check_alternatives(node, shape.root);
    }

    /// `oneOf` alternatives that only say which fields must be there.
    fn check_alternatives(&mut self, node: &Node, schema: &Value) {
        let Some(alternatives) = schema.get("oneOf").and_then(Value::as_list) else { return };
        let names: Vec<&str> = alternatives.iter().flat_map(required).collect();
        let there: Vec<&Entry> = names.iter().filter_map(|name| node.entry(name)).collect();
        let listed_names = listed(names.iter().copied(), "or");
        match there.as_slice() {
            [_] => {}
            [] => self.report(Problem::of_map(head_of(node), format!("`with` needs one of {listed_names}"))),
            [_, second, ..] => self.error(second.key_span, format!("`with` has only one of {listed_names}")),
        }
    }
}

/// Whether what stands there is only known when the step runs.
fn is_open(node: &Node) -> bool {
    node.as_str().is_some_and(|text| text.contains("${{"))
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_str)
}

fn head_of(node: &Node) -> Span {
    match node.as_map().and_then(<[Entry]>::first) {
        Some(first) => first.key_span,
        None => node.span,
    }
}

fn resolved<'s>(schema: &'s Value, shape: Shape<'s>) -> &'s Value {
    let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix("#/$defs/")) else {
        return schema;
    };
    shape.root.get("$defs").and_then(|it| it.get(name)).unwrap_or(schema)
}

fn check(node: &Node, schema: &Value, shape: Shape<'_>, (what, problems): (&str, &mut Vec<Problem>)) {
    let schema = resolved(schema, shape);
    if is_open(node) || schema.as_bool() == Some(true) {
        return;
    }
    for part in schema.get("allOf").and_then(Value::as_list).unwrap_or_default() {
        check(node, part, shape, (what, &mut *problems));
    }
    if let Some(alternatives) = alternatives(schema) {
        check_any(node, alternatives, shape, (what, &mut *problems));
    }
    if let Some(problem) = check_type(node, schema, what) {
        problems.push(problem);
        return;
    }
    problems.extend(check_words(node, schema, what));
    problems.extend(check_bounds(node, schema, what));
    match &node.kind {
        Kind::Map(entries) => check_map(node, entries, schema, (shape, problems, what)),
        Kind::List(items) => {
            if let Some(item_schema) = schema.get("items") {
                for item in items {
                    check(item, item_schema, shape, (&format!("an item of {what}"), &mut *problems));
                }
            }
        }
        _ => {}
    }
}

/// Alternatives of which one must fit: `anyOf`, or a `oneOf` that says more than which fields are there.
fn alternatives(schema: &Value) -> Option<&[Value]> {
    let any = schema.get("anyOf").and_then(Value::as_list);
    any.or_else(|| {
        let one = schema.get("oneOf").and_then(Value::as_list)?;
        let only_required =
            one.iter().all(|it| it.as_map().is_some_and(|map| map.len() == 1) && it.get("required").is_some());
        (!only_required).then_some(one)
    })
}

fn check_any(node: &Node, alternatives: &[Value], shape: Shape<'_>, (what, problems): (&str, &mut Vec<Problem>)) {
    let mut best: Option<Vec<Problem>> = None;
    for alternative in alternatives {
        let mut found = Vec::new();
        check(node, alternative, shape, (what, &mut found));
        if found.is_empty() {
            return;
        }
        // The alternative of the right type says best what is wrong.
        let of_its_type = check_type(node, resolved(alternative, shape), what).is_none();
        if best.is_none() || of_its_type {
            best = Some(found);
        }
    }
    // Several words, each an alternative of its own: all of them are named.
    let words: Vec<&str> = alternatives.iter().filter_map(|it| it.get("const")).filter_map(Value::as_str).collect();
    if words.len() > 1
        && let Some(text) = node.as_str()
    {
        let message = format!("{what} must be {}, not `{}`", listed(words.iter().copied(), "or"), shortened(text));
        problems.push(Problem::new(node.span, message).suggest(nearest(text, words)));
        return;
    }
    problems.extend(best.unwrap_or_default());
}

fn check_type(node: &Node, schema: &Value, what: &str) -> Option<Problem> {
    let types: Vec<&str> = match schema.get("type")? {
        Value::String(one) => vec![one],
        Value::List(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let fits = |name: &&str| {
        matches!(
            (*name, &node.kind),
            ("null", Kind::Null)
                | ("boolean", Kind::Bool(_))
                | ("integer", Kind::Int(_) | Kind::Uint(_))
                | ("number", Kind::Int(_) | Kind::Uint(_) | Kind::Double(_))
                | ("string", Kind::String(_))
                | ("array", Kind::List(_))
                | ("object", Kind::Map(_))
        )
    };
    if types.iter().any(fits) {
        return None;
    }
    let name = |it: &&str| match *it {
        "null" => "nothing",
        "boolean" => "a bool",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        _ => "a map",
    };
    if schema.get("x-windlass").and_then(Value::as_str) == Some("duration") {
        let message = format!("{what} must be a duration, not {}", node.describe());
        return Some(Problem::new(node.span, message).note("write it like `30s`, `1h30m` or `3d`"));
    }
    let mut names: Vec<&str> = types.iter().filter(|it| **it != "null" || types.len() == 1).map(name).collect();
    names.dedup();
    let problem = Problem::new(node.span, format!("{what} must be {}, not {}", names.join(" or "), node.describe()));
    let scalar = matches!(node.kind, Kind::Bool(_) | Kind::Int(_) | Kind::Uint(_) | Kind::Double(_));
    Some(if scalar && types.contains(&"string") { problem.note("put it in quotes") } else { problem })
}

fn check_words(node: &Node, schema: &Value, what: &str) -> Option<Problem> {
    if let Some(constant) = schema.get("const")
        && node.to_value() != *constant
    {
        return Some(Problem::new(node.span, format!("{what} must be `{}`", constant.to_text())));
    }
    let words = schema.get("enum").and_then(Value::as_list)?;
    if words.contains(&node.to_value()) {
        return None;
    }
    let words: Vec<String> = words.iter().filter(|it| !it.is_null()).map(Value::to_text).collect();
    let written = node.to_value().to_text();
    let message =
        format!("{what} must be {}, not `{}`", listed(words.iter().map(String::as_str), "or"), shortened(&written));
    Some(Problem::new(node.span, message).suggest(nearest(&written, words.iter().map(String::as_str))))
}

fn check_bounds(node: &Node, schema: &Value, what: &str) -> Option<Problem> {
    let problem = |message: String| Some(Problem::new(node.span, message));
    match &node.kind {
        Kind::String(text) => check_text(node, text, (schema, what)),
        Kind::Int(_) | Kind::Uint(_) | Kind::Double(_) => {
            let number = number_of(&node.to_value())?;
            let bound = |name: &str| schema.get(name).filter(|bound| number_of(bound).is_some());
            let low = bound("minimum").filter(|low| number_of(low).is_some_and(|low| number < low));
            let high = bound("maximum").filter(|high| number_of(high).is_some_and(|high| number > high));
            match (low, high) {
                (Some(low), _) => problem(format!("{what} must be at least {}", low.to_text())),
                (_, Some(high)) => problem(format!("{what} must be at most {}", high.to_text())),
                _ => None,
            }
        }
        Kind::List(items) => {
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
            match (bound("minItems").filter(|min| count < *min), bound("maxItems").filter(|max| count > *max)) {
                (Some(min), _) => problem(format!("{what} must have at least {min} items")),
                (_, Some(max)) => problem(format!("{what} must have at most {max} items")),
                _ => None,
            }
        }
        _ => None,
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "bounds are far below where doubles lose whole numbers")]
        Value::Int(number) => Some(*number as f64),
        #[expect(clippy::cast_precision_loss, reason = "bounds are far below where doubles lose whole numbers")]
        Value::Uint(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        _ => None,
    }
}

fn check_text(node: &Node, text: &str, (schema, what): (&Value, &str)) -> Option<Problem> {
    let shown = shortened(text);
    if schema.get("x-windlass").and_then(Value::as_str) == Some("duration") {
        if duration::parse(text).is_some() {
            return None;
        }
        let problem = Problem::new(node.span, format!("{what}: `{shown}` is not a duration"));
        return Some(problem.note("write it like `30s`, `1h30m` or `3d`"));
    }
    if schema.get("format").and_then(Value::as_str) == Some("date-time") && crate::Timestamp::parse(text).is_none() {
        let problem = Problem::new(node.span, format!("{what}: `{shown}` is not a time"));
        return Some(problem.note("write it like `2026-01-31T08:00:00Z`"));
    }
    let chars = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    if bound("minLength").is_some_and(|min| chars < min) {
        return Some(Problem::new(node.span, format!("{what} must not be empty")));
    }
    if let Some(max) = bound("maxLength").filter(|max| chars > *max) {
        return Some(Problem::new(node.span, format!("{what} has {chars} characters; the limit is {max}")));
    }
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    let fits = regex::Regex::new(pattern).is_ok_and(|it| it.is_match(text));
    (!fits).then(|| Problem::new(node.span, format!("{what}: `{shown}` does not have the form `{pattern}`")))
}

fn check_map(
    node: &Node,
    entries: &[Entry],
    schema: &Value,
    (shape, problems, what): (Shape<'_>, &mut Vec<Problem>, &str),
) {
    let before = problems.len();
    let properties = schema.get("properties").and_then(Value::as_map);
    let others = schema.get("additionalProperties");
    for entry in entries {
        let property = properties.and_then(|it| it.get(&Key::from(&*entry.key)));
        let inner = match what {
            WITH => format!("`{}`", shortened(&entry.key)),
            _ => format!("`{}` of {what}", shortened(&entry.key)),
        };
        match (property, others) {
            (Some(property), _) => check(&entry.value, property, shape, (&inner, &mut *problems)),
            (None, Some(Value::Bool(false))) => {
                // Beyond what is shown, nobody asks for the nearest name.
                if problems.len() <= 2 * DIAGNOSTICS_MAX {
                    problems.push(unknown_field(entry, properties, (shape, what)));
                }
            }
            (None, Some(schema @ Value::Map(_))) => check(&entry.value, schema, shape, (&inner, &mut *problems)),
            (None, _) => {}
        }
    }
    for name in required(schema) {
        let misspelt = problems[before..].iter().any(|it| it.suggestion.as_deref() == Some(name));
        if node.get(name).is_none() && !misspelt {
            let message = match what {
                WITH => format!("a step of type `{}` needs `with.{name}`", shape.type_name),
                _ => format!("{what} needs `{name}`"),
            };
            problems.push(Problem::of_map(head_of(node), message));
        }
    }
}

fn unknown_field(entry: &Entry, properties: Option<&Map>, (shape, what): (Shape<'_>, &str)) -> Problem {
    let names: Vec<_> = properties.into_iter().flat_map(|it| it.keys()).map(Key::as_text).collect();
    let names = || names.iter().map(AsRef::as_ref);
    let place = match what {
        WITH => format!("the `with` of `{}`", shape.type_name),
        _ => what.to_owned(),
    };
    let problem = Problem::new(entry.key_span, format!("unknown field `{}` in {place}", shortened(&entry.key)));
    match nearest(&entry.key, names()) {
        Some(name) => problem.suggest(Some(name)),
        None if names().next().is_none() => problem.note("it has no fields"),
        None => problem.note(format!("it has {}", listed(names(), "and"))),
    }
}
