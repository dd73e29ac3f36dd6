//! The vault: the keys with which secrets are sealed.
//!
//! A *master key*, which is never in the database, seals the *root*; the root seals a *data key* for each tenant; data
//! keys seal secrets. So another master key means sealing 64 bytes anew, and a tenant's secrets have a key of their own.
//! The root also gives others keys for purposes of their own ([`Vault::derive`]). `docs/vault.md` is for who runs it,
//! `docs/adr/0015-vault.md` says why.
//!
//! Invariants: a key is in memory alone, and in the database only sealed; a database whose vault was used opens with its
//! master key or not at all.

mod cipher;
mod forget;
mod keys;
mod master;
mod rotate;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use cipher::Secret;
pub(crate) use cipher::{Cipher, key_of, random};
pub use forget::forget_vault;
pub(crate) use keys::seals_with;
pub use keys::{AcceptedKey, VaultStatus};
pub use master::{KeySource, MasterKey, Missing};
pub use rotate::{Rotate, Rotation};

use crate::StoreError;

/// The vault of an open store. It is closed where no master key was given.
pub struct Vault {
    source: KeySource,
    open: RwLock<Option<Open>>,
}

/// What an open vault holds.
struct Open {
    /// The keys that this process found.
    held: Vec<Arc<MasterKey>>,
    root: Arc<Root>,
    data_keys: HashMap<Uuid, Arc<Cipher>>,
    /// With which data key a tenant seals.
    active: HashMap<TenantKey, Uuid>,
}

/// The installation's own secret.
struct Root {
    /// Seals data keys.
    cipher: Cipher,
    /// Gives keys for other purposes; it stays when data keys are made anew.
    purposes: Secret,
    /// Both, to be sealed with another master key.
    both: zeroize::Zeroizing<Vec<u8>>,
}

/// A key for one purpose.
pub struct DerivedKey(Secret);

impl DerivedKey {
    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Vault {
    pub(crate) fn closed(source: KeySource) -> Vault {
        Vault { source, open: RwLock::new(None) }
    }

    /// Whether secrets can be sealed and opened.
    pub fn is_open(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// A key for one purpose, such as `audit checkpoints 1`: the same on every server of the installation and after every
    /// rotation, and of no use for any other purpose.
    ///
    /// # Errors
    /// The vault is closed: no master key was given.
    pub fn derive(&self, purpose: &str) -> Result<DerivedKey, StoreError> {
        self.with(|open| DerivedKey(cipher::derive(&open.root.purposes, &format!("purpose: {purpose}"))))
    }

    fn with<T>(&self, look: impl FnOnce(&Open) -> T) -> Result<T, StoreError> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look).ok_or_else(|| self.is_closed())
    }

    fn is_closed(&self) -> StoreError {
        StoreError::Locked(match self.source {
            KeySource::Unasked => "this command opens no vault".to_owned(),
            _ => "the vault is closed, because no master key was given: make one with `windlass vault new-key`, keep it, \
                  and start every server with it (--master-key-file, WINDLASS_MASTER_KEY or --master-key-command)"
                .to_owned(),
        })
    }
}

/// Where in the database something sealed lies: what it was sealed for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub tenant: TenantKey,
    pub table: &'a str,
    pub column: &'a str,
    pub row: Uuid,
}

impl Place<'_> {
    /// It as associated data.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let names = format!("windlass\0{}\0{}\0", self.table, self.column);
        [names.as_bytes(), &i64::from(self.tenant.0).to_be_bytes(), self.row.as_bytes()].concat()
    }
}

/// A time for people.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
