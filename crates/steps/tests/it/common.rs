//! A context for an attempt, and the shapes that tests check.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use windlass_definition::{Timestamp, Value};
use windlass_engine::id::{RunId, TenantKey};
use windlass_runtime::{
    EventRequest, PublishedEvent, RuntimeError,
    step::{Boxed, Events, Step, StepContext, StepFailure},
};
use windlass_store::{Location, Store, StoreOptions};

/// A context, and the store that is behind it.
pub struct Scene {
    pub context: StepContext,
    _directory: tempfile::TempDir,
}

/// Keeps events, as a runtime does that nobody waits in.
#[derive(Default)]
pub struct Kept(pub Mutex<Vec<EventRequest>>);

impl Events for Kept {
    fn publish(&self, event: EventRequest) -> Boxed<'_, Result<PublishedEvent, RuntimeError>> {
        self.0.lock().unwrap().push(event);
        Box::pin(async { Ok(PublishedEvent { duplicate: false, taken: 0 }) })
    }
}

pub async fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let location = Location::Sqlite { data_dir: directory.path().join("data") };
    let store = Store::open(StoreOptions::new(location)).await.unwrap();
    let context = StepContext {
        tenant: TenantKey::DEFAULT,
        run: RunId::from_parts(0, [0; 10]),
        workflow: "test".into(),
        path: "step".into(),
        key: "00000000/step".into(),
        attempt: 1,
        now: Timestamp::from_micros(0),
        stop: CancellationToken::new(),
        store,
        events: Arc::new(Kept::default()),
    };
    Scene { context, _directory: directory }
}

pub async fn run(step: &dyn Step, with: serde_json::Value) -> Result<serde_json::Value, StepFailure> {
    let scene = scene().await;
    let output = step.run(&scene.context, Value::from(with)).await;
    output.map(|it| it.to_serde())
}

/// The output, or `{error: class/code}`.
pub async fn answer(step: &dyn Step, with: serde_json::Value) -> serde_json::Value {
    match run(step, with).await {
        Ok(output) => output,
        Err(failure) => json!({ "error": format!("{}/{}", failure.error.class, failure.error.code) }),
    }
}
