//! `rate: {limit, per, key}` on steps: at most so many starts in any window of that length, on this node.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use windlass_engine::{effect::StepRate, id::TenantKey};

use crate::dispatch::Order;

/// Rates from which those that nobody used for a window are dropped.
const RATES_MAX: usize = 4_096;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantKey,
    workflow: Arc<str>,
    step: u32,
    key: Arc<str>,
}

/// The last starts of each step that has a rate.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    starts: Mutex<HashMap<Key, VecDeque<Instant>>>,
}

impl Rates {
    /// Waits until the step may start.
    pub(crate) async fn wait(&self, order: &Order, rate: StepRate, key: &Arc<str>) {
        let key =
            Key { tenant: order.tenant, workflow: order.workflow.clone(), step: order.step.step.0, key: key.clone() };
        let at = {
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if starts.len() >= RATES_MAX {
                starts.retain(|_, starts| starts.back().is_some_and(|last| *last + Duration::from_secs(3_600) > now));
            }
            reserve(starts.entry(key).or_default(), rate, now)
        };
        tokio::time::sleep_until(at).await;
    }
}

/// Takes the next free start: now, or when the one `limit` starts ago leaves the window.
fn reserve(starts: &mut VecDeque<Instant>, rate: StepRate, now: Instant) -> Instant {
    let limit = usize::try_from(rate.limit.max(1)).unwrap_or(usize::MAX);
    while starts.len() > limit || (starts.len() == limit && starts.front().is_some_and(|it| *it + rate.per <= now)) {
        starts.pop_front();
    }
    let at = if starts.len() < limit { now } else { starts.front().map_or(now, |first| (*first + rate.per).max(now)) };
    let at = starts.back().map_or(at, |last| at.max(*last));
    starts.push_back(at);
    if starts.len() > limit {
        starts.pop_front();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_starts_than_allowed() {
        let rate = StepRate { limit: 3, per: Duration::from_secs(10) };
        let begin = Instant::now();
        let mut starts = VecDeque::new();
        let seconds: Vec<u64> =
            (0..8).map(|_| reserve(&mut starts, rate, begin).duration_since(begin).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 0, 10, 10, 10, 20, 20]);
        let later = begin + Duration::from_secs(60);
        assert_eq!(reserve(&mut starts, rate, later), later);
    }
}
