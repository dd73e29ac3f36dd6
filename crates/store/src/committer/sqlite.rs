//! SQLite's writer: one thread that takes everything that waits and puts it on disk with one fsync.
//!
//! Invariants: nobody is told before COMMIT returned; an error from COMMIT that leaves the outcome open ends the
//! process, because what is in memory can then no longer be trusted to be what is on disk.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension};
use windlass_definition::time::Timestamp;

use crate::{
    StoreError,
    clock::Clock,
    committer::{
        WRITER_STACK_BYTES,
        chain::{Chain, Chains},
        commit::{CommitError, Committed, IdempotencyKey, RunChange, RunCommit},
        forms::{self, FORMS, Op},
        ops,
        queue::{Job, Queue, Ran, Turn},
    },
    crash_point,
    database::{
        Tx, Value,
        sqlite::{DISK_FULL, Files, SqliteTx, open_reader, refused},
    },
    run_row,
};

/// From here on the checkpointer works in the background.
const LOG_PAGES_SOON: i32 = 1_000;
/// From here on (64 MB) the writer itself empties the log, between two batches.
const LOG_PAGES_NOW: i32 = 16_384;
/// From here on (256 MB) no run starts.
const LOG_PAGES_MAX: i32 = 65_536;
/// How many ordinary writes share a transaction with the engine's.
const ORDINARY_MAX: usize = 64;
/// How long ordinary writes may take in a turn that has none of the engine's.
const ORDINARY_ALONE: Duration = Duration::from_millis(2);
/// How long the disk was not full before bytes are set aside again.
const RESERVE_AGAIN_AFTER: Duration = Duration::from_secs(10);

thread_local! {
    /// The pages in the log, as SQLite tells the writer after each commit.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// What ends the process when a commit's outcome is open.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

const INSERT_ENTRY: &str = "insert into journal (run_key, seq, kind, opens, path, step, attempt, at, payload, checksum) \
                            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const INSERT_KEY: &str = "insert into idempotency_keys (tenant_key, key_hash, body_hash, run_id) \
                          values (?1, ?2, ?3, ?4) on conflict (tenant_key, key_hash) do nothing";
const FIND_KEY: &str = "select run_id, body_hash from idempotency_keys where tenant_key = ?1 and key_hash = ?2";
const FIND_RUN: &str = "select run_key, status in ('completed', 'failed', 'compensated', 'cancelled', 'timed_out') \
                        from runs where tenant_key = ?1 and id = ?2";
const LAST_ENTRY: &str = "select seq, checksum from journal where run_key = ?1 order by seq desc limit 1";
const PAYLOAD_BYTES: &str = "select coalesce(sum(length(payload)), 0) from journal where run_key = ?1";
const LAST_RUN_KEY: &str = "select max(coalesce((select max(run_key) from runs), 0), \
                            coalesce((select max(run_key) from journal), 0), \
                            coalesce((select max(run_key) from journal_garbage), 0))";

/// What the writer needs to begin.
pub(crate) struct Start {
    pub connection: Connection,
    pub files: Arc<Files>,
    pub queue: Arc<Queue>,
    pub clock: Arc<Clock>,
    pub fatal: Fatal,
}

/// Starts the writer and the checkpointer; the threads end when the queue is closed and empty.
pub(crate) fn start(start: Start) -> Result<[JoinHandle<()>; 2], StoreError> {
    let next_run_key = start.connection.query_row(LAST_RUN_KEY, [], |row| row.get::<_, i64>(0)).map_err(refused)? + 1;
    let (checkpointer, checkpoints) = start_checkpointer(&start.files)?;
    let spawned =
        std::thread::Builder::new().name("sqlite-writer".to_owned()).stack_size(WRITER_STACK_BYTES).spawn(move || {
            start.connection.wal_hook(Some(|_, pages| {
                LOG_PAGES.set(pages);
                Ok(())
            }));
            let sql = FORMS.iter().map(forms::Form::sqlite).collect();
            let mut writer = Writer {
                tx: Tx::Sqlite(SqliteTx { connection: start.connection }),
                files: start.files,
                clock: start.clock,
                fatal: start.fatal,
                chains: Chains::default(),
                next_run_key,
                sql,
                checkpointer,
                ordinary_max: ORDINARY_MAX,
                log_stays: false,
                full_since: None,
            };
            while let Some(turn) = start.queue.take_blocking(writer.ordinary_max) {
                writer.turn(turn);
            }
            writer.finish();
        });
    let writer = spawned.map_err(|error| StoreError::Unavailable(format!("no thread for the writer: {error}")))?;
    Ok([writer, checkpoints])
}

/// The thread that moves the log into the database file while the writer goes on.
struct Checkpointer {
    wake: mpsc::SyncSender<()>,
    busy: Arc<AtomicBool>,
}

fn start_checkpointer(files: &Files) -> Result<(Checkpointer, JoinHandle<()>), StoreError> {
    let connection = open_reader(files)?;
    connection.pragma_update(None, "query_only", false).map_err(refused)?;
    let (wake, woken) = mpsc::sync_channel::<()>(1);
    let busy = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&busy);
    let spawned = std::thread::Builder::new().name("sqlite-checkpoint".to_owned()).spawn(move || {
        let mut fails = false;
        while woken.recv().is_ok() {
            let done = connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())).map_err(refused);
            // A full disk refuses each of them, ten times a second: that is told once.
            match &done {
                Err(error) if !fails => tracing::warn!(%error, "a checkpoint failed; the log grows until one works"),
                Ok(()) if fails => tracing::info!("checkpoints work again"),
                _ => {}
            }
            fails = done.is_err();
            flag.store(false, Ordering::Release);
        }
    });
    let thread = spawned.map_err(|error| StoreError::Unavailable(format!("no thread for checkpoints: {error}")))?;
    Ok((Checkpointer { wake, busy }, thread))
}

