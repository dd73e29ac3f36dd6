//! Tasks that were handed to a claim that waited for them, or lie there for the next one, and have no row of their own yet.
//!
//! A worker that waits often answers before anybody else could ask for its task. So a task that is promised to a claim of
//! this node, or is likely to be taken in a moment, is known by its run's journal alone, and by the claim's token, which names
//! the run: its row and its lease are written when it lasts, when somebody needs them, or by whoever takes the run over. Until
//! then the run's row says `running`, so that a run with such a task is among those that are taken over. Where several nodes
//! are at work the rows are written at once: an answer may come to any of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::{
    effect::OfferTask,
    id::{RunId, TaskId},
};
use windlass_store::{Holder, NewTask};

use super::{Lying, Tasks};
use crate::{
    core::Core,
    error::RuntimeError,
    live_run::{Reply, new_task},
    turner::Message,
};

/// How long after it joined a node may not have seen a row that is still to be written, by itself or by another.
const UNSEEN_FOR: Duration = Duration::from_secs(30);

/// The token of a claim that waited for its task: who takes the run over knows it without a row, and an answer that is given
/// again leads to the journal that has it. It keeps claims apart and is no secret: whoever may answer tasks may claim them as
/// well.
pub(crate) fn first_token(run: RunId) -> Uuid {
    run.uuid()
}

/// The tasks of one run that have no row yet.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    tasks: HashMap<TaskId, HandedTask>,
    /// They are to get their rows: with the next entries of the run, or by themselves once nothing is ahead of the disk.
    /// Rows alone, behind a commit that fails, would speak of what never happened.
    wanted: bool,
    /// Who waits for that.
    replies: Vec<Reply>,
}

#[derive(Debug)]
struct HandedTask {
    offer: OfferTask,
    whose: Whose,
    at: Timestamp,
}

#[derive(Debug)]
enum Whose {
    /// Of the claim that it was promised to.
    Promised(Holder),
    /// Nobody's: it is not on disk yet.
    Nobodys,
    /// Of whoever came for it, or comes.
    Lying(Lying),
}

impl Handed {
    /// There is one more, offered at that time, and promised to a claim or to nobody.
    pub(crate) fn insert(&mut self, offer: OfferTask, holder: Option<Holder>, at: Timestamp) {
        let whose = holder.map_or(Whose::Nobodys, Whose::Promised);
        self.tasks.insert(offer.task, HandedTask { offer, whose, at });
    }

    /// A task that was promised to nobody is on disk, and lies there.
    pub(crate) fn lies(&mut self, task: TaskId, lying: Lying) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.whose = Whose::Lying(lying);
        }
    }

    /// The task has ended; whether it had no row.
    pub(crate) fn remove(&mut self, task: TaskId) -> bool {
        self.tasks.remove(&task).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn contains(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// They are to be written; who waits for that is told when they are on disk.
    pub(crate) fn want_rows(&mut self, reply: Option<Reply>) {
        self.wanted = true;
        self.replies.extend(reply);
    }

    /// Whether they are to be written.
    pub(crate) fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// The rows of all of them, which they have from now on, and who waits for these.
    pub(crate) fn take_rows(&mut self) -> (Vec<NewTask>, Vec<Reply>) {
        self.wanted = false;
        let row = |HandedTask { offer, whose, at }| {
            let holder = match whose {
                Whose::Promised(holder) => Some(holder),
                Whose::Nobodys => None,
                Whose::Lying(lying) => lying.end(),
            };
            NewTask { holder, ..new_task(&offer, at) }
        };
        let mut tasks: Vec<NewTask> = self.tasks.drain().map(|(_, task)| row(task)).collect();
        tasks.sort_unstable_by_key(|task| task.id);
        (tasks, std::mem::take(&mut self.replies))
    }
}

impl Tasks {
    /// The row of a task that was offered before and has none: whoever waited for it then may have it now.
    pub(crate) fn offered_before(&self, run: RunId, task: &OfferTask, now: Timestamp) -> NewTask {
        let token = first_token(run);
        let known = self.held().get(&task.task).filter(|held| held.token == token).map(|held| Arc::clone(&held.worker));
        let holder = Holder { worker: known.unwrap_or_default(), token, until: now.after(task.lease) };
        NewTask { holder: Some(holder), ..new_task(task, now) }
    }

    /// The run whose tasks may lack their rows, where this node handed the task out or has it lying there.
    fn run_of(&self, task: TaskId) -> Option<RunId> {
        let held = self.held().get(&task).map(|held| held.run);
        held.or_else(|| self.hall.run_of(task))
    }
}

impl Core {
    /// Has a task's row written if this node handed it out without; whether it may have been so.
    pub(crate) async fn write_handed(&self, task: TaskId) -> Result<bool, RuntimeError> {
        match self.tasks.run_of(task) {
            Some(run) => self.write_handed_of(run).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Has the rows written of all tasks of a run that have none yet; returns when they are on disk.
    pub(super) async fn write_handed_of(&self, run: RunId) -> Result<(), RuntimeError> {
        let (reply, written) = oneshot::channel();
        self.send(run, Message::WriteHanded { run, reply });
        let stopping = || Err(RuntimeError::unavailable("the server is stopping: ask again"));
        written.await.unwrap_or_else(|_| stopping()).map(drop)
    }

    /// Whether a task that has no row may get one: from whoever takes its run over, or from a node that took itself for the
    /// only one when it handed the task out, as it does for a moment after this one joined. That node may be gone by now.
    pub(crate) fn may_be_written(&self, task: TaskId) -> bool {
        let joined_for = self.store.joined_for();
        let made_before = || task.made_at().after(joined_for) < self.now();
        // Who stood still for longer than its lease is about to join again.
        !self.store.lease_holds() || (joined_for < UNSEEN_FOR && (made_before() || self.store.had_company()))
    }
}
