//! The journal of a run, read: pages of rows whose checksums hold.
//!
//! Invariant: a row whose checksum does not follow from the row before it is never given out; the error names the run.

use std::{collections::HashMap, sync::Arc};

use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    StoreError,
    committer::chain::{self, Fields},
    database::{Dialect, Row, Value},
    store::Store,
};

/// How many rows one page has at most.
pub const PAGE_ROWS_MAX: i64 = 10_000;

/// A row of a journal as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place, from 1.
    pub seq: i64,
    /// What kind of entry.
    pub kind: Arc<str>,
    /// Whether it opens a transition.
    pub opens: bool,
    /// The path of the step, empty for the run.
    pub path: Arc<str>,
    /// The step's id in the document.
    pub step: Arc<str>,
    /// Which attempt.
    pub attempt: i32,
    /// When.
    pub at: Timestamp,
    /// The engine's own bytes.
    pub payload: Vec<u8>,
    /// The checksum over this row and the one before it.
    pub checksum: i64,
}

/// What a journal's first and last entries say: the engine's own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Of the first one.
    pub first: Vec<u8>,
    /// Of the last one.
    pub last: Vec<u8>,
}

/// A run's state at a place of its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last row it holds.
    pub seq: i64,
    /// The engine that can read it.
    pub engine_version: i32,
    /// The engine's own bytes.
    pub state: Vec<u8>,
}

const COLUMNS: &str = "j.seq, j.kind, j.opens, j.path, j.step, j.attempt, j.at, j.payload, j.checksum";

/// Where the rows of one run are.
fn source(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "journal j join runs r on r.run_key = j.run_key where r.tenant_key = $1 and r.id = $2",
        Dialect::Postgres => "journal j where j.tenant_key = $1 and j.run_id = $2",
    }
}

fn entry(row: &Row) -> Result<StoredEntry, StoreError> {
    Ok(StoredEntry {
        seq: row.int(0)?,
        kind: row.shared(1)?,
        opens: row.bool(2)?,
        path: row.shared(3)?,
        step: row.shared(4)?,
        attempt: row.int32(5)?,
        at: row.time(6)?,
        payload: row.bytes(7)?,
        checksum: row.int(8)?,
    })
}

/// What the chain says the checksum of this row is.
pub(crate) fn expected(previous: i64, entry: &StoredEntry) -> i64 {
    let fields = Fields {
        seq: entry.seq,
        kind: &entry.kind,
        opens: entry.opens,
        path: &entry.path,
        step: &entry.step,
        attempt: entry.attempt,
        at_us: entry.at.micros(),
        payload: &entry.payload,
    };
    chain::row_checksum(previous, &fields)
}

/// Checks that rows follow each other; `before` is what the first one is chained to.
pub(crate) fn check_chain(run: RunId, before: (i64, i64), entries: &[StoredEntry]) -> Result<(), StoreError> {
    let (mut seq, mut checksum) = before;
    for entry in entries {
        if entry.seq != seq + 1 {
            return Err(StoreError::damaged(format!("run {run}: row {} of its journal is missing", seq + 1)));
        }
        if expected(checksum, entry) != entry.checksum {
            return Err(StoreError::damaged(format!(
                "run {run}: row {} of its journal is not what was written",
                entry.seq
            )));
        }
        (seq, checksum) = (entry.seq, entry.checksum);
    }
    Ok(())
}

impl Store {
    /// The rows of a run from `from` on (1 is the first), at most `limit` of them.
    pub async fn journal(
        &self,
        tenant: TenantKey,
        run: RunId,
        from: i64,
        limit: i64,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let from = from.max(1);
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        // One row more at the front: the page is chained to it.
        let sql = format!(
            "select {COLUMNS} from {} and j.seq >= $3 order by j.seq limit $4",
            source(self.database().dialect())
        );
        let params = vec![tenant.into(), run.into(), (from - 1).into(), (limit + 1).into()];
        let rows = self.database().of(tenant).query(sql, params).await?;
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let first_seq = entries.first().map(|entry| entry.seq);
        let before = if from == 1 {
            entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            (0, chain::seed(run))
        } else if first_seq == Some(from - 1) {
            let before = entries.remove(0);
            (before.seq, before.checksum)
        } else {
            match first_seq {
                // Beyond the end, or no such run.
                None => return Ok(Vec::new()),
                Some(_) => {
                    return Err(StoreError::damaged(format!("run {run}: row {} of its journal is missing", from - 1)));
                }
            }
        };
        check_chain(run, before, &entries)?;
        Ok(entries)
    }

