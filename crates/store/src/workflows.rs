//! Workflows: their drafts, their published versions, and the documents that runs are pinned to.
//!
//! Invariants: a version never changes once it is published; a document is stored once by its hash, compressed; what is
//! deleted stays for the runs that are pinned to it, and is not found otherwise.

mod deletion;
mod templates;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::BoxFuture;
use serde_json::json;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{Id, TenantKey, WorkflowId};

use crate::{
    Actor, AuditNote, By, Reached, SearchError, StoreError, Term, blobs,
    database::{Dialect, Row, Tx, Value},
    records::place_workflow,
    search,
    store::Store,
};

pub use deletion::ToNote;
pub use templates::{MadeFrom, TemplateChange};

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
    /// Counts the changes of the draft, deletions and restorations: what `If-Match` names.
    pub revision: i64,
    /// The newest published version.
    pub published_version: Option<i32>,
    /// Whether it is there to be copied.
    pub is_template: bool,
    /// Under what a template is found.
    pub template_category: Option<String>,
    /// What it was copied from.
    pub made_from: Option<MadeFrom>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom; a program before schema 25 did not say.
    pub created_by: Option<String>,
    /// When its draft last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: Option<String>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// By whom.
    pub deleted_by: Option<String>,
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
    /// The folder in which a new one lies, and one that is there has to.
    pub folder: Option<uuid::Uuid>,
    /// What a new one is copied from.
    pub made_from: Option<MadeFrom>,
}

/// What a change expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever is there.
    Any,
    /// That revision; 0 for a workflow that is not there yet.
    Revision(i64),
}

impl IfMatch {
    fn check(self, found: i64) -> Result<(), WorkflowError> {
        match self {
            IfMatch::Revision(expected) if expected != found => Err(WorkflowError::Stale { expected, found }),
            _ => Ok(()),
        }
    }
}

/// Why a workflow was not changed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// There is none of that name, or it is deleted.
    #[error("there is no workflow `{0}`")]
    NotFound(String),
    /// It has no draft that could be published.
    #[error("workflow `{0}` has no draft")]
    NoDraft(String),
    /// Somebody else changed it first.
    #[error("the workflow is at revision {found}, not {expected}")]
    Stale {
        /// The revision that was expected.
        expected: i64,
        /// The one that it has.
        found: i64,
    },
    /// It is to lie in a folder that is not there.
    #[error("there is no such folder")]
    NoFolder,
    /// What is no template is to have a category.
    #[error("workflow `{0}` is no template, so it has no category: make it one, or leave the category out")]
    NoTemplate(String),
    /// It lies somewhere else than where it is expected.
    #[error(
        "workflow `{0}` is there already, and does not lie in that folder: leave the folder out, or take another name"
    )]
    LiesElsewhere(String),
    /// A deleted workflow has the name.
    #[error("workflow `{0}` is deleted: bring it back with `windlass workflows restore {0}`, or take another name")]
    Deleted(String),
    /// It starts workflows that are deleted.
    #[error(
        "workflow `{name}` starts what is deleted: {}. Restore that, or publish a version that does not start it",
        listed(deleted)
    )]
    StartsDeleted {
        /// Which one.
        name: String,
        /// What it starts.
        deleted: Vec<String>,
    },
    /// Newest versions of other workflows start it.
    #[error(
        "workflow `{name}` is in use: it is started by {}. Publish these without it, or delete them first",
        listed(by)
    )]
    InUse {
        /// Which one.
        name: String,
        /// Who starts it.
        by: Vec<String>,
    },
    /// What other workflows start has to be noted first ([`Store::workflows_to_note`]).
    #[error("a program of an older version has just published a workflow: try again")]
    NotNoted,
    /// The database refused, or went away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many names a refusal has.
const NAMES_MAX: usize = 10;

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > NAMES_MAX { " and others" } else { "" };
    format!("{}{more}", shown.join(", "))
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
    /// Templates alone, or what is none.
    pub template: Option<bool>,
    /// Templates of this category alone.
    pub category: Option<String>,
    /// Those that are deleted, in place of those that are there.
    pub deleted: bool,
    /// Words that all stand in their names, descriptions or drafts.
    pub terms: Vec<Term>,
    /// Among these alone.
    pub within: Option<Reached>,
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
const COLUMNS: &str = "id, name, description, tags, revision, published_version, created_at, updated_at, draft_hash, \
                       created_by, updated_by, deleted_at, deleted_by, is_template, template_category, made_from, \
                       made_from_version";

