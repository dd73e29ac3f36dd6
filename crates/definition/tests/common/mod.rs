//! What the tests of this crate share: the engine's own step types, and two that have effects.

use windlass_definition::{
    Value,
    step_type::{CredentialField, Family, StepType, StepTypes},
    step_types,
};

/// The step types that the tests' documents are written with.
pub fn step_types() -> StepTypes {
    let mut types = step_types::built_in();
    types.push(http());
    types.push(jq());
    StepTypes::new(types)
}

fn http() -> StepType {
    let schema = r#"{"type":"object","required":["url"],"additionalProperties":false,"properties":{
        "method":{"type":"string","enum":["GET","POST","PUT","PATCH","DELETE","HEAD","OPTIONS"]},
        "url":{"type":"string","minLength":1},
        "headers":{"type":"object","additionalProperties":{"type":"string"}},
        "query":{"type":"object"},
        "json":{},
        "body":{"type":"string"},
        "credential":{"type":"string"},
        "max_bytes":{"type":["integer","null"],"minimum":1,"maximum":67108864}}}"#;
    StepType {
        name: "http",
        documentation: "Sends a request.",
        family: Family::Doing,
        with_schema: serde_json::from_str(schema).unwrap(),
        output_schema: Value::map([("type", Value::from("object"))]),
        secret_fields: &["/headers/*", "/query/*"],
        program_fields: &[],
        credential_fields: &[CredentialField { name: "credential", types: &["bearer"] }],
        hidden: false,
    }
}

fn jq() -> StepType {
    let schema = r#"{"type":"object","required":["program"],"additionalProperties":false,"properties":{
        "program":{"type":"string","minLength":1},"input":{},"args":{"type":"object"}}}"#;
    StepType {
        name: "jq",
        documentation: "Runs a jq program.",
        family: Family::Doing,
        with_schema: serde_json::from_str(schema).unwrap(),
        output_schema: Value::map::<&str>([]),
        secret_fields: &[],
        program_fields: &["/program"],
        credential_fields: &[],
        hidden: false,
    }
}
