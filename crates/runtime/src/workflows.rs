//! Workflows: a draft that people edit, and versions that are published and never change.

use windlass_definition::{compile::Compiled, source::Format};
use windlass_engine::id::TenantKey;
use windlass_store::{
    Actor, Draft, FindWorkflows, IfMatch, MadeFrom, Namer, Rotate, Rotation, TemplateChange, WorkflowError, WorkflowRow,
};

use crate::{
    core::Core,
    error::RuntimeError,
    newest, plans,
    request::WorkflowFilter,
    runtime::Runtime,
    search,
    secrets::{CredentialTest, Verdict},
    sharing,
    views::{MadeFromView, Page, VersionView, WorkflowView},
};

/// Versions of a workflow that are looked through for a page.
const VERSIONS_MAX: i64 = 1_000;

/// What `If-Match` carries: the revision that the caller has seen.
pub type Revision = i64;

/// What a draft is expected to find.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// That revision; 0 means that there is no workflow yet, and `None` that any will do.
    pub revision: Option<Revision>,
    /// The folder in which the workflow lies, and a new one will.
    pub folder: Option<uuid::Uuid>,
    /// What a new one is copied from.
    pub made_from: Option<MadeFrom>,
}

impl From<Option<Revision>> for Expected {
    fn from(revision: Option<Revision>) -> Expected {
        Expected { revision, ..Expected::default() }
    }
}

/// A document that a new workflow is to have.
#[derive(Debug, Clone)]
pub struct Copied {
    /// Its text, with the new name.
    pub source: String,
    /// How it is written.
    pub format: Format,
    /// What it was copied from.
    pub made_from: MadeFrom,
}

impl Runtime {
    /// Makes or changes the draft of a workflow, if what is there is what is expected.
    ///
    /// # Errors
    /// What is wrong with the document, that somebody was faster, or that a deleted workflow has the name.
    pub async fn put_workflow(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        source: &str,
        format: Format,
        expected: impl Into<Expected>,
    ) -> Result<WorkflowView, RuntimeError> {
        let (actor, expected) = (actor.into(), expected.into());
        let tenant = actor.tenant;
        let compiled = self.check(source, format)?;
        if *compiled.plan.name != *name {
            let message = format!("the document is named `{}`, not `{name}`", compiled.plan.name);
            return Err(RuntimeError::invalid("/name", message));
        }
        sharing::may_name(&self.core, (tenant, actor.by.namer()), &compiled.secrets).await?;
        let document = &compiled.document;
        let canonical = windlass_definition::print::print_json(document);
        self.core.store.put_definition(tenant, compiled.plan.hash.0, canonical.as_bytes()).await?;
        let draft = Draft {
            name: name.to_owned(),
            description: document.description.as_ref().map(|it| it.value.to_string()).unwrap_or_default(),
            tags: document.tags.iter().map(|tag| tag.value.to_string()).collect(),
            source: source.to_owned(),
            hash: compiled.plan.hash.0,
            folder: expected.folder,
            made_from: expected.made_from,
        };
        let expect = expected.revision.map_or(IfMatch::Any, IfMatch::Revision);
        self.core.store.put_draft(actor, draft, expect).await?;
        let mut view = self.workflow(tenant, name).await?;
        view.warnings = compiled.warnings;
        Ok(view)
    }

    /// Goes as far with a rotation of the vault's keys as it can go now; rows are sealed anew in the background.
    ///
    /// # Errors
    /// There is no new key to go on with, the vault is closed, or the database does not answer.
    pub async fn rotate_vault(&self, what: Rotate) -> Result<Rotation, RuntimeError> {
        let rotation = self.core.store.rotate_vault(what).await?;
        let store = self.core.store.clone();
        self.core.spawn(async move {
            if let Err(error) = crate::retention::keep_vault(&store).await {
                tracing::warn!(%error, "rows are not all sealed anew; the next sweep goes on");
            }
        });
        Ok(rotation)
    }

    /// Tries a credential, and says what was seen.
    ///
    /// # Errors
    /// There is no such credential, it is for others, the vault is closed, or the database does not answer.
    pub async fn test_credential(
        &self,
        tenant: TenantKey,
        namer: Namer,
        id: uuid::Uuid,
    ) -> Result<CredentialTest, RuntimeError> {
        let credential = self.core.store.credential(tenant, id).await?;
        let credential = credential.ok_or_else(|| RuntimeError::not_found("credential", id.to_string()))?;
        let name = std::iter::once(credential.name.as_str().into()).collect();
        sharing::may_name(&self.core, (tenant, namer), &name).await?;
        let Some(credentials) = &self.core.catalogue.credentials else {
            let detail = "this server tries no credentials".to_owned();
            return Ok(CredentialTest { verdict: Verdict::Unknown, detail });
        };
        // Known before it is tried: what is tried with may log.
        self.core.known.learn(tenant, credential.secret_texts().iter().map(|text| text.as_str()));
        let mut test = credentials.test(&self.core.store, tenant, &credential).await;
        if let Some(clean) = self.core.known.of_tenant(tenant).and_then(|known| known.text(&test.detail)) {
            test.detail = clean;
        }
        Ok(test)
    }

