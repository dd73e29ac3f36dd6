//! Secrets that are shared with some alone: whoever writes, publishes or tries out what names them is asked for it here.
//!
//! Invariant: it is asked before anything is written. What is published goes on as it is when a share is taken back; which
//! workflow may use a secret is asked of each attempt as well.

use std::{collections::BTreeSet, sync::Arc};

use windlass_definition::{
    compile::NamedCredential,
    diagnostic::{DIAGNOSTICS_MAX, Diagnostic},
};
use windlass_engine::id::TenantKey;
use windlass_store::{MissingSecrets, Namer};

use crate::{core::Core, error::RuntimeError, runtime::Runtime, workflows::format_of};

/// Refuses names of secrets that are for others.
///
/// # Errors
/// Some are, or the database does not answer.
pub(crate) async fn may_name(
    core: &Core,
    (tenant, namer): (TenantKey, Namer),
    names: &BTreeSet<Arc<str>>,
) -> Result<(), RuntimeError> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<Arc<str>> = names.iter().cloned().collect();
    let others = core.store.unshared_secrets(tenant, namer, &names).await?;
    if others.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "these secrets are shared with others and not with you: {}. Ask whoever looks after the vault to share them with \
         you, or with a group of yours: `windlass vault secret-shares create` or `windlass vault credential-shares create`",
        others.join(", ")
    );
    Err(RuntimeError::Denied { code: "secrets_not_shared", detail })
}

/// Refuses what a workflow cannot use: what is not there, and what is for other workflows.
///
/// # Errors
/// There is such a name, or the database does not answer.
pub(crate) async fn may_use(
    core: &Core,
    (tenant, workflow): (TenantKey, &str),
    names: &BTreeSet<Arc<str>>,
) -> Result<(), RuntimeError> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<Arc<str>> = names.iter().cloned().collect();
    let MissingSecrets { absent, out_of_reach } = core.store.missing_secrets(tenant, workflow, &names).await?;
    let mut said = Vec::new();
    if !absent.is_empty() {
        said.push(format!(
            "the document refers to secrets that are not there: {}. Make them with `windlass vault secrets create` or \
             `windlass vault credentials create`",
            absent.join(", ")
        ));
    }
    if !out_of_reach.is_empty() {
        said.push(format!(
            "the document refers to secrets that are for other workflows: {}. Share them with this one or its folder \
             (`windlass vault secret-shares create`, `windlass vault credential-shares create`), or look at their `folder_id`",
            out_of_reach.join(", ")
        ));
    }
    if said.is_empty() { Ok(()) } else { Err(RuntimeError::conflict("secrets_missing", said.join(". "))) }
}

/// Refuses credentials of a type that the field that names them does not take.
///
/// # Errors
/// What is wrong, each at its place; or the database does not answer.
pub(crate) async fn fit(core: &Core, tenant: TenantKey, named: &[NamedCredential]) -> Result<(), RuntimeError> {
    if named.is_empty() {
        return Ok(());
    }
    let names: Vec<Arc<str>> = named.iter().map(|it| it.name.clone()).collect();
    let types = core.store.credential_types(tenant, &names).await?;
    let wrong = |it: &NamedCredential| {
        let (name, field) = (&it.name, &it.field);
        let takes = field.types.join(", ");
        match types.get(name) {
            Some(kind) if field.types.contains(&kind.as_str()) => None,
            Some(kind) => Some(it.diagnostic(format!(
                "credential `{name}` is of type `{kind}`, and `{}` takes one of {takes}",
                field.name
            ))),
            None => Some(it.diagnostic(format!(
                "`{name}` is a secret and no credential, and `{}` takes a credential of type {takes}",
                field.name
            ))),
        }
    };
    let diagnostics: Vec<Diagnostic> = named.iter().filter_map(wrong).take(DIAGNOSTICS_MAX).collect();
    if diagnostics.is_empty() { Ok(()) } else { Err(RuntimeError::Document { diagnostics }) }
}

impl Runtime {
    /// Whether somebody may try out the draft of a workflow, as far as the secrets go that it names.
    ///
    /// # Errors
    /// There is no such workflow, or it names what is for others.
    pub async fn may_try_draft(&self, tenant: TenantKey, namer: Namer, name: &str) -> Result<(), RuntimeError> {
        let row = self.core.store.workflow(tenant, name).await?;
        let draft = row.ok_or_else(|| RuntimeError::not_found("workflow", name))?.draft;
        let compiled = self.check(&draft, format_of(&draft))?;
        may_name(&self.core, (tenant, namer), &compiled.secrets).await
    }
}
