//! The backlog: queued runs that no node had room for, and the claim by which a node takes its share of them.
//!
//! A queued run belongs to the lane that it was started on, so whatever reaches it reaches its owner. A claim moves it
//! to a lane of the claimer and takes its row away, in one transaction under that lane's fence: from there on it is an
//! ordinary queued run of its new owner, whose next entry admits it. Should the claimer die before that, whoever
//! adopts the lane finds it ([`Store::claimed_runs`]). A late commit of the old owner meets the journal's key.
//!
//! Invariant: rows are locked in the order lane, backlog, run, here as in commits.

use std::collections::BTreeMap;

use uuid::Uuid;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    LaneId, StoreError,
    committer::postgres::FENCE,
    database::{Database, Row, Statement, Value},
    store::Store,
};

/// Runs that one claim takes at most.
pub const CLAIM_RUNS_MAX: usize = 1_000;

/// Where a run stands in its tenant's queue: the higher priority first, then the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The priority with its sign turned.
    pub rank: i32,
    /// The run, whose id is the time it was made.
    pub run: RunId,
}

impl Position {
    /// Before every run.
    pub const FIRST: Position = Position { rank: i32::MIN, run: RunId::new(Uuid::nil()) };

    /// Far enough before this one that nothing is missed that other nodes wrote a little later than its id says.
    #[must_use]
    pub fn with_slack(self) -> Position {
        const SLACK_MS: u128 = 10_000;
        let ms = (self.run.uuid().as_u128() >> 80).saturating_sub(SLACK_MS);
        Position { rank: self.rank, run: RunId::new(Uuid::from_u128(ms << 80)) }
    }
}

/// What a claim wants of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Whose runs.
    pub tenant: TenantKey,
    /// How many at most.
    pub runs: u32,
    /// Only those after this one: what was claimed before leaves dead rows at the head of the index, which an old
    /// snapshot elsewhere would make every claim read again.
    pub floor: Position,
}

/// A run that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// Whose.
    pub tenant: TenantKey,
    /// Where it stood.
    pub position: Position,
}

// One tenant after the other, each found by the index: the length of a tenant's queue costs nothing.
const TENANTS: &str = "with recursive t (tenant_key) as ( \
                       select min(tenant_key) from run_backlog where tenant_key > $1 union all \
                       select (select min(b.tenant_key) from run_backlog b where b.tenant_key > t.tenant_key) \
                       from t where t.tenant_key is not null) \
                       select tenant_key from t where tenant_key is not null limit $2";
// The planner does not know how few rows are claimed, and would read all runs for them; a literal status would lead it
// to the index of all that are open.
const BY_INDEX: &str = "select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
                        set_config('enable_mergejoin', 'off', true)";
const CLAIM: &str = "with wanted as (select * from unnest($1::integer[], $2::bigint[], $3::integer[], $4::uuid[]) \
                     as w(tenant_key, runs, rank, run_id)), \
                     picked as (select b.tenant_key, b.run_id from wanted w cross join lateral ( \
                     select q.tenant_key, q.run_id from run_backlog q where q.tenant_key = w.tenant_key \
                     and q.rank is not null and (q.rank, q.run_id) > (w.rank, w.run_id) order by q.rank, q.run_id limit w.runs \
                     for update skip locked) b), \
                     gone as (delete from run_backlog b using picked p \
                     where b.tenant_key = p.tenant_key and b.run_id = p.run_id \
                     returning b.tenant_key, b.run_id, b.rank) \
                     update runs r set lane_id = $5 from gone g where r.tenant_key = g.tenant_key and r.id = g.run_id \
                     and r.status = any($6::text[]) returning r.tenant_key, g.rank, r.id";
const PICK: &str = "select run_id from run_backlog where tenant_key = $1 and (rank, run_id) > ($2, $3) \
                    order by rank, run_id limit $4";
const TAKE: &str = "delete from run_backlog where tenant_key = $1 \
                    and run_id in (select unhex(value) from json_each($2)) returning tenant_key, rank, run_id";

impl Store {
    /// Tenants with runs in the backlog, in the order of their keys, after that one.
    pub async fn backlog_tenants(&self, after: TenantKey, limit: i64) -> Result<Vec<TenantKey>, StoreError> {
        let rows =
            self.database().across_tenants().query(TENANTS, vec![after.into(), limit.clamp(1, 10_000).into()]).await?;
        rows.iter().map(|row| row.tenant(0)).collect()
    }

