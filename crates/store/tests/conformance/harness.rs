//! Stores to test, and runs to put into them.

use std::sync::Arc;

use windlass_definition::time::Timestamp;
use windlass_engine::{
    id::{Id, RunId, TenantKey},
    status::RunStatus,
};
use windlass_store::{
    CommitError, Committed, Dialect, IdempotencyKey, JournalRow, KeySource, Location, MasterKey, Missing, NewRun,
    RunChange, RunCommit, RunMode, RunUpdate, Store, StoreOptions,
};

/// The tenant of the tests.
pub const TENANT: TenantKey = TenantKey::DEFAULT;

/// A store and what has to outlive it.
pub struct Fixture {
    pub store: Store,
    pub options: StoreOptions,
    _home: Home,
}

#[expect(dead_code, reason = "held, not read")]
enum Home {
    Directory(tempfile::TempDir),
    Server(windlass_testkit::Postgres),
}

impl Fixture {
    pub async fn sqlite() -> Fixture {
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions::new(Location::Sqlite { data_dir: dir.path().join("data") });
        Fixture::open(options, Home::Directory(dir)).await
    }

    pub async fn postgres() -> Fixture {
        let server = windlass_testkit::postgres().await;
        let options = StoreOptions::new(Location::Postgres { url: server.url.clone() });
        let keys = Arc::new(MasterKey::generate().expect("random bits").to_text());
        let options = StoreOptions { master_key: KeySource::Text { holder: "the test", keys }, ..options };
        Fixture::open(options, Home::Server(server)).await
    }

    /// A store of that kind with what a backup holds.
    pub async fn restored(&self, backup: &std::path::Path, dialect: Dialect) -> Fixture {
        let (options, home) = match dialect {
            Dialect::Sqlite => {
                let dir = tempfile::tempdir().expect("a directory");
                let location = Location::Sqlite { data_dir: dir.path().join("data") };
                (StoreOptions::new(location), Home::Directory(dir))
            }
            Dialect::Postgres => {
                let server = windlass_testkit::postgres().await;
                (StoreOptions::new(Location::Postgres { url: server.url.clone() }), Home::Server(server))
            }
        };
        let options = StoreOptions { master_key: self.master_key(), ..options };
        windlass_store::admin::restore(backup, options.clone(), &mut |_| ()).await.expect("a backup");
        Fixture::open(options, home).await
    }

    async fn open(options: StoreOptions, home: Home) -> Fixture {
        let store = Store::open(options.clone()).await.expect("the store opens");
        Fixture { store, options, _home: home }
    }

    /// The master key, for a copy of the database elsewhere.
    pub fn master_key(&self) -> KeySource {
        match self.options.master_key.clone() {
            KeySource::File { path, .. } => KeySource::File { path, missing: Missing::Refuse },
            other => other,
        }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Store::open(self.options.clone()).await.expect("the store opens again");
    }
}

/// Runs a test on both databases.
#[macro_export]
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            #[tokio::test]
            async fn sqlite() {
                super::$test($crate::harness::Fixture::sqlite().await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$test($crate::harness::Fixture::postgres().await).await;
            }
        })*
    };
}

/// A new id.
pub fn run_id() -> RunId {
    Id::new(uuid::Uuid::now_v7())
}

/// A run of the workflow `demo`.
pub fn new_run(store: &Store) -> NewRun {
    NewRun {
        workflow: "demo".to_owned(),
        version: Some(1),
        definition_hash: [7; 32],
        status: RunStatus::Running,
        undo_status: None,
        mode: RunMode::Production,
        priority: 0,
        key: None,
        labels: None,
        started_by: None,
        parent: None,
        origin: None,
        trace: None,
        depth: 0,
        error: None,
        created_at: store.now(),
        started_at: Some(store.now()),
        finished_at: None,
    }
}

/// A journal row.
pub fn entry(seq: i64, at: Timestamp) -> JournalRow {
    JournalRow {
        seq,
        kind: "step",
        opens: true,
        path: Arc::from(format!("step{seq}")),
        step: Arc::from("step"),
        attempt: 1,
        at,
        payload: format!("{{\"seq\":{seq}}}").into_bytes(),
    }
}

/// A commit with these rows.
pub fn commit(store: &Store, run: RunId, seqs: std::ops::RangeInclusive<i64>) -> RunCommit {
    let now = store.now();
    let entries = seqs.map(|seq| entry(seq, now)).collect();
    RunCommit { entries, ..RunCommit::new(TENANT, run, store.lane_for(run)) }
}

/// A start, with its first row.
pub fn start(store: &Store, run: RunId, key: Option<IdempotencyKey>) -> RunCommit {
    RunCommit { change: RunChange::Insert(Box::new(new_run(store)), key), ..commit(store, run, 1..=1) }
}

/// A commit that changes the status.
pub fn becomes(store: &Store, run: RunId, seq: i64, status: RunStatus) -> RunCommit {
    let finished_at = status.is_final().then(|| store.now());
    let update = RunUpdate { status: Some(status), finished_at, ..RunUpdate::default() };
    RunCommit { change: RunChange::Update(Box::new(update)), ..commit(store, run, seq..=seq) }
}

/// Starts a run.
pub async fn started(store: &Store) -> RunId {
    let run = run_id();
    assert_eq!(done(store.commit(start(store, run, None)).await), Committed::Done);
    run
}

/// What a commit that must land came to.
pub fn done(outcome: Result<Committed, CommitError>) -> Committed {
    outcome.expect("the commit lands")
}
