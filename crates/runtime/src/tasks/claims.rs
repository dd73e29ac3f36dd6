//! The claims that this node made: as long as one holds, nobody else can have its task, so that nothing has to be read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::{
    effect::OfferTask,
    id::{RunId, TaskId, TenantKey},
};
use windlass_store::{Holder, LaneId};

use super::leases::Leases;
use crate::views::ClaimedTask;

/// Claims that are known without reading; those beyond are read when their workers answer.
const HELD_MAX: usize = 200_000;

/// A claim that holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(super) tenant: TenantKey,
    pub(super) token: Uuid,
    pub(super) worker: Arc<str>,
    pub(super) until: Timestamp,
    pub(super) lane: LaneId,
    pub(super) run: RunId,
    pub(super) path: Arc<str>,
    pub(super) attempt: u32,
}

/// A task that is on disk by its run's journal, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) tenant: TenantKey,
    pub(crate) run: RunId,
    pub(crate) lane: LaneId,
    pub(crate) task: OfferTask,
}

impl Offered {
    /// The claim on it, and what its worker is told.
    pub(super) fn claimed(self, holder: Holder) -> (Held, ClaimedTask) {
        let Offered { tenant, run, lane, task } = self;
        let OfferTask { task: id, path, attempt, key, queue, input, .. } = task;
        let Holder { worker, token, until } = holder;
        let held = Held { tenant, token, worker, until, lane, run, path: Arc::clone(&path), attempt };
        let token = token.to_string();
        (held, ClaimedTask { id, token, queue, run_id: run, path, attempt, key, input, lease_until: until })
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: Mutex<HashMap<TaskId, Held>>,
    pub(super) leases: Leases,
}

impl Claims {
    pub(super) fn held(&self) -> MutexGuard<'_, HashMap<TaskId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more claim will be known without reading.
    pub(crate) fn have_room(&self) -> bool {
        self.held().len() < HELD_MAX / 2
    }

    pub(super) fn hold(&self, task: TaskId, claim: Held) {
        self.leases.claimed(claim.until);
        let mut held = self.held();
        if held.len() < HELD_MAX {
            held.insert(task, claim);
        }
    }
}
