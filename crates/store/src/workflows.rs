//! Workflows: their drafts, their published versions, and the documents that runs are pinned to.
//!
//! Invariants: a version never changes once it is published; a document is stored once by its hash, compressed.

use serde_json::json;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{Id, TenantKey, WorkflowId};

use crate::{
    Actor, AuditNote, By, StoreError, blobs,
    database::{Dialect, Row, Value},
    store::Store,
};

/// A workflow: a name, a draft, and which version is published.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRow {
    /// Its id.
    pub id: WorkflowId,
    /// Its name, unique in its tenant.
    pub name: String,
    /// What it says it is for.
    pub description: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The draft as it was written. Lists leave it empty.
    pub draft: String,
    /// The document that the draft compiles to.
    pub draft_hash: Option<[u8; 32]>,
    /// Counts the changes of the draft: what `If-Match` names.
    pub revision: i64,
    /// The newest published version.
    pub published_version: Option<i32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// A published version.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowVersion {
    /// Counts from 1.
    pub version: i32,
    /// The document.
    pub definition_hash: [u8; 32],
    /// The text it was published from.
    pub source: String,
    /// When.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: Option<String>,
}

/// A draft to be kept.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The workflow's name.
    pub name: String,
    /// What it says it is for.
    pub description: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The text.
    pub source: String,
    /// The document that it compiles to; it has to be stored before ([`Store::put_definition`]).
    pub hash: [u8; 32],
}

/// What a change expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever is there.
    Any,
    /// That revision; 0 for a workflow that is not there yet.
    Revision(i64),
}

/// Which workflows are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindWorkflows {
    /// Names after this one.
    pub after: String,
    /// Where they lie.
    pub folder: InFolder,
    /// A tag that they have: one of the tenant's tags, or one that stands in their document.
    pub tag: Option<String>,
}

/// Where a workflow lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InFolder {
    /// Anywhere.
    #[default]
    Any,
    /// In no folder.
    Top,
    /// In this folder itself.
    This(uuid::Uuid),
}

const IN_FOLDER: &str = "select 1 from workflow_places p \
                         where p.tenant_key = workflows.tenant_key and p.workflow_id = workflows.id";
const WITH_TAG: &str = "select 1 from workflow_tags x \
                        join tags t on t.tenant_key = x.tenant_key and t.id = x.tag_id \
                        where x.tenant_key = workflows.tenant_key and x.workflow_id = workflows.id";
const COLUMNS: &str = "id, name, description, tags, revision, published_version, created_at, updated_at, draft_hash";

fn workflow(row: &Row) -> Result<WorkflowRow, StoreError> {
    Ok(WorkflowRow {
        id: row.id(0)?,
        name: row.string(1)?,
        description: row.string(2)?,
        tags: serde_json::from_str(row.text(3)?).map_err(|error| StoreError::damaged(error.to_string()))?,
        revision: row.int(4)?,
        published_version: row.opt(5, Row::int32)?,
        created_at: row.time(6)?,
        updated_at: row.time(7)?,
        draft_hash: row.opt(8, Row::hash)?,
        draft: row.opt(9, Row::string)?.unwrap_or_default(),
    })
}

fn version(row: &Row) -> Result<WorkflowVersion, StoreError> {
    Ok(WorkflowVersion {
        version: row.int32(0)?,
        definition_hash: row.hash(1)?,
        source: row.string(2)?,
        published_at: row.time(3)?,
        published_by: row.opt(4, Row::string)?,
    })
}

impl Store {
    /// Keeps a document under its hash (the plan's own, or any SHA-256 that names it).
    pub async fn put_definition(&self, tenant: TenantKey, hash: [u8; 32], document: &[u8]) -> Result<(), StoreError> {
        let sql = "insert into definitions (tenant_key, hash, document, document_bytes, created_at) \
                   values ($1, $2, $3, $4, $5) on conflict (tenant_key, hash) do nothing";
        let bytes = i64::try_from(document.len()).unwrap_or(i64::MAX);
        let params =
            vec![tenant.into(), hash.into(), blobs::compress(document)?.into(), bytes.into(), self.now().into()];
        self.database().of(tenant).execute(sql, params).await.map(|_| ())
    }

    /// The document of a hash.
    pub async fn definition(&self, tenant: TenantKey, hash: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "select document, document_bytes from definitions where tenant_key = $1 and hash = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), hash.into()]).await?;
        row.map(|row| blobs::decompress(&row.bytes(0)?, row.int(1)?)).transpose()
    }

