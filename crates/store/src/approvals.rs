//! Approvals, read. They are opened, answered and decided in the commits of their runs.

use windlass_definition::time::Timestamp;
use windlass_engine::id::{ApprovalId, RunId, TenantKey};

use crate::{
    ApprovalStatus, LaneId, Reached, StoreError,
    database::{Row, Value},
    runs::word,
    store::Store,
};

/// An approval.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalRow {
    /// Its id.
    pub id: ApprovalId,
    /// The lane of its run.
    pub lane: LaneId,
    /// Its run.
    pub run: RunId,
    /// The path that waits for it.
    pub path: String,
    /// What people read first.
    pub title: String,
    /// Who may decide, the form, the quorum.
    pub detail: serde_json::Value,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// The responses so far.
    pub responses: serde_json::Value,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is over.
    pub expires_at: Option<Timestamp>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

/// Which approvals are looked for.
#[derive(Debug, Clone, Default)]
pub struct FindApprovals {
    /// In this status.
    pub status: Option<ApprovalStatus>,
    /// Older than this one: the last of the page before.
    pub after: Option<ApprovalId>,
    /// Of runs of these workflows alone.
    pub within: Option<Reached>,
}

const COLUMNS: &str = "id, lane_id, run_id, path, title, detail, status, responses, created_at, expires_at, decided_at";

fn approval(row: &Row) -> Result<ApprovalRow, StoreError> {
    Ok(ApprovalRow {
        id: row.id(0)?,
        lane: LaneId(row.int32(1)?),
        run: row.id(2)?,
        path: row.string(3)?,
        title: row.string(4)?,
        detail: row.json(5)?,
        status: word(row, 6, ApprovalStatus::parse)?,
        responses: row.json(7)?,
        created_at: row.time(8)?,
        expires_at: row.opt(9, Row::time)?,
        decided_at: row.opt(10, Row::time)?,
    })
}

impl Store {
    /// An approval by its id.
    pub async fn approval(&self, tenant: TenantKey, id: ApprovalId) -> Result<Option<ApprovalRow>, StoreError> {
        let sql = format!("select {COLUMNS} from approvals where tenant_key = $1 and id = $2");
        self.database()
            .of(tenant)
            .query_opt(sql, vec![tenant.into(), id.into()])
            .await?
            .as_ref()
            .map(approval)
            .transpose()
    }

    /// Approvals, newest first.
    pub async fn list_approvals(
        &self,
        tenant: TenantKey,
        find: &FindApprovals,
        limit: i64,
    ) -> Result<Vec<ApprovalRow>, StoreError> {
        let after = find.after.map_or(uuid::Uuid::max(), |id| id.uuid());
        let mut params = vec![Value::from(tenant), after.into(), limit.clamp(1, 1_000).into()];
        let mut condition = match find.status {
            None => String::new(),
            // Written out, so that the index of what is pending can be used.
            Some(ApprovalStatus::Pending) => "and status = 'pending'".to_owned(),
            Some(status) => {
                params.push(status.as_str().into());
                "and status = $4".to_owned()
            }
        };
        if let Some(reached) = &find.within {
            params.push(reached.workflows.clone().into());
            condition.push_str(&format!(
                " and exists (select 1 from runs r where r.tenant_key = approvals.tenant_key and r.id = approvals.run_id \
                 and r.workflow {})",
                self.database().dialect().in_texts(params.len())
            ));
        }
        let sql = format!(
            "select {COLUMNS} from approvals where tenant_key = $1 and id < $2 {condition} order by id desc limit $3"
        );
        self.database().of(tenant).query(sql, params).await?.iter().map(approval).collect()
    }

    /// The approvals of a run, oldest first.
    pub async fn approvals_of_run(&self, tenant: TenantKey, run: RunId) -> Result<Vec<ApprovalRow>, StoreError> {
        let sql = format!("select {COLUMNS} from approvals where tenant_key = $1 and run_id = $2 order by id");
        self.database().of(tenant).query(sql, vec![tenant.into(), run.into()]).await?.iter().map(approval).collect()
    }
}