    /// How many runs of each tenant are in the backlog.
    pub async fn backlog_counts(&self) -> Result<BTreeMap<TenantKey, u64>, StoreError> {
        let sql = "select tenant_key, count(*) from run_backlog group by tenant_key";
        let rows = self.database().across_tenants().query(sql, vec![]).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, row.int(1)?.unsigned_abs()))).collect()
    }

    /// Takes these shares of the backlog onto a lane of this node, in the order of each tenant's queue; runs that
    /// another node takes at this moment are passed over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the lane is not this node's any more; nothing was taken then.
    pub async fn claim_runs(&self, lane: LaneId, shares: &[Share]) -> Result<Vec<Claimed>, StoreError> {
        let rows = match self.database() {
            Database::Postgres(_) => self.claim_postgres(lane, shares).await?,
            Database::Sqlite(_) => self.claim_sqlite(shares.to_vec()).await?,
        };
        let claimed = |row: &Row| {
            Ok(Claimed { tenant: row.tenant(0)?, position: Position { rank: row.int32(1)?, run: row.id(2)? } })
        };
        let mut claimed = rows.iter().map(claimed).collect::<Result<Vec<Claimed>, StoreError>>()?;
        claimed.sort_unstable_by_key(|it| (it.position, it.tenant));
        Ok(claimed)
    }

    async fn claim_postgres(&self, lane: LaneId, shares: &[Share]) -> Result<Vec<Row>, StoreError> {
        let ownership = &self.inner.ownership;
        // A lane that was lost meanwhile gets an epoch that no lane has.
        let epoch = ownership.epoch(lane).unwrap_or(-1);
        let fence = vec![Value::Ints(vec![lane.0.into()]), Value::Ints(vec![epoch]), Value::Uuid(ownership.node())];
        let claim = vec![
            Value::Ints(shares.iter().map(|share| share.tenant.0.into()).collect()),
            Value::Ints(shares.iter().map(|share| share.runs.into()).collect()),
            Value::Ints(shares.iter().map(|share| share.floor.rank.into()).collect()),
            Value::Uuids(shares.iter().map(|share| share.floor.run.uuid()).collect()),
            lane.0.into(),
            Value::Texts(vec!["queued".into(), "paused".into()]),
        ];
        let flight = vec![Statement::new(BY_INDEX, vec![]), Statement::new(FENCE, fence), Statement::new(CLAIM, claim)];
        let mut written = self.database().across_tenants().write(flight).await?;
        Ok(written.pop().map(|written| written.rows).unwrap_or_default())
    }

    /// SQLite has one lane, and nobody else claims.
    async fn claim_sqlite(&self, shares: Vec<Share>) -> Result<Vec<Row>, StoreError> {
        self.database()
            .across_tenants()
            .transact(move |tx| {
                Box::pin(async move {
                    let mut rows = Vec::new();
                    for Share { tenant, runs, floor } in shares {
                        let params = vec![tenant.into(), floor.rank.into(), floor.run.into(), runs.into()];
                        let picked = tx.query(PICK, params).await?;
                        let ids = picked.iter().map(|row| row.uuid(0)).collect::<Result<Vec<Uuid>, _>>()?;
                        rows.extend(tx.run(TAKE, vec![tenant.into(), Value::Uuids(ids)]).await?.rows);
                    }
                    Ok(rows)
                })
            })
            .await
    }

    /// For recovery: runs of a lane that were claimed and not admitted, because their node died in between.
    pub async fn claimed_runs(
        &self,
        lane: LaneId,
        after: Option<(TenantKey, RunId)>,
        limit: i64,
    ) -> Result<Vec<(TenantKey, RunId)>, StoreError> {
        let sql = "select r.tenant_key, r.id from runs r where r.lane_id = $1 and (r.tenant_key, r.id) > ($2, $3) \
                   and r.status in ('queued', 'paused') and r.started_at is null \
                   and not exists (select 1 from run_backlog b where b.tenant_key = r.tenant_key and b.run_id = r.id) \
                   and not exists (select 1 from run_queue q where q.tenant_key = r.tenant_key and q.run_id = r.id) \
                   order by r.tenant_key, r.id limit $4";
        let (tenant, run) =
            after.map_or((i64::from(i32::MIN), Uuid::nil()), |(tenant, run)| (i64::from(tenant.0), run.uuid()));
        let params = vec![lane.0.into(), tenant.into(), run.into(), limit.clamp(1, 10_000).into()];
        let rows = self.database().across_tenants().query(sql, params).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, row.id(1)?))).collect()
    }
}
