//! The keys of the vault in the database: the root for each accepted master key, and a data key for each tenant.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use serde::Serialize;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use zeroize::Zeroizing;

use super::{
    Open, Root, Vault,
    cipher::{self, Cipher, Secret},
    day,
    master::{self, KeySource, MasterKey, Missing},
};
use crate::{
    AuditKey, StoreError,
    database::{Row, Tx, Value},
    store::Store,
};

/// The purpose of the key that signs the audit.
const AUDIT_PURPOSE: &str = "audit checkpoints 1";
const ACCEPTED: &str = "select id, root_id, root, created_at from vault_master_keys order by created_at, id";
/// Only into an empty table: of two servers that start at once, one sets the vault up.
const SET_UP: &str = "insert into vault_master_keys (id, root_id, root, is_first, created_at) \
                      values ($1, $2, $3, $4, $5) on conflict do nothing";
const DATA_KEY: &str = "select sealed from vault_data_keys where tenant_key = $1 and id = $2";
const ACTIVE: &str = "select id, sealed from vault_data_keys where tenant_key = $1 and is_active";
/// Not under a root that was replaced meanwhile: nobody could open it after the next start.
const ADD: &str = "insert into vault_data_keys (tenant_key, id, sealed, is_active, created_at) \
                   select $1, $2, $3, $4, $5 where exists (select 1 from vault_master_keys where root_id = $6) \
                   on conflict do nothing";

/// A master key that opens the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AcceptedKey {
    /// Its id.
    pub id: Uuid,
    /// Since when it opens it.
    pub created_at: Timestamp,
    /// Whether this process holds it.
    pub held: bool,
}

/// How it stands with the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VaultStatus {
    /// Whether secrets can be sealed and opened here.
    pub is_open: bool,
    /// Where this process found its master key.
    pub source: String,
    /// The master keys that open it, the oldest first; several while one replaces the other.
    pub accepted: Vec<AcceptedKey>,
    /// How many data keys there are.
    pub data_keys: i64,
    /// Rows that are still to be sealed anew, after data keys were replaced.
    pub rows_left: i64,
}

/// The root as it is stored, once for each master key that opens it.
pub(super) struct StoredRoot {
    pub master: Uuid,
    pub id: Uuid,
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
}

fn stored_root(row: &Row) -> Result<StoredRoot, StoreError> {
    Ok(StoredRoot { master: row.uuid(0)?, id: row.uuid(1)?, sealed: row.bytes(2)?, created_at: row.time(3)? })
}

impl Root {
    fn new() -> Result<Root, StoreError> {
        let both = [cipher::random()?.as_slice(), cipher::random()?.as_slice()].concat();
        Root::of(Uuid::now_v7(), Zeroizing::new(both))
    }

    pub(super) fn of(id: Uuid, both: Zeroizing<Vec<u8>>) -> Result<Root, StoreError> {
        let (keys, purposes) = both.split_at_checked(32).ok_or_else(cipher::refused)?;
        let keys = Secret::new(keys.try_into().map_err(|_| cipher::refused())?);
        let purposes = Secret::new(purposes.try_into().map_err(|_| cipher::refused())?);
        Ok(Root { cipher: Cipher::new(id, &cipher::derive(&keys, "data keys")), purposes, both })
    }

    /// It as a row for a master key.
    pub(super) fn sealed_for(&self, master: &MasterKey) -> Result<Vec<u8>, StoreError> {
        master.cipher.seal(&root_place(self.cipher.id), &self.both)
    }
}

fn root_place(id: Uuid) -> Vec<u8> {
    [b"windlass root\0", id.as_bytes().as_slice()].concat()
}

pub(super) fn data_key_place(tenant: TenantKey, id: Uuid) -> Vec<u8> {
    [b"windlass data key\0".as_slice(), &tenant.0.to_be_bytes(), id.as_bytes()].concat()
}

