//! `wait`: waits for a named signal.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{anything, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `wait`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The name of the signal.
    #[schemars(length(min = 1, max = 200))]
    pub signal: String,
    /// JSON Schema of the payload: a signal that does not fit is refused when it is sent. Needs a literal `signal`.
    #[serde(default)]
    pub schema: Option<Value>,
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "wait",
        documentation: "Waits for a named signal; the output is its payload.\n\n\
            Signals are kept in order until they are taken, also before any `wait` exists; each goes to the `wait` of \
            its name that began first. `timeout` on the step bounds the wait.",
        family: Family::Waiting,
        with_schema: schema_of::<Wait>(),
        output_schema: anything(),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
