//! Who may write: lanes, fences, taking over.

use std::time::{Duration, Instant};

use windlass_definition::Timestamp;
use windlass_store::{CommitError, RunCommit, Standing, Store, StoreOptions};

use crate::harness::{Fixture, TENANT, commit, done, run_id, start, started};

async fn short_lease() -> (Fixture, StoreOptions) {
    let fixture = Fixture::postgres().await;
    fixture.store.close().await;
    let options = StoreOptions { lease_ms: 1_000, lanes: 2, ..fixture.options.clone() };
    (fixture, options)
}

/// Calls until it gives something.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it happens in time")
}

#[tokio::test]
async fn a_node_that_left_hands_its_lanes_over() {
    let (_fixture, options) = short_lease().await;
    let first = Store::open(options.clone()).await.expect("a store");
    let run = started(&first).await;
    let lane = first.lane_for(run);
    first.close().await;
    let second = Store::open(options).await.expect("a store");
    assert!(second.owns(lane), "{:?}", second.lanes());
    done(second.commit(RunCommit { lane, ..commit(&second, run, 2..=2) }).await);
    second.close().await;
}

#[tokio::test]
async fn a_fence_stops_a_node_whose_lane_was_taken() {
    let (_fixture, options) = short_lease().await;
    let store = Store::open(options).await.expect("a store");
    let run = started(&store).await;
    let lane = store.lane_for(run);
    // Somebody took the lane, as after a long pause.
    let take = "update lanes set epoch = epoch + 1, node_id = null where id = $1";
    store.database().across_tenants().execute(take, vec![lane.0.into()]).await.expect("a theft");
    let outcome = store.commit(commit(&store, run, 2..=2)).await;
    assert!(matches!(outcome, Err(CommitError::Fenced(fenced)) if fenced == lane), "{outcome:?}");
    assert_eq!(store.journal(TENANT, run, 1, 10).await.expect("a journal").len(), 1);
    assert!(!store.owns(lane));
    // The other lane goes on.
    let other = run_id();
    let lane = store.lanes()[0];
    done(store.commit(RunCommit { lane, ..start(&store, other, None) }).await);
    store.close().await;
}

#[tokio::test]
async fn a_dead_nodes_lanes_are_taken_over_and_it_joins_again() {
    let (_fixture, options) = short_lease().await;
    let dead = Store::open(options.clone()).await.expect("a store");
    let run = started(&dead).await;
    let lane = dead.lane_for(run);
    let heir = Store::open(options).await.expect("a store");
    // Its lease is over by the database's clock, and it cannot renew: as a paused process.
    let pause = "update nodes set state = 'dead' where id = $1";
    heir.database().across_tenants().execute(pause, vec![dead.node().into()]).await.expect("a death");
    let mut adopted = Vec::new();
    until(async || {
        adopted.extend(heir.adopt().await.expect("an answer").lanes);
        adopted.contains(&lane).then_some(())
    })
    .await;
    done(heir.commit(RunCommit { lane, ..commit(&heir, run, 2..=2) }).await);
    let outcome = dead.commit(RunCommit { lane, ..commit(&dead, run, 2..=2) }).await;
    assert!(matches!(outcome, Err(CommitError::Fenced(_))), "{outcome:?}");
    let mut standing = dead.standing();
    tokio::time::timeout(Duration::from_secs(20), standing.wait_for(|standing| *standing == Standing::Lost))
        .await
        .expect("it learns in time")
        .expect("the store lives");
    assert!(dead.lanes().is_empty());
    assert_eq!(dead.rejoin().await.expect("new lanes").len(), 2);
    started(&dead).await;
    dead.close().await;
    heir.close().await;
}

async fn lease_until(store: &Store) -> Timestamp {
    let lease = "select lease_until from nodes where id = $1";
    let rows = store.database().across_tenants().query(lease, vec![store.node().into()]).await.expect("a row");
    rows[0].time(0).expect("a time")
}

