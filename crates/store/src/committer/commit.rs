//! What one transition of one run writes: the unit of the committer.
//!
//! Invariant: a [`RunCommit`] is on disk whole or not at all, and those of one run in the order they were submitted.

use std::sync::Arc;

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::{
    id::{ApprovalId, RunId, TaskId, TenantKey},
    status::RunStatus,
    trace::TraceId,
};

use crate::{AuditNote, StoreError};

/// A lane: what owns runs. It never changes for a run; who owns the lane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub i32);

/// All that one transition of a run writes, in one transaction.
#[derive(Debug, Clone)]
pub struct RunCommit {
    /// Whose run.
    pub tenant: TenantKey,
    /// Which run.
    pub run: RunId,
    /// The run's lane: its fence is checked.
    pub lane: LaneId,
    /// New journal rows; their `seq` goes on without a gap.
    pub entries: Vec<JournalRow>,
    /// What happens to the row of the run.
    pub change: RunChange,
    /// How the run's earliest due time moves.
    pub timer: Option<TimerChange>,
    /// Other rows that belong to this transition.
    pub rows: Vec<RowChange>,
}

impl RunCommit {
    /// A commit that writes nothing yet.
    pub fn new(tenant: TenantKey, run: RunId, lane: LaneId) -> RunCommit {
        RunCommit { tenant, run, lane, entries: Vec::new(), change: RunChange::None, timer: None, rows: Vec::new() }
    }

    /// About how many rows it writes, for the limits of a batch.
    pub(crate) fn weight(&self) -> usize {
        1 + self.entries.len() + self.rows.len()
    }

    /// About how many bytes it writes.
    pub(crate) fn bytes(&self) -> usize {
        let blobs = self.rows.iter().map(|row| match row {
            RowChange::PutBlob { bytes, .. } | RowChange::PutSnapshot { state: bytes, .. } => bytes.len(),
            _ => 128,
        });
        self.entries.iter().map(|entry| entry.payload.len() + 64).sum::<usize>() + blobs.sum::<usize>()
    }
}

/// One row of a run's journal, as it is written. The store adds the checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place: from 1, without gaps.
    pub seq: i64,
    /// What kind of entry it is: a short word.
    pub kind: &'static str,
    /// Whether it opens a transition: what follows came from it.
    pub opens: bool,
    /// The path of the step, empty for the run itself.
    pub path: Arc<str>,
    /// The id of the step in the document.
    pub step: Arc<str>,
    /// Which attempt, from 1; 0 where that means nothing.
    pub attempt: i32,
    /// When it happened.
    pub at: Timestamp,
    /// The engine's own bytes.
    pub payload: Vec<u8>,
}

/// What a commit does to the row of its run.
#[derive(Debug, Clone)]
pub enum RunChange {
    /// Nothing: most transitions of a run change only its journal.
    None,
    /// The run starts to exist; with a key, only if nobody used that key before.
    Insert(Box<NewRun>, Option<IdempotencyKey>),
    /// Its status, or what goes with it, changes.
    Update(Box<RunUpdate>),
}

/// Starting twice under one key starts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// SHA-256 of the key that the caller gave.
    pub key_hash: [u8; 32],
    /// SHA-256 of what was asked under it: another body is another request.
    pub body_hash: [u8; 32],
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$word_doc])* $variant,)* }
        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// The word that the database uses.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
            /// The one of that word.
            pub fn parse(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// Whether a run counts.
    RunMode {
        /// It does.
        Production = "production",
        /// It tries a draft.
        Test = "test",
    }
}

words! {
    /// How a run came from another one.
    OriginKind {
        /// The same past up to a step.
        Fork = "fork",
        /// The same input again.
        Rerun = "rerun",
        /// What was left to be undone.
        Undo = "undo",
        /// It took the other one's place.
        Restart = "restart",
    }
}

words! {
    /// What became of a run's undo steps.
    UndoStatus {
        /// Nothing was registered.
        None = "none",
        /// All that was registered is undone.
        Done = "done",
        /// Something is left.
        Left = "left",
        /// It was told not to.
        Off = "off",
    }
}

