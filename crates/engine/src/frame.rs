//! The moving parts of a run: frames (instances of blocks) and slots (instances of steps).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use windlass_definition::{Error, Timestamp, Value, plan::BlockIndex};

use crate::{
    entry::SkippedBy,
    event::Decision,
    id::{ApprovalId, RunId, TaskId},
    status::StepStatus,
};

/// Names a frame within its run; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FrameId(pub u32);

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct At {
    pub frame: FrameId,
    pub position: u32,
}

/// One instance of a block: the run's body, a branch, an iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub block: BlockIndex,
    pub owner: Owner,
    pub role: Role,
    /// What the paths of its steps begin with: empty, or ending in a dot.
    pub prefix: Arc<str>,
    pub slots: Vec<Slot>,
    /// Slots that have begun and not ended.
    pub live: u32,
    /// Slots that have not ended.
    pub left: u32,
    /// Why it starts nothing more.
    pub stop: Option<FrameStop>,
    /// The first failure in it.
    pub error: Option<Error>,
    /// The failures after the first.
    pub also: Vec<Error>,
    /// Whether its end is already on its way to its owner.
    pub ended: bool,
}

/// Who is told of a frame's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owner {
    Run,
    Step(At),
}

/// What a frame is to its owner, with the names that it binds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The chosen block of an `if` or `switch`.
    Chosen,
    /// An iteration of a `foreach`.
    Item { index: u32, item: Value },
    /// A round of a `while`.
    Round { index: u32, last: Value },
    /// A branch of a `parallel`, by its position.
    Branch(u32),
    /// The part of a `try`, or of the run, that may fail.
    Body,
    /// A `catch` that took this error, under that name too.
    Catch { error: Error, name: Option<Arc<str>> },
    /// A `finally`.
    Finally,
}

/// Why a frame starts nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FrameStop {
    /// A step of it failed.
    Failed,
    /// Something around it stopped it.
    Stopped,
    /// A `break` inside it left the loop.
    Break,
    /// A `next` inside it went to the next item or round.
    Next,
}

/// How a frame ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Completed(Value),
    Failed(Error),
    Stopped,
    Break,
    Next,
}

/// One instance of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub phase: Phase,
    /// Incoming edges that were taken.
    pub taken: u32,
    /// Incoming edges that were decided.
    pub decided: u32,
    /// The last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that were lost with their server or worker.
    pub lost: u32,
    /// When it became ready: what `now()` is to it.
    pub ready_at: Timestamp,
    /// When the first attempt began.
    pub first_at: Option<Timestamp>,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// The evaluated `with`, or what a control step decided by.
    pub input: Value,
    pub output: Value,
    pub error: Option<Arc<Error>>,
    /// Why it is being stopped.
    pub stop: Option<SlotStop>,
    /// Its timers that have not fired.
    pub timers: Vec<(Timestamp, TimerKind)>,
    /// The failures of what was stopped inside it.
    pub also: Vec<Error>,
}

impl Slot {
    pub fn new() -> Slot {
        Slot {
            phase: Phase::Pending,
            taken: 0,
            decided: 0,
            attempt: 0,
            lost: 0,
            ready_at: Timestamp::default(),
            first_at: None,
            started_at: None,
            input: Value::Null,
            output: Value::Null,
            error: None,
            stop: None,
            timers: Vec::new(),
            also: Vec::new(),
        }
    }

    /// The word for where it stands.
    pub fn status(&self) -> StepStatus {
        match &self.phase {
            Phase::Pending | Phase::Ready => StepStatus::Pending,
            Phase::Running | Phase::Control(_) => StepStatus::Running,
            Phase::Waiting(_) => StepStatus::Waiting,
            Phase::Ended(status, _) => *status,
        }
    }
}

/// Where a slot stands, with just the data of that place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Its incoming edges are not decided.
    Pending,
    /// In the queue of steps to be started.
    Ready,
    /// An attempt runs outside.
    Running,
    /// Something from outside, or a time, brings it on.
    Waiting(Wait),
    /// The blocks inside it run.
    Control(Control),
    /// For good.
    Ended(StepStatus, Option<SkippedBy>),
}

