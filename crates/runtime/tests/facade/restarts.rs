//! A process that ends anywhere: what was accepted goes on, and nothing counts twice.

use std::time::Duration;

use windlass_definition::{Class, Value, source::Format};
use windlass_engine::{id::RunId, start::Principal, status::RunStatus};
use windlass_runtime::{CancelOptions, RunFilter, RunRequest, StartRequest, Target};

use crate::harness::{Harness, TENANT};

pub async fn a_killed_run_goes_on(mut harness: Harness) {
    let source = "
name: killed
steps:
  - { id: a, type: probe, with: { value: 1 } }
  - { id: b, type: probe, with: { sleep_ms: 300, value: 2 } }
  - { id: c, type: probe, with: { value: 3 } }
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.ledger.begun_reaches(2).await;
    harness.crash().await;
    let view = harness.end(run).await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    let ended: Vec<u32> = harness.ledger.ended().into_values().collect();
    assert_eq!(ended, [1, 1, 1]);
}

pub async fn a_wait_survives_and_outlives(mut harness: Harness) {
    let source = "
name: patient
steps:
  - { id: w, type: wait, with: { signal: go } }
  - { id: d, type: delay, with: { for: 200ms } }
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.crash().await;
    assert_eq!(harness.runtime.metrics().runs_in_memory, 0);
    assert_eq!(harness.steps(run).await[0].waits_for, Some("signal"));
    harness.signal(run, "go").await;
    harness.crash().await;
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
}

pub async fn children_survive(mut harness: Harness) {
    let child = "
name: child
steps: [{ id: work, type: probe, with: { sleep_ms: 50, value: '${{ input.n * 2 }}' } }]
output: '${{ steps.work.output }}'
";
    let parent = "
name: parent
steps:
  - id: each
    type: foreach
    items: [1, 2, 3, 4, 5]
    parallel: 5
    do: [{ id: call, type: workflow, with: { name: child, input: { n: '${{ item }}' } } }]
";
    harness.publish(child).await;
    let name = harness.publish(parent).await;
    for wait_ms in [0, 1, 3, 10, 40] {
        let run = harness.start(&name, "{}").await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        harness.crash().await;
        let view = harness.end(run).await;
        assert_eq!(view.status, RunStatus::Completed, "{view:?}");
        assert_eq!(view.output.to_string(), "[2,4,6,8,10]");
    }
}

pub async fn random_kills_lose_nothing(mut harness: Harness) {
    let source = "
name: busy
steps:
  - { id: a, type: probe, with: { value: 1, sleep_ms: 1 } }
  - id: each
    type: foreach
    items: [1, 2, 3]
    parallel: 3
    do:
      - { id: b, type: probe, with: { value: '${{ item }}', sleep_ms: 2 } }
      - { id: d, type: delay, with: { for: 3ms } }
      - { id: n, type: probe, with: { now: '${{ item }}' } }
output: '${{ steps.each.output }}'
";
    let name = harness.publish(source).await;
    let mut runs = Vec::new();
    let mut seed = 7u64;
    for _ in 0..8 {
        for _ in 0..10 {
            runs.push(harness.start(&name, "{}").await);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_micros((seed >> 33) % 30_000)).await;
        harness.crash().await;
    }
    for run in runs {
        let view = harness.end(run).await;
        assert_eq!((view.status, view.output.to_string()), (RunStatus::Completed, "[1,2,3]".to_owned()), "{view:?}");
        let steps = harness.runtime.steps(TENANT, run, None, 100).await.unwrap();
        assert_eq!(steps.items.len(), 11);
    }
}

pub async fn waiting_runs_cost_nothing(mut harness: Harness) {
    let source =
        "{name: parked, steps: [{id: w, type: wait, with: {signal: go}}, {id: d, type: delay, with: {for: 300s}}]}";
    let name = harness.publish(source).await;
    let mut runs = Vec::new();
    for _ in 0..300 {
        runs.push(harness.start(&name, "{}").await);
    }
    for run in runs.iter().take(5) {
        harness.signal(*run, "go").await;
    }
    harness.settled(|metrics| metrics.runs_in_memory == 0).await;
    harness.crash().await;
    assert_eq!(harness.steps(runs[0]).await.last().unwrap().waits_for, Some("time"));
    assert_eq!(harness.runtime.metrics().runs_in_memory, 0);
    harness.signal(runs[10], "go").await;
    assert_eq!(harness.runtime.metrics().runs_loaded, 1);
}

pub async fn history_is_swept(mut harness: Harness) {
    harness.settings.sweep = Duration::from_millis(50);
    harness.crash().await;
    let source = "{name: kept, retain: {runs: 3}, steps: [{id: a, type: probe, with: {now: 1}}]}";
    let name = harness.publish(source).await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        let run = harness.start(&name, "{}").await;
        harness.end(run).await;
        runs.push(run);
    }
    harness.settled(|metrics| metrics.runs_removed == 7).await;
    assert!(harness.runtime.run(TENANT, runs[0]).await.is_err());
    assert!(harness.runtime.run(TENANT, runs[9]).await.is_ok());
}

