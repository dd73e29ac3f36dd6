//! Secrets and credentials as steps need them: found by their names, opened, and noted as used.
//!
//! Invariant: what is given is within reach of the workflow that asks: of its tenant, of its folder where one is named, and
//! shared with it where it is not for all.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Record,
    host::Hosts,
    records::vault::{CREDENTIALS, SECRETS},
};
use zeroize::Zeroizing;

use crate::{StoreError, Value, database::Row, sharing::shared_where, store::Store, vault::Place};

/// A note of the last use is that old at most.
const USE_NOTED_EVERY_MICROS: i64 = 300_000_000;

/// The folder that a workflow lies in and those around it.
const ABOVE: &str = "with recursive above (id, depth) as (\
                     select p.folder_id, 1 from workflow_places p \
                     join workflows w on w.tenant_key = p.tenant_key and w.id = p.workflow_id \
                     where p.tenant_key = $1 and w.name = $2 \
                     union all select f.parent_id, a.depth + 1 from folders f join above a on f.id = a.id \
                     where f.tenant_key = $1 and f.parent_id is not null and a.depth <= 16) ";

/// A change is in the database that long after the time that it bears at the latest.
const CHANGE_WRITTEN_WITHIN_MICROS: i64 = 60_000_000;

/// The column of [`Store::rows_for`] that says whether the workflow may use it.
const REACHED: usize = 3;

/// What stands behind a name.
pub enum Kept {
    /// A secret.
    Secret(KeptSecret),
    /// A credential.
    Credential(KeptCredential),
}

/// A secret.
pub struct KeptSecret {
    /// Its text.
    pub value: Zeroizing<String>,
    /// To which hosts it may go.
    pub hosts: Hosts,
}

/// A credential with its secret fields.
pub struct KeptCredential {
    /// Which one.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: i64,
    /// Its type.
    pub credential_type: String,
    /// Its fields that are shown.
    pub fields: Json,
    /// Its secret fields, as JSON.
    pub secret_fields: Zeroizing<String>,
    /// To which hosts it may go.
    pub hosts: Hosts,
}

/// What became of a name that was asked for.
pub enum Found {
    /// It is there.
    Kept(Kept),
    /// There is none.
    Missing,
    /// There is one, and it is for other workflows.
    OutOfReach,
    /// It has no value any more: the vault was forgotten.
    Empty,
}

/// Names behind which nothing stands for a workflow.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MissingSecrets {
    /// There is none.
    pub absent: Vec<Arc<str>>,
    /// There is one, and it is for other workflows.
    pub out_of_reach: Vec<Arc<str>>,
}

/// How far the values of a vault were read.
#[derive(Debug, Default)]
pub struct VaultChanges {
    read_at: Option<Timestamp>,
}

/// The texts in the secret fields of a credential.
fn texts_in(secret_fields: &str) -> Vec<Zeroizing<String>> {
    let fields: BTreeMap<String, Json> = serde_json::from_str(secret_fields).unwrap_or_default();
    let texts = fields.into_values().filter_map(|value| match value {
        Json::String(text) => Some(Zeroizing::new(text)),
        _ => None,
    });
    texts.collect()
}

impl KeptCredential {
    /// The texts in its secret fields.
    pub fn secret_texts(&self) -> Vec<Zeroizing<String>> {
        texts_in(&self.secret_fields)
    }
}

