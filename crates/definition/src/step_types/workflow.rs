//! `workflow`: another workflow as a step.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{anything, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `workflow`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// The workflow's name.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Which published version; the newest when absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub version: Option<u32>,
    /// The child run's input; `{}` when absent.
    #[serde(default = "empty")]
    pub input: Value,
    /// Whether the step waits for the child run; false only starts it.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn empty() -> Value {
    Value::map::<&str>([])
}

fn yes() -> bool {
    true
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "workflow",
        documentation: "Runs another workflow as a child of this run; the output is the child's.\n\n\
            Without `version` it is the newest published one when the step starts. A child that does not complete fails \
            the step with its class and code. With `wait: false` the step ends once the start is durable, with \
            `{run_id}`, and nothing connects the two afterwards. At most 32 runs may start each other.",
        family: Family::Doing,
        with_schema: schema_of::<Workflow>(),
        output_schema: anything(),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