    /// The journals of runs that have hardly begun, in one read; of each at most `rows_max` rows from the first on.
    pub async fn first_rows(
        &self,
        tenant: TenantKey,
        runs: &[RunId],
        rows_max: i64,
    ) -> Result<HashMap<RunId, Vec<StoredEntry>>, StoreError> {
        let sql = match self.database().dialect() {
            Dialect::Sqlite => format!(
                "select {COLUMNS}, r.id from runs r join journal j on j.run_key = r.run_key \
                 where r.tenant_key = $1 and r.id in (select unhex(value) from json_each($2)) and j.seq <= $3 \
                 order by r.id, j.seq"
            ),
            // The limit keeps it to one look into the index for each run.
            Dialect::Postgres => format!(
                "select j.*, w.id from unnest($2::uuid[]) as w(id) cross join lateral (select {COLUMNS} from journal j \
                 where j.tenant_key = $1 and j.run_id = w.id order by j.seq limit $3) j order by w.id, j.seq"
            ),
        };
        let runs = Value::Uuids(runs.iter().map(|run| run.uuid()).collect());
        let mut journals: HashMap<RunId, Vec<StoredEntry>> = HashMap::new();
        for row in self.database().of(tenant).query(sql, vec![tenant.into(), runs, rows_max.into()]).await? {
            journals.entry(row.id(9)?).or_default().push(entry(&row)?);
        }
        for (run, entries) in &journals {
            check_chain(*run, (0, chain::seed(*run)), entries)?;
        }
        Ok(journals)
    }

    /// The first and the last row of a run, which of a run that has ended say what it was given and what it gave.
    pub async fn journal_first_and_last(
        &self,
        tenant: TenantKey,
        run: RunId,
    ) -> Result<Option<(StoredEntry, StoredEntry)>, StoreError> {
        let source = source(self.database().dialect());
        let sql = format!(
            "select * from (select {COLUMNS} from {source} order by j.seq limit 1) first \
             union all select * from (select {COLUMNS} from {source} order by j.seq desc limit 1) last"
        );
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), run.into()]).await?;
        let [first, last] = rows.as_slice() else { return Ok(None) };
        Ok(Some((entry(first)?, entry(last)?)))
    }

    /// What the first and the last entries of runs say, as they are stored; nobody checks it against what was written.
    pub async fn journals_ends(&self, tenant: TenantKey, runs: &[RunId]) -> Result<HashMap<RunId, Ends>, StoreError> {
        let sql = match self.database().dialect() {
            Dialect::Sqlite => {
                "select r.id, f.payload, l.payload from runs r join journal f on f.run_key = r.run_key and f.seq = 1 \
                 join journal l on l.run_key = r.run_key \
                 and l.seq = (select max(seq) from journal where run_key = r.run_key) \
                 where r.tenant_key = $1 and r.id in (select unhex(value) from json_each($2))"
            }
            Dialect::Postgres => {
                "select w.id, f.payload, l.payload from unnest($2::uuid[]) as w(id) \
                 cross join lateral (select payload from journal j where j.tenant_key = $1 and j.run_id = w.id \
                 order by j.seq limit 1) f \
                 cross join lateral (select payload from journal j where j.tenant_key = $1 and j.run_id = w.id \
                 order by j.seq desc limit 1) l"
            }
        };
        let runs = Value::Uuids(runs.iter().map(|run| run.uuid()).collect());
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), runs]).await?;
        rows.iter().map(|row| Ok((row.id(0)?, Ends { first: row.bytes(1)?, last: row.bytes(2)? }))).collect()
    }

    /// The rows of one kind of a run in order, after `after`: its steps, for instance.
    pub async fn journal_of_kind(
        &self,
        tenant: TenantKey,
        run: RunId,
        kind: &str,
        (after, limit): (i64, i64),
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from {} and j.kind = $3 and j.seq > $4 order by j.seq limit $5",
            source(self.database().dialect())
        );
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let params = vec![tenant.into(), run.into(), kind.into(), after.into(), limit.into()];
        self.database().of(tenant).query(sql, params).await?.iter().map(entry).collect()
    }

    /// Where the journals of these runs end, for those that wait for runs of other nodes.
    pub async fn journal_ends(&self, tenant: TenantKey, runs: &[RunId]) -> Result<HashMap<RunId, i64>, StoreError> {
        let dialect = self.database().dialect();
        let by_run = dialect.pick("j.run_key = r.run_key", "j.tenant_key = r.tenant_key and j.run_id = r.id");
        let sql = format!(
            "select r.id, (select coalesce(max(j.seq), 0) from journal j where {by_run}) from runs r \
             where r.tenant_key = $1 and r.id {}",
            dialect.in_uuids(2)
        );
        let runs = Value::Uuids(runs.iter().map(|run| run.uuid()).collect());
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), runs]).await?;
        rows.iter().map(|row| Ok((row.id(0)?, row.int(1)?))).collect()
    }

    /// The stored state of a run, if there is one that reads back.
    pub async fn snapshot(&self, tenant: TenantKey, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        let sql =
            "select seq, engine_version, state, checksum from run_snapshots where tenant_key = $1 and run_id = $2";
        let Some(row) = self.database().of(tenant).query_opt(sql, vec![tenant.into(), run.into()]).await? else {
            return Ok(None);
        };
        let snapshot = Snapshot { seq: row.int(0)?, engine_version: row.int32(1)?, state: row.bytes(2)? };
        if chain::bytes_checksum(&snapshot.state) == row.int(3)? {
            return Ok(Some(snapshot));
        }
        // The journal has everything: a damaged snapshot costs time only.
        tracing::warn!(%run, "the stored state of a run is damaged; its journal is read instead");
        Ok(None)
    }
}
