//! Rotation: another master key, other data keys; while servers run, and whatever kills them.
//!
//! A master key is replaced in two steps: it opens the vault beside the old one, and once every server holds it, the old
//! one is refused. Data keys are replaced in one transaction; rows are sealed anew behind it, in batches that any server
//! goes on with. Invariant: at every moment all that is sealed opens with what is accepted.

use std::sync::{Arc, PoisonError};

use serde::Serialize;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Ownership, Record};
use zeroize::Zeroizing;

use super::{
    KeySource, MasterKey, Place, Root,
    cipher::{self, key_of},
    keys::{data_key_place, open_root, seals_with},
    master,
};
use crate::{
    StoreError, Value, crash_point,
    database::{Dialect, Statement},
    store::Store,
};

/// Rows that are sealed anew in one transaction.
const BATCH_ROWS: usize = 200;

const ACCEPT: &str = "insert into vault_master_keys (id, root_id, root, is_first, created_at) \
                      select $1, root_id, $2, $3, $4 from vault_master_keys where root_id = $5 limit 1 on conflict do nothing";
const ALIVE: &str = "select name, vault_keys from nodes where state = 'alive'";

/// Which keys are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotate {
    /// The master key.
    MasterKey,
    /// The data keys, and what seals them.
    DataKeys,
}

/// How far a rotation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Whether the old master key is refused from now on.
    pub is_done: bool,
    /// The servers that do not hold the new master key yet, by their names.
    pub waiting_for: Vec<String>,
    /// Rows that are still to be sealed anew.
    pub rows_left: i64,
}

impl Store {
    /// Goes as far with a rotation as it can go now; to be asked again until it is done.
    ///
    /// # Errors
    /// There is no new key to go on with, the vault is closed, or the database does not answer.
    pub async fn rotate_vault(&self, what: Rotate) -> Result<Rotation, StoreError> {
        self.reload().await?;
        match what {
            Rotate::MasterKey => self.rotate_master_key().await,
            Rotate::DataKeys => {
                self.replace_data_keys().await?;
                Ok(Rotation { is_done: false, waiting_for: Vec::new(), rows_left: self.rows_to_reseal().await? })
            }
        }
    }

    async fn rotate_master_key(&self) -> Result<Rotation, StoreError> {
        let accepted = self.roots().await?;
        if accepted.len() < 2 {
            let newest = accepted.last().map(|it| it.master);
            let key = self.next_master_key(newest).await?;
            let root = self.vault().with(|open| Arc::clone(&open.root))?;
            let params = vec![
                key.id().into(),
                root.sealed_for(&key)?.into(),
                Value::Bool(false),
                self.now().into(),
                root.cipher.id.into(),
            ];
            if self.database().across_tenants().execute(ACCEPT, params).await?.count == 0 {
                return Err(StoreError::conflict("the vault's keys were replaced in this moment: ask again"));
            }
            crash_point::hit("after-key-accepted");
            self.reload().await?;
        }
        self.announce_keys().await?;
        let newest = self.roots().await?.pop().ok_or_else(cipher::refused)?.master;
        let waiting_for = self.without_key(newest).await?;
        if waiting_for.is_empty() {
            let sql = "delete from vault_master_keys where id <> $1";
            self.database().across_tenants().execute(sql, vec![newest.into()]).await?;
            crash_point::hit("after-key-retired");
            self.keep_newest_alone(newest)?;
            self.reload().await?;
        }
        Ok(Rotation { is_done: waiting_for.is_empty(), waiting_for, rows_left: self.rows_to_reseal().await? })
    }

    /// The key that is to replace the newest accepted one: it stands behind that where this server finds its keys, or is
    /// made and put there, if the file is this server's own.
    async fn next_master_key(&self, newest: Option<Uuid>) -> Result<Arc<MasterKey>, StoreError> {
        let held = self.vault().with(|open| open.held.clone())?;
        let at = held.iter().position(|key| Some(key.id()) == newest);
        if let Some(next) = at.and_then(|at| held.get(at + 1)) {
            return Ok(Arc::clone(next));
        }
        let own = self.vault().source.own_file().filter(|_| !self.is_shared());
        let Some(path) = own else {
            return Err(StoreError::Invalid(
                "there is no new master key: `windlass vault new-key` makes one. Put it behind the old one where every server \
                 finds its key (a file: on a line below; WINDLASS_MASTER_KEY: after a space, and start the servers again one \
                 by one), then rotate"
                    .to_owned(),
            ));
        };
        let key = Arc::new(MasterKey::generate()?);
        master::write_file(path, &[held.as_slice(), &[Arc::clone(&key)]].concat())?;
        crash_point::hit("after-key-written");
        Ok(key)
    }

