//! PostgreSQL's writers: each writes whole batches for its share of the lanes, each batch in one flight.
//!
//! Invariants: a flight begins with the fence of its lanes and holds nothing that could wait for this process; a flight
//! whose answer never came is looked for by one of its rows before anything is written again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::future::{LocalBoxFuture, join_all};
use tokio_postgres::types::ToSql;
use uuid::Uuid;
use windlass_engine::id::RunId;

use crate::{
    StoreError,
    clock::Clock,
    committer::{
        WRITER_STACK_BYTES,
        batch::{self, Batch, as_uuid},
        chain::{Chain, Chains},
        commit::{CommitError, Committed, RunChange},
        forms::{self, FORMS, Keyed, Op, Rows},
        queue::{Job, Queue},
    },
    crash_point,
    database::{
        Row, Value, Written,
        postgres::{Address, Session},
    },
    node::Ownership,
};

pub(crate) const FENCE: &str = "select windlass_fence((select count(*) from (select 1 from lanes l \
                     join unnest($1::integer[], $2::bigint[]) as mine(id, epoch) on l.id = mine.id and l.epoch = mine.epoch \
                     where l.node_id = $3 order by l.id for no key update of l) owned), cardinality($1::integer[]))";
/// The same for one lane, whose id and epoch are given as they are.
const FENCE_OF_ONE: &str = "select windlass_fence((select count(*) from (select 1 from lanes l \
                            where l.id = $1::integer and l.epoch = $2::bigint and l.node_id = $3 for no key update) \
                            owned), 1)";
const TAKE_KEYS: &str = "insert into idempotency_keys (tenant_key, key_hash, body_hash, run_id) \
                         select * from unnest($1::integer[], $2::bytea[], $3::bytea[], $4::uuid[]) \
                         on conflict (tenant_key, key_hash) do nothing returning run_id";
const FIND_KEY: &str = "select run_id, body_hash from idempotency_keys where tenant_key = $1 and key_hash = $2";
const KEY_RUNS: &str = "select count(*) from idempotency_keys k \
                        join unnest($1::integer[], $2::uuid[]) as mine(tenant_key, run_id) \
                        on k.tenant_key = mine.tenant_key and k.run_id = mine.run_id";
const WITNESS: &str = "select checksum from journal where tenant_key = $1 and run_id = $2 and seq = $3";
const CHAINS: &str = "select r.id, r.status in ('completed', 'failed', 'compensated', 'cancelled', 'timed_out'), \
                      j.seq, j.checksum, \
                      (select coalesce(sum(length(payload)), 0)::bigint from journal b \
                       where b.tenant_key = r.tenant_key and b.run_id = r.id) \
                      from unnest($1::integer[], $2::uuid[]) as wanted(tenant_key, id) \
                      join runs r on r.tenant_key = wanted.tenant_key and r.id = wanted.id \
                      left join lateral (select seq, checksum from journal j \
                       where j.tenant_key = r.tenant_key and j.run_id = r.id order by seq desc limit 1) j on true";

/// Longest pause between two attempts while the database does not answer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a writer needs to begin.
pub(crate) struct Start {
    pub address: Address,
    pub queue: Arc<Queue>,
    pub clock: Arc<Clock>,
    pub ownership: Arc<Ownership>,
}

