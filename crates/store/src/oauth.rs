//! Applications of third parties as the ways of OAuth 2 need them: found by their ids and by hashes of what they hold.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    permission,
    records::oauth::{AUTHORIZATIONS, CONSENTS, TOKENS},
};

use crate::{
    By, Caller, CameWith, Holds, RecordError, Rights, StoreError, Target, database::Row, records::texts, store::Store,
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// Its id alone is known, so each tenant is looked into, by its key.
const APPLICATION: &str = "select a.tenant_key, a.id, a.name, a.description, a.website, a.client_type, \
                           a.client_credentials, a.redirect_uris, a.scopes from tenants t \
                           join oauth_applications a on a.tenant_key = t.key \
                           where a.id = $1 and a.status = 'active' and t.status = 'active'";
const HAS_SECRET: &str = "select 1 from oauth_applications where tenant_key = $1 and id = $2 and (secret_hash = $3 \
                          or former_secret_hash = $3 and former_secret_until > $4)";
const TOKEN: &str = "select k.tenant_key, k.id, k.scopes, k.expires_at, k.created_at, a.id, a.name, a.scopes, \
                     a.client_credentials, k.authorization_id, z.status, c.status, m.status, u.status, m.id, u.email \
                     from oauth_tokens k \
                     join oauth_applications a on a.tenant_key = k.tenant_key and a.id = k.application_id and a.status = 'active' \
                     left join oauth_authorizations z on z.tenant_key = k.tenant_key and z.id = k.authorization_id \
                     left join oauth_consents c on c.tenant_key = z.tenant_key and c.id = z.consent_id \
                     left join members m on m.tenant_key = c.tenant_key and m.id = c.member_id \
                     left join users u on u.id = m.user_id \
                     where k.token_hash = $1 and k.status = 'active' and k.expires_at > $2";
const CONSENTED: &str = "select scopes from oauth_consents where tenant_key = $1 and application_id = $2 \
                         and member_id = $3 and status = 'active' order by id desc limit 1";
const CONSENTS_OF: &str = "select c.id, a.id, a.name, a.description, a.website, c.scopes, c.created_at, \
                           (select max(k.created_at) from oauth_authorizations z \
                           join oauth_tokens k on k.tenant_key = z.tenant_key and k.authorization_id = z.id \
                           where z.tenant_key = c.tenant_key and z.consent_id = c.id) \
                           from oauth_consents c join oauth_applications a on a.tenant_key = c.tenant_key and a.id = c.application_id \
                           where c.tenant_key = $1 and c.member_id = $2 and c.status = 'active' order by c.id desc limit 1000";
const OWN_CONSENT: &str = "select 1 from oauth_consents where tenant_key = $1 and id = $2 and member_id = $3";
const HELD_TOKEN: &str =
    "select id, authorization_id from oauth_tokens where tenant_key = $1 and token_hash = $2 and application_id = $3";
const HELD_CHAIN: &str = "select z.id from oauth_authorizations z \
                          join oauth_consents c on c.tenant_key = z.tenant_key and c.id = z.consent_id \
                          where z.tenant_key = $1 and z.chain_hash = $2 and c.application_id = $3";
const LIVE_CHAIN: &str = "select z.scopes, z.expires_at, m.id, u.email, z.created_at from oauth_authorizations z \
                          join oauth_consents c on c.tenant_key = z.tenant_key and c.id = z.consent_id and c.status = 'active' \
                          join members m on m.tenant_key = c.tenant_key and m.id = c.member_id and m.status = 'active' \
                          join users u on u.id = m.user_id and u.status = 'active' \
                          where z.tenant_key = $1 and z.chain_hash = $2 and z.link_hash = $3 and c.application_id = $4 \
                          and z.status = 'active' and z.code_used_at is not null and z.expires_at > $5";
/// What signing out everywhere ends beside sessions.
pub(crate) const END_AUTHORIZATIONS: &str = "update oauth_authorizations set status = 'revoked', revoked_at = $2, \
    updated_at = $2, updated_by = $3, revision = revision + 1 where status = 'active' and exists (select 1 \
    from oauth_consents c join members m on m.tenant_key = c.tenant_key and m.id = c.member_id \
    where c.tenant_key = oauth_authorizations.tenant_key and c.id = oauth_authorizations.consent_id and m.user_id = $1)";

/// An application that is not suspended, of a tenant that is not.
#[derive(Debug, Clone)]
pub struct Application {
    /// Whose.
    pub tenant: TenantKey,
    /// Its id, which is its `client_id`.
    pub id: Uuid,
    /// What people see.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Where people read more.
    pub website: Option<String>,
    /// Whether it keeps a secret.
    pub confidential: bool,
    /// Whether it gets tokens of its own.
    pub client_credentials: bool,
    /// Where browsers are sent back to.
    pub redirect_uris: Vec<String>,
    /// What it may ask for.
    pub scopes: Vec<String>,
}

/// What a member consented to.
#[derive(Debug, Clone)]
pub struct OwnConsent {
    /// Its id.
    pub id: Uuid,
    /// The application.
    pub application: Uuid,
    /// What people see of it.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Where people read more.
    pub website: Option<String>,
    /// To what.
    pub scopes: Vec<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// When the application last got a token by it, as long as that is known.
    pub last_token_at: Option<Timestamp>,
}

/// A token, by its hashes.
#[derive(Debug, Clone, Copy)]
pub enum Held {
    /// An access token.
    Access(Hash),
    /// A refresh token.
    Refresh(crate::Link),
}

/// A token that holds.
#[derive(Debug, Clone)]
pub struct Live {
    /// What whoever has it may do now.
    pub scopes: Vec<String>,
    /// Until when.
    pub expires_at: Timestamp,
    /// Since when.
    pub issued_at: Timestamp,
    /// In whose name: the member and its address.
    pub of: Option<(Uuid, String)>,
}

impl Store {
    /// An application, in whichever tenant, that may do something.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn application(&self, id: Uuid) -> Result<Option<Application>, StoreError> {
        let row = self.database().across_tenants().query_opt(APPLICATION, vec![id.into()]).await?;
        let read = |row: Row| {
            Ok(Application {
                tenant: row.tenant(0)?,
                id: row.uuid(1)?,
                name: row.string(2)?,
                description: row.string(3)?,
                website: row.opt(4, Row::string)?,
                confidential: row.text(5)? == "confidential",
                client_credentials: row.bool(6)?,
                redirect_uris: texts(row.text(7)?),
                scopes: texts(row.text(8)?),
            })
        };
        row.map(read).transpose()
    }

    /// Whether that is the hash of a secret of the application which works.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn has_secret(&self, application: &Application, hash: Hash) -> Result<bool, StoreError> {
        let params = vec![application.tenant.into(), application.id.into(), hash.into(), self.now().into()];
        Ok(self.database().of(application.tenant).query_opt(HAS_SECRET, params).await?.is_some())
    }

    /// Who has the access token with that hash, in whichever tenant. It never does more than the application may, and in
    /// a member's name never more than that one may, whatever it was made for.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn caller_of_token(&self, hash: Hash) -> Result<Option<Caller>, StoreError> {
        Ok(self.token(hash).await?.map(|(caller, _)| caller))
    }

    async fn token(&self, hash: Hash) -> Result<Option<(Caller, Timestamp)>, StoreError> {
        let params = vec![hash.into(), self.now().into()];
        let Some(row) = self.database().across_tenants().query_opt(TOKEN, params).await? else { return Ok(None) };
        let tenant = row.tenant(0)?;
        let allowed: BTreeSet<String> = texts(row.text(7)?).into_iter().collect();
        let scopes = texts(row.text(2)?).into_iter();
        let scopes = scopes.filter(|it| allowed.contains(it) && !permission::is_personal(it));
        let mut may = Rights::from(scopes.collect::<BTreeSet<String>>());
        let mut of = None;
        if row.opt(9, Row::uuid)?.is_some() {
            for at in 10..14 {
                if row.opt(at, Row::string)?.as_deref() != Some("active") {
                    return Ok(None);
                }
            }
            let member = row.uuid(14)?;
            may = may.and(&self.rights_of(tenant, member).await?);
            of = Some((member, row.string(15)?));
        } else if !row.bool(8)? {
            return Ok(None);
        }
        let with = CameWith::Application { application: row.uuid(5)?, name: row.string(6)?, of };
        let until = Some(row.time(3)?);
        Ok(Some((Caller { tenant, holds: Holds::These(Arc::new(may)), until, with }, row.time(4)?)))
    }

    /// What a member consented to for an application, if that still holds.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn consented(&self, application: &Application, member: Uuid) -> Result<Option<Vec<String>>, StoreError> {
        let params = vec![application.tenant.into(), application.id.into(), member.into()];
        let row = self.database().of(application.tenant).query_opt(CONSENTED, params).await?;
        row.map(|row| Ok(texts(row.text(0)?))).transpose()
    }

    /// What a member consented to and has not taken back, the newest first; at most 1,000.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn consents_of(&self, tenant: TenantKey, member: Uuid) -> Result<Vec<OwnConsent>, StoreError> {
        let rows = self.database().of(tenant).query(CONSENTS_OF, vec![tenant.into(), member.into()]).await?;
        let read = |row: &Row| {
            Ok(OwnConsent {
                id: row.uuid(0)?,
                application: row.uuid(1)?,
                name: row.string(2)?,
                description: row.string(3)?,
                website: row.opt(4, Row::string)?,
                scopes: texts(row.text(5)?),
                created_at: row.time(6)?,
                last_token_at: row.opt(7, Row::time)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Takes back what a member consented to: all that followed from it ends at once.
    ///
    /// # Errors
    /// The member has no such consent that holds; or the database does not answer.
    pub async fn withdraw_consent(
        &self,
        (tenant, member): (TenantKey, Uuid),
        consent: Uuid,
        by: By,
    ) -> Result<(), RecordError> {
        let gone = || RecordError::NotFound { noun: CONSENTS.noun };
        let params = vec![tenant.into(), consent.into(), member.into()];
        self.database().of(tenant).query_opt(OWN_CONSENT, params).await?.ok_or_else(gone)?;
        let revoke = CONSENTS.transition("revoke").ok_or_else(gone)?;
        let target = (Target { id: consent, expect: None }, revoke);
        match self.transition_record((tenant, &CONSENTS), target, &json!({}), by).await {
            Err(RecordError::Transition { .. }) => Err(gone()),
            other => other.map(|_| ()),
        }
    }

    /// Ends a token of an application, and what it followed from; nothing happens where there is no such token.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn revoke_held(&self, application: &Application, held: Held, by: By) -> Result<(), RecordError> {
        let tenant = application.tenant;
        let (sql, hash) = match held {
            Held::Access(hash) => (HELD_TOKEN, hash),
            Held::Refresh(link) => (HELD_CHAIN, link.chain),
        };
        let params = vec![tenant.into(), hash.into(), application.id.into()];
        let Some(row) = self.database().of(tenant).query_opt(sql, params).await? else { return Ok(()) };
        let authorization = match held {
            Held::Access(_) => row.opt(1, Row::uuid)?,
            Held::Refresh(_) => Some(row.uuid(0)?),
        };
        let (record, id) = match authorization {
            Some(authorization) => (&AUTHORIZATIONS, authorization),
            None => (&TOKENS, row.uuid(0)?),
        };
        let Some(revoke) = record.transition("revoke") else { return Ok(()) };
        let target = (Target { id, expect: None }, revoke);
        match self.transition_record((tenant, record), target, &json!({}), by).await {
            Ok(_) | Err(RecordError::Transition { .. } | RecordError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a token of an application is worth; `None` when nothing, or when it is another one's.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn live(&self, application: &Application, held: Held) -> Result<Option<Live>, StoreError> {
        let link = match held {
            Held::Access(hash) => {
                let Some((caller, issued_at)) = self.token(hash).await? else { return Ok(None) };
                let CameWith::Application { application: holder, of, .. } = caller.with else { return Ok(None) };
                let (Holds::These(may), Some(expires_at)) = (caller.holds, caller.until) else { return Ok(None) };
                let live = Live { scopes: may.names(), expires_at, issued_at, of };
                return Ok(Some(live).filter(|_| holder == application.id));
            }
            Held::Refresh(link) => link,
        };
        let tenant = application.tenant;
        let params = vec![tenant.into(), link.chain.into(), link.link.into(), application.id.into(), self.now().into()];
        let Some(row) = self.database().of(tenant).query_opt(LIVE_CHAIN, params).await? else { return Ok(None) };
        let of = Some((row.uuid(2)?, row.string(3)?));
        let (expires_at, issued_at) = (row.time(1)?, row.time(4)?);
        Ok(Some(Live { scopes: texts(row.text(0)?), expires_at, issued_at, of }))
    }
}
