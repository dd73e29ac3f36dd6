//! Tasks of outside workers.

use windlass_engine::{
    id::{Id, TaskId},
    status::TaskStatus,
};
use windlass_store::{Claim, Holding, NewTask, RowChange, RunCommit, Store, TaskEnd, TaskResult};

use crate::harness::{Fixture, TENANT, commit, done, run_id, start};

crate::on_every_store!(
    claims_come_by_priority_then_age,
    two_workers_never_get_the_same_task,
    only_the_holder_can_finish,
    a_lost_lease_gives_the_task_back,
);

fn task(store: &Store, priority: i32, lease_ms: i64) -> NewTask {
    NewTask {
        id: Id::new(uuid::Uuid::now_v7()),
        path: "t".into(),
        attempt: 1,
        queue: "q".to_owned(),
        name: "work".to_owned(),
        priority,
        payload: b"{}".to_vec(),
        available_at: store.now(),
        lease_ms,
        lost_max: 2,
        created_at: store.now(),
    }
}

async fn open(store: &Store, tasks: Vec<NewTask>) -> Vec<TaskId> {
    let ids = tasks.iter().map(|task| task.id).collect();
    let rows = tasks.into_iter().map(RowChange::OpenTask).collect();
    done(store.commit(RunCommit { rows, ..start(store, run_id(), None) }).await);
    ids
}

fn claim(max: usize) -> Claim {
    Claim { queues: vec!["q".to_owned(), "other".to_owned()], worker: "w".to_owned(), max }
}

async fn claims_come_by_priority_then_age(fixture: Fixture) {
    let store = &fixture.store;
    let tasks = [0, 5, 0, 9].map(|priority| task(store, priority, 60_000)).to_vec();
    let ids = open(store, tasks).await;
    let claimed = store.claim_tasks(TENANT, claim(3)).await.expect("a claim");
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[3], ids[1], ids[0]]);
    assert_eq!(store.list_tasks(TENANT, TaskStatus::Claimed, None, 10).await.expect("a list").len(), 3);
}

async fn two_workers_never_get_the_same_task(fixture: Fixture) {
    let store = &fixture.store;
    let tasks = (0..100).map(|_| task(store, 0, 60_000)).collect();
    open(store, tasks).await;
    let claims = futures::future::join_all((0..20).map(|_| store.claim_tasks(TENANT, claim(5)))).await;
    let mut ids: Vec<_> =
        claims.into_iter().flat_map(|claimed| claimed.expect("a claim")).map(|task| task.id).collect();
    let more = store.claim_tasks(TENANT, claim(100)).await.expect("a claim");
    ids.extend(more.into_iter().map(|task| task.id));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

async fn only_the_holder_can_finish(fixture: Fixture) {
    let store = &fixture.store;
    let ids = open(store, vec![task(store, 0, 60_000)]).await;
    let claimed = store.claim_tasks(TENANT, claim(1)).await.expect("a claim");
    let holding = Holding { task: ids[0], token: claimed[0].token };
    let stranger = Holding { token: uuid::Uuid::nil(), ..holding };
    let result = |holding| vec![TaskResult { holding, status: TaskEnd::Completed, output: b"1".to_vec() }];
    assert_eq!(store.finish_tasks(TENANT, result(stranger)).await.expect("an answer"), [false]);
    assert_eq!(store.heartbeat_tasks(TENANT, vec![stranger, holding]).await.expect("beats").len(), 1);
    assert_eq!(store.finish_tasks(TENANT, result(holding)).await.expect("an answer"), [true]);
    assert_eq!(store.finish_tasks(TENANT, result(holding)).await.expect("an answer"), [false]);
    let finished = store.finished_tasks(&store.lanes(), 10).await.expect("results");
    assert_eq!((finished.len(), finished[0].output.as_deref()), (1, Some(b"1".as_slice())));
    let rows = vec![RowChange::CloseTask(ids[0], TaskStatus::Completed)];
    done(store.commit(RunCommit { rows, ..commit(store, finished[0].run, 2..=2) }).await);
    assert!(store.finished_tasks(&store.lanes(), 10).await.expect("results").is_empty());
    let row = store.task(TENANT, ids[0]).await.expect("a read").expect("a task");
    assert_eq!((row.status, row.holder), (TaskStatus::Completed, None));
}

async fn a_lost_lease_gives_the_task_back(fixture: Fixture) {
    let store = &fixture.store;
    let ids = open(store, vec![task(store, 0, 0)]).await;
    for (round, status) in [(1, TaskStatus::Pending), (2, TaskStatus::Failed)] {
        let claimed = store.claim_tasks(TENANT, claim(1)).await.expect("a claim");
        assert_eq!(claimed.len(), 1, "round {round}");
        let lost = store.expire_tasks(100).await.expect("lost ones");
        assert_eq!((lost.len(), lost[0].task, lost[0].status), (1, ids[0], status));
    }
    let finished = store.finished_tasks(&store.lanes(), 10).await.expect("results");
    assert_eq!((finished[0].lost, finished[0].output.clone()), (2, None));
}
