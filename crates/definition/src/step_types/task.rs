//! `task`: work for an outside worker.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Span, anything, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// How far the priority of a task goes from 0, in both directions.
pub const PRIORITY_MAX: i32 = 100;

/// The `with` of a `task`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The queue that workers claim from.
    #[schemars(length(min = 1, max = 200))]
    pub queue: String,
    /// What the worker is given.
    #[serde(default)]
    pub input: Value,
    /// Higher is claimed first.
    #[serde(default)]
    #[schemars(range(min = -PRIORITY_MAX, max = PRIORITY_MAX))]
    pub priority: i32,
    /// How long a claim lasts without a heartbeat; then the task goes back to the queue.
    #[serde(default = "lease")]
    pub lease: Span,
}

fn lease() -> Span {
    Span(Duration::from_secs(60))
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "task",
        documentation: "Offers work to outside workers on a named queue; the output is what the worker answers.\n\n\
            A worker claims the task, sends heartbeats, and completes or fails it. A worker that is lost loses its \
            claim after `lease` (default 60s), and the task goes back to the queue.",
        family: Family::Doing,
        with_schema: schema_of::<Task>(),
        output_schema: anything(),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
