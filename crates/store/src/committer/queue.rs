//! What waits to be written: the engine's commits, and on SQLite all other writes beside them.
//!
//! Invariant: commits of one tenant are written in the order in which they came; tenants take turns.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use windlass_engine::id::TenantKey;

use crate::{
    StoreError,
    committer::commit::{CommitError, Done, RunCommit},
    database::Tx,
    fair::FairQueue,
};

/// How many rows one batch takes.
pub(crate) const BATCH_ROWS_MAX: usize = 4_000;
/// The same while several tenants write: each waits for the batch that is under way, whoever filled it.
pub(crate) const BATCH_ROWS_SHARED_MAX: usize = 500;
/// How many bytes one batch takes.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;
/// From so many commits in a batch on, the next one waits a moment for as many: what a batch costs hardly depends on what is
/// in it, and those who were told of the last one are about to come back.
const GATHERED_MIN: usize = 16;
/// How long it waits at most, and at most half as long as the last batch took.
const GATHERED_FOR_MAX: Duration = Duration::from_millis(1);
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
    jobs: FairQueue<TenantKey, Job>,
    ordinary: VecDeque<OrdinaryJob>,
    closed: bool,
    last: Last,
}

/// The last batch.
struct Last {
    commits: usize,
    taken_at: Instant,
}

impl Default for Last {
    fn default() -> Last {
        Last { commits: 0, taken_at: Instant::now() }
    }
}

impl State {
    /// How much longer the next batch waits to become as large as the last one.
    fn gathers(&self, until: Instant, now: Instant) -> Option<Duration> {
        let wanted = self.last.commits;
        let waits = wanted >= GATHERED_MIN && self.jobs.len() < wanted && !self.closed && now < until;
        waits.then(|| until - now)
    }
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
        state.jobs.push(job.commit.tenant, job);
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
        for job in jobs {
            state.jobs.push(job.commit.tenant, job);
        }
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

    /// Waits until this tenant has fewer commits waiting than its share of [`WAITING_MAX`].
    pub(crate) async fn ready(&self, tenant: TenantKey) {
        loop {
            let room = self.room.notified();
            if self.has_room(tenant) {
                return;
            }
            room.await;
        }
    }

    fn has_room(&self, tenant: TenantKey) -> bool {
        let jobs = &self.state().jobs;
        let share = WAITING_MAX / jobs.keys().max(1);
        jobs.len() < WAITING_MAX || jobs.len_of(&tenant) < share
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
        let rows_max = if state.jobs.is_shared() { BATCH_ROWS_SHARED_MAX } else { BATCH_ROWS_MAX };
        while let Some(job) = state.jobs.peek() {
            rows += job.commit.weight();
            bytes += job.commit.bytes();
            if !turn.jobs.is_empty() && (rows > rows_max || bytes > BATCH_BYTES_MAX) {
                break;
            }
            turn.jobs.extend(state.jobs.pop());
        }
        if !turn.jobs.is_empty() {
            state.last = Last { commits: turn.jobs.len(), taken_at: Instant::now() };
        }
        let count = state.ordinary.len().min(ordinary_max);
        turn.ordinary.extend(state.ordinary.drain(..count));
        turn
    }

    /// Tells the last batch, and waits until the next one is as large, if that is soon. It holds the writer's thread, which
    /// has nothing else to do.
    fn end_batch(&self) {
        self.tell_batch();
        let mut state = self.state();
        let until = Instant::now() + (state.last.taken_at.elapsed() / 2).min(GATHERED_FOR_MAX);
        while let Some(left) = state.gathers(until, Instant::now()) {
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // It is waited for once after each batch.
        state.last.commits = 0;
    }

    /// Waits for something to write; `None` when the queue is closed and empty.
    pub(crate) fn take_blocking(&self, ordinary_max: usize) -> Option<Turn> {
        self.end_batch();
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
        self.end_batch();
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use windlass_engine::id::RunId;

    use super::*;
    use crate::committer::commit::LaneId;

    fn job(tenant: i32) -> Job {
        let commit = RunCommit::new(TenantKey(tenant), RunId::new(Uuid::now_v7()), LaneId(1));
        Job { commit, done: Box::new(|_| {}) }
    }

    /// The tenants of the next batch, in its order.
    fn batch(queue: &Queue) -> Vec<i32> {
        let turn = queue.take(&mut queue.state(), 0);
        turn.jobs.iter().map(|job| job.commit.tenant.0).collect()
    }

    #[test]
    fn a_late_tenant_is_in_the_next_batch() {
        let queue = Queue::default();
        queue.push_all((0..BATCH_ROWS_MAX * 2).map(|_| job(1)).collect());
        assert_eq!(batch(&queue).len(), BATCH_ROWS_MAX, "alone it has long batches");
        queue.push(job(2));
        let next = batch(&queue);
        assert_eq!(next.len(), BATCH_ROWS_SHARED_MAX, "with another one short ones");
        assert_eq!(next.iter().position(|tenant| *tenant == 2), Some(1));
        assert_eq!(batch(&queue).len(), BATCH_ROWS_SHARED_MAX, "and so for a while");
    }

    #[test]
    fn a_full_queue_holds_back_who_filled_it() {
        let queue = Queue::default();
        queue.push_all((0..WAITING_MAX).map(|_| job(1)).collect());
        assert!(!queue.has_room(TenantKey(1)));
        assert!(queue.has_room(TenantKey(2)));
        batch(&queue);
        assert!(queue.has_room(TenantKey(1)));
    }

    #[test]
    fn after_a_large_batch_the_next_one_waits_a_moment_to_become_as_large() {
        let queue = Queue::default();
        let now = Instant::now();
        let until = now + GATHERED_FOR_MAX;
        let waits = |at: Instant| queue.state().gathers(until, at);
        assert_eq!(waits(now), None, "there was no batch");

        queue.push_all((1..GATHERED_MIN).map(|_| job(1)).collect());
        batch(&queue);
        assert_eq!(waits(now), None, "the last one was small");

        queue.push_all((0..GATHERED_MIN).map(|_| job(1)).collect());
        batch(&queue);
        assert_eq!(waits(now), Some(GATHERED_FOR_MAX));
        queue.push_all((1..GATHERED_MIN).map(|_| job(1)).collect());
        assert_eq!(waits(now), Some(GATHERED_FOR_MAX), "one is missing");
        assert_eq!(waits(until), None, "for a moment only");
        queue.push(job(1));
        assert_eq!(waits(now), None, "it is as large");
        batch(&queue);
        queue.close();
        assert_eq!(waits(now), None, "nothing more comes");
    }
}
