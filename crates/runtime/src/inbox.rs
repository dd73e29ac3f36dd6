//! Opening letters: what a transition asked of another run, once it is on disk.
//!
//! A letter is opened at once by whoever wrote it, if its lane is owned here, and by the recovery loop otherwise.
//! [`InHand`] keeps the two from opening it twice; that they might is harmless, except for a pause that was taken
//! back since.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use uuid::Uuid;
use windlass_engine::id::{RunId, TenantKey};
use windlass_store::{LaneId, Received, RowChange, crash_point};

use crate::{
    core::Core,
    error::RuntimeError,
    letter::Letter,
    live_run::{Source, Taken},
    turner::Deliver,
};

/// How long a letter that was opened here is passed over when it is read from the database.
const IN_HAND: Duration = Duration::from_secs(30);
const IN_HAND_MAX: usize = 200_000;
/// How long one is passed over whose commit has failed for the second time; twice as long each time, up to a bound.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(4);

/// A letter and the row that holds it.
pub(crate) struct Opened {
    pub(crate) tenant: TenantKey,
    pub(crate) run: RunId,
    pub(crate) lane: LaneId,
    pub(crate) id: Uuid,
    pub(crate) letter: Letter,
}

/// The letters that were opened here and may still be in the database.
#[derive(Debug, Default)]
pub(crate) struct InHand {
    ids: Mutex<HashMap<Uuid, Held>>,
}

/// Until when a letter is passed over, and how often its commit has failed.
#[derive(Debug, Clone, Copy)]
struct Held {
    until: Instant,
    failures: u32,
}

impl InHand {
    /// Takes a letter; false when it was taken a moment ago.
    pub(crate) fn take(&self, id: Uuid) -> bool {
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= IN_HAND_MAX {
            ids.retain(|_, held| now < held.until);
        }
        let held = ids.entry(id).or_insert(Held { until: now, failures: 0 });
        let is_free = held.until <= now;
        if is_free {
            held.until = now + IN_HAND;
        }
        is_free
    }

    /// The letters, and the answers of tasks, whose rows go with these changes.
    pub(crate) fn held(rows: &[RowChange]) -> Vec<Uuid> {
        let id = |row: &RowChange| match row {
            RowChange::DeleteInbox(id) => Some(*id),
            RowChange::CloseTask(task) => Some(task.uuid()),
            _ => None,
        };
        rows.iter().filter_map(id).collect()
    }

    /// These are still there: the commit that would have taken them has failed. The next look opens them again; one that
    /// fails again and again is left alone for a while each time.
    pub(crate) fn put_back(&self, letters: &[Uuid]) {
        if letters.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        for id in letters {
            if let Some(held) = ids.get_mut(id) {
                held.until = now + wait(held.failures);
                held.failures = held.failures.saturating_add(1);
            }
        }
    }

    /// Forgets what is long gone.
    pub(crate) fn tidy(&self) {
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose commit fails again and again keeps its count in between.
        ids.retain(|_, held| now < held.until + if held.failures > 0 { IN_HAND } else { Duration::ZERO });
    }
}

/// How long a letter is passed over whose commit had failed so often before.
fn wait(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => AGAIN_AFTER.saturating_mul(1 << doublings.min(16)).min(AGAIN_AFTER_MAX),
    }
}

impl Core {
    /// Tells a run, and answers once it is on disk: in its journal, or in its inbox when another node owns it.
    pub(crate) async fn tell(self: &Arc<Core>, deliver: Deliver) -> Result<Taken, RuntimeError> {
        let (tenant, run) = (deliver.tenant, deliver.run);
        let letter = Letter::of_event(&deliver.event, deliver.decided.as_ref().map(|(approval, _)| *approval));
        let (reply, answer) = oneshot::channel();
        self.deliver(deliver.answer(reply));
        let answer =
            answer.await.unwrap_or_else(|_| Err(RuntimeError::unavailable("the server is stopping: ask again")));
        let (Err(RuntimeError::Elsewhere { lane }), Some(letter)) = (&answer, letter) else { return answer };
        let name = match &letter {
            Letter::Signal { key: Some(key), .. } | Letter::CloudEvent { key, .. } => key.to_string(),
            _ => Uuid::now_v7().to_string(),
        };
        let row = letter.row(run, *lane, name);
        let (kind, dedup) = (row.kind.clone(), row.dedup.clone());
        crash_point::hit("before-letter-stored");
        let stored = self.store.put_inbox(tenant, row).await?;
        crash_point::hit("after-letter-stored");
        match stored {
            Received::New => Ok(Taken::Now),
            Received::Duplicate => {
                let first = self.store.inbox_payload(tenant, run, (&kind, &dedup)).await?;
                let another = first.is_some_and(|first| Letter::read(&first).is_ok_and(|first| first != letter));
                let signal = matches!(letter, Letter::Signal { .. });
                if another && signal { Err(windlass_engine::Reject::KeyReused.into()) } else { Ok(Taken::Before) }
            }
        }
    }

    /// Does what a letter says.
    pub(crate) fn open_letter(self: &Arc<Core>, opened: Opened) {
        crash_point::hit("before-letter-opened");
        let Opened { tenant, run, lane, id, letter } = opened;
        let source = Source::Letter(id, lane);
        let decided = match &letter {
            Letter::Decide { approval, .. } => Some((*approval, Vec::new())),
            _ => None,
        };
        match letter.event() {
            Ok(event) => {
                let mut deliver = Deliver::new(tenant, run, event).from(source);
                deliver.decided = decided;
                self.deliver(deliver);
            }
            Err(letter) => {
                let core = Arc::clone(self);
                self.spawn(async move {
                    let opened = Opened { tenant, run, lane, id, letter };
                    if let Err(error) = crate::children::act(&core, opened).await {
                        // The row is still there: the recovery loop opens it again.
                        tracing::warn!(%run, %error, "a letter could not be opened yet");
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_whose_commit_failed_is_opened_at_the_next_look() {
        let (letters, id) = (InHand::default(), Uuid::now_v7());
        assert!(letters.take(id));
        assert!(!letters.take(id));
        letters.put_back(&[id]);
        letters.tidy();
        assert!(letters.take(id));
        // The second time it waits a moment, and that is not forgotten.
        letters.put_back(&[id]);
        letters.tidy();
        assert!(!letters.take(id));
    }

    #[test]
    fn what_fails_again_and_again_is_left_alone_for_a_while() {
        let waits = [0, 1, 2, 3, 6, 7, 40].map(|failures| wait(failures).as_secs());
        assert_eq!(waits, [0, 1, 2, 4, 4, 4, 4]);
    }
}
