//! Deleting workflows while things go on.

use std::time::Duration;

use windlass_definition::{Class, Value, source::Format};
use windlass_engine::{
    start::{Mode, Principal},
    status::RunStatus,
};
use windlass_runtime::{RunRequest, RuntimeError, StartRequest, Target};

use crate::harness::{Harness, TENANT, request};

const WAITS: &str = "
name: waits
steps:
  - { id: w, type: wait, with: { signal: go } }
  - { id: a, type: probe, with: { value: 7 } }
output: '${{ steps.a.output }}'
";
const CHILD: &str = "name: child\nsteps: [{ id: a, type: probe, with: { value: 1 } }]";
const PARENT: &str = "
name: parent
steps:
  - { id: w, type: wait, with: { signal: go } }
  - { id: c, type: workflow, with: { name: child } }
";

impl Harness {
    async fn delete(&self, name: &str) {
        self.runtime.delete_workflow(TENANT, name, None).await.unwrap();
    }

    async fn restore(&self, name: &str) {
        self.runtime.restore_workflow(TENANT, name, None).await.unwrap();
    }

    /// That a start is told that there is no such workflow.
    async fn starts_nothing(&self, start: StartRequest) {
        let refused = self.runtime.start(start).await;
        assert!(
            matches!(&refused, Err(RuntimeError::NotFound { what }) if what.starts_with("workflow")),
            "{refused:?}"
        );
    }
}

fn of_version(name: &str, version: Option<i32>) -> StartRequest {
    StartRequest { target: Target::Published { name: name.to_owned(), version }, ..request(name, "{}") }
}

/// What waits goes on, what takes its own place goes on with the version that it has, and what was started under a key is
/// found under it.
pub async fn what_is_under_way_goes_on(mut harness: Harness) {
    let name = harness.publish(WAITS).await;
    let keyed = |input: &str| StartRequest { idempotency_key: Some("k".to_owned()), ..request(&name, input) };
    let run = harness.runtime.start(keyed("{}")).await.unwrap().run;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    let again = "
name: again
steps:
  - { id: w, type: wait, with: { signal: go } }
  - id: more
    type: if
    when: input.n > 0
    then: [{ id: r, type: restart, with: { input: { n: '${{ input.n - 1 }}' } } }]
";
    harness.publish(again).await;
    let restarts = harness.start("again", "{\"n\": 1}").await;
    for name in ["waits", "again"] {
        harness.delete(name).await;
    }

    let replayed = harness.runtime.start(keyed("{}")).await.unwrap();
    assert_eq!((replayed.run, replayed.duplicate), (run, true));
    let (replayed, watched) = harness.runtime.start_watched(keyed("{}")).await.unwrap();
    assert!(replayed.duplicate);
    let other = harness.runtime.start(keyed("{\"n\": 2}")).await;
    assert!(matches!(other, Err(RuntimeError::Conflict { code: "idempotency_key_reused", .. })), "{other:?}");
    let unknown = StartRequest { idempotency_key: Some("other".to_owned()), ..request(&name, "{}") };
    harness.starts_nothing(unknown).await;

    harness.crash().await;
    harness.signal(run, "go").await;
    let view = harness.end(run).await;
    assert_eq!((view.status, view.output.to_string().as_str()), (RunStatus::Completed, "7"), "{view:?}");
    drop(watched);
    harness.signal(restarts, "go").await;
    let view = harness.end(restarts).await;
    let fresh = view.output.get("restarted_as").and_then(Value::as_str).unwrap().parse().unwrap();
    while harness.runtime.run(TENANT, fresh).await.is_err() {
        tokio::task::yield_now().await;
    }
    harness.signal(fresh, "go").await;
    assert_eq!(harness.end(fresh).await.status, RunStatus::Completed);
}

