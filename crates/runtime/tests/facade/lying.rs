//! Tasks that lie in memory for whoever comes next, and have no rows unless nobody does.

use std::time::Duration;

use windlass_definition::Value;
use windlass_engine::{id::RunId, status::RunStatus};
use windlass_runtime::{CancelOptions, ClaimRequest, ClaimedTask};
use windlass_store::{Store, StoreOptions};

use crate::{
    handed::{is_sound, of, patient, rows},
    harness::{Harness, TENANT},
    waits::by,
};

const DOCUMENT: &str = "
name: lying
steps: [{ id: t, type: task, with: { queue: work, lease: 1s } }]
output: '${{ steps.t.output }}'
";

async fn claim(harness: &Harness, wait: u64) -> Vec<ClaimedTask> {
    let (queues, worker, wait) = (vec!["work".to_owned()], "w1".to_owned(), Duration::from_secs(wait));
    harness.runtime.claim(ClaimRequest { tenant: TENANT, queues, worker, max: 5, wait }).await.unwrap()
}

/// A run whose task lies there: its queue's workers came for more than there was, and none waits now.
async fn lay(harness: &Harness) -> RunId {
    let name = harness.publish(DOCUMENT).await;
    for _ in 0..1_000 {
        assert_eq!(claim(harness, 0).await.len(), 0);
        let run = harness.start(&name, "{}").await;
        if rows(harness.runtime.store(), run).await.is_empty() {
            return run;
        }
        // The server did not know yet that it is alone.
        let task = claim(harness, 30).await.remove(0);
        harness.runtime.complete(of(&task), Value::Null).await.unwrap();
        harness.end(run).await;
    }
    panic!("every task has a row at once");
}

pub async fn whoever_comes_next_has_it_without_a_row(harness: Harness) {
    let harness = patient(harness).await;
    let run = lay(&harness).await;
    let task = claim(&harness, 30).await.remove(0);
    assert_eq!((task.run_id, claim(&harness, 0).await.len()), (run, 0));
    assert_eq!(rows(harness.runtime.store(), run).await, []);
    harness.runtime.complete(of(&task), Value::Int(1)).await.unwrap();
    assert_eq!(harness.end(run).await.output, Value::Int(1));
    harness.runtime.complete(of(&task), Value::Int(1)).await.unwrap();
    assert_eq!(harness.runtime.complete(of(&task), Value::Int(2)).await.unwrap_err().code(), "task_not_held");
    assert_eq!(rows(harness.runtime.store(), run).await, []);
    is_sound(&harness.visit().await).await;
}

pub async fn it_gets_its_row_when_nobody_comes(harness: Harness) {
    let run = lay(&harness).await;
    let store = harness.runtime.store();
    while rows(store, run).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let task = rows(store, run).await[0];
    assert!(store.task_lease(TENANT, task).await.unwrap().is_none());
    assert_eq!(store.run(TENANT, run).await.unwrap().unwrap().status, RunStatus::Waiting);
    let claimed = claim(&harness, 30).await.remove(0);
    assert_eq!(claimed.id, task);
    harness.runtime.complete(of(&claimed), Value::Int(2)).await.unwrap();
    assert_eq!(harness.end(run).await.output, Value::Int(2));
}

/// By a claim that was given it, in the row that is written then.
pub async fn its_row_says_who_has_it(harness: Harness) {
    let run = lay(&harness).await;
    let task = claim(&harness, 30).await.remove(0);
    let store = harness.runtime.store();
    while rows(store, run).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let lease = store.task_lease(TENANT, task.id).await.unwrap().unwrap();
    assert_eq!((&*lease.worker, lease.token.to_string()), ("w1", task.token.clone()));
    assert_eq!(claim(&harness, 0).await.len(), 0);
    harness.runtime.heartbeat(of(&task)).await.unwrap();
    harness.runtime.complete(of(&task), Value::Int(3)).await.unwrap();
    assert_eq!(harness.end(run).await.output, Value::Int(3));
}

pub async fn it_is_withdrawn_with_its_run(harness: Harness) {
    let harness = patient(harness).await;
    let run = lay(&harness).await;
    harness.runtime.cancel(by(run), CancelOptions::default()).await.unwrap();
    assert_eq!(harness.end(run).await.status, RunStatus::Cancelled);
    assert_eq!((claim(&harness, 0).await.len(), rows(harness.runtime.store(), run).await), (0, vec![]));
    is_sound(&harness.visit().await).await;
}

pub async fn it_is_free_when_its_server_stops(harness: Harness) {
    let harness = patient(harness).await;
    let run = lay(&harness).await;
    let store = harness.visit().await;
    let task = rows(&store, run).await[0];
    assert!(store.task_lease(TENANT, task).await.unwrap().is_none());
    is_sound(&store).await;
}

/// Whether somebody had it is not known then: it is free when the lease is over that a worker could have had.
pub async fn it_outlives_its_server(mut harness: Harness) {
    harness = patient(harness).await;
    let run = lay(&harness).await;
    harness.runtime.abort().await;
    harness.runtime.store().close().await;
    let store = Store::open(StoreOptions::new(harness.location())).await.unwrap();
    assert_eq!(rows(&store, run).await, []);
    is_sound(&store).await;
    store.close().await;
    harness.crash().await;
    let task = claim(&harness, 30).await.remove(0);
    assert_eq!(task.run_id, run);
    harness.runtime.complete(of(&task), Value::Int(4)).await.unwrap();
    assert_eq!(harness.end(run).await.output, Value::Int(4));
}
