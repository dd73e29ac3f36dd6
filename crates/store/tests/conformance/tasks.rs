//! Tasks of outside workers.

use windlass_engine::{
    id::{Id, TaskId},
    status::TaskStatus,
};
use windlass_store::{
    Claim, Holder, Holding, Location, NewTask, RowChange, RunCommit, Store, TaskAnswer, TaskEnd, TaskResult,
};

use crate::harness::{Fixture, TENANT, commit, done, run_id, start};

crate::on_every_store!(
    claims_come_by_priority_then_age,
    what_comes_before_is_claimed_before,
    what_another_store_offers_is_claimed,
    two_workers_never_get_the_same_task,
    only_the_holder_can_finish,
    one_claim_serves_all_who_wait,
    a_task_can_be_born_with_its_holder,
    a_released_task_is_there_again,
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
        holder: None,
    }
}

async fn open(store: &Store, tasks: Vec<NewTask>) -> Vec<TaskId> {
    let ids = tasks.iter().map(|task| task.id).collect();
    let rows = tasks.into_iter().map(RowChange::OpenTask).collect();
    done(store.commit(RunCommit { rows, ..start(store, run_id(), None) }).await);
    ids
}

fn claim(max: usize) -> Claim {
    Claim { queues: vec!["q".to_owned(), "other".to_owned()], workers: vec!["w".into(); max] }
}

/// Workers ask while there is nothing, and PostgreSQL keeps the plan that it made of it.
#[tokio::test]
async fn a_queue_that_was_empty_goes_by_index_when_it_is_full() {
    const TASKS: usize = 5_000;
    const CLAIMED: usize = 1_000;
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    for _ in 0..20 {
        assert!(store.claim_tasks(TENANT, claim(100)).await.expect("a claim").is_empty());
    }
    open(store, (0..TASKS).map(|_| task(store, 0, 60_000)).collect()).await;
    for _ in 0..CLAIMED / 100 {
        assert_eq!(store.claim_tasks(TENANT, claim(100)).await.expect("a claim").len(), 100);
    }
    // Sessions tell what they read when they end.
    store.close().await;
    let Location::Postgres { url } = &fixture.options.location else { panic!("no PostgreSQL") };
    let database = windlass_testkit::look_at(url).await.expect("a session");
    let sessions =
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'windlass'";
    while database.query_one(sessions, &[]).await.expect("a count").get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let read = "select relname::text, (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables \
                where relname in ('tasks', 'task_ready', 'task_leases') order by relname";
    for row in database.query(read, &[]).await.expect("counts") {
        let (table, read) = (row.get::<_, String>(0), row.get::<_, i64>(1));
        assert!(read < 10 * CLAIMED as i64, "{read} rows of {table} were read for {CLAIMED} claims");
    }
}

async fn claims_come_by_priority_then_age(fixture: Fixture) {
    let store = &fixture.store;
    let tasks = [0, 5, 0, 9].map(|priority| task(store, priority, 60_000)).to_vec();
    let ids = open(store, tasks).await;
    let claimed = store.claim_tasks(TENANT, claim(3)).await.expect("a claim");
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[3], ids[1], ids[0]]);
    assert_eq!(store.list_tasks(TENANT, TaskStatus::Claimed, None, 10).await.expect("a list").len(), 3);
}

/// Claims go on behind what was taken last, and yet pass over nothing that comes in before it.
async fn what_comes_before_is_claimed_before(fixture: Fixture) {
    let store = &fixture.store;
    let ids = open(store, (0..20).map(|_| task(store, 0, 60_000)).collect()).await;
    let next = async || store.claim_tasks(TENANT, claim(1)).await.expect("a claim").remove(0);
    let first = next().await;
    assert_eq!([first.id, next().await.id], [ids[0], ids[1]]);
    let urgent = open(store, vec![task(store, 3, 60_000)]).await;
    assert_eq!([next().await.id, next().await.id], [urgent[0], ids[2]]);
    store.release_tasks(vec![(TENANT, Holding { task: first.id, token: first.token })]).await.expect("a release");
    assert_eq!([next().await.id, next().await.id], [ids[0], ids[3]]);
    // Its lease is over at once.
    let lost = open(store, vec![task(store, 1, 0)]).await;
    assert_eq!([next().await.id, next().await.id], [lost[0], ids[4]]);
    store.expire_tasks(100).await.expect("lost ones");
    assert_eq!([next().await.id, next().await.id], [lost[0], ids[5]]);
}

