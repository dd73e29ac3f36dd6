//! Tenants: the one that every installation has, and their short keys. On SQLite also the one node and its lane.

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use crate::{
    StoreError,
    database::{Statement, Value},
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

impl Store {
    /// Adds a tenant under a key that no other has.
    ///
    /// # Errors
    /// The key or the slug is taken.
    pub async fn add_tenant(&self, key: TenantKey, slug: &str) -> Result<(), StoreError> {
        let sql = "insert into tenants (key, id, slug, name, created_at) values ($1, $2, $3, $3, $4)";
        let params = vec![key.into(), Uuid::now_v7().into(), slug.into(), self.now().into()];
        self.database().execute(sql, params).await.map(|_| ())
    }

    /// Makes a tenant under the next key.
    ///
    /// # Errors
    /// The slug is taken.
    pub async fn create_tenant(&self, slug: &str, name: &str) -> Result<Tenant, StoreError> {
        let last = self.tenants().await?.last().map_or(TenantKey::DEFAULT, |tenant| tenant.key);
        let tenant = Tenant {
            key: TenantKey(last.0.saturating_add(1)),
            id: Uuid::now_v7(),
            slug: slug.to_owned(),
            name: name.to_owned(),
            created_at: self.now(),
        };
        let sql = "insert into tenants (key, id, slug, name, created_at) values ($1, $2, $3, $4, $5) \
                   on conflict do nothing";
        let params = vec![tenant.key.into(), tenant.id.into(), slug.into(), name.into(), tenant.created_at.into()];
        // Where somebody else made another one in this moment, the key is taken: it is asked for again.
        match self.database().execute(sql, params).await?.count {
            0 => Err(StoreError::conflict(format!("there is a tenant `{slug}` already, or one was made just now"))),
            _ => Ok(tenant),
        }
    }

    /// All tenants.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let rows = self.database().query("select key, id, slug, name, created_at from tenants order by key", vec![]);
        let tenant = |row: &crate::Row| {
            Ok(Tenant {
                key: row.tenant(0)?,
                id: row.uuid(1)?,
                slug: row.string(2)?,
                name: row.string(3)?,
                created_at: row.time(4)?,
            })
        };
        rows.await?.iter().map(tenant).collect()
    }
}

/// Makes the default tenant and the database's own id, where they are not there yet.
pub(crate) async fn first(store: &Store) -> Result<(), StoreError> {
    let there = store.database().query_opt("select 1 from settings where name = 'database_id'", vec![]).await?;
    if there.is_some() {
        return Ok(());
    }
    let tenant = "insert into tenants (key, id, slug, name, created_at) values ($1, $2, 'default', 'Default', $3) \
                  on conflict (key) do nothing";
    let setting = "insert into settings (name, value) values ('database_id', $1) on conflict (name) do nothing";
    let params = vec![TenantKey::DEFAULT.into(), Uuid::now_v7().into(), store.now().into()];
    let id = vec![Value::from(Uuid::now_v7().to_string())];
    store.database().write(vec![Statement::new(tenant, params), Statement::new(setting, id)]).await.map(|_| ())
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
        .write(vec![
            Statement::new("delete from nodes", vec![]),
            Statement::new(node, params),
            Statement::new(lane, vec![store.node().into()]),
        ])
        .await
        .map(|_| ())
}
