//! The runtime as its users see it: the server and the command line.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use windlass_definition::step_type::StepTypes;
use windlass_store::Store;

use crate::{
    core::Core,
    error::RuntimeError,
    metrics::MetricsSnapshot,
    recovery::{self, Recovery},
    settings::Settings,
    step::Catalogue,
    turner::{Message, Turner},
};

/// Turners evaluate expressions and read deep values.
const TURNER_STACK_BYTES: usize = 64 << 20;

/// How long a runtime that stops waits for what is on its way to the disk, and then for what runs in the background.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// A runtime on an open store. A cheap handle; when the last one is dropped, everything stops where it is, as if the
/// process had ended.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) core: Arc<Core>,
    _alive: Arc<Alive>,
}

/// Stops what runs in the background.
struct Alive(Arc<Core>);

impl Drop for Alive {
    fn drop(&mut self) {
        stop(&self.0);
    }
}

fn stop(core: &Core) {
    core.aborted.cancel();
    core.send_all(|| Message::Stop);
}

impl Runtime {
    /// Begins to turn the runs of the store's lanes. Runs that were under way go on at once, in the background.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub async fn open(store: Store, catalogue: Catalogue, settings: Settings) -> Result<Runtime, RuntimeError> {
        let (core, inboxes) = Core::new(store, catalogue, settings);
        let core = Arc::new(core);
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let (turner, core) = (Turner::new(Arc::clone(&core), number, inbox), Arc::clone(&core));
            let thread = std::thread::Builder::new().name(format!("windlass-turner-{number}"));
            let spawned = thread.stack_size(TURNER_STACK_BYTES).spawn(move || core.wheels()[number].turn(turner));
            spawned.map_err(|error| RuntimeError::unavailable(format!("no thread to turn runs on: {error}")))?;
        }
        let told = Arc::downgrade(&core);
        core.store.after_batches(move || {
            if let Some(core) = told.upgrade() {
                core.batch_told();
            }
        });
        core.spawn(recovery::run(Arc::clone(&core), Recovery::new()));
        core.spawn(crate::backlog::run(Arc::clone(&core)));
        core.spawn(crate::foreign::run(Arc::clone(&core)));
        core.spawn(crate::retention::run(Arc::clone(&core)));
        core.spawn(crate::search::run(Arc::clone(&core)));
        core.spawn(crate::audit::run(Arc::clone(&core)));
        Ok(Runtime { _alive: Arc::new(Alive(Arc::clone(&core))), core })
    }

    /// Takes nothing new, lets running attempts end for that long, and stops once all that happened is on disk, or is
    /// not after [`FLUSH_MAX`]. What still runs then goes on elsewhere, or here after the next start.
    pub async fn shutdown(&self, grace: Duration) {
        self.core.drain();
        self.core.places.close();
        let ended = async {
            loop {
                // Listened to before the look, so that the last end is not missed.
                let attempt_ended = self.core.attempt_ended.notified();
                if self.core.metrics.gauges().attempts_open.get() == 0 {
                    return;
                }
                attempt_ended.await;
            }
        };
        // What has not ended by then is taken up again after the next start.
        let _ = tokio::time::timeout(grace, ended).await;
        let drained: Vec<oneshot::Receiver<()>> = self
            .core
            .wheels()
            .iter()
            .map(|wheel| {
                let (reply, drained) = oneshot::channel();
                // A turner that is gone has nothing on its way.
                wheel.send(Message::Drain(reply));
                drained
            })
            .collect();
        if tokio::time::timeout(FLUSH_MAX, futures::future::join_all(drained)).await.is_err() {
            tracing::warn!("not all that happened is on disk yet; what is not goes on from what is");
        }
        if let Ok(Err(error)) = tokio::time::timeout(FLUSH_MAX, self.core.store.flush_state_reads()).await {
            tracing::warn!(%error, "reads of shared state since the last sweep are not counted");
        }
        // What is not sealed now is by whoever works with the database next.
        if let Ok(Err(error)) = tokio::time::timeout(FLUSH_MAX, crate::audit::tick(&self.core)).await {
            tracing::warn!(%error, "the audit was not sealed at the end");
        }
        stop(&self.core);
        if tokio::time::timeout(FLUSH_MAX, self.core.background_ended()).await.is_err() {
            tracing::warn!("something in the background does not end; it ends with the process");
        }
    }

    /// Stops at once, as if the process had ended; for tests of what happens then.
    pub async fn abort(&self) {
        stop(&self.core);
        self.core.background_ended().await;
    }

    /// The step types that documents may use here.
    pub fn step_types(&self) -> &Arc<StepTypes> {
        &self.core.step_types
    }

    /// The store that it runs on.
    pub fn store(&self) -> &Store {
        &self.core.store
    }

    /// Its bounds.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// Whether it takes new runs.
    pub fn is_ready(&self) -> bool {
        !self.core.is_draining() && !self.core.aborted.is_cancelled()
    }

    /// What was counted since it was opened, and what is going on now.
    pub fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot { runs_active: self.core.backlog.active() as u64, ..self.core.metrics.snapshot() }
    }
}
