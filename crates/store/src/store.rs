//! The open store: what it is made of, how it opens and closes, and the way to the committer.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, mpsc, watch};
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{Id, NodeId, RunId, TenantKey};
use windlass_resource::{Record, records};

use crate::{
    StoreError,
    access::Access,
    attempts::AttemptRows,
    audit::Sealer,
    clock::Clock,
    committer::{
        self,
        commit::{CommitError, Done, LaneId, RowChange, RunCommit},
        queue::{Job, Queue, Told},
    },
    database::{
        Database, Row,
        postgres::{Address, Postgres, Session, StatementLog},
        sqlite::{Files as DataDir, Sqlite, open_writer},
    },
    files::Files,
    migrate::{self, Migrate},
    node::{self, Bury, Hint, Hints, Identity, Keeper, Ownership, Standing},
    partitions,
    state_values::StateReads,
    tasks::floors::Floors,
    tenants,
    vault::{KeySource, Missing, Vault},
};

pub use crate::committer::sqlite::Fatal;

/// How long closing waits for each of: what is to be written, the word that lanes are free, the lease's own thread.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An embedded database in this directory.
    Sqlite {
        /// The directory; it is made if it is not there.
        data_dir: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres {
        /// `postgres://user:password@host:port/database?sslmode=…`.
        url: String,
    },
}

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// Where the database is.
    pub location: Location,
    /// What this process is called among the nodes.
    pub node_name: String,
    /// How many lanes this node registers on PostgreSQL; none for an administrator's visit. SQLite has one.
    pub lanes: u32,
    /// What may happen to a database of an older version.
    pub migrate: Migrate,
    /// How long this node lives without renewing its lease.
    pub lease_ms: i64,
    /// How long the rows of dead nodes are kept on PostgreSQL.
    pub dead_nodes_kept: Duration,
    /// Whether nodes tell each other what to look at; without, each finds it at its next look.
    pub hints: Hints,
    /// Where the statements that PostgreSQL is asked are noted, for tests.
    pub statements: Option<StatementLog>,
    /// How many sessions write for the engine on PostgreSQL.
    pub writers: usize,
    /// The records whose tables it has.
    pub records: &'static [&'static Record],
    /// Where the master key of the vault is.
    pub master_key: KeySource,
    /// Values from that many bytes on belong into blobs.
    pub blob_threshold_bytes: usize,
    /// Where files are kept: a directory, or `s3://bucket/prefix`; none are taken without it.
    pub files: Option<String>,
    /// Bytes that one file may have.
    pub file_bytes_max: u64,
    /// Files that come or go at once.
    pub file_transfers_max: usize,
    /// What ends the process when a commit's outcome is open: by default a message and an abort.
    pub fatal: Fatal,
}

impl StoreOptions {
    /// The defaults for a location.
    pub fn new(location: Location) -> StoreOptions {
        let master_key = match &location {
            Location::Sqlite { data_dir } => {
                KeySource::File { path: data_dir.join("master.key"), missing: Missing::Make }
            }
            Location::Postgres { .. } => KeySource::Absent,
        };
        let files = match &location {
            Location::Sqlite { data_dir } => Some(data_dir.join("files").display().to_string()),
            Location::Postgres { .. } => None,
        };
        StoreOptions {
            location,
            master_key,
            files,
            file_bytes_max: 1 << 30,
            file_transfers_max: 32,
            node_name: "windlass".to_owned(),
            lanes: 8,
            migrate: Migrate::Apply,
            lease_ms: node::LEASE_MS,
            dead_nodes_kept: node::DEAD_KEPT,
            hints: Hints::On,
            statements: None,
            writers: 2,
            records: records::ALL,
            blob_threshold_bytes: 64 << 10,
            fatal: Arc::new(|text| {
                tracing::error!("{text}");
                std::process::abort();
            }),
        }
    }
}

/// The lanes that a node took over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Those that it has now.
    pub lanes: Vec<LaneId>,
    /// How many still had no owner; others may be about to take them.
    pub left: i64,
}

