//! `restart`: a fresh run in the place of this one.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::schema_of;
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `restart`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// The fresh run's input; `{}` when absent.
    #[serde(default)]
    pub input: Option<Value>,
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "restart",
        documentation: "Ends this run and lets a fresh one with new input take its place.\n\n\
            For workflows that never end: each run stays short, and so does its journal.",
        family: Family::Pure,
        with_schema: schema_of::<Restart>(),
        output_schema: Value::map([("type", Value::from("null"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
