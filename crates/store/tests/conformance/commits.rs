//! What the committer promises.

use windlass_engine::status::RunStatus;
use windlass_store::{CommitError, Committed, IdempotencyKey, RunCommit};

use crate::harness::{Fixture, becomes, commit, done, run_id, start, started};

crate::on_every_store!(
    a_gap_is_refused,
    a_run_goes_on_after_reopening,
    a_final_status_never_changes,
    one_key_starts_one_run,
    a_bad_commit_takes_no_other_with_it,
    nothing_is_written_for_a_run_that_is_not_there,
);

async fn a_gap_is_refused(fixture: Fixture) {
    let store = &fixture.store;
    let run = started(store).await;
    assert!(matches!(store.commit(commit(store, run, 3..=3)).await, Err(CommitError::Conflict(_))));
    assert!(matches!(store.commit(commit(store, run, 1..=1)).await, Err(CommitError::Conflict(_))));
    assert_eq!(done(store.commit(commit(store, run, 2..=4)).await), Committed::Done);
}

async fn a_run_goes_on_after_reopening(mut fixture: Fixture) {
    let run = started(&fixture.store).await;
    let lane = fixture.store.lane_for(run);
    fixture.reopen().await;
    let store = &fixture.store;
    assert!(matches!(
        store.commit(RunCommit { lane, ..commit(store, run, 3..=3) }).await,
        Err(CommitError::Conflict(_))
    ));
    done(store.commit(RunCommit { lane, ..commit(store, run, 2..=3) }).await);
    done(store.commit(RunCommit { lane, ..becomes(store, run, 4, RunStatus::Completed) }).await);
}

async fn a_final_status_never_changes(fixture: Fixture) {
    let store = &fixture.store;
    let run = started(store).await;
    done(store.commit(becomes(store, run, 2, RunStatus::Completed)).await);
    for status in [RunStatus::Running, RunStatus::Failed] {
        let outcome = store.commit(becomes(store, run, 3, status)).await;
        assert!(matches!(outcome, Err(CommitError::Conflict(_))), "{status}: {outcome:?}");
    }
    done(store.commit(commit(store, run, 3..=3)).await);
}

async fn one_key_starts_one_run(fixture: Fixture) {
    let store = &fixture.store;
    let key = IdempotencyKey { key_hash: [1; 32], body_hash: [2; 32] };
    let starts = (0..50).map(|_| {
        let run = run_id();
        async move { (run, store.commit(start(store, run, Some(key))).await) }
    });
    let outcomes = futures::future::join_all(starts).await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Ok(Committed::Done))).collect();
    assert_eq!(winners.len(), 1);
    let winner = winners[0].0;
    for (run, outcome) in &outcomes {
        if *run != winner {
            assert_eq!(done(outcome.clone()), Committed::Duplicate { run: winner, same_body: true });
        }
    }
    let other = IdempotencyKey { body_hash: [3; 32], ..key };
    let outcome = done(store.commit(start(store, run_id(), Some(other))).await);
    assert_eq!(outcome, Committed::Duplicate { run: winner, same_body: false });
}

async fn a_bad_commit_takes_no_other_with_it(fixture: Fixture) {
    let store = &fixture.store;
    let twice = started(store).await;
    let commits = (0..40).map(|n| async move {
        // Every tenth one starts a run that is there already: the database refuses it.
        let run = if n % 10 == 5 { twice } else { run_id() };
        (n, store.commit(start(store, run, None)).await)
    });
    for (n, outcome) in futures::future::join_all(commits).await {
        assert_eq!(outcome.is_err(), n % 10 == 5, "{n}: {outcome:?}");
    }
    done(store.commit(commit(store, twice, 2..=2)).await);
}

async fn nothing_is_written_for_a_run_that_is_not_there(fixture: Fixture) {
    let store = &fixture.store;
    let outcome = store.commit(commit(store, run_id(), 1..=1)).await;
    assert!(matches!(outcome, Err(CommitError::Conflict(_))), "{outcome:?}");
}
