//! What was written reads back.

use windlass_engine::{status::RunStatus, trace::TraceId};
use windlass_store::{
    Count, RowChange, RunChange, RunCommit, RunError, RunFilter, RunUpdate, StoreError, TimerChange, Value, blobs,
};

use crate::harness::{Fixture, TENANT, becomes, commit, done, new_run, run_id, start, started};

crate::on_every_store!(
    a_run_reads_back,
    lists_are_filtered_and_paged,
    a_journal_is_read_in_pages,
    damage_is_told_and_not_served,
    timers_come_in_their_order,
    rows_beside_the_journal,
    recovery_finds_what_is_open,
);

async fn a_run_reads_back(fixture: Fixture) {
    let store = &fixture.store;
    let run = run_id();
    let parent = run_id();
    let new = windlass_store::NewRun {
        key: Some("k".to_owned()),
        labels: Some(serde_json::json!({"team": "a"})),
        started_by: Some(serde_json::json!({"token": "t"})),
        parent: Some((parent, "ship".to_owned())),
        trace: Some(TraceId::of_run(parent)),
        ..new_run(store)
    };
    let insert = RunCommit { change: RunChange::Insert(Box::new(new.clone()), None), ..commit(store, run, 1..=1) };
    done(store.commit(insert).await);
    let error = RunError { class: "http".to_owned(), code: "http_500".to_owned(), message: "x".repeat(3_000) };
    let update = RunUpdate {
        status: Some(RunStatus::Failed),
        error: Some(error),
        finished_at: Some(store.now()),
        ..RunUpdate::default()
    };
    done(store.commit(RunCommit { change: RunChange::Update(Box::new(update)), ..commit(store, run, 2..=2) }).await);
    let row = store.run(TENANT, run).await.expect("a read").expect("a run");
    assert_eq!((row.workflow.as_str(), row.status, row.created_at), ("demo", RunStatus::Failed, new.created_at));
    assert_eq!((row.labels, row.started_by, row.parent), (new.labels, new.started_by, new.parent));
    assert_eq!(row.error.map(|error| error.message.len()), Some(2_000));
    assert_eq!((row.journal_bytes, row.trace), (18, new.trace));
    assert_eq!(store.children(TENANT, parent).await.expect("children").len(), 1);
    assert_eq!(store.run(windlass_engine::id::TenantKey(2), run).await.expect("a read"), None);
}

async fn lists_are_filtered_and_paged(fixture: Fixture) {
    let store = &fixture.store;
    let mut ids = Vec::new();
    for n in 0..12 {
        let run = run_id();
        let new = windlass_store::NewRun {
            workflow: if n % 2 == 0 { "even" } else { "odd" }.to_owned(),
            key: Some(format!("k{}", n % 3)),
            labels: Some(serde_json::json!({"n": n.to_string()})),
            ..new_run(store)
        };
        done(
            store
                .commit(RunCommit { change: RunChange::Insert(Box::new(new), None), ..commit(store, run, 1..=1) })
                .await,
        );
        ids.push(run);
    }
    done(store.commit(becomes(store, ids[3], 2, RunStatus::Failed)).await);
    let check = async |filter: RunFilter, expect: &[usize]| {
        let found = store.list_runs(TENANT, &filter, 100).await.expect("a list");
        let places: Vec<usize> = found.iter().filter_map(|run| ids.iter().position(|id| *id == run.id)).collect();
        assert_eq!(places, expect, "{filter:?}");
        let count = store.count_runs(TENANT, &filter).await.expect("a count");
        assert_eq!(count, Count::Exactly(expect.len() as i64));
    };
    let all = RunFilter::default;
    check(RunFilter { workflow: Some("even".to_owned()), ..all() }, &[10, 8, 6, 4, 2, 0]).await;
    check(RunFilter { statuses: vec![RunStatus::Failed], ..all() }, &[3]).await;
    check(
        RunFilter { statuses: vec![RunStatus::Failed, RunStatus::Running], after: Some(ids[4]), ..all() },
        &[3, 2, 1, 0],
    )
    .await;
    check(RunFilter { key: Some("k1".to_owned()), ..all() }, &[10, 7, 4, 1]).await;
    check(RunFilter { labels: vec![("n".to_owned(), "7".to_owned())], ..all() }, &[7]).await;
    check(RunFilter { labels: vec![("n".to_owned(), "'; drop".to_owned())], ..all() }, &[]).await;
    let page = store.list_runs(TENANT, &all(), 5).await.expect("a page");
    let next = RunFilter { after: page.last().map(|run| run.id), ..all() };
    assert_eq!(store.list_runs(TENANT, &next, 5).await.expect("a page")[0].id, ids[6]);
}

async fn a_journal_is_read_in_pages(fixture: Fixture) {
    let store = &fixture.store;
    let run = started(store).await;
    done(store.commit(commit(store, run, 2..=50)).await);
    let mut from = 1;
    let mut seqs = Vec::new();
    loop {
        let page = store.journal(TENANT, run, from, 7).await.expect("a page");
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        seqs.extend(page.iter().map(|entry| entry.seq));
    }
    assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
    let (first, last) = store.journal_first_and_last(TENANT, run).await.expect("ends").expect("a journal");
    assert_eq!((first.seq, last.seq), (1, 50));
    assert_eq!(store.journal_first_and_last(TENANT, run_id()).await.expect("ends"), None);
    assert_eq!(store.journal_of_kind(TENANT, run, "step", (45, 3)).await.expect("steps").len(), 3);
    assert_eq!(store.journal_ends(TENANT, &[run, run_id()]).await.expect("ends"), [(run, 50)].into());
}

