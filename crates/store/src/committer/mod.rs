//! The group committer: all that many runs want to write at one moment goes to disk in one transaction.
//!
//! Invariants: a job is told exactly once; nobody is told before the transaction is on disk; the jobs of one run are
//! written in the order they came.

pub(crate) mod batch;
pub(crate) mod chain;
pub(crate) mod commit;
pub(crate) mod forms;
pub(crate) mod ops;
pub(crate) mod postgres;
pub(crate) mod queue;
pub(crate) mod sqlite;

/// The stack of a writer's thread, in bytes: whoever is told of a batch may go on from it there, and evaluate expressions
/// and read deep values.
const WRITER_STACK_BYTES: usize = 64 << 20;
