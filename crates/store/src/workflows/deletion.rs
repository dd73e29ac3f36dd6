//! Deleting workflows, and taking that back.
//!
//! Invariant: the newest version of a workflow that is there starts none that is deleted, as far as it names them. For
//! that each newest version's references are rows, and publications, deletions and restorations of a tenant come one
//! after the other ([`lock`]).

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use windlass_engine::id::{TenantKey, WorkflowId};

use super::{COLUMNS, IfMatch, NAMES_MAX, WorkflowError, WorkflowRow, note, workflow};
use crate::{
    Actor, StoreError,
    database::{Dialect, Tx, Value},
    store::Store,
};

/// Rows of one look for what is to be noted.
const PAGE_ROWS: i64 = 100;
/// The index `workflows_to_note` has the same condition.
const TO_NOTE: &str = "published_version is not null and (noted_version is null or noted_version <> published_version)";

/// A newest version whose references are not noted yet: a program of an older version published it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToNote {
    /// The workflow.
    pub workflow: WorkflowId,
    /// Its newest version.
    pub version: i32,
    /// The document.
    pub definition_hash: [u8; 32],
}

/// Has those who publish, delete and restore in a tenant wait for each other. Locking the workflows themselves would not
/// do: a document may name one that is not there yet. On SQLite there is one writer anyway.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantKey) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        tx.query("select 1 from tenants where key = $1 for no key update", vec![tenant.into()]).await?;
    }
    Ok(())
}

/// Refuses a workflow that starts what is deleted.
pub(super) async fn check_starts(
    tx: &mut Tx,
    tenant: TenantKey,
    (name, starts): (&str, Vec<Arc<str>>),
) -> Result<(), WorkflowError> {
    let sql = format!(
        "select name from workflows where tenant_key = $1 and name {} and deleted_at is not null and name <> $3 \
         order by name limit $4",
        tx.dialect().in_texts(2)
    );
    let params = vec![tenant.into(), starts.into(), name.into(), (NAMES_MAX as i64 + 1).into()];
    let deleted = names(tx, sql, params).await?;
    if deleted.is_empty() { Ok(()) } else { Err(WorkflowError::StartsDeleted { name: name.to_owned(), deleted }) }
}

/// Notes what that version of a workflow starts, in place of what was noted before; nothing if it is not the newest.
pub(super) async fn note_starts(
    tx: &mut Tx,
    tenant: TenantKey,
    (id, version): (WorkflowId, i32),
    starts: BTreeSet<Arc<str>>,
) -> Result<(), StoreError> {
    let newest = "update workflows set noted_version = $3 where tenant_key = $1 and id = $2 and published_version = $3";
    if tx.execute(newest, vec![tenant.into(), id.into(), version.into()]).await? == 0 {
        return Ok(());
    }
    let clear = "delete from workflow_references where tenant_key = $1 and workflow_id = $2";
    tx.execute(clear, vec![tenant.into(), id.into()]).await?;
    let each = tx.dialect().pick("json_each($3) n", "unnest($3::text[]) n(value)");
    let sql = format!(
        "insert into workflow_references (tenant_key, workflow_id, refers_to) \
         select w.tenant_key, w.id, n.value from workflows w, {each} where w.tenant_key = $1 and w.id = $2"
    );
    let starts: Vec<Arc<str>> = starts.into_iter().collect();
    tx.execute(sql, vec![tenant.into(), id.into(), starts.into()]).await.map(|_| ())
}

async fn names(
    tx: &mut Tx,
    sql: impl Into<crate::database::Sql>,
    params: Vec<Value>,
) -> Result<Vec<String>, StoreError> {
    tx.query(sql, params).await?.iter().map(|row| row.string(0)).collect()
}

/// The workflow of that name, deleted or not, locked.
pub(super) async fn found(tx: &mut Tx, tenant: TenantKey, name: &str) -> Result<WorkflowRow, WorkflowError> {
    lock(tx, tenant).await?;
    let lock = tx.dialect().pick("", " for update");
    let sql = format!("select {COLUMNS}, '' from workflows where tenant_key = $1 and name = $2{lock}");
    let rows = tx.query(sql, vec![tenant.into(), name.into()]).await?;
    let row = rows.first().ok_or_else(|| WorkflowError::NotFound(name.to_owned()))?;
    Ok(workflow(row)?)
}

