//! Those who talk to the server: who starts runs, decides approvals, sends signals, and works on tasks.
//!
//! Invariant: nobody here believes that something happened before the server said so, and everybody asks again, with
//! the same key, when it died before it answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    examples::Case,
    world::{TRY_EVERY, World},
};

/// A run that the server has accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The key it was started with.
    pub key: String,
    /// Its id.
    pub run: String,
    /// What it is.
    pub case: Case,
    /// How it ended, as it was told first.
    pub ended: Value,
}

/// All that the server has accepted, by key.
#[derive(Debug, Default)]
pub struct Book(Mutex<BTreeMap<String, Accepted>>);

impl Book {
    /// Writes down a run that has ended.
    fn enter(&self, accepted: Accepted) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(accepted.key.clone(), accepted);
    }

    /// Everything in it.
    pub fn all(&self) -> Vec<Accepted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Whether a run in that status is over.
pub fn is_final(status: &Value) -> bool {
    let status = status.as_str().expect("a status");
    ["completed", "failed", "compensated", "cancelled", "timed_out"].contains(&status)
}

/// Starts a run and follows it to its end.
pub async fn run_to_end(world: Arc<World>, book: Arc<Book>, case: Case, key: String) {
    let path = format!("/workflows/{}/runs", case.workflow);
    let body = json!({ "input": case.input, "key": key });
    let started = world.post(&path, body.clone(), Some(&key)).await;
    let run = started["id"].as_str().expect("a run").to_owned();
    // Whoever asks again gets the same run, before and after any restart.
    let again = world.post(&path, body, Some(&key)).await;
    assert_eq!(again["id"], json!(run), "{key} was started twice");
    if case.workflow == "signal" {
        let answer = world
            .ask(Method::POST, &format!("/runs/{run}/signals/ready"), Some(json!({ "by": key })), Some(&key))
            .await;
        // 409: it was taken and the run has ended, but the server died before it said so.
        let ended = answer.body["code"] == "run_not_open";
        assert!((200..300).contains(&answer.status) || ended, "{answer:?}");
    }
    loop {
        let view = world.get(&format!("/runs/{run}")).await;
        if is_final(&view["status"]) {
            return book.enter(Accepted { key, run, case, ended: view });
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Approves whatever is pending, until nobody needs it any more.
pub async fn approve(world: Arc<World>) {
    loop {
        for approval in world.list("/approvals?status=pending").await {
            let id = approval["id"].as_str().expect("an approval");
            let form = json!({ "form": { "budget": "heating" } });
            let answer = world.ask(Method::POST, &format!("/approvals/{id}/approve"), Some(form), None).await;
            // 409: it was decided, but the server died before it said so.
            assert!((200..300).contains(&answer.status) || answer.status == 409, "{answer:?}");
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Works on tasks, until nobody needs it any more.
pub async fn work(world: Arc<World>) {
    loop {
        let claim = json!({ "queues": ["words"], "worker": "kill-test", "max": 3, "wait": "50ms" });
        let claimed = world.post("/tasks/claim", claim, None).await;
        for task in claimed["tasks"].as_array().expect("tasks") {
            let text = task["input"]["text"].as_str().expect("a text");
            let output = json!({ "words": text.split_whitespace().count() });
            let id = task["id"].as_str().expect("a task");
            let body = json!({ "token": task["token"], "output": output });
            let answer = world.ask(Method::POST, &format!("/tasks/{id}/complete"), Some(body), None).await;
            // 409: the answer had been taken already, or its lease ran out and somebody else has it.
            assert!((200..300).contains(&answer.status) || answer.status == 409, "{answer:?}");
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}
