//! What can happen to a run.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use windlass_definition::{Error, Timestamp, Value};

use crate::{
    id::RunId,
    start::Principal,
    status::{RunStatus, StepStatus},
};

/// Something that happened outside a run and that the run has to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run that was queued has its place.
    Admit,
    /// An attempt that [`crate::Effect::RunStep`] asked for has ended, well or not.
    StepEnded {
        /// The step's path.
        path: Arc<str>,
        /// Which attempt.
        attempt: u32,
        /// When the attempt began.
        started_at: Timestamp,
        /// Its output or why it failed.
        result: Result<Value, Failure>,
    },
    /// The server that ran the attempt is gone, or its worker's lease ran out: the attempt is repeated under the same
    /// key, or, on `at_most_once` steps, its outcome is unknown.
    StepLost {
        /// The step's path.
        path: Arc<str>,
        /// Which attempt.
        attempt: u32,
    },
    /// Time has passed: every timer that is due by now fires.
    Tick,
    /// The last transition left something to do: see [`crate::Transition::more`].
    Continue,
    /// A named signal came.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// Its body.
        payload: Value,
        /// The sender's idempotency key: a second one of the same key changes nothing.
        key: Option<Arc<str>>,
        /// Who sent it, where that is known.
        by: Option<Principal>,
    },
    /// Somebody decided an approval.
    Decide(Decision),
    /// The child run that [`crate::Effect::StartChild`] or [`crate::Effect::UndoChild`] asked for has ended, or could
    /// not be started.
    ChildEnded {
        /// The path of the step that waits for it.
        path: Arc<str>,
        /// The child; `None` when it could not be started.
        child: Option<RunId>,
        /// How it ended.
        result: ChildResult,
    },
    /// A child that nobody waits for is durably started.
    ChildStarted {
        /// The path of its step.
        path: Arc<str>,
        /// The child.
        child: RunId,
        /// The version that was chosen.
        version: i32,
    },
    /// A child that is waited for ended by `restart`: another run takes its place.
    ChildRestarted {
        /// The path of the step that waits for it.
        path: Arc<str>,
        /// The child that ended.
        child: RunId,
        /// The fresh one.
        run: RunId,
    },
    /// A CloudEvent came that an `event` step may be waiting for.
    CloudEvent {
        /// The path of the step that waits.
        path: Arc<str>,
        /// Source and id of the event: each counts once per run and step.
        key: Arc<str>,
        /// The event.
        event: Value,
    },
    /// A person says how an attempt of unknown outcome really ended.
    Settle {
        /// The step's path.
        path: Arc<str>,
        /// What became of it.
        settlement: Settlement,
        /// Who says so.
        by: Principal,
    },
    /// Stop everything; take back what was done unless told otherwise.
    Cancel {
        /// Who asked.
        by: Principal,
        /// Why, for people.
        reason: Option<Arc<str>>,
        /// Whether the undo steps run.
        undo: UndoChoice,
    },
    /// Start nothing new until resumed.
    Pause {
        /// Who asked.
        by: Principal,
    },
    /// Go on.
    Resume {
        /// Who asked.
        by: Principal,
    },
}

/// Whether the undo steps of a cancelled run run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoChoice {
    /// They run.
    Undo,
    /// What was done stays done; `runs undo` can take it back later.
    Leave,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// Whether its effect may have happened.
    #[serde(default)]
    pub unknown: bool,
}

impl Failure {
    /// A failure that certainly had no effect.
    pub fn certain(error: Error) -> Failure {
        Failure { error, unknown: false }
    }
}

/// How a child run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ChildResult {
    /// It completed with this output.
    Completed(Value),
    /// It ended otherwise, or could not be started: this status, if any, and this error.
    Failed(Option<RunStatus>, Error),
}

/// Somebody's decision on an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The path of the approval's step.
    pub path: Arc<str>,
    /// Approve or reject.
    pub verdict: Verdict,
    /// Who decided.
    pub by: Principal,
    /// The form's values, checked against the approval's form.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub form: Value,
    /// A word on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
}

/// Approve or reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Approve,
    /// Do not.
    Reject,
}

/// How an attempt of unknown outcome really ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It completed with this output.
    Completed(Value),
    /// It failed.
    Failed(Error),
    /// It did not happen: run it again.
    Again,
}

/// Why an event changes nothing. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The run has ended, or is taking back what it did.
    #[error("the run is {0}: it takes no more of this")]
    NotNow(RunStatus),
    /// No such step is open, or another attempt of it is.
    #[error("no step at `{0}` waits for this")]
    NoSuchStep(Arc<str>),
    /// The step at that path is not of the kind that the event is for.
    #[error("the step at `{path}` is {status} and does not take this")]
    NotWaiting {
        /// The step's path.
        path: Arc<str>,
        /// Where it stands.
        status: StepStatus,
    },
    /// It already counted.
    #[error("this was already taken")]
    Duplicate,
    /// Something else came under the same idempotency key.
    #[error("this idempotency key was used for another signal of this run")]
    KeyReused,
    /// A bound of the run.
    #[error("{0}")]
    Limit(String),
    /// The one who started the run may not decide, nor anybody twice.
    #[error("{0}")]
    Denied(String),
    /// The event is not one that the step waits for.
    #[error("the event does not match")]
    NoMatch,
}

impl Reject {
    /// A stable word for answers.
    pub fn code(&self) -> &'static str {
        match self {
            Reject::NotNow(_) => "run_not_open",
            Reject::NoSuchStep(_) => "no_such_step",
            Reject::NotWaiting { .. } => "not_waiting",
            Reject::Duplicate => "duplicate",
            Reject::KeyReused => "idempotency_key_reused",
            Reject::Limit(_) => "limit",
            Reject::Denied(_) => "denied",
            Reject::NoMatch => "no_match",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Approve => "approved",
            Verdict::Reject => "rejected",
        })
    }
}