impl Store {
    /// Deletes a workflow: it is not found any more, and stays for the runs that are pinned to it.
    ///
    /// # Errors
    /// There is none, it is at another revision, or others start it.
    pub async fn delete_workflow(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        expect: IfMatch,
    ) -> Result<(), WorkflowError> {
        let Actor { tenant, by } = actor.into();
        let (now, name) = (self.now(), name.to_owned());
        let deleted = self.change_workflow(tenant, move |tx| {
            Box::pin(async move {
                let old = found(tx, tenant, &name).await?;
                if old.deleted_at.is_some() {
                    return Err(WorkflowError::NotFound(name));
                }
                expect.check(old.revision)?;
                let to_note = format!("select 1 from workflows where tenant_key = $1 and {TO_NOTE} limit 1");
                if !tx.query(to_note, vec![tenant.into()]).await?.is_empty() {
                    return Err(WorkflowError::NotNoted);
                }
                let sql = "select w.name from workflow_references r \
                           join workflows w on w.tenant_key = r.tenant_key and w.id = r.workflow_id \
                           where r.tenant_key = $1 and r.refers_to = $2 and r.workflow_id <> $3 and w.deleted_at is null \
                           order by r.workflow_id limit $4";
                let params =
                    vec![tenant.into(), (&name).into(), old.id.into(), (NAMES_MAX as i64 + 1).into()];
                let by_others = names(tx, sql, params).await?;
                if !by_others.is_empty() {
                    return Err(WorkflowError::InUse { name, by: by_others });
                }
                let sql = "update workflows set deleted_at = $3, deleted_by = $4, revision = revision + 1 \
                           where tenant_key = $1 and id = $2";
                tx.execute(sql, vec![tenant.into(), old.id.into(), now.into(), (&by.who).into()]).await?;
                let changes = json!({
                    "description": { "from": old.description },
                    "tags": { "from": old.tags },
                    "revision": { "from": old.revision },
                    "version": { "from": old.published_version },
                    "document": { "from": old.draft_hash.map(hex::encode) },
                });
                note(("delete", now, by), (old.id, name), changes).write(tx, tenant).await?;
                Ok(())
            })
        });
        deleted.await
    }

    /// Takes a deletion back; a workflow that is not deleted stays as it is.
    ///
    /// # Errors
    /// There is none, it is at another revision, or starts what is deleted.
    pub async fn restore_workflow(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        expect: IfMatch,
    ) -> Result<(), WorkflowError> {
        let Actor { tenant, by } = actor.into();
        let (now, name) = (self.now(), name.to_owned());
        let restored = self.change_workflow(tenant, move |tx| {
            Box::pin(async move {
                let old = found(tx, tenant, &name).await?;
                expect.check(old.revision)?;
                let Some(deleted_at) = old.deleted_at else { return Ok(()) };
                let sql = "select refers_to from workflow_references where tenant_key = $1 and workflow_id = $2";
                let starts = names(tx, sql, vec![tenant.into(), old.id.into()]).await?;
                check_starts(tx, tenant, (&name, starts.into_iter().map(Arc::from).collect())).await?;
                let sql = "update workflows set deleted_at = null, deleted_by = null, revision = revision + 1 \
                           where tenant_key = $1 and id = $2";
                tx.execute(sql, vec![tenant.into(), old.id.into()]).await?;
                let changes = json!({
                    "revision": { "from": old.revision, "to": old.revision + 1 },
                    "deleted_at": { "from": deleted_at.to_string() },
                    "deleted_by": { "from": old.deleted_by },
                });
                note(("restore", now, by), (old.id, name), changes).write(tx, tenant).await?;
                Ok(())
            })
        });
        restored.await
    }

    /// Whether there was a workflow of that name, and it is deleted.
    pub async fn is_workflow_deleted(&self, tenant: TenantKey, name: &str) -> Result<bool, StoreError> {
        let sql = "select 1 from workflows where tenant_key = $1 and name = $2 and deleted_at is not null";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), name.into()]).await?;
        Ok(row.is_some())
    }

    /// Some of the newest versions whose references are to be noted; none when all are.
    pub async fn workflows_to_note(&self, tenant: TenantKey) -> Result<Vec<ToNote>, StoreError> {
        let sql = format!(
            "select w.id, v.version, v.definition_hash from workflows w \
             join workflow_versions v on v.tenant_key = w.tenant_key and v.workflow_id = w.id \
             and v.version = w.published_version where w.tenant_key = $1 and {TO_NOTE} order by w.id limit $2"
        );
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), PAGE_ROWS.into()]).await?;
        let to_note = |row: &crate::Row| {
            Ok(ToNote { workflow: row.id(0)?, version: row.int32(1)?, definition_hash: row.hash(2)? })
        };
        rows.iter().map(to_note).collect()
    }

    /// Notes what a version that was published before starts.
    pub async fn note_references(
        &self,
        tenant: TenantKey,
        of: ToNote,
        starts: BTreeSet<Arc<str>>,
    ) -> Result<(), StoreError> {
        self.database()
            .of(tenant)
            .transact(move |tx| Box::pin(note_starts(tx, tenant, (of.workflow, of.version), starts)))
            .await
    }
}
