//! `state`: values that outlive a step, and with a wider scope a run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Span, Text, anything, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of a `state`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What is done.
    pub op: StateOperation,
    /// Whose state.
    #[serde(default)]
    pub scope: StateScope,
    /// A space of keys within the scope.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub namespace: Option<String>,
    /// The key.
    pub key: Text,
    /// What is written: the new value, or for `update` a map whose entries are put into the old one. For `get`: what
    /// stands for a value that is not there.
    #[serde(default)]
    pub value: Option<Value>,
    /// What `increment` adds; 1 when absent.
    #[serde(default)]
    pub by: Option<Value>,
    /// What `compare_and_set` must find; null stands for nothing.
    #[serde(default)]
    pub expected: Option<Value>,
    /// How long the value is kept.
    #[serde(default)]
    pub ttl: Option<Span>,
}

/// What a `state` step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateOperation {
    /// Reads a value.
    Get,
    /// Writes a value.
    Set,
    /// Puts the entries of a map into the map that is there.
    Update,
    /// Adds to a number.
    Increment,
    /// Removes a value.
    Delete,
    /// Writes a value if the old one is as expected.
    CompareAndSet,
}

/// Whose state it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateScope {
    /// This run's.
    #[default]
    Run,
    /// That of all runs of this workflow.
    Workflow,
    /// That of the tenant.
    Tenant,
}

/// The step type: what the engine and the shared scopes have in common.
pub fn step_type() -> StepType {
    StepType {
        name: "state",
        documentation: "Reads or changes state.\n\n\
            `op` is `get`, `set`, `update`, `increment`, `delete` or `compare_and_set`; `scope` is `run` (the default), \
            `workflow` or `tenant`, written literally. The run's own state is also visible as `state`. The output is the \
            value after the operation; of `get` it is `value` when there is none, of `delete` what was there, of \
            `compare_and_set` `{swapped, value}`.\n\n\
            In the scopes `workflow` and `tenant` each operation is atomic, and happens once however often its step is \
            repeated. A value there has at most 1 MiB. `ttl` says how long it is kept; without it `set` and \
            `compare_and_set` keep it for good, `update` and `increment` for as long as it was to be kept before.",
        family: Family::Doing,
        with_schema: schema_of::<State>(),
        output_schema: anything(),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
