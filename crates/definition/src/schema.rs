//! The JSON Schema of the language itself: what editors complete and check documents with.
//!
//! It says what a document may look like; order, scope and expressions are beyond it, so a document that fits may still
//! be refused by `compile`. The other way round holds: whatever compiles fits.

use serde_json::{Map, Value as Json, json};

use crate::{
    Class,
    compile::{Standing, standing_of},
    document::CONTROL_TYPES,
    step_type::{StepType, StepTypes},
};

/// The JSON Schema 2020-12 of a document written with these step types.
pub fn json_schema(types: &StepTypes) -> Json {
    let mut definitions = shared();
    let shown: Vec<&StepType> = types.iter().collect();
    for step_type in &shown {
        add_type(step_type, &mut definitions);
    }
    definitions.insert("step".into(), step(&shown));
    definitions.insert("undo".into(), undo(&shown));
    let mut schema = document(&shown);
    schema.insert("$defs".into(), Json::Object(definitions));
    Json::Object(schema)
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn described(name: &str, description: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}"), "description": description })
}

fn map_of(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

fn document(types: &[&StepType]) -> Map<String, Json> {
    let defaults: Map<String, Json> =
        types.iter().map(|it| (it.name.to_owned(), json!({ "$ref": "#/$defs/defaults" }))).collect();
    map_of(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Windlass workflow",
        "type": "object",
        "required": ["name", "steps"],
        "additionalProperties": false,
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$",
                "description": "Unique in its tenant.",
            },
            "description": { "type": "string" },
            "tags": { "type": "array", "uniqueItems": true, "items": reference("name") },
            "input": { "type": ["object", "boolean"], "description": "JSON Schema 2020-12 of the run's input." },
            "vars": { "type": "object", "description": "Constants, visible as `vars.<name>`." },
            "timeout": described("duration", "Of the whole run, waiting included."),
            "concurrency": {
                "type": "object", "required": ["limit"], "additionalProperties": false,
                "properties": {
                    "limit": { "type": "integer", "minimum": 1, "maximum": 1_000_000 },
                    "key": reference("single"),
                    "when_full": { "enum": ["queue", "reject", "replace"] },
                },
            },
            "retain": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "runs": { "type": "integer", "minimum": 0 },
                    "days": { "type": "integer", "minimum": 0, "maximum": 36_500 },
                },
            },
            "key": reference("single"),
            "labels": { "type": "object", "additionalProperties": reference("single") },
            "triggers": { "type": "array", "items": reference("trigger") },
            "defaults": {
                "type": "object", "additionalProperties": false, "properties": defaults,
                "description": "What the steps of a type have unless they say otherwise.",
            },
            "steps": reference("steps"),
            "edges": reference("edges"),
            "catch": reference("catches"),
            "finally": reference("block"),
            "output": { "description": "The run's output; that of its last step when absent." },
            "ui": { "type": "object", "description": "The editor's own." },
        },
    }))
}

