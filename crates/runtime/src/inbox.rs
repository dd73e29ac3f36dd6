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
use windlass_store::{LaneId, Received, crash_point};

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
    ids: Mutex<HashMap<Uuid, Instant>>,
}

impl InHand {
    /// Takes a letter; false when it was taken a moment ago.
    pub(crate) fn take(&self, id: Uuid) -> bool {
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= IN_HAND_MAX {
            ids.retain(|_, since| now.duration_since(*since) < IN_HAND);
        }
        match ids.insert(id, now) {
            Some(since) if now.duration_since(since) < IN_HAND => {
                ids.insert(id, since);
                false
            }
            _ => true,
        }
    }

    /// Forgets what is long gone.
    pub(crate) fn tidy(&self) {
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.retain(|_, since| now.duration_since(*since) < IN_HAND);
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
