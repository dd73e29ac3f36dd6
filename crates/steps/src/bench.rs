//! `bench`: gives back its `with.value`. Counts as an effect on the outside world, so that a benchmark measures steps
//! whose results are on disk before the next one begins. Hidden from people.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use windlass_definition::{
    Class, Error, Value,
    step_type::{Family, StepType},
};
use windlass_runtime::step::{Boxed, Step, StepContext, StepFailure};

use crate::schema;

/// The step type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bench;

/// The `with` of `bench`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; the value is read without a copy")]
struct BenchWith {
    /// The output.
    #[serde(default)]
    value: serde_json::Value,
    /// How long the step takes, in milliseconds.
    sleep_ms: Option<u64>,
}

impl Step for Bench {
    fn describe(&self) -> StepType {
        StepType {
            name: "bench",
            documentation: "Gives back `value` after `sleep_ms` milliseconds. For benchmarks and examples.",
            family: Family::Doing,
            with_schema: schema::input_schema::<BenchWith>(),
            output_schema: schema::any_output("The `value`."),
            secret_fields: &[],
            program_fields: &[],
            credential_fields: &[],
            hidden: true,
        }
    }

    fn run_now(&self, input: &Value) -> Option<Result<Value, StepFailure>> {
        let at_once = input.get("sleep_ms").and_then(Value::as_i64).is_none_or(|ms| ms <= 0);
        at_once.then(|| Ok(input.get("value").cloned().unwrap_or_default()))
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            let value = input.get("value").cloned().unwrap_or_default();
            let Some(sleep_ms) = input.get("sleep_ms").and_then(Value::as_i64).filter(|it| *it > 0) else {
                return Ok(value);
            };
            let sleep = tokio::time::sleep(Duration::from_millis(sleep_ms.unsigned_abs()));
            tokio::select! {
                () = sleep => Ok(value),
                () = context.stop.cancelled() => {
                    Err(StepFailure::nothing_sent(Error::new(Class::Cancelled, "stopped", "the step was asked to stop")))
                }
            }
        })
    }
}
