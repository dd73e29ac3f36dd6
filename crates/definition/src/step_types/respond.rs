//! `respond`: answers whoever waits for the run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Text, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `respond`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The HTTP status.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// The body: text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Value,
}

fn ok() -> u16 {
    200
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "respond",
        documentation: "Answers the webhook or the waiting caller before the run ends.\n\n\
            The first answer of a run counts; when nobody waits, the step does nothing.",
        family: Family::Pure,
        with_schema: schema_of::<Respond>(),
        output_schema: Value::map([("type", Value::from("null"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