/// What a slot waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// Its time.
    Delay,
    /// A signal of that name.
    Signal(Arc<str>),
    /// A CloudEvent.
    Event,
    /// People.
    Approval(Box<ApprovalWait>),
    /// An outside worker.
    Task(TaskId),
    /// A child run.
    Child(RunId),
    /// Its next attempt.
    Backoff,
    /// A person who says what became of an attempt.
    Settlement,
}

/// The state of an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ApprovalWait {
    pub approval: ApprovalId,
    pub of: u32,
    pub need: u32,
    pub responses: Vec<(Timestamp, Decision)>,
    pub continue_on_reject: bool,
    pub continue_on_expire: bool,
    pub form: Value,
}

/// The state of a control step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// `if`, `switch`: the block that was chosen.
    Chosen(FrameId),
    ForEach(ForEach),
    While(While),
    Parallel(Parallel),
    Try(Try),
}

/// The state of a `foreach`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForEach {
    pub items: Value,
    /// The first item that was not opened.
    pub next: u32,
    pub open: BTreeMap<u32, FrameId>,
    /// A place per item that was opened.
    pub outputs: Vec<Value>,
    pub error: Option<Error>,
    /// No more items are opened.
    pub closing: bool,
}

/// The state of a `while`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct While {
    /// Rounds that have ended.
    pub index: u32,
    pub last: Value,
    pub round: Option<FrameId>,
    pub closing: bool,
}

/// The state of a `parallel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parallel {
    /// The first branch that was not opened.
    pub next: u32,
    pub open: BTreeMap<u32, FrameId>,
    pub outputs: Vec<Value>,
    pub completed: u32,
    pub errors: Vec<(Arc<str>, Error)>,
    /// No more branches are opened.
    pub closing: bool,
}

/// The state of a `try`, and of the run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Try {
    pub part: Part,
    /// The frames so far, kept for what comes after them.
    pub body: Option<FrameId>,
    pub catch: Option<FrameId>,
    pub finally: Option<FrameId>,
    /// What it will end with.
    pub outcome: Outcome,
}

impl Try {
    pub fn new() -> Try {
        Try { part: Part::Body, body: None, catch: None, finally: None, outcome: Outcome::Completed(Value::Null) }
    }

    /// The frame that is under way.
    pub fn current(&self) -> Option<FrameId> {
        match self.part {
            Part::Body => self.body,
            Part::Catch => self.catch,
            Part::Finally => self.finally,
        }
    }

    /// Every frame of it that still exists.
    pub fn frames(&self) -> impl Iterator<Item = FrameId> {
        [self.body, self.catch, self.finally].into_iter().flatten()
    }
}

/// Which part of a `try` is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    Body,
    Catch,
    Finally,
}

/// Why a slot is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SlotStop {
    /// Something around it stopped it.
    Stopped,
    /// Its own `timeout` passed.
    Timeout,
}

/// What a timer of a slot means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum TimerKind {
    /// The `timeout` of an attempt, or of a control or waiting step.
    Timeout,
    /// A delay, a backoff or an expiry is over.
    Due,
    /// The attempt had its time to stop.
    Grace,
}

/// A timer of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Timer {
    /// The run's own `timeout`.
    Run,
    /// The `finally` blocks had their time.
    Finally,
    /// The `timeout` or backoff of the undo under way.
    Undo,
    /// A slot's.
    Step(At, TimerKind),
}

/// What is still to be done within the run, first in, first out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Start the step.
    Start(At),
    /// No path leads to the step.
    Skip(At),
    /// The step has ended: decide its edges.
    Settle(At),
    /// Open what the control step has room for, or end it.
    Advance(At),
    /// The frame has ended: tell its owner.
    FrameEnded(FrameId),
    /// Take back the next step, or end the run.
    Undo,
}
