//! The journal: what happened to a run, in order.
//!
//! A transition is one entry that opens it (what came from outside) and the entries that follow from it. A step that
//! ended has one entry, which is its record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windlass_definition::{Error, Timestamp, Value};

use crate::{
    event::{ChildResult, Decision, Settlement, UndoChoice},
    id::RunId,
    run::UndoSummary,
    start::{Principal, Start},
    status::{RunStatus, StepStatus},
};

/// One entry of a run's journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Counts from 1 without gaps.
    pub seq: i64,
    /// When the transition happened, by the database's clock.
    pub at: Timestamp,
    /// Whether it opens a transition.
    pub opens: bool,
    /// The path of the step it speaks of; empty when it speaks of the run.
    pub path: Arc<str>,
    /// The id of that step; empty when it speaks of the run.
    pub step: Arc<str>,
    /// Which attempt of it; 0 when that means nothing.
    pub attempt: u32,
    /// What happened.
    pub record: Record,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The run was accepted; the first entry.
    Started(Box<Start>),
    /// A queued run got its place.
    Admitted,
    /// A step ended: its record.
    Step(StepRecord),
    /// An attempt failed and another will follow.
    Attempt(AttemptRecord),
    /// An attempt of an `at_most_once` step may have had its effect: a person has to say.
    Unknown(UnknownRecord),
    /// An attempt was lost with its server or worker.
    Lost,
    /// What one transition could not hold goes on.
    Continued,
    /// Timers fired; the times when they were due say which.
    Timer,
    /// A signal came.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// Its body.
        payload: Value,
        /// The sender's idempotency key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Arc<str>>,
        /// Who sent it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Principal>,
    },
    /// Somebody decided an approval.
    Decided(Decision),
    /// A child ended, or could not be started.
    Child {
        /// The child.
        child: Option<RunId>,
        /// How.
        result: ChildResult,
    },
    /// A child that nobody waits for was started.
    ChildStarted {
        /// The child.
        child: RunId,
        /// Its version.
        version: i32,
    },
    /// A child ended by `restart`, and another run takes its place.
    ChildRestarted {
        /// The child.
        child: RunId,
        /// The fresh one.
        run: RunId,
    },
    /// A CloudEvent was taken.
    Event {
        /// Source and id.
        key: Arc<str>,
        /// The event.
        event: Value,
    },
    /// A person said how an attempt of unknown outcome ended.
    Settled {
        /// What became of it.
        settlement: Settlement,
        /// Who said so.
        by: Principal,
    },
    /// Somebody asked to cancel.
    Cancelled {
        /// Who.
        by: Principal,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
        /// Whether undo runs.
        undo: UndoChoice,
    },
    /// Somebody paused it.
    Paused {
        /// Who.
        by: Principal,
    },
    /// Somebody resumed it.
    Resumed {
        /// Who.
        by: Principal,
    },
    /// It begins to take back what it did.
    Compensating {
        /// Why.
        error: Error,
    },
    /// It ended.
    Finished(FinishRecord),
}

impl Record {
    /// The short word that the journal's `kind` column holds.
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Started(_) => "started",
            Record::Admitted => "admitted",
            Record::Step(_) => "step",
            Record::Attempt(_) => "attempt",
            Record::Unknown(_) => "unknown",
            Record::Lost => "lost",
            Record::Continued => "continued",
            Record::Timer => "timer",
            Record::Signal { .. } => "signal",
            Record::Decided(_) => "decided",
            Record::Child { .. } => "child",
            Record::ChildStarted { .. } => "child_started",
            Record::ChildRestarted { .. } => "child_restarted",
            Record::Event { .. } => "event",
            Record::Settled { .. } => "settled",
            Record::Cancelled { .. } => "cancelled",
            Record::Paused { .. } => "paused",
            Record::Resumed { .. } => "resumed",
            Record::Compensating { .. } => "compensating",
            Record::Finished(_) => "finished",
        }
    }

    /// What a step completed with; `None` for everything else.
    pub fn completed_with(&self) -> Option<&Value> {
        match self {
            Record::Step(step) if step.status == StepStatus::Completed => Some(&step.output),
            _ => None,
        }
    }
}

/// The record of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The word after `type:`.
    #[serde(rename = "type")]
    pub type_name: Arc<str>,
    /// A final status.
    pub status: StepStatus,
    /// When its last attempt began; `None` when it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Its evaluated `with`, or what a control step decided by; null when it was skipped.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Null unless completed.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Why it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_by: Option<SkippedBy>,
    /// Whether an effect may have happened that nobody knows of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// Why a step was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkippedBy {
    /// Its own `if` was false.
    If,
    /// No path leads to it any more.
    Path,
}

/// An attempt that failed and that another will follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// When it began.
    pub started_at: Timestamp,
    /// Why it failed.
    pub error: Error,
    /// Whether its effect may have happened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// When the next one begins.
    pub next_at: Timestamp,
}

/// An attempt of which nobody knows whether its effect happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnknownRecord {
    /// When it began.
    pub started_at: Timestamp,
    /// What went wrong with it.
    pub error: Error,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishRecord {
    /// A final status.
    pub status: RunStatus,
    /// Null unless completed.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Why it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// What became of the undo steps.
    pub undo: UndoSummary,
}
