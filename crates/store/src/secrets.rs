//! Secrets and credentials as steps need them: found by their names, opened, and noted as used.
//!
//! Invariant: what is given is within reach of the workflow that asks: of its tenant, and of its folder where one is named.

use std::sync::Arc;

use serde_json::Value as Json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Record,
    records::vault::{CREDENTIALS, SECRETS},
};
use zeroize::Zeroizing;

use crate::{StoreError, Value, database::Row, store::Store, vault::Place};

/// A note of the last use is that old at most.
const USE_NOTED_EVERY_MICROS: i64 = 300_000_000;

/// The folder that a workflow lies in and those around it.
const ABOVE: &str = "with recursive above (id, depth) as (\
                     select p.folder_id, 1 from workflow_places p \
                     join workflows w on w.tenant_key = p.tenant_key and w.id = p.workflow_id \
                     where p.tenant_key = $1 and w.name = $2 \
                     union all select f.parent_id, a.depth + 1 from folders f join above a on f.id = a.id \
                     where f.tenant_key = $1 and f.parent_id is not null and a.depth <= 16) ";

/// What stands behind a name.
pub enum Kept {
    /// A secret: its text.
    Secret(Zeroizing<String>),
    /// A credential.
    Credential(KeptCredential),
}

/// A credential with its secret fields.
pub struct KeptCredential {
    /// Which one.
    pub id: Uuid,
    /// Its revision.
    pub revision: i64,
    /// Its type.
    pub credential_type: String,
    /// Its fields that are shown.
    pub fields: Json,
    /// Its secret fields, as JSON.
    pub secret_fields: Zeroizing<String>,
}

/// What became of a name that was asked for.
pub enum Found {
    /// It is there.
    Kept(Kept),
    /// There is none, or not for this workflow.
    Missing,
    /// It has no value any more: the vault was forgotten.
    Empty,
}

struct Asked<'a> {
    tenant: TenantKey,
    workflow: &'a str,
    names: &'a [Arc<str>],
}

impl Store {
    /// What stands behind these names for a workflow, in their order.
    ///
    /// # Errors
    /// The vault is closed, or the database does not answer.
    pub async fn secrets_for(
        &self,
        tenant: TenantKey,
        workflow: &str,
        names: &[Arc<str>],
    ) -> Result<Vec<(Arc<str>, Found)>, StoreError> {
        let asked = Asked { tenant, workflow, names };
        let secrets = self.rows_for(&SECRETS, "t.value", &asked).await?;
        let rest = "t.secret_fields, t.credential_type, t.fields, t.revision";
        let credentials = self.rows_for(&CREDENTIALS, rest, &asked).await?;
        let mut all = Vec::new();
        for name in names {
            let named = |row: &&Row| row.text(1).is_ok_and(|it| it == &**name);
            let found = match (secrets.iter().find(named), credentials.iter().find(named)) {
                (Some(row), _) => self.secret_of(tenant, row).await?,
                (None, Some(row)) => self.credential_of(tenant, row).await?,
                (None, None) => Found::Missing,
            };
            all.push((name.clone(), found));
        }
        Ok(all)
    }

    /// Those of these names behind which nothing stands for a workflow.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn missing_secrets(
        &self,
        tenant: TenantKey,
        workflow: &str,
        names: &[Arc<str>],
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let asked = Asked { tenant, workflow, names };
        let mut rows = self.rows_for(&SECRETS, "t.revision", &asked).await?;
        rows.extend(self.rows_for(&CREDENTIALS, "t.revision", &asked).await?);
        let is_there = |name: &&Arc<str>| rows.iter().any(|row| row.text(1).is_ok_and(|it| it == &***name));
        Ok(names.iter().filter(|name| !is_there(name)).cloned().collect())
    }

    /// A credential by its id, whoever may use it; `None` if there is none, or it has no value any more.
    ///
    /// # Errors
    /// The vault is closed, or the database does not answer.
    pub async fn credential(&self, tenant: TenantKey, id: Uuid) -> Result<Option<KeptCredential>, StoreError> {
        let sql = "select id, name, last_used_at, secret_fields, credential_type, fields, revision from credentials \
                   where tenant_key = $1 and id = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), id.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        match self.credential_of(tenant, &row).await? {
            Found::Kept(Kept::Credential(credential)) => Ok(Some(credential)),
            _ => Ok(None),
        }
    }

    async fn rows_for(&self, record: &Record, rest: &str, asked: &Asked<'_>) -> Result<Vec<Row>, StoreError> {
        let table = record.name;
        let among = self.database().dialect().in_texts(3);
        let sql = format!(
            "{ABOVE} select t.id, t.name, t.last_used_at, {rest} from {table} t where t.tenant_key = $1 and t.name {among} \
             and (t.folder_id is null or t.folder_id in (select id from above))"
        );
        let params = vec![asked.tenant.into(), asked.workflow.into(), Value::Texts(asked.names.to_vec())];
        self.database().of(asked.tenant).query(sql, params).await
    }

    async fn secret_of(&self, tenant: TenantKey, row: &Row) -> Result<Found, StoreError> {
        let Some(value) = self.text_of((tenant, &SECRETS, "value"), row).await? else { return Ok(Found::Empty) };
        self.note_use((tenant, &SECRETS), row).await?;
        Ok(Found::Kept(Kept::Secret(value)))
    }

    async fn credential_of(&self, tenant: TenantKey, row: &Row) -> Result<Found, StoreError> {
        let place = (tenant, &CREDENTIALS, "secret_fields");
        let Some(secret_fields) = self.text_of(place, row).await? else { return Ok(Found::Empty) };
        self.note_use((tenant, &CREDENTIALS), row).await?;
        Ok(Found::Kept(Kept::Credential(KeptCredential {
            id: row.uuid(0)?,
            revision: row.int(6)?,
            credential_type: row.string(4)?,
            fields: serde_json::from_str(row.text(5)?).map_err(|error| StoreError::damaged(error.to_string()))?,
            secret_fields,
        })))
    }

    async fn text_of(
        &self,
        (tenant, record, column): (TenantKey, &Record, &str),
        row: &Row,
    ) -> Result<Option<Zeroizing<String>>, StoreError> {
        let place = Place { tenant, table: record.name, column, row: row.uuid(0)? };
        let Some(bytes) = self.opened(place, &row.bytes(3)?).await? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).map_err(|_| StoreError::damaged("a secret is no text"))?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    /// Notes a use, unless one was noted lately: a step that runs all the time writes no row each time.
    async fn note_use(&self, (tenant, record): (TenantKey, &Record), row: &Row) -> Result<(), StoreError> {
        let now = self.now();
        let due = Timestamp::from_micros(now.micros().saturating_sub(USE_NOTED_EVERY_MICROS));
        if row.opt(2, Row::time)?.is_some_and(|at| at > due) {
            return Ok(());
        }
        // Of several that use it at once, one writes.
        let sql = format!(
            "update {} set last_used_at = $3 where tenant_key = $1 and id = $2 \
             and (last_used_at is null or last_used_at <= $4)",
            record.name
        );
        let params = vec![tenant.into(), row.uuid(0)?.into(), now.into(), due.into()];
        self.database().of(tenant).execute(sql, params).await.map(|_| ())
    }
}
