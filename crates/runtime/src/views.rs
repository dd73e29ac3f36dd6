//! What callers are shown: the resources of the API, as plain data that serialises.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use windlass_definition::{Class, Error, Timestamp, Value};
use windlass_engine::{
    entry::FinishRecord,
    id::{ApprovalId, RunId, TaskId, WorkflowId},
    run::{ActiveStep, Run, UndoSummary},
    start::{Mode, Origin, Principal, Start},
    status::{RunStatus, StepStatus, TaskStatus},
    trace::TraceId,
};

use windlass_store::RunRow;

/// One page of a list, and where the next one begins.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Ask with `after` = this for more; `None` at the end.
    pub next: Option<String>,
    /// Of runs that were searched by words: those that were made later are not found yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched_until: Option<Timestamp>,
}

impl<T> Page<T> {
    /// A page of these.
    pub(crate) fn new(items: Vec<T>, next: Option<String>) -> Page<T> {
        Page { items, next, searched_until: None }
    }

    /// The same page of something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        let Page { items, next, searched_until } = self;
        Page { items: items.into_iter().map(f).collect(), next, searched_until }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The workflow's version; null for a draft or a file.
    pub version: Option<i32>,
    /// Where it stands.
    pub status: RunStatus,
    /// Production or test.
    pub mode: Mode,
    /// As checked at the start.
    pub input: Value,
    /// Null unless completed.
    pub output: Value,
    /// Why it did not complete.
    pub error: Option<Error>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it left the queue.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Who goes first where runs wait for their turn: the higher one.
    pub priority: i32,
    /// The trace that it belongs to: its own, or that of whoever started it.
    pub trace_id: TraceId,
    /// The run whose step started it.
    pub parent_run_id: Option<RunId>,
    /// That step's path.
    pub parent_path: Option<Arc<str>>,
    /// Who asked for it.
    pub started_by: Principal,
    /// Its `key`.
    pub key: Option<Arc<str>>,
    /// Its labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What became of its undo steps.
    pub undo: UndoSummary,
    /// The run that it was made from: by `rerun`, `fork`, `restart` or `undo`.
    pub origin: Option<OriginView>,
    /// What a `respond` step answered, for whoever waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Value>,
    /// Why it stands still, when its journal cannot be read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// The run that another was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OriginView {
    /// `rerun`, `fork`, `restart` or `undo`.
    pub kind: &'static str,
    /// The other run.
    pub run_id: RunId,
    /// Where a fork begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Arc<str>>,
}

impl OriginView {
    fn of(origin: &Origin) -> Option<OriginView> {
        let (kind, run_id, at) = match origin {
            Origin::Fresh => return None,
            Origin::Rerun { of } => ("rerun", *of, None),
            Origin::Fork { of, at, .. } => ("fork", *of, Some(at.clone())),
            Origin::Restart { of } => ("restart", *of, None),
            Origin::Undo { of, .. } => ("undo", *of, None),
        };
        Some(OriginView { kind, run_id, at })
    }
}

impl RunView {
    /// What a start says of a run, before anything else is known.
    pub(crate) fn of_start(start: &Start, status: RunStatus) -> RunView {
        RunView {
            id: start.run,
            workflow: start.workflow.clone(),
            version: (start.version > 0).then_some(start.version),
            status,
            mode: start.mode,
            input: start.input.clone(),
            output: Value::Null,
            error: None,
            created_at: start.created_at,
            started_at: None,
            finished_at: None,
            priority: start.priority,
            trace_id: start.trace_id(),
            parent_run_id: start.parent.as_ref().map(|parent| parent.run),
            parent_path: start.parent.as_ref().map(|parent| parent.path.clone()),
            started_by: start.by.clone(),
            key: start.key.clone(),
            labels: start.labels.clone(),
            undo: UndoSummary::default(),
            origin: OriginView::of(&start.origin),
            response: None,
            damaged: None,
        }
    }

    /// A run as its row says; what it was given and what it gave stand in its journal.
    pub(crate) fn of_row(row: &RunRow) -> RunView {
        let error = row
            .error
            .as_ref()
            .map(|error| Error::new(Class::parse(&error.class).unwrap_or(Class::User), &error.code, &error.message));
        let started_by = row.started_by.clone().and_then(|by| serde_json::from_value(by).ok());
        RunView {
            id: row.id,
            workflow: row.workflow.as_str().into(),
            version: row.version,
            status: row.status,
            mode: match row.mode {
                windlass_store::RunMode::Production => Mode::Production,
                windlass_store::RunMode::Test => Mode::Test,
            },
            input: Value::Null,
            output: Value::Null,
            error,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            priority: row.priority,
            trace_id: row.trace.unwrap_or_else(|| TraceId::of_run(row.id)),
            parent_run_id: row.parent.as_ref().map(|(run, _)| *run),
            parent_path: row.parent.as_ref().map(|(_, path)| path.as_str().into()),
            started_by: started_by.unwrap_or(Principal::System),
            key: row.key.as_deref().map(Into::into),
            labels: row.labels.clone().and_then(|labels| serde_json::from_value(labels).ok()).unwrap_or_default(),
            undo: UndoSummary::default(),
            origin: row.origin.map(|(run_id, kind)| OriginView { kind: kind.as_str(), run_id, at: None }),
            response: None,
            damaged: None,
        }
    }