/// What a node says of a task that it does not know depends on this: another one may have handed it out meanwhile.
#[tokio::test]
async fn a_node_that_joins_again_knows_that_it_was_away() {
    let (_fixture, options) = short_lease().await;
    let store = Store::open(options.clone()).await.expect("a store");
    until(async || store.is_alone().then_some(())).await;
    let bury = "update nodes set state = 'dead' where id = $1";
    store.database().across_tenants().execute(bury, vec![store.node().into()]).await.expect("a death");
    let mut standing = store.standing();
    until(async || (*standing.borrow_and_update() == Standing::Lost).then_some(())).await;
    let other = Store::open(options).await.expect("a store");
    let asked = Instant::now();
    store.rejoin().await.expect("new lanes");
    assert!(!store.is_alone(), "it has seen nobody yet, and is not alone");
    assert!(store.joined_for() <= asked.elapsed());
    // The second renewal is sent when the answer to the first has come, which saw the other one.
    for _ in 0..2 {
        let before = lease_until(&store).await;
        until(async || (lease_until(&store).await != before).then_some(())).await;
    }
    // What the other one did while it took itself for the only one is not over when it is.
    other.close().await;
    until(async || store.is_alone().then_some(())).await;
    assert!(store.had_company());
    store.close().await;
}

#[tokio::test]
async fn a_commit_whose_answer_never_came_is_found_or_written_once() {
    let (_fixture, options) = short_lease().await;
    let store = Store::open(StoreOptions { lease_ms: 10_000, ..options }).await.expect("a store");
    let runs = futures::future::join_all((0..16).map(|_| started(&store))).await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and pid <> pg_backend_pid() and query not like '%nodes%'";
    let working = futures::future::join_all(runs.iter().map(|run| async {
        for seq in 2..=60 {
            done(store.commit(commit(&store, *run, seq..=seq)).await);
        }
    }));
    let killing = async {
        for _ in 0..15 {
            // The killer's own session may be among the killed of the round before.
            store.database().across_tenants().query(kill, vec![]).await.ok();
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    };
    futures::join!(working, killing);
    for run in runs {
        assert_eq!(store.journal(TENANT, run, 1, 100).await.expect("a journal").len(), 60);
    }
    store.close().await;
}

#[tokio::test]
async fn a_lane_that_comes_back_is_read_anew() {
    let (_fixture, options) = short_lease().await;
    let first = Store::open(options.clone()).await.expect("a store");
    let run = started(&first).await;
    let lane = first.lane_for(run);
    let take = "update lanes set epoch = epoch + 1, node_id = null where id = $1";
    first.database().across_tenants().execute(take, vec![lane.0.into()]).await.expect("a theft");
    let outcome = first.commit(RunCommit { lane, ..commit(&first, run, 2..=2) }).await;
    assert!(matches!(outcome, Err(CommitError::Fenced(_))), "{outcome:?}");
    let second = Store::open(options).await.expect("a store");
    assert!(second.owns(lane));
    done(second.commit(RunCommit { lane, ..commit(&second, run, 2..=3) }).await);
    second.close().await;
    until(async || first.adopt().await.expect("an answer").lanes.contains(&lane).then_some(())).await;
    let outcome = first.commit(RunCommit { lane, ..commit(&first, run, 2..=2) }).await;
    assert!(matches!(outcome, Err(CommitError::Conflict(_))), "{outcome:?}");
    done(first.commit(RunCommit { lane, ..commit(&first, run, 4..=4) }).await);
    first.close().await;
}

#[tokio::test]
async fn lanes_that_were_given_away_are_taken_at_once_and_shared() {
    let (_fixture, options) = short_lease().await;
    // Nobody could be taken for dead within this test.
    let options = StoreOptions { lease_ms: 600_000, ..options };
    let leaving = Store::open(options.clone()).await.expect("a store");
    let given = leaving.lanes();
    for lane in &given {
        done(leaving.commit(RunCommit { lane: *lane, ..start(&leaving, run_id(), None) }).await);
    }
    let heirs = [Store::open(options.clone()).await.expect("a store"), Store::open(options).await.expect("a store")];
    leaving.close().await;
    let mut taken = Vec::new();
    for heir in &heirs {
        taken.push(heir.adopt().await.expect("an answer").lanes);
    }
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1], "{taken:?}");
    let mut taken = taken.concat();
    taken.sort();
    assert_eq!(taken, given);
    for heir in heirs {
        heir.close().await;
    }
}

