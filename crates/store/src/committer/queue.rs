//! What waits to be written: the engine's commits, first in first out, and on SQLite all other writes beside them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    StoreError,
    committer::commit::{CommitError, Done, RunCommit},
    database::Tx,
};

/// How many rows one batch takes.
pub(crate) const BATCH_ROWS_MAX: usize = 4_000;
/// How many bytes one batch takes.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;
/// How many commits may wait before callers of `ready` are held back.
pub(crate) const WAITING_MAX: usize = 16_384;

/// A commit and who is told about it.
pub(crate) struct Job {
    pub commit: RunCommit,
    pub done: Done,
}

/// Tells somebody how a write that is not the engine's went, once the transaction is over.
pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What is left of a script that ran: whether it goes into the transaction, and who is told.
pub(crate) struct Ran {
    pub keep: bool,
    pub reply: Reply,
}

/// A write that is not the engine's.
pub(crate) type OrdinaryJob = Box<dyn FnOnce(&mut Tx) -> Ran + Send>;

/// One turn of the writer.
#[derive(Default)]
pub(crate) struct Turn {
    pub jobs: Vec<Job>,
    pub ordinary: Vec<OrdinaryJob>,
}

impl Turn {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.ordinary.is_empty()
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    ordinary: VecDeque<OrdinaryJob>,
    closed: bool,
}

/// The queue of one writer.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    filled_async: Notify,
    room: Notify,
    told: Mutex<Option<Told>>,
}

/// Called once all of a batch have been told.
pub(crate) type Told = Arc<dyn Fn() + Send + Sync>;

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.filled.notify_one();
        self.filled_async.notify_one();
    }

    /// Adds a commit; tells it at once when the queue is closed.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            (job.done)(Err(CommitError::Failed(StoreError::Closed)));
            return self.tell_batch();
        }
        state.jobs.push_back(job);
        drop(state);
        self.wake();
    }

    /// Adds commits that belong into one batch as far as it goes.
    pub(crate) fn push_all(&self, jobs: Vec<Job>) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            jobs.into_iter().for_each(|job| (job.done)(Err(CommitError::Failed(StoreError::Closed))));
            return self.tell_batch();
        }
        state.jobs.extend(jobs);
        drop(state);
        self.wake();
    }

    /// Calls this after every batch, once all of it have been told; the last one given counts.
    pub(crate) fn after_batches(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    fn tell_batch(&self) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told {
            told();
        }
    }

    /// Adds a write that is not the engine's.
    pub(crate) fn push_ordinary(&self, job: OrdinaryJob) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.ordinary.push_back(job);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Waits until fewer than [`WAITING_MAX`] commits wait.
    pub(crate) async fn ready(&self) {
        loop {
            let room = self.room.notified();
            if self.waiting() < WAITING_MAX {
                return;
            }
            room.await;
        }
    }

    /// How many commits wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().jobs.len()
    }

    /// Whether it takes no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Takes no more; what waits is still written.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
        self.filled_async.notify_one();
    }

    fn take(&self, state: &mut State, ordinary_max: usize) -> Turn {
        let mut turn = Turn::default();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(job) = state.jobs.front() {
            rows += job.commit.weight();
            bytes += job.commit.bytes();
            if !turn.jobs.is_empty() && (rows > BATCH_ROWS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            turn.jobs.extend(state.jobs.pop_front());
        }
        let count = state.ordinary.len().min(ordinary_max);
        turn.ordinary.extend(state.ordinary.drain(..count));
        turn
    }

    /// Waits for something to write; `None` when the queue is closed and empty.
    pub(crate) fn take_blocking(&self, ordinary_max: usize) -> Option<Turn> {
        self.tell_batch();
        let mut state = self.state();
        loop {
            let turn = self.take(&mut state, ordinary_max);
            if !turn.is_empty() {
                drop(state);
                self.room.notify_waiters();
                return Some(turn);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same for a writer that is a task.
    pub(crate) async fn take_async(&self) -> Option<Turn> {
        self.tell_batch();
        loop {
            {
                let mut state = self.state();
                let turn = self.take(&mut state, 0);
                if !turn.is_empty() {
                    drop(state);
                    self.room.notify_waiters();
                    return Some(turn);
                }
                if state.closed {
                    return None;
                }
            }
            self.filled_async.notified().await;
        }
    }
}
