//! Links: whoever has one fetches its file, until it expires, is used up or is revoked.
//!
//! A link's token holds whose it is, which, and until when, under a MAC by a key of the vault: a token that is not ours
//! is refused before anything is looked up. Everything else is in its row, so that it can be revoked.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::records::files::FILE_LINKS;

use super::{FileContent, FileError};
use crate::{By, RecordError, StoreError, database::Row, store::Store};

/// For which purpose the vault gives the key.
const PURPOSE: &str = "file links 1";
/// Tenant, link, expiry.
const SAID_BYTES: usize = 4 + 16 + 8;
const MAC_BYTES: usize = 32;

const USE: &str = "update file_links set downloads = downloads + 1, last_used_at = $3 where tenant_key = $1 and id = $2 \
                   and status = 'active' and expires_at > $3 and (downloads_max is null or downloads < downloads_max) \
                   and exists (select 1 from files f where f.tenant_key = $1 and f.id = file_id and f.deleted_at is null) \
                   returning file_id, version";
const FIND: &str = "select expires_at from file_links where tenant_key = $1 and id = $2 and status = 'active'";

/// What a link leads to.
#[derive(Debug, Clone)]
pub struct SharedFile {
    /// The link.
    pub link: Uuid,
    /// Whose it is.
    pub tenant: TenantKey,
    /// What is fetched.
    pub content: FileContent,
}

fn refused() -> FileError {
    FileError::NotFound("link; it may have expired, be used up or revoked")
}

impl Store {
    fn link_key(&self) -> Result<hmac::Key, StoreError> {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, self.vault().derive(PURPOSE)?.as_bytes()))
    }

    /// The token of a link, and until when it leads anywhere.
    ///
    /// # Errors
    /// There is no such link that leads anywhere; the vault is closed; or the database does not answer.
    pub async fn sign_file_link(&self, tenant: TenantKey, link: Uuid) -> Result<(String, Timestamp), FileError> {
        let row = self.database().of(tenant).query_opt(FIND, vec![tenant.into(), link.into()]).await?;
        let row = row.ok_or(RecordError::NotFound { noun: FILE_LINKS.noun })?;
        let expires_at = row.time(0)?;
        let mut token = said(tenant, link, expires_at);
        token.extend_from_slice(hmac::sign(&self.link_key()?, &token).as_ref());
        Ok((URL_SAFE_NO_PAD.encode(token), expires_at))
    }

    /// Whose a link is, by its token alone.
    ///
    /// # Errors
    /// The token is not ours, or leads nowhere any more; or the vault is closed.
    pub fn tenant_of_link(&self, token: &str) -> Result<TenantKey, FileError> {
        self.said_by(token).map(|(tenant, _)| tenant)
    }

    /// Whose a link is, and which.
    fn said_by(&self, token: &str) -> Result<(TenantKey, Uuid), FileError> {
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
        if token.len() != SAID_BYTES + MAC_BYTES {
            return Err(refused());
        }
        let (said, mac) = token.split_at(SAID_BYTES);
        hmac::verify(&self.link_key()?, said, mac).map_err(|_| refused())?;
        let (tenant, link, expires_at) = read(said).ok_or_else(refused)?;
        if expires_at <= self.now() || self.rules_of(tenant).suspended {
            return Err(refused());
        }
        Ok((tenant, link))
    }

    /// Uses a link once, and notes that in the audit.
    ///
    /// # Errors
    /// The token is not ours, or leads nowhere any more; the vault is closed; or the database does not answer.
    pub async fn use_file_link(&self, token: &str, mut by: By) -> Result<SharedFile, FileError> {
        let (tenant, link) = self.said_by(token)?;
        let row =
            self.database().of(tenant).execute(USE, vec![tenant.into(), link.into(), self.now().into()]).await?.rows;
        let row = row.first().ok_or_else(refused)?;
        let content = self.file_content(tenant, row.uuid(0)?, row.opt(1, Row::int)?).await?;
        by.who = format!("link:{link}");
        self.note_fetch(&content, by, json!({ "version": content.number, "link": link })).await?;
        Ok(SharedFile { link, tenant, content })
    }
}

fn said(tenant: TenantKey, link: Uuid, expires_at: Timestamp) -> Vec<u8> {
    [&tenant.0.to_be_bytes()[..], link.as_bytes(), &expires_at.micros().to_be_bytes()].concat()
}

fn read(said: &[u8]) -> Option<(TenantKey, Uuid, Timestamp)> {
    let (tenant, rest) = said.split_first_chunk::<4>()?;
    let (link, expires_at) = rest.split_first_chunk::<16>()?;
    let expires_at = Timestamp::from_micros(i64::from_be_bytes(expires_at.try_into().ok()?));
    Some((TenantKey(i32::from_be_bytes(*tenant)), Uuid::from_bytes(*link), expires_at))
}
