//! Two servers on one PostgreSQL: each reaches the other's runs, and goes on with them when the other is gone.

use std::time::Duration;

use futures::StreamExt;
use windlass_definition::Value;
use windlass_engine::{id::RunId, start::Principal, status::RunStatus};
use windlass_runtime::{CancelOptions, ClaimRequest, LiveEvent, Proof, RunRequest, SignalRequest, TaskRequest};
use windlass_store::Hints;

use crate::harness::{Harness, TENANT};

const WAITS: &str = "
name: waits
steps:
  - { id: a, type: probe, with: { value: 1, sleep_ms: 20 } }
  - { id: w, type: wait, with: { signal: go } }
  - { id: b, type: probe, with: { value: 2 } }
";

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_cancels_reach_the_other_node() {
    let first = Harness::postgres().await;
    let second = first.another().await;
    let name = first.publish(WAITS).await;
    let (run, stopped) = (first.start(&name, "{}").await, first.start(&name, "{}").await);
    second.until(run, |view| view.status == RunStatus::Waiting).await;
    let signal = || SignalRequest {
        tenant: TENANT,
        run,
        name: "go".to_owned(),
        payload: Value::Null,
        by: Principal::System,
        idempotency_key: Some("one".to_owned()),
    };
    second.runtime.signal(signal()).await.unwrap();
    second.runtime.signal(signal()).await.unwrap();
    let view = second.end(run).await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    let by = RunRequest { tenant: TENANT, run: stopped, by: Principal::System };
    second.runtime.cancel(by, CancelOptions::default()).await.unwrap();
    assert_eq!(second.end(stopped).await.status, RunStatus::Cancelled);
}

const RATED: &str = "
name: rated
steps:
  - id: all
    type: foreach
    items: [1, 2, 3, 4, 5, 6, 7, 8]
    parallel: 8
    do: [{ id: b, type: probe, rate: { limit: 4, per: 1s }, with: { value: 1 } }]
";

/// Sixteen starts at four a second are four windows, so three seconds lie between the first and the last; two servers
/// that counted for themselves would need one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_over_all_nodes() {
    let first = Harness::postgres().await;
    let second = first.another().await;
    let name = first.publish(RATED).await;
    let runs = [first.start(&name, "{}").await, second.start(&name, "{}").await];
    let views = [first.end(runs[0]).await, second.end(runs[1]).await];
    let began = views.iter().filter_map(|view| view.started_at).min().unwrap();
    let ended = views.iter().filter_map(|view| view.finished_at).max().unwrap();
    // The clock of a node may be some milliseconds behind that of the database.
    assert!(ended.since(began) > Duration::from_millis(2_900), "{views:?}");
    assert_eq!(first.ledger.begun().len() + second.ledger.begun().len(), 16);
}

const TASK: &str = "
name: asks
steps:
  - { id: t, type: task, with: { queue: far, input: 1, lease: 60s } }
  - { id: u, type: task, with: { queue: far, input: 2, lease: 60s } }
output: '${{ [steps.t.output, steps.u.output] }}'
";

/// The run is the first node's; the worker knows the second one alone, and answers once through the first.
#[tokio::test(flavor = "multi_thread")]
async fn workers_may_ask_any_node() {
    let first = Harness::postgres().await;
    let second = first.another().await;
    let name = first.publish(TASK).await;
    let run = first.start(&name, "{}").await;
    for (input, answering) in [(1, &second), (2, &first)] {
        let (queues, worker, wait) = (vec!["far".to_owned()], "w".to_owned(), Duration::from_secs(20));
        let claim = ClaimRequest { tenant: TENANT, queues, worker, max: 1, wait };
        let task = second.runtime.claim(claim).await.unwrap().remove(0);
        assert_eq!(task.input, Value::Int(input));
        let of = TaskRequest { tenant: TENANT, task: task.id, proof: Proof::Token(task.token.clone()) };
        assert!(second.runtime.heartbeat(of.clone()).await.unwrap().lease_until >= task.lease_until);
        answering.runtime.complete(of.clone(), Value::Int(input * 10)).await.unwrap();
        assert_eq!(second.runtime.complete(of, Value::Int(0)).await.unwrap_err().code(), "task_not_held");
    }
    assert_eq!(second.end(run).await.output.to_string(), "[10,20]");
}

const LONG: &str = "
name: long
steps:
  - { id: a, type: probe, with: { value: 1 } }
  - { id: b, type: probe, with: { sleep_ms: 1500, value: 2 } }
  - { id: d, type: delay, with: { for: 100ms } }
";

