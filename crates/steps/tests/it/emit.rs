//! `emit`: the CloudEvent that a document describes.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_definition::Value as Plain;
use windlass_runtime::step::Step;
use windlass_steps::emit::Emit;

use crate::common::{Kept, scene};

/// The event that was handed in, or the failure's class and code.
async fn emitted(with: Value) -> Value {
    let mut scene = scene().await;
    let kept = Arc::new(Kept::default());
    scene.context.events = kept.clone();
    match Emit.run(&scene.context, Plain::from(with)).await {
        Ok(output) => {
            let event = kept.0.lock().unwrap().pop().unwrap();
            assert_eq!(output.to_serde(), json!({ "id": event.id, "source": event.source, "taken": 0 }));
            event.event.to_serde()
        }
        Err(failure) => json!(format!("{}/{}", failure.error.class, failure.error.code)),
    }
}

#[tokio::test]
async fn an_event_is_a_cloudevent() {
    let small = json!({
        "specversion": "1.0", "id": "00000000/step", "source": "/workflows/test", "type": "com.shop.paid",
        "time": "1970-01-01T00:00:00.000000Z", "datacontenttype": "application/json", "data": null,
    });
    assert_eq!(emitted(json!({ "type": "com.shop.paid" })).await, small);
    let full = json!({
        "type": "t", "subject": "s", "source": "/x", "id": "7", "time": "2026-01-31T08:00:00Z", "data": { "n": 1.0 },
    });
    let expected = json!({
        "specversion": "1.0", "id": "7", "source": "/x", "type": "t", "subject": "s",
        "time": "2026-01-31T08:00:00.000000Z", "datacontenttype": "application/json", "data": { "n": 1.0 },
    });
    assert_eq!(emitted(full).await, expected);
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    for (with, error) in [
        (json!({}), "validation/bad_with"),
        (json!({ "type": "" }), "validation/bad_event"),
        (json!({ "type": "x".repeat(201) }), "validation/bad_event"),
        (json!({ "type": "t", "subject": "" }), "validation/bad_event"),
        (json!({ "type": "t", "time": "yesterday" }), "validation/bad_event"),
        (json!({ "type": "t", "to": "nobody" }), "validation/bad_with"),
    ] {
        assert_eq!(emitted(with.clone()).await, json!(error), "{with}");
    }
}
