//! Templates: workflows that are there to be copied, and what a copy was made from.
//!
//! Invariant: what is no template has no category. Marking changes nothing of how a workflow runs.

use serde_json::{Value as Json, json};

use super::{IfMatch, WorkflowError, deletion::found, note};
use crate::{Actor, store::Store};

/// What a workflow was copied from. It keeps its name for good, so this finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeFrom {
    /// The name of the workflow.
    pub workflow: String,
    /// Its published version; none for its draft.
    pub version: Option<i32>,
}

impl MadeFrom {
    pub(super) fn to_json(&self) -> Json {
        json!({ "workflow": self.workflow, "version": self.version })
    }
}

/// What is to change of a workflow as a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateChange {
    /// Whether it is one; as it was when none.
    pub is_template: Option<bool>,
    /// Its category, or that it has none; as it was when none. What stops to be a template loses it.
    pub category: Option<Option<String>>,
}

impl Store {
    /// Makes a workflow a template, or an ordinary one again. What is so already changes nothing.
    ///
    /// # Errors
    /// There is none, it is at another revision, or what is no template is to have a category.
    pub async fn mark_template(
        &self,
        actor: impl Into<Actor>,
        (name, change): (&str, TemplateChange),
        expect: IfMatch,
    ) -> Result<(), WorkflowError> {
        let Actor { tenant, by } = actor.into();
        let (now, name) = (self.now(), name.to_owned());
        let marked = self.change_workflow(tenant, move |tx| {
            Box::pin(async move {
                let old = found(tx, tenant, &name).await?;
                if old.deleted_at.is_some() {
                    return Err(WorkflowError::NotFound(name));
                }
                expect.check(old.revision)?;
                let is_template = change.is_template.unwrap_or(old.is_template);
                if !is_template && change.category.as_ref().is_some_and(Option::is_some) {
                    return Err(WorkflowError::NoTemplate(name));
                }
                let before = old.template_category;
                let category = change.category.unwrap_or_else(|| before.clone()).filter(|_| is_template);
                if is_template == old.is_template && category == before {
                    return Ok(());
                }
                let sql = "update workflows set is_template = $3, template_category = $4, revision = revision + 1 \
                           where tenant_key = $1 and id = $2";
                let params = vec![tenant.into(), old.id.into(), is_template.into(), category.as_ref().into()];
                tx.execute(sql, params).await?;
                let changes = json!({
                    "revision": { "from": old.revision, "to": old.revision + 1 },
                    "is_template": { "from": old.is_template, "to": is_template },
                    "template_category": { "from": before, "to": category },
                });
                note(("update", now, by), (old.id, name), changes).write(tx, tenant).await?;
                Ok(())
            })
        });
        marked.await
    }
}