impl Store {
    /// The vault of this store.
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// Opens the vault with the master key that the options name, and sets it up where it was never used.
    pub(crate) async fn unlock(&self) -> Result<(), StoreError> {
        let source = &self.vault().source;
        if matches!(source, KeySource::Unasked) {
            return Ok(());
        }
        let mut held = source.read()?;
        let mut stored = self.roots().await?;
        if stored.is_empty() {
            if let (true, KeySource::File { path, missing }) = (held.is_empty(), source) {
                held = vec![first_key(path, *missing)?];
            }
            let Some(key) = held.last() else { return Ok(()) };
            self.set_up(key).await?;
            stored = self.roots().await?;
        }
        let root = open_root(&stored, &held)?.ok_or_else(|| self.does_not_open(&stored, &held))?;
        let open = Open { held, root: Arc::new(root), data_keys: HashMap::new(), active: HashMap::new() };
        *self.vault().open.write().unwrap_or_else(PoisonError::into_inner) = Some(open);
        let seed = self.vault().derive(AUDIT_PURPOSE)?;
        self.sign_audit_with(Some(AuditKey::from_seed(seed.as_bytes())?));
        self.announce_keys().await
    }

    pub(super) async fn roots(&self) -> Result<Vec<StoredRoot>, StoreError> {
        self.database().across_tenants().query(ACCEPTED, vec![]).await?.iter().map(stored_root).collect()
    }

    async fn set_up(&self, key: &MasterKey) -> Result<(), StoreError> {
        let root = Root::new()?;
        let params = vec![
            key.id().into(),
            root.cipher.id.into(),
            root.sealed_for(key)?.into(),
            Value::Bool(true),
            self.now().into(),
        ];
        self.database().across_tenants().execute(SET_UP, params).await.map(|_| ())
    }

    /// Reads keys and root anew, after another server may have replaced them.
    pub(super) async fn reload(&self) -> Result<(), StoreError> {
        let held = self.vault().source.read()?;
        let stored = self.roots().await?;
        let root = open_root(&stored, &held)?.ok_or_else(|| self.does_not_open(&stored, &held))?;
        if let Some(open) = self.vault().open.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            (open.held, open.root) = (held, Arc::new(root));
        }
        Ok(())
    }

    /// What to do when no key that is held opens the vault.
    fn does_not_open(&self, stored: &[StoredRoot], held: &[Arc<MasterKey>]) -> StoreError {
        let keys = |keys: Vec<String>| keys.join(" and ");
        let needed = keys(stored.iter().map(|it| format!("{} (since {})", it.master, day(it.created_at))).collect());
        let source = &self.vault().source;
        let found = match (held.is_empty(), source) {
            (true, KeySource::File { path, .. }) => format!("there is no file {}", path.display()),
            (true, _) => "no master key was given".to_owned(),
            (false, _) => {
                let found = keys(held.iter().map(|key| key.id().to_string()).collect());
                format!("{} holds key {found}", source.describe())
            }
        };
        StoreError::Locked(format!(
            "the master key is missing or wrong: secrets in this database open with key {needed}, and {found}.\n  \
             To recover: give the right key with --master-key-file, WINDLASS_MASTER_KEY or --master-key-command. The first \
             start of a data directory wrote it into master.key there; a backup of the database does not hold it.\n  \
             If it is lost for good, all secrets and credentials are lost with it; workflows, runs and all else are not: \
             `windlass vault forget --yes` gives up what cannot be read any more, and the next start begins with a new key"
        ))
    }

    /// How it stands with the vault.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn vault_status(&self) -> Result<VaultStatus, StoreError> {
        let held =
            self.vault().with(|open| open.held.iter().map(|key| key.id()).collect::<Vec<_>>()).unwrap_or_default();
        let accepted = self.roots().await?.into_iter();
        let accepted = accepted.map(|it| AcceptedKey {
            id: it.master,
            created_at: it.created_at,
            held: held.contains(&it.master),
        });
        let count = self.database().across_tenants().query_opt("select count(*) from vault_data_keys", vec![]).await?;
        Ok(VaultStatus {
            is_open: self.vault().is_open(),
            source: self.vault().source.describe(),
            accepted: accepted.collect(),
            data_keys: count.map_or(Ok(0), |row| row.int(0))?,
            rows_left: self.rows_to_reseal().await?,
        })
    }

    /// The data key with which a tenant seals now; its first is made here.
    pub(crate) async fn sealing_key(&self, tenant: TenantKey) -> Result<Arc<Cipher>, StoreError> {
        let known = |open: &Open| open.data_keys.get(open.active.get(&tenant)?).cloned();
        if let Some(key) = self.vault().with(known)? {
            return Ok(key);
        }
        // A root that is replaced in this moment, or another server that makes a key, is found by looking again.
        for _ in 0..3 {
            if let Some(row) = self.database().of(tenant).query_opt(ACTIVE, vec![tenant.into()]).await? {
                let id = row.uuid(0)?;
                let key = self.unsealed(tenant, id, &row.bytes(1)?).await?;
                self.remember(&key, Some(tenant));
                return Ok(key);
            }
            let root = self.vault().with(|open| Arc::clone(&open.root))?;
            let (id, secret) = (Uuid::now_v7(), cipher::random()?);
            let sealed = root.cipher.seal(&data_key_place(tenant, id), secret.as_slice())?;
            let root = root.cipher.id;
            let params =
                vec![tenant.into(), id.into(), sealed.into(), Value::Bool(true), self.now().into(), root.into()];
            if self.database().of(tenant).execute(ADD, params).await?.count == 0 {
                self.reload().await?;
            }
        }
        Err(StoreError::Unavailable("the vault's keys are being replaced: try again".to_owned()))
    }

    /// The data key of that id.
    pub(crate) async fn opening_key(&self, tenant: TenantKey, id: Uuid) -> Result<Arc<Cipher>, StoreError> {
        if let Some(key) = self.vault().with(|open| open.data_keys.get(&id).cloned())? {
            return Ok(key);
        }
        let row = self.database().of(tenant).query_opt(DATA_KEY, vec![tenant.into(), id.into()]).await?;
        let row = row.ok_or_else(|| StoreError::damaged(format!("the vault has no data key {id}")))?;
        let key = self.unsealed(tenant, id, &row.bytes(0)?).await?;
        self.remember(&key, None);
        Ok(key)
    }

    async fn unsealed(&self, tenant: TenantKey, id: Uuid, sealed: &[u8]) -> Result<Arc<Cipher>, StoreError> {
        if cipher::key_of(sealed) != Some(self.vault().with(|open| open.root.cipher.id)?) {
            self.reload().await?;
        }
        let root = self.vault().with(|open| Arc::clone(&open.root))?;
        let plain = root.cipher.open(&data_key_place(tenant, id), sealed)?;
        let secret = plain.as_slice().try_into().map_err(|_| cipher::refused())?;
        Ok(Arc::new(Cipher::new(id, &Secret::new(secret))))
    }

    fn remember(&self, key: &Arc<Cipher>, seals_for: Option<TenantKey>) {
        if let Some(open) = self.vault().open.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.data_keys.insert(key.id, Arc::clone(key));
            open.active.extend(seals_for.map(|tenant| (tenant, key.id)));
        }
    }

    /// Forgets with which key a tenant seals: it is asked for again.
    pub(crate) fn forget_sealing_key(&self, tenant: TenantKey) {
        if let Some(open) = self.vault().open.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.active.remove(&tenant);
        }
    }
}

