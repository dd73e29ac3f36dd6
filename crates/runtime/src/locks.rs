//! `lock: name` on steps: one attempt of a tenant holds a name at a time.
//!
//! Within a node a lock is in memory. Where several nodes share a database it is a place of the store besides, which
//! a dead node's successor frees.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;
use windlass_engine::id::TenantKey;

use crate::{core::Core, dispatch::Order};

/// Names from which those that nobody holds are dropped.
const LOCKS_MAX: usize = 4_096;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The names that are held here.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    names: Mutex<HashMap<(TenantKey, Arc<str>), Lock>>,
}

/// Holds a name until it is dropped.
pub(crate) struct Held {
    _here: OwnedMutexGuard<()>,
}

impl Locks {
    /// Waits for the name.
    pub(crate) async fn take(&self, _core: &Arc<Core>, order: &Order, name: &Arc<str>) -> Held {
        let lock = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= LOCKS_MAX {
                names.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(names.entry((order.tenant, name.clone())).or_default())
        };
        Held { _here: lock.lock_owned().await }
    }
}
