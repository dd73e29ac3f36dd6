//! Places of workflows with `concurrency`: who holds one, who waits for one.
//!
//! A place is a row of its own transaction, never of a run's commit. A crash between the two leaves a place without a
//! run, or a run that ended with its place: [`reconcile`] looks for both again and again.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use windlass_definition::Timestamp;
use windlass_engine::{
    Event, Start,
    event::UndoChoice,
    id::{RunId, TenantKey},
    start::Principal,
};
use windlass_store::{QueuedRun, SlotKey};

use crate::{core::Core, dispatch::Table, error::RuntimeError, turner::Deliver};

/// Queued runs that one freed place looks through.
const QUEUE_PAGE: i64 = 100;
const GROUPS_PAGE: i64 = 1_000;
/// How long a place may wait for its run to begin.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Admissions of a tenant run one after another in a process, so that the order of the queue is the order of admission.
#[derive(Debug)]
pub(crate) struct Slots {
    admitting: Table<TenantKey>,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { admitting: Table::new(1) }
    }
}

impl Slots {
    /// Waits for this tenant's turn, and has it until what it gives is dropped.
    async fn turn(&self, tenant: TenantKey) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.admitting.get(tenant).acquire_owned().await.ok()
    }
}

/// What a run takes a place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tenant: TenantKey,
    pub(crate) workflow: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) limit: u32,
}

impl Place {
    pub(crate) fn full(&self) -> RuntimeError {
        let key = if self.key.is_empty() { String::new() } else { format!(" with the key `{}`", self.key) };
        RuntimeError::conflict(
            "concurrency_limit",
            format!("workflow `{}` has {} open runs{key}, the most it may have", self.workflow, self.limit),
        )
    }

    fn slot(&self) -> SlotKey {
        SlotKey { workflow: self.workflow.to_string(), key: self.key.to_string() }
    }

    pub(crate) fn queued(&self, priority: i32, queued_at: Timestamp) -> QueuedRun {
        let (workflow, slot_key) = (self.workflow.to_string(), self.key.to_string());
        QueuedRun { workflow, slot_key, priority, queued_at }
    }
}

/// Takes a place, if one is free and nobody waits for it.
pub(crate) async fn take(core: &Core, place: &Place, run: RunId) -> Result<bool, RuntimeError> {
    let _turn = core.slots.turn(place.tenant).await;
    let waiting = core.store.queued_runs(place.tenant, &place.slot(), 1).await?;
    if !waiting.is_empty() {
        return Ok(false);
    }
    Ok(core.store.take_slot(place.tenant, &place.slot(), run, place.limit).await?)
}

/// Gives a place back, and lets the next one in.
pub(crate) async fn leave(core: &Arc<Core>, place: &Place, run: RunId) {
    if let Err(error) = core.store.release_slots(place.tenant, run).await {
        tracing::warn!(%run, %error, "a place is not free yet; it will be found");
        return;
    }
    admit(core, place).await;
}

/// Lets queued runs in, as far as there are places: the higher priority first, then the one that came first.
pub(crate) async fn admit(core: &Arc<Core>, place: &Place) {
    if let Err(error) = try_admit(core, place).await {
        tracing::warn!(workflow = %place.workflow, %error, "queued runs wait until the next look");
    }
}

async fn try_admit(core: &Arc<Core>, place: &Place) -> Result<(), RuntimeError> {
    let _turn = core.slots.turn(place.tenant).await;
    let queued = core.store.queued_runs(place.tenant, &place.slot(), QUEUE_PAGE).await?;
    for waiting in queued {
        let run = waiting.run;
        if !core.store.take_slot(place.tenant, &place.slot(), run, place.limit).await? {
            break;
        }
        core.tell(Deliver::new(place.tenant, run, Event::Admit)).await?;
    }
    Ok(())
}

/// `replace`: cancels whoever waits for this place, and the oldest run that holds it.
pub(crate) async fn make_room(core: &Arc<Core>, place: &Place) -> Result<(), RuntimeError> {
    let queued = core.store.queued_runs(place.tenant, &place.slot(), QUEUE_PAGE).await?;
    let holding = core.store.slot_holders(place.tenant, &place.slot()).await?;
    let oldest = holding.into_iter().take(1);
    for run in queued.into_iter().map(|waiting| waiting.run).chain(oldest) {
        let event = Event::Cancel {
            by: Principal::System,
            reason: Some("a newer run of the workflow took its place".into()),
            undo: UndoChoice::Undo,
        };
        core.tell(Deliver::new(place.tenant, run, event)).await?;
    }
    Ok(())
}

impl Core {
    /// A run has ended: its place is free.
    pub(crate) fn free_place(self: &Arc<Core>, start: &Start, plan: &windlass_definition::Plan) {
        let Ok(Some(place)) = crate::starts::place_of(start, plan) else { return };
        let (core, run) = (Arc::clone(self), start.run);
        self.spawn(async move { leave(&core, &place, run).await });
    }
}

/// Frees the places of runs that have ended or never began, and lets in whoever waits for a free one.
pub(crate) async fn reconcile(core: &Arc<Core>) -> Result<(), RuntimeError> {
    for (tenant, run) in core.store.stale_slots(PATIENCE, GROUPS_PAGE).await? {
        core.store.release_slots(tenant, run).await?;
    }
    for (tenant, slot) in core.store.queued_groups(&core.store.lanes(), GROUPS_PAGE).await? {
        let Some(first) = core.store.queued_runs(tenant, &slot, 1).await?.into_iter().next() else { continue };
        let Some(row) = core.store.run(tenant, first.run).await? else { continue };
        let plan = core.plans.find(&core.store, tenant, row.definition_hash).await?;
        let Some(concurrency) = &plan.plan.concurrency else { continue };
        let SlotKey { workflow, key } = slot;
        admit(core, &Place { tenant, workflow: workflow.into(), key: key.into(), limit: concurrency.limit }).await;
    }
    Ok(())
}
