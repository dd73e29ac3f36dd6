//! The vault: which keys open it, and whether a credential works.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_store::Rotate;

use crate::{
    app::App,
    auth::{Authorized, VaultRead, VaultRotate, VaultUse},
    extract::{self, BodyOrDefault, NoBody, PathOf, PathParts},
    problem::Problem,
    reply::{self, Reply},
};

/// How it stands with the vault of the installation.
#[derive(Debug, Serialize, ToSchema)]
pub struct VaultView {
    /// Whether secrets can be sealed and opened on this server.
    pub is_open: bool,
    /// Where this server found its master key.
    pub source: String,
    /// The master keys that open it, the oldest first; several while one replaces the other.
    pub accepted: Vec<MasterKeyView>,
    /// How many data keys there are.
    pub data_keys: i64,
    /// Rows that are still to be sealed anew, after data keys were replaced.
    pub rows_left: i64,
}

/// A master key, of which only the id is known.
#[derive(Debug, Serialize, ToSchema)]
pub struct MasterKeyView {
    /// Its id.
    pub id: Uuid,
    /// Since when it opens the vault.
    pub created_at: String,
    /// Whether this server holds it.
    pub held: bool,
}

/// See how it stands with the vault: which master keys open it. No key is shown.
#[utoipa::path(get, path = "/vault", tag = "vault", responses((status = 200, body = VaultView)))]
pub async fn vault_status(caller: Authorized<VaultRead>, State(app): State<App>) -> Reply {
    let mut status = app.store().vault_status().await?;
    // Its keys are the installation's: of them other tenants learn nothing.
    if caller.tenant() != TenantKey::DEFAULT {
        (status.source, status.accepted) = (String::new(), Vec::new());
        (status.data_keys, status.rows_left) = (0, 0);
    }
    let accepted = status.accepted.into_iter();
    reply::ok(&VaultView {
        is_open: status.is_open,
        source: status.source,
        accepted: accepted
            .map(|key| MasterKeyView { id: key.id, created_at: key.created_at.to_string(), held: key.held })
            .collect(),
        data_keys: status.data_keys,
        rows_left: status.rows_left,
    })
}

/// Which keys are made anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// The data keys of all tenants instead of the master key; what is sealed is sealed anew in the background.
    #[serde(default)]
    data_keys: bool,
}

/// How far a rotation is.
#[derive(Debug, Serialize, ToSchema)]
pub struct RotationView {
    /// Whether the old master key is refused from now on; data keys are done when no rows are left.
    pub is_done: bool,
    /// The servers that do not hold the new master key yet.
    pub waiting_for: Vec<String>,
    /// Rows that are still to be sealed anew.
    pub rows_left: i64,
}

/// Replace the vault's keys, or go on with it; ask again until it is done. Only a caller of the default tenant may.
#[utoipa::path(post, path = "/vault/rotate", tag = "vault", request_body = Option<RotateBody>,
    responses((status = 200, body = RotationView)))]
pub async fn rotate_vault(
    _: Authorized<VaultRotate>,
    State(app): State<App>,
    BodyOrDefault(body): BodyOrDefault<RotateBody>,
) -> Reply {
    let what = if body.data_keys { Rotate::DataKeys } else { Rotate::MasterKey };
    let rotation = app.runtime().rotate_vault(what).await?;
    reply::ok(&RotationView {
        is_done: rotation.is_done,
        waiting_for: rotation.waiting_for,
        rows_left: rotation.rows_left,
    })
}

/// What trying a credential came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct CredentialTestView {
    /// `works`, `fails`, or `unknown` when nothing was tried that would tell.
    pub verdict: &'static str,
    /// What was tried, and what was seen.
    pub detail: String,
}

/// The id of a credential.
pub struct CredentialPath(Uuid);

impl PathParts for CredentialPath {
    fn read(parts: &[&str]) -> Result<CredentialPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "credential").map(CredentialPath)
    }
}

/// Try a credential against what it is for, as far as its type can be tried.
#[utoipa::path(post, path = "/credentials/{id}/test", tag = "vault", params(("id" = Uuid, Path)),
    responses((status = 200, body = CredentialTestView)))]
pub async fn test_credential(
    caller: Authorized<VaultUse>,
    State(app): State<App>,
    PathOf(CredentialPath(id)): PathOf<CredentialPath>,
    _: NoBody,
) -> Reply {
    let test = app.runtime().test_credential(caller.tenant(), caller.identity().namer(), id).await?;
    reply::ok(&CredentialTestView { verdict: test.verdict.as_str(), detail: test.detail })
}