    /// Adds what its first entry says.
    pub(crate) fn began(&mut self, start: &Start) {
        self.input = start.input.clone();
        self.started_by = start.by.clone();
        self.origin = OriginView::of(&start.origin);
    }

    /// Adds what its last entry says.
    pub(crate) fn ended(&mut self, end: FinishRecord) {
        self.output = end.output;
        self.error = end.error;
        self.undo = end.undo;
    }

    /// A run that is in memory.
    pub(crate) fn of_run(run: &Run) -> RunView {
        RunView {
            output: run.output().clone(),
            error: run.error().cloned(),
            started_at: run.started_at(),
            finished_at: run.finished_at(),
            undo: run.undo(),
            ..RunView::of_start(run.info(), run.status())
        }
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The workflow's version; null for a draft or a file.
    pub version: Option<i32>,
    /// Where it stands.
    pub status: RunStatus,
    /// Production or test.
    pub mode: Mode,
    /// Why it did not complete, in short.
    pub error: Option<Error>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it left the queue.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Who goes first where runs wait for their turn: the higher one.
    pub priority: i32,
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// The run whose step started it.
    pub parent_run_id: Option<RunId>,
    /// Its `key`.
    pub key: Option<Arc<str>>,
    /// Its labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

/// A step of a run: one per path, as of its last attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    /// The ids from the outside in.
    pub path: Arc<str>,
    /// The step's id.
    pub step: Arc<str>,
    /// The word after `type:`.
    #[serde(rename = "type")]
    pub type_name: Arc<str>,
    /// Where it stands.
    pub status: StepStatus,
    /// The last attempt; 0 where that means nothing.
    pub attempt: u32,
    /// The evaluated `with`.
    pub input: Value,
    /// Null unless completed.
    pub output: Value,
    /// Why it did not complete.
    pub error: Option<Error>,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// `if` or `path`, when it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_by: Option<&'static str>,
    /// What it waits for, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<&'static str>,
}

impl From<ActiveStep> for StepView {
    fn from(step: ActiveStep) -> StepView {
        StepView {
            path: step.path,
            step: step.step,
            type_name: step.type_name,
            status: step.status,
            attempt: step.attempt,
            input: step.input,
            output: Value::Null,
            error: None,
            started_at: step.started_at,
            finished_at: None,
            skipped_by: None,
            waits_for: step.waits_for,
        }
    }
}

/// A workflow: its draft and its newest published version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowView {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// For searching.
    pub tags: Vec<String>,
    /// The revision: the `ETag`.
    pub revision: i64,
    /// The newest published version.
    pub version: Option<i32>,
    /// Whether it is there to be copied.
    pub is_template: bool,
    /// Under what a template is found.
    pub template_category: Option<String>,
    /// What it was copied from.
    pub made_from: Option<MadeFromView>,
    /// The draft as it was written; null in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom; null for what is older than schema 25.
    pub created_by: Option<String>,
    /// When its draft last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: Option<String>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// By whom.
    pub deleted_by: Option<String>,
    /// What to know about the document though it was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<windlass_definition::diagnostic::Diagnostic>,
}

/// What a workflow was copied from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeFromView {
    /// The name of the workflow.
    pub workflow: String,
    /// Its published version; null for its draft.
    pub version: Option<i32>,
}

/// A published version of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionView {
    /// Counts from 1.
    pub version: i32,
    /// The content hash of its plan.
    pub hash: String,
    /// The document as it was written; null in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When.
    pub published_at: Timestamp,
    /// Who.
    pub published_by: Option<String>,
}

/// Something that people are asked to decide.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovalView {
    /// Its id.
    pub id: ApprovalId,
    /// `pending`, `approved`, `rejected`, `expired` or `cancelled`.
    pub status: String,
    /// The run that waits for it.
    pub run_id: RunId,
    /// The path of the step that waits.
    pub path: Arc<str>,
    /// One line.
    pub title: String,
    /// `{description, to, form, quorum}`.
    pub detail: Value,
    /// The decisions so far.
    pub responses: Value,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

/// A task that a worker has claimed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimedTask {
    /// Its id.
    pub id: TaskId,
    /// Proves the claim: heartbeat, complete and fail carry it.
    pub token: String,
    /// The queue.
    pub queue: Arc<str>,
    /// The run.
    pub run_id: RunId,
    /// The path of its step.
    pub path: Arc<str>,
    /// Counts from 1.
    pub attempt: u32,
    /// The idempotency key.
    pub key: Arc<str>,
    /// The step's `with.input`.
    pub input: Value,
    /// Until when the claim holds without a heartbeat.
    pub lease_until: Timestamp,
}

/// A task as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// The queue.
    pub queue: String,
    /// The run.
    pub run_id: RunId,
    /// The path of its step.
    pub path: Arc<str>,
    /// The step's id.
    pub name: String,
    /// Higher is sooner.
    pub priority: i32,
    /// Claims of it that ran out.
    pub lost: i32,
    /// Who has it.
    pub worker: Option<String>,
    /// Until when, without a heartbeat.
    pub lease_until: Option<Timestamp>,
    /// When it was offered.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
