//! What only the embedded database has: files, locks, a process that dies.

use std::process::{Command, Stdio};

use windlass_store::{Location, Migrate, Retain, RunCommit, RunFilter, Store, StoreError, StoreOptions};

use crate::harness::{Fixture, TENANT, becomes, commit, done, run_id, start};

fn options(dir: &std::path::Path) -> StoreOptions {
    StoreOptions::new(Location::Sqlite { data_dir: dir.to_owned() })
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_is_there() {
    let fixture = Fixture::sqlite().await;
    let error = Store::open(fixture.options.clone()).await.err().expect("a refusal").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    fixture.store.close().await;
    Store::open(fixture.options.clone()).await.expect("free again").close().await;
}

/// Who closes a store may lose patience; its database is nobody else's before the writer has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_closed_yet_keeps_others_out() {
    let fixture = Fixture::sqlite().await;
    let (store, options) = (fixture.store, fixture.options);
    let (end, held) = std::sync::mpsc::channel::<()>();
    let first = start(&store, run_id(), None);
    // What is called when a commit is on disk holds up the thread that wrote it.
    store.submit(first, Box::new(move |_| assert!(held.recv().is_err())));
    assert!(!store.close_within(std::time::Duration::ZERO).await);
    drop(store);
    let refused = Store::open(options.clone()).await.err();
    assert!(matches!(refused, Some(StoreError::InUse { .. })), "{refused:?}");
    drop(end);
    let free = loop {
        match Store::open(options.clone()).await {
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            opened => break opened.expect("free again"),
        }
    };
    assert!(free.close_within(std::time::Duration::MAX).await);
}

#[tokio::test]
async fn places_that_hold_no_database_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let case = |name: &str, content: Option<&[u8]>| {
        let place = dir.path().join(name);
        std::fs::create_dir_all(&place).expect("a directory");
        if let Some(content) = content {
            std::fs::write(place.join("windlass.db"), content).expect("a file");
        }
        place
    };
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").expect("a file");
    let other = case("other", None);
    let foreign = rusqlite_file(&other);
    let cases =
        [(file.clone(), ""), (case("garbage", Some(&[b'x'; 8192])), "not a database"), (foreign, "another program's")];
    for (place, reason) in cases {
        let error = Store::open(options(&place)).await.err().expect("a refusal");
        assert!(matches!(&error, StoreError::Location { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let empty = Store::open(StoreOptions { migrate: Migrate::Refuse, ..options(&dir.path().join("new")) }).await;
    assert!(matches!(empty.err(), Some(StoreError::Older { found: 0, .. })));
}

/// A database of somebody else.
fn rusqlite_file(dir: &std::path::Path) -> std::path::PathBuf {
    let connection = rusqlite::Connection::open(dir.join("windlass.db")).expect("a database");
    connection.execute_batch("create table theirs (x)").expect("a table");
    dir.to_owned()
}

/// Deleting shrinks the file, not only what is in it.
#[tokio::test]
async fn deleting_gives_the_space_back() {
    let fixture = Fixture::sqlite().await;
    let store = &fixture.store;
    for _ in 0..40 {
        let run = run_id();
        done(store.commit(start(store, run, None)).await);
        let mut large = commit(store, run, 2..=51);
        large.entries.iter_mut().for_each(|entry| entry.payload = vec![b'x'; 2_000]);
        done(store.commit(large).await);
        done(store.commit(becomes(store, run, 52, windlass_engine::status::RunStatus::Completed)).await);
    }
    let size = async || {
        store
            .database()
            .across_tenants()
            .query("select page_count from pragma_page_count", vec![])
            .await
            .expect("pages")[0]
            .int(0)
            .expect("pages")
    };
    let before = size().await;
    let keep = Retain { runs: Some(0), ..Retain::default() };
    while store.retain(TENANT, "demo", &keep).await.expect("a turn") > 0 {}
    while !store.sweep().await.expect("a turn").is_idle() {}
    let after = size().await;
    assert!(after * 4 < before, "{before} pages, then {after}");
    store.close().await;
    let Location::Sqlite { data_dir } = &fixture.options.location else { unreachable!("it is SQLite") };
    let bytes = std::fs::metadata(data_dir.join("windlass.db")).expect("a file").len();
    assert!(bytes * 4 < before.unsigned_abs() * 4096, "{bytes} bytes");
}

const CHILD: &str = "WINDLASS_TEST_CRASH_DIR";

/// The process that is killed: it writes to standard output what was acknowledged.
#[tokio::test]
async fn crash_child() {
    use std::io::Write;
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = Store::open(options(dir.as_ref())).await.expect("a store");
    let writers = (0..8).map(|_| async {
        loop {
            let run = run_id();
            done(store.commit(start(&store, run, None)).await);
            for seq in 2..=10 {
                done(store.commit(RunCommit { ..commit(&store, run, seq..=seq) }).await);
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {run} {seq}").and_then(|()| out.flush()).expect("a line");
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["sqlite::crash_child", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut acknowledged = std::collections::HashMap::new();
        let mut note = |line: String| {
            let mut words = line.split_whitespace().skip_while(|word| *word != "ack").skip(1);
            if let (Some(run), Some(seq)) = (words.next(), words.next()) {
                acknowledged.insert(run.to_owned(), seq.parse::<i64>().unwrap_or(0));
            }
        };
        lines.by_ref().take(500 + round * 137).for_each(|line| note(line.expect("a line")));
        child.kill().expect("a kill");
        child.wait().expect("its end");
        // What it said before it died was acknowledged, too.
        lines.map_while(Result::ok).for_each(&mut note);
        let store = Store::open(options(dir.path())).await.expect("it opens after a kill");
        assert_eq!(store.check(|_| ()).await.expect("a report").problems, Vec::<String>::new());
        assert!(!acknowledged.is_empty());
        for (run, seq) in &acknowledged {
            let run = run.parse().expect("an id");
            let ends = store.journal_ends(TENANT, &[run]).await.expect("an end");
            assert!(ends.get(&run).is_some_and(|end| end >= seq), "{run}: {seq} was acknowledged, {ends:?}");
        }
        assert!(!store.list_runs(TENANT, &RunFilter::default(), 1).await.expect("runs").is_empty());
        store.close().await;
    }
}
