//! `transform`: gives a value.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{anything, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `transform`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// Any JSON with expressions in it: the output is this value.
    pub value: Value,
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "transform",
        documentation: "Gives a value made of literals and expressions.",
        family: Family::Pure,
        with_schema: schema_of::<Transform>(),
        output_schema: anything(),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
