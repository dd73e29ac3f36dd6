//! Retention: finished runs go by age, count and bytes, in small turns, and the space comes back.
//!
//! A run disappears in one transaction with all that belongs to it; its journal, which may be long, is swept behind it.
//! Invariant: no turn touches more than a few hundred rows, so the engine never waits long for one.

use std::time::Duration;

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    StoreError,
    committer::ops::found_by,
    database::{Database, Dialect, Row, Tx, Value},
    partitions,
    run_lists::first_id,
    search,
    store::Store,
};

/// How many runs one turn deletes.
const RUNS_PER_TURN: i64 = 50;
/// How many journal rows one turn deletes.
const ROWS_PER_TURN: i64 = 500;
/// How many pages one turn gives back to the file system.
const PAGES_PER_TURN: i64 = 500;
/// A value that nobody refers to is kept that long: its commit may be on its way.
const ORPHAN_AGE: Duration = Duration::from_secs(3_600);

/// What is kept of a workflow's finished runs. Without any limit all of them are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retain {
    /// The newest so many.
    pub runs: Option<i64>,
    /// Those that ended less than that ago.
    pub age: Option<Duration>,
    /// The newest ones whose journals fit into so many bytes.
    pub bytes: Option<i64>,
}

/// What a turn did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that disappeared.
    pub runs: u64,
    /// Journal rows that went.
    pub rows: u64,
    /// Values that nobody referred to.
    pub blobs: u64,
    /// Pages given back, or partitions dropped.
    pub freed: u64,
}

impl Swept {
    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        *self == Swept::default()
    }
}

const FINISHED: &str = "tenant_key = $1 and workflow = $2 \
                        and status in ('completed', 'failed', 'compensated', 'cancelled', 'timed_out')";

/// Everything of a run but its row and its journal.
const BELONGINGS: &[&str] = &[
    "delete from task_leases where tenant_key = $1 and task_id in (select id from tasks where tenant_key = $1 and run_id = $2)",
    "delete from task_ready where (tenant_key, queue, rank, task_id) in \
     (select tenant_key, queue, -prio, id from tasks where tenant_key = $1 and run_id = $2)",
    "delete from tasks where tenant_key = $1 and run_id = $2",
    "delete from task_answers where tenant_key = $1 and run_id = $2",
    "delete from approvals where tenant_key = $1 and run_id = $2",
    "delete from active_steps where tenant_key = $1 and run_id = $2",
    "delete from event_waits where tenant_key = $1 and run_id = $2",
    "delete from inbox where tenant_key = $1 and run_id = $2",
    "delete from blob_refs where tenant_key = $1 and run_id = $2",
    "delete from run_snapshots where tenant_key = $1 and run_id = $2",
    "delete from idempotency_keys where tenant_key = $1 and run_id = $2",
    "delete from state_applied where tenant_key = $1 and run_id = $2",
    "delete from run_queue where tenant_key = $1 and run_id = $2",
    "delete from run_backlog where tenant_key = $1 and run_id = $2",
    "delete from concurrency_slots where tenant_key = $1 and run_id = $2",
    "delete from files where tenant_key = $1 and run_id = $2",
];

/// Takes a run out of sight with all that belongs to it; `false` if it is not there or not over.
async fn delete_run(tx: &mut Tx, tenant: TenantKey, run: RunId) -> Result<bool, StoreError> {
    let key = tx.dialect().pick("run_key", "0::bigint");
    let sql = format!(
        "delete from runs where tenant_key = $1 and id = $2 \
         and status in ('completed', 'failed', 'compensated', 'cancelled', 'timed_out') returning {key}, key, labels"
    );
    let both = || vec![Value::from(tenant), run.into()];
    let deleted = tx.query(sql, both()).await?;
    let Some(row) = deleted.first() else { return Ok(false) };
    for sql in BELONGINGS {
        tx.execute(*sql, both()).await?;
    }
    let (run_key, key, labels) = (row.int(0)?, row.opt(1, Row::string)?, row.opt(2, Row::json)?);
    for (name, value) in found_by(key.as_deref(), labels.as_ref()) {
        let sql = "delete from run_labels where tenant_key = $1 and name = $2 and value = $3 and run_id = $4";
        tx.execute(sql, vec![tenant.into(), name.into(), value.into(), run.into()]).await?;
    }
    search::forget_run(tx, tenant, run).await?;
    let garbage =
        "insert into journal_garbage (tenant_key, run_id, run_key) values ($1, $2, $3) on conflict do nothing";
    tx.execute(garbage, vec![tenant.into(), run.into(), run_key.into()]).await?;
    Ok(true)
}

