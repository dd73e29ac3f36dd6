//! Tasks that are handed to a worker who waited for them, and have no rows unless they last.

use std::time::Duration;

use windlass_definition::Value;
use windlass_engine::{
    id::{RunId, TaskId},
    status::RunStatus,
};
use windlass_runtime::{
    ClaimRequest, ClaimedTask, Proof, RuntimeError, TaskRequest,
    verify::{VerifyOptions, effects::Effects},
};
use windlass_store::{Store, StoreOptions};

use crate::{
    harness::{Harness, TENANT},
    verify::judge,
};

const DOCUMENT: &str = "
name: handed
steps: [{ id: t, type: task, with: { queue: work, lease: 60s } }]
output: '${{ steps.t.output }}'
";

pub fn of(task: &ClaimedTask) -> TaskRequest {
    TaskRequest { tenant: TENANT, task: task.id, proof: Proof::Token(task.token.clone()) }
}

/// A server that writes no rows of such tasks by itself, however long they last, and waits as long for what was asked to stop.
pub async fn patient(harness: Harness) -> Harness {
    let long = Duration::from_secs(3_600);
    harness
        .with(|settings| {
            settings.active_after = long;
            settings.idle = long;
            settings.limits.stop_grace_ms = 3_600_000;
        })
        .await
}

/// A task that a worker got who waited for it, and that has no row.
async fn hand(harness: &Harness) -> ClaimedTask {
    let name = harness.publish(DOCUMENT).await;
    for _ in 0..1_000 {
        let runtime = harness.runtime.clone();
        let worker = tokio::spawn(async move {
            let (queues, worker, wait) = (vec!["work".to_owned()], "w1".to_owned(), Duration::from_secs(30));
            runtime.claim(ClaimRequest { tenant: TENANT, queues, worker, max: 1, wait }).await
        });
        let run = harness.start(&name, "{}").await;
        let task = worker.await.unwrap().unwrap().remove(0);
        assert_eq!(task.run_id, run);
        if rows(harness.runtime.store(), task.run_id).await.is_empty() {
            return task;
        }
        // The claim came too late to be waited for, or the server did not know yet that it is alone.
        harness.runtime.complete(of(&task), Value::Null).await.unwrap();
    }
    panic!("every task has a row at once");
}

pub async fn rows(store: &Store, run: RunId) -> Vec<TaskId> {
    store.tasks_of(TENANT, run).await.unwrap().into_iter().collect()
}

async fn status(store: &Store, task: &ClaimedTask) -> RunStatus {
    store.run(TENANT, task.run_id).await.unwrap().unwrap().status
}

/// What holds of a database at any moment.
pub async fn is_sound(store: &Store) {
    let verdict = judge(store, (&VerifyOptions::default(), Effects::default())).await;
    assert_eq!(verdict.violations, []);
}

pub async fn a_quick_answer_leaves_nothing(harness: Harness) {
    let harness = patient(harness).await;
    let task = hand(&harness).await;
    assert_eq!(status(harness.runtime.store(), &task).await, RunStatus::Running);
    let strange = TaskRequest { proof: Proof::Token(uuid::Uuid::now_v7().to_string()), ..of(&task) };
    assert_eq!(harness.runtime.complete(strange, Value::Int(1)).await.unwrap_err().code(), "task_not_held");
    harness.runtime.complete(of(&task), Value::Int(1)).await.unwrap();
    assert_eq!(harness.end(task.run_id).await.output, Value::Int(1));
    harness.runtime.complete(of(&task), Value::Int(1)).await.unwrap();
    assert_eq!(harness.runtime.complete(of(&task), Value::Int(2)).await.unwrap_err().code(), "task_not_held");
    assert_eq!(rows(harness.runtime.store(), task.run_id).await, []);
    is_sound(&harness.visit().await).await;
}

