//! Looking at a database, checking it, copying it, emptying it.

use std::time::Duration;

use windlass_engine::status::RunStatus;
use windlass_store::{
    Location, Retain, RowChange, RunChange, RunCommit, Store, StoreError, StoreOptions, TimerChange, Value,
    admin::{self, Confirm},
    blobs,
};

use crate::harness::{Fixture, TENANT, becomes, commit, done, new_run, run_id, started};

crate::on_every_store!(
    the_live_schema_is_the_declared_one,
    a_check_names_the_damaged_run,
    a_backup_restores_into_either_database,
    a_damaged_backup_is_refused,
    a_reset_needs_a_yes,
    finished_runs_go_by_count_age_and_bytes,
    numbers_about_the_database,
    a_newer_database_is_refused,
);

async fn the_live_schema_is_the_declared_one(fixture: Fixture) {
    let store = &fixture.store;
    assert_eq!(store.validate().await.expect("a comparison"), Vec::<String>::new());
    let changes = [
        "drop index runs_by_parent",
        "alter table approvals drop column decided_at",
        "alter table nodes add column extra text",
    ];
    for change in changes {
        store.database().across_tenants().execute(change, vec![]).await.expect("a change");
    }
    let differences = store.validate().await.expect("a comparison").join("; ");
    for expect in [
        "index runs_by_parent is missing",
        "column approvals.decided_at is missing",
        "column nodes.extra is not declared",
    ] {
        assert!(differences.contains(expect), "{expect}: {differences}");
    }
}

async fn a_check_names_the_damaged_run(fixture: Fixture) {
    let store = &fixture.store;
    let runs = [started(store).await, started(store).await, started(store).await];
    for run in runs {
        done(store.commit(becomes(store, run, 2, RunStatus::Completed)).await);
    }
    let report = store.check(|_| ()).await.expect("a report");
    assert_eq!((report.runs, report.rows, report.problems), (3, 6, vec![]));
    store
        .database()
        .across_tenants()
        .execute("update runs set finished_at = null where id = $1", vec![runs[0].into()])
        .await
        .expect("damage");
    let last = "update journal set attempt = 9 where seq = 2 and payload = $1 and checksum in (select max(checksum) from journal where seq = 2)";
    store.database().across_tenants().execute(last, vec![Value::Bytes(b"{\"seq\":2}".to_vec())]).await.expect("damage");
    let report = store.check(|_| ()).await.expect("a report");
    assert_eq!(report.problem_count, 2, "{:?}", report.problems);
    assert!(report.problems.iter().any(|problem| problem.contains(&runs[0].to_string())));
}

/// Puts something into every kind of table.
async fn fill(store: &Store) {
    let definition = blobs::sha256(b"document");
    store.put_definition(TENANT, definition, b"document").await.expect("a document");
    let draft = windlass_store::Draft {
        name: "w".to_owned(),
        description: String::new(),
        tags: vec!["b".to_owned(), "a".to_owned()],
        source: "text".to_owned(),
        hash: definition,
        folder: None,
        made_from: None,
    };
    store.put_draft(TENANT, draft, windlass_store::IfMatch::Any).await.expect("a draft");
    store.publish(TENANT, "w", windlass_store::IfMatch::Any, ["child".into()].into()).await.expect("a version");
    for n in 0..30 {
        let run = run_id();
        let labels = Some(serde_json::json!({"z": 1.0, "a": [1e2, null, "x"], "n": n}));
        let new = windlass_store::NewRun { labels, ..new_run(store) };
        let rows = vec![
            blobs::put(format!("value {}", n % 3).as_bytes()).expect("a blob").1,
            RowChange::PutActiveStep { path: "a".into(), step: "a".into(), attempt: 1, started_at: store.now() },
        ];
        let timer = Some(TimerChange { old: None, new: Some(store.now().after(Duration::from_secs(9))) });
        let change = RunChange::Insert(Box::new(new), None);
        done(store.commit(RunCommit { change, rows, timer, ..commit(store, run, 1..=40) }).await);
    }
}

async fn a_backup_restores_into_either_database(fixture: Fixture) {
    fill(&fixture.store).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("backup");
    let written = fixture.store.backup(&file, &mut |_| ()).await.expect("a backup");
    assert!(written.rows() > 1_200);
    let server = windlass_testkit::postgres().await;
    let targets =
        [Location::Sqlite { data_dir: dir.path().join("copy") }, Location::Postgres { url: server.url.clone() }];
    for location in &targets {
        let options = StoreOptions { master_key: fixture.master_key(), ..StoreOptions::new(location.clone()) };
        assert_eq!(admin::restore(&file, options.clone(), &mut |_| ()).await.expect("a restore"), written);
        let again = admin::restore(&file, options.clone(), &mut |_| ()).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "a used target");
        let copy = Store::open(options).await.expect("the copy opens");
        let report = copy.check(|_| ()).await.expect("a report");
        assert_eq!((report.runs, report.rows, report.problems), (30, 1_200, vec![]));
        assert_eq!(copy.validate().await.expect("a comparison"), Vec::<String>::new());
        // The copy is alive: its runs go on, and new ones start.
        started(&copy).await;
        copy.close().await;
    }
    let back = StoreOptions::new(Location::Sqlite { data_dir: dir.path().join("back") });
    let back = StoreOptions { master_key: fixture.master_key(), ..back };
    let from = StoreOptions::new(targets[1].clone());
    let moved = admin::copy_database(from, back.clone(), &mut |_| ()).await.expect("a move");
    assert_eq!(moved.rows(), written.rows() + 2);
    let copy = Store::open(back).await.expect("the copy opens");
    let run = copy.list_runs(TENANT, &windlass_store::RunFilter::default(), 5).await.expect("runs")[4].id;
    done(copy.commit(commit(&copy, run, 41..=41)).await);
    copy.close().await;
}