/// Runs of files that are no workflow of the tenant: the file says how much is kept, and what it does not, the settings.
pub async fn history_of_files_is_swept(mut harness: Harness) {
    harness.settings.sweep = Duration::from_millis(50);
    harness.settings.retain.runs = Some(4);
    harness.crash().await;
    let mut runs = Vec::new();
    for retain in ["", "retain: {runs: 3},"] {
        let name = format!("file-{}", retain.len());
        let source = format!("{{name: {name}, {retain} steps: [{{id: a, type: probe, with: {{now: 1}}}}]}}");
        for _ in 0..10 {
            let document = harness.runtime.compile(&source, Format::Yaml).unwrap();
            let start = StartRequest { target: Target::Document(document), ..crate::harness::request(&name, "{}") };
            let run = harness.runtime.start(start).await.unwrap().run;
            harness.end(run).await;
            runs.push(run);
        }
    }
    harness.settled(|metrics| metrics.runs_removed == 6 + 7).await;
    for (place, run) in runs.into_iter().enumerate() {
        let kept = [6, 7, 8, 9, 17, 18, 19].contains(&place);
        assert_eq!(harness.runtime.run(TENANT, run).await.is_ok(), kept, "{place}");
    }
}

/// A run keeps the version that it started with, whatever is published since, also over a restart; a start may name an
/// older version.
pub async fn a_run_keeps_its_version(mut harness: Harness) {
    let source = |word: &str| {
        format!(
            "
name: edited
steps:
  - {{ id: w, type: wait, with: {{ signal: go }} }}
  - {{ id: say, type: transform, with: {{ value: {word} }} }}
"
        )
    };
    let name = harness.publish(&source("first")).await;
    let run = harness.start(&name, "{}").await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.publish(&source("second")).await;
    harness.crash().await;
    let newer = harness.start(&name, "{}").await;
    let older = StartRequest {
        target: Target::Published { name: name.clone(), version: Some(1) },
        ..crate::harness::request(&name, "{}")
    };
    let older = harness.runtime.start(older).await.unwrap().run;
    for (run, version, word) in [(run, 1, "first"), (newer, 2, "second"), (older, 1, "first")] {
        harness.signal(run, "go").await;
        let view = harness.end(run).await;
        assert_eq!((view.version, &view.output), (Some(version), &Value::from(word)), "{view:?}");
    }
}

const COUNTS: &str = "
name: counts
input: { type: object, required: [n], properties: { n: { type: integer } } }
steps:
  - { id: w, type: wait, with: { signal: go } }
  - id: more
    type: if
    when: input.n < 3
    then: [{ id: again, type: restart, with: { input: { n: '${{ input.n + 1 }}' } } }]
output: '${{ input.n * 10 }}'
";
const PARENT: &str = "
name: parent
steps:
  - { id: c, type: workflow, with: { name: counts, input: { n: 1 } } }
output: '${{ steps.c.output }}'
";

/// The child of a run that has not ended and waits, once there is one besides those.
async fn waiting_child(harness: &Harness, parent: RunId, known: &[RunId]) -> RunId {
    loop {
        let filter = RunFilter { parent: Some(parent), limit: 100, ..RunFilter::default() };
        let children = harness.runtime.runs(TENANT, filter).await.unwrap().items;
        let child = children.iter().find(|it| it.status == RunStatus::Waiting && !known.contains(&it.id));
        if let Some(child) = child {
            return child.id;
        }
        tokio::task::yield_now().await;
    }
}

/// A child that restarts: its parent waits for the run that took its place, whatever dies in between.
pub async fn a_parent_waits_for_what_took_its_childs_place(mut harness: Harness) {
    harness.publish(COUNTS).await;
    let name = harness.publish(PARENT).await;
    let run = harness.start(&name, "{}").await;
    let mut children = Vec::new();
    for _ in 0..3 {
        let child = waiting_child(&harness, run, &children).await;
        children.push(child);
        harness.crash().await;
        harness.signal(child, "go").await;
        // The process ends while the place is handed over, or shortly before or after.
        harness.crash().await;
    }
    let view = harness.end(run).await;
    assert_eq!((view.status, &view.output), (RunStatus::Completed, &Value::Int(30)), "{view:?}");
    for pair in children.windows(2) {
        let (old, fresh) = (harness.end(pair[0]).await, harness.end(pair[1]).await);
        assert_eq!(old.output.get("restarted_as"), Some(&Value::from(pair[1].to_string())));
        assert_eq!(fresh.origin.as_ref().map(|it| it.run_id), Some(pair[0]), "{fresh:?}");
    }
}

