//! Inputs against a workflow's `input` schema: defaults filled in first, then every mismatch at once.

use std::{fmt, sync::OnceLock};

use jsonschema::{Draft, PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{Plan, Value, value::Key};

/// Mismatches reported of one input at most.
pub const INPUT_ERRORS_MAX: usize = 100;

/// Where an input does not match, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputError {
    /// JSON pointer into the input.
    pub pointer: String,
    /// What was expected.
    pub message: String,
}

/// The compiled schema of a plan, made when it is first needed.
#[derive(Default)]
pub struct InputCheck {
    validator: OnceLock<Result<Validator, InputError>>,
}

impl fmt::Debug for InputCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.validator.get().is_some() { "InputCheck(made)" } else { "InputCheck(not yet)" })
    }
}

/// Fills the schema's `default`s into an input and checks it; an input of null is `{}`.
///
/// # Errors
/// Everything in it that does not match, at most [`INPUT_ERRORS_MAX`].
pub fn validate_input(plan: &Plan, input: Value) -> Result<Value, Vec<InputError>> {
    let input = if input.is_null() { Value::map::<&str>([]) } else { input };
    let Some(schema) = &plan.input_schema else { return Ok(input) };
    let input = with_defaults(input, schema, schema, 0);
    let validator = plan.input_check.validator.get_or_init(|| build(&schema.to_serde()));
    let validator = validator.as_ref().map_err(|error| vec![error.clone()])?;
    let json = input.to_serde();
    let errors: Vec<InputError> = validator
        .iter_errors(&json)
        .take(INPUT_ERRORS_MAX)
        .map(|error| InputError { pointer: error.instance_path().to_string(), message: error.to_string() })
        .collect();
    if errors.is_empty() { Ok(input) } else { Err(errors) }
}

/// How deep defaults are looked for: a schema may refer to itself.
const DEFAULTS_DEPTH_MAX: usize = 64;

fn with_defaults(input: Value, schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEFAULTS_DEPTH_MAX {
        return input;
    }
    let mut input = input;
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|it| local(root, it)) {
        input = with_defaults(input, &target, root, depth + 1);
    }
    for part in schema.get("allOf").and_then(Value::as_list).unwrap_or_default() {
        input = with_defaults(input, part, root, depth + 1);
    }
    match &input {
        Value::Map(entries) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_map) else { return input };
            let mut filled = entries.as_ref().clone();
            for (key, property) in properties {
                match filled.get(key).cloned() {
                    Some(value) => {
                        filled.insert(key.clone(), with_defaults(value, property, root, depth + 1));
                    }
                    None => {
                        if let Some(default) = property.get("default") {
                            filled.insert(key.clone(), with_defaults(default.clone(), property, root, depth + 1));
                        }
                    }
                }
            }
            Value::Map(filled.into())
        }
        Value::List(items) => {
            let Some(schema) = schema.get("items") else { return input };
            Value::list(items.iter().map(|item| with_defaults(item.clone(), schema, root, depth + 1)))
        }
        _ => input,
    }
}

/// What a reference within the schema, such as `#/$defs/address`, points to.
fn local(root: &Value, reference: &str) -> Option<Value> {
    let mut at = root;
    for token in reference.strip_prefix('#')?.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Map(map) => map.get(&Key::from(token.as_str()))?,
            Value::List(items) => items.get(token.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at.clone())
}

/// What keeps a value from being a JSON Schema 2020-12, by its place in the schema.
pub(crate) fn meta_errors(schema: &Json) -> Vec<InputError> {
    let Ok(meta) = jsonschema::draft202012::options().build(&meta_schema()) else { return Vec::new() };
    meta.iter_errors(schema)
        .take(INPUT_ERRORS_MAX)
        .map(|error| InputError { pointer: error.instance_path().to_string(), message: error.to_string() })
        .collect()
}

fn meta_schema() -> Json {
    serde_json::json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" })
}

/// Compiles a schema: formats asserted, patterns in linear time, nothing fetched.
pub(crate) fn build(schema: &Json) -> Result<Validator, InputError> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .offline()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| InputError { pointer: error.instance_path().to_string(), message: error.to_string() })
}
