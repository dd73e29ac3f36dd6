//! `lock: name` on steps: one attempt of a tenant holds a name at a time.
//!
//! Within a node a lock is in memory. Where several nodes share a database it is a place of the store besides, held in
//! the name of the run: a run that goes on elsewhere finds its own place and goes on, and one that has ended has its
//! places taken from it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;
use windlass_engine::id::{RunId, TenantKey};
use windlass_store::{Dialect, SlotKey};

use crate::{core::Core, dispatch::Order};

/// Names from which those that nobody holds are dropped.
const LOCKS_MAX: usize = 4_096;
/// Between two looks at a place that another node holds.
const POLL: Duration = Duration::from_millis(100);
/// The group of places that locks are; no workflow has such a name.
const GROUP: &str = ":lock";

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The names that are held here.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    names: Mutex<HashMap<(TenantKey, Arc<str>), Lock>>,
}

/// Holds a name until it is dropped.
pub(crate) struct Held {
    here: Option<OwnedMutexGuard<()>>,
    there: Option<Place>,
}

/// A place of the store.
struct Place {
    core: Arc<Core>,
    tenant: TenantKey,
    slot: SlotKey,
    run: RunId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(Place { core, tenant, slot, run }) = self.there.take() else { return };
        let here = self.here.take();
        let store = core.store.clone();
        core.spawn(async move {
            // Nobody here takes the name before the place is free for everybody.
            let _here = here;
            if let Err(error) = store.release_slot(tenant, &slot, run).await {
                tracing::warn!(%run, lock = slot.key, %error, "a lock is not free before its run has ended");
            }
        });
    }
}

impl Locks {
    /// Waits for the name. Given up halfway, it holds nothing.
    pub(crate) async fn take(&self, core: &Arc<Core>, order: &Order, name: &Arc<str>) -> Held {
        let here = Some(self.name(order.tenant, name).lock_owned().await);
        if core.store.database().dialect() == Dialect::Sqlite {
            return Held { here, there: None };
        }
        let (tenant, run) = (order.tenant, order.run);
        let slot = SlotKey { workflow: GROUP.to_owned(), key: name.to_string() };
        let held = Held { here, there: Some(Place { core: Arc::clone(core), tenant, slot: slot.clone(), run }) };
        loop {
            match core.store.take_slot(tenant, &slot, run, 1).await {
                Ok(true) => return held,
                Ok(false) => {}
                Err(error) => tracing::warn!(%run, lock = slot.key, %error, "a lock cannot be asked for now"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn name(&self, tenant: TenantKey, name: &Arc<str>) -> Lock {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= LOCKS_MAX {
            names.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(names.entry((tenant, name.clone())).or_default())
    }
}