async fn damage_is_told_and_not_served(fixture: Fixture) {
    let store = &fixture.store;
    let run = started(store).await;
    done(store.commit(commit(store, run, 2..=5)).await);
    let damage = "update journal set payload = $1 where seq = 3";
    store.database().across_tenants().execute(damage, vec![Value::Bytes(b"other".to_vec())]).await.expect("damage");
    let error = store.journal(TENANT, run, 1, 100).await.expect_err("damage");
    assert!(matches!(&error, StoreError::Damaged(text) if text.contains(&run.to_string())), "{error}");
    assert_eq!(store.journal(TENANT, run, 4, 100).await.expect("the rest").len(), 2);
    store.database().across_tenants().execute("delete from journal where seq = 4", vec![]).await.expect("damage");
    assert!(store.journal(TENANT, run, 5, 100).await.is_err());
}

async fn timers_come_in_their_order(fixture: Fixture) {
    let store = &fixture.store;
    let now = store.now();
    let at = |seconds| now.after(std::time::Duration::from_secs(seconds));
    let mut runs = Vec::new();
    for seconds in [30, 10, 20] {
        let run = run_id();
        let timer = Some(TimerChange { old: None, new: Some(at(seconds)) });
        done(store.commit(RunCommit { timer, ..start(store, run, None) }).await);
        runs.push(run);
    }
    let timer = Some(TimerChange { old: Some(at(10)), new: Some(at(25)) });
    done(store.commit(RunCommit { timer, ..commit(store, runs[1], 2..=2) }).await);
    let due = store.due_timers(&store.lanes(), at(26), None, 10).await.expect("timers");
    assert_eq!(due.iter().map(|timer| timer.run).collect::<Vec<_>>(), [runs[2], runs[1]]);
    assert_eq!(due[1].due_at, at(25));
    let next = store.due_timers(&store.lanes(), at(60), Some((due[1].due_at, due[1].run)), 10).await.expect("timers");
    assert_eq!(next.len(), 1);
}

async fn rows_beside_the_journal(fixture: Fixture) {
    let store = &fixture.store;
    let run = started(store).await;
    let (hash, put) = blobs::put(&vec![b'x'; 100_000]).expect("a blob");
    let rows = vec![
        put.clone(),
        RowChange::PutActiveStep { path: "a".into(), step: "a".into(), attempt: 1, started_at: store.now() },
        RowChange::DeleteActiveStep { path: "a".into() },
        RowChange::PutActiveStep { path: "a".into(), step: "a".into(), attempt: 2, started_at: store.now() },
        RowChange::PutEventWait { path: "e".into(), event_type: "t".to_owned(), subject: None, since: store.now() },
        RowChange::PutSnapshot { seq: 1, engine_version: 1, state: b"one".to_vec() },
        RowChange::PutSnapshot { seq: 2, engine_version: 1, state: b"two".to_vec() },
    ];
    done(store.commit(RunCommit { rows, ..commit(store, run, 2..=2) }).await);
    let other = run_id();
    done(store.commit(RunCommit { rows: vec![put], ..start(store, other, None) }).await);
    assert_eq!(store.blob(TENANT, hash).await.expect("a blob").map(|blob| blob.len()), Some(100_000));
    assert_eq!(store.blob(windlass_engine::id::TenantKey(2), hash).await.expect("no blob"), None);
    assert_eq!(store.snapshot(TENANT, run).await.expect("a state").map(|state| state.state), Some(b"two".to_vec()));
    assert_eq!(store.event_waits(TENANT, "t", Some("s")).await.expect("waits").len(), 1);
    let count = "select (select count(*) from blobs), (select count(*) from blob_refs), (select max(attempt) from active_steps)";
    let row = store.database().across_tenants().query_opt(count, vec![]).await.expect("counts").expect("a row");
    assert_eq!((row.int(0).ok(), row.int(1).ok(), row.int(2).ok()), (Some(1), Some(2), Some(2)));
}

async fn recovery_finds_what_is_open(fixture: Fixture) {
    let store = &fixture.store;
    let mut running = Vec::new();
    for n in 0..9 {
        let run = started(store).await;
        match n % 3 {
            0 => running.push(run),
            1 => _ = done(store.commit(becomes(store, run, 2, RunStatus::Waiting)).await),
            _ => _ = done(store.commit(becomes(store, run, 2, RunStatus::Completed)).await),
        }
    }
    let mut found = Vec::new();
    for lane in store.lanes() {
        let mut after = None;
        loop {
            let page = store.open_runs(lane, RunStatus::Running, after, 2).await.expect("a page");
            let Some(last) = page.last() else { break };
            after = Some((last.tenant, last.run));
            found.extend(page.iter().map(|open| open.run));
        }
    }
    found.sort();
    assert_eq!(found, running);
}
