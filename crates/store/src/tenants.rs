//! Tenants: the one that every installation has, and their short keys. On SQLite also the one node and its lane.

use std::collections::HashMap;

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::records::tenants::TENANTS;

use crate::{
    By, RecordError, StoreError,
    database::{Row, Statement, Value},
    store::Store,
};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// What other tables carry.
    pub key: TenantKey,
    /// What the outside sees.
    pub id: Uuid,
    /// Its name in addresses.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "key, id, slug, name, created_at";
const INSERT: &str = "insert into tenants (key, id, slug, name, search_text, revision, created_at, created_by, updated_at, \
                      updated_by) values ($1, $2, $3, $4, $5, 1, $6, 'system', $6, 'system')";

/// What a tenant may use beyond, or short of, what the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// Nothing is done for it.
    pub suspended: bool,
    /// Runs that are open and do not wait, over all nodes.
    pub runs_active_max: Option<usize>,
    /// Runs that are queued.
    pub runs_queued_max: Option<u64>,
    /// Bytes of its files.
    pub file_bytes_max: Option<u64>,
    /// Days that finished runs and events are kept.
    pub retention_days: Option<u32>,
}

fn tenant(row: &Row) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        key: row.tenant(0)?,
        id: row.uuid(1)?,
        slug: row.string(2)?,
        name: row.string(3)?,
        created_at: row.time(4)?,
    })
}

fn insert(store: &Store, (key, slug, name): (TenantKey, &str, &str), more: &str) -> Statement {
    let search = format!("{slug}\n{}", name.to_lowercase());
    let params = vec![key.into(), Uuid::now_v7().into(), slug.into(), name.into(), search.into(), store.now().into()];
    Statement::new(format!("{INSERT}{more}"), params)
}

impl Store {
    /// Adds a tenant under a key that no other has.
    ///
    /// # Errors
    /// The key or the slug is taken.
    pub async fn add_tenant(&self, key: TenantKey, slug: &str) -> Result<(), StoreError> {
        self.database().across_tenants().write(vec![insert(self, (key, slug, slug), "")]).await.map(|_| ())
    }

    /// Makes a tenant under the next key.
    ///
    /// # Errors
    /// The slug is taken, or none.
    pub async fn create_tenant(&self, slug: &str, name: &str) -> Result<Tenant, RecordError> {
        let body = serde_json::json!({ "slug": slug, "name": name });
        self.create_record(TenantKey::DEFAULT, &TENANTS, &body, By::system()).await?;
        self.tenant_by_slug(slug).await?.ok_or(RecordError::NotFound { noun: TENANTS.noun })
    }

    /// All tenants.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let rows = self
            .database()
            .across_tenants()
            .query(format!("select {COLUMNS} from tenants order by key"), vec![])
            .await?;
        rows.iter().map(tenant).collect()
    }

    /// The tenant of that slug.
    pub async fn tenant_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StoreError> {
        let sql = format!("select {COLUMNS} from tenants where slug = $1");
        self.database().across_tenants().query_opt(sql, vec![slug.into()]).await?.as_ref().map(tenant).transpose()
    }

    /// The tenant with that key.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn tenant_by_key(&self, key: TenantKey) -> Result<Option<Tenant>, StoreError> {
        let sql = format!("select {COLUMNS} from tenants where key = $1");
        self.database().across_tenants().query_opt(sql, vec![key.into()]).await?.as_ref().map(tenant).transpose()
    }

    /// The rules of those tenants that have any.
    pub(crate) async fn tenant_rules(&self) -> Result<HashMap<TenantKey, TenantRules>, StoreError> {
        let sql = "select key, status, max_concurrent_runs, max_queued_runs, data_retention_days, max_file_bytes from tenants \
                   where status <> 'active' or max_concurrent_runs is not null or max_queued_runs is not null \
                   or data_retention_days is not null or max_file_bytes is not null";
        let rules = |row: &Row| {
            let number = |column| row.opt(column, Row::int);
            let rules = TenantRules {
                suspended: row.text(1)? == "suspended",
                runs_active_max: number(2)?.map(|it| usize::try_from(it).unwrap_or(usize::MAX)),
                runs_queued_max: number(3)?.map(i64::unsigned_abs),
                file_bytes_max: number(5)?.map(i64::unsigned_abs),
                retention_days: number(4)?.map(|it| u32::try_from(it).unwrap_or(u32::MAX)),
            };
            Ok((row.tenant(0)?, rules))
        };
        self.database().across_tenants().query(sql, vec![]).await?.iter().map(rules).collect()
    }
}

/// Makes the default tenant and the database's own id, where they are not there yet.
pub(crate) async fn first(store: &Store) -> Result<(), StoreError> {
    let there = store
        .database()
        .across_tenants()
        .query_opt("select 1 from settings where name = 'database_id'", vec![])
        .await?;
    if there.is_some() {
        return Ok(());
    }
    let tenant = insert(store, (TenantKey::DEFAULT, "default", "Default"), " on conflict (key) do nothing");
    let setting = "insert into settings (name, value) values ('database_id', $1) on conflict (name) do nothing";
    let id = vec![Value::from(Uuid::now_v7().to_string())];
    store.database().across_tenants().write(vec![tenant, Statement::new(setting, id)]).await.map(|_| ())
}

/// SQLite's one node: the row says who has, or last had, the database.
pub(crate) async fn only_node(store: &Store, name: &str) -> Result<(), StoreError> {
    let now = store.now();
    let node = "insert into nodes (id, name, host, pid, state, lease_until, started_at) \
                values ($1, $2, $3, $4, 'alive', $5, $5)";
    let params = vec![
        store.node().into(),
        name.into(),
        crate::database::sqlite::host().into(),
        i64::from(std::process::id()).into(),
        now.into(),
    ];
    let lane = "insert into lanes (id, node_id, epoch) values (1, $1, 1) \
                on conflict (id) do update set node_id = excluded.node_id, epoch = epoch + 1";
    store
        .database()
        .across_tenants()
        .write(vec![
            Statement::new("delete from nodes", vec![]),
            Statement::new(node, params),
            Statement::new(lane, vec![store.node().into()]),
        ])
        .await
        .map(|_| ())
}
