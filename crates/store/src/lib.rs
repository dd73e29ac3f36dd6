//! The journal and the records of Windlass, on SQLite and PostgreSQL.
//!
//! A [`Store`] is a database that this process has open. Transitions of runs go to disk through the group committer
//! ([`Store::submit`]), all else through functions beside the noun they are about (`runs`, `tasks`, `approvals` …).
//! `docs/adr/0003-database-drivers.md` says why it is built on the two drivers directly.
//!
//! Invariants: nobody is told before it is on disk; every function for what a tenant owns takes the tenant; SQL stands
//! only in this crate.

pub mod blobs;
mod clock;
mod committer;
pub mod database;
mod error;
mod migrate;
mod node;
mod partitions;
mod state_values;
mod store;
mod tenants;

pub use committer::commit::{
    ApprovalStatus, ApprovalUpdate, CommitError, Committed, Done, IdempotencyKey, InboxRow, JournalRow, LaneId,
    NewApproval, NewRun, NewTask, OriginKind, QueuedRun, RowChange, RunChange, RunCommit, RunError, RunMode, RunUpdate,
    TimerChange, UndoStatus,
};
pub use database::{Database, Dialect, Row, Statement, Value};
pub use error::StoreError;
pub use migrate::{Migrate, SCHEMA_VERSION};
pub use node::{Hint, LEASE_MS, Standing};
pub use state_values::{Expiry, STATE_VALUE_BYTES_MAX, StateAddress, StateChange, StateOutcome, StateWrite};
pub use store::{Fatal, Location, Store, StoreOptions};
pub use tenants::Tenant;