/// A database that this process has open. A cheap handle.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) access: Access,
    pub(crate) attempt_rows: AttemptRows,
    pub database: Database,
    pub clock: Arc<Clock>,
    pub ownership: Arc<Ownership>,
    pub blob_threshold_bytes: usize,
    pub records: &'static [&'static Record],
    pub vault: Vault,
    pub sealer: Sealer,
    pub files: Files,
    pub state_reads: StateReads,
    pub floors: Floors,
    identity: Identity,
    queues: Vec<Arc<Queue>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    hints: broadcast::Sender<Hint>,
    outgoing: mpsc::Sender<(LaneId, Hint)>,
    answering_since: watch::Receiver<Instant>,
    closing: watch::Sender<bool>,
    /// Dropped last: another process may have the data directory then.
    lock: Mutex<Option<std::fs::File>>,
}

impl Store {
    /// Opens the database, brings it to this program's version, and takes lanes in it.
    pub async fn open(options: StoreOptions) -> Result<Store, StoreError> {
        match options.location.clone() {
            Location::Sqlite { data_dir } => open_sqlite(data_dir, options).await,
            Location::Postgres { url } => open_postgres(&url, options).await,
        }
    }

    /// Writes what waits, gives the lanes away, empties the log. The store refuses everything afterwards.
    ///
    /// A database that does not answer is waited for no longer than [`CLOSE_MAX`] for each of these: what was not
    /// written then was acknowledged to nobody, and lanes that were not given away are taken when their lease is over.
    pub async fn close(&self) {
        self.close_within(CLOSE_MAX).await;
    }