/// What documents are made of, whatever the step types.
fn shared() -> Map<String, Json> {
    let classes: Vec<&str> = Class::ALL.iter().map(|it| it.as_str()).collect();
    map_of(json!({
        "name": { "type": "string", "minLength": 1, "maxLength": 200 },
        "id": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$" },
        "duration": { "type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]{1,3})?(ms|s|m|h|d|w))+\s*$" },
        "condition": { "type": ["string", "boolean"], "description": "An expression that gives a bool." },
        "expression": { "type": "string", "pattern": r"\$\{\{" },
        "single": { "type": ["string", "number", "boolean", "null"] },
        "steps": { "type": "array", "items": reference("step") },
        "block": {
            "anyOf": [
                reference("steps"),
                {
                    "type": "object", "required": ["steps"], "additionalProperties": false,
                    "properties": { "steps": reference("steps"), "edges": reference("edges"), "output": {} },
                },
            ],
        },
        "edges": {
            "type": "array",
            "items": {
                "type": "object", "required": ["from", "to"], "additionalProperties": false,
                "properties": {
                    "from": reference("id"), "to": reference("id"), "when": reference("condition"),
                    "otherwise": { "type": "boolean" },
                    "from_port": reference("name"), "to_port": reference("name"),
                },
            },
        },
        "join": {
            "anyOf": [
                { "enum": ["all", "any"] },
                {
                    "type": "object", "required": ["at_least"], "additionalProperties": false,
                    "properties": { "at_least": { "type": "integer", "minimum": 1 } },
                },
            ],
        },
        "pattern": {
            "description": "An error class, an error code, an HTTP status or a class of them.",
            "anyOf": [
                { "enum": classes },
                { "type": "string", "minLength": 1, "maxLength": 200 },
                { "type": "integer", "minimum": 100, "maximum": 599 },
            ],
        },
        "patterns": { "anyOf": [reference("pattern"), { "type": "array", "items": reference("pattern") }] },
        "catches": {
            "type": "array",
            "items": {
                "type": "object", "required": ["do"], "additionalProperties": false,
                "properties": { "on": reference("patterns"), "as": reference("id"), "do": reference("block") },
            },
        },
        "retry": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "attempts": { "type": "integer", "minimum": 1, "maximum": 10_000 },
                "backoff": { "enum": ["fixed", "linear", "exponential"] },
                "delay": reference("duration"),
                "max_delay": reference("duration"),
                "jitter": { "type": "boolean" },
                "on": reference("patterns"),
                "within": reference("duration"),
            },
        },
        "rate": {
            "type": "object", "required": ["limit", "per"], "additionalProperties": false,
            "properties": {
                "limit": { "type": "integer", "minimum": 1, "maximum": 1_000_000 },
                "per": reference("duration"),
                "key": {},
            },
        },
        "test": {
            "oneOf": [
                {
                    "type": "object", "required": ["output"], "additionalProperties": false,
                    "properties": { "output": {} },
                },
                {
                    "type": "object", "required": ["error"], "additionalProperties": false,
                    "properties": { "error": reference("error") },
                },
            ],
        },
        "error": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "class": { "enum": classes },
                "code": { "type": "string" },
                "message": { "type": "string" },
                "retryable": { "type": "boolean" },
                "details": {},
            },
        },
        "position": {
            "type": "object", "required": ["x", "y"], "additionalProperties": false,
            "properties": { "x": reference("coordinate"), "y": reference("coordinate") },
        },
        "coordinate": { "type": "number", "minimum": -1_000_000, "maximum": 1_000_000 },
        "ui": {
            "type": "object", "description": "The editor's own.",
            "properties": { "width": reference("length"), "height": reference("length") },
        },
        "length": { "type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000 },
        "defaults": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "with": { "type": "object" },
                "timeout": reference("duration"),
                "retry": reference("retry"),
                "on_error": { "enum": ["stop", "continue"] },
                "at_most_once": { "type": "boolean" },
                "lock": { "type": "string" },
                "rate": reference("rate"),
            },
        },
        "trigger": trigger(),
    }))
}

fn trigger() -> Json {
    let one = |name: &str, body: Json| {
        let mut properties = Map::new();
        properties.insert(name.to_owned(), body);
        json!({ "type": "object", "required": [name], "additionalProperties": false, "properties": properties })
    };
    let schedule = json!({
        "type": "object", "required": ["cron"], "additionalProperties": false,
        "properties": {
            "cron": reference("name"), "timezone": reference("name"), "input": { "type": ["object", "string"] },
            "missed": { "enum": ["skip", "run_once", "run_all"] },
        },
    });
    let webhook = json!({
        "type": "object", "required": ["name", "secret"], "additionalProperties": false,
        "properties": { "name": reference("name"), "secret": { "type": "string" }, "input": {} },
    });
    let event = json!({
        "type": "object", "required": ["type"], "additionalProperties": false,
        "properties": {
            "type": reference("name"), "when": reference("condition"), "input": { "type": ["object", "string"] },
        },
    });
    json!({ "oneOf": [one("schedule", schedule), one("webhook", webhook), one("event", event)] })
}