    /// Whether a document refers to secrets; one that does not compile refers to none.
    pub fn uses_secrets(&self, source: &str, format: Format) -> bool {
        self.check(source, format).is_ok_and(|compiled| compiled.uses_secrets())
    }

    pub(crate) fn check(&self, source: &str, format: Format) -> Result<Compiled, RuntimeError> {
        windlass_definition::compile(source, format, &self.core.step_types)
            .map_err(|diagnostics| RuntimeError::Document { diagnostics })
    }

    /// Publishes the draft as the next version. Publishing what is published already gives that version again.
    ///
    /// # Errors
    /// There is no such workflow, its draft does not compile any more, names secrets that are not there or not for it,
    /// asks for what is not built yet, or starts a workflow that is deleted.
    pub async fn publish(&self, actor: impl Into<Actor>, name: &str) -> Result<WorkflowView, RuntimeError> {
        let actor = actor.into();
        let tenant = actor.tenant;
        let row = self.core.store.workflow(tenant, name).await?;
        let row = row.ok_or_else(|| RuntimeError::not_found("workflow", name))?;
        let compiled = self.check(&row.draft, format_of(&row.draft))?;
        if compiled.has_triggers() {
            return Err(RuntimeError::conflict(
                "triggers_not_supported",
                "the document has `triggers`, which this version of Windlass checks but does not run yet: take them \
                 out to publish it, and start runs over the API or the command line",
            ));
        }
        sharing::may_name(&self.core, (tenant, actor.by.namer()), &compiled.secrets).await?;
        sharing::may_use(&self.core, (tenant, name), &compiled.secrets).await?;
        sharing::fit(&self.core, tenant, &compiled.credentials).await?;
        let canonical = windlass_definition::print::print_json(&compiled.document);
        self.core.store.put_definition(tenant, compiled.plan.hash.0, canonical.as_bytes()).await?;
        let starts = plans::starts(&compiled.plan);
        match self.core.store.publish(actor, name, IfMatch::Revision(row.revision), starts).await {
            // Nobody said which draft is meant: it was changed since it was read here.
            Err(error @ WorkflowError::Stale { .. }) => {
                return Err(RuntimeError::conflict("changed_meanwhile", error.to_string()));
            }
            published => published?,
        };
        self.core.newest.forget(tenant, name);
        self.core.plans.learn(&compiled.plan);
        let mut view = self.workflow(tenant, name).await?;
        view.warnings = compiled.warnings;
        Ok(view)
    }

    /// Deletes a workflow. Runs under way go on to their end; nothing starts it any more, on any node, once this answers.
    /// With `expected`, only at that revision.
    ///
    /// # Errors
    /// There is no such workflow, somebody was faster, or newest versions of others start it.
    pub async fn delete_workflow(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        expected: Option<Revision>,
    ) -> Result<(), RuntimeError> {
        let actor = actor.into();
        let tenant = actor.tenant;
        note_references(&self.core, tenant).await?;
        let expect = expected.map_or(IfMatch::Any, IfMatch::Revision);
        self.core.store.delete_workflow(actor, name, expect).await?;
        self.core.newest.forget(tenant, name);
        newest::forgotten_everywhere(&self.core).await;
        Ok(())
    }

    /// Takes the deletion of a workflow back; one that is not deleted stays as it is. With `expected`, only at that
    /// revision.
    ///
    /// # Errors
    /// There never was such a workflow, somebody was faster, or its newest version starts what is deleted.
    pub async fn restore_workflow(
        &self,
        actor: impl Into<Actor>,
        name: &str,
        expected: Option<Revision>,
    ) -> Result<WorkflowView, RuntimeError> {
        let actor = actor.into();
        let tenant = actor.tenant;
        let expect = expected.map_or(IfMatch::Any, IfMatch::Revision);
        self.core.store.restore_workflow(actor, name, expect).await?;
        self.workflow(tenant, name).await
    }

    /// The document of a workflow under another name, to be kept as that one's draft: of its newest version, of the version
    /// that is named, or of its draft as long as nothing is published.
    ///
    /// # Errors
    /// There is no such workflow or version, or its document does not compile any more.
    pub async fn copied(
        &self,
        tenant: TenantKey,
        (name, version): (&str, Option<i32>),
        copy: &str,
    ) -> Result<Copied, RuntimeError> {
        let workflow = self.workflow(tenant, name).await?;
        let version = version.or(workflow.version);
        let source = match version {
            Some(version) => self.version(tenant, name, version).await?.source,
            None => workflow.source,
        };
        let source = source.unwrap_or_default();
        let format = format_of(&source);
        let source = windlass_definition::rename(&source, format, copy, &self.core.step_types)
            .map_err(|diagnostics| RuntimeError::Document { diagnostics })?;
        Ok(Copied { source, format, made_from: MadeFrom { workflow: workflow.name, version } })
    }

