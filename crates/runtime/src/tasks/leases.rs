//! Leases that run out give their tasks back, and their runs count it.
//!
//! Leases lie by task, so that a heartbeat rewrites a narrow row and no index; finding one that ran out reads all of
//! them. So it is looked for when the next one may run out, as far as this node knows, and now and then for claims that
//! it does not know: other nodes' and those whose commit was not answered.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use windlass_definition::Timestamp;
use windlass_engine::Event;

use crate::{core::Core, error::RuntimeError, metrics::add, turner::Deliver};

/// Leases that end in one look; the next look is soon.
const EXPIRE_ROWS: i64 = 500;
/// The longest pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When leases have to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// No lease that is known ends before then; none is known.
    next: Option<Timestamp>,
    looked: Option<Instant>,
}

impl Leases {
    /// A claim was made that holds until then.
    pub(crate) fn claimed(&self, until: Timestamp) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next = Some(state.next.map_or(until, |next| next.min(until)));
    }

    /// Whether one may have run out; if so, the look at them begins.
    fn look(&self, now: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.next.is_some_and(|next| next <= now);
        if !due && state.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return false;
        }
        *state = State { next: None, looked: Some(Instant::now()) };
        true
    }

    /// The look was in vain: the next one is soon.
    fn again(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).looked = None;
    }
}

/// Gives tasks back whose leases ran out, and tells their runs.
pub(crate) async fn expire_leases(core: &Arc<Core>) -> Result<(), RuntimeError> {
    let now = core.now();
    let claims = &core.tasks.claims;
    claims.held().retain(|_, held| held.until > now);
    if claims.leases.look(now)
        && let Err(error) = look(core, now).await
    {
        claims.leases.again();
        return Err(error);
    }
    // Those that are back in their queues, and those that other nodes have stored.
    core.look_for_all();
    Ok(())
}

async fn look(core: &Arc<Core>, now: Timestamp) -> Result<(), RuntimeError> {
    let Some(next) = core.store.next_lease_end().await? else { return Ok(()) };
    core.tasks.claims.leases.claimed(next);
    if next > now {
        return Ok(());
    }
    let lost = core.store.expire_tasks(EXPIRE_ROWS).await?;
    add(&core.metrics.tasks_lost, lost.len() as u64);
    for lost in lost {
        let event = Event::StepLost { path: lost.path.into(), attempt: u32::try_from(lost.attempt).unwrap_or(0) };
        core.deliver(Deliver::new(lost.tenant, lost.run, event));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_looked_at_when_the_next_one_may_have_run_out() {
        let at = Timestamp::from_micros;
        let leases = Leases::default();
        assert!(leases.look(at(0)), "nobody knows what is there at the start");
        assert!(!leases.look(at(1)));
        leases.claimed(at(20));
        leases.claimed(at(10));
        leases.claimed(at(30));
        assert!(!leases.look(at(9)));
        assert!(leases.look(at(10)));
        assert!(!leases.look(at(40)), "what is still there is told by the look itself");
        leases.again();
        assert!(leases.look(at(40)));
    }
}
