//! Runs the conformance cases of the Common Expression Language. What is listed here as different on purpose must be
//! different: a listed case that passes fails the test.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;
use windlass_definition::{
    Expression, Timestamp, Value,
    expression::Scope,
    value::{Key, Map},
};

const NO_DOTS: &str = "the names of a scope have no dots: `a.b` is always a selection";
const UNKNOWN_NAMES: &str = "calling a function that does not exist is refused when the document is saved";

/// `file/section/name` and why it is different here.
const DIFFERENT: &[(&str, &str)] = &[
    ("basic/functions/unbound_is_runtime_error", UNKNOWN_NAMES),
    ("fields/qualified_identifier_resolution/qualified_ident", NO_DOTS),
    ("fields/qualified_identifier_resolution/map_field_select", NO_DOTS),
    ("fields/qualified_identifier_resolution/qualified_identifier_resolution_unchecked", NO_DOTS),
    ("fields/qualified_identifier_resolution/ident_with_longest_prefix_check", NO_DOTS),
    ("namespace/qualified/self_eval_qualified_lookup", NO_DOTS),
];

struct Bindings(BTreeMap<String, Value>);

impl Scope for Bindings {
    fn variable(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }

    fn step(&self, _: &str) -> Option<Value> {
        None
    }

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn uuid(&self, _: u32) -> Uuid {
        Uuid::nil()
    }
}

/// Reads a value as the cases write it: `{"int": "5"}`.
fn read(json: &serde_json::Value) -> Value {
    let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
    let text = value.as_str().unwrap_or_default();
    match kind.as_str() {
        "null" => Value::Null,
        "bool" => Value::Bool(value.as_bool().unwrap()),
        "int" => Value::Int(text.parse().unwrap()),
        "uint" => Value::Uint(text.parse().unwrap()),
        "double" => Value::Double(text.parse().unwrap()),
        "string" => Value::string(text),
        "bytes_hex" => Value::Bytes(hex::decode(text).unwrap().into()),
        "type" => Value::Type(Box::leak(text.to_owned().into_boxed_str())),
        "list" => Value::list(value.as_array().unwrap().iter().map(read)),
        "map" => {
            let entries = value.as_array().unwrap().iter().map(|pair| (read_key(&pair[0]), read(&pair[1])));
            Value::Map(Arc::new(entries.collect::<Map>()))
        }
        other => panic!("unknown kind {other}"),
    }
}

fn read_key(json: &serde_json::Value) -> Key {
    match read(json) {
        Value::Bool(value) => Key::Bool(value),
        Value::Int(value) => Key::Int(value),
        Value::Uint(value) => i64::try_from(value).map_or(Key::Uint(value), Key::Int),
        Value::String(text) => Key::String(text),
        other => panic!("{other} is no key"),
    }
}

/// Why a case does not give what it should; `None` when it does.
fn difference(case: &serde_json::Value) -> Option<String> {
    let source = case["expr"].as_str().unwrap();
    let bindings = case["bindings"].as_object().into_iter().flatten();
    let scope = Bindings(bindings.map(|(name, value)| (name.clone(), read(value))).collect());
    let outcome = match Expression::parse(source) {
        Ok(expression) => expression.evaluate(&scope).map_err(|error| error.to_string()),
        Err(error) => Err(format!("syntax: {}", error.message)),
    };
    match (outcome, case.get("value")) {
        (Ok(value), Some(expected)) if value == read(expected) => None,
        (Ok(value), Some(expected)) => Some(format!("{source}: {value:?} instead of {expected}")),
        (Ok(value), None) => Some(format!("{source}: {value:?} instead of the error {}", case["error"])),
        (Err(error), Some(_)) => Some(format!("{source}: {error}")),
        (Err(error), None) if error.contains("limit/") => Some(format!("{source}: {error}")),
        (Err(_), None) => None,
    }
}

#[test]
fn every_case_gives_what_the_specification_says() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("data/cel-conformance.json")).unwrap();
    let (mut passed, mut wrong) = (0, Vec::new());
    for case in &cases {
        let name = ["file", "section", "name"].map(|part| case[part].as_str().unwrap()).join("/");
        let listed = DIFFERENT.iter().find(|(listed, _)| *listed == name);
        match (difference(case), listed) {
            (None, None) => passed += 1,
            (Some(_), Some(_)) => {}
            (Some(difference), None) => wrong.push(format!("{name}: {difference}")),
            (None, Some((_, reason))) => wrong.push(format!("{name} passes, but is listed: {reason}")),
        }
    }
    let total = cases.len();
    eprintln!("{total} cases: {passed} passed, {} different on purpose, {} wrong", DIFFERENT.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(passed + DIFFERENT.len(), total);
}