/// A step: what every step has, and by its type what else.
fn step(types: &[&StepType]) -> Json {
    let names: Vec<&str> = types.iter().filter(|it| !it.hidden).map(|it| it.name).collect();
    let hidden: Vec<&str> = types.iter().filter(|it| it.hidden).map(|it| it.name).collect();
    let name = if hidden.is_empty() {
        json!({ "enum": names })
    } else {
        json!({ "anyOf": [{ "enum": names }, { "enum": hidden }] })
    };
    let by_type: Vec<Json> = types
        .iter()
        .map(|it| {
            json!({
                "if": { "required": ["type"], "properties": { "type": { "const": it.name } } },
                "then": reference(&format!("step-{}", it.name)),
            })
        })
        .collect();
    json!({
        "type": "object",
        "required": ["id", "type"],
        "properties": {
            "id": reference("id"),
            "type": name,
            "description": { "type": "string" },
            "needs": { "type": "array", "uniqueItems": true, "items": reference("id") },
            "if": described("condition", "False skips this step alone."),
            "position": reference("position"),
            "ui": reference("ui"),
        },
        "allOf": by_type,
        "unevaluatedProperties": false,
    })
}

fn undo(types: &[&StepType]) -> Json {
    let undoing = |it: &&&StepType| standing_of(it.name, it.family) == Standing::Doing && it.name != "task";
    let by_type: Vec<Json> = types
        .iter()
        .filter(undoing)
        .map(|it| {
            json!({
                "if": { "required": ["type"], "properties": { "type": { "const": it.name } } },
                "then": { "properties": { "with": reference(&format!("with-{}", it.name)) } },
            })
        })
        .collect();
    let names: Vec<&str> = types.iter().filter(undoing).map(|it| it.name).collect();
    json!({
        "type": "object", "required": ["type"], "additionalProperties": false,
        "properties": {
            "type": { "enum": names },
            "with": {},
            "timeout": reference("duration"),
            "retry": reference("retry"),
            "after": { "enum": ["completed", "started"] },
        },
        "allOf": by_type,
    })
}

/// What a step of that type has beside what every step has, and its `with`.
fn add_type(step_type: &StepType, definitions: &mut Map<String, Json>) {
    let standing = standing_of(step_type.name, step_type.family);
    let mut properties = control_properties(step_type.name);
    let takes_time = matches!(standing, Standing::Holding | Standing::Waiting | Standing::Doing);
    let holds_nothing = matches!(standing, Standing::Waiting | Standing::Pure | Standing::Doing);
    let mut put = |name: &str, schema: Json, there: bool| {
        if there && !properties.contains_key(name) {
            properties.insert(name.to_owned(), schema);
        }
    };
    put("join", reference("join"), true);
    put("timeout", reference("duration"), takes_time);
    put("lock", json!({ "type": "string" }), takes_time);
    put("rate", reference("rate"), takes_time);
    put("retry", reference("retry"), standing == Standing::Doing);
    put("undo", reference("undo"), standing == Standing::Doing);
    put("at_most_once", json!({ "type": "boolean" }), standing == Standing::Doing);
    put("on_error", json!({ "enum": ["stop", "continue"] }), standing != Standing::Jump);
    put("test", reference("test"), standing != Standing::Jump);
    let output = matches!(standing, Standing::Holding | Standing::Join) || step_type.name == "workflow";
    put("output", json!({ "description": "Replaces the step's output, which it sees as `output`." }), output);
    put("with", reference(&format!("with-{}", step_type.name)), holds_nothing);
    let mut schema = map_of(json!({ "description": step_type.documentation, "properties": properties }));
    let required = required_of(step_type.name);
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    definitions.insert(format!("step-{}", step_type.name), Json::Object(schema));
    if holds_nothing {
        add_with(step_type, definitions);
    }
}

fn required_of(type_name: &str) -> &'static [&'static str] {
    match type_name {
        "if" => &["when", "then"],
        "switch" => &["on", "cases"],
        "foreach" => &["items", "do"],
        "while" => &["when", "do"],
        "parallel" => &["branches"],
        "try" => &["do"],
        _ => &[],
    }
}