/// Nobody says so to the store that claims.
async fn what_another_store_offers_is_claimed(fixture: Fixture) {
    if !fixture.store.is_shared() {
        return;
    }
    let store = &fixture.store;
    let other = Store::open(fixture.options.clone()).await.expect("a store");
    open(store, (0..20).map(|_| task(store, 0, 60_000)).collect()).await;
    assert_eq!(store.claim_tasks(TENANT, claim(5)).await.expect("a claim").len(), 5);
    let urgent = open(&other, vec![task(&other, 3, 60_000)]).await[0];
    let mut claimed = Vec::new();
    while claimed.len() < 16 {
        let more = store.claim_tasks(TENANT, claim(1)).await.expect("a claim");
        assert_eq!(more.len(), 1, "{claimed:?}");
        claimed.extend(more.into_iter().map(|task| task.id));
    }
    assert!(claimed.contains(&urgent), "{claimed:?}");
    other.close().await;
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
    let result = |holding| {
        let (status, output, hash) = (TaskEnd::Completed, b"1".to_vec(), [7; 32]);
        vec![(TENANT, TaskResult { holding, status, output, hash })]
    };
    assert_eq!(store.finish_tasks(result(stranger)).await.expect("an answer"), [false]);
    let beats = store.heartbeat_tasks(vec![(TENANT, stranger), (TENANT, holding)]).await.expect("beats");
    assert!(beats[0].is_none() && beats[1] >= Some(claimed[0].lease_until), "{beats:?}");
    let lease = store.task_lease(TENANT, ids[0]).await.expect("a read").expect("a lease");
    assert_eq!((lease.token, lease.run, &*lease.path), (holding.token, claimed[0].run, "t"));
    assert_eq!(store.finish_tasks(result(holding)).await.expect("an answer"), [true]);
    assert_eq!(store.finish_tasks(result(holding)).await.expect("an answer"), [false]);
    assert!(store.heartbeat_tasks(vec![(TENANT, holding)]).await.expect("beats")[0].is_none());
    for (token, hash, known) in [
        (Some(holding.token), [7; 32], true),
        (None, [7; 32], true),
        (Some(stranger.token), [7; 32], false),
        (Some(holding.token), [8; 32], false),
    ] {
        assert_eq!(store.was_answered(TENANT, ids[0], token, hash).await.expect("a read"), known);
    }
    let finished = store.finished_tasks(&store.lanes(), 10).await.expect("results");
    assert_eq!((finished.len(), finished[0].output.as_deref()), (1, Some(b"1".as_slice())));
    close(store, ids[0], finished[0].run).await;
    assert!(store.finished_tasks(&store.lanes(), 10).await.expect("results").is_empty());
}

/// The run takes the task's end: nothing is left of it.
async fn close(store: &Store, task: TaskId, run: windlass_engine::id::RunId) {
    let answer = TaskAnswer { token: uuid::Uuid::nil(), hash: [9; 32] };
    let rows = vec![RowChange::CloseTask(task), RowChange::PutTaskAnswer(task, answer)];
    done(store.commit(RunCommit { rows, ..commit(store, run, 2..=2) }).await);
    assert!(store.task(TENANT, task).await.expect("a read").is_none());
    assert!(store.task_lease(TENANT, task).await.expect("a read").is_none());
}

async fn one_claim_serves_all_who_wait(fixture: Fixture) {
    let store = &fixture.store;
    let ids = open(store, [1, 3, 2].map(|priority| task(store, priority, 60_000)).to_vec()).await;
    let workers = ["ada", "bob", "bob", "eve"].map(Into::into).to_vec();
    let claimed = store.claim_tasks(TENANT, Claim { queues: vec!["q".to_owned()], workers }).await.expect("a claim");
    let got: Vec<_> = claimed.iter().map(|task| (task.id, task.place)).collect();
    assert_eq!(got, [(ids[1], 0), (ids[2], 1), (ids[0], 2)]);
    for (task, worker) in claimed.iter().zip(["ada", "bob", "bob"]) {
        let lease = store.task_lease(TENANT, task.id).await.expect("a read").expect("a lease");
        assert_eq!((lease.token, &*lease.worker, lease.until), (task.token, worker, task.lease_until));
    }
}

async fn a_task_can_be_born_with_its_holder(fixture: Fixture) {
    let store = &fixture.store;
    let (token, until) = (uuid::Uuid::now_v7(), store.now().after(std::time::Duration::from_secs(60)));
    let held = NewTask { holder: Some(Holder { worker: "w".into(), token, until }), ..task(store, 0, 60_000) };
    let ids = open(store, vec![held]).await;
    assert!(store.claim_tasks(TENANT, claim(5)).await.expect("a claim").is_empty());
    let lease = store.task_lease(TENANT, ids[0]).await.expect("a read").expect("a lease");
    assert_eq!((lease.token, lease.until), (token, until));
    let row = store.task(TENANT, ids[0]).await.expect("a read").expect("a task");
    assert_eq!((row.status, row.holder), (TaskStatus::Claimed, Some(("w".to_owned(), until))));
    close(store, ids[0], lease.run).await;
}

async fn a_released_task_is_there_again(fixture: Fixture) {
    let store = &fixture.store;
    let ids = open(store, vec![task(store, 0, 60_000)]).await;
    let first = store.claim_tasks(TENANT, claim(1)).await.expect("a claim").remove(0);
    let holding = Holding { task: ids[0], token: first.token };
    store.release_tasks(vec![(TENANT, Holding { token: uuid::Uuid::nil(), ..holding })]).await.expect("nothing");
    assert!(store.claim_tasks(TENANT, claim(1)).await.expect("a claim").is_empty());
    store.release_tasks(vec![(TENANT, holding)]).await.expect("a release");
    let again = store.claim_tasks(TENANT, claim(1)).await.expect("a claim").remove(0);
    assert_eq!((again.id, again.token == first.token), (first.id, false));
    let row = store.task(TENANT, ids[0]).await.expect("a read").expect("a task");
    assert_eq!((row.status, row.lost), (TaskStatus::Claimed, 0));
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