#[tokio::test]
async fn a_node_whose_renewal_waits_knows_that_it_is_lost_and_gives_its_lanes_back() {
    let (_fixture, options) = short_lease().await;
    let options = StoreOptions { lease_ms: 3_000, ..options };
    let node = Store::open(options.clone()).await.expect("a store");
    let visitor = Store::open(StoreOptions { lanes: 0, ..options }).await.expect("a store");
    let (old, had, mut standing) = (node.node(), node.lanes(), node.standing());
    let (held, holding) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let lock = visitor.database().across_tenants().transact(move |tx| {
        Box::pin(async move {
            tx.query("select 1 from nodes where id = $1 for update", vec![old.into()]).await?;
            held.send(()).expect("somebody waits");
            released.await.expect("somebody lets go");
            Ok(())
        })
    });
    let lost = async {
        holding.await.expect("the lock");
        assert!(node.lease_holds());
        for wanted in [Standing::Shaky, Standing::Lost] {
            standing.wait_for(|standing| *standing == wanted).await.expect("the store lives");
            assert!(!node.lease_holds());
        }
        assert!(node.lanes().is_empty());
        release.send(()).expect("somebody waits");
    };
    tokio::time::timeout(Duration::from_secs(20), async { futures::join!(lock, lost).0.expect("a lock") })
        .await
        .expect("it learns in time");
    // Nobody has buried it, and nothing of the node that it was stays behind: its lanes are taken with the next epoch.
    assert_eq!(node.rejoin().await.expect("lanes"), had);
    assert!(node.lease_holds());
    let alive = "select id from nodes where state = 'alive'";
    let alive = node.database().across_tenants().query(alive, vec![]).await.expect("an answer");
    assert_eq!(alive.len(), 1);
    assert_eq!(alive[0].id(0).expect("an id"), node.node());
    started(&node).await;
    node.close().await;
}

/// The lanes that there are, with their owners.
async fn lanes(store: &Store) -> Vec<(i32, Option<uuid::Uuid>)> {
    let rows = store
        .database()
        .across_tenants()
        .query("select id, node_id from lanes order by id", vec![])
        .await
        .expect("an answer");
    let owner = |row: &windlass_store::Row| Ok((row.int32(0)?, row.opt(1, windlass_store::Row::uuid)?));
    rows.iter().map(owner).collect::<Result<_, windlass_store::StoreError>>().expect("lanes")
}

/// As if the process had been killed, and a lease had gone by since.
async fn kill(victim: &Store, witness: &Store) {
    let sql = "update nodes set state = 'dead' where id = $1";
    witness.database().across_tenants().execute(sql, vec![victim.node().into()]).await.expect("a death");
}