fn control_properties(type_name: &str) -> Map<String, Json> {
    let parallel = json!({ "type": "integer", "minimum": 1, "maximum": 1_000 });
    let mut properties = match type_name {
        "if" => json!({ "when": reference("condition"), "then": reference("block"), "else": reference("block") }),
        "switch" => json!({
            "on": { "description": "An expression, or any value." },
            "cases": {
                "type": "array",
                "items": {
                    "type": "object", "required": ["is", "do"], "additionalProperties": false,
                    "properties": { "is": {}, "do": reference("block") },
                },
            },
            "default": reference("block"),
        }),
        "foreach" => json!({
            "items": { "type": ["string", "array"] },
            "parallel": parallel,
            "do": reference("block"),
            "on_error": { "enum": ["stop", "continue", "collect"] },
        }),
        "while" => json!({
            "when": reference("condition"),
            "do": reference("block"),
            "max": { "type": "integer", "minimum": 1, "maximum": 1_000_000 },
        }),
        "parallel" => json!({
            "branches": { "type": "object", "minProperties": 1, "additionalProperties": reference("block") },
            "join": reference("join"),
            "parallel": parallel,
        }),
        "try" => json!({ "do": reference("block"), "catch": reference("catches"), "finally": reference("block") }),
        "join" => json!({ "mode": reference("join") }),
        _ => json!({}),
    };
    debug_assert!(
        CONTROL_TYPES
            .iter()
            .filter(|(name, _)| *name == type_name)
            .all(|(_, fields)| { fields.iter().all(|field| properties.get(field).is_some()) })
    );
    map_of(properties.take())
}

/// The `with` of a type, in which a text with an expression fits wherever a value stands; the type's own definitions
/// move up under names that tell them apart.
fn add_with(step_type: &StepType, definitions: &mut Map<String, Json>) {
    let mut schema = step_type.with_schema.to_serde();
    let own = schema.as_object_mut().and_then(|it| it.remove("$defs"));
    let prefix = format!("with-{}-", step_type.name);
    for (name, definition) in own.map(map_of).unwrap_or_default() {
        definitions.insert(format!("{prefix}{name}"), opened(renamed(definition, &prefix)));
    }
    // The `with` itself may come from one expression.
    definitions.insert(format!("with-{}", step_type.name), opened(renamed(schema, &prefix)));
}

fn renamed(schema: Json, prefix: &str) -> Json {
    match schema {
        Json::Object(map) => map
            .into_iter()
            .map(|(key, value)| match (key.as_str(), value.as_str().and_then(|it| it.strip_prefix("#/$defs/"))) {
                ("$ref", Some(name)) => (key, json!(format!("#/$defs/{prefix}{name}"))),
                _ => (key, renamed(value, prefix)),
            })
            .collect(),
        Json::Array(items) => items.into_iter().map(|it| renamed(it, prefix)).collect(),
        other => other,
    }
}

/// A schema that an expression fits as well, at every level.
fn opened(schema: Json) -> Json {
    let Json::Object(mut map) = schema else { return schema };
    for (key, value) in &mut map {
        match key.as_str() {
            "properties" | "patternProperties" => {
                for property in value.as_object_mut().into_iter().flat_map(|it| it.values_mut()) {
                    *property = opened(property.take());
                }
            }
            "items" | "additionalProperties" => *value = opened(value.take()),
            "anyOf" | "oneOf" | "allOf" => {
                for part in value.as_array_mut().into_iter().flatten() {
                    *part = opened(part.take());
                }
            }
            _ => {}
        }
    }
    let constrained = map.keys().any(|it| !matches!(it.as_str(), "description" | "default" | "title" | "$ref"));
    let only_text = map.get("type") == Some(&json!("string"))
        && !map.keys().any(|it| matches!(it.as_str(), "enum" | "pattern" | "format" | "maxLength" | "const"));
    if !constrained || only_text {
        return Json::Object(map);
    }
    json!({ "anyOf": [map, reference("expression")] })
}