    /// The same, with that patience for what waits to be written and for the log; whether all of it is done.
    pub async fn close_within(&self, patience: Duration) -> bool {
        let inner = &self.inner;
        inner.queues.iter().for_each(|queue| queue.close());
        if let Database::Sqlite(sqlite) = &inner.database {
            sqlite.close();
        }
        let threads = std::mem::take(&mut *inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let (keepers, writers): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(|thread| thread.thread().name() == Some("postgres-lease"));
        // A writer that still writes keeps others out.
        let lock = inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let written = join(writers, patience, lock).await;
        if let Database::Postgres(postgres) = &inner.database {
            let left = async {
                let session = postgres.own_session().await?;
                node::leave(&session, inner.ownership.node(), inner.identity.hints).await
            };
            match tokio::time::timeout(CLOSE_MAX, left).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "could not say goodbye; the lease will run out"),
                Err(_) => tracing::warn!("could not say goodbye in time; the lease will run out"),
            }
            postgres.close();
        }
        inner.closing.send_replace(true);
        join(keepers, CLOSE_MAX, None).await && written
    }

    /// Hands a transition to the committer; `done` is called once it is on disk, or is not.
    ///
    /// Transitions of one tenant are written in the order of these calls; tenants take turns. The queue takes all of them: who makes new ones
    /// waits for [`Store::ready`] first.
    pub fn submit(&self, commit: RunCommit, done: Done) {
        self.lower_floors(&commit);
        let queues = &self.inner.queues;
        let place = usize::try_from(commit.lane.0).unwrap_or(0) % queues.len();
        queues[place].push(Job { commit, done });
    }

    /// Hands over several transitions, in this order; those of one lane go into one batch as far as it goes.
    pub fn submit_all(&self, commits: Vec<(RunCommit, Done)>) {
        let queues = &self.inner.queues;
        let mut jobs: Vec<Vec<Job>> = queues.iter().map(|_| Vec::new()).collect();
        for (commit, done) in commits {
            self.lower_floors(&commit);
            let place = usize::try_from(commit.lane.0).unwrap_or(0) % queues.len();
            jobs[place].push(Job { commit, done });
        }
        for (queue, jobs) in queues.iter().zip(jobs) {
            if !jobs.is_empty() {
                queue.push_all(jobs);
            }
        }
    }

    /// No claim passes over the tasks that this offers for those of a lower priority.
    fn lower_floors(&self, commit: &RunCommit) {
        for row in &commit.rows {
            if let RowChange::OpenTask(task) = row
                && task.holder.is_none()
            {
                self.inner.floors.offered((commit.tenant, &task.queue), -task.priority);
            }
        }
    }

    /// Calls this on a committer's thread after every batch, once all of it have been told: who gathers what it was
    /// told can act on all of it at once. It must not wait, for the next batch waits for it, and has a stack of 64 MiB.
    /// The last one given counts.
    pub fn after_batches(&self, told: impl Fn() + Send + Sync + 'static) {
        let told: Told = Arc::new(told);
        for queue in &self.inner.queues {
            queue.after_batches(Arc::clone(&told));
        }
    }

    /// The same, as a future.
    pub async fn commit(&self, commit: RunCommit) -> Result<committer::commit::Committed, CommitError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.submit(
            commit,
            Box::new(move |outcome| {
                // Nobody waits any more when this fails.
                let _ = reply.send(outcome);
            }),
        );
        answer.await.unwrap_or(Err(CommitError::Failed(StoreError::Closed)))
    }

    /// Waits until the committer has room for more of that tenant.
    pub async fn ready(&self, tenant: TenantKey) {
        for queue in &self.inner.queues {
            queue.ready(tenant).await;
        }
    }

    /// How many transitions wait to be written.
    pub fn waiting(&self) -> usize {
        self.inner.queues.iter().map(|queue| queue.waiting()).sum()
    }

    /// The database's clock. It never goes backwards.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        Id::new(self.inner.ownership.node())
    }

    /// The lanes that are this node's.
    pub fn lanes(&self) -> Vec<LaneId> {
        self.inner.ownership.lanes()
    }

    /// The lane of a run that starts here. Without any lane left it is one that refuses every commit.
    pub fn lane_for(&self, run: RunId) -> LaneId {
        let lanes = self.lanes();
        let hash = xxhash_rust::xxh3::xxh3_64(run.uuid().as_bytes());
        let place = usize::try_from(hash % (lanes.len().max(1) as u64)).unwrap_or(0);
        lanes.get(place).copied().unwrap_or(LaneId(0))
    }

    /// Whether this node owns that lane.
    pub fn owns(&self, lane: LaneId) -> bool {
        self.inner.ownership.epoch(lane).is_some()
    }

    /// Whether other nodes may work on the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.database, Database::Postgres(_))
    }

    /// For how long this process has been the node that it is: since the store was opened, or since it joined again after it had
    /// lost its lease.
    pub fn joined_for(&self) -> Duration {
        self.inner.ownership.joined_for()
    }

    /// Whether another node may have been at work on the same database since then, if only for a moment.
    pub fn had_company(&self) -> bool {
        self.is_shared() && self.inner.ownership.had_company()
    }

    /// Whether no other node is at work on the same database, as far as this one knows: one that has just come is known a
    /// second later.
    pub fn is_alone(&self) -> bool {
        !self.is_shared() || self.inner.ownership.is_alone()
    }

    /// How this node stands with its lease, as it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.ownership.standing()
    }

    /// Whether this node's lease is renewed well in time. If not, it starts nothing that the outside world can see:
    /// another node may be about to do it too.
    pub fn lease_holds(&self) -> bool {
        match &self.inner.database {
            Database::Sqlite(_) => true,
            Database::Postgres(_) => self.inner.ownership.holds(self.inner.identity.lease()),
        }
    }

    /// Takes over this node's share of the lanes of dead nodes, and of nodes that left: their runs are to be rebuilt
    /// from the journal. Lanes that hold no open run and no letter are left for nodes that start.
    ///
    /// Nobody is taken for dead before the database has answered for a whole lease.
    pub async fn adopt(&self) -> Result<Adopted, StoreError> {
        let inner = &self.inner;
        if matches!(inner.database, Database::Sqlite(_)) || !self.lease_holds() {
            return Ok(Adopted::default());
        }
        let answered = inner.answering_since.borrow().elapsed() >= inner.identity.lease();
        let bury = if answered { Bury::Expired } else { Bury::Nobody };
        let taken = node::take_over(&inner.database, inner.ownership.node(), bury).await?;
        inner.ownership.add(taken.lanes.iter().copied());
        let lanes: Vec<LaneId> = taken.lanes.into_iter().map(|(lane, _)| lane).collect();
        if taken.found {
            self.hint(LaneId(0), Hint::Lanes);
        }
        Ok(Adopted { lanes, left: taken.left })
    }

    /// Joins again, as a new node with new lanes, after the standing was [`Standing::Lost`].
    pub async fn rejoin(&self) -> Result<Vec<LaneId>, StoreError> {
        let Database::Postgres(postgres) = &self.inner.database else { return Ok(self.lanes()) };
        let session = postgres.own_session().await?;
        node::rejoin(&session, &self.inner.ownership, &self.inner.identity).await
    }

    /// Hints that come in: look now, the next poll would find it anyway.
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.inner.hints.subscribe()
    }

    /// Sends a hint to whoever owns the lane (or, for tasks, to everybody).
    pub fn hint(&self, lane: LaneId, hint: Hint) {
        // On SQLite everybody is here. A hint that is not sent is found by the poll.
        if matches!(self.inner.database, Database::Sqlite(_)) {
            let _ = self.inner.hints.send(hint);
        } else {
            let _ = self.inner.outgoing.try_send((lane, hint));
        }
    }

    /// Tells other nodes that tasks are there.
    pub fn hint_tasks_elsewhere(&self, lane: LaneId) {
        if matches!(self.inner.database, Database::Postgres(_)) {
            self.hint(lane, Hint::Tasks);
        }
    }

    /// Makes PostgreSQL's partitions for the journals of runs that were started between two times; the server makes those
    /// of its own days. SQLite has none.
    pub async fn make_partitions(&self, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
        let Database::Postgres(postgres) = &self.inner.database else { return Ok(()) };
        partitions::make_between(&postgres.own_session().await?, from, to).await
    }

    /// From how many bytes on a value belongs into a blob.
    pub fn blob_threshold_bytes(&self) -> usize {
        self.inner.blob_threshold_bytes
    }

    /// The database itself, for records that are only data.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }
}