pub async fn nothing_starts_what_is_deleted(harness: Harness) {
    let name = harness.publish(CHILD).await;
    // Old versions and the newest are remembered from these.
    harness.end(harness.runtime.start(of_version(&name, Some(1))).await.unwrap().run).await;
    let run = harness.start(&name, "{}").await;
    harness.end(run).await;
    let parent = harness.publish(PARENT).await;
    let under_way = harness.start(&parent, "{}").await;
    harness.delete(&parent).await;
    harness.delete(&name).await;

    let test = StartRequest { target: Target::Draft { name: name.clone() }, mode: Mode::Test, ..request(&name, "{}") };
    for start in [of_version(&name, None), of_version(&name, Some(1)), test] {
        harness.starts_nothing(start).await;
    }
    let again = || RunRequest { tenant: TENANT, run, by: Principal::System };
    for refused in [harness.runtime.rerun(again()).await, harness.runtime.fork(again(), "a").await] {
        assert!(matches!(refused, Err(RuntimeError::NotFound { .. })), "{refused:?}");
    }
    let put = harness.runtime.put_workflow(TENANT, &name, CHILD, Format::Yaml, Some(0)).await;
    assert!(matches!(put, Err(RuntimeError::Conflict { code: "workflow_deleted", .. })), "{put:?}");
    // Its parent was deleted with it, and has a run under way that is told what is missing.
    harness.signal(under_way, "go").await;
    let view = harness.end(under_way).await;
    let error = view.error.as_ref().unwrap();
    assert_eq!((view.status, error.class, &*error.code), (RunStatus::Failed, Class::NotFound, "workflow"));

    harness.restore(&name).await;
    for version in [None, Some(1)] {
        let run = harness.runtime.start(of_version(&name, version)).await.unwrap().run;
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
    let run = harness.runtime.rerun(again()).await.unwrap().run;
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
}

/// By steps, by undo steps, deep inside, and by what `defaults` says; not by what is worked out when the step runs.
pub async fn what_is_started_is_not_deleted(harness: Harness) {
    let parents = [
        "name: plain\nsteps: [{ id: c, type: workflow, with: { name: child } }]",
        "name: undoes\nsteps: [{ id: a, type: probe, with: { value: 1 }, undo: { type: workflow, with: { name: child } } }]",
        "name: deep\nsteps:\n  - id: f\n    type: foreach\n    items: [1]\n    do:\n      - id: t\n        type: try\n        do: \
         [{ id: c, type: workflow, with: { name: child, version: 1, input: { n: '${{ item }}' } } }]\n        catch: [{ do: [] }]",
        "name: defaults\ndefaults: { workflow: { with: { name: child } } }\nsteps: [{ id: c, type: workflow }]",
        "name: worked-out\ninput: { type: object }\nsteps: [{ id: c, type: workflow, with: { name: '${{ input.name }}' } }]",
    ];
    let name = harness.publish(CHILD).await;
    for parent in parents {
        let parent = harness.publish(parent).await;
        let deleted = harness.runtime.delete_workflow(TENANT, &name, None).await;
        if parent == "worked-out" {
            deleted.unwrap();
            continue;
        }
        let Err(RuntimeError::Conflict { code: "in_use", detail }) = deleted else { panic!("{parent}: {deleted:?}") };
        assert!(detail.contains(&format!("`{parent}`")), "{detail}");
        harness.delete(&parent).await;
    }
}

/// What a program of an older version published is read before a deletion, and by the sweep.
pub async fn what_was_published_before_is_noted(harness: Harness) {
    for source in [CHILD, PARENT] {
        harness.publish(source).await;
    }
    let store = harness.runtime.store();
    let database = store.database().across_tenants();
    let forget = async || {
        database.execute("update workflows set noted_version = null", vec![]).await.unwrap();
        database.execute("update workflow_references set refers_to = 'nobody'", vec![]).await.unwrap();
    };
    forget().await;
    let refused = harness.runtime.delete_workflow(TENANT, "child", None).await;
    assert!(matches!(refused, Err(RuntimeError::Conflict { code: "in_use", .. })), "{refused:?}");
    forget().await;
    let harness = harness.with(|settings| settings.sweep = Duration::from_millis(10)).await;
    let store = harness.runtime.store();
    let noted = async {
        while !store.workflows_to_note(TENANT).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noted).await.expect("the sweep notes it");
}

/// Whatever was on its way when a workflow was deleted, once that is answered nothing starts any more.
pub async fn no_start_comes_after_a_deletion(harness: Harness) {
    let name = harness.publish(CHILD).await;
    for _ in 0..20 {
        let starts = async {
            let mut started = Vec::new();
            loop {
                match harness.runtime.start(request(&name, "{}")).await {
                    Ok(it) => started.push(it.run),
                    Err(error) => return (started, error),
                }
            }
        };
        let ((started, refused), ()) = tokio::join!(starts, harness.delete(&name));
        assert!(matches!(refused, RuntimeError::NotFound { .. }), "{refused:?}");
        for version in [None, Some(1)] {
            harness.starts_nothing(of_version(&name, version)).await;
        }
        for run in started {
            assert_eq!(harness.end(run).await.status, RunStatus::Completed);
        }
        harness.restore(&name).await;
    }
}

/// What another node remembers of a workflow is over before its deletion is answered.
#[tokio::test(flavor = "multi_thread")]
async fn no_node_starts_what_is_deleted() {
    let first = Harness::postgres().await;
    let second = first.another().await;
    let name = first.publish(CHILD).await;
    for version in [None, Some(1)] {
        second.end(second.runtime.start(of_version(&name, version)).await.unwrap().run).await;
    }
    first.delete(&name).await;
    for version in [None, Some(1)] {
        second.starts_nothing(of_version(&name, version)).await;
    }
    first.restore(&name).await;
    second.end(second.start(&name, "{}").await).await;
}
