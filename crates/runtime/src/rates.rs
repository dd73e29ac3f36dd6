//! `rate: {limit, per, key}` on steps: at most so many starts in any window of that length, over all servers.
//!
//! The starts are counted by the store, in transactions of their own. The attempts of this node that wait for one rate
//! stand in a line, and one task takes permits for all of them at once and sleeps until there are more. What waits
//! holds no place, and an attempt that is given up leaves the line.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use windlass_engine::{effect::StepRate, id::TenantKey};
use windlass_store::{Permits, Rate};

use crate::core::Core;

/// Before the database is asked again that did not answer.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A rate: whose, and its name.
type Key = (TenantKey, Arc<str>);

/// An attempt that waits for its turn.
struct Waiter {
    rate: StepRate,
    turn: oneshot::Sender<()>,
}

/// The lines of attempts that wait.
#[derive(Default)]
pub(crate) struct Rates {
    lines: Mutex<HashMap<Key, VecDeque<Waiter>>>,
}

impl Rates {
    /// Waits until an attempt may start.
    pub(crate) async fn wait(&self, core: &Arc<Core>, (tenant, name): (TenantKey, &Arc<str>), rate: StepRate) {
        let (turn, my_turn) = oneshot::channel();
        let key = (tenant, Arc::clone(name));
        let first = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let first = !lines.contains_key(&key);
            lines.entry(key.clone()).or_default().push_back(Waiter { rate, turn });
            first
        };
        if first {
            core.spawn(serve(Arc::clone(core), key));
        }
        if my_turn.await.is_err() {
            // Whoever serves the line ends only with everything else.
            std::future::pending().await
        }
    }

    /// The rate that the first in a line keeps, and how many stand there; `None` when the line is gone.
    fn waiting(&self, key: &Key) -> Option<(StepRate, u32)> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.get_mut(key)?;
        line.retain(|waiter| !waiter.turn.is_closed());
        match line.front() {
            Some(first) => Some((first.rate, u32::try_from(line.len()).unwrap_or(u32::MAX))),
            None => {
                lines.remove(key);
                None
            }
        }
    }

    /// Lets that many go.
    fn let_go(&self, key: &Key, mut count: u32) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(key) else { return };
        while count > 0
            && let Some(first) = line.pop_front()
        {
            // One that was given up in the meantime leaves its permit to the next.
            count -= u32::from(first.turn.send(()).is_ok());
        }
    }
}

/// Takes permits for a line until nobody stands in it.
async fn serve(core: Arc<Core>, key: Key) {
    while let Some((StepRate { limit, per }, wanted)) = core.places.rates.waiting(&key) {
        match core.store.take_permits(key.0, &key.1, Rate { limit, per }, wanted).await {
            Ok(Permits { granted, next_at, .. }) => {
                core.places.rates.let_go(&key, granted);
                while let Some(due) = next_at
                    && let now = core.now()
                    && due > now
                {
                    tokio::time::sleep(due.since(now)).await;
                }
            }
            Err(error) => {
                tracing::warn!(rate = %key.1, %error, "a rate cannot be asked for now");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}
