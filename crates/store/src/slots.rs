//! Places: how many runs of a workflow and key may be active at once, and who waits for one.
//!
//! Places are taken and given back in transactions of their own, never in a run's commit: rows that many runs share
//! would make batches wait for each other. Taking one twice for the same run takes it once.

use std::time::Duration;

use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    LaneId, StoreError,
    database::{Dialect, Row},
    store::Store,
};

/// A group of places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotKey {
    /// The workflow.
    pub workflow: String,
    /// The key within it; empty without one.
    pub key: String,
}

/// A run that waits for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingForSlot {
    /// Which run.
    pub run: RunId,
    /// Its lane: only its owner can start it.
    pub lane: LaneId,
    /// Higher goes first.
    pub priority: i32,
}

const TAKE: &str = "insert into concurrency_slots (tenant_key, workflow, slot_key, run_id, taken_at) \
                    select $1, $2, $3, $4, $5 where (select count(*) from concurrency_slots \
                    where tenant_key = $1 and workflow = $2 and slot_key = $3 and run_id <> $4) < $6 \
                    on conflict (tenant_key, workflow, slot_key, run_id) do nothing";
const HAS: &str =
    "select 1 from concurrency_slots where tenant_key = $1 and workflow = $2 and slot_key = $3 and run_id = $4";
const TAKE_POSTGRES: &str = "insert into concurrency_slots (tenant_key, workflow, slot_key, run_id, taken_at) \
                    select $1::integer, $2::text, $3::text, $4::uuid, $5::timestamptz \
                    where (select count(*) from concurrency_slots \
                    where tenant_key = $1 and workflow = $2 and slot_key = $3 and run_id <> $4) < $6::bigint \
                    on conflict (tenant_key, workflow, slot_key, run_id) do nothing";

impl Store {
    /// Takes a place for a run if fewer than `limit` others have one; whether it has one now.
    pub async fn take_slot(
        &self,
        tenant: TenantKey,
        slot: &SlotKey,
        run: RunId,
        limit: u32,
    ) -> Result<bool, StoreError> {
        let slot = slot.clone();
        let now = self.now();
        self.database()
            .of(tenant)
            .transact(move |tx| {
                Box::pin(async move {
                    let key = vec![tenant.into(), (&slot.workflow).into(), (&slot.key).into(), run.into()];
                    if tx.dialect() == Dialect::Postgres {
                        // Two takers of the same place count one after the other.
                        let lock = "select pg_advisory_xact_lock($1::integer, hashtext($2))";
                        let name = format!("slot/{}/{}", slot.workflow, slot.key);
                        tx.execute(lock, vec![tenant.into(), name.into()]).await?;
                    }
                    let take = tx.dialect().pick(TAKE, TAKE_POSTGRES).to_owned();
                    let params = key.iter().cloned().chain([now.into(), limit.into()]).collect();
                    tx.execute(take, params).await?;
                    Ok(!tx.query(HAS, key).await?.is_empty())
                })
            })
            .await
    }

    /// Gives back every place of a run; the groups in which somebody may go on now.
    pub async fn release_slots(&self, tenant: TenantKey, run: RunId) -> Result<Vec<SlotKey>, StoreError> {
        let sql = "delete from concurrency_slots where tenant_key = $1 and run_id = $2 returning workflow, slot_key";
        let written = self.database().of(tenant).execute(sql, vec![tenant.into(), run.into()]).await?;
        written.rows.iter().map(|row| Ok(SlotKey { workflow: row.string(0)?, key: row.string(1)? })).collect()
    }

    /// Gives back a run's place in one group.
    pub async fn release_slot(&self, tenant: TenantKey, slot: &SlotKey, run: RunId) -> Result<(), StoreError> {
        let sql =
            "delete from concurrency_slots where tenant_key = $1 and workflow = $2 and slot_key = $3 and run_id = $4";
        let params = vec![tenant.into(), (&slot.workflow).into(), (&slot.key).into(), run.into()];
        self.database().of(tenant).execute(sql, params).await.map(|_| ())
    }

    /// Who has places of a group, oldest first.
    pub async fn slot_holders(&self, tenant: TenantKey, slot: &SlotKey) -> Result<Vec<RunId>, StoreError> {
        let sql = "select run_id from concurrency_slots where tenant_key = $1 and workflow = $2 and slot_key = $3 \
                   order by taken_at, run_id";
        let rows = self
            .database()
            .of(tenant)
            .query(sql, vec![tenant.into(), (&slot.workflow).into(), (&slot.key).into()])
            .await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    /// Who waits for a place of a group: highest priority first, then oldest.
    pub async fn queued_runs(
        &self,
        tenant: TenantKey,
        slot: &SlotKey,
        limit: i64,
    ) -> Result<Vec<WaitingForSlot>, StoreError> {
        let sql = "select run_id, lane_id, priority from run_queue where tenant_key = $1 and workflow = $2 \
                   and slot_key = $3 order by priority desc, run_id limit $4";
        let params = vec![tenant.into(), (&slot.workflow).into(), (&slot.key).into(), limit.clamp(1, 10_000).into()];
        let waiting =
            |row: &Row| Ok(WaitingForSlot { run: row.id(0)?, lane: LaneId(row.int32(1)?), priority: row.int32(2)? });
        self.database().of(tenant).query(sql, params).await?.iter().map(waiting).collect()
    }

    /// Groups with somebody waiting whose runs are on these lanes: what a node looks at after it came up.
    pub async fn queued_groups(&self, lanes: &[LaneId], limit: i64) -> Result<Vec<(TenantKey, SlotKey)>, StoreError> {
        let sql = format!(
            "select distinct tenant_key, workflow, slot_key from run_queue where lane_id {} limit $2",
            self.database().dialect().in_ints(1)
        );
        let lanes = crate::Value::Ints(lanes.iter().map(|lane| i64::from(lane.0)).collect());
        let rows = self.database().across_tenants().query(sql, vec![lanes, limit.clamp(1, 10_000).into()]).await?;
        let group = |row: &Row| Ok((row.tenant(0)?, SlotKey { workflow: row.string(1)?, key: row.string(2)? }));
        rows.iter().map(group).collect()
    }

    /// Places of runs that are over, or that have not begun after `patience`: a crash came between the place and
    /// the run.
    pub async fn stale_slots(&self, patience: Duration, limit: i64) -> Result<Vec<(TenantKey, RunId)>, StoreError> {
        let sql = "select distinct s.tenant_key, s.run_id from concurrency_slots s \
                   left join runs r on r.tenant_key = s.tenant_key and r.id = s.run_id \
                   where (r.id is null and s.taken_at <= $2) \
                   or r.status in ('completed', 'failed', 'compensated', 'cancelled', 'timed_out') limit $1";
        let long_ago =
            Timestamp::from_micros(self.now().micros() - i64::try_from(patience.as_micros()).unwrap_or(i64::MAX));
        let rows =
            self.database().across_tenants().query(sql, vec![limit.clamp(1, 10_000).into(), long_ago.into()]).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, row.id(1)?))).collect()
    }
}
