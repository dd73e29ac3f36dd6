//! Runs: their rows, and what recovery looks for.

use windlass_definition::time::Timestamp;
use windlass_engine::{
    id::{RunId, TenantKey},
    status::RunStatus,
    trace::TraceId,
};

use crate::{
    LaneId, OriginKind, RunError, RunMode, StoreError, UndoStatus,
    database::{Row, Value},
    run_row::{self, NAMES},
    store::Store,
};

/// How many runs one page has at most.
pub const PAGE_RUNS_MAX: i64 = 1_000;

/// The row of a run. What it was given and what it gave is in its journal.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Whose.
    pub tenant: TenantKey,
    /// Its id.
    pub id: RunId,
    /// Its lane, for good.
    pub lane: LaneId,
    /// Its workflow's name.
    pub workflow: String,
    /// The workflow's version; none for a draft.
    pub version: Option<i32>,
    /// The document it runs on.
    pub definition_hash: [u8; 32],
    /// Where it stands.
    pub status: RunStatus,
    /// What became of its undo steps.
    pub undo_status: Option<UndoStatus>,
    /// Whether it counts.
    pub mode: RunMode,
    /// Higher goes first.
    pub priority: i32,
    /// The `key:` of the document.
    pub key: Option<String>,
    /// The `labels:` of the document.
    pub labels: Option<serde_json::Value>,
    /// Who or what started it.
    pub started_by: Option<serde_json::Value>,
    /// The run and path that wait for it.
    pub parent: Option<(RunId, String)>,
    /// The run it came from.
    pub origin: Option<(RunId, OriginKind)>,
    /// How many ancestors.
    pub depth: i32,
    /// The error it ended with.
    pub error: Option<RunError>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The bytes of its journal's payloads, once it is over.
    pub journal_bytes: i64,
    /// The trace of somebody else that it joined.
    pub trace: Option<TraceId>,
}

/// A run that has to be rebuilt, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRun {
    /// Whose.
    pub tenant: TenantKey,
    /// Which.
    pub run: RunId,
    /// Its lane.
    pub lane: LaneId,
    /// Where it stands.
    pub status: RunStatus,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunProgress {
    /// Which.
    pub run: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// The last row of its journal.
    pub seq: i64,
}

const PROGRESS: &str = "select r.id, r.status, coalesce((select j.seq from journal j where j.tenant_key = r.tenant_key \
                        and j.run_id = r.id order by j.seq desc limit 1), 0) \
                        from unnest($1::integer[], $2::uuid[]) as wanted(tenant_key, id) \
                        join runs r on r.tenant_key = wanted.tenant_key and r.id = wanted.id";

/// A stored word as the type that has it.
pub(crate) fn word<T>(row: &Row, column: usize, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
    let text = row.text(column)?;
    parse(text).ok_or_else(|| StoreError::damaged(format!("unknown word `{text}`")))
}

impl Store {
    /// A run by its id.
    pub async fn run(&self, tenant: TenantKey, id: RunId) -> Result<Option<RunRow>, StoreError> {
        let sql = format!("select {NAMES} from runs where tenant_key = $1 and id = $2");
        self.database()
            .of(tenant)
            .query_opt(sql, vec![tenant.into(), id.into()])
            .await?
            .as_ref()
            .map(run_row::read)
            .transpose()
    }

    /// Runs by their ids, in no order; ids that name none are left out.
    pub async fn runs_by_id(&self, tenant: TenantKey, ids: &[RunId]) -> Result<Vec<RunRow>, StoreError> {
        let sql =
            format!("select {NAMES} from runs where tenant_key = $1 and id {}", self.database().dialect().in_uuids(2));
        let ids = Value::Uuids(ids.iter().map(|id| id.uuid()).collect());
        self.database().of(tenant).query(sql, vec![tenant.into(), ids]).await?.iter().map(run_row::read).collect()
    }

    /// How far these runs have come, in one read; those that are not there are left out. On PostgreSQL, where another
    /// node may turn them: SQLite has one, which knows.
    pub async fn progress(&self, runs: &[(TenantKey, RunId)]) -> Result<Vec<RunProgress>, StoreError> {
        if !self.is_shared() {
            return Err(StoreError::Invalid("SQLite has one node, which knows how far its runs have come".to_owned()));
        }
        let tenants = Value::Ints(runs.iter().map(|(tenant, _)| tenant.0.into()).collect());
        let ids = Value::Uuids(runs.iter().map(|(_, run)| run.uuid()).collect());
        let progress =
            |row: &Row| Ok(RunProgress { run: row.id(0)?, status: word(row, 1, RunStatus::parse)?, seq: row.int(2)? });
        self.database().across_tenants().query(PROGRESS, vec![tenants, ids]).await?.iter().map(progress).collect()
    }

    /// The runs that a run started and waits or waited for, oldest first.
    pub async fn children(&self, tenant: TenantKey, parent: RunId) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!("select {NAMES} from runs where tenant_key = $1 and parent_run_id = $2 order by id");
        self.database()
            .of(tenant)
            .query(sql, vec![tenant.into(), parent.into()])
            .await?
            .iter()
            .map(run_row::read)
            .collect()
    }

    /// For recovery: the runs of a lane that are in one of these statuses, oldest first, after `after`.
    ///
    /// Waiting runs are left where they are until what they wait for comes: ask for `queued`, `running`, `paused` and
    /// `compensating`, and for [`Store::due_timers`].
    pub async fn open_runs(
        &self,
        lane: LaneId,
        status: RunStatus,
        after: Option<(TenantKey, RunId)>,
        limit: i64,
    ) -> Result<Vec<OpenRun>, StoreError> {
        let sql = "select tenant_key, id from runs where lane_id = $1 and status = $2 and (tenant_key, id) > ($3, $4) \
                   and (status = 'queued' or status = 'running' or status = 'waiting' or status = 'paused' \
                   or status = 'compensating') \
                   order by tenant_key, id limit $5";
        let (tenant, run) =
            after.map_or((i64::from(i32::MIN), uuid::Uuid::nil()), |(tenant, run)| (i64::from(tenant.0), run.uuid()));
        let params = vec![
            lane.0.into(),
            status.as_str().into(),
            tenant.into(),
            run.into(),
            limit.clamp(1, PAGE_RUNS_MAX).into(),
        ];
        let rows = self.database().across_tenants().query(sql, params).await?;
        rows.iter().map(|row| Ok(OpenRun { tenant: row.tenant(0)?, run: row.id(1)?, lane, status })).collect()
    }

    /// The run that was started under an idempotency key, and the hash of what was asked.
    pub async fn idempotency_key(
        &self,
        tenant: TenantKey,
        key_hash: [u8; 32],
    ) -> Result<Option<(RunId, [u8; 32])>, StoreError> {
        let sql = "select run_id, body_hash from idempotency_keys where tenant_key = $1 and key_hash = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), key_hash.into()]).await?;
        row.map(|row| Ok((row.id(0)?, row.hash(1)?))).transpose()
    }
}