    /// In a file of this server's own only the newest key stays; older ones go beside it, for backups that need them.
    fn keep_newest_alone(&self, newest: Uuid) -> Result<(), StoreError> {
        let Some(path) = self.vault().source.own_file().filter(|_| !self.is_shared()) else { return Ok(()) };
        let held = self.vault().with(|open| open.held.clone())?;
        let (new, old): (Vec<_>, Vec<_>) = held.into_iter().partition(|key| key.id() == newest);
        for key in old {
            let aside = path.with_extension(format!("key.until-{}", self.now().to_string().replace(':', "")));
            master::write_file(&aside, std::slice::from_ref(&key))?;
            crash_point::hit("after-key-aside");
            tracing::info!(path = %aside.display(), key = %key.id(), "the old master key is kept for older backups alone");
        }
        master::write_file(path, &new)
    }

    /// Says in the database which master keys this server holds.
    pub(crate) async fn announce_keys(&self) -> Result<(), StoreError> {
        let Ok(held) = self.vault().with(|open| open.held.iter().map(|key| key.id().to_string()).collect::<Vec<_>>())
        else {
            return Ok(());
        };
        let sql = "update nodes set vault_keys = $2 where id = $1 and vault_keys <> $2";
        self.database().across_tenants().execute(sql, vec![self.node().into(), held.join(" ").into()]).await.map(|_| ())
    }