fn workflow(row: &Row) -> Result<WorkflowRow, StoreError> {
    let made_from = row.opt(15, Row::string)?;
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
        created_by: row.opt(9, Row::string)?,
        updated_by: row.opt(10, Row::string)?,
        deleted_at: row.opt(11, Row::time)?,
        deleted_by: row.opt(12, Row::string)?,
        is_template: row.bool(13)?,
        template_category: row.opt(14, Row::string)?,
        made_from: made_from
            .map(|workflow| Ok::<_, StoreError>(MadeFrom { workflow, version: row.opt(16, Row::int32)? }))
            .transpose()?,
        draft: row.opt(17, Row::string)?.unwrap_or_default(),
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

/// Refuses a folder in which a new workflow cannot lie, or one that is there does not.
async fn check_folder(
    tx: &mut Tx,
    (tenant, id, folder): (TenantKey, WorkflowId, uuid::Uuid),
    (is_new, name): (bool, &str),
) -> Result<(), WorkflowError> {
    if is_new {
        let lock = tx.dialect().pick("", " for key share");
        let sql = format!("select 1 from folders where tenant_key = $1 and id = $2 and deleted_at is null{lock}");
        let found = tx.query(sql, vec![tenant.into(), folder.into()]).await?;
        return if found.is_empty() { Err(WorkflowError::NoFolder) } else { Ok(()) };
    }
    let sql = "select 1 from workflow_places where tenant_key = $1 and workflow_id = $2 and folder_id = $3";
    let found = tx.query(sql, vec![tenant.into(), id.into(), folder.into()]).await?;
    if found.is_empty() { Err(WorkflowError::LiesElsewhere(name.to_owned())) } else { Ok(()) }
}

/// Why a workflow that was not there when it was looked for is not made: somebody was faster.
async fn made_meanwhile(tx: &mut Tx, tenant: TenantKey, name: String) -> Result<WorkflowError, StoreError> {
    let sql = "select revision from workflows where tenant_key = $1 and name = $2 and deleted_at is null";
    let rows = tx.query(sql, vec![tenant.into(), (&name).into()]).await?;
    Ok(match rows.first() {
        Some(row) => WorkflowError::Stale { expected: 0, found: row.int(0)? },
        None => WorkflowError::Deleted(name),
    })
}

/// What the audit keeps of a change.
fn note(
    (action, at, by): (&'static str, Timestamp, By),
    (id, name): (WorkflowId, String),
    changes: serde_json::Value,
) -> AuditNote {
    AuditNote { action, record: "workflows", record_id: Some(id.uuid()), subject: Some(name), changes, by, at }
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

    /// Changes a workflow in one transaction: the script refuses before its first change, and notes what it did.
    async fn change_workflow<T, F>(&self, tenant: TenantKey, script: F) -> Result<T, WorkflowError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, WorkflowError>> + Send + 'static,
    {
        let changed = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                match script(tx).await {
                    Err(WorkflowError::Store(error)) => Err(error),
                    done => Ok(done),
                }
            })
        });
        let changed = changed.await??;
        self.audit_noted();
        Ok(changed)
    }

    /// Makes or changes the draft of a workflow; gives the new revision.
    ///
    /// # Errors
    /// Somebody else changed it since the revision that is expected, it is deleted, or lies elsewhere.
    pub async fn put_draft(
        &self,
        actor: impl Into<Actor>,
        draft: Draft,
        expect: IfMatch,
    ) -> Result<i64, WorkflowError> {
        let Actor { tenant, by } = actor.into();
        let now = self.now();
        let store = self.clone();
        let put = self.change_workflow(tenant, move |tx| {
            Box::pin(async move {
                let lock = tx.dialect().pick("", " for update");
                let find = format!(
                    "select revision, id, draft_hash, deleted_at from workflows where tenant_key = $1 and name = $2{lock}"
                );
                let found = tx.query(find, vec![tenant.into(), (&draft.name).into()]).await?;
                let found = found.first();
                if found.map_or(Ok(None), |row| row.opt(3, Row::time))?.is_some() {
                    return Err(WorkflowError::Deleted(draft.name));
                }
                let revision = found.map_or(Ok(0), |row| row.int(0))?;
                expect.check(revision)?;
                let id: WorkflowId = found.map_or_else(|| Ok(Id::new(uuid::Uuid::now_v7())), |row| row.id(1))?;
                let before = found.map_or(Ok(None), |row| row.opt(2, Row::hash))?;
                let is_new = found.is_none();
                if let Some(folder) = draft.folder {
                    check_folder(tx, (tenant, id, folder), (is_new, &draft.name)).await?;
                }
                let sql = "insert into workflows (tenant_key, id, name, description, tags, draft, draft_hash, revision, \
                           created_at, created_by, updated_at, updated_by, made_from, made_from_version) \
                           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $9, $10, $11, $12) \
                           on conflict (tenant_key, name) do update set description = excluded.description, \
                           tags = excluded.tags, draft = excluded.draft, draft_hash = excluded.draft_hash, \
                           revision = workflows.revision + 1, updated_at = excluded.updated_at, \
                           updated_by = excluded.updated_by where workflows.deleted_at is null and not $13 \
                           returning revision, id";
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
                    (&by.who).into(),
                    draft.made_from.as_ref().map(|it| &it.workflow).into(),
                    draft.made_from.as_ref().and_then(|it| it.version).into(),
                    (expect == IfMatch::Revision(0)).into(),
                ];
                let rows = tx.query(sql, params).await?;
                let Some(put) = rows.first() else { return Err(made_meanwhile(tx, tenant, draft.name).await?) };
                let (put, id): (i64, WorkflowId) = (put.int(0)?, put.id(1)?);
                let texts = [draft.name.as_str(), &draft.description, &draft.source];
                search::put_workflow(tx, tenant, (id.uuid(), &texts)).await?;
                let mut changes = json!({
                    "revision": { "from": revision, "to": put },
                    "document": { "from": before.map(hex::encode), "to": hex::encode(draft.hash) },
                });
                let action = match draft.made_from.filter(|_| is_new) {
                    Some(of) => {
                        changes["made_from"] = json!({ "to": of.to_json() });
                        "copy"
                    }
                    None => "draft",
                };
                note((action, now, by.clone()), (id, draft.name), changes).write(tx, tenant).await?;
                if let Some(folder) = draft.folder.filter(|_| is_new) {
                    place_workflow(&store, tx, (tenant, id.uuid(), folder), by).await?;
                }
                Ok(put)
            })
        });
        put.await
    }

    /// Publishes the draft as the next version, which starts the workflows of these names as its children; gives it.
    /// Publishing what is published already changes nothing. A version that the program itself publishes names nobody.
    ///
    /// # Errors
    /// There is no such workflow or draft, it is at another revision, or starts what is deleted.
    pub async fn publish(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        expect: IfMatch,
        starts: BTreeSet<Arc<str>>,
    ) -> Result<WorkflowVersion, WorkflowError> {
        let Actor { tenant, by } = actor.into();
        let published_by = (by.who != By::system().who).then(|| by.who.clone());
        let now = self.now();
        let name = name.to_owned();
        let published = self.change_workflow(tenant, move |tx| {
            Box::pin(async move {
                deletion::lock(tx, tenant).await?;
                let lock = tx.dialect().pick("", " for update");
                let find = format!(
                    "select id, revision, published_version, draft, draft_hash from workflows \
                     where tenant_key = $1 and name = $2 and deleted_at is null{lock}"
                );
                let found = tx.query(find, vec![tenant.into(), (&name).into()]).await?;
                let Some(row) = found.first() else { return Err(WorkflowError::NotFound(name)) };
                expect.check(row.int(1)?)?;
                let id: WorkflowId = row.id(0)?;
                let published = row.opt(2, Row::int32)?;
                let source = row.string(3)?;
                let Some(hash) = row.opt(4, Row::hash)? else { return Err(WorkflowError::NoDraft(name)) };
                let mut before = None;
                if let Some(published) = published {
                    let same = "select version, definition_hash, source, published_at, published_by from workflow_versions \
                                where tenant_key = $1 and workflow_id = $2 and version = $3";
                    let rows = tx.query(same, vec![tenant.into(), id.into(), published.into()]).await?;
                    if let Some(newest) = rows.first().map(version).transpose()? {
                        if newest.definition_hash == hash && newest.source == source {
                            return Ok(newest);
                        }
                        before = Some(newest.definition_hash);
                    }
                }
                deletion::check_starts(tx, tenant, (&name, starts.iter().cloned().collect())).await?;
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
                let update = "update workflows set published_version = $3 where tenant_key = $1 and id = $2";
                tx.execute(update, vec![tenant.into(), id.into(), next.into()]).await?;
                deletion::note_starts(tx, tenant, (id, next), starts).await?;
                let changes = json!({
                    "version": { "from": published, "to": next },
                    "document": { "from": before.map(hex::encode), "to": hex::encode(hash) },
                });
                note(("publish", now, by), (id, name), changes).write(tx, tenant).await?;
                Ok(WorkflowVersion { version: next, definition_hash: hash, source, published_at: now, published_by })
            })
        });
        published.await
    }

    /// A workflow with its draft.
    pub async fn workflow(&self, tenant: TenantKey, name: &str) -> Result<Option<WorkflowRow>, StoreError> {
        let sql = format!(
            "select {COLUMNS}, draft from workflows where tenant_key = $1 and name = $2 and deleted_at is null"
        );
        self.database()
            .of(tenant)
            .query_opt(sql, vec![tenant.into(), name.into()])
            .await?
            .as_ref()
            .map(workflow)
            .transpose()
    }

    /// The name of a workflow that is not deleted.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn workflow_name(&self, tenant: TenantKey, id: uuid::Uuid) -> Result<Option<String>, StoreError> {
        let sql = "select name from workflows where tenant_key = $1 and id = $2 and deleted_at is null";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), id.into()]).await?;
        row.map(|row| row.string(0)).transpose()
    }

    /// Workflows by name, without their drafts.
    ///
    /// # Errors
    /// Too many words begin as a term says, or the database does not answer.
    pub async fn list_workflows(
        &self,
        tenant: TenantKey,
        find: &FindWorkflows,
        limit: i64,
    ) -> Result<Vec<WorkflowRow>, SearchError> {
        let Some(sought) = self.sought_workflows(tenant, &find.terms).await? else { return Ok(Vec::new()) };
        let mut params: Vec<Value> = vec![tenant.into(), find.after.as_str().into(), limit.clamp(1, 1_000).into()];
        let dialect = self.database().dialect();
        let mut more = search::conditions(("workflow", "workflows.id"), &sought, dialect, &mut params);
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
            let in_document = match dialect {
                Dialect::Sqlite => format!("exists (select 1 from json_each(tags) t where t.value = ${n})"),
                Dialect::Postgres => format!("jsonb_exists(tags, ${n})"),
            };
            more.push_str(&format!(" and ({in_document} or exists ({WITH_TAG} and t.name = ${n}))"));
        }
        if let Some(reached) = &find.within {
            params.push(reached.workflows.clone().into());
            more.push_str(&format!(" and name {}", self.database().dialect().in_texts(params.len())));
        }
        match find.template {
            Some(true) => more.push_str(" and is_template"),
            Some(false) => more.push_str(" and not is_template"),
            None => {}
        }
        if let Some(category) = &find.category {
            params.push(category.as_str().into());
            more.push_str(&format!(" and is_template and template_category = ${}", params.len()));
        }
        let which = if find.deleted { "is not null" } else { "is null" };
        let sql = format!(
            "select {COLUMNS} from workflows where tenant_key = $1 and name > $2 and deleted_at {which}{more} \
             order by name limit $3"
        );
        let rows = self.database().of(tenant).query(sql, params).await?;
        Ok(rows.iter().map(workflow).collect::<Result<_, _>>()?)
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
                   where w.tenant_key = $1 and w.name = $2 and w.deleted_at is null \
                   and v.version = coalesce($3, w.published_version)";
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
                   where w.tenant_key = $1 and w.name = $2 and w.deleted_at is null order by v.version desc limit $3";
        let params = vec![tenant.into(), name.into(), limit.clamp(1, 1_000).into()];
        self.database().of(tenant).query(sql, params).await?.iter().map(version).collect()
    }
}
