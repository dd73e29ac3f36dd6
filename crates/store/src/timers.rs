//! Timers: one row per waiting run, its earliest due time.
//!
//! The rows change in the commits of their runs ([`crate::TimerChange`]); here they are only read.

use std::collections::HashSet;

use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    LaneId, StoreError,
    database::{Dialect, Row, Value},
    store::Store,
};

/// When a run has to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// Its lane.
    pub lane: LaneId,
    /// When.
    pub due_at: Timestamp,
    /// Whose.
    pub tenant: TenantKey,
    /// Which run.
    pub run: RunId,
}

fn timer(row: &Row) -> Result<Timer, StoreError> {
    Ok(Timer { lane: LaneId(row.int32(0)?), due_at: row.time(1)?, run: row.id(2)?, tenant: row.tenant(3)? })
}

/// SQLite has one lane, and with its number the index gives the timers in their order.
const DUE_SQLITE: &str = "select lane_id, due_at, run_id, tenant_key from timers where lane_id = $1 and due_at < $2 \
                          and (due_at, run_id) > ($3, $4) order by due_at, run_id limit $5";
/// Of each lane its first ones, and of these the first: no page reads more than it gives, times the lanes.
const DUE_POSTGRES: &str = "select t.lane_id, t.due_at, t.run_id, t.tenant_key from unnest($1::integer[]) as mine (lane) \
                            cross join lateral (select lane_id, due_at, run_id, tenant_key from timers \
                            where lane_id = mine.lane and due_at < $2 and (due_at, run_id) > ($3, $4) \
                            order by due_at, run_id limit $5) t order by t.due_at, t.run_id limit $5";

impl Store {
    /// The timers of these lanes that are due before a time, earliest first, after the last one of the page before.
    pub async fn due_timers(
        &self,
        lanes: &[LaneId],
        before: Timestamp,
        after: Option<(Timestamp, RunId)>,
        limit: i64,
    ) -> Result<Vec<Timer>, StoreError> {
        let dialect = self.database().dialect();
        let lanes = match (dialect, lanes.first()) {
            (_, None) => return Ok(Vec::new()),
            (Dialect::Sqlite, Some(lane)) => lane.0.into(),
            (Dialect::Postgres, Some(_)) => Value::Ints(lanes.iter().map(|lane| i64::from(lane.0)).collect()),
        };
        let (due_at, run) = after.map_or((Timestamp::from_micros(0), uuid::Uuid::nil()), |(at, run)| (at, run.uuid()));
        let params =
            vec![lanes, Value::Instant(before), Value::Instant(due_at), run.into(), limit.clamp(1, 10_000).into()];
        self.database()
            .across_tenants()
            .query(dialect.pick(DUE_SQLITE, DUE_POSTGRES), params)
            .await?
            .iter()
            .map(timer)
            .collect()
    }

    /// Which of these runs wait for a time.
    pub async fn with_timers(&self, tenant: TenantKey, runs: &[RunId]) -> Result<HashSet<RunId>, StoreError> {
        let chosen = self.database().dialect().in_uuids(2);
        let sql = format!("select run_id from timers where tenant_key = $1 and run_id {chosen}");
        let runs = Value::Uuids(runs.iter().map(|run| run.uuid()).collect());
        self.database().of(tenant).query(sql, vec![tenant.into(), runs]).await?.iter().map(|row| row.id(0)).collect()
    }

    /// The due time of one run, if it waits for one.
    pub async fn timer_of(&self, tenant: TenantKey, run: RunId) -> Result<Option<Timer>, StoreError> {
        let sql = "select lane_id, due_at, run_id, tenant_key from timers where tenant_key = $1 and run_id = $2 \
                   order by due_at";
        self.database()
            .of(tenant)
            .query_opt(sql, vec![tenant.into(), run.into()])
            .await?
            .as_ref()
            .map(timer)
            .transpose()
    }
}
