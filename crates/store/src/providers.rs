//! Identity providers as signing in needs them, and notes that strangers carry for us.

use serde::Deserialize;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::records::providers::IDENTITY_PROVIDERS;
use zeroize::Zeroizing;

use crate::{RecordError, StoreError, store::Store, vault::Cipher};

const BY_NAME: &str = "select id from identity_providers where tenant_key = $1 and name = $2";
const NAMES: &str =
    "select name from identity_providers where tenant_key = $1 and enabled = true order by name limit 100";

/// An identity provider, as signing in needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Provider {
    /// Its id.
    pub id: Uuid,
    /// Counts its changes.
    pub revision: i64,
    /// Its name in addresses.
    pub name: String,
    /// As it calls itself.
    pub issuer: String,
    /// By what it knows this server.
    pub client_id: String,
    /// The address by which browsers reach this server.
    pub server_url: String,
    /// Domains of addresses that may come; all when empty.
    pub email_domains: Vec<String>,
    /// The claim that holds what it provisions people by.
    pub external_id_claim: String,
    /// Whether anybody signs in with it.
    pub enabled: bool,
}

impl Store {
    /// The id of the identity provider of that name in a tenant.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn provider_id(&self, tenant: TenantKey, name: &str) -> Result<Option<Uuid>, StoreError> {
        let row = self.database().of(tenant).query_opt(BY_NAME, vec![tenant.into(), name.into()]).await?;
        row.map(|row| row.uuid(0)).transpose()
    }

    /// The identity provider of that name in a tenant, if anybody signs in with it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn provider(&self, tenant: TenantKey, name: &str) -> Result<Option<Provider>, RecordError> {
        let Some(id) = self.provider_id(tenant, name).await? else { return Ok(None) };
        let view = match self.record(tenant, &IDENTITY_PROVIDERS, id).await {
            Err(RecordError::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let provider: Provider = serde_json::from_value(view.json)
            .map_err(|error| StoreError::damaged(format!("an identity provider cannot be read: {error}")))?;
        Ok(Some(provider).filter(|it| it.enabled))
    }

    /// The secret that a provider gave this server.
    ///
    /// # Errors
    /// The vault is closed, or the database does not answer.
    pub async fn provider_secret(
        &self,
        tenant: TenantKey,
        provider: Uuid,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, RecordError> {
        self.reveal((tenant, &IDENTITY_PROVIDERS), provider, "client_secret").await
    }

    /// The names of the providers that people of a tenant sign in with.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn provider_names(&self, tenant: TenantKey) -> Result<Vec<String>, StoreError> {
        let rows = self.database().of(tenant).query(NAMES, vec![tenant.into()]).await?;
        rows.iter().map(|row| row.string(0)).collect()
    }

    /// Seals a note that somebody carries who is not to read or change it. Every server of the installation opens it, for
    /// that purpose alone.
    ///
    /// # Errors
    /// The vault is closed.
    pub fn seal_note(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.note_cipher()?.seal(purpose.as_bytes(), plain)
    }

    /// Opens such a note; `None` when it is none.
    ///
    /// # Errors
    /// The vault is closed.
    pub fn open_note(&self, purpose: &str, sealed: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Ok(self.note_cipher()?.open(purpose.as_bytes(), sealed).ok())
    }

    fn note_cipher(&self) -> Result<Cipher, StoreError> {
        let key = self.vault().derive("carried notes 1")?;
        Ok(Cipher::new(Uuid::nil(), &Zeroizing::new(*key.as_bytes())))
    }
}
