//! Dispatch: attempts run here, within the bounds of the node, the tenant and the workflow, under locks and rates.
//!
//! Invariant: every attempt that begins ends with one answer to its run, whatever its code does; a panic is a failure
//! like any other. An attempt takes its place before it begins, so what waits for a place has had no effect.

use std::{
    collections::HashMap,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use windlass_definition::{Class, Error, Value, plan::Plan};
use windlass_engine::{
    Event,
    effect::RunStep,
    event::Failure,
    id::{RunId, TenantKey},
    trace::Trace,
};

use windlass_store::{Standing, crash_point};

use crate::{
    core::Core,
    live::LiveEvent,
    live_run::Source,
    metrics::add,
    secrets::{self, Revealed},
    settings::Settings,
    step::{Sent, Step, StepContext, StepFailure},
    turner::Deliver,
};

/// Entries of a table of places from which unused ones are dropped.
const PLACES_MAX: usize = 4_096;

/// Between two looks at a lease that was renewed too late.
const LEASE_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// An attempt to be run.
pub(crate) struct Order {
    pub(crate) tenant: TenantKey,
    pub(crate) run: RunId,
    pub(crate) workflow: Arc<str>,
    pub(crate) trace: Trace,
    pub(crate) plan: Arc<Plan>,
    pub(crate) step: RunStep,
    pub(crate) stop: CancellationToken,
    pub(crate) waits_for: WaitsFor,
    /// Of the run's state that asked for it.
    pub(crate) generation: u64,
}

/// What an attempt waits for before it begins, in a word; nothing once it has begun.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitsFor(Arc<Mutex<Option<&'static str>>>);

impl WaitsFor {
    fn set(&self, what: Option<&'static str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    pub(crate) fn get(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places for attempts.
pub(crate) struct Places {
    closed: CancellationToken,
    node: Arc<Semaphore>,
    tenants: Table<TenantKey>,
    workflows: Table<(TenantKey, Arc<str>)>,
    pub(crate) locks: crate::locks::Locks,
    pub(crate) rates: crate::rates::Rates,
}

impl Places {
    pub(crate) fn new(settings: &Settings) -> Places {
        Places {
            closed: CancellationToken::new(),
            node: Arc::new(Semaphore::new(settings.attempts_max)),
            tenants: Table::new(settings.attempts_per_tenant_max),
            workflows: Table::new(settings.attempts_per_workflow_max),
            locks: crate::locks::Locks::default(),
            rates: crate::rates::Rates::default(),
        }
    }

    /// Nothing begins any more.
    pub(crate) fn close(&self) {
        self.node.close();
        self.closed.cancel();
    }

    /// Takes a place in each; `None` once nothing begins any more. The narrowest is taken first: whoever waits for
    /// his own tenant's place keeps no place of the node from others.
    async fn take(&self, order: &Order) -> Option<[OwnedSemaphorePermit; 3]> {
        let workflow = self.workflows.get((order.tenant, order.workflow.clone())).acquire_owned().await.ok()?;
        let tenant = self.tenants.get(order.tenant).acquire_owned().await.ok()?;
        let node = Arc::clone(&self.node).acquire_owned().await.ok()?;
        Some([workflow, tenant, node])
    }
}

/// Semaphores by key, each of the same size.
#[derive(Debug)]
pub(crate) struct Table<K> {
    size: usize,
    places: Mutex<HashMap<K, Arc<Semaphore>>>,
}

impl<K: Eq + Hash> Table<K> {
    pub(crate) fn new(size: usize) -> Table<K> {
        Table { size, places: Mutex::default() }
    }

    pub(crate) fn get(&self, key: K) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(places.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.size))))
    }
}

/// Runs an attempt as soon as there is a place for it, and tells its run how it ended.
pub(crate) fn dispatch(core: &Arc<Core>, code: Arc<dyn Step>, order: Order) {
    let owned = Arc::clone(core);
    core.metrics.gauges().attempts_open.add(1);
    core.spawn(async move {
        crash_point::hit("before-attempt");
        if let Some((started_at, result)) = attempt(&owned, code, &order).await {
            crash_point::hit("after-attempt");
            add(&owned.metrics.attempts_ended, 1);
            let Order { tenant, run, step, generation, .. } = order;
            let event = Event::StepEnded { path: step.path, attempt: step.attempt, started_at, result };
            owned.deliver(Deliver::new(tenant, run, event).from(Source::Attempt(generation)));
        }
        // Only now: who waits for the last attempt wants its run to have been told.
        owned.metrics.gauges().attempts_open.add(-1);
        owned.attempt_ended.notify_waiters();
    });
}

