//! A context for an attempt, and the shapes that tests check.

use serde_json::json;
use tokio_util::sync::CancellationToken;
use windlass_definition::{Timestamp, Value};
use windlass_engine::id::{RunId, TenantKey};
use windlass_runtime::step::{Step, StepContext, StepFailure};
use windlass_store::Store;

pub fn context() -> StepContext {
    StepContext {
        tenant: TenantKey::DEFAULT,
        run: RunId::from_parts(0, [0; 10]),
        workflow: "test".into(),
        path: "step".into(),
        key: "00000000/step".into(),
        attempt: 1,
        now: Timestamp::from_micros(0),
        stop: CancellationToken::new(),
        store: Store {},
    }
}

pub async fn run(step: &dyn Step, with: serde_json::Value) -> Result<serde_json::Value, StepFailure> {
    let context = context();
    let output = step.run(&context, Value::from(with)).await;
    output.map(|it| it.to_serde())
}

/// The output, or `{error: class/code}`.
pub async fn answer(step: &dyn Step, with: serde_json::Value) -> serde_json::Value {
    match run(step, with).await {
        Ok(output) => output,
        Err(failure) => json!({ "error": format!("{}/{}", failure.error.class, failure.error.code) }),
    }
}
