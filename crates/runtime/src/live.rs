//! What happens to runs, as it happens, for whoever watches.
//!
//! Invariant: an entry is announced after its commit is on disk. A watcher that is too slow is told so and reads the
//! journal, which is the truth; nothing ever waits for a watcher.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde::Serialize;
use tokio::sync::broadcast;
use windlass_definition::Timestamp;
use windlass_engine::{
    entry::{Entry, Record},
    id::RunId,
    status::RunStatus,
};

/// Something that a watcher of a run is told.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LiveEvent {
    /// An entry of the journal; `seq` is the id to resume after.
    Entry(LiveEntry),
    /// An attempt has begun. Not in the journal, and not repeated to who comes later.
    StepStarted {
        /// The step's path.
        path: Arc<str>,
        /// The word after `type:`.
        #[serde(rename = "type")]
        type_name: Arc<str>,
        /// Counts from 1.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// A line that a `log` step wrote.
    Log {
        /// The step's path.
        path: Arc<str>,
        /// `{level, message, data}`.
        line: windlass_definition::Value,
    },
    /// The run's status is this now.
    Status {
        /// The status.
        status: RunStatus,
    },
}

/// An entry of the journal as watchers and readers see it.
#[derive(Debug, Clone, Serialize)]
pub struct LiveEntry {
    /// Counts from 1 without gaps.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The record's kind.
    pub kind: &'static str,
    /// The step's path; empty when it speaks of the run.
    pub path: Arc<str>,
    /// The step's id; empty when it speaks of the run.
    pub step: Arc<str>,
    /// Which attempt; 0 when that means nothing.
    pub attempt: u32,
    /// The record itself.
    pub data: Arc<Record>,
}

impl From<Entry> for LiveEntry {
    fn from(entry: Entry) -> LiveEntry {
        LiveEntry {
            seq: entry.seq,
            at: entry.at,
            kind: entry.record.kind(),
            path: entry.path,
            step: entry.step,
            attempt: entry.attempt,
            data: Arc::new(entry.record),
        }
    }
}

/// Who watches what.
#[derive(Debug)]
pub(crate) struct Watchers {
    runs: Mutex<HashMap<RunId, broadcast::Sender<LiveEvent>>>,
    // Most runs are watched by nobody: this is all that they pay.
    watched: AtomicUsize,
    buffer: usize,
}

impl Watchers {
    pub(crate) fn new(buffer: usize) -> Watchers {
        Watchers { runs: Mutex::default(), watched: AtomicUsize::new(0), buffer }
    }

    /// What happens to the run from now on.
    pub(crate) fn watch(&self, run: RunId) -> broadcast::Receiver<LiveEvent> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|_, sender| sender.receiver_count() > 0);
        let receiver = runs.entry(run).or_insert_with(|| broadcast::channel(self.buffer).0).subscribe();
        self.watched.store(runs.len(), Relaxed);
        receiver
    }

    /// Whether anybody may be watching anything.
    pub(crate) fn any(&self) -> bool {
        self.watched.load(Relaxed) > 0
    }

    /// Whether somebody watches that run.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.any() && self.runs.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&run)
    }

    /// The run has ended: its watchers come to an end too.
    pub(crate) fn close(&self, run: RunId) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.remove(&run);
        self.watched.store(runs.len(), Relaxed);
    }

    /// Tells the run's watchers.
    pub(crate) fn tell(&self, run: RunId, events: impl IntoIterator<Item = LiveEvent>) {
        if !self.any() {
            return;
        }
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = runs.get(&run) else { return };
        for event in events {
            // An error means that the last watcher has left.
            if sender.send(event).is_err() {
                runs.remove(&run);
                break;
            }
        }
        self.watched.store(runs.len(), Relaxed);
    }
}