async fn a_damaged_backup_is_refused(fixture: Fixture) {
    fill(&fixture.store).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("backup");
    fixture.store.backup(&file, &mut |_| ()).await.expect("a backup");
    let whole = std::fs::read(&file).expect("bytes");
    let half = whole[..whole.len() / 2].to_vec();
    let flipped = {
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        bytes
    };
    for (n, bytes) in [half, flipped, b"no backup".to_vec()].into_iter().enumerate() {
        std::fs::write(&file, bytes).expect("a file");
        let options = StoreOptions::new(Location::Sqlite { data_dir: dir.path().join(n.to_string()) });
        assert!(admin::restore(&file, options, &mut |_| ()).await.is_err(), "case {n}");
    }
}

async fn a_reset_needs_a_yes(mut fixture: Fixture) {
    started(&fixture.store).await;
    let location = fixture.options.location.clone();
    assert!(matches!(admin::reset(&location, Confirm::No).await, Err(StoreError::Invalid(_))));
    let busy = admin::reset(&location, Confirm::LoseEverything).await;
    assert!(matches!(busy, Err(StoreError::InUse { .. } | StoreError::Conflict(_))), "{busy:?}");
    fixture.store.close().await;
    admin::reset(&location, Confirm::LoseEverything).await.expect("a reset");
    fixture.reopen().await;
    let runs = fixture.store.list_runs(TENANT, &windlass_store::RunFilter::default(), 5).await.expect("a list");
    assert!(runs.is_empty());
}

async fn finished_runs_go_by_count_age_and_bytes(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..20 {
        let run = started(store).await;
        if n < 15 {
            done(store.commit(becomes(store, run, 2, RunStatus::Completed)).await);
        }
    }
    let count = async || store.list_runs(TENANT, &windlass_store::RunFilter::default(), 100).await.expect("runs").len();
    assert_eq!(store.retain(TENANT, "demo", &Retain::default()).await.expect("nothing"), 0);
    let keep = Retain { runs: Some(12), ..Retain::default() };
    assert_eq!(store.retain(TENANT, "demo", &keep).await.expect("a turn"), 3);
    assert_eq!(store.retain(TENANT, "demo", &keep).await.expect("a turn"), 0);
    let keep = Retain { bytes: Some(18 * 10), ..Retain::default() };
    assert_eq!(store.retain(TENANT, "demo", &keep).await.expect("a turn"), 2);
    assert_eq!(count().await, 15);
    let keep = Retain { age: Some(Duration::ZERO), ..Retain::default() };
    assert_eq!(store.retain(TENANT, "demo", &keep).await.expect("a turn"), 10);
    assert_eq!(count().await, 5, "runs that are not over stay");
    while !store.sweep().await.expect("a turn").is_idle() {}
    let rows = store
        .database()
        .across_tenants()
        .query_opt("select count(*) from journal", vec![])
        .await
        .expect("a count")
        .expect("a row");
    assert_eq!(rows.int(0).expect("a count"), 5);
    assert_eq!(store.check(|_| ()).await.expect("a report").problems, Vec::<String>::new());
}

async fn numbers_about_the_database(fixture: Fixture) {
    let store = &fixture.store;
    started(store).await;
    let stats = store.stats().await.expect("figures");
    assert!(
        stats.bytes > 0 && stats.tables.iter().any(|table| table.table == "journal" && table.bytes > 0),
        "{stats:?}"
    );
    let status = store.status().await.expect("a status");
    assert_eq!((status.schema_version, status.nodes.len()), (status.known_version, 1));
    assert_eq!(status.nodes[0].lanes, store.lanes().len() as i64);
}

async fn a_newer_database_is_refused(fixture: Fixture) {
    let newer = "insert into migrations (version, name, checksum, applied_at) values (99, 'future', '', '')";
    fixture.store.database().across_tenants().execute(newer, vec![]).await.expect("a row");
    fixture.store.close().await;
    let refused = Store::open(fixture.options.clone()).await.err();
    assert!(matches!(refused, Some(StoreError::Newer { found: 99, .. })), "{refused:?}");
}
