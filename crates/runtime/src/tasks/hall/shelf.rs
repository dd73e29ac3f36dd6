//! Tasks that lie there for whoever comes next.
//!
//! A worker that answers a task and comes for the next one does not wait yet when that is offered. So a task that its run's
//! journal leads to lies here for a moment, with no row, in the order in which rows would be claimed. It is either here or
//! with one worker until its run has its end or writes its row; the shelf remembers who took it until then.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use windlass_definition::Timestamp;
use windlass_engine::{
    effect::OfferTask,
    id::{RunId, TaskId, TenantKey},
};
use windlass_store::Holder;

use super::Wanted;
use crate::tasks::{claims::Offered, handed::first_token};

/// The tasks of a queue.
pub(super) type Queue = (TenantKey, Arc<str>);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    tasks: HashMap<TaskId, Entry>,
    /// What lies in each queue, what is next first.
    queues: HashMap<Queue, BTreeSet<Rank>>,
}

/// The highest priority is first, then the oldest.
type Rank = (Reverse<i32>, TaskId);

#[derive(Debug)]
enum Entry {
    Lying(Box<Offered>),
    Taken(Holder),
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn lay(&mut self, offered: Offered) {
        let (queue, rank) = (queue_of(&offered), rank_of(&offered.task));
        self.queues.entry(queue).or_default().insert(rank);
        self.tasks.insert(rank.1, Entry::Lying(Box::new(offered)));
    }

    /// The next task that a claim wants, which is its own from now on.
    pub(super) fn take(&mut self, wanted: &Wanted, now: Timestamp) -> Option<(Offered, Holder)> {
        let first = |queue: &Arc<str>| self.queues.get(&(wanted.tenant, Arc::clone(queue)))?.first().copied();
        let (_, task) = wanted.queues.iter().filter_map(first).min()?;
        self.give(task, &wanted.worker, now)
    }

    /// Gives a task that lies here to a worker.
    pub(super) fn give(&mut self, task: TaskId, worker: &Arc<str>, now: Timestamp) -> Option<(Offered, Holder)> {
        match self.remove(task)? {
            Entry::Lying(offered) => {
                let token = first_token(offered.run);
                let until = now.after(offered.task.lease);
                let holder = Holder { worker: Arc::clone(worker), token, until };
                self.tasks.insert(task, Entry::Taken(holder.clone()));
                Some((*offered, holder))
            }
            taken => {
                self.tasks.insert(task, taken);
                None
            }
        }
    }

    /// Forgets a task; the queue that it lay in, or else who took it.
    pub(super) fn forget(&mut self, task: TaskId) -> Option<Result<Queue, Holder>> {
        Some(match self.remove(task)? {
            Entry::Lying(offered) => Ok(queue_of(&offered)),
            Entry::Taken(holder) => Err(holder),
        })
    }

    fn remove(&mut self, task: TaskId) -> Option<Entry> {
        let entry = self.tasks.remove(&task)?;
        if let Entry::Lying(offered) = &entry {
            let queue = queue_of(offered);
            if let Some(lying) = self.queues.get_mut(&queue) {
                lying.remove(&rank_of(&offered.task));
                if lying.is_empty() {
                    self.queues.remove(&queue);
                }
            }
        }
        Some(entry)
    }

    /// The run of a task that lies here.
    pub(super) fn run_of(&self, task: TaskId) -> Option<RunId> {
        match self.tasks.get(&task)? {
            Entry::Lying(offered) => Some(offered.run),
            Entry::Taken(_) => None,
        }
    }
}

fn queue_of(offered: &Offered) -> Queue {
    (offered.tenant, Arc::clone(&offered.task.queue))
}

fn rank_of(task: &OfferTask) -> Rank {
    (Reverse(task.priority), task.task)
}