async fn five_long_runs(harness: &Harness) -> Vec<RunId> {
    let name = harness.publish(LONG).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(harness.start(&name, "{}").await);
    }
    harness.ledger.begun_reaches(10).await;
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_runs_go_on_elsewhere() {
    let first = Harness::postgres_with_short_leases(Hints::On).await;
    let second = first.another().await;
    let runs = five_long_runs(&first).await;
    first.runtime.abort().await;
    first.lose_lease().await;
    for run in runs {
        assert_eq!(second.end(run).await.status, RunStatus::Completed);
    }
    // The first step of each had ended before, and was not run again.
    let again = second.ledger.begun();
    assert!(again.keys().all(|key| key.ends_with("/b")) && again.len() == 5, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_paused_forgets_its_runs_and_joins_again() {
    let first = Harness::postgres_with_short_leases(Hints::On).await;
    let second = first.another().await;
    let runs = five_long_runs(&first).await;
    let node = first.runtime.store().node();
    first.lose_lease().await;
    for run in &runs {
        let view = second.end(*run).await;
        assert_eq!(view.status, RunStatus::Completed, "{view:?}");
        let steps = second.steps(*run).await;
        assert_eq!(steps.len(), 3, "{steps:?}");
    }
    for _ in 0..1_000 {
        if first.runtime.store().node() != node && !first.runtime.store().lanes().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = first.run("{name: anew, steps: [{id: a, type: probe, with: {value: 1}}]}", "{}").await;
    assert_eq!(view.status, RunStatus::Completed);
}

const OFFERS: &str = "
name: offers
steps:
  - { id: t, type: task, with: { queue: work, input: { n: 1 } } }
";

#[tokio::test(flavor = "multi_thread")]
async fn without_hints_everything_goes_on() {
    let first = Harness::postgres_with_short_leases(Hints::Off).await;
    let first = first.with(|settings| settings.runs_active_max = 1).await;
    let second = first.another().await;
    for source in [WAITS, LONG, OFFERS] {
        first.publish(source).await;
    }
    // A signal and a wait through the node that does not turn the run.
    let waits = first.start("waits", "{}").await;
    second.until(waits, |view| view.status == RunStatus::Waiting).await;
    second.signal(waits, "go").await;
    assert_eq!(second.end(waits).await.status, RunStatus::Completed);
    // A task that is offered by one node, and claimed and answered at the other.
    let offers = first.start("offers", "{}").await;
    let (queues, worker) = (vec!["work".to_owned()], "w".to_owned());
    let claim = ClaimRequest { tenant: TENANT, queues, worker, max: 1, wait: Duration::from_secs(10) };
    let task = second.runtime.claim(claim).await.unwrap().remove(0);
    let answer = TaskRequest { tenant: TENANT, task: task.id, proof: Proof::Token(task.token) };
    second.runtime.complete(answer, Value::Int(2)).await.unwrap();
    assert_eq!(second.end(offers).await.status, RunStatus::Completed);
    // A run that the first node has no room for, and one that it leaves behind.
    let (left, queued) = (first.start("long", "{}").await, first.start("long", "{}").await);
    assert_eq!(first.end(queued).await.status, RunStatus::Completed);
    assert!(second.runtime.metrics().runs_claimed > 0);
    first.runtime.abort().await;
    first.runtime.store().close().await;
    assert_eq!(second.end(left).await.status, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_waits_follow_a_run_to_another_node() {
    let first = Harness::postgres_with_short_leases(Hints::On).await;
    let second = first.another().await;
    let name = first.publish(WAITS).await;
    let run = first.start(&name, "{}").await;
    let stream = second.runtime.subscribe(TENANT, run, 0);
    let reading = tokio::spawn(stream.map(|event| event.unwrap()).collect::<Vec<LiveEvent>>());
    // While somebody waits at the first node, the second one takes the run over.
    let waiting = first.runtime.clone();
    let waiting = tokio::spawn(async move { waiting.wait(TENANT, run, Duration::from_secs(20)).await.unwrap() });
    first.until(run, |view| view.status == RunStatus::Waiting).await;
    let owned = async || second.runtime.store().run(TENANT, run).await.unwrap().unwrap().lane;
    while !second.runtime.store().owns(owned().await) {
        // The first one may be the faster one to take its own lanes over.
        first.lose_lease().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    second.signal(run, "go").await;
    assert_eq!(waiting.await.unwrap().status, RunStatus::Completed);
    let seqs: Vec<i64> = reading
        .await
        .unwrap()
        .into_iter()
        .filter_map(|event| if let LiveEvent::Entry(entry) = event { Some(entry.seq) } else { None })
        .collect();
    let last = *seqs.last().unwrap();
    assert_eq!(seqs, (1..=last).collect::<Vec<i64>>());
}
