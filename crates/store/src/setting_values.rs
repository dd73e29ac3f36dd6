//! Settings that were chosen while servers run: for the whole installation, or for one tenant.

use serde_json::{Value as Json, json};
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use crate::{
    Actor, AuditNote, StoreError, access,
    database::{Row, Value},
    store::Store,
};

/// The key that stands for the whole installation; every tenant may read what stands under it.
const INSTALLATION: TenantKey = TenantKey(0);
const LIST: &str = "select tenant_key, name, value, updated_at, updated_by from setting_values \
                    where tenant_key = $1 or tenant_key = $2 order by tenant_key, name";
const PUT: &str = "insert into setting_values (tenant_key, name, value, updated_at, updated_by) \
                   values ($1, $2, $3, $4, $5) on conflict (tenant_key, name) do update \
                   set value = excluded.value, updated_at = excluded.updated_at, updated_by = excluded.updated_by";
const FIND: &str = "select value from setting_values where tenant_key = $1 and name = $2";
const DELETE: &str = "delete from setting_values where tenant_key = $1 and name = $2";

/// For whom a setting is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingLayer {
    /// For every tenant and the servers themselves.
    Installation,
    /// For the tenant that chooses.
    Tenant,
}

impl SettingLayer {
    fn key(self, tenant: TenantKey) -> TenantKey {
        match self {
            SettingLayer::Installation => INSTALLATION,
            SettingLayer::Tenant => tenant,
        }
    }

    /// Its word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            SettingLayer::Installation => "database",
            SettingLayer::Tenant => "tenant",
        }
    }
}

/// A setting that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingValue {
    /// For whom.
    pub layer: SettingLayer,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Json,
    /// When it was chosen.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

impl Store {
    /// What was chosen for the installation, and then what for this tenant.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn setting_values(&self, tenant: TenantKey) -> Result<Vec<SettingValue>, StoreError> {
        let rows = self.database().of(tenant).query(LIST, vec![INSTALLATION.into(), tenant.into()]).await?;
        rows.iter().map(read).collect()
    }

    /// Chooses a value.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn put_setting(
        &self,
        actor: Actor,
        (layer, name): (SettingLayer, &'static str),
        value: Json,
    ) -> Result<(), StoreError> {
        self.change_setting(actor, (layer, name), Some(value)).await.map(|_| ())
    }

    /// Takes a choice back; `false` if there was none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn unset_setting(
        &self,
        actor: Actor,
        (layer, name): (SettingLayer, &'static str),
    ) -> Result<bool, StoreError> {
        self.change_setting(actor, (layer, name), None).await
    }

    /// Whether anything changed.
    async fn change_setting(
        &self,
        Actor { tenant, by }: Actor,
        (layer, name): (SettingLayer, &'static str),
        after: Option<Json>,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        let key = layer.key(tenant);
        let changed = self.database().of(key).transact(move |tx| {
            Box::pin(async move {
                let key = Value::from(key);
                let lock = tx.dialect().pick("", " for update");
                let found = tx.query(format!("{FIND}{lock}"), vec![key.clone(), name.into()]).await?;
                let before = found.first().map(|row| json_of(row, 0)).transpose()?;
                if before == after {
                    return Ok(false);
                }
                match &after {
                    Some(value) => {
                        let value = Value::json(value);
                        let params = vec![key, name.into(), value, now.into(), (&by.who).into()];
                        tx.execute(PUT, params).await?;
                    }
                    None => {
                        tx.execute(DELETE, vec![key, name.into()]).await?;
                    }
                }
                let note = AuditNote {
                    action: if after.is_some() { "set" } else { "unset" },
                    record: "setting_values",
                    record_id: None,
                    subject: Some(name.to_owned()),
                    changes: json!({ "layer": layer.as_str(), "value": { "from": before, "to": after } }),
                    by,
                    at: now,
                };
                tx.enter(tenant).await?;
                note.write(tx, tenant).await?;
                // Who remembers what bounds a tenant reads it again.
                access::count(tx).await?;
                Ok(true)
            })
        });
        let changed = changed.await?;
        self.audit_noted();
        if changed && let Err(error) = self.look_at_access().await {
            // It is done, whatever becomes of this look: the next one finds it.
            tracing::warn!(%error, "a setting has changed, and is read again later");
        }
        Ok(changed)
    }
}

fn json_of(row: &Row, column: usize) -> Result<Json, StoreError> {
    serde_json::from_str(row.text(column)?)
        .map_err(|error| StoreError::damaged(format!("a setting is no JSON: {error}")))
}

fn read(row: &Row) -> Result<SettingValue, StoreError> {
    let layer = if row.tenant(0)? == INSTALLATION { SettingLayer::Installation } else { SettingLayer::Tenant };
    Ok(SettingValue {
        layer,
        name: row.string(1)?,
        value: json_of(row, 2)?,
        updated_at: row.time(3)?,
        updated_by: row.string(4)?,
    })
}