words! {
    /// Where an approval stands.
    ApprovalStatus {
        /// Not decided.
        Pending = "pending",
        /// Approved.
        Approved = "approved",
        /// Rejected.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
        /// The run no longer waits for it.
        Cancelled = "cancelled",
    }
}

/// The error a run ended with; the whole of it is in the journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunError {
    /// Its class.
    pub class: String,
    /// Its code.
    pub code: String,
    /// What a person reads; lists show it, so it is cut at 2,000 characters.
    pub message: String,
}

/// A run that starts to exist. Times and error are there for the run that is over within one transition.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The workflow's name.
    pub workflow: String,
    /// Its version; none for a draft.
    pub version: Option<i32>,
    /// The document it runs on, for good.
    pub definition_hash: [u8; 32],
    /// Where it stands after this transition.
    pub status: RunStatus,
    /// What became of its undo steps, if it is over.
    pub undo_status: Option<UndoStatus>,
    /// Whether it counts.
    pub mode: RunMode,
    /// Who goes first in a queue: the higher one.
    pub priority: i32,
    /// The `key:` of the document, searchable.
    pub key: Option<String>,
    /// The `labels:` of the document: an object of texts.
    pub labels: Option<serde_json::Value>,
    /// Who or what started it, as the API shows it.
    pub started_by: Option<serde_json::Value>,
    /// The run and path that wait for it.
    pub parent: Option<(RunId, String)>,
    /// The run it came from, and how.
    pub origin: Option<(RunId, OriginKind)>,
    /// The trace of somebody else that it joins.
    pub trace: Option<TraceId>,
    /// How many ancestors it has.
    pub depth: i32,
    /// The error it ended with.
    pub error: Option<RunError>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What changes about a run; `None` leaves what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunUpdate {
    /// Its status. A final one never changes: such a commit is refused.
    pub status: Option<RunStatus>,
    /// What became of its undo steps.
    pub undo_status: Option<UndoStatus>,
    /// The error it ended with.
    pub error: Option<RunError>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// One row per waiting run holds its earliest due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerChange {
    /// The due time whose row goes.
    pub old: Option<Timestamp>,
    /// The due time whose row comes.
    pub new: Option<Timestamp>,
}

/// A row beside the journal that belongs to a transition.
#[derive(Debug, Clone)]
pub enum RowChange {
    /// A task is offered to outside workers.
    OpenTask(NewTask),
    /// The run has taken the task's result, or wants it no more: the task is gone, and its journal has what became of it.
    CloseTask(TaskId),
    /// What a worker answered is remembered.
    PutTaskAnswer(TaskId, TaskAnswer),
    /// An approval is asked for.
    OpenApproval(NewApproval),
    /// A response came in, or the approval is decided.
    UpdateApproval(ApprovalUpdate),
    /// A message for a lane (usually another one's).
    PutInbox(InboxRow),
    /// A message of this run's lane was taken.
    DeleteInbox(Uuid),
    /// A large value; equal ones of a tenant are stored once.
    PutBlob {
        /// SHA-256 of the value itself.
        hash: [u8; 32],
        /// How long the value is.
        raw_bytes: i64,
        /// The value as [`crate::blobs::compress`] made it.
        bytes: Vec<u8>,
    },
    /// A step has been running for a while.
    PutActiveStep {
        /// Its path.
        path: Arc<str>,
        /// Its id.
        step: Arc<str>,
        /// Which attempt.
        attempt: i32,
        /// When the attempt began.
        started_at: Timestamp,
    },
    /// That step ended.
    DeleteActiveStep {
        /// Its path.
        path: Arc<str>,
    },
    /// The run waits for an event at that path.
    PutEventWait {
        /// The path that waits.
        path: Arc<str>,
        /// The CloudEvents type.
        event_type: String,
        /// The subject, if it has to be that one.
        subject: Option<String>,
        /// Events from then on count.
        since: Timestamp,
    },
    /// It waits there no more.
    DeleteEventWait {
        /// The path that waited.
        path: Arc<str>,
    },
    /// The run's state at a place of its journal, to read it faster than row by row.
    PutSnapshot {
        /// The last row it holds.
        seq: i64,
        /// The engine that can read it.
        engine_version: i32,
        /// The engine's own bytes.
        state: Vec<u8>,
    },
    /// The run waits for a place of its workflow and key.
    Enqueue(QueuedRun),
    /// It has one, or wants none any more.
    Dequeue,
    /// The run waits until some node has room for it.
    PutBacklog {
        /// Higher goes first.
        priority: i32,
        /// When it began to wait.
        queued_at: Timestamp,
    },
    /// It has ended instead.
    DeleteBacklog,
    /// Somebody did something to the run that the audit tells of.
    PutAudit(Box<AuditNote>),
}

