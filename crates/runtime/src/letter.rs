//! Letters: what one run, node or transition has to tell a run, kept in the inbox until it is taken.
//!
//! A letter is written in the commit of whoever sends it and deleted in the commit of whoever takes it: a crash
//! between the two delivers it again, and taking it twice changes nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use windlass_definition::{Error, Timestamp, Value};
use windlass_engine::{
    Event,
    event::{ChildResult, Decision, Settlement, UndoChoice},
    id::{ApprovalId, RunId},
    start::Principal,
};
use windlass_store::{InboxRow, LaneId};

use crate::payload;

/// What a letter says. The run that it is addressed to is on its row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Letter {
    /// A signal.
    Signal {
        name: Arc<str>,
        payload: Value,
        key: Option<Arc<str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Principal>,
    },
    /// A decision.
    Decide { approval: ApprovalId, decision: Decision },
    /// How an attempt of unknown outcome ended.
    Settle { path: Arc<str>, settlement: Settlement, by: Principal },
    /// Stop.
    Cancel { by: Principal, reason: Option<Arc<str>>, undo: UndoChoice },
    /// Start nothing new.
    Pause { by: Principal },
    /// Go on.
    Resume { by: Principal },
    /// A child ended.
    ChildEnded { path: Arc<str>, child: Option<RunId>, result: ChildResult },
    /// A child that nobody waits for was started.
    ChildStarted { path: Arc<str>, child: RunId, version: i32 },
    /// A CloudEvent for a step.
    CloudEvent { path: Arc<str>, key: Arc<str>, event: Value },
    /// The run it is addressed to is to be started as a child.
    StartChild(Box<ChildOrder>),
    /// The run it is addressed to is to be started to take back what a completed child did.
    UndoChild { parent: RunId, path: Arc<str>, of: RunId, error: Value },
    /// The run it is addressed to is to be started in the place of another.
    Restart { of: RunId, input: Value },
    /// A step of the run began to wait for events: those that are there already count.
    FindEvents { path: Arc<str>, event_type: Arc<str>, subject: Option<Arc<str>>, since: Timestamp },
    /// A queued run has its place.
    Admit,
    /// All that was left of the run was taken back by a linked run.
    Undone,
}

/// A child that is to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChildOrder {
    pub(crate) parent: RunId,
    pub(crate) path: Arc<str>,
    pub(crate) workflow: Arc<str>,
    pub(crate) version: Option<i32>,
    pub(crate) input: Value,
    pub(crate) waits: bool,
    pub(crate) depth: u32,
    pub(crate) mode: windlass_engine::start::Mode,
    #[serde(default)]
    pub(crate) priority: i32,
    /// That of its parent; an older program did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<windlass_engine::trace::Trace>,
}

impl Letter {
    /// The word that the row's `kind` holds.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Letter::Signal { .. } => "signal",
            Letter::Decide { .. } => "decide",
            Letter::Settle { .. } => "settle",
            Letter::Cancel { .. } => "cancel",
            Letter::Pause { .. } => "pause",
            Letter::Resume { .. } => "resume",
            Letter::ChildEnded { .. } => "child_ended",
            Letter::ChildStarted { .. } => "child_started",
            Letter::CloudEvent { .. } => "event",
            Letter::StartChild(_) => "start_child",
            Letter::UndoChild { .. } => "undo_child",
            Letter::Restart { .. } => "restart",
            Letter::FindEvents { .. } => "find_events",
            Letter::Admit => "admit",
            Letter::Undone => "undone",
        }
    }

    /// The row that carries this letter; the same `dedup` to the same run is the same letter.
    pub(crate) fn row(&self, run: RunId, lane: LaneId, dedup: String) -> InboxRow {
        InboxRow {
            id: Uuid::now_v7(),
            lane,
            run,
            kind: self.kind().to_owned(),
            dedup,
            payload: payload::json(self),
            created_at: chrono::Utc::now().into(),
        }
    }

    /// Reads a row's payload.
    pub(crate) fn read(payload: &[u8]) -> Result<Letter, serde_json::Error> {
        payload::deep(payload)
    }

    /// The letter that an event for another node's run goes in; `None` for what happens only where the run is.
    pub(crate) fn of_event(event: &Event, approval: Option<ApprovalId>) -> Option<Letter> {
        Some(match event.clone() {
            Event::Signal { name, payload, key, by } => Letter::Signal { name, payload, key, by },
            Event::Decide(decision) => Letter::Decide { approval: approval?, decision },
            Event::Settle { path, settlement, by } => Letter::Settle { path, settlement, by },
            Event::Cancel { by, reason, undo } => Letter::Cancel { by, reason, undo },
            Event::Pause { by } => Letter::Pause { by },
            Event::Resume { by } => Letter::Resume { by },
            Event::CloudEvent { path, key, event } => Letter::CloudEvent { path, key, event },
            Event::Admit => Letter::Admit,
            _ => return None,
        })
    }

    /// What it is to the engine; `None` for what the runtime itself does.
    pub(crate) fn event(self) -> Result<Event, Letter> {
        Ok(match self {
            Letter::Signal { name, payload, key, by } => Event::Signal { name, payload, key, by },
            Letter::Decide { decision, .. } => Event::Decide(decision),
            Letter::Settle { path, settlement, by } => Event::Settle { path, settlement, by },
            Letter::Cancel { by, reason, undo } => Event::Cancel { by, reason, undo },
            Letter::Pause { by } => Event::Pause { by },
            Letter::Resume { by } => Event::Resume { by },
            Letter::ChildEnded { path, child, result } => Event::ChildEnded { path, child, result },
            Letter::ChildStarted { path, child, version } => Event::ChildStarted { path, child, version },
            Letter::CloudEvent { path, key, event } => Event::CloudEvent { path, key, event },
            Letter::Admit => Event::Admit,
            other => return Err(other),
        })
    }
}

/// What an error of a child that could not be started is to its parent.
pub(crate) fn not_started(error: Error) -> ChildResult {
    ChildResult::Failed(None, error)
}
