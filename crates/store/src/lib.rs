//! The journal and the records of Windlass, on SQLite and PostgreSQL.
//!
//! A [`Store`] is a database that this process has open. Transitions of runs go to disk through the group committer
//! ([`Store::submit`]), all else through functions beside the noun they are about (`runs`, `tasks`, `approvals` …).
//! `docs/adr/0003-database-drivers.md` says why it is built on the two drivers directly.
//!
//! Invariants: nobody is told before it is on disk; every function for what a tenant owns takes the tenant; SQL stands
//! only in this crate.

mod access;
pub mod admin;
mod allowances;
mod api_keys;
pub mod approvals;
mod attempts;
mod audit;
mod backlog;
pub mod blobs;
mod callers;
mod clock;
mod committer;
pub mod crash_point;
pub mod database;
mod error;
pub mod events;
mod fair;
mod files;
pub mod inbox;
pub mod journal;
mod migrate;
mod node;
mod oauth;
mod partitions;
mod providers;
mod provisioning;
mod rate_limits;
mod rates;
mod records;
pub mod retention;
mod rights;
mod run_lists;
mod run_row;
pub mod runs;
mod search;
mod second_factor;
mod secrets;
mod setting_values;
mod sharing;
pub mod slots;
mod state_values;
mod store;
pub mod tasks;
mod tenants;
pub mod timers;
pub mod vault;
pub mod workflows;

pub use allowances::{Allowance, AllowanceWish};
pub use api_keys::{KeyUse, NewApiKey};
pub use approvals::{ApprovalRow, FindApprovals};
pub use attempts::{AttemptBucket, ROWS_MAX as ATTEMPT_ROWS_MAX, Taking};
pub use audit::{
    ArchivePolicy, AuditArchive, AuditEntry, AuditExport, AuditFinding, AuditHead, AuditKey, AuditNote, AuditReport,
    Block, PublicKey, Sealed, Trust, by_principal, verify_file,
};
pub use backlog::{CLAIM_RUNS_MAX, Claimed, Position, Share};
pub use callers::{
    Account, Acting, Caller, CameWith, EndSessions, Membership, NewInvitation, NewSession, OwnedSession,
};
pub use committer::commit::{
    ApprovalStatus, ApprovalUpdate, CommitError, Committed, Done, Holder, IdempotencyKey, InboxRow, JournalRow, LaneId,
    NewApproval, NewRun, NewTask, OriginKind, QueuedRun, RowChange, RunChange, RunCommit, RunError, RunMode, RunUpdate,
    TaskAnswer, TimerChange, UndoStatus,
};
pub use database::vfs::disk::{Change, Disk, DiskError, put_below};
pub use database::{Database, Dialect, Row, Statement, Value, postgres::StatementLog};
pub use error::StoreError;
pub use events::{EventRow, EventWait};
pub use fair::FairQueue;
pub use files::{
    FileBody, FileChunks, FileContent, FileError, FileTotals, FilesReport, OnFiles, SharedFile, Sniffed,
    UPLOAD_TIME_MAX, Upload, UploadTo, is_active, sniff,
};
pub use inbox::Received;
pub use journal::{Ends, Snapshot, StoredEntry};
pub use migrate::{Migrate, SCHEMA_VERSION};
pub use node::{Hint, Hints, LEASE_MS, Standing};
pub use oauth::{Application, Hash, Held, Live, OwnConsent};
pub use providers::Provider;
pub use provisioning::{Belongs, Exactly, MEMBERSHIPS_SHOWN_MAX, Part, ProvisionedGroup, ProvisionedMember};
pub use rate_limits::{CountedPer, RateLimitRule};
pub use rates::{Permits, Rate};
pub use records::{
    Actor, Arrival, Arrived, By, Exchange, Exchanged, GroupSaid, Holds, Joined, Joining, Link, NewAuthorization,
    NewDelegation, NewToken, NoTokens, NotIn, OfferedDelegation, PersonSaid, Provisioner, ReceivedDelegation,
    RecordError, RecordPage, RecordView, ShownWith, Target,
};
pub use retention::{Retain, Swept};
pub use rights::{NamedPlace, Reach, Reached, Rights, Thing};
pub use run_lists::{COUNT_MAX, Count, RunFilter};
pub use runs::{OpenRun, RunProgress, RunRow};
pub use search::{RunWords, RunsFound, RunsToRead, SearchError, Term, TermError, Words, terms};
pub use second_factor::SecondFactor;
pub use secrets::{Found, Kept, KeptCredential, KeptSecret, MissingSecrets, VaultChanges};
pub use setting_values::{SettingLayer, SettingValue};
pub use sharing::Namer;
pub use slots::{SlotKey, WaitingForSlot};
pub use state_values::{
    Expiry, FindState, STATE_DESCRIPTION_CHARS_MAX, STATE_VALUE_BYTES_MAX, StateAddress, StateChange, StateChanger,
    StateEntry, StateOutcome, StateWrite,
};
pub use store::{Adopted, Fatal, Location, Store, StoreOptions};
pub use tasks::{Claim, ClaimedTask, FinishedTask, Holding, LostTask, TaskEnd, TaskLease, TaskResult, TaskRow};
pub use tenants::{Tenant, TenantRules};
pub use timers::Timer;
pub use vault::{AcceptedKey, DerivedKey, KeySource, MasterKey, Missing, Rotate, Rotation, Vault, VaultStatus};
pub use windlass_resource::host::Hosts;
pub use workflows::{
    Draft, FindWorkflows, IfMatch, InFolder, MadeFrom, TemplateChange, ToNote, WorkflowError, WorkflowRow,
    WorkflowVersion,
};