pub async fn an_answer_is_known_again_after_a_crash(mut harness: Harness) {
    let long: Value = "a".repeat(5_000).into();
    let by_name = Proof::Worker("w1".to_owned());
    // The journal says it to a worker with the token, if that is no long read.
    for (proof, output, has_row) in
        [(None, Value::Int(1), false), (Some(by_name), Value::Int(1), true), (None, long, true)]
    {
        harness = patient(harness).await;
        let task = hand(&harness).await;
        let answer = TaskRequest { proof: proof.unwrap_or(Proof::Token(task.token.clone())), ..of(&task) };
        harness.runtime.complete(answer.clone(), output.clone()).await.unwrap();
        assert_eq!(harness.runtime.store().has_task(TENANT, task.id).await.unwrap(), has_row);
        harness.crash().await;
        harness.runtime.complete(answer.clone(), output).await.unwrap();
        assert_eq!(harness.runtime.complete(answer, Value::Int(2)).await.unwrap_err().code(), "task_not_held");
        assert_eq!(harness.runtime.heartbeat(of(&task)).await.unwrap_err().code(), "task_not_held");
    }
}

pub async fn a_task_without_a_row_outlives_its_server(mut harness: Harness) {
    for by_name in [false, true] {
        harness = patient(harness).await;
        let task = hand(&harness).await;
        harness.runtime.abort().await;
        harness.runtime.store().close().await;
        let store = Store::open(StoreOptions::new(harness.location())).await.unwrap();
        assert_eq!((rows(&store, task.run_id).await, status(&store, &task).await), (vec![], RunStatus::Running));
        is_sound(&store).await;
        store.close().await;
        harness.crash().await;
        let answer = match by_name {
            true => TaskRequest { proof: Proof::Worker("w1".to_owned()), ..of(&task) },
            false => of(&task),
        };
        // It may answer before the run is taken over.
        while let Err(error) = harness.runtime.complete(answer.clone(), Value::Int(3)).await {
            assert!(matches!(error, RuntimeError::Unavailable { .. }), "{error}");
            tokio::task::yield_now().await;
        }
        assert_eq!(harness.end(task.run_id).await.output, Value::Int(3));
    }
}

pub async fn a_task_gets_its_row_when_it_is_asked_for(harness: Harness) {
    let harness = patient(harness).await;
    let task = hand(&harness).await;
    let until = harness.runtime.heartbeat(of(&task)).await.unwrap().lease_until;
    assert!(until >= task.lease_until);
    assert_eq!(rows(harness.runtime.store(), task.run_id).await, [task.id]);
    assert_eq!(status(harness.runtime.store(), &task).await, RunStatus::Waiting);
    harness.runtime.complete(of(&task), Value::Int(4)).await.unwrap();
    assert_eq!(harness.end(task.run_id).await.output, Value::Int(4));
    assert_eq!(rows(harness.runtime.store(), task.run_id).await, []);
}

pub async fn a_task_gets_its_row_when_its_server_stops(harness: Harness) {
    let harness = patient(harness).await;
    let task = hand(&harness).await;
    let store = harness.visit().await;
    assert_eq!(rows(&store, task.run_id).await, [task.id]);
    let lease = store.task_lease(TENANT, task.id).await.unwrap().unwrap();
    assert_eq!((&*lease.worker, lease.token.to_string()), ("w1", task.token));
    is_sound(&store).await;
}

pub async fn a_task_gets_its_row_when_it_lasts(harness: Harness) {
    let task = hand(&harness).await;
    let store = harness.runtime.store();
    while rows(store, task.run_id).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(store, &task).await, RunStatus::Waiting);
    harness.runtime.complete(of(&task), Value::Int(5)).await.unwrap();
    assert_eq!(harness.end(task.run_id).await.output, Value::Int(5));
}

pub async fn a_task_is_there_while_its_run_is_read_again(harness: Harness) {
    let harness = patient(harness).await;
    let task = hand(&harness).await;
    harness.refuse_rows("journal", "new.kind = 'step'").await;
    let answer = || harness.runtime.complete(of(&task), Value::Int(6));
    assert!(matches!(answer().await.unwrap_err(), RuntimeError::Unavailable { .. }));
    harness.take_rows("journal").await;
    let until = loop {
        match harness.runtime.heartbeat(of(&task)).await {
            Ok(answer) => break answer.lease_until,
            Err(error) => assert!(matches!(error, RuntimeError::Unavailable { .. }), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert!(until > task.lease_until);
    answer().await.unwrap();
    assert_eq!(harness.end(task.run_id).await.output, Value::Int(6));
}