    /// The servers that are alive and do not hold a key.
    async fn without_key(&self, key: Uuid) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for row in self.database().across_tenants().query(ALIVE, vec![]).await? {
            if !row.text(1)?.contains(&key.to_string()) {
                names.push(row.string(0)?);
            }
        }
        Ok(names)
    }

    /// Another root for data keys, other data keys for all tenants; the old ones open what is not sealed anew yet.
    async fn replace_data_keys(&self) -> Result<(), StoreError> {
        let stored = self.roots().await?;
        let [row] = stored.as_slice() else {
            return Err(StoreError::conflict(
                "the master key is being replaced: end that first, with `windlass vault rotate`",
            ));
        };
        let held = self.vault().with(|open| open.held.clone())?;
        let old = open_root(&stored, &held)?.ok_or_else(cipher::refused)?;
        let master = held.iter().find(|key| key.id() == row.master).ok_or_else(cipher::refused)?;
        let both = [cipher::random()?.as_slice(), old.purposes.as_slice()].concat();
        let new = Root::of(Uuid::now_v7(), Zeroizing::new(both))?;
        let now = self.now();
        let params = vec![row.master.into(), row.id.into(), new.cipher.id.into(), new.sealed_for(master)?.into()];
        let replace = "update vault_master_keys set root_id = $3, root = $4 where id = $1 and root_id = $2";
        let (old, new) = (Arc::new(old), Arc::new(new));
        let replaced = self.database().across_tenants().transact(move |tx| {
            Box::pin(async move {
                if tx.execute(replace, params).await? != 1 {
                    return Err(StoreError::conflict("the vault's keys were replaced in this moment: ask again"));
                }
                // Who seals with one of these waits for the end of this transaction, and then finds the new one.
                let lock = tx.dialect().pick("", " for update");
                let all = format!("select tenant_key, id, sealed from vault_data_keys order by tenant_key, id{lock}");
                for row in tx.query(all, vec![]).await? {
                    let (tenant, id) = (row.tenant(0)?, row.uuid(1)?);
                    let place = data_key_place(tenant, id);
                    let sealed = new.cipher.seal(&place, &old.cipher.open(&place, &row.bytes(2)?)?)?;
                    let keep =
                        "update vault_data_keys set sealed = $3, is_active = $4 where tenant_key = $1 and id = $2";
                    tx.execute(keep, vec![tenant.into(), id.into(), sealed.into(), Value::Bool(false)]).await?;
                }
                let tenants = tx.query("select distinct tenant_key from vault_data_keys", vec![]).await?;
                for row in tenants {
                    let (tenant, id) = (row.tenant(0)?, Uuid::now_v7());
                    let sealed = new.cipher.seal(&data_key_place(tenant, id), cipher::random()?.as_slice())?;
                    let add = "insert into vault_data_keys (tenant_key, id, sealed, is_active, created_at) \
                               values ($1, $2, $3, $4, $5)";
                    let params = vec![tenant.into(), id.into(), sealed.into(), Value::Bool(true), now.into()];
                    tx.execute(add, params).await?;
                }
                crash_point::hit("before-data-keys");
                Ok(())
            })
        });
        replaced.await?;
        crash_point::hit("after-data-keys");
        if let Some(open) = self.vault().open.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.active.clear();
        }
        self.reload().await
    }

    /// Columns whose rows are sealed, with the condition that one's key is retired.
    fn retired(&self) -> Vec<(&'static Record, &'static str, String)> {
        let dialect = self.database().dialect();
        let sealed = self.records().iter().flat_map(|record| record.sealed().map(move |column| (*record, column.name)));
        let condition = |(record, column): (&'static Record, &'static str)| {
            let key = match dialect {
                Dialect::Sqlite => format!("substr({column}, 2, 16) in (select id"),
                Dialect::Postgres => format!("substring({column} from 2 for 16) in (select uuid_send(id)"),
            };
            (record, column, format!("{key} from vault_data_keys where not is_active)"))
        };
        sealed.map(condition).collect()
    }

    /// How many rows are still sealed with keys that were replaced.
    pub(crate) async fn rows_to_reseal(&self) -> Result<i64, StoreError> {
        let mut left = 0;
        for (record, _, retired) in self.retired() {
            let sql = format!("select count(*) from {} where {retired}", record.name);
            left += self.database().across_tenants().query_opt(sql, vec![]).await?.map_or(Ok(0), |row| row.int(0))?;
        }
        Ok(left)
    }

    /// Looks after the vault: finds keys that were added where this server finds its own, says so, and seals rows anew that
    /// wait for it. Gives how many; it is called again and again.
    ///
    /// # Errors
    /// The database does not answer, or a key is not readable any more.
    pub async fn keep_vault(&self) -> Result<u64, StoreError> {
        if !self.vault().is_open() {
            return Ok(0);
        }
        if matches!(self.vault().source, KeySource::File { .. }) {
            self.reload().await?;
        }
        self.announce_keys().await?;
        let mut done = 0;
        for (record, column, retired) in self.retired() {
            // The first tenant's key seals what is the installation's.
            let owner = match record.ownership {
                Ownership::Tenant => "tenant_key".to_owned(),
                Ownership::Global => TenantKey::DEFAULT.0.to_string(),
            };
            let sql = format!("select {owner}, id, {column} from {} where {retired} limit {BATCH_ROWS}", record.name);
            let mut batch = Vec::new();
            for row in self.database().across_tenants().query(sql, vec![]).await? {
                let (tenant, id, sealed) = (row.tenant(0)?, row.uuid(1)?, row.bytes(2)?);
                batch.push(self.resealed((tenant, record), (id, column), sealed).await?);
            }
            done += self.write_resealed(batch).await?;
        }
        let retired = "delete from vault_data_keys where not is_active";
        if done == 0 && self.rows_to_reseal().await? == 0 {
            let dropped = self.database().across_tenants().execute(retired, vec![]).await?;
            if dropped.count > 0 {
                crash_point::hit("after-keys-dropped");
            }
        }
        Ok(done)
    }

    async fn resealed(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        (id, column): (Uuid, &'static str),
        sealed: Vec<u8>,
    ) -> Result<Resealed, StoreError> {
        let place = Place { tenant, table: record.name, column, row: id };
        let old = key_of(&sealed).ok_or_else(cipher::refused)?;
        let plain = self.opening_key(tenant, old).await?.open(&place.bytes(), &sealed)?;
        let mut key = self.sealing_key(tenant).await?;
        if key.id == old {
            // This server has not heard yet that it was replaced.
            self.forget_sealing_key(tenant);
            key = self.sealing_key(tenant).await?;
        }
        let anew = key.seal(&place.bytes(), &plain)?;
        // Whoever gave it a new value meanwhile sealed that with the new key.
        let mut params = vec![id.into(), anew.into(), sealed.into()];
        let mut sql = format!("update {} set {column} = $2 where id = $1 and {column} = $3", record.name);
        if record.ownership == Ownership::Tenant {
            sql.push_str(" and tenant_key = $4");
            params.push(tenant.into());
        }
        Ok(Resealed { tenant, key: key.id, update: Statement::new(sql, params) })
    }

    /// Writes a batch; what was sealed with a key that is no longer the one that seals is left for the next look.
    async fn write_resealed(&self, batch: Vec<Resealed>) -> Result<u64, StoreError> {
        if batch.is_empty() {
            return Ok(0);
        }
        let written = self.database().across_tenants().transact(move |tx| {
            Box::pin(async move {
                let (mut count, mut stale) = (0, Vec::new());
                for Resealed { tenant, key, update } in batch {
                    if seals_with(tx, tenant, key).await? {
                        count += tx.execute(update.sql, update.params).await?;
                    } else {
                        stale.push(tenant);
                    }
                }
                crash_point::hit("before-reseal");
                Ok((count, stale))
            })
        });
        let (count, stale) = written.await?;
        crash_point::hit("after-reseal");
        stale.into_iter().for_each(|tenant| self.forget_sealing_key(tenant));
        Ok(count)
    }
}

/// A row that is sealed anew, and with which key.
struct Resealed {
    tenant: TenantKey,
    key: Uuid,
    update: Statement,
}