/// Why a job is not in the batch.
enum Refusal {
    /// Found before anything was written: the others go on.
    Alone(CommitError),
    /// SQLite refused a statement: the transaction holds a part of the job.
    Midway(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Midway(error)
    }
}

/// How the jobs of a batch are kept apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// Not at all: any refusal midway undoes the batch, and it is tried again.
    No,
    /// Each in a savepoint of its own.
    Savepoints,
}

struct Writer {
    tx: Tx,
    files: Arc<Files>,
    clock: Arc<Clock>,
    fatal: Fatal,
    chains: Chains,
    next_run_key: i64,
    sql: Vec<String>,
    checkpointer: Checkpointer,
    ordinary_max: usize,
    /// The log is beyond its bounds and could not be emptied, which was told.
    log_stays: bool,
    /// When the disk was full last; none once the reserve was set aside again.
    full_since: Option<Instant>,
}

type Outcome = Result<Committed, CommitError>;

impl Writer {
    fn connection(&self) -> &Connection {
        match &self.tx {
            Tx::Sqlite(tx) => &tx.connection,
            Tx::Postgres(_) => unreachable!("the writer thread is SQLite's"),
        }
    }

    /// Writes one turn, in one transaction, and tells everybody.
    fn turn(&mut self, turn: Turn) {
        if let Err(error) = self.execute("begin immediate") {
            return refuse_all(turn, &error);
        }
        let began = Instant::now();
        let outcomes = self.apply(&turn.jobs);
        let engine_took = began.elapsed();
        let replies = self.ordinary(turn.ordinary, engine_took, turn.jobs.is_empty());
        let (outcomes, committed) = if self.is_ended() {
            // One write was refused in a way that took all others with it.
            (self.each_alone(&turn.jobs), Err(StoreError::Unavailable("another write failed: try again".to_owned())))
        } else {
            self.commit_all(outcomes)
        };
        for (job, outcome) in turn.jobs.into_iter().zip(outcomes) {
            (job.done)(outcome);
        }
        for reply in replies {
            reply(committed.clone());
        }
        crash_point::hit("after-told");
        self.after_commit();
    }

    /// Whether SQLite has ended the transaction by itself, as it does when a page cannot be read or the disk is full:
    /// then nothing of it is there.
    fn is_ended(&self) -> bool {
        self.connection().is_autocommit()
    }

    /// COMMIT, and what it means for these outcomes.
    fn commit_all(&mut self, outcomes: Vec<Outcome>) -> (Vec<Outcome>, Result<(), StoreError>) {
        let committed = self.commit();
        match &committed {
            Ok(()) => {
                self.chains.commit();
                (outcomes, committed)
            }
            Err(error) => {
                self.chains.rollback(0);
                (outcomes.iter().map(|_| Err(CommitError::Failed(error.clone()))).collect(), committed)
            }
        }
    }

