//! `fail`: raises an error.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Text, schema_of};
use crate::{
    Class, Value,
    step_type::{Family, StepType},
};

/// The `with` of a `fail`: a new error by its `message`, or an old one by `error`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["message"]}, {"required": ["error"]}]))]
pub struct Fail {
    /// What happened and what to do.
    #[serde(default)]
    pub message: Option<Text>,
    /// Which error, for programs; `failed` when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub code: Option<String>,
    /// What kind of error; `user` when absent.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("enum" = CLASSES))]
    pub class: Option<Class>,
    /// Whether trying again may help.
    #[serde(default)]
    pub retryable: bool,
    /// Whatever else is known.
    #[serde(default)]
    pub details: Value,
    /// An error to raise again unchanged, such as `${{ e }}`.
    #[serde(default)]
    pub error: Option<Value>,
}

const CLASSES: [&str; 14] = [
    "timeout",
    "connect",
    "http",
    "validation",
    "expression",
    "cancelled",
    "limit",
    "denied",
    "not_found",
    "script",
    "wasm",
    "model",
    "worker_lost",
    "user",
];

pub(super) fn step_type() -> StepType {
    StepType {
        name: "fail",
        documentation: "Fails with an error, of class `user` unless it says another.\n\n\
            `error: ${{ e }}` raises a caught error again, unchanged.",
        family: Family::Pure,
        with_schema: schema_of::<Fail>(),
        output_schema: Value::map([("type", Value::from("null"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