    /// Makes or changes the draft of a workflow; gives the new revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if somebody else changed it since the revision that is expected.
    pub async fn put_draft(&self, actor: impl Into<Actor>, draft: Draft, expect: IfMatch) -> Result<i64, StoreError> {
        let Actor { tenant, by } = actor.into();
        let now = self.now();
        let put = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                let lock = tx.dialect().pick("", " for update");
                let find = format!("select revision, id from workflows where tenant_key = $1 and name = $2{lock}");
                let found = tx.query(find, vec![tenant.into(), (&draft.name).into()]).await?;
                let revision = found.first().map_or(Ok(0), |row| row.int(0))?;
                let id: WorkflowId = found.first().map_or_else(|| Ok(Id::new(uuid::Uuid::now_v7())), |row| row.id(1))?;
                if expect != IfMatch::Any && expect != IfMatch::Revision(revision) {
                    let text = format!("workflow `{}` is at revision {revision}", draft.name);
                    return Err(StoreError::Conflict(text));
                }
                let sql = "insert into workflows (tenant_key, id, name, description, tags, draft, draft_hash, revision, \
                           created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) \
                           on conflict (tenant_key, name) do update set description = excluded.description, \
                           tags = excluded.tags, draft = excluded.draft, draft_hash = excluded.draft_hash, \
                           revision = workflows.revision + 1, updated_at = excluded.updated_at returning revision";
                let params = vec![
                    tenant.into(),
                    id.into(),
                    (&draft.name).into(),
                    (&draft.description).into(),
                    Value::json(&draft.tags),
                    (&draft.source).into(),
                    draft.hash.into(),
                    1i64.into(),
                    now.into(),
                ];
                let rows = tx.query(sql, params).await?;
                let put = rows.first().ok_or(StoreError::Closed)?.int(0)?;
                let changes = json!({
                    "revision": { "from": revision, "to": put },
                    "document": { "to": hex::encode(draft.hash) },
                });
                let note = AuditNote {
                    action: "draft",
                    record: "workflows",
                    record_id: Some(id.uuid()),
                    subject: Some(draft.name),
                    changes,
                    by,
                    at: now,
                };
                note.write(tx, tenant).await?;
                Ok(put)
            })
        });
        let put = put.await?;
        self.audit_noted();
        Ok(put)
    }

    /// Publishes the draft as the next version; gives it. Publishing what is published already changes nothing.
    /// A version that the program itself publishes names nobody.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such workflow or draft, or it is at another revision.
    pub async fn publish(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        expect: IfMatch,
    ) -> Result<WorkflowVersion, StoreError> {
        let Actor { tenant, by } = actor.into();
        let published_by = (by.who != By::system().who).then(|| by.who.clone());
        let now = self.now();
        let name = name.to_owned();
        let published = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                let lock = tx.dialect().pick("", " for update");
                let find = format!(
                    "select id, revision, published_version, draft, draft_hash from workflows \
                     where tenant_key = $1 and name = $2{lock}"
                );
                let found = tx.query(find, vec![tenant.into(), (&name).into()]).await?;
                let row = found.first().ok_or_else(|| StoreError::Conflict(format!("there is no workflow `{name}`")))?;
                let revision = row.int(1)?;
                if expect != IfMatch::Any && expect != IfMatch::Revision(revision) {
                    return Err(StoreError::Conflict(format!("workflow `{name}` is at revision {revision}")));
                }
                let id: WorkflowId = row.id(0)?;
                let published = row.opt(2, Row::int32)?;
                let source = row.string(3)?;
                let hash = row.opt(4, Row::hash)?.ok_or_else(|| StoreError::Conflict(format!("workflow `{name}` has no draft")))?;
                if let Some(published) = published {
                    let same = "select version, definition_hash, source, published_at, published_by from workflow_versions \
                                where tenant_key = $1 and workflow_id = $2 and version = $3";
                    let rows = tx.query(same, vec![tenant.into(), id.into(), published.into()]).await?;
                    if let Some(newest) = rows.first().map(version).transpose()?
                        && newest.definition_hash == hash
                        && newest.source == source
                    {
                        return Ok(newest);
                    }
                }
                let next = published.unwrap_or(0) + 1;
                let insert = "insert into workflow_versions (tenant_key, workflow_id, version, definition_hash, source, \
                              published_at, published_by) values ($1, $2, $3, $4, $5, $6, $7)";
                let params = vec![
                    tenant.into(),
                    id.into(),
                    next.into(),
                    hash.into(),
                    (&source).into(),
                    now.into(),
                    published_by.as_ref().into(),
                ];
                tx.execute(insert, params).await?;
                let update = "update workflows set published_version = $3, updated_at = $4 where tenant_key = $1 and id = $2";
                tx.execute(update, vec![tenant.into(), id.into(), next.into(), now.into()]).await?;
                let changes = json!({
                    "version": { "from": published, "to": next },
                    "document": { "to": hex::encode(hash) },
                });
                let note = AuditNote {
                    action: "publish",
                    record: "workflows",
                    record_id: Some(id.uuid()),
                    subject: Some(name),
                    changes,
                    by,
                    at: now,
                };
                note.write(tx, tenant).await?;
                Ok(WorkflowVersion { version: next, definition_hash: hash, source, published_at: now, published_by })
            })
        });
        let published = published.await?;
        self.audit_noted();
        Ok(published)
    }

    /// A workflow with its draft.
    pub async fn workflow(&self, tenant: TenantKey, name: &str) -> Result<Option<WorkflowRow>, StoreError> {
        let sql = format!("select {COLUMNS}, draft from workflows where tenant_key = $1 and name = $2");
        self.database()
            .of(tenant)
            .query_opt(sql, vec![tenant.into(), name.into()])
            .await?
            .as_ref()
            .map(workflow)
            .transpose()
    }

    /// The name of a workflow.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn workflow_name(&self, tenant: TenantKey, id: uuid::Uuid) -> Result<Option<String>, StoreError> {
        let sql = "select name from workflows where tenant_key = $1 and id = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), id.into()]).await?;
        row.map(|row| row.string(0)).transpose()
    }

    /// Workflows by name, without their drafts.
    pub async fn list_workflows(
        &self,
        tenant: TenantKey,
        find: &FindWorkflows,
        limit: i64,
    ) -> Result<Vec<WorkflowRow>, StoreError> {
        let mut params: Vec<Value> = vec![tenant.into(), find.after.as_str().into(), limit.clamp(1, 1_000).into()];
        let mut more = String::new();
        match find.folder {
            InFolder::Any => {}
            InFolder::Top => more.push_str(&format!(" and not exists ({IN_FOLDER})")),
            InFolder::This(folder) => {
                params.push(folder.into());
                more.push_str(&format!(" and exists ({IN_FOLDER} and p.folder_id = ${})", params.len()));
            }
        }
        if let Some(tag) = &find.tag {
            params.push(tag.as_str().into());
            let n = params.len();
            let in_document = match self.database().dialect() {
                Dialect::Sqlite => format!("exists (select 1 from json_each(tags) t where t.value = ${n})"),
                Dialect::Postgres => format!("jsonb_exists(tags, ${n})"),
            };
            more.push_str(&format!(" and ({in_document} or exists ({WITH_TAG} and t.name = ${n}))"));
        }
        let sql =
            format!("select {COLUMNS} from workflows where tenant_key = $1 and name > $2{more} order by name limit $3");
        self.database().of(tenant).query(sql, params).await?.iter().map(workflow).collect()
    }

    /// A published version; the newest one without a number.
    pub async fn workflow_version(
        &self,
        tenant: TenantKey,
        name: &str,
        number: Option<i32>,
    ) -> Result<Option<WorkflowVersion>, StoreError> {
        let sql = "select v.version, v.definition_hash, v.source, v.published_at, v.published_by \
                   from workflows w join workflow_versions v on v.tenant_key = w.tenant_key and v.workflow_id = w.id \
                   where w.tenant_key = $1 and w.name = $2 and v.version = coalesce($3, w.published_version)";
        let params = vec![tenant.into(), name.into(), number.into()];
        self.database().of(tenant).query_opt(sql, params).await?.as_ref().map(version).transpose()
    }

    /// The published versions of a workflow, newest first.
    pub async fn list_versions(
        &self,
        tenant: TenantKey,
        name: &str,
        limit: i64,
    ) -> Result<Vec<WorkflowVersion>, StoreError> {
        let sql = "select v.version, v.definition_hash, v.source, v.published_at, v.published_by \
                   from workflows w join workflow_versions v on v.tenant_key = w.tenant_key and v.workflow_id = w.id \
                   where w.tenant_key = $1 and w.name = $2 order by v.version desc limit $3";
        let params = vec![tenant.into(), name.into(), limit.clamp(1, 1_000).into()];
        self.database().of(tenant).query(sql, params).await?.iter().map(version).collect()
    }
}