/// Waits until these threads have ended, but no longer than that; whether they have. The lock is let go of when the last
/// of them has ended, however long that takes.
async fn join(threads: Vec<JoinHandle<()>>, patience: Duration, lock: Option<std::fs::File>) -> bool {
    let names: Vec<String> = threads.iter().filter_map(|thread| thread.thread().name().map(str::to_owned)).collect();
    let (reply, ended) = tokio::sync::oneshot::channel();
    // A thread of its own: a runtime that ends would wait for a blocking task, however long that takes.
    let joining = std::thread::Builder::new().name("store-close".to_owned()).spawn(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        drop(lock);
        // Nobody waits any more when this fails.
        let _ = reply.send(());
    });
    if let Err(error) = joining {
        tracing::warn!(%error, "no thread to wait for the store's own");
        return false;
    }
    let ended = tokio::time::timeout(patience, ended).await.is_ok();
    if !ended {
        tracing::warn!(?names, "the store's threads have not ended: what is not on disk was acknowledged to nobody");
    }
    ended
}

async fn open_sqlite(data_dir: PathBuf, options: StoreOptions) -> Result<Store, StoreError> {
    let files = Arc::new(DataDir { dir: data_dir });
    let queue = Arc::new(Queue::default());
    let clock = Arc::new(Clock::machine());
    let ownership = Arc::new(Ownership::new(Uuid::now_v7()));
    let lock = files.take()?;
    let mut connection = open_writer(&files)?;
    migrate::sqlite(&mut connection, options.migrate)?;
    files.keep_reserve();
    let (sqlite, mut threads) = Sqlite::start(Arc::clone(&files), Arc::clone(&queue))?;
    threads.extend(committer::sqlite::start(committer::sqlite::Start {
        connection,
        files,
        queue: Arc::clone(&queue),
        clock: Arc::clone(&clock),
        fatal: Arc::clone(&options.fatal),
    })?);
    ownership.add([(LaneId(1), 1)]);
    let (outgoing, _) = mpsc::channel(node::HINTS_MAX);
    let (_, answering_since) = watch::channel(Instant::now());
    let inner = Inner {
        access: Access::default(),
        attempt_rows: AttemptRows::default(),
        database: Database::Sqlite(sqlite),
        clock,
        ownership,
        blob_threshold_bytes: options.blob_threshold_bytes,
        records: options.records,
        vault: Vault::closed(options.master_key.clone()),
        sealer: Sealer::default(),
        files: Files::of(&options),
        state_reads: StateReads::default(),
        floors: Floors::default(),
        identity: identity(&options),
        queues: vec![queue],
        threads: Mutex::new(threads),
        hints: broadcast::Sender::new(64),
        outgoing,
        answering_since,
        closing: watch::Sender::new(false),
        lock: Mutex::new(Some(lock)),
    };
    let store = Store { inner: Arc::new(inner) };
    let first = async {
        tenants::first(&store).await?;
        store.look_at_access().await?;
        tenants::only_node(&store, &options.node_name).await?;
        store.unlock().await
    };
    if let Err(error) = first.await {
        // A damaged page, say: the files are let go of.
        store.close().await;
        return Err(error);
    }
    Ok(store)
}

