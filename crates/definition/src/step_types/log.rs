//! `log`: writes a line.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Text, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `log`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What the line says.
    pub message: Text,
    /// How important it is.
    #[serde(default)]
    pub level: Level,
    /// What is kept beside the line.
    #[serde(default)]
    pub data: Value,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// The usual.
    #[default]
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "log",
        documentation: "Writes a line to the run's log.",
        family: Family::Pure,
        with_schema: schema_of::<Log>(),
        output_schema: Value::map([("type", Value::from("null"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
