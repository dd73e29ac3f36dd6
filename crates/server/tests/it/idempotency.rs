//! Starting twice under one key starts once.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Api, send};

const CLIENTS: usize = 50;

pub async fn one_key_starts_one_run(api: Api) {
    api.deploy("order", "name: order\nsteps:\n  - id: go\n    type: wait\n    with: { signal: go }\n").await;
    let start = |key: &str, input: i64| {
        let request = api.request(Method::POST, "/workflows/order/runs").header("idempotency-key", key);
        send(request.json(&json!({ "input": { "n": input } })))
    };
    let answers: Vec<Answer> = join_all((0..CLIENTS).map(|_| start("one", 1))).await;
    let ids: std::collections::BTreeSet<String> =
        answers.iter().map(|answer| answer.expect(202)["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == "true").count();
    assert_eq!(replayed, CLIENTS - 1);
    for answer in &answers {
        assert_eq!(answer.header("location"), format!("/api/v1/runs/{}", ids.first().unwrap()));
    }
    start("one", 2).await.problem(409, "idempotency_key_reused");
    start("two", 2).await.expect(202);
    assert_eq!(api.get("/runs").await.expect(200)["items"].as_array().unwrap().len(), 2);
    start(&"k".repeat(201), 1).await.problem(400, "invalid_idempotency_key");

    let run = ids.first().unwrap();
    let signal = || {
        let request = api.request(Method::POST, &format!("/runs/{run}/signals/go")).header("idempotency-key", "s");
        send(request.json(&json!({ "by": "ada" })))
    };
    signal().await.expect(202);
    api.until(&format!("/runs/{run}"), |it| it["status"] == "completed").await;
    // The run has ended, and the signal is still the success that it was.
    let again = signal().await;
    assert_eq!(again.expect(202)["name"], "go");
    assert_eq!(again.header("idempotent-replayed"), "true");
    let other = api.request(Method::POST, &format!("/runs/{run}/signals/go")).header("idempotency-key", "s");
    send(other.json(&json!({ "by": "eve" }))).await.problem(409, "idempotency_key_reused");
}
