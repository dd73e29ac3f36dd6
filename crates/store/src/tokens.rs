//! API tokens: only their hash is stored.

use serde_json::json;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{TenantKey, TokenId};

use crate::{
    Actor, AuditNote, StoreError,
    database::{Row, Value},
    store::Store,
};

/// A token to be stored.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// The part of it that may be shown.
    pub prefix: String,
    /// SHA-256 of the whole of it.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A stored token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Whose.
    pub tenant: TenantKey,
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// The part of it that may be shown.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

const COLUMNS: &str = "tenant_key, id, name, prefix, scopes, created_at, expires_at, last_used_at, revoked_at";

fn token(row: &Row) -> Result<TokenRow, StoreError> {
    Ok(TokenRow {
        tenant: row.tenant(0)?,
        id: row.id(1)?,
        name: row.string(2)?,
        prefix: row.string(3)?,
        scopes: serde_json::from_str(row.text(4)?).map_err(|error| StoreError::damaged(error.to_string()))?,
        created_at: row.time(5)?,
        expires_at: row.opt(6, Row::time)?,
        last_used_at: row.opt(7, Row::time)?,
        revoked_at: row.opt(8, Row::time)?,
    })
}

impl Store {
    /// Stores a token. One with the same hash that is there already stays as it is.
    pub async fn create_token(&self, actor: impl Into<Actor>, new: NewToken) -> Result<(), StoreError> {
        let Actor { tenant, by } = actor.into();
        let note = AuditNote {
            action: "create",
            record: "api_tokens",
            record_id: Some(new.id.uuid()),
            subject: Some(new.name.clone()),
            changes: json!({
                "prefix": { "to": new.prefix },
                "scopes": { "to": new.scopes },
                "expires_at": { "to": new.expires_at.map(|at| at.to_string()) },
            }),
            by,
            at: self.now(),
        };
        let sql = "insert into api_tokens (tenant_key, id, name, prefix, hash, scopes, created_at, expires_at) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (hash) do nothing";
        let params = vec![
            tenant.into(),
            new.id.into(),
            new.name.into(),
            new.prefix.into(),
            new.hash.into(),
            Value::json(&new.scopes),
            self.now().into(),
            new.expires_at.into(),
        ];
        self.noted(tenant, (sql, params), note).await.map(|_| ())
    }

    /// Writes a statement and, where it touched a row, tells the audit; whether it did.
    async fn noted(
        &self,
        tenant: TenantKey,
        (sql, params): (&'static str, Vec<Value>),
        note: AuditNote,
    ) -> Result<bool, StoreError> {
        let written = self.database().transact(move |tx| {
            Box::pin(async move {
                let touched = tx.execute(sql, params).await? > 0;
                if touched {
                    note.write(tx, tenant).await?;
                }
                Ok(touched)
            })
        });
        let touched = written.await?;
        self.audit_noted();
        Ok(touched)
    }

    /// The token of a hash, in whichever tenant, if it is neither revoked nor over: this is where a tenant comes from.
    pub async fn token_by_hash(&self, hash: [u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("select {COLUMNS} from api_tokens where hash = $1 and revoked_at is null");
        let row = self.database().query_opt(sql, vec![hash.into()]).await?;
        let found = row.as_ref().map(token).transpose()?;
        Ok(found.filter(|token| token.expires_at.is_none_or(|end| end > self.now())))
    }

    /// Notes that a token was used.
    pub async fn touch_token(&self, tenant: TenantKey, id: TokenId) -> Result<(), StoreError> {
        let sql = "update api_tokens set last_used_at = $3 where tenant_key = $1 and id = $2";
        self.database().execute(sql, vec![tenant.into(), id.into(), self.now().into()]).await.map(|_| ())
    }

    /// All tokens of a tenant, newest first; at most 1,000.
    pub async fn list_tokens(&self, tenant: TenantKey) -> Result<Vec<TokenRow>, StoreError> {
        let sql = format!("select {COLUMNS} from api_tokens where tenant_key = $1 order by id desc limit 1000");
        self.database().query(sql, vec![tenant.into()]).await?.iter().map(token).collect()
    }

    /// Revokes a token; `false` if there is none to revoke.
    pub async fn revoke_token(&self, actor: impl Into<Actor>, id: TokenId) -> Result<bool, StoreError> {
        let Actor { tenant, by } = actor.into();
        let sql = "update api_tokens set revoked_at = $3 where tenant_key = $1 and id = $2 and revoked_at is null";
        let note = AuditNote {
            action: "revoke",
            record: "api_tokens",
            record_id: Some(id.uuid()),
            subject: None,
            changes: json!({}),
            by,
            at: self.now(),
        };
        self.noted(tenant, (sql, vec![tenant.into(), id.into(), self.now().into()]), note).await
    }
}