/// Whether a tenant still seals with that key. The answer holds until the transaction ends: who retires a key waits for it.
pub(crate) async fn seals_with(tx: &mut Tx, tenant: TenantKey, key: Uuid) -> Result<bool, StoreError> {
    let lock = tx.dialect().pick("", " for share");
    let sql = format!("select 1 from vault_data_keys where tenant_key = $1 and id = $2 and is_active{lock}");
    Ok(!tx.query(sql, vec![tenant.into(), key.into()]).await?.is_empty())
}

pub(super) fn open_root(stored: &[StoredRoot], held: &[Arc<MasterKey>]) -> Result<Option<Root>, StoreError> {
    for it in stored {
        if let Some(key) = held.iter().find(|key| key.id() == it.master) {
            let both = key.cipher.open(&root_place(it.id), &it.sealed)?;
            return Ok(Some(Root::of(it.id, both)?));
        }
    }
    Ok(None)
}

/// Makes the key of an installation that starts for the first time.
fn first_key(path: &std::path::Path, missing: Missing) -> Result<Arc<MasterKey>, StoreError> {
    if missing == Missing::Refuse {
        let text = "`windlass vault new-key` prints a new one for it";
        return Err(StoreError::Locked(format!("there is no master key: no file {}; {text}", path.display())));
    }
    let key = Arc::new(MasterKey::generate()?);
    master::write_file(path, std::slice::from_ref(&key))?;
    tracing::info!(path = %path.display(), key = %key.id(), "made the master key: keep a copy of it elsewhere, for no backup holds it");
    Ok(key)
}