#[tokio::test]
async fn idle_lanes_of_the_dead_wait_for_who_starts_and_others_are_taken_over() {
    let (_fixture, options) = short_lease().await;
    // Nobody is taken for dead here but by this test, and the dead do not notice.
    let options = StoreOptions { lease_ms: 600_000, lanes: 8, ..options };
    let heir = Store::open(options.clone()).await.expect("a store");
    let dead = Store::open(options.clone()).await.expect("a store");
    let run = started(&dead).await;
    let (busy, owned, mut idle) = (dead.lane_for(run), dead.lanes(), dead.lanes());
    idle.retain(|lane| *lane != busy);
    kill(&dead, &heir).await;
    assert_eq!((heir.adopt().await.expect("an answer").lanes, heir.lanes().len()), (vec![busy], 9));
    // Nothing is left to be taken over, and nobody looks for it again and again.
    let adopted = heir.adopt().await.expect("an answer");
    assert_eq!((adopted.lanes, adopted.left), (vec![], 0));
    let count = lanes(&heir).await.len();
    // A letter is reason enough: somebody has to open it.
    let letter = "insert into inbox (lane_id, id, tenant_key, run_id, kind, dedup, payload, created_at) \
                  select $1, id, tenant_key, id, 'x', 'x', ''::bytea, created_at from runs limit 1";
    heir.database().across_tenants().execute(letter, vec![idle[0].0.into()]).await.expect("a letter");
    assert_eq!(heir.adopt().await.expect("an answer").lanes, [idle[0]]);
    let fresh = Store::open(options).await.expect("a store");
    assert_eq!(fresh.lanes()[..6], idle[1..]);
    assert_eq!(lanes(&heir).await.len(), count + 2, "six of its eight lanes were there");
    // The dead one is fenced on each of them.
    for lane in owned {
        let outcome = dead.commit(RunCommit { lane, ..start(&dead, run_id(), None) }).await;
        assert!(matches!(outcome, Err(CommitError::Fenced(fenced)) if fenced == lane), "{outcome:?}");
    }
    for store in [fresh, dead, heir] {
        store.close().await;
    }
}

#[tokio::test]
async fn who_crashes_again_and_again_leaves_no_more_lanes_than_the_first_time() {
    let (_fixture, options) = short_lease().await;
    let options = StoreOptions { lease_ms: 600_000, ..options };
    let witness = Store::open(StoreOptions { lanes: 0, ..options.clone() }).await.expect("a store");
    let mut dead = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..6 {
        let store = Store::open(options.clone()).await.expect("a store");
        started(&store).await;
        // Its run ends, so that nothing holds its lanes.
        witness.database().across_tenants().execute("delete from runs", vec![]).await.expect("an end");
        counts.push(lanes(&witness).await.len());
        kill(&store, &witness).await;
        dead.push(store);
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    for store in dead {
        store.close().await;
    }
}

#[tokio::test]
async fn who_is_dead_for_long_is_forgotten_and_may_still_wake_up() {
    let (_fixture, options) = short_lease().await;
    let sleeper = Store::open(options.clone()).await.expect("a store");
    let run = started(&sleeper).await;
    let (node, lane) = (sleeper.node(), sleeper.lane_for(run));
    let ids = async |store: &Store| {
        let rows = store.database().across_tenants().query("select id from nodes", vec![]).await.expect("an answer");
        rows.iter().map(|row| row.id(0).expect("an id")).collect::<Vec<windlass_engine::id::NodeId>>()
    };
    // A day is not over yet.
    let second = Store::open(options.clone()).await.expect("a store");
    kill(&sleeper, &second).await;
    let day = StoreOptions { dead_nodes_kept: Duration::from_secs(24 * 3_600), ..options.clone() };
    let third = Store::open(day).await.expect("a store");
    assert!(ids(&third).await.contains(&node));
    // As after a long time.
    let old = "update nodes set lease_until = lease_until - interval '8 days' where state <> 'alive'";
    third.database().across_tenants().execute(old, vec![]).await.expect("time");
    let fourth = Store::open(options).await.expect("a store");
    let known = ids(&fourth).await;
    let mut alive = vec![second.node(), third.node(), fourth.node()];
    alive.sort();
    assert_eq!(known.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(), alive);
    assert!(lanes(&fourth).await.iter().all(|(_, owner)| *owner != Some(node.uuid())));
    // Its commits are fenced, whoever has the lane now; it learns that it is lost, and joins anew.
    let outcome = sleeper.commit(RunCommit { lane, ..commit(&sleeper, run, 2..=2) }).await;
    assert!(matches!(outcome, Err(CommitError::Fenced(_))), "{outcome:?}");
    let mut standing = sleeper.standing();
    tokio::time::timeout(Duration::from_secs(20), standing.wait_for(|standing| *standing == Standing::Lost))
        .await
        .expect("it learns in time")
        .expect("the store lives");
    assert_eq!(sleeper.rejoin().await.expect("new lanes").len(), 2);
    started(&sleeper).await;
    for store in [sleeper, second, third, fourth] {
        store.close().await;
    }
}
