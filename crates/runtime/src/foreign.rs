//! Runs that another node turns, for those who wait for them here: one read for all of them, ten times a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use windlass_engine::id::{RunId, TenantKey};
use windlass_store::RunProgress;

use crate::{core::Core, error::RuntimeError};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// Runs of one read.
const PAGE: usize = 1_000;

/// What the last look said of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The last entry of its journal.
    pub(crate) seq: i64,
    /// It has ended, or is not there any more.
    pub(crate) over: bool,
}

/// The runs that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    runs: Mutex<HashMap<(TenantKey, RunId), watch::Sender<Seen>>>,
    wanted: Notify,
}

impl Foreign {
    fn runs(&self) -> MutexGuard<'_, HashMap<(TenantKey, RunId), watch::Sender<Seen>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at that run as long as the receiver lives.
    pub(crate) fn watch(&self, tenant: TenantKey, run: RunId) -> watch::Receiver<Seen> {
        let seen = self.runs().entry((tenant, run)).or_default().subscribe();
        self.wanted.notify_one();
        seen
    }

    /// The runs that somebody still waits for.
    fn wanted(&self) -> Vec<(TenantKey, RunId)> {
        let mut runs = self.runs();
        runs.retain(|_, seen| seen.receiver_count() > 0);
        runs.keys().copied().collect()
    }

    fn tell(&self, asked: &[(TenantKey, RunId)], found: &[RunProgress]) {
        let found: HashMap<RunId, &RunProgress> = found.iter().map(|it| (it.run, it)).collect();
        let runs = self.runs();
        for key in asked {
            let Some(sender) = runs.get(key) else { continue };
            let seen = match found.get(&key.1) {
                Some(progress) => Seen { seq: progress.seq, over: progress.status.is_final() },
                None => Seen { over: true, ..*sender.borrow() },
            };
            sender.send_if_modified(|old| std::mem::replace(old, seen) != seen);
        }
    }
}

/// Looks until everything stops.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        match tick(&core).await {
            Ok(0) => core.foreign.wanted.notified().await,
            Ok(_) => tokio::time::sleep(EVERY).await,
            Err(error) => {
                tracing::debug!(%error, "those who wait for runs of other nodes wait until the next look");
                tokio::time::sleep(EVERY).await;
            }
        }
    }
}

/// One look; how many runs were looked at.
async fn tick(core: &Core) -> Result<usize, RuntimeError> {
    let wanted = core.foreign.wanted();
    for page in wanted.chunks(PAGE) {
        core.foreign.tell(page, &core.store.progress(page).await?);
    }
    Ok(wanted.len())
}
