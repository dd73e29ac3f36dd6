//! Many runs, and long ones: memory keeps what it is meant for, and everything goes on.

use std::time::Duration;

use windlass_definition::{Value, source::Format};
use windlass_engine::{id::RunId, status::RunStatus};
use windlass_runtime::Target;

use crate::harness::{Harness, TENANT};

async fn start_many(harness: &Harness, name: &str, count: usize) -> Vec<RunId> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(harness.start(name, "{}").await);
    }
    runs
}

/// More runs nap than memory is meant for: those whose time is near leave it too, and are woken all the same.
pub async fn a_crowd_of_naps_is_woken(harness: Harness) {
    let harness = harness.with(|settings| settings.runs_in_memory_max = 4).await;
    let name = harness.publish("name: naps\nsteps: [{ id: nap, type: delay, with: { for: 600ms } }]\n").await;
    let runs = start_many(&harness, &name, 40).await;
    harness.settled(|metrics| metrics.runs_evicted > 0).await;
    for run in runs {
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
}

/// A hundred things come for runs that are not in memory, all at once: each run is read, in its turn.
pub async fn a_crowd_is_loaded_by_and_by(mut harness: Harness) {
    let name = harness.publish("name: crowd\nsteps: [{ id: go, type: wait, with: { signal: go } }]\n").await;
    let runs = start_many(&harness, &name, 150).await;
    harness.settled(|metrics| metrics.runs_in_memory == 0).await;
    harness.crash().await;
    let signals = runs.iter().map(|run| harness.signal(*run, "go"));
    futures::future::join_all(signals).await;
    for run in &runs {
        assert_eq!(harness.end(*run).await.status, RunStatus::Completed);
    }
    assert_eq!(harness.runtime.metrics().runs_loaded, runs.len() as u64);
}

/// Steps that end at once follow each other without a pause; a server that is told to stop leaves them to the next one.
pub async fn a_run_without_end_stops_with_its_server(mut harness: Harness) {
    let source = "
name: endless
steps:
  - id: all
    type: while
    when: true
    max: 1000000
    do: [{ id: again, type: probe, with: { now: 1 } }]
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.settled(|metrics| metrics.steps_ended > 50).await;
    let stopped = harness.runtime.shutdown(Duration::ZERO);
    tokio::time::timeout(Duration::from_secs(4), stopped).await.expect("it stops though the run has no end");
    let steps = harness.runtime.metrics().steps_ended;
    harness.crash().await;
    assert!(!harness.runtime.run(TENANT, run).await.unwrap().status.is_final());
    harness.settled(|metrics| metrics.steps_ended > 50).await;
    let journal = harness.runtime.journal(TENANT, run, 0, 1).await.unwrap();
    assert_eq!(journal.items.len(), 1, "{steps} steps before");
}

/// Reading a run back costs what its journal has, not the square of it: 20,000 entries within the patience of a test.
pub async fn a_long_journal_is_folded(harness: Harness) {
    // It does not leave memory before the crash, so there is no snapshot.
    let mut harness = harness.with(|settings| settings.idle = Duration::from_secs(3_600)).await;
    let source = "
name: long
steps:
  - id: all
    type: foreach
    items: '${{ input.items }}'
    parallel: 1000
    do: [{ id: one, type: probe, with: { now: 1 } }]
  - { id: go, type: wait, with: { signal: go } }
";
    let document = harness.runtime.compile(source, Format::Yaml).unwrap();
    let items = Value::from(serde_json::json!((0..20_000).collect::<Vec<u32>>()));
    let mut request = crate::harness::request("long", "{}");
    request.target = Target::Document(document);
    request.input = Value::map([("items", items)]);
    let run = harness.runtime.start(request).await.unwrap().run;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.crash().await;
    harness.signal(run, "go").await;
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
}
