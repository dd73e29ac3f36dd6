//! Who may do what, as this process remembers it: it knows at once what changed here, and within a moment what changed
//! elsewhere.
//!
//! Each write of a setting, and of a record on which access depends, counts the epoch in the database up, in its transaction. Whoever
//! remembers something of it keeps the epoch beside it and asks [`Store::access_epoch`] before using it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use windlass_engine::id::TenantKey;

use crate::{
    StoreError,
    database::{Row, Tx},
    store::Store,
    tenants::TenantRules,
};

/// How old what another server changed may be before this one has seen it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const EPOCH: &str = "select cast(value as bigint) from settings where name = 'access_epoch'";
pub(crate) const COUNT: &str =
    "update settings set value = cast(cast(value as bigint) + 1 as text) where name = 'access_epoch'";

/// What a process remembers.
#[derive(Debug)]
pub(crate) struct Access {
    rules: RwLock<Arc<HashMap<TenantKey, TenantRules>>>,
    epoch: watch::Sender<i64>,
    looked: Mutex<Instant>,
}

impl Default for Access {
    fn default() -> Access {
        Access { rules: RwLock::default(), epoch: watch::Sender::new(0), looked: Mutex::new(Instant::now()) }
    }
}

/// Counts the epoch up, in the transaction that changes who may do what.
pub(crate) async fn count(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute(COUNT, vec![]).await.map(|_| ())
}

impl Store {
    /// The epoch of who may do what: what was remembered under another one is to be looked up again. It is half a
    /// second old at most, and what this process changed is in it.
    ///
    /// # Errors
    /// The database does not answer; then nothing that is remembered may be used.
    pub async fn access_epoch(&self) -> Result<i64, StoreError> {
        let access = &self.inner.access;
        let due = self.is_shared() && {
            let mut looked = access.looked.lock().unwrap_or_else(PoisonError::into_inner);
            // One of those who ask looks; the others go by what was seen last.
            let due = looked.elapsed() >= LOOK_EVERY;
            if due {
                *looked = Instant::now();
            }
            due
        };
        if due && let Err(error) = self.look_at_access().await {
            let mut looked = access.looked.lock().unwrap_or_else(PoisonError::into_inner);
            *looked = Instant::now().checked_sub(LOOK_EVERY).unwrap_or(*looked);
            return Err(error);
        }
        Ok(*access.epoch.borrow())
    }

    /// Looks whether who may do what was changed elsewhere.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn look_at_access(&self) -> Result<(), StoreError> {
        let access = &self.inner.access;
        let row = self.database().across_tenants().query_opt(EPOCH, vec![]).await?;
        let found = row.map_or(Ok(0), |row| Row::int(&row, 0))?;
        if *access.epoch.borrow() == found {
            return Ok(());
        }
        let rules = self.tenant_rules().await?;
        *access.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        access.epoch.send_replace(found);
        Ok(())
    }

    /// Tells who waits that who may do what has changed.
    pub fn access_changes(&self) -> watch::Receiver<i64> {
        self.inner.access.epoch.subscribe()
    }

    /// What a tenant may use. It is as old as the epoch at most.
    pub fn rules_of(&self, tenant: TenantKey) -> TenantRules {
        self.all_rules().get(&tenant).cloned().unwrap_or_default()
    }

    /// The rules of all tenants that have any.
    pub fn all_rules(&self) -> Arc<HashMap<TenantKey, TenantRules>> {
        Arc::clone(&self.inner.access.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}
