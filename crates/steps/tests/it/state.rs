//! `state` in the scopes that runs share.

use serde_json::{Value, json};
use windlass_definition::Value as Plain;
use windlass_runtime::step::Step;
use windlass_steps::state::SharedState;

use crate::common::{Scene, scene};

/// Runs one step of a script; each has a key of its own.
async fn step(scene: &mut Scene, number: usize, with: Value) -> Value {
    scene.context.key = format!("run/step{number}").into();
    match SharedState.run(&scene.context, Plain::from(with)).await {
        Ok(output) => output.to_serde(),
        Err(failure) => json!(format!("{}/{}", failure.error.class, failure.error.code)),
    }
}

async fn check(script: &[(Value, Value)]) {
    let mut scene = scene().await;
    for (number, (with, expected)) in script.iter().enumerate() {
        let mut with = with.clone();
        with["scope"] = with.get("scope").cloned().unwrap_or(json!("workflow"));
        with["key"] = with.get("key").cloned().unwrap_or(json!("k"));
        assert_eq!(step(&mut scene, number, with.clone()).await, *expected, "{number}: {with}");
    }
}

#[tokio::test]
async fn operations_mean_what_they_mean_in_a_run() {
    check(&[
        (json!({ "op": "get" }), json!(null)),
        (json!({ "op": "get", "value": 7 }), json!(7)),
        (json!({ "op": "increment" }), json!(1)),
        (json!({ "op": "increment", "by": 41 }), json!(42)),
        (json!({ "op": "get" }), json!(42)),
        (json!({ "op": "get", "scope": "tenant" }), json!(null)),
        (json!({ "op": "get", "namespace": "other" }), json!(null)),
        (json!({ "op": "compare_and_set", "expected": 1, "value": 2 }), json!({ "swapped": false, "value": 42 })),
        (json!({ "op": "compare_and_set", "expected": 42, "value": 2 }), json!({ "swapped": true, "value": 2 })),
        (json!({ "op": "delete" }), json!(2)),
        (json!({ "op": "delete" }), json!(null)),
        (json!({ "op": "update", "value": { "a": 1 } }), json!({ "a": 1 })),
        (json!({ "op": "update", "value": { "b": 2 }, "ttl": "1h" }), json!({ "a": 1, "b": 2 })),
        (json!({ "op": "set", "value": null }), json!(null)),
        (json!({ "op": "compare_and_set", "expected": null, "value": 1 }), json!({ "swapped": true, "value": 1 })),
    ])
    .await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    check(&[
        (json!({ "op": "set", "value": "text" }), json!("text")),
        (json!({ "op": "increment" }), json!("validation/invalid_with")),
        (json!({ "op": "update", "value": {} }), json!("validation/invalid_with")),
        (json!({ "op": "get", "scope": "run" }), json!("validation/bad_scope")),
        (json!({ "op": "get", "key": "" }), json!("validation/bad_key")),
        (json!({ "op": "explode" }), json!("validation/invalid_with")),
        (json!({ "op": "set", "value": "x".repeat(2 << 20) }), json!("limit/state_value_too_large")),
        (json!({ "op": "get" }), json!("text")),
    ])
    .await;
}

#[tokio::test]
async fn a_repeated_attempt_gets_what_the_first_one_got() {
    let mut scene = scene().await;
    let with = json!({ "op": "increment", "scope": "tenant", "key": "visits" });
    for (number, expected) in [(0, 1), (1, 2), (0, 1), (1, 2), (2, 3)] {
        assert_eq!(step(&mut scene, number, with.clone()).await, json!(expected));
    }
}