    /// Gives each job a transaction of its own, so that only those fail that must.
    fn each_alone(&mut self, jobs: &[Job]) -> Vec<Outcome> {
        self.chains.rollback(0);
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let applied = self.execute("begin immediate").and_then(|()| {
                let at = self.clock.now();
                match self.apply_one(&job.commit, at) {
                    Ok(committed) => Ok(Ok(committed)),
                    Err(Refusal::Alone(error)) => Ok(Err(error)),
                    Err(Refusal::Midway(error)) => Err(error),
                }
            });
            match applied {
                Ok(outcome) => outcomes.extend(self.commit_all(vec![outcome]).0),
                Err(error) => {
                    self.chains.rollback(0);
                    if !self.is_ended()
                        && let Err(error) = self.execute("rollback")
                    {
                        tracing::warn!(%error, "a transaction could not be rolled back");
                    }
                    if matches!(&error, StoreError::Unavailable(text) if text == DISK_FULL) {
                        self.disk_is_full();
                    }
                    outcomes.push(Err(failed(error)));
                }
            }
        }
        outcomes
    }

    fn disk_is_full(&mut self) {
        if self.full_since.is_none() {
            tracing::error!("the disk is full: nothing is accepted until there is space");
        }
        self.files.free_reserve();
        self.full_since = Some(Instant::now());
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection().prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(refused)?;
        Ok(())
    }

    /// COMMIT. A full disk leaves nothing behind and is an error; anything else leaves the outcome open.
    fn commit(&mut self) -> Result<(), StoreError> {
        crash_point::hit("before-commit");
        let result = self.connection().prepare_cached("commit").and_then(|mut statement| statement.execute([]));
        crash_point::hit("after-commit");
        let Err(error) = result else { return Ok(()) };
        let text = error.to_string();
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            if !self.connection().is_autocommit() {
                // Had the rollback failed, the next `begin` would say so.
                let _ = self.connection().execute_batch("rollback");
            }
            self.disk_is_full();
            return Err(StoreError::Unavailable(DISK_FULL.to_owned()));
        }
        (self.fatal)(&format!("COMMIT failed, so what is on disk is not known: {text}"));
        Err(StoreError::Unavailable(text))
    }

    /// Applies the engine's jobs; their outcomes hold once the transaction is committed.
    fn apply(&mut self, jobs: &[Job]) -> Vec<Outcome> {
        if let Ok(outcomes) = self.apply_all(jobs, Apart::No) {
            return outcomes;
        }
        // One of them is bad: find it by keeping them apart.
        self.chains.rollback(0);
        // A refusal such as a full disk has ended the transaction already.
        let ended = if self.is_ended() { Ok(()) } else { self.execute("rollback") };
        let again = ended.and_then(|()| self.execute("begin immediate"));
        match again.and_then(|()| self.apply_all(jobs, Apart::Savepoints)) {
            Ok(outcomes) => outcomes,
            Err(error) => jobs.iter().map(|_| Err(CommitError::Failed(error.clone()))).collect(),
        }
    }

    fn apply_all(&mut self, jobs: &[Job], apart: Apart) -> Result<Vec<Outcome>, StoreError> {
        let at = self.clock.now();
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let mark = self.chains.mark();
            if apart == Apart::Savepoints {
                self.execute("savepoint job")?;
            }
            let outcome = match self.apply_one(&job.commit, at) {
                Ok(committed) => Ok(committed),
                Err(Refusal::Alone(error)) => Err(error),
                Err(Refusal::Midway(error)) if apart == Apart::No => return Err(error),
                Err(Refusal::Midway(error)) => {
                    self.chains.rollback(mark);
                    if self.is_ended() {
                        return Err(error);
                    }
                    self.execute("rollback to job")?;
                    Err(failed(error))
                }
            };
            if apart == Apart::Savepoints {
                self.execute("release job")?;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn apply_one(&mut self, commit: &RunCommit, at: Timestamp) -> Result<Committed, Refusal> {
        let mut chain = match &commit.change {
            RunChange::Insert(_, _) if LOG_PAGES.get() > LOG_PAGES_MAX => {
                let text = "the log has 256 MB: no run starts until a checkpoint went through".to_owned();
                return Err(Refusal::Alone(CommitError::Busy(text)));
            }
            RunChange::Insert(_, _) => Chain::start(commit.run, self.next_run_key),
            _ => self.chain(commit)?,
        };
        // The whole commit is checked before anything is written.
        let before = chain;
        let mut checksums = Vec::with_capacity(commit.entries.len());
        chain.extend(commit, |_, checksum| checksums.push(checksum)).map_err(Refusal::Alone)?;
        if let RunChange::Insert(_, Some(key)) = &commit.change
            && let Some(duplicate) = self.take_key(commit, *key)?
        {
            return Ok(duplicate);
        }
        self.write_run(commit, &mut chain)?;
        self.write_entries(commit, before.run_key, &checksums)?;
        let mut failed = None;
        ops::lower(commit, at, |lowered| {
            if failed.is_none() {
                failed = self.write_op(lowered.op, &lowered.values).err();
            }
        });
        match failed {
            Some(error) => Err(error.into()),
            None => {
                self.chains.set(commit.run, chain);
                Ok(Committed::Done)
            }
        }
    }

    /// The end of the run's journal, from memory or from disk.
    fn chain(&mut self, commit: &RunCommit) -> Result<Chain, Refusal> {
        if let Some(chain) = self.chains.get(commit.run) {
            return Ok(chain);
        }
        let read = read_chain(self.connection(), commit).map_err(refused)?;
        let no_run = || Refusal::Alone(CommitError::Conflict(format!("there is no run {}", commit.run)));
        let chain = read.ok_or_else(no_run)?;
        self.chains.learn(commit.run, chain);
        Ok(chain)
    }

    /// Takes the idempotency key, or says who has it.
    fn take_key(&self, commit: &RunCommit, key: IdempotencyKey) -> Result<Option<Committed>, StoreError> {
        let mut insert = self.connection().prepare_cached(INSERT_KEY).map_err(refused)?;
        let run = Value::from(commit.run);
        let taken = insert
            .execute((commit.tenant.0, key.key_hash.as_slice(), key.body_hash.as_slice(), &run))
            .map_err(refused)?;
        if taken == 1 {
            return Ok(None);
        }
        let mut find = self.connection().prepare_cached(FIND_KEY).map_err(refused)?;
        let (run, body_hash): (Vec<u8>, Vec<u8>) = find
            .query_row((commit.tenant.0, key.key_hash.as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(refused)?;
        let run = uuid::Uuid::from_slice(&run).map_err(|_| StoreError::damaged("an idempotency key names no run"))?;
        let same_body = body_hash == key.body_hash;
        Ok(Some(Committed::Duplicate { run: windlass_engine::id::Id::new(run), same_body }))
    }

    fn write_run(&mut self, commit: &RunCommit, chain: &mut Chain) -> Result<(), StoreError> {
        match &commit.change {
            RunChange::None => Ok(()),
            RunChange::Insert(run, _) => {
                chain.ended = run.status.is_final();
                let mut values = run_row::values(commit, run, chain.bytes);
                values.push(chain.run_key.into());
                self.next_run_key += 1;
                self.write_op(Op::InsertRun, &values).map(|_| ())
            }
            RunChange::Update(update) => {
                let ends = update.status.is_some_and(windlass_engine::status::RunStatus::is_final);
                chain.ended |= ends;
                let values = run_row::update_values(commit, update, ends.then_some(chain.bytes));
                match self.write_op(Op::UpdateRun, &values)? {
                    1 => Ok(()),
                    _ => Err(StoreError::conflict(format!("there is no run {}", commit.run))),
                }
            }
        }
    }

    fn write_entries(&self, commit: &RunCommit, run_key: i64, checksums: &[i64]) -> Result<(), StoreError> {
        if commit.entries.is_empty() {
            return Ok(());
        }
        let mut insert = self.connection().prepare_cached(INSERT_ENTRY).map_err(refused)?;
        for (entry, checksum) in commit.entries.iter().zip(checksums) {
            let values = rusqlite::params![
                run_key,
                entry.seq,
                entry.kind,
                entry.opens,
                &*entry.path,
                &*entry.step,
                entry.attempt,
                entry.at.micros(),
                entry.payload,
                checksum
            ];
            insert.execute(values).map_err(refused)?;
        }
        Ok(())
    }

    fn write_op(&self, op: Op, values: &[Value]) -> Result<usize, StoreError> {
        let mut statement = self.connection().prepare_cached(&self.sql[op as usize]).map_err(refused)?;
        statement.execute(rusqlite::params_from_iter(values)).map_err(refused)
    }

    /// Runs ordinary writes, a quarter as long as the engine's took, and at least one of them.
    fn ordinary(
        &mut self,
        jobs: Vec<crate::committer::queue::OrdinaryJob>,
        engine: Duration,
        alone: bool,
    ) -> Vec<Reply> {
        let began = Instant::now();
        let share = if alone { ORDINARY_ALONE } else { engine / 4 };
        let count = jobs.len();
        let mut replies = Vec::with_capacity(count);
        for job in jobs {
            if self.is_ended() {
                // A savepoint would begin a transaction of its own. Who is dropped is told to try again.
                break;
            }
            if let Err(error) = self.execute("savepoint job") {
                tracing::warn!(%error, "no savepoint for a write");
            }
            let Ran { keep, reply } = job(&mut self.tx);
            replies.push(reply);
            if self.is_ended() {
                break;
            }
            let ended = if keep { Ok(()) } else { self.execute("rollback to job") };
            if let Err(error) = ended.and_then(|()| self.execute("release job")) {
                tracing::warn!(%error, "a savepoint could not be ended");
            }
        }
        // The next turn takes as many as fit into their share of the time.
        let per_job = began.elapsed().as_nanos() / (count.max(1) as u128);
        let fit = share.as_nanos().checked_div(per_job.max(1)).unwrap_or(1);
        self.ordinary_max = usize::try_from(fit).unwrap_or(ORDINARY_MAX).clamp(1, ORDINARY_MAX);
        replies
    }

    /// Keeps the log within its bounds, and the reserve for the next time that the disk is full.
    fn after_commit(&mut self) {
        if self.full_since.is_some_and(|since| since.elapsed() > RESERVE_AGAIN_AFTER) {
            tracing::info!("there is space on the disk again");
            self.files.keep_reserve();
            self.full_since = None;
        }
        let pages = LOG_PAGES.get();
        if pages >= LOG_PAGES_NOW {
            // Readers end within a second, so this does.
            let done = self.connection().query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
            let told = std::mem::replace(&mut self.log_stays, !matches!(done, Ok(0)));
            match done {
                Ok(0) => LOG_PAGES.set(0),
                Ok(_) if !told => tracing::warn!(pages, "a reader keeps the log from being emptied"),
                Err(error) if !told => tracing::warn!(%error, pages, "the log could not be emptied"),
                _ => {}
            }
            return;
        }
        self.log_stays = false;
        if pages >= LOG_PAGES_SOON && !self.checkpointer.busy.swap(true, Ordering::AcqRel) {
            // Full means that it has work already.
            let _ = self.checkpointer.wake.try_send(());
        }
    }

    /// The queue is closed and empty: the next start finds a database without a log.
    fn finish(self) {
        let done = self.connection().query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        if let Err(error) =
            done.and_then(|()| self.connection().query_row("pragma optimize", [], |_| Ok(())).or(Ok(())))
        {
            tracing::warn!(%error, "the log could not be emptied at the end");
        }
    }
}

type Reply = crate::committer::queue::Reply;

/// The end of a run's journal as it is on disk; `None` without such a run.
fn read_chain(connection: &Connection, commit: &RunCommit) -> rusqlite::Result<Option<Chain>> {
    let mut find = connection.prepare_cached(FIND_RUN)?;
    let found = find.query_row((commit.tenant.0, Value::from(commit.run)), |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((run_key, ended)) = found.optional()? else { return Ok(None) };
    let mut chain = Chain { ended, ..Chain::start(commit.run, run_key) };
    let mut last = connection.prepare_cached(LAST_ENTRY)?;
    if let Some((seq, checksum)) = last.query_row([run_key], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
        (chain.seq, chain.checksum) = (seq, checksum);
    }
    chain.bytes = connection.prepare_cached(PAYLOAD_BYTES)?.query_row([run_key], |row| row.get(0))?;
    Ok(Some(chain))
}

fn failed(error: StoreError) -> CommitError {
    match error {
        StoreError::Conflict(text) => CommitError::Conflict(text),
        other => CommitError::Failed(other),
    }
}

/// The transaction could not even begin.
fn refuse_all(turn: Turn, error: &StoreError) {
    for job in turn.jobs {
        (job.done)(Err(CommitError::Failed(error.clone())));
    }
    // Ordinary writes have no way to be told but to run; dropping them tells their callers.
    drop(turn.ordinary);
}
