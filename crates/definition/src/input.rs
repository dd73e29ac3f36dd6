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
    let mut filler = Filler { root: schema, left: DEFAULTS_MAX };
    let input = filler.fill(input, schema, 0);
    if filler.left == 0 {
        let message = format!("the schema's defaults add more than {DEFAULTS_MAX} values");
        return Err(vec![InputError { pointer: String::new(), message }]);
    }
    let validator = plan.input_check.validator.get_or_init(|| build(&schema.to_serde()));
    let validator = validator.as_ref().map_err(|error| vec![error.clone()])?;
    let json = input.to_serde();
    let mut errors: Vec<InputError> = validator
        .iter_errors(&json)
        .take(INPUT_ERRORS_MAX)
        .map(|error| InputError { pointer: error.instance_path().to_string(), message: error.to_string() })
        .collect();
    errors.sort_by(|a, b| (&a.pointer, &a.message).cmp(&(&b.pointer, &b.message)));
    if errors.is_empty() { Ok(input) } else { Err(errors) }
}

/// How deep defaults are looked for: a schema may refer to itself.
const DEFAULTS_DEPTH_MAX: usize = 64;
/// Defaults filled into one input at most: one that refers to itself twice would double them at each level.
const DEFAULTS_MAX: usize = 10_000;

struct Filler<'s> {
    root: &'s Value,
    left: usize,
}

impl Filler<'_> {
    fn fill(&mut self, mut input: Value, schema: &Value, depth: usize) -> Value {
        if depth > DEFAULTS_DEPTH_MAX || self.left == 0 {
            return input;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|it| local(self.root, it)) {
            input = self.fill(input, &target, depth + 1);
        }
        for part in schema.get("allOf").and_then(Value::as_list).unwrap_or_default() {
            input = self.fill(input, part, depth + 1);
        }
        match &input {
            Value::Map(entries) => {
                let Some(properties) = schema.get("properties").and_then(Value::as_map) else { return input };
                let mut filled = entries.as_ref().clone();
                for (key, property) in properties {
                    let value = match filled.get(key).cloned() {
                        Some(value) => value,
                        None => {
                            let Some(default) = property.get("default") else { continue };
                            self.left = self.left.saturating_sub(1);
                            default.clone()
                        }
                    };
                    filled.insert(key.clone(), self.fill(value, property, depth + 1));
                }
                Value::Map(filled.into())
            }
            Value::List(items) => {
                let Some(schema) = schema.get("items") else { return input };
                Value::list(items.iter().map(|item| self.fill(item.clone(), schema, depth + 1)))
            }
            _ => input,
        }
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

/// Checks a value against a schema that belongs to no plan, such as a form's or a signal's.
pub fn check(schema: &Value, value: &Value) -> Vec<InputError> {
    match build(&schema.to_serde()) {
        Err(error) => vec![error],
        Ok(validator) => validator
            .iter_errors(&value.to_serde())
            .take(INPUT_ERRORS_MAX)
            .map(|error| InputError { pointer: error.instance_path().to_string(), message: error.to_string() })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compile, source::Format, step_type::StepTypes, step_types};

    fn plan(schema: &str) -> std::sync::Arc<Plan> {
        let text = format!("name: a\ninput: {schema}\nsteps: []\n");
        let types = StepTypes::new(step_types::built_in());
        compile(&text, Format::Yaml, &types).unwrap_or_else(|it| panic!("{it:?}")).plan
    }

    fn check(schema: &str, input: &str, expect: Result<&str, &[&str]>) {
        let plan = plan(schema);
        // Twice: the second time the schema has been compiled.
        for _ in 0..2 {
            let given = validate_input(&plan, serde_json::from_str(input).unwrap());
            match (&given, expect) {
                (Ok(value), Ok(expect)) => assert_eq!(value.to_string(), expect, "{input}"),
                (Err(errors), Err(expect)) => {
                    let pointers: Vec<&str> = errors.iter().map(|it| it.pointer.as_str()).collect();
                    assert_eq!(pointers, expect, "{input}: {errors:?}");
                }
                _ => panic!("{input}: {given:?}"),
            }
        }
    }

    #[test]
    fn defaults_are_filled_in_before_checking() {
        let schema = "{type: object, required: [n], properties: {n: {type: integer, default: 3}, \
                      o: {type: object, default: {}, properties: {x: {default: 1}}}}}";
        check(schema, "{}", Ok(r#"{"n":3,"o":{"x":1}}"#));
        check(schema, "null", Ok(r#"{"n":3,"o":{"x":1}}"#));
        check(schema, r#"{"n":4,"o":{"x":null}}"#, Ok(r#"{"n":4,"o":{"x":null}}"#));
        check("{items: {properties: {q: {default: 1}}}}", r#"[{}, {"q": 2}]"#, Ok(r#"[{"q":1},{"q":2}]"#));
        check(
            "{$defs: {a: {properties: {c: {default: DE}}}}, properties: {to: {$ref: '#/$defs/a'}}}",
            r#"{"to":{}}"#,
            Ok(r#"{"to":{"c":"DE"}}"#),
        );
        check("{$ref: '#/$defs/l', $defs: {l: {properties: {next: {$ref: '#/$defs/l', default: {}}}}}}", "1", Ok("1"));
    }

    #[test]
    fn every_mismatch_is_said_at_once() {
        let schema = "{type: object, required: [a], properties: {a: {type: string}, b: {minimum: 1}, \
                      m: {type: string, format: email}}, additionalProperties: false}";
        check(schema, r#"{"a":1,"b":0,"m":"x","z":1}"#, Err(&["", "/a", "/b", "/m"]));
        check(schema, r#"{"a":"x","m":"a@b.example"}"#, Ok(r#"{"a":"x","m":"a@b.example"}"#));
        check(schema, "[]", Err(&[""]));
    }

    #[test]
    fn whole_numbers_keep_their_64_bits() {
        check(
            "{properties: {n: {type: integer, maximum: 9007199254740993}}}",
            r#"{"n":9007199254740994}"#,
            Err(&["/n"]),
        );
        check(
            "{properties: {n: {type: integer}}}",
            r#"{"n":18446744073709551615}"#,
            Ok(r#"{"n":18446744073709551615}"#),
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = "{$ref: '#/$defs/l', $defs: {l: {properties: {next: {$ref: '#/$defs/l', default: {}}}}}}";
        assert!(validate_input(&plan(schema), Value::Null).is_ok());
        let doubling = "{properties: {a: {$ref: '#', default: {}}, b: {$ref: '#', default: {}}}}";
        let errors = validate_input(&plan(doubling), Value::Null).unwrap_err();
        assert!(errors[0].message.contains("more than 10000"), "{errors:?}");
    }

    #[test]
    fn a_schema_that_is_only_itself_is_survived() {
        for schema in ["{$ref: '#'}", "{allOf: [{$ref: '#'}]}", "{anyOf: [{$ref: '#'}, {type: object}]}"] {
            let text = format!("name: a\ninput: {schema}\nsteps: []\n");
            let types = StepTypes::new(step_types::built_in());
            if let Ok(compiled) = compile(&text, Format::Yaml, &types) {
                let _ = validate_input(&compiled.plan, Value::Null);
            }
        }
    }
}
