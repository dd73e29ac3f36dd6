//! The inbox: what reached a node that does not own the run it is for.
//!
//! A message is acknowledged once it is here. The owner takes it in the commit that appends its entry
//! ([`crate::RowChange::DeleteInbox`]), so it is taken once.

use windlass_engine::id::{RunId, TenantKey};

use crate::{
    Hint, InboxRow, LaneId, StoreError,
    database::{Row, Value},
    store::Store,
};

/// Whether a message is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is.
    New,
    /// The same message lies there already.
    Duplicate,
}

const COLUMNS: &str = "id, lane_id, run_id, kind, dedup, payload, created_at, tenant_key";

impl Store {
    /// Leaves a message for the owner of a lane, durably, and hints at it.
    pub async fn put_inbox(&self, tenant: TenantKey, message: InboxRow) -> Result<Received, StoreError> {
        let sql = "insert into inbox (lane_id, id, tenant_key, run_id, kind, dedup, payload, created_at) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant_key, run_id, kind, dedup) do nothing";
        let params = vec![
            message.lane.0.into(),
            message.id.into(),
            tenant.into(),
            message.run.into(),
            message.kind.into(),
            message.dedup.into(),
            message.payload.into(),
            message.created_at.into(),
        ];
        let written = self.database().of(tenant).execute(sql, params).await?;
        self.hint(message.lane, Hint::Inbox);
        Ok(if written.count == 0 { Received::Duplicate } else { Received::New })
    }

    /// What lies in a run's inbox under that kind and name.
    pub async fn inbox_payload(
        &self,
        tenant: TenantKey,
        run: RunId,
        (kind, dedup): (&str, &str),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "select payload from inbox where tenant_key = $1 and run_id = $2 and kind = $3 and dedup = $4";
        let params = vec![tenant.into(), run.into(), kind.into(), dedup.into()];
        self.database().of(tenant).query_opt(sql, params).await?.map(|row| row.bytes(0)).transpose()
    }

    /// The messages for these lanes, oldest first, after the last one of the page before.
    pub async fn inbox(
        &self,
        lanes: &[LaneId],
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<(TenantKey, InboxRow)>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from inbox where lane_id {} and id > $2 order by id limit $3",
            self.database().dialect().in_ints(1)
        );
        let lanes = Value::Ints(lanes.iter().map(|lane| i64::from(lane.0)).collect());
        let params = vec![lanes, after.unwrap_or(uuid::Uuid::nil()).into(), limit.clamp(1, 10_000).into()];
        self.database().across_tenants().query(sql, params).await?.iter().map(message).collect()
    }

    /// Hands a message on to the lane that its run was moved to.
    pub async fn forward_inbox(&self, from: LaneId, id: uuid::Uuid, to: LaneId) -> Result<(), StoreError> {
        let sql = "update inbox set lane_id = $3 where lane_id = $1 and id = $2";
        self.database().across_tenants().execute(sql, vec![from.0.into(), id.into(), to.0.into()]).await?;
        self.hint(to, Hint::Inbox);
        Ok(())
    }

    /// Deletes a message that no run will ever take, because its run is over or gone.
    pub async fn drop_inbox(&self, lane: LaneId, id: uuid::Uuid) -> Result<(), StoreError> {
        let sql = "delete from inbox where lane_id = $1 and id = $2";
        self.database().across_tenants().execute(sql, vec![lane.0.into(), id.into()]).await.map(|_| ())
    }

    /// How many messages lie there for a run.
    pub async fn inbox_count(&self, tenant: TenantKey, run: RunId) -> Result<i64, StoreError> {
        let sql = "select count(*) from inbox where tenant_key = $1 and run_id = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), run.into()]).await?;
        row.map_or(Ok(0), |row| row.int(0))
    }
}

fn message(row: &Row) -> Result<(TenantKey, InboxRow), StoreError> {
    let message = InboxRow {
        id: row.uuid(0)?,
        lane: LaneId(row.int32(1)?),
        run: row.id(2)?,
        kind: row.string(3)?,
        dedup: row.string(4)?,
        payload: row.bytes(5)?,
        created_at: row.time(6)?,
    };
    Ok((row.tenant(7)?, message))
}
