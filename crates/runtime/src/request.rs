//! What callers ask for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use windlass_definition::{Plan, Value};
use windlass_engine::{
    event::{Settlement, UndoChoice, Verdict},
    id::{RunId, TaskId, TenantKey},
    start::{Mode, Principal},
    status::{RunStatus, TaskStatus},
    trace::{Trace, TraceId},
};
use windlass_store::{InFolder, Reached};

/// Which workflow is to be run.
#[derive(Debug, Clone)]
pub enum Target {
    /// A published version; the newest one when none is named.
    Published {
        /// The workflow's name.
        name: String,
        /// The version.
        version: Option<i32>,
    },
    /// The draft as it is now.
    Draft {
        /// The workflow's name.
        name: String,
    },
    /// A document that is no workflow of the tenant: a file on a command line.
    Document(Document),
}

/// A compiled document and its canonical text.
#[derive(Debug, Clone)]
pub struct Document {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The canonical JSON, from which the plan is compiled again.
    pub canonical: Arc<str>,
}

/// A run to be started.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// For whom.
    pub tenant: TenantKey,
    /// What.
    pub target: Target,
    /// Null is `{}`.
    pub input: Value,
    /// Production or test.
    pub mode: Mode,
    /// Who asks.
    pub by: Principal,
    /// Starting twice with the same one starts once.
    pub idempotency_key: Option<String>,
    /// The run's `key`, instead of the document's.
    pub key: Option<String>,
    /// The run's labels, besides the document's.
    pub labels: BTreeMap<String, String>,
    /// Who goes first where runs wait for their turn: the higher one; 0 is ordinary.
    pub priority: i32,
    /// The trace that it joins; without one, its own begins.
    pub trace: Option<Trace>,
}

/// A run that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// Whether it was there already, by its idempotency key.
    pub duplicate: bool,
}

/// Which run, and who asks.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Whose.
    pub tenant: TenantKey,
    /// Which.
    pub run: RunId,
    /// Who asks.
    pub by: Principal,
}

/// How a run is cancelled.
#[derive(Debug, Clone)]
pub struct CancelOptions {
    /// For people.
    pub reason: Option<String>,
    /// Whether its undo steps run.
    pub undo: UndoChoice,
}

impl Default for CancelOptions {
    fn default() -> CancelOptions {
        CancelOptions { reason: None, undo: UndoChoice::Undo }
    }
}

/// A signal to be sent.
#[derive(Debug, Clone)]
pub struct SignalRequest {
    /// To whom.
    pub tenant: TenantKey,
    /// To which run.
    pub run: RunId,
    /// Its name.
    pub name: String,
    /// Its body.
    pub payload: Value,
    /// Who sends it.
    pub by: Principal,
    /// Sending twice with the same one sends once.
    pub idempotency_key: Option<String>,
}

/// A decision on an approval.
#[derive(Debug, Clone)]
pub struct DecideRequest {
    /// Whose approval.
    pub tenant: TenantKey,
    /// Which.
    pub approval: windlass_engine::id::ApprovalId,
    /// Approve or reject.
    pub verdict: Verdict,
    /// Who decides.
    pub by: Principal,
    /// The form's values.
    pub form: Value,
    /// A word on it.
    pub comment: Option<String>,
}

/// What a person says about an attempt whose outcome is unknown.
#[derive(Debug, Clone)]
pub struct SettleRequest {
    /// Which run, and who says so.
    pub run: RunRequest,
    /// The step's path.
    pub path: String,
    /// What became of it.
    pub settlement: Settlement,
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this workflow.
    pub workflow: Option<String>,
    /// In one of these states; empty: any.
    pub statuses: Vec<RunStatus>,
    /// With this `key`.
    pub key: Option<String>,
    /// With all these labels.
    pub labels: BTreeMap<String, String>,
    /// Started by this run's steps.
    pub parent: Option<RunId>,
    /// Of this trace.
    pub trace: Option<TraceId>,
    /// With all these words in their key, labels, input, error or output; `ord*` for how one begins.
    pub q: Option<String>,
    /// Of these workflows alone.
    pub within: Option<Reached>,
    /// Rows.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// Which workflows, or versions of one, are wanted.
#[derive(Debug, Clone, Default)]
pub struct WorkflowFilter {
    /// Rows.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<String>,
    /// Where they lie; versions have no place of their own.
    pub folder: InFolder,
    /// A tag that they have.
    pub tag: Option<String>,
    /// Templates alone, or what is none.
    pub template: Option<bool>,
    /// Templates of this category alone.
    pub category: Option<String>,
    /// Those that are deleted, in place of those that are there.
    pub deleted: bool,
    /// With all these words in their name, description or draft; `ord*` for how one begins.
    pub q: Option<String>,
    /// Among these alone.
    pub within: Option<Reached>,
}

/// Which approvals are wanted.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// `pending`, `approved`, `rejected`, `expired` or `cancelled`.
    pub status: Option<String>,
    /// Of runs of these workflows alone.
    pub within: Option<Reached>,
    /// Rows.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// Which tasks are wanted.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Of this queue.
    pub queue: Option<String>,
    /// In this state.
    pub status: Option<TaskStatus>,
    /// Rows.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// Which task, and the proof that it was claimed.
#[derive(Debug, Clone)]
pub struct TaskRequest {
    /// Of whom.
    pub tenant: TenantKey,
    /// Which.
    pub task: TaskId,
    /// By whom.
    pub proof: Proof,
}

/// How a worker shows that a claim is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By the token that the claim gave: the only proof against an earlier claim of the same task.
    Token(String),
    /// By the name that it claimed under: enough where each worker has a name of its own.
    Worker(String),
    /// By nothing: whoever holds the task is meant.
    Holder,
}

/// A claim of tasks.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Of whom.
    pub tenant: TenantKey,
    /// From which queues.
    pub queues: Vec<String>,
    /// Who claims.
    pub worker: String,
    /// How many at most.
    pub max: usize,
    /// How long to wait for the first.
    pub wait: Duration,
}

/// What became of a CloudEvent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedEvent {
    /// Whether it was there already, by its source and id.
    pub duplicate: bool,
    /// Runs that took it now.
    pub taken: usize,
}

/// A CloudEvent to be taken in.
#[derive(Debug, Clone)]
pub struct EventRequest {
    /// To whom.
    pub tenant: TenantKey,
    /// `source` and `id` together count once.
    pub source: String,
    /// See `source`.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// Its subject.
    pub subject: Option<String>,
    /// The whole event as JSON.
    pub event: Value,
}
