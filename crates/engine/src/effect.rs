//! What a transition asks of the world. The runtime carries it out once the transition is on disk.
//!
//! Durable effects become rows in the same commit: tasks, approvals, event waits. The others follow the commit; after a
//! crash [`crate::Run::recover`] asks for them again.

use std::{sync::Arc, time::Duration};

use windlass_definition::{
    Error, Timestamp, Value,
    plan::{Rate, StepIndex},
};

use crate::{
    id::{ApprovalId, RunId, TaskId},
    status::RunStatus,
};

/// Something to be done outside the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Run an attempt of a step; answer with [`crate::Event::StepEnded`].
    RunStep(RunStep),
    /// Ask the attempt to stop. It is awaited for the grace time; answer as always.
    StopStep {
        /// The step's path.
        path: Arc<str>,
        /// Which attempt.
        attempt: u32,
    },
    /// Offer a task to outside workers; answer with [`crate::Event::StepEnded`].
    OfferTask(OfferTask),
    /// The task is no longer wanted. If nobody has claimed it, answer at once with a `cancelled` failure; else tell the
    /// worker with its next heartbeat.
    StopTask {
        /// The task.
        task: TaskId,
        /// The step's path.
        path: Arc<str>,
        /// Which attempt.
        attempt: u32,
    },
    /// The task has ended, however: its row may go.
    CloseTask {
        /// The task.
        task: TaskId,
    },
    /// Ask people to decide; answer with [`crate::Event::Decide`].
    OpenApproval(OpenApproval),
    /// The approval is decided or no longer wanted.
    CloseApproval {
        /// The approval.
        approval: ApprovalId,
        /// `approved`, `rejected`, `expired` or `cancelled`.
        status: &'static str,
    },
    /// Start a run of another workflow; answer with [`crate::Event::ChildEnded`], or, when nobody waits,
    /// [`crate::Event::ChildStarted`]. Starting it twice starts it once: the id is given.
    StartChild(StartChild),
    /// Start a run that takes back what a completed child did; answer with [`crate::Event::ChildEnded`].
    UndoChild {
        /// The run to be started.
        child: RunId,
        /// The completed child.
        of: RunId,
        /// The path of the undo, such as `ship:undo`.
        path: Arc<str>,
        /// Why.
        error: Value,
    },
    /// Cancel a child that is waited for.
    CancelChild {
        /// The child.
        child: RunId,
    },
    /// Pause a child that is waited for.
    PauseChild {
        /// The child.
        child: RunId,
    },
    /// Resume a child that is waited for.
    ResumeChild {
        /// The child.
        child: RunId,
    },
    /// A step waits for a CloudEvent; answer with [`crate::Event::CloudEvent`], also for those since the run started.
    WaitForEvent(WaitForEvent),
    /// It no longer waits.
    ForgetEvent {
        /// The step's path.
        path: Arc<str>,
    },
    /// Answer whoever waits for the run, before its end.
    Respond {
        /// `{status?, headers?, body}`.
        answer: Value,
    },
    /// Start a run that takes this one's place.
    Restart {
        /// The run to be started.
        run: RunId,
        /// Its input, not yet checked.
        input: Value,
    },
    /// A line for the log.
    Log {
        /// The step's path.
        path: Arc<str>,
        /// `{level, message, data}`.
        line: Value,
    },
    /// The run has ended.
    Finish(Finish),
}

/// An attempt to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStep {
    /// The step's path; an undo's ends in `:undo`.
    pub path: Arc<str>,
    /// The step in the plan; for an undo, its owner.
    pub step: StepIndex,
    /// The step type to be run.
    pub type_name: Arc<str>,
    /// The evaluated `with`.
    pub with: Value,
    /// Counts from 1.
    pub attempt: u32,
    /// The idempotency key.
    pub key: Arc<str>,
    /// What `now()` is to the step.
    pub now: Timestamp,
    /// The name of the lock to be held while it runs.
    pub lock: Option<Arc<str>>,
    /// The rate that its starts must keep, with the evaluated key.
    pub rate: Option<(StepRate, Arc<str>)>,
    /// Whether an intent must be durable before it starts, so that it is never repeated.
    pub at_most_once: bool,
}

/// The bounds of a step's `rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRate {
    /// Starts.
    pub limit: u32,
    /// In any window of this length.
    pub per: Duration,
}

impl From<&Rate> for StepRate {
    fn from(rate: &Rate) -> StepRate {
        StepRate { limit: rate.limit, per: rate.per }
    }
}

/// A task to be offered.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferTask {
    /// The task; the same for the same attempt.
    pub task: TaskId,
    /// The step's path.
    pub path: Arc<str>,
    /// The step's id.
    pub step: Arc<str>,
    /// Counts from 1.
    pub attempt: u32,
    /// The idempotency key.
    pub key: Arc<str>,
    /// The queue's name.
    pub queue: Arc<str>,
    /// What the worker gets.
    pub input: Value,
    /// Higher is sooner.
    pub priority: i32,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
}

/// An approval to be asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenApproval {
    /// The approval; the same for the same step.
    pub approval: ApprovalId,
    /// The step's path.
    pub path: Arc<str>,
    /// The step's id.
    pub step: Arc<str>,
    /// Who is asked; empty: anybody who may.
    pub to: Vec<Arc<str>>,
    /// One line.
    pub title: Arc<str>,
    /// More, in Markdown.
    pub description: Option<Arc<str>>,
    /// JSON Schema of what is filled in; null when nothing is.
    pub form: Value,
    /// How many must approve, of how many.
    pub quorum: Option<(u32, u32)>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// A child to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct StartChild {
    /// The run to be started.
    pub child: RunId,
    /// The step's path.
    pub path: Arc<str>,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The version; `None`: the newest published one.
    pub version: Option<i32>,
    /// Its input, not yet checked.
    pub input: Value,
    /// Whether the step waits for its end.
    pub waits: bool,
    /// The child's depth.
    pub depth: u32,
}

/// A wait for a CloudEvent.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitForEvent {
    /// The step's path.
    pub path: Arc<str>,
    /// The event's type.
    pub event_type: Arc<str>,
    /// The event's subject; `None`: any.
    pub subject: Option<Arc<str>>,
    /// Events since then count.
    pub since: Timestamp,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// A final status.
    pub status: RunStatus,
    /// Null unless completed.
    pub output: Value,
    /// Why it did not complete.
    pub error: Option<Error>,
}