fn identity(options: &StoreOptions) -> Identity {
    Identity {
        name: options.node_name.clone(),
        lanes: options.lanes,
        lease_ms: options.lease_ms,
        hints: options.hints,
        dead_kept: options.dead_nodes_kept,
    }
}

async fn open_postgres(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
    let mut address = Address::parse(url)?;
    address.statements.clone_from(&options.statements);
    let session = address.across_tenants().connect().await?;
    migrate::postgres(&session, options.migrate).await?;
    let now = server_time(&session).await?;
    let clock = Arc::new(Clock::server(now, Instant::now()));
    partitions::make(&session, now).await?;
    let identity = identity(&options);
    let ownership = Arc::new(Ownership::new(Uuid::now_v7()));
    if options.lanes == 0 {
        return visit(address, options, clock, ownership).await;
    }
    for warning in server_warnings(&session.run(SERVER_WARNINGS, &[]).await?.rows)? {
        tracing::warn!("{warning}");
    }
    ownership.add(node::register(&session, ownership.node(), &identity).await?);

    let queues: Vec<Arc<Queue>> = (0..options.writers.max(1)).map(|_| Arc::new(Queue::default())).collect();
    let mut threads = Vec::new();
    for (number, queue) in queues.iter().enumerate() {
        threads.push(committer::postgres::start(
            number,
            committer::postgres::Start {
                address: address.clone(),
                queue: Arc::clone(queue),
                clock: Arc::clone(&clock),
                ownership: Arc::clone(&ownership),
            },
        )?);
    }
    let hints = broadcast::Sender::new(64);
    let (outgoing, outgoing_receiver) = mpsc::channel(node::HINTS_MAX);
    let (answering, answering_since) = watch::channel(Instant::now());
    let closing = watch::Sender::new(false);
    threads.push(node::keep(Keeper {
        address: address.across_tenants(),
        identity: identity.clone(),
        clock: Arc::clone(&clock),
        ownership: Arc::clone(&ownership),
        hints: hints.clone(),
        answering_since: answering,
        closing: closing.subscribe(),
        outgoing: outgoing_receiver,
    })?);
    let inner = Inner {
        access: Access::default(),
        attempt_rows: AttemptRows::default(),
        database: Database::Postgres(Postgres::new(address)),
        clock,
        ownership,
        blob_threshold_bytes: options.blob_threshold_bytes,
        records: options.records,
        vault: Vault::closed(options.master_key.clone()),
        sealer: Sealer::default(),
        files: Files::of(&options),
        state_reads: StateReads::default(),
        floors: Floors::default(),
        identity,
        queues,
        threads: Mutex::new(threads),
        hints,
        outgoing,
        answering_since,
        closing,
        lock: Mutex::new(None),
    };
    let store = Store { inner: Arc::new(inner) };
    let first = async {
        tenants::first(&store).await?;
        store.look_at_access().await?;
        store.unlock().await
    };
    if let Err(error) = first.await {
        // It gives its lanes back, and its threads end.
        store.close().await;
        return Err(error);
    }
    Ok(store)
}