/// The hosts in a column of a row. What cannot be read lets nothing go.
fn hosts_of(row: &Row, column: usize) -> Result<Hosts, StoreError> {
    let patterns: Vec<String> =
        serde_json::from_str(row.text(column)?).map_err(|error| StoreError::damaged(error.to_string()))?;
    Hosts::of(&patterns).map_err(|(_, bad)| StoreError::damaged(format!("hosts of a secret: one {bad}")))
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
        let secrets = self.rows_for(&SECRETS, "t.value, t.hosts", &asked).await?;
        let rest = "t.secret_fields, t.credential_type, t.fields, t.revision, t.hosts";
        let credentials = self.rows_for(&CREDENTIALS, rest, &asked).await?;
        let mut all = Vec::new();
        for name in names {
            let named = |row: &&Row| row.text(1).is_ok_and(|it| it == &**name);
            let found = match (secrets.iter().find(named), credentials.iter().find(named)) {
                (Some(row), _) | (None, Some(row)) if row.int(REACHED)? == 0 => Found::OutOfReach,
                (Some(row), _) => self.secret_of(tenant, row).await?,
                (None, Some(row)) => self.credential_of(tenant, row).await?,
                (None, None) => Found::Missing,
            };
            all.push((name.clone(), found));
        }
        Ok(all)
    }

    /// Those of these names behind which nothing stands for a workflow, and which of them are for other workflows.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn missing_secrets(
        &self,
        tenant: TenantKey,
        workflow: &str,
        names: &[Arc<str>],
    ) -> Result<MissingSecrets, StoreError> {
        let asked = Asked { tenant, workflow, names };
        let mut rows = self.rows_for(&SECRETS, "t.revision", &asked).await?;
        rows.extend(self.rows_for(&CREDENTIALS, "t.revision", &asked).await?);
        let mut missing = MissingSecrets::default();
        for name in names {
            match rows.iter().find(|row| row.text(1).is_ok_and(|it| it == &**name)) {
                None => missing.absent.push(name.clone()),
                Some(row) if row.int(REACHED)? == 0 => missing.out_of_reach.push(name.clone()),
                Some(_) => {}
            }
        }
        Ok(missing)
    }

    /// The types of those of these names that are credentials.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn credential_types(
        &self,
        tenant: TenantKey,
        names: &[Arc<str>],
    ) -> Result<BTreeMap<Arc<str>, String>, StoreError> {
        let among = self.database().dialect().in_texts(2);
        let sql = format!("select name, credential_type from credentials where tenant_key = $1 and name {among}");
        let params = vec![tenant.into(), Value::Texts(names.to_vec())];
        let rows = self.database().of(tenant).query(sql, params).await?;
        rows.iter().map(|row| Ok((row.shared(0)?, row.string(1)?))).collect()
    }

    /// A credential by its id, whoever may use it; `None` if there is none, or it has no value any more.
    ///
    /// # Errors
    /// The vault is closed, or the database does not answer.
    pub async fn credential(&self, tenant: TenantKey, id: Uuid) -> Result<Option<KeptCredential>, StoreError> {
        let sql = "select id, name, last_used_at, 1, secret_fields, credential_type, fields, revision, hosts from credentials \
                   where tenant_key = $1 and id = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), id.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        match self.credential_of(tenant, &row).await? {
            Found::Kept(Kept::Credential(credential)) => Ok(Some(credential)),
            _ => Ok(None),
        }
    }

    /// The texts in a tenant's vault that changed since they were read before, the oldest first; of very many the newest.
    /// Those that have no value any more, or cannot be opened, are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn vault_values(
        &self,
        tenant: TenantKey,
        changes: &mut VaultChanges,
        max: usize,
    ) -> Result<Vec<Zeroizing<String>>, StoreError> {
        let now = self.now();
        // What was changed before the last reading may have been written after it.
        let since = changes.read_at.map_or(0, |at| at.micros().saturating_sub(CHANGE_WRITTEN_WITHIN_MICROS));
        let mut found = Vec::new();
        for (record, column) in [(&SECRETS, "value"), (&CREDENTIALS, "secret_fields")] {
            let sql = format!(
                "select id, name, updated_at, 1, {column} from {} where tenant_key = $1 and updated_at > $2 \
                 order by updated_at desc limit $3",
                record.name
            );
            let params = vec![tenant.into(), Timestamp::from_micros(since).into(), (max as i64).into()];
            for row in self.database().of(tenant).query(sql, params).await? {
                if let Ok(Some(text)) = self.text_of((tenant, record, column), &row).await {
                    found.push((row.time(2)?, column, text));
                }
            }
        }
        found.sort_by_key(|(at, ..)| *at);
        changes.read_at = Some(now);
        let mut texts = Vec::with_capacity(found.len());
        for (_, column, text) in found {
            match column {
                "value" => texts.push(text),
                _ => texts.extend(texts_in(&text)),
            }
        }
        Ok(texts)
    }

    async fn rows_for(&self, record: &Record, rest: &str, asked: &Asked<'_>) -> Result<Vec<Row>, StoreError> {
        let table = record.name;
        let among = self.database().dialect().in_texts(3);
        let shared = shared_where(table);
        let sql = format!(
            "{ABOVE} select t.id, t.name, t.last_used_at, \
             case when (t.folder_id is null or t.folder_id in (select id from above)) and {shared} then 1 else 0 end, {rest} \
             from {table} t where t.tenant_key = $1 and t.name {among}"
        );
        let params = vec![asked.tenant.into(), asked.workflow.into(), Value::Texts(asked.names.to_vec())];
        self.database().of(asked.tenant).query(sql, params).await
    }

    async fn secret_of(&self, tenant: TenantKey, row: &Row) -> Result<Found, StoreError> {
        let Some(value) = self.text_of((tenant, &SECRETS, "value"), row).await? else { return Ok(Found::Empty) };
        self.note_use((tenant, &SECRETS), row).await?;
        let hosts = hosts_of(row, 5)?;
        Ok(Found::Kept(Kept::Secret(KeptSecret { value, hosts })))
    }

    async fn credential_of(&self, tenant: TenantKey, row: &Row) -> Result<Found, StoreError> {
        let place = (tenant, &CREDENTIALS, "secret_fields");
        let Some(secret_fields) = self.text_of(place, row).await? else { return Ok(Found::Empty) };
        self.note_use((tenant, &CREDENTIALS), row).await?;
        Ok(Found::Kept(Kept::Credential(KeptCredential {
            id: row.uuid(0)?,
            name: row.string(1)?,
            revision: row.int(7)?,
            credential_type: row.string(5)?,
            fields: serde_json::from_str(row.text(6)?).map_err(|error| StoreError::damaged(error.to_string()))?,
            secret_fields,
            hosts: hosts_of(row, 8)?,
        })))
    }

    async fn text_of(
        &self,
        (tenant, record, column): (TenantKey, &Record, &str),
        row: &Row,
    ) -> Result<Option<Zeroizing<String>>, StoreError> {
        let place = Place { tenant, table: record.name, column, row: row.uuid(0)? };
        let Some(bytes) = self.opened(place, &row.bytes(4)?).await? else { return Ok(None) };
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