impl Store {
    /// Deletes a run that is over; `false` if there is none.
    pub async fn delete_run(&self, tenant: TenantKey, run: RunId) -> Result<bool, StoreError> {
        self.database().of(tenant).transact(move |tx| Box::pin(delete_run(tx, tenant, run))).await
    }

    /// The names of the workflows that have runs, published or not, in order after a name.
    pub async fn run_workflows(&self, tenant: TenantKey, after: &str, limit: i64) -> Result<Vec<String>, StoreError> {
        // From name to name by the index: what lies between two of them is not read.
        let sql = "with recursive names(name) as ( \
                   select min(workflow) from runs where tenant_key = $1 and workflow > $2 union all \
                   select (select min(workflow) from runs where tenant_key = $1 and workflow > names.name) \
                   from names where names.name is not null) \
                   select name from names where name is not null limit $3";
        let params = vec![tenant.into(), after.into(), limit.clamp(1, 1_000).into()];
        self.database().of(tenant).query(sql, params).await?.iter().map(|row| row.string(0)).collect()
    }

    /// One turn at the finished runs of a workflow that are past what is to be kept; how many went. None: all is well.
    pub async fn retain(&self, tenant: TenantKey, workflow: &str, keep: &Retain) -> Result<u64, StoreError> {
        let mut doomed = Vec::new();
        if let Some(age) = keep.age {
            doomed = self.too_old(tenant, workflow, age).await?;
        }
        if let (true, Some(runs)) = (doomed.is_empty(), keep.runs) {
            doomed = self.too_many(tenant, workflow, runs).await?;
        }
        if let (true, Some(bytes)) = (doomed.is_empty(), keep.bytes) {
            doomed = self.too_large(tenant, workflow, bytes).await?;
        }
        if doomed.is_empty() {
            return Ok(0);
        }
        self.database()
            .of(tenant)
            .transact(move |tx| {
                Box::pin(async move {
                    let mut count = 0;
                    for run in doomed {
                        count += u64::from(delete_run(tx, tenant, run).await?);
                    }
                    Ok(count)
                })
            })
            .await
    }