    /// Makes a workflow a template, or an ordinary one again. With `expected`, only at that revision.
    ///
    /// # Errors
    /// There is no such workflow, somebody was faster, or what is no template is to have a category.
    pub async fn mark_template(
        &self,
        actor: impl Into<Actor>,
        (name, change): (&str, TemplateChange),
        expected: Option<Revision>,
    ) -> Result<WorkflowView, RuntimeError> {
        let actor = actor.into();
        let tenant = actor.tenant;
        let expect = expected.map_or(IfMatch::Any, IfMatch::Revision);
        self.core.store.mark_template(actor, (name, change), expect).await?;
        self.workflow(tenant, name).await
    }

    /// A workflow with its draft.
    ///
    /// # Errors
    /// There is no such workflow.
    pub async fn workflow(&self, tenant: TenantKey, name: &str) -> Result<WorkflowView, RuntimeError> {
        let row = self.core.store.workflow(tenant, name).await?;
        row.map(view).ok_or_else(|| RuntimeError::not_found("workflow", name))
    }

    /// Workflows by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn workflows(
        &self,
        tenant: TenantKey,
        filter: WorkflowFilter,
    ) -> Result<Page<WorkflowView>, RuntimeError> {
        let limit = filter.limit.clamp(1, self.core.settings.page_max);
        let WorkflowFilter { after, folder, tag, template, category, deleted, q, within, .. } = filter;
        let terms = q.map_or(Ok(Vec::new()), |q| search::terms(&q))?;
        let after = after.unwrap_or_default();
        let find = FindWorkflows { after, folder, tag, template, category, deleted, terms, within };
        let mut rows = self.core.store.list_workflows(tenant, &find, limit as i64 + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(|row| row.name.clone()) } else { None };
        let items = rows.into_iter().map(|row| WorkflowView { source: None, ..view(row) }).collect();
        Ok(Page::new(items, next))
    }

    /// The versions of a workflow, the newest first.
    ///
    /// # Errors
    /// There is no such workflow.
    pub async fn versions(
        &self,
        tenant: TenantKey,
        name: &str,
        filter: WorkflowFilter,
    ) -> Result<Page<VersionView>, RuntimeError> {
        self.workflow(tenant, name).await?;
        let limit = filter.limit.clamp(1, self.core.settings.page_max);
        let after: Option<i32> = match &filter.after {
            Some(text) => Some(text.parse().map_err(|_| RuntimeError::invalid("/after", "is no cursor of a page"))?),
            None => None,
        };
        let rows = self.core.store.list_versions(tenant, name, VERSIONS_MAX).await?;
        let mut items: Vec<VersionView> = rows
            .into_iter()
            .filter(|row| after.is_none_or(|after| row.version < after))
            .take(limit + 1)
            .map(|row| VersionView { source: None, ..version_view(row) })
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|it| it.version.to_string()) } else { None };
        Ok(Page::new(items, next))
    }

    /// A version of a workflow with its document.
    ///
    /// # Errors
    /// There is no such workflow or version.
    pub async fn version(&self, tenant: TenantKey, name: &str, version: i32) -> Result<VersionView, RuntimeError> {
        let row = self.core.store.workflow_version(tenant, name, Some(version)).await?;
        row.map(version_view).ok_or_else(|| RuntimeError::not_found("version", format!("{version} of workflow {name}")))
    }
}

/// Notes what newest versions start that a program before schema 25 published.
///
/// # Errors
/// The database does not answer, or a document in it is damaged.
pub(crate) async fn note_references(core: &Core, tenant: TenantKey) -> Result<(), RuntimeError> {
    loop {
        let page = core.store.workflows_to_note(tenant).await?;
        if page.is_empty() {
            return Ok(());
        }
        for version in page {
            let starts = match core.plans.find(&core.store, tenant, version.definition_hash).await {
                Ok(plan) => plans::starts(&plan.plan),
                // A version that does not compile any more starts nothing.
                Err(RuntimeError::Document { .. }) => Default::default(),
                Err(error) => return Err(error),
            };
            core.store.note_references(tenant, version, starts).await?;
        }
    }
}

/// The form in which a kept document was written: what reads as JSON is JSON.
pub(crate) fn format_of(source: &str) -> Format {
    match serde_json::from_str::<serde::de::IgnoredAny>(source) {
        Ok(_) => Format::Json,
        Err(_) => Format::Yaml,
    }
}

fn version_view(row: windlass_store::WorkflowVersion) -> VersionView {
    VersionView {
        version: row.version,
        hash: hex::encode(row.definition_hash),
        source: Some(row.source),
        published_at: row.published_at,
        published_by: row.published_by,
    }
}

fn view(row: WorkflowRow) -> WorkflowView {
    WorkflowView {
        id: row.id,
        name: row.name,
        description: Some(row.description).filter(|text| !text.is_empty()),
        tags: row.tags,
        revision: row.revision,
        version: row.published_version,
        is_template: row.is_template,
        template_category: row.template_category,
        made_from: row.made_from.map(|MadeFrom { workflow, version }| MadeFromView { workflow, version }),
        source: Some(row.draft),
        created_at: row.created_at,
        created_by: row.created_by,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
        deleted_at: row.deleted_at,
        deleted_by: row.deleted_by,
        warnings: Vec::new(),
    }
}