type Ended = (windlass_definition::Timestamp, Result<Value, Failure>);

/// One attempt; `None` when it did not begin because the node is about to stop.
async fn attempt(core: &Arc<Core>, code: Arc<dyn Step>, order: &Order) -> Option<Ended> {
    let waiting = async {
        let lock = match &order.step.lock {
            Some(name) => {
                order.waits_for.set(Some("lock"));
                Some(core.places.locks.take(core, order, name).await)
            }
            None => None,
        };
        if let Some((rate, name)) = &order.step.rate {
            order.waits_for.set(Some("rate"));
            core.places.rates.wait(core, (order.tenant, name), *rate).await;
        }
        let places = place(core, order).await?;
        // A node that may have lost its lanes starts no effects. The store is gone when nobody can say any more.
        while !core.store.lease_holds() {
            let mut standing = core.store.standing();
            // A process that was stopped may not know yet how it stands.
            if standing.wait_for(|standing| *standing == Standing::Alive).await.is_err() {
                return None;
            }
            tokio::time::sleep(LEASE_LOOK).await;
        }
        Some((lock, places))
    };
    let held = tokio::select! {
        biased;
        () = order.stop.cancelled() => return Some((core.now(), Err(Failure::certain(stopped())))),
        // What comes back is looked through for what is in the vault, which is read meanwhile where that is due.
        (held, _) = async { tokio::join!(waiting, core.known.of_vault(&core.store, order.tenant)) } => held?,
    };
    order.waits_for.set(None);
    let started_at = core.now();
    core.watchers.tell(
        order.run,
        [LiveEvent::StepStarted {
            path: order.step.path.clone(),
            type_name: order.step.type_name.clone(),
            attempt: order.step.attempt,
            at: started_at,
        }],
    );
    // The code is not used again after a panic: each attempt has a context of its own.
    let work = async {
        let Revealed { with, credential, bounds } = secrets::reveal(core, order).await?;
        if let Some(bound) = bounds.first().filter(|_| !code.keeps_bounds()) {
            return Err(StepFailure::nothing_sent(secrets::goes_anywhere(&order.step.type_name, bound)));
        }
        let context = StepContext { credential, bounds, ..context(core, order) };
        code.run(&context, with).await
    };
    let result = AssertUnwindSafe(work).catch_unwind().await;
    drop(held);
    let known = core.known.of_vault(&core.store, order.tenant).await;
    let result = match result {
        Ok(result) => secrets::cleaned(known, result).map_err(failure),
        Err(panic) => {
            add(&core.metrics.attempts_panicked, 1);
            let error = panicked(&order.step.type_name, panic.as_ref());
            let error = known.map_or_else(|| error.clone(), |known| known.error(error.clone()));
            Err(Failure { error, unknown: true })
        }
    };
    Some((started_at, result))
}

/// A place for the attempt, once its tenant may do anything; `None` once nothing begins any more.
async fn place(core: &Core, order: &Order) -> Option<[OwnedSemaphorePermit; 3]> {
    let mut changes = core.store.access_changes();
    loop {
        while core.store.rules_of(order.tenant).suspended {
            order.waits_for.set(Some("tenant"));
            tokio::select! {
                () = core.places.closed.cancelled() => return None,
                changed = changes.changed() => changed.ok()?,
            }
        }
        order.waits_for.set(Some("place"));
        let places = core.places.take(order).await?;
        // It may have been suspended while it waited.
        if !core.store.rules_of(order.tenant).suspended {
            return Some(places);
        }
    }
}

fn context(core: &Arc<Core>, order: &Order) -> StepContext {
    StepContext {
        tenant: order.tenant,
        run: order.run,
        workflow: order.workflow.clone(),
        path: order.step.path.clone(),
        key: order.step.key.clone(),
        trace: order.trace.clone(),
        attempt: order.step.attempt,
        now: order.step.now,
        stop: order.stop.clone(),
        store: core.store.clone(),
        events: Arc::new(crate::events::Intake(Arc::clone(core))),
        credential: None,
        bounds: Arc::default(),
    }
}

/// A step's failure in the engine's terms.
pub(crate) fn failure(failure: StepFailure) -> Failure {
    Failure { error: failure.error, unknown: failure.sent == Sent::Maybe }
}

fn stopped() -> Error {
    Error::new(Class::Cancelled, "stopped", "the attempt was asked to stop before it began")
}

fn panicked(type_name: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("the code of step type `{type_name}` panicked: {}", said.unwrap_or("it did not say why"));
    Error::new(Class::Script, "step_panicked", message)
}
