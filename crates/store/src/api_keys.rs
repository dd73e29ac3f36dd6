//! API keys: only their hash is stored, and how they are used is counted in bulk.

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, records::people::API_KEYS};

use crate::{Actor, RecordError, StoreError, database::Statement, store::Store};

/// A key to be stored.
#[derive(Debug, Clone, Default)]
pub struct NewApiKey {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The part of it that may be shown.
    pub prefix: String,
    /// SHA-256 of the whole of it.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whose it is.
    pub member: Option<Uuid>,
    /// The identity provider that provisions people with it.
    pub provider: Option<Uuid>,
    /// Requests that it may send in a minute, to each server.
    pub per_minute: Option<u32>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// How often a key was used since it was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Whose.
    pub tenant: TenantKey,
    /// Which key.
    pub key: Uuid,
    /// Requests that were let in.
    pub requests: i64,
    /// Requests that were refused for its bound.
    pub refused: i64,
}

const COUNT: &str = "insert into api_key_usage (tenant_key, id, api_key_id, used_on, requests, refused, created_at, created_by) \
                     select $1, $2, $3, $4, $5, $6, $7, 'system' where exists (select 1 from api_keys where tenant_key = $1 and id = $3) \
                     on conflict (tenant_key, api_key_id, used_on) do update set \
                     requests = api_key_usage.requests + excluded.requests, refused = api_key_usage.refused + excluded.refused";
const TOUCH: &str = "update api_keys set last_used_at = $3 where tenant_key = $1 and id = $2";

impl Store {
    /// Stores a key. One with the same hash that is there already stays as it is.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn create_api_key(&self, actor: impl Into<Actor>, new: NewApiKey) -> Result<(), RecordError> {
        let Actor { tenant, by } = actor.into();
        let there = "select 1 from api_keys where token_hash = $1";
        if self.database().across_tenants().query_opt(there, vec![new.hash.into()]).await?.is_some() {
            return Ok(());
        }
        let prefix = if new.prefix.is_empty() { "chosen".to_owned() } else { new.prefix };
        let rate = new.per_minute.map_or(Datum::Null, |rate| Datum::Int(i64::from(rate)));
        let values = vec![
            ("id", Datum::Uuid(new.id)),
            ("name", Datum::Text(new.name)),
            ("prefix", Datum::Text(prefix)),
            ("token_hash", Datum::Bytes(new.hash.to_vec())),
            ("scopes", Datum::Json(serde_json::json!(new.scopes).to_string())),
            ("member_id", new.member.map_or(Datum::Null, Datum::Uuid)),
            ("provider_id", new.provider.map_or(Datum::Null, Datum::Uuid)),
            ("requests_per_minute", rate),
            ("expires_at", new.expires_at.map_or(Datum::Null, Datum::Time)),
        ];
        match self.insert_record((tenant, &API_KEYS), ("create", by), values).await {
            // Another server was faster.
            Ok(_) | Err(RecordError::Taken { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds up how keys were used, many in one transaction.
    pub async fn count_key_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let now = self.now();
        let day = now.to_string().chars().take(10).collect::<String>();
        let mut statements = Vec::with_capacity(uses.len() * 2);
        for of in uses {
            let place = vec![of.tenant.into(), of.key.into(), now.into()];
            let row = vec![
                of.tenant.into(),
                Uuid::now_v7().into(),
                of.key.into(),
                day.as_str().into(),
                of.requests.into(),
                of.refused.into(),
                now.into(),
            ];
            statements.push((of.tenant, Statement::new(TOUCH, place)));
            statements.push((of.tenant, Statement::new(COUNT, row)));
        }
        self.database().write_each(statements).await.map(|_| ())
    }
}