/// Opens for an administrator: no node, no lanes, no writers.
async fn visit(
    address: Address,
    options: StoreOptions,
    clock: Arc<Clock>,
    ownership: Arc<Ownership>,
) -> Result<Store, StoreError> {
    let queue = Arc::new(Queue::default());
    queue.close();
    let (outgoing, _) = mpsc::channel(1);
    let (_, answering_since) = watch::channel(Instant::now());
    let inner = Inner {
        access: Access::default(),
        attempt_rows: AttemptRows::default(),
        database: Database::Postgres(Postgres::new(address)),
        clock,
        ownership,
        blob_threshold_bytes: options.blob_threshold_bytes,
        records: options.records,
        vault: Vault::closed(options.master_key.clone()),
        sealer: Sealer::default(),
        files: Files::of(&options),
        state_reads: StateReads::default(),
        floors: Floors::default(),
        identity: identity(&options),
        queues: vec![queue],
        threads: Mutex::default(),
        hints: broadcast::Sender::new(1),
        outgoing,
        answering_since,
        closing: watch::Sender::new(false),
        lock: Mutex::new(None),
    };
    let store = Store { inner: Arc::new(inner) };
    let first = async {
        tenants::first(&store).await?;
        store.look_at_access().await?;
        store.unlock().await
    };
    if let Err(error) = first.await {
        // It gives its lanes back, and its threads end.
        store.close().await;
        return Err(error);
    }
    Ok(store)
}

/// Refuses while a node's lease runs: somebody works with the database.
pub(crate) async fn refuse_alive(session: &Session) -> Result<(), StoreError> {
    let there = session.run("select to_regclass('nodes') is not null", &[]).await?.rows;
    if !there.first().map(|row| row.bool(0)).transpose()?.unwrap_or(false) {
        return Ok(());
    }
    let alive = "select name, host, pid from nodes where state = 'alive' and lease_until > clock_timestamp() limit 1";
    match session.run(alive, &[]).await?.rows.first() {
        None => Ok(()),
        Some(row) => {
            let (name, host, pid) = (row.text(0)?, row.text(1)?, row.int(2)?);
            Err(StoreError::conflict(format!(
                "node `{name}` (process {pid} on {host}) uses this database: stop it first"
            )))
        }
    }
}

/// What somebody should know about a server: it does not look for damage, or its second lock does not hold for us.
pub(crate) const SERVER_WARNINGS: &str = "select current_setting('data_checksums') = 'off', \
    (select rolsuper or rolbypassrls from pg_roles where rolname = current_user)";

/// The answer in sentences.
pub(crate) fn server_warnings(rows: &[Row]) -> Result<Vec<String>, StoreError> {
    let row = rows.first().ok_or(StoreError::Closed)?;
    let sentences = [
        (row.bool(0)?, "data_checksums of PostgreSQL is off: a damaged page would not be noticed"),
        (
            row.bool(1)?,
            "row-level security does not hold for the role that we connect as: use one that is no superuser and has no BYPASSRLS",
        ),
    ];
    Ok(sentences.into_iter().filter(|(is_so, _)| *is_so).map(|(_, sentence)| sentence.to_owned()).collect())
}

async fn server_time(session: &Session) -> Result<Timestamp, StoreError> {
    let rows = session.run("select clock_timestamp()", &[]).await?.rows;
    rows.first().ok_or(StoreError::Closed)?.time(0)
}