    async fn too_old(&self, tenant: TenantKey, workflow: &str, age: Duration) -> Result<Vec<RunId>, StoreError> {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.now().micros().saturating_sub(micros).max(0));
        // What ended before then began before then, and ids are times of birth: younger runs are not looked at.
        let sql = format!("select id from runs where {FINISHED} and finished_at < $3 and id < $4 order by id limit $5");
        self.ids(
            tenant,
            sql,
            vec![tenant.into(), workflow.into(), before.into(), first_id(before), RUNS_PER_TURN.into()],
        )
        .await
    }

    async fn too_many(&self, tenant: TenantKey, workflow: &str, keep: i64) -> Result<Vec<RunId>, StoreError> {
        let sql = format!("select id from runs where {FINISHED} order by id desc limit 1 offset $3");
        let newest = self.ids(tenant, sql, vec![tenant.into(), workflow.into(), keep.max(0).into()]).await?;
        let Some(newest) = newest.first() else { return Ok(Vec::new()) };
        self.up_to(tenant, workflow, newest.uuid()).await
    }

    async fn too_large(&self, tenant: TenantKey, workflow: &str, keep: i64) -> Result<Vec<RunId>, StoreError> {
        let sql = format!(
            "select id from (select id, cast(sum(journal_bytes) over (order by id desc) as bigint) as total from runs where {FINISHED}) sized \
             where total > $3 order by id desc limit 1"
        );
        let newest = self.ids(tenant, sql, vec![tenant.into(), workflow.into(), keep.max(0).into()]).await?;
        let Some(newest) = newest.first() else { return Ok(Vec::new()) };
        self.up_to(tenant, workflow, newest.uuid()).await
    }

    async fn up_to(&self, tenant: TenantKey, workflow: &str, newest: Uuid) -> Result<Vec<RunId>, StoreError> {
        let sql = format!("select id from runs where {FINISHED} and id <= $3 order by id limit $4");
        self.ids(tenant, sql, vec![tenant.into(), workflow.into(), newest.into(), RUNS_PER_TURN.into()]).await
    }

    async fn ids(&self, tenant: TenantKey, sql: String, params: Vec<Value>) -> Result<Vec<RunId>, StoreError> {
        self.database().of(tenant).query(sql, params).await?.iter().map(|row| row.id(0)).collect()
    }

    /// One turn behind the runs that are gone: their journals, values that nobody refers to, and the space itself.
    ///
    /// Call it until [`Swept::is_idle`].
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let rows = self.sweep_journal().await?;
        if rows > 0 {
            return Ok(Swept { rows, ..Swept::default() });
        }
        let blobs = self.sweep_blobs(ORPHAN_AGE).await?;
        let freed = if blobs == 0 { self.free_space().await? } else { 0 };
        Ok(Swept { blobs, freed, ..Swept::default() })
    }

    async fn sweep_journal(&self) -> Result<u64, StoreError> {
        let find = "select tenant_key, run_id, run_key from journal_garbage limit 1";
        let Some(row) = self.database().across_tenants().query_opt(find, vec![]).await? else { return Ok(0) };
        let (tenant, run, run_key) = (row.tenant(0)?, row.uuid(1)?, row.int(2)?);
        self.database()
            .of(tenant)
            .transact(move |tx| {
                Box::pin(async move {
                    let deleted = match tx.dialect() {
                        Dialect::Sqlite => {
                            let sql = "delete from journal where id in \
                                       (select id from journal where run_key = $1 order by seq limit $2)";
                            tx.execute(sql, vec![run_key.into(), ROWS_PER_TURN.into()]).await?
                        }
                        Dialect::Postgres => {
                            let sql = "delete from journal where tenant_key = $1 and run_id = $2 and seq < $3 + \
                                       (select min(seq) from journal where tenant_key = $1 and run_id = $2)";
                            tx.execute(sql, vec![tenant.into(), run.into(), ROWS_PER_TURN.into()]).await?
                        }
                    };
                    if deleted < ROWS_PER_TURN.unsigned_abs() {
                        let sql = "delete from journal_garbage where tenant_key = $1 and run_id = $2";
                        tx.execute(sql, vec![tenant.into(), run.into()]).await?;
                    }
                    Ok(deleted.max(1))
                })
            })
            .await
    }

    /// Deletes values that nobody has referred to for that long; how many.
    pub async fn sweep_blobs(&self, age: Duration) -> Result<u64, StoreError> {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.now().micros().saturating_sub(micros).max(0));
        // A commit that uses the value touches its row, so one of the two waits for the other and looks again.
        let sql = "delete from blobs where touched_at < $1 and (tenant_key, hash) in \
                   (select b.tenant_key, b.hash from blobs b where b.touched_at < $1 and not exists \
                   (select 1 from blob_refs r where r.tenant_key = b.tenant_key and r.hash = b.hash) limit 100)";
        self.database().across_tenants().execute(sql, vec![before.into()]).await.map(|written| written.count)
    }

    /// Gives space back: free pages on SQLite, partitions without runs on PostgreSQL.
    async fn free_space(&self) -> Result<u64, StoreError> {
        match self.database() {
            Database::Postgres(postgres) => {
                let session = postgres.own_session().await?;
                partitions::make(&session, self.now()).await?;
                Ok(partitions::drop_past(&session, self.now()).await?.len() as u64)
            }
            Database::Sqlite(_) => {
                let free = |tx: &mut Tx| match tx {
                    Tx::Sqlite(tx) => tx.free_pages(PAGES_PER_TURN),
                    Tx::Postgres(_) => Ok(0),
                };
                self.database().across_tenants().transact(move |tx| Box::pin(async move { free(tx) })).await
            }
        }
    }

    /// Deletes events that came before a time; how many. At most 500 a call.
    pub async fn expire_events(&self, tenant: TenantKey, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "delete from events where tenant_key = $1 and id in \
                   (select id from events where tenant_key = $1 and at < $2 order by id limit 500)";
        self.database().of(tenant).execute(sql, vec![tenant.into(), before.into()]).await.map(|written| written.count)
    }
}
