//! Those who talk to the servers: who starts runs, decides approvals, sends signals, and works on tasks.
//!
//! Invariant: nobody here believes that something happened before a server said so and the ledger has it, and everybody
//! asks again, with the same key, when no answer came.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use windlass_runtime::verify::ledger::Told;

use super::{Accepted, Load};
use crate::{
    client::{Answer, Request, TRY_EVERY},
    load::examples::Case,
};

/// Between two looks at a run that goes on for long.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);

/// Whether a run in that status is over.
pub fn is_final(status: &Value) -> bool {
    let finals = ["completed", "failed", "compensated", "cancelled", "timed_out"];
    status.as_str().is_some_and(|it| finals.contains(&it))
}

/// A text in an answer.
fn text(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("no `{field}` in {value}"))
}

/// Starts a run under that key, as often as it takes.
///
/// # Errors
/// The start is refused.
pub async fn start(load: &Load, case: &Case, key: &str) -> Result<String> {
    let path = format!("/workflows/{}/runs", case.workflow);
    let start = Request::post(path, &json!({ "input": case.input, "key": key })).key(key);
    let run = text(&load.world.client.must(&start).await?, "id")?;
    load.told(Told::Start { run: run.clone(), workflow: case.workflow.to_owned(), key: Some(key.to_owned()) }).await?;
    // Whoever asks again gets the same run, before and after any restart.
    let again = text(&load.world.client.must(&start).await?, "id")?;
    ensure!(again == run, "{key} was started twice: {run} and {again}");
    Ok(run)
}

/// Starts a run and follows it to its end.
///
/// # Errors
/// A server says what it must not say.
pub async fn run_to_end(load: Load, case: Case, key: String) -> Result<()> {
    let run = start(&load, &case, &key).await?;
    for signal in case.signals {
        let path = format!("/runs/{run}/signals/{signal}");
        let key = format!("{key}-{signal}");
        let answer = load.world.client.ask(&Request::post(path, &json!({ "by": key })).key(&key)).await?;
        // It was taken and the run has ended, but the server died before it said so.
        let ended = answer.body["code"] == "run_not_open";
        ensure!(answer.is_success() || ended, "{key}: {answer:?}");
        if answer.is_success() {
            load.told(Told::Signal { run: run.clone(), name: (*signal).to_owned(), key: Some(key) }).await?;
        }
    }
    let ended = end(&load, &run).await.with_context(|| key.clone())?;
    load.enter(Accepted { key, run, case, ended });
    Ok(())
}

/// Waits for the end of a run.
///
/// # Errors
/// It is not there.
pub async fn end(load: &Load, run: &str) -> Result<Value> {
    let mut pause = TRY_EVERY;
    loop {
        let view = load.world.client.get(&format!("/runs/{run}")).await?;
        if is_final(&view["status"]) {
            load.told(Told::Final { run: run.to_owned(), status: text(&view, "status")? }).await?;
            return Ok(view);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LOOK_EVERY_MAX);
    }
}

/// Whether an answer is a yes; 409 says that it was taken already, or that somebody else was first.
fn taken(answer: &Answer) -> Result<bool> {
    match answer.status {
        200..=299 => Ok(true),
        409 => Ok(false),
        _ => bail!("{answer:?}"),
    }
}

/// Approves whatever is pending, until nobody needs it any more.
///
/// # Errors
/// A server says what it must not say.
pub async fn decide(load: Load) -> Result<()> {
    let client = &load.world.client;
    loop {
        for approval in client.list("/approvals?status=pending").await? {
            let id = text(&approval, "id")?;
            let form = json!({ "form": { "budget": "heating" } });
            let answer = client.ask(&Request::post(format!("/approvals/{id}/approve"), &form)).await?;
            if taken(&answer)? {
                let (run, verdict) = (text(&approval, "run_id")?, "approved".to_owned());
                load.told(Told::Decision { approval: id, run, verdict }).await?;
            }
        }
        tokio::time::sleep(TRY_EVERY * 4).await;
    }
}

/// Works on tasks, until nobody needs it any more.
///
/// # Errors
/// A server says what it must not say.
pub async fn work(load: Load) -> Result<()> {
    let client = &load.world.client;
    loop {
        let claim = json!({ "queues": ["words"], "worker": "proof", "max": 10, "wait": "200ms" });
        let claimed = client.must(&Request::post("/tasks/claim", &claim)).await?;
        for task in claimed["tasks"].as_array().context("no tasks")? {
            let (id, words) = (text(task, "id")?, text(&task["input"], "text")?.split_whitespace().count());
            let body = json!({ "token": task["token"], "output": { "words": words } });
            let answer = client.ask(&Request::post(format!("/tasks/{id}/complete"), &body)).await?;
            if taken(&answer)? {
                let (run, path) = (text(task, "run_id")?, text(task, "path")?);
                load.told(Told::Task { run, path, status: "completed".to_owned() }).await?;
            }
        }
    }
}
