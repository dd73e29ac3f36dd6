//! The backlog: the order of a queue, shares, floors, and that a run is claimed once.

use std::collections::BTreeSet;

use windlass_engine::{
    id::{RunId, TenantKey},
    status::RunStatus,
};
use windlass_store::{
    Claimed, NewRun, Position, RowChange, RunChange, RunCommit, Share, Store, StoreError, StoreOptions,
};

use crate::{
    harness::{Fixture, TENANT, becomes, commit, done, new_run, run_id},
    on_every_store,
};

on_every_store!(a_queue_has_an_order, a_run_that_ends_leaves_the_queue, claimed_runs_are_found_again);

/// Starts a run that waits until somebody has room.
async fn queued(store: &Store, priority: i32) -> RunId {
    let run = run_id();
    let new = NewRun { status: RunStatus::Queued, started_at: None, priority, ..new_run(store) };
    let mut start = RunCommit { change: RunChange::Insert(Box::new(new), None), ..commit(store, run, 1..=1) };
    start.rows.push(RowChange::PutBacklog { priority, queued_at: store.now() });
    done(store.commit(start).await);
    run
}

fn share(runs: u32, floor: Position) -> [Share; 1] {
    [Share { tenant: TENANT, runs, floor }]
}

async fn claim(store: &Store, runs: u32, floor: Position) -> Vec<Claimed> {
    store.claim_runs(store.lanes()[0], &share(runs, floor)).await.expect("an answer")
}

fn runs(claimed: &[Claimed]) -> Vec<RunId> {
    claimed.iter().map(|it| it.position.run).collect()
}

async fn a_queue_has_an_order(fixture: Fixture) {
    let store = &fixture.store;
    assert!(store.backlog_tenants(TenantKey(i32::MIN), 10).await.expect("an answer").is_empty());
    let mut all = Vec::new();
    for priority in [0, 7, 0, -7, 7] {
        all.push(queued(store, priority).await);
    }
    assert_eq!(store.backlog_tenants(TenantKey(i32::MIN), 10).await.expect("tenants"), [TENANT]);
    assert!(store.backlog_tenants(TENANT, 10).await.expect("an answer").is_empty());
    assert_eq!(store.backlog_counts().await.expect("counts")[&TENANT], 5);
    let first = claim(store, 3, Position::FIRST).await;
    assert_eq!(runs(&first), [all[1], all[4], all[0]]);
    for run in runs(&first) {
        let row = store.run(TENANT, run).await.expect("an answer").expect("a run");
        assert_eq!((row.lane, row.status), (store.lanes()[0], RunStatus::Queued));
    }
    // A floor hides what stands before it, and its slack shows what came a little late.
    let floor = first[2].position;
    let late = queued(store, 7).await;
    assert!(claim(store, 9, Position { rank: 8, ..floor }).await.is_empty());
    assert_eq!(runs(&claim(store, 1, floor.with_slack()).await), [all[2]]);
    assert_eq!(runs(&claim(store, 9, Position::FIRST).await), [late, all[3]]);
    assert!(store.backlog_counts().await.expect("counts").is_empty());
}

async fn a_run_that_ends_leaves_the_queue(fixture: Fixture) {
    let store = &fixture.store;
    let run = queued(store, 0).await;
    let mut end = becomes(store, run, 2, RunStatus::Cancelled);
    end.rows.push(RowChange::DeleteBacklog);
    done(store.commit(end).await);
    assert!(claim(store, 9, Position::FIRST).await.is_empty());
    // Both within one commit: nothing stays.
    let run = run_id();
    let new = NewRun { status: RunStatus::Cancelled, finished_at: Some(store.now()), ..new_run(store) };
    let mut both = RunCommit { change: RunChange::Insert(Box::new(new), None), ..commit(store, run, 1..=1) };
    both.rows.push(RowChange::PutBacklog { priority: 0, queued_at: store.now() });
    both.rows.push(RowChange::DeleteBacklog);
    done(store.commit(both).await);
    assert!(store.backlog_counts().await.expect("counts").is_empty());
}

async fn claimed_runs_are_found_again(fixture: Fixture) {
    let store = &fixture.store;
    let run = queued(store, 0).await;
    let lane = store.lanes()[0];
    for lane in store.lanes() {
        assert!(store.claimed_runs(lane, None, 10).await.expect("an answer").is_empty());
    }
    claim(store, 1, Position::FIRST).await;
    assert_eq!(store.claimed_runs(lane, None, 10).await.expect("an answer"), [(TENANT, run)]);
    assert!(store.claimed_runs(lane, Some((TENANT, run)), 10).await.expect("an answer").is_empty());
}

#[tokio::test]
async fn many_claim_and_each_run_is_claimed_once() {
    let fixture = Fixture::postgres().await;
    let other = Store::open(fixture.options.clone()).await.expect("a store");
    let stores = [&fixture.store, &other];
    let all = futures::future::join_all((0..300).map(|_| queued(&fixture.store, 0))).await;
    let claims = (0..60).map(|at: usize| async move { claim(stores[at % 2], 10, Position::FIRST).await });
    let claimed = futures::future::join_all(claims).await.concat();
    let once: BTreeSet<RunId> = runs(&claimed).into_iter().collect();
    assert_eq!(once.len(), claimed.len());
    let rest = claim(&other, 300, Position::FIRST).await;
    assert_eq!(once.len() + rest.len(), all.len());
    other.close().await;
}

#[tokio::test]
async fn a_lane_that_was_taken_claims_nothing() {
    let fixture = Fixture::postgres().await;
    let options = StoreOptions { lease_ms: 60_000, ..fixture.options.clone() };
    let store = Store::open(options).await.expect("a store");
    queued(&store, 0).await;
    let lane = store.lanes()[0];
    let take = "update lanes set epoch = epoch + 1, node_id = null where id = $1";
    store.database().across_tenants().execute(take, vec![lane.0.into()]).await.expect("a theft");
    let refused = store.claim_runs(lane, &share(9, Position::FIRST)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(store.backlog_counts().await.expect("counts")[&TENANT], 1);
    store.close().await;
}
