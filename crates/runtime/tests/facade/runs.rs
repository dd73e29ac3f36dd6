//! Runs that run: to their end, through failures, across a restart.

use std::{collections::BTreeMap, time::Duration};

use windlass_engine::{
    id::RunId,
    start::Principal,
    status::{RunStatus, StepStatus},
};
use windlass_runtime::{CancelOptions, RunFilter, RunRequest, RuntimeError, SignalRequest};

use crate::harness::{Harness, TENANT, request, settings};

const TEN: &str = "
name: ten
input: { type: object, properties: { x: { type: integer, default: 1 } } }
steps:
  - { id: a, type: probe, with: { now: '${{ input.x }}' } }
  - { id: b, type: probe, with: { value: '${{ steps.a.output + 1 }}' } }
  - { id: c, type: transform, with: { value: '${{ steps.b.output + 1 }}' } }
output: { result: '${{ steps.c.output }}' }
";

fn told(steps: &[windlass_runtime::StepView]) -> Vec<String> {
    steps.iter().map(|step| format!("{} {} {}", step.path, step.status, step.output)).collect()
}

fn by(run: RunId) -> RunRequest {
    RunRequest { tenant: TENANT, run, by: Principal::Person("ada".into()) }
}

pub async fn a_run_completes(harness: Harness) {
    let view = harness.run(TEN, r#"{"x": 5}"#).await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    assert_eq!(view.output.to_string(), r#"{"result":7}"#);
    assert_eq!(told(&harness.steps(view.id).await), ["a completed 5", "b completed 6", "c completed 7"]);
    let read = harness.runtime.run(TENANT, view.id).await.unwrap();
    assert_eq!(read.input.to_string(), r#"{"x":5}"#);
    assert_eq!(read.output, view.output);
    let listed = harness.runtime.runs(TENANT, RunFilter { limit: 10, ..RunFilter::default() }).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

pub async fn what_does_not_exist_or_match_is_refused(harness: Harness) {
    harness.publish(TEN).await;
    let missing = harness.runtime.start(request("eleven", "{}")).await.unwrap_err();
    assert!(matches!(missing, RuntimeError::NotFound { .. }), "{missing:?}");
    let wrong = harness.runtime.start(request("ten", r#"{"x": "y"}"#)).await.unwrap_err();
    assert!(matches!(wrong, RuntimeError::Invalid { .. }), "{wrong:?}");
    let nobody = RunId::from_parts(1, [0; 10]);
    let unknown = harness.runtime.cancel(by(nobody), CancelOptions::default()).await.unwrap_err();
    assert!(matches!(unknown, RuntimeError::NotFound { .. }), "{unknown:?}");
}

pub async fn a_panic_is_a_failure(harness: Harness) {
    let source = "{name: panics, steps: [{id: a, type: probe, with: {panic: true}}]}";
    let view = harness.run(source, "{}").await;
    assert_eq!(view.status, RunStatus::Failed);
    let error = view.error.as_ref().unwrap();
    assert_eq!((error.class.as_str(), &*error.code), ("script", "step_panicked"), "{error}");
}

pub async fn retries_follow_failures(harness: Harness) {
    let source = "
name: retried
steps:
  - { id: a, type: probe, with: { fail: broken }, retry: { attempts: 3, delay: 10ms, jitter: false } }
";
    let view = harness.run(source, "{}").await;
    assert_eq!(view.status, RunStatus::Failed);
    assert_eq!(harness.ledger.begun().values().copied().collect::<Vec<_>>(), [3]);
}

pub async fn undo_runs_in_reverse(harness: Harness) {
    let source = "
name: saga
steps:
  - { id: a, type: probe, with: { value: 1 }, undo: { type: probe, with: { value: ua } } }
  - { id: b, type: probe, with: { value: 2 }, undo: { type: probe, with: { value: ub } } }
  - { id: c, type: probe, with: { fail: broken } }
";
    let view = harness.run(source, "{}").await;
    assert_eq!(view.status, RunStatus::Compensated, "{view:?}");
    let steps = harness.steps(view.id).await;
    let undone: Vec<&str> = steps.iter().map(|step| &*step.path).filter(|path| path.ends_with(":undo")).collect();
    assert_eq!(undone, ["b:undo", "a:undo"]);
}

pub async fn a_fan_out_is_bounded(harness: Harness) {
    let source = "
name: fan
steps:
  - id: each
    type: foreach
    items: '${{ input.items }}'
    parallel: 50
    do: [{ id: work, type: probe, with: { value: '${{ item }}', sleep_ms: 5 } }]
";
    let items: Vec<i64> = (0..200).collect();
    let input = serde_json::json!({ "items": items }).to_string();
    let view = harness.run(source, &input).await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    assert_eq!(view.output.as_list().unwrap().len(), 200);
    assert!(harness.ledger.most() <= 8, "{} at once", harness.ledger.most());
}

pub async fn signals_come_before_and_after_the_wait(harness: Harness) {
    let source = "
name: waits
steps:
  - { id: first, type: wait, with: { signal: go } }
  - { id: second, type: wait, with: { signal: go } }
output: ['${{ steps.first.output }}', '${{ steps.second.output }}']
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    let signal = |payload: &str, key: Option<&str>| {
        harness.runtime.signal(SignalRequest {
            tenant: TENANT,
            run,
            name: "go".to_owned(),
            payload: payload.into(),
            by: windlass_engine::start::Principal::System,
            idempotency_key: key.map(str::to_owned),
        })
    };
    assert!(!signal("one", Some("k1")).await.unwrap());
    assert!(signal("one", Some("k1")).await.unwrap());
    assert_eq!(signal("another", Some("k1")).await.unwrap_err().code(), "idempotency_key_reused");
    assert!(!signal("two", None).await.unwrap());
    let view = harness.end(run).await;
    let (first, second) =
        (view.output.as_list().unwrap()[0].to_string(), view.output.as_list().unwrap()[1].to_string());
    assert!(first.contains("one") && second.contains("two"), "{first} {second}");
    // The run has ended: what came before is still the success that it was, and nothing new comes.
    assert!(signal("one", Some("k1")).await.unwrap());
    assert_eq!(signal("another", Some("k1")).await.unwrap_err().code(), "idempotency_key_reused");
    for key in [None, Some("k2")] {
        assert_eq!(signal("three", key).await.unwrap_err().code(), "run_not_open");
    }
}

pub async fn cancel_stops_what_runs(harness: Harness) {
    let source = "{name: long, steps: [{id: a, type: probe, with: {sleep_ms: 600000}}]}";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.ledger.begun_reaches(1).await;
    harness.runtime.cancel(by(run), CancelOptions::default()).await.unwrap();
    let view = harness.end(run).await;
    assert_eq!(view.status, RunStatus::Cancelled, "{view:?}");
    let steps = harness.steps(run).await;
    assert_eq!(steps[0].status, StepStatus::Cancelled);
    // Who did not hear the answer asks again; another wish is another thing, and so is a run that just ended.
    harness.runtime.cancel(by(run), CancelOptions::default()).await.unwrap();
    let leave = CancelOptions { undo: windlass_engine::event::UndoChoice::Leave, ..CancelOptions::default() };
    assert_eq!(harness.runtime.cancel(by(run), leave).await.unwrap_err().code(), "cancelled_otherwise");
    let ended = harness.run("{name: ended, steps: [{id: a, type: probe, with: {now: 1}}]}", "{}").await.id;
    assert_eq!(harness.runtime.cancel(by(ended), CancelOptions::default()).await.unwrap_err().code(), "run_not_open");
}

pub async fn pause_holds_and_resume_goes_on(harness: Harness) {
    let source = "
name: paused
steps:
  - { id: a, type: wait, with: { signal: go } }
  - { id: b, type: probe, with: { value: 1 } }
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.runtime.pause(by(run)).await.unwrap();
    harness.signal(run, "go").await;
    assert_eq!(harness.runtime.run(TENANT, run).await.unwrap().status, RunStatus::Paused);
    assert!(harness.ledger.begun().is_empty());
    harness.runtime.resume(by(run)).await.unwrap();
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
}

pub async fn large_values_come_back(mut harness: Harness) {
    let source = "
name: large
steps:
  - { id: a, type: probe, with: { value: '${{ input.text }}' } }
  - { id: w, type: wait, with: { signal: go } }
output: '${{ steps.a.output }}'
";
    let name = harness.publish(source).await;
    let text = "x".repeat(300_000);
    let run = harness.start(&name, &serde_json::json!({ "text": text }).to_string()).await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.crash().await;
    harness.signal(run, "go").await;
    let view = harness.end(run).await;
    assert_eq!(view.output.as_str().map(str::len), Some(300_000));
    let entry = harness.runtime.journal(TENANT, run, 0, 100).await.unwrap();
    assert!(entry.items.len() >= 4);
}

pub async fn one_key_starts_one_run(harness: Harness) {
    let name = harness.publish(TEN).await;
    let mut starts = Vec::new();
    for _ in 0..50 {
        let mut request = request(&name, "{}");
        request.idempotency_key = Some("once".to_owned());
        let runtime = harness.runtime.clone();
        starts.push(tokio::spawn(async move { runtime.start(request).await.unwrap() }));
    }
    let mut runs = BTreeMap::<RunId, usize>::new();
    let mut first = 0;
    for start in starts {
        let started = start.await.unwrap();
        *runs.entry(started.run).or_default() += 1;
        first += usize::from(!started.duplicate);
    }
    assert_eq!((runs.len(), first), (1, 1));
    let mut other = request(&name, r#"{"x": 9}"#);
    other.idempotency_key = Some("once".to_owned());
    let refused = harness.runtime.start(other).await.unwrap_err();
    assert_eq!(refused.code(), "idempotency_key_reused");
}

pub async fn a_thousand_signals_count_once_each(harness: Harness) {
    let source = "
name: counts
steps:
  - id: each
    type: foreach
    items: '${{ input.items }}'
    do: [{ id: w, type: wait, with: { signal: go } }]
output: '${{ steps.each.output }}'
";
    let name = harness.publish(source).await;
    let items: Vec<i64> = (0..1_000).collect();
    let run = harness.start(&name, &serde_json::json!({ "items": items }).to_string()).await;
    let mut clients = Vec::new();
    for client in 0..50 {
        let runtime = harness.runtime.clone();
        clients.push(tokio::spawn(async move {
            for number in 0..20 {
                // Each is sent twice under its key, as a client does that saw no answer.
                for _ in 0..2 {
                    let name = format!("{client}-{number}");
                    let sent = runtime.signal(SignalRequest {
                        tenant: TENANT,
                        run,
                        name: "go".to_owned(),
                        payload: name.as_str().into(),
                        by: windlass_engine::start::Principal::System,
                        idempotency_key: Some(name),
                    });
                    match sent.await {
                        Ok(_) | Err(RuntimeError::Conflict { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let view = harness.end(run).await;
    assert_eq!(view.status, RunStatus::Completed, "{:?}", view.error);
    let mut taken: Vec<String> = view.output.as_list().unwrap().iter().map(ToString::to_string).collect();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 1_000);
}

pub async fn timers_fire_in_time(harness: Harness) {
    let source = "{name: sleeps, steps: [{id: a, type: delay, with: {for: 300ms}}]}";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    let view = harness.end(run).await;
    assert_eq!(view.status, RunStatus::Completed);
    // By the database's clock. This process's runs up to it when it knows it better than before, so that less may pass here.
    assert!(view.finished_at.unwrap().since(view.started_at.unwrap()) >= Duration::from_millis(300));
}

pub async fn drain_lets_attempts_end(mut harness: Harness) {
    let source = "
name: drained
steps:
  - { id: a, type: probe, with: { sleep_ms: 200, value: 1 } }
  - { id: b, type: probe, with: { value: 2 } }
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.ledger.begun_reaches(1).await;
    harness.runtime.shutdown(Duration::from_secs(5)).await;
    assert!(matches!(harness.runtime.start(request(&name, "{}")).await, Err(RuntimeError::Unavailable { .. })));
    harness.crash().await;
    let view = harness.end(run).await;
    assert_eq!(view.status, RunStatus::Completed);
    // The first step ended before the stop and was not run again.
    assert_eq!(harness.ledger.begun().values().copied().collect::<Vec<_>>(), [1, 1]);
    let _ = settings();
}

pub async fn a_run_rests_when_it_waits_for_others(harness: Harness) {
    let text = "
name: rests
steps:
  - { id: each, type: foreach, items: 'range(2000)', do: [{ id: t, type: transform, with: { value: '${{ index }}' } }] }
  - { id: wait, type: wait, with: { signal: go } }
";
    let name = harness.publish(text).await;
    let run = harness.start(&name, "{}").await;
    harness.runtime.rests(run).await;
    let view = harness.runtime.run(TENANT, run).await.unwrap();
    assert_eq!(view.status, RunStatus::Waiting, "all that this server could do is on disk");
    // Whoever waits for it again, or for no run at all, waits no longer.
    harness.runtime.rests(run).await;
    harness.runtime.rests(RunId::new(uuid::Uuid::nil())).await;
}