/// What is said to a parent reaches the run that took its child's place.
pub async fn a_cancel_reaches_what_took_a_childs_place(mut harness: Harness) {
    harness.publish(COUNTS).await;
    let name = harness.publish(PARENT).await;
    let run = harness.start(&name, "{}").await;
    let first = waiting_child(&harness, run, &[]).await;
    harness.signal(first, "go").await;
    let second = waiting_child(&harness, run, &[first]).await;
    harness.crash().await;
    let by = || RunRequest { tenant: TENANT, run, by: Principal::System };
    harness.runtime.pause(by()).await.unwrap();
    harness.until(second, |view| view.status == RunStatus::Paused).await;
    harness.runtime.cancel(by(), CancelOptions::default()).await.unwrap();
    assert_eq!(harness.end(second).await.status, RunStatus::Cancelled);
    assert_eq!(harness.end(run).await.status, RunStatus::Cancelled);
}

/// The newest version refuses the input: the run that takes the place fails with it, and so does whoever waits.
pub async fn a_restart_that_is_refused_is_seen(mut harness: Harness) {
    harness.publish(COUNTS).await;
    let name = harness.publish(PARENT).await;
    let run = harness.start(&name, "{}").await;
    let child = waiting_child(&harness, run, &[]).await;
    harness.publish(&COUNTS.replace("required: [n]", "required: [n, m]")).await;
    harness.signal(child, "go").await;
    harness.crash().await;
    let fresh = harness.end(child).await.output.get("restarted_as").and_then(Value::as_str).unwrap().parse().unwrap();
    let failed = loop {
        if harness.runtime.run(TENANT, fresh).await.is_ok() {
            break harness.end(fresh).await;
        }
        tokio::task::yield_now().await;
    };
    let parent = harness.end(run).await;
    for view in [&failed, &parent] {
        let error = view.error.as_ref().unwrap();
        assert_eq!(
            (view.status, error.class, &*error.code),
            (RunStatus::Failed, Class::Validation, "input"),
            "{view:?}"
        );
        assert!(error.message.contains("\"m\" is a required property"), "{error:?}");
    }
    let journal = harness.runtime.journal(TENANT, fresh, 0, 10).await.unwrap().items;
    assert_eq!(journal.iter().map(|entry| entry.kind).collect::<Vec<_>>(), ["started", "finished"]);
}

/// The child cannot be written, so its parent is cancelled before it begins; then what its parent is told of it cannot be
/// written either. Whatever of that is undone, the child is not started as if nobody had cancelled it.
pub async fn a_child_that_was_cancelled_before_it_began_stays_cancelled(harness: Harness) {
    harness.publish("name: child\nsteps: [{ id: w, type: wait, with: { signal: never } }]").await;
    let name = harness.publish("name: parent\nsteps: [{ id: c, type: workflow, with: { name: child } }]").await;
    harness.refuse_rows("runs", "new.parent_run_id is not null").await;
    harness.refuse_rows("journal", "new.kind = 'child'").await;
    let run = harness.start(&name, "{}").await;
    harness.commits_fail(1).await;
    let by = RunRequest { tenant: TENANT, run, by: Principal::System };
    harness.runtime.cancel(by, CancelOptions::default()).await.unwrap();
    // The child was perhaps about to be written once more when the cancel came; what fails after that is the note of it.
    harness.commits_fail(2).await;
    harness.take_rows("runs").await;
    harness.take_rows("journal").await;
    assert_eq!(harness.end(run).await.status, RunStatus::Cancelled);
    let filter = RunFilter { parent: Some(run), limit: 10, ..RunFilter::default() };
    for child in harness.runtime.runs(TENANT, filter).await.unwrap().items {
        assert_eq!(harness.end(child.id).await.status, RunStatus::Cancelled);
    }
    no_letter_is_left(&harness).await;
}

/// The end of a child is a letter to its parent: it is opened again when it could not be taken, long before anybody would
/// take it for forgotten.
pub async fn a_letter_that_could_not_be_taken_is_opened_again_at_once(harness: Harness) {
    harness.publish("name: child\nsteps: [{ id: a, type: probe, with: { value: 1 } }]").await;
    let name = harness.publish("name: parent\nsteps: [{ id: c, type: workflow, with: { name: child } }]").await;
    harness.refuse_rows("journal", "new.kind = 'child'").await;
    let run = harness.start(&name, "{}").await;
    harness.commits_fail(1).await;
    harness.take_rows("journal").await;
    // Nobody waits here for as long as a letter is passed over that is on its way.
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    no_letter_is_left(&harness).await;
}

async fn no_letter_is_left(harness: &Harness) {
    let store = harness.runtime.store();
    let empty = async {
        while !store.inbox(&store.lanes(), None, 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), empty).await.expect("every letter is taken");
}