/// A task that is offered to outside workers.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// The path that waits for it.
    pub path: Arc<str>,
    /// Which attempt of the step.
    pub attempt: i32,
    /// Which queue workers find it in.
    pub queue: String,
    /// What kind of work it is.
    pub name: String,
    /// Higher goes first.
    pub priority: i32,
    /// What the worker gets.
    pub payload: Vec<u8>,
    /// Not before then.
    pub available_at: Timestamp,
    /// How long a claim holds without a heartbeat.
    pub lease_ms: i64,
    /// How many lost leases fail it.
    pub lost_max: i32,
    /// When it was offered.
    pub created_at: Timestamp,
    /// Who gets it at once, because a claim waits for it; without one it is there for whoever asks.
    pub holder: Option<Holder>,
}

/// Who holds a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The worker's name for itself.
    pub worker: Arc<str>,
    /// Names this claim: heartbeats and the result need it.
    pub token: Uuid,
    /// Until when the claim holds without a heartbeat.
    pub until: Timestamp,
}

/// What a worker answered, as far as it takes to know the same answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskAnswer {
    /// The token of the claim.
    pub token: Uuid,
    /// SHA-256 of the answer.
    pub hash: [u8; 32],
}

/// An approval that is asked for.
#[derive(Debug, Clone)]
pub struct NewApproval {
    /// Its id.
    pub id: ApprovalId,
    /// The path that waits for it.
    pub path: Arc<str>,
    /// What people read first.
    pub title: String,
    /// Who may decide, the form, the quorum: as the engine wrote it.
    pub detail: serde_json::Value,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is over.
    pub expires_at: Option<Timestamp>,
}

/// A response to an approval, or its end.
#[derive(Debug, Clone)]
pub struct ApprovalUpdate {
    /// Which approval.
    pub id: ApprovalId,
    /// Where it stands now.
    pub status: ApprovalStatus,
    /// All responses so far; `None` leaves what is there.
    pub responses: Option<serde_json::Value>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

/// A message to a run that another node may own: a signal, a cancel, a decision, a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRow {
    /// Its id; messages of a lane are read in the order of their ids.
    pub id: Uuid,
    /// The lane of the run it is for.
    pub lane: LaneId,
    /// The run it is for.
    pub run: RunId,
    /// What kind of message: a short word.
    pub kind: String,
    /// The same kind and word for the same run is the same message.
    pub dedup: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// When it was sent.
    pub created_at: Timestamp,
}

/// A run that waits for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRun {
    /// The workflow whose places are counted.
    pub workflow: String,
    /// The key within it; empty without one.
    pub slot_key: String,
    /// Higher goes first.
    pub priority: i32,
    /// When it began to wait.
    pub queued_at: Timestamp,
}

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// All of it is on disk.
    Done,
    /// The idempotency key was taken: nothing of this commit was written.
    Duplicate {
        /// The run that was started under that key.
        run: RunId,
        /// Whether it was asked with the same body.
        same_body: bool,
    },
}

/// Why a commit is not on disk, or not known to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The lane belongs to somebody else now: this node has to forget its runs.
    #[error("another node owns lane {}", .0.0)]
    Fenced(LaneId),
    /// The run is not where this commit thinks it is: rebuild it from its journal.
    #[error("{0}")]
    Conflict(String),
    /// The database takes no starts for now.
    #[error("{0}")]
    Busy(String),
    /// The answer never came, and the commit had no journal row to look for: rebuild the run from its journal.
    #[error("the connection broke during the commit; whether it is on disk is not known")]
    Unknown,
    /// The database refused this commit by itself, or cannot be written.
    #[error(transparent)]
    Failed(StoreError),
}

/// Who is told when a commit is on disk, or is not. Called on the committer's thread: it must not wait.
pub type Done = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;
