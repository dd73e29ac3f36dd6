//! What turns the engine: dispatch, timers, recovery, limits.
//!
//! A [`Runtime`] has a few *turners*, which each own the runs hashed to them. A turner applies events to a
//! run with the engine, hands what is to be written to the store's committer, and carries out what follows once the
//! commit is acknowledged. Steps run as tasks beside them. The database is read for recovery, for far timers and for
//! what people ask.
//!
//! Invariants: answers and effects come after the disk; what is only in memory can be lost at any moment; everything
//! that must happen after a commit is a row of that commit, or follows from the run's state.

mod approvals;
mod asks;
mod audit;
mod backlog;
mod children;
mod commands;
mod core;
mod dispatch;
mod error;
mod events;
mod foreign;
mod forks;
mod gather;
pub mod history;
mod inbox;
mod letter;
mod live;
mod live_run;
mod loader;
mod locks;
mod metrics;
mod newest;
mod payload;
mod plans;
mod rates;
mod recovery;
pub mod redact;
mod request;
mod retention;
mod runs;
mod runtime;
mod search;
pub mod secrets;
mod settings;
mod sharing;
mod slots;
mod starts;
pub mod step;
mod tasks;
mod timers;
mod turner;
pub mod verify;
mod views;
mod wheel;
mod workflows;

pub use asks::Ask;
pub use error::{FieldError, RuntimeError};
pub use live::{LiveEntry, LiveEvent};
pub use metrics::MetricsSnapshot;
pub use request::{
    ApprovalFilter, CancelOptions, ClaimRequest, DecideRequest, Document, EventRequest, Proof, PublishedEvent,
    RunFilter, RunRequest, SettleRequest, SignalRequest, StartRequest, Started, Target, TaskFilter, TaskRequest,
    WorkflowFilter,
};
pub use runs::Watched;
pub use runtime::Runtime;
pub use settings::{Now, RetainDefaults, Settings};
pub use tasks::HeartbeatAnswer;
pub use views::{
    ApprovalView, ClaimedTask, MadeFromView, OriginView, Page, RunSummary, RunView, StepView, TaskView, VersionView,
    WorkflowView,
};
pub use windlass_store::{InFolder, MadeFrom, Reached, TemplateChange};
pub use workflows::{Copied, Expected, Revision};
