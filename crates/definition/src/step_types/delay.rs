//! `delay`: waits for a time.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Moment, Span, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `delay`: one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["for"]}, {"required": ["until"]}]))]
pub struct Delay {
    /// How long to wait, from when the step is ready.
    #[serde(default)]
    pub r#for: Option<Span>,
    /// The time to wait for; one that is past ends the step at once.
    #[serde(default)]
    pub until: Option<Moment>,
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "delay",
        documentation: "Waits for a span of time, or until a point in time.\n\n\
            A waiting run costs no thread, no connection and no polling; the time survives restarts.",
        family: Family::Waiting,
        with_schema: schema_of::<Delay>(),
        output_schema: Value::map([("type", Value::from("null"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
