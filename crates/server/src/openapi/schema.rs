//! The shapes of answers, as the OpenAPI document shows them.
//!
//! Nothing is built from these types: answers are written straight from the runtime's views. A test compares the two,
//! so that a field added there appears here.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Any JSON value.
pub type Json = serde_json::Value;

macro_rules! pages {
    ($($(#[$doc:meta])* $name:ident of $item:ty;)*) => {
        $($(#[$doc])*
        #[derive(Serialize, ToSchema)]
        pub struct $name {
            /// In order.
            pub items: Vec<$item>,
            /// Ask with `after` = this for more; null at the end.
            #[schema(required)]
            pub next: Option<String>,
        })*
    };
}

pages! {
    /// A page of workflows.
    WorkflowPage of Workflow;
    /// A page of versions.
    VersionPage of Version;
    /// A page of steps.
    StepPage of Step;
    /// A page of a journal.
    JournalPage of JournalEntry;
    /// A page of approvals.
    ApprovalPage of Approval;
    /// A page of tasks.
    TaskPage of Task;
}

/// A page of runs.
#[derive(Serialize, ToSchema)]
pub struct RunPage {
    /// In order. Those that are searched by words are on some pages fewer than were asked for, though there are more pages.
    pub items: Vec<RunSummary>,
    /// Ask with `after` = this for more; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// Of runs that are searched by words: those that were made later are not found yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched_until: Option<DateTime<Utc>>,
}

/// A workflow: its draft and its newest published version.
#[derive(Serialize, ToSchema)]
pub struct Workflow {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique in the tenant.
    pub name: String,
    /// What it is for.
    #[schema(required)]
    pub description: Option<String>,
    /// For searching.
    pub tags: Vec<String>,
    /// Counts the changes of the draft and of what it is as a template, deletions and restorations: the ETag without its
    /// quotes.
    pub revision: i64,
    /// The newest published version.
    #[schema(required)]
    pub version: Option<i32>,
    /// Whether it is a template: there to be copied.
    pub is_template: bool,
    /// Under what a template is found.
    #[schema(required)]
    pub template_category: Option<String>,
    /// What it was copied from.
    #[schema(required)]
    pub made_from: Option<MadeFrom>,
    /// The draft as it was written; left out in lists.
    pub source: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom; null for what was made before this was kept.
    #[schema(required)]
    pub created_by: Option<String>,
    /// When its draft last changed.
    pub updated_at: DateTime<Utc>,
    /// By whom.
    #[schema(required)]
    pub updated_by: Option<String>,
    /// When it was deleted.
    #[schema(required)]
    pub deleted_at: Option<DateTime<Utc>>,
    /// By whom.
    #[schema(required)]
    pub deleted_by: Option<String>,
    /// What is worth knowing about the document though it was taken.
    pub warnings: Option<Vec<Json>>,
}

/// What a workflow was copied from.
#[derive(Serialize, ToSchema)]
pub struct MadeFrom {
    /// The name of the workflow.
    pub workflow: String,
    /// Its published version; null for its draft.
    #[schema(required)]
    pub version: Option<i32>,
}

/// A published version of a workflow.
#[derive(Serialize, ToSchema)]
pub struct Version {
    /// Counts from 1.
    pub version: i32,
    /// The content hash of its plan.
    pub hash: String,
    /// The document as it was written; left out in lists.
    pub source: Option<String>,
    /// When.
    pub published_at: DateTime<Utc>,
    /// Who.
    #[schema(required)]
    pub published_by: Option<String>,
}

/// A run.
#[derive(Serialize, ToSchema)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// The workflow's name.
    pub workflow: String,
    /// The workflow's version; null for a draft or a file.
    #[schema(required)]
    pub version: Option<i32>,
    /// `queued`, `running`, `waiting`, `paused`, `compensating`, `completed`, `failed`, `compensated`, `cancelled` or
    /// `timed_out`.
    pub status: String,
    /// `production` or `test`.
    pub mode: String,
    /// As checked at the start, with defaults filled in.
    pub input: Json,
    /// Null unless completed.
    pub output: Json,
    /// Why it did not complete.
    #[schema(required)]
    pub error: Option<StepError>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it left the queue.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Who goes first where runs wait for their turn: the higher one.
    pub priority: i32,
    /// The trace that it belongs to, as W3C Trace Context has it: its own, which is its id, or that of whoever started it.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub trace_id: String,
    /// The run whose step started it.
    #[schema(required)]
    pub parent_run_id: Option<Uuid>,
    /// That step's path.
    #[schema(required)]
    pub parent_path: Option<String>,
    /// Who asked for it: `"system"`, or an object of `person`, `acting`, `token`, `application` or `run`.
    pub started_by: Json,
    /// Its key.
    #[schema(required)]
    pub key: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What became of its undo steps.
    pub undo: Undo,
    /// The run that it was made from.
    #[schema(required)]
    pub origin: Option<RunOrigin>,
    /// What a `respond` step answered.
    #[schema(value_type = Json, required = false)]
    pub response: Option<Json>,
    /// Why it stands still, when its journal cannot be read or written.
    pub damaged: Option<String>,
}

/// What became of a run's undo steps.
#[derive(Serialize, ToSchema)]
pub struct Undo {
    /// `none`, `done`, `left` or `off`.
    pub status: String,
    /// What is still to be undone; left out when nothing is.
    pub left: Option<Vec<Json>>,
    /// Steps whose outcome is unknown; left out when there are none.
    pub unknown: Option<Vec<Json>>,
}

/// The run that another was made from.
#[derive(Serialize, ToSchema)]
pub struct RunOrigin {
    /// `rerun`, `fork`, `restart` or `undo`.
    pub kind: String,
    /// The other run.
    pub run_id: Uuid,
    /// Where a fork begins anew.
    pub at: Option<String>,
}

/// A run in a list.
#[derive(Serialize, ToSchema)]
pub struct RunSummary {
    /// Its id.
    pub id: Uuid,
    /// The workflow's name.
    pub workflow: String,
    /// The workflow's version; null for a draft or a file.
    #[schema(required)]
    pub version: Option<i32>,
    /// Where it stands.
    pub status: String,
    /// `production` or `test`.
    pub mode: String,
    /// Why it did not complete.
    #[schema(required)]
    pub error: Option<StepError>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it left the queue.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Who goes first where runs wait for their turn: the higher one.
    pub priority: i32,
    /// The trace that it belongs to, as W3C Trace Context has it: its own, which is its id, or that of whoever started it.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub trace_id: String,
    /// The run whose step started it.
    #[schema(required)]
    pub parent_run_id: Option<Uuid>,
    /// Its key.
    #[schema(required)]
    pub key: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A failure of a step or a run.
#[derive(Serialize, ToSchema)]
pub struct StepError {
    /// What kind of failure.
    pub class: String,
    /// Which one, stable.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
    /// Whatever else is known.
    #[schema(value_type = Json, required = false)]
    pub details: Option<Json>,
}

/// A step of a run: one per path, as of its last attempt.
#[derive(Serialize, ToSchema)]
pub struct Step {
    /// The ids from the outside in.
    pub path: String,
    /// The step's id.
    pub step: String,
    /// The step type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// `pending`, `running`, `waiting`, `completed`, `failed`, `skipped`, `cancelled` or `timed_out`.
    pub status: String,
    /// The last attempt; 0 where that means nothing.
    pub attempt: u32,
    /// The evaluated `with`.
    pub input: Json,
    /// Null unless completed.
    pub output: Json,
    /// Why it did not complete.
    #[schema(required)]
    pub error: Option<StepError>,
    /// When its last attempt began.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// `if` or `path`, when it was skipped.
    pub skipped_by: Option<String>,
    /// What it waits for, in a word.
    pub waits_for: Option<String>,
}

/// An entry of a run's journal.
#[derive(Serialize, ToSchema)]
pub struct JournalEntry {
    /// Counts from 1 without gaps.
    pub seq: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened, in a word.
    pub kind: String,
    /// The step's path; empty when it speaks of the run.
    pub path: String,
    /// The step's id; empty when it speaks of the run.
    pub step: String,
    /// Which attempt; 0 when that means nothing.
    pub attempt: u32,
    /// Everything that is known of it.
    pub data: Json,
}

/// A server-sent event of a run.
#[derive(Serialize, ToSchema)]
pub struct RunEvent {
    /// The `seq` of the journal's entry; an event without one is said once and not repeated.
    pub id: Option<String>,
    /// The journal entry's kind, or `step_started`, `log`, `status`.
    pub event: String,
    /// The journal's entry, or what else there is to say, as JSON text.
    pub data: String,
}

/// Something that people are asked to decide.
#[derive(Serialize, ToSchema)]
pub struct Approval {
    /// Its id.
    pub id: Uuid,
    /// `pending`, `approved`, `rejected`, `expired` or `cancelled`.
    pub status: String,
    /// The run that waits for it.
    pub run_id: Uuid,
    /// The path of the step that waits.
    pub path: String,
    /// One line.
    pub title: String,
    /// `{description, to, form, quorum}`.
    pub detail: Json,
    /// The decisions so far.
    pub responses: Json,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
    /// When it expires.
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was decided.
    #[schema(required)]
    pub decided_at: Option<DateTime<Utc>>,
}

/// A task for an outside worker.
#[derive(Serialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub id: Uuid,
    /// `pending`, `claimed`, `completed` or `failed`.
    pub status: String,
    /// The queue.
    pub queue: String,
    /// The run.
    pub run_id: Uuid,
    /// The path of its step.
    pub path: String,
    /// The step's id.
    pub name: String,
    /// Higher is sooner.
    pub priority: i32,
    /// Claims of it that ran out.
    pub lost: i32,
    /// Who has it.
    #[schema(required)]
    pub worker: Option<String>,
    /// Until when, without a heartbeat.
    #[schema(required)]
    pub lease_until: Option<DateTime<Utc>>,
    /// When it was offered.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
}

/// What became of a task by its worker's answer.
#[derive(Serialize, ToSchema)]
pub struct TaskAnswered {
    /// Its id.
    pub id: Uuid,
    /// `completed` or `failed`.
    pub status: String,
}

/// The tasks of a claim.
#[derive(Serialize, ToSchema)]
pub struct Claimed {
    /// None when nothing came within the wait.
    pub tasks: Vec<ClaimedTask>,
}

/// A task that a worker has claimed.
#[derive(Serialize, ToSchema)]
pub struct ClaimedTask {
    /// Its id.
    pub id: Uuid,
    /// Proves the claim: heartbeat, complete and fail carry it.
    pub token: String,
    /// The queue.
    pub queue: String,
    /// The run.
    pub run_id: Uuid,
    /// The path of its step.
    pub path: String,
    /// Counts from 1.
    pub attempt: u32,
    /// The idempotency key.
    pub key: String,
    /// What the step gives the worker.
    pub input: Json,
    /// Until when the claim holds without a heartbeat.
    pub lease_until: DateTime<Utc>,
}

/// A renewed lease.
#[derive(Serialize, ToSchema)]
pub struct Heartbeat {
    /// Until when the claim holds now.
    pub lease_until: DateTime<Utc>,
    /// Whether the worker is asked to stop.
    pub stop: bool,
}