/// Starts a writer on a thread with a runtime of its own, so that nothing else delays it.
pub(crate) fn start(number: usize, start: Start) -> Result<std::thread::JoinHandle<()>, StoreError> {
    let no_thread = |error: std::io::Error| StoreError::Unavailable(format!("no thread for a writer: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let thread = std::thread::Builder::new().name(format!("postgres-writer-{number}")).stack_size(WRITER_STACK_BYTES);
    let spawned = thread.spawn(move || {
        runtime.block_on(async move {
            let mut writer = Writer {
                address: start.address.for_commits(),
                clock: start.clock,
                ownership: start.ownership,
                session: None,
                chains: Chains::default(),
                gains: 0,
                sql: [Keyed::All, Keyed::Winners].map(|keyed| FORMS.iter().map(|form| form.postgres(keyed)).collect()),
                together: HashMap::new(),
            };
            while let Some(turn) = start.queue.take_async().await {
                writer.turn(turn.jobs).await;
            }
        });
    });
    spawned.map_err(no_thread)
}

/// Why a flight did not land.
enum Crash {
    /// Some lane is not ours any more.
    Fenced,
    /// The database refused a statement for what is in it.
    Poison(CommitError),
    /// The database refused for now; nothing was written.
    Again(StoreError),
    /// The answer never came.
    Unknown(StoreError),
}

struct Writer {
    address: Address,
    clock: Arc<Clock>,
    ownership: Arc<Ownership>,
    session: Option<Session>,
    chains: Chains,
    /// The gains of lanes that `chains` knows of.
    gains: u64,
    sql: [Vec<String>; 2],
    /// Batches as one statement, by what is in them.
    together: HashMap<(Vec<Op>, Rows, usize), Arc<str>>,
}

impl Writer {
    async fn turn(&mut self, jobs: Vec<Job>) {
        let (keyed, rest): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| matches!(job.commit.change, RunChange::Insert(_, Some(_))));
        self.write(keyed, Keyed::Winners).await;
        self.write(rest, Keyed::All).await;
    }

    /// Writes jobs until each of them was told how it went.
    fn write(&mut self, jobs: Vec<Job>, keyed: Keyed) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            let mut jobs = jobs;
            let mut pause = Duration::from_millis(20);
            loop {
                jobs = self.refuse_fenced(jobs);
                if jobs.is_empty() {
                    return;
                }
                match self.attempt(&jobs, keyed).await {
                    Ok(outcomes) => return tell(jobs, outcomes),
                    Err(Crash::Fenced) => self.look_at_lanes().await,
                    Err(Crash::Poison(error)) if jobs.len() == 1 => {
                        return jobs.into_iter().for_each(|job| (job.done)(Err(error.clone())));
                    }
                    Err(Crash::Poison(_)) => {
                        let rest = jobs.split_off(jobs.len() / 2);
                        self.write(jobs, keyed).await;
                        jobs = rest;
                    }
                    Err(Crash::Again(error)) => {
                        tracing::warn!(%error, "the database did not take a batch; trying again");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                    Err(Crash::Unknown(_)) => {
                        self.chains.clear();
                        return jobs.into_iter().for_each(|job| (job.done)(Err(CommitError::Unknown)));
                    }
                }
            }
        })
    }

    /// Tells the jobs of lanes that are not ours.
    fn refuse_fenced(&self, jobs: Vec<Job>) -> Vec<Job> {
        let (ours, fenced): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| self.ownership.epoch(job.commit.lane).is_some());
        for job in fenced {
            let lane = job.commit.lane;
            (job.done)(Err(CommitError::Fenced(lane)));
        }
        ours
    }

    /// One attempt at the whole batch.
    async fn attempt(&mut self, jobs: &[Job], keyed: Keyed) -> Result<Vec<Result<Committed, CommitError>>, Crash> {
        self.connect().await.map_err(not_sent)?;
        let gains = self.ownership.gains();
        if self.gains != gains {
            self.chains.clear();
            self.gains = gains;
        }
        self.load_chains(jobs).await.map_err(not_sent)?;
        let batch = batch::build(jobs, &mut self.chains, self.clock.now());
        if batch.refused.len() == jobs.len() {
            jobs.iter().for_each(|job| self.chains.forget(job.commit.run));
            return Ok(jobs.iter().enumerate().map(|(place, _)| refusal(&batch, place)).collect());
        }
        crash_point::hit("before-commit");
        let mut flown = self.fly(&batch, keyed).await;
        crash_point::hit("after-commit");
        if let Err(Crash::Unknown(error)) = flown {
            flown = self.resolve(&batch, keyed, error).await;
        }
        match flown {
            Ok(winners) => {
                self.chains.commit();
                self.outcomes(jobs, &batch, keyed, &winners).await
            }
            Err(crash) => {
                self.chains.rollback(0);
                Err(crash)
            }
        }
    }

    async fn connect(&mut self) -> Result<&Session, StoreError> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = Some(self.address.connect().await?);
        }
        self.session.as_ref().ok_or(StoreError::Closed)
    }

    /// Reads the ends of the journals that are not in memory.
    async fn load_chains(&mut self, jobs: &[Job]) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let (mut tenants, mut runs) = (Vec::new(), Vec::new());
        for job in jobs {
            let inserts = matches!(job.commit.change, RunChange::Insert(_, _));
            if seen.insert(job.commit.run) && !inserts && self.chains.get(job.commit.run).is_none() {
                tenants.push(i64::from(job.commit.tenant.0));
                runs.push(job.commit.run.uuid());
            }
        }
        if runs.is_empty() {
            return Ok(());
        }
        let session = self.connect().await?;
        let rows = session.run(CHAINS, &[Value::Ints(tenants), Value::Uuids(runs)]).await?.rows;
        for row in rows {
            let run: RunId = row.id(0)?;
            let mut chain = Chain { ended: row.bool(1)?, bytes: row.int(4)?, ..Chain::start(run, 0) };
            if let (Some(seq), Some(checksum)) = (row.opt(2, Row::int)?, row.opt(3, Row::int)?) {
                (chain.seq, chain.checksum) = (seq, checksum);
            }
            self.chains.learn(run, chain);
        }
        Ok(())
    }

    /// Sends the batch as one statement.
    async fn fly_together(&mut self, batch: &Batch<'_>) -> Result<(), Crash> {
        let session = self.session.as_ref().ok_or_else(|| Crash::Again(StoreError::Closed))?;
        let rows = batch.rows();
        // Texts differ by the operations, and by how many rows of the journal stand in them.
        let entries = if rows == Rows::One { batch.entries.len() } else { usize::from(!batch.entries.is_empty()) };
        let what = (batch.columns.iter().map(|(op, _)| *op).collect(), rows, entries);
        let text = self.together.entry(what).or_insert_with(|| {
            let journal = match rows {
                Rows::One => batch::journal_sql_of(entries),
                Rows::Many => batch::journal_sql(Keyed::All).to_owned(),
            };
            let fence = if rows == Rows::One { FENCE_OF_ONE } else { FENCE };
            let ops = batch.columns.iter().map(|(op, _)| *op);
            forms::together(fence, ops, (entries > 0).then_some(&*journal), rows).into()
        });
        let statement = session.prepare(text).await.map_err(not_sent)?;
        let (lanes, epochs, node) = self.fence(batch);
        let mut params: Vec<&(dyn ToSql + Sync)> = Vec::new();
        let columns = batch.columns.iter().flat_map(|(_, columns)| columns);
        match rows {
            Rows::One => {
                params.extend([&lanes[0] as &(dyn ToSql + Sync), &epochs[0], &node]);
                params.extend(columns.map(|column| &column[0] as &(dyn ToSql + Sync)));
                params.extend((0..entries).flat_map(|at| batch.entries.row(at)));
            }
            Rows::Many => {
                params.extend([&lanes as &(dyn ToSql + Sync), &epochs, &node]);
                params.extend(columns.map(|column| column as &(dyn ToSql + Sync)));
                params.extend(batch.entries.params().into_iter().take(entries * batch::JOURNAL.len()));
            }
        }
        session.client.execute(&statement, &params).await.map(|_| ()).map_err(|error| crash(&error))
    }

    /// The lanes of a batch, the epochs under which they are ours, and this node.
    fn fence(&self, batch: &Batch<'_>) -> (Vec<i32>, Vec<i64>, Uuid) {
        let lanes = batch.lanes.iter().map(|lane| lane.0).collect();
        // A lane that was lost meanwhile gets an epoch that no lane has.
        let epochs = batch.lanes.iter().map(|lane| self.ownership.epoch(*lane).unwrap_or(-1)).collect();
        (lanes, epochs, self.ownership.node())
    }

    /// Sends the batch in one flight and gives the runs that won their key.
    async fn fly(&mut self, batch: &Batch<'_>, keyed: Keyed) -> Result<Vec<Uuid>, Crash> {
        if batch.together && keyed == Keyed::All {
            return self.fly_together(batch).await.map(|()| Vec::new());
        }
        let session = self.session.as_ref().ok_or_else(|| Crash::Again(StoreError::Closed))?;
        let texts = &self.sql[usize::from(keyed == Keyed::Winners)];
        let fence = session.prepare(FENCE).await.map_err(not_sent)?;
        let take_keys = session.prepare(TAKE_KEYS).await.map_err(not_sent)?;
        let journal = session.prepare(batch::journal_sql(keyed)).await.map_err(not_sent)?;
        let mut statements = Vec::with_capacity(batch.columns.len());
        for (op, columns) in &batch.columns {
            statements.push((session.prepare(&texts[*op as usize]).await.map_err(not_sent)?, columns));
        }
        let (lanes, epochs, node) = self.fence(batch);
        let entries = batch.entries.params();
        let keys: [&(dyn ToSql + Sync); 4] =
            [&batch.keys.tenant, &batch.keys.key_hash, &batch.keys.body_hash, &batch.keys.run];
        let has_keys = !batch.keys.run.is_empty();

        type Part<'a> = LocalBoxFuture<'a, Result<Written, tokio_postgres::Error>>;
        let nothing = |count| Written { count, rows: Vec::new() };
        let control = |text| -> Part<'_> {
            Box::pin(async move { session.client.batch_execute(text).await.map(|()| nothing(0)) })
        };
        let mut parts: Vec<Part<'_>> = vec![control("begin")];
        parts.push(Box::pin(async {
            session.client.query(&fence, &[&lanes, &epochs, &node]).await.map(|_| nothing(0))
        }));
        if has_keys {
            parts.push(Box::pin(async {
                let rows = session.client.query(&take_keys, &keys).await?;
                let rows = rows.iter().map(|row| row.try_get(0).map(|run| Row(vec![Value::Uuid(run)])));
                Ok(Written { count: 0, rows: rows.collect::<Result<Vec<Row>, _>>()? })
            }));
        }
        for (statement, columns) in &statements {
            parts.push(Box::pin(async move { session.client.execute_raw(statement, *columns).await.map(nothing) }));
        }
        if !batch.entries.is_empty() {
            parts.push(Box::pin(async { session.client.execute(&journal, &entries).await.map(nothing) }));
        }
        parts.push(control("commit"));

        let results = join_all(parts).await;
        let mut winners = Vec::new();
        for (place, result) in results.into_iter().enumerate() {
            let written = result.map_err(|error| crash(&error))?;
            if has_keys && place == 2 {
                winners = written.rows.iter().map(|row| row.uuid(0)).collect::<Result<_, _>>().map_err(Crash::Again)?;
            }
        }
        Ok(winners)
    }

    /// The answer never came: waits out the session that may still be writing, then looks for one row.
    async fn resolve(&mut self, batch: &Batch<'_>, keyed: Keyed, error: StoreError) -> Result<Vec<Uuid>, Crash> {
        tracing::warn!(%error, "the answer to a batch never came; looking for it");
        if batch.witness.is_none() && keyed == Keyed::All {
            return Err(Crash::Unknown(error));
        }
        let mut pause = Duration::from_millis(20);
        loop {
            match self.look_for(batch, keyed).await {
                Ok(Some(winners)) => return Ok(winners),
                Ok(None) => return Err(Crash::Again(error)),
                Err(error) => {
                    tracing::warn!(%error, "the database does not answer; asking again");
                    // Without a lane of its own this node may never get an answer that counts.
                    if batch.lanes.iter().all(|lane| self.ownership.epoch(*lane).is_none()) {
                        return Err(Crash::Fenced);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// `None` if the batch is not there, else the runs that won their key.
    async fn look_for(&mut self, batch: &Batch<'_>, keyed: Keyed) -> Result<Option<Vec<Uuid>>, StoreError> {
        let lanes = batch.lanes.iter().map(|lane| i64::from(lane.0)).collect::<Vec<_>>();
        let session = self.connect().await?;
        // The lock is what the ghost of our own session holds until it has ended, one way or the other.
        session
            .run(
                "select 1 from lanes where id = any($1::integer[]) order by id for no key update",
                &[Value::Ints(lanes)],
            )
            .await?;
        if keyed == Keyed::Winners {
            let runs: Vec<Uuid> = batch.keys.run.iter().filter_map(as_uuid).collect();
            let tenants: Vec<i64> = batch.keys.tenant.iter().filter_map(as_int).collect();
            let found = session.run(KEY_RUNS, &[Value::Ints(tenants), Value::Uuids(runs.clone())]).await?;
            let any = found.rows.first().map(|row| row.int(0)).transpose()?.unwrap_or(0) > 0;
            if !any {
                return Ok(None);
            }
            let all = "select run_id from idempotency_keys where run_id = any($1::uuid[])";
            let rows = session.run(all, &[Value::Uuids(runs)]).await?.rows;
            return rows.iter().map(|row| row.uuid(0)).collect::<Result<Vec<_>, _>>().map(Some);
        }
        let Some(witness) = batch.witness else { return Ok(None) };
        let params = [Value::from(witness.tenant), Value::Uuid(witness.run), Value::Int(witness.seq)];
        let rows = session.run(WITNESS, &params).await?.rows;
        match rows.first() {
            None => Ok(None),
            Some(row) if row.int(0)? == witness.checksum => Ok(Some(Vec::new())),
            Some(_) => Err(StoreError::damaged(format!("run {}: row {} is not ours", witness.run, witness.seq))),
        }
    }

    /// What each job is told; a start that lost its key is told who won.
    async fn outcomes(
        &mut self,
        jobs: &[Job],
        batch: &Batch<'_>,
        keyed: Keyed,
        winners: &[Uuid],
    ) -> Result<Vec<Result<Committed, CommitError>>, Crash> {
        let winners: HashSet<Uuid> = winners.iter().copied().collect();
        let mut outcomes = Vec::with_capacity(jobs.len());
        for (place, job) in jobs.iter().enumerate() {
            let lost = keyed == Keyed::Winners && !winners.contains(&job.commit.run.uuid());
            outcomes.push(if batch.refused.contains_key(&place) {
                // Should it be us who are wrong, the next commit reads the journal's end again.
                self.chains.forget(job.commit.run);
                refusal(batch, place)
            } else if lost {
                self.chains.forget(job.commit.run);
                self.winner_of(job).await
            } else {
                Ok(Committed::Done)
            });
        }
        Ok(outcomes)
    }

    async fn winner_of(&mut self, job: &Job) -> Result<Committed, CommitError> {
        let RunChange::Insert(_, Some(key)) = &job.commit.change else { return Ok(Committed::Done) };
        let params = [Value::from(job.commit.tenant), Value::from(key.key_hash)];
        let session = self.connect().await.map_err(CommitError::Failed)?;
        let rows = session.run(FIND_KEY, &params).await.map_err(CommitError::Failed)?.rows;
        // The run was deleted between the two statements: the caller may start it now.
        let gone = || CommitError::Busy("the run of this idempotency key was just deleted: ask again".to_owned());
        let row = rows.first().ok_or_else(gone)?;
        let read = || Ok((row.id(0)?, row.hash(1)?));
        let (run, body_hash) = read().map_err(CommitError::Failed)?;
        Ok(Committed::Duplicate { run, same_body: body_hash == key.body_hash })
    }

    /// Asks which lanes are still ours.
    async fn look_at_lanes(&mut self) {
        let node = self.ownership.node();
        let Ok(session) = self.connect().await else { return };
        let rows = session.run("select id, epoch from lanes where node_id = $1", &[Value::Uuid(node)]).await;
        match rows {
            Ok(found) => {
                let lanes = found.rows.iter().filter_map(|row| Some((row.int32(0).ok()?, row.int(1).ok()?)));
                self.ownership.keep_only(node, lanes);
            }
            Err(error) => tracing::warn!(%error, "could not ask which lanes are ours"),
        }
    }
}

fn as_int(value: &Value) -> Option<i64> {
    if let Value::Int(int) = value { Some(*int) } else { None }
}

fn refusal(batch: &Batch<'_>, place: usize) -> Result<Committed, CommitError> {
    batch.refused.get(&place).cloned().map_or(Ok(Committed::Done), Err)
}

fn tell(jobs: Vec<Job>, outcomes: Vec<Result<Committed, CommitError>>) {
    for (job, outcome) in jobs.into_iter().zip(outcomes) {
        (job.done)(outcome);
    }
    crash_point::hit("after-told");
}

/// What a refusal before a flight means: only a database that is away for now is asked again.
fn not_sent(error: StoreError) -> Crash {
    match error {
        StoreError::Unavailable(_) | StoreError::Location { .. } => Crash::Again(error),
        other => Crash::Poison(CommitError::Failed(other)),
    }
}

/// What a refusal within a flight means.
fn crash(error: &tokio_postgres::Error) -> Crash {
    let Some(refusal) = error.as_db_error() else {
        return Crash::Unknown(StoreError::Unavailable(error.to_string()));
    };
    let code = refusal.code().code();
    let text = format!("{} ({code})", refusal.message());
    match (code, code.get(..2).unwrap_or_default()) {
        ("WL001", _) => Crash::Fenced,
        ("WL002" | "WL003", _) => Crash::Poison(CommitError::Conflict(refusal.message().to_owned())),
        // Somebody else wrote that row of that run: what is in memory is not what is on disk.
        ("23505", _) if refusal.table().is_some_and(|table| table.starts_with("journal")) => {
            Crash::Poison(CommitError::Conflict(text))
        }
        (_, "40" | "53" | "55") => Crash::Again(StoreError::Unavailable(text)),
        ("25006", _) => Crash::Again(StoreError::Unavailable("the database is read-only".to_owned())),
        (_, "08" | "57") => Crash::Unknown(StoreError::Unavailable(text)),
        _ => Crash::Poison(CommitError::Failed(StoreError::Database {
            doing: "commit",
            code: code.to_owned(),
            cause: Arc::new(std::io::Error::other(refusal.message().to_owned())),
        })),
    }
}
