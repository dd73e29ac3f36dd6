//! The vault: which keys open it.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Authorized, VaultRead},
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
    let _ = caller;
    let status = app.store().vault_status().await?;
    let accepted = status.accepted.into_iter();
    reply::ok(&VaultView {
        is_open: status.is_open,
        source: status.source,
        accepted: accepted
            .map(|key| MasterKeyView { id: key.id, created_at: key.created_at.to_string(), held: key.held })
            .collect(),
        data_keys: status.data_keys,
    })
}
