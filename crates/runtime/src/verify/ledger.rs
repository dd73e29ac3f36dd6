//! What clients were told: a file with a line of JSON for each answer that somebody may rely on.
//!
//! Whoever drives a load writes a line, puts it on disk, and only then believes the answer. So whatever stands in the
//! file was promised, and the database has to hold it.

use serde::{Deserialize, Serialize};

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case", deny_unknown_fields)]
pub enum Told {
    /// A start was accepted.
    Start {
        /// The run that it started.
        run: String,
        /// The workflow.
        workflow: String,
        /// The idempotency key that it came with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// A signal was accepted.
    Signal {
        /// The run.
        run: String,
        /// The signal's name.
        name: String,
        /// The idempotency key that it came with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// A decision was accepted.
    Decision {
        /// The approval.
        approval: String,
        /// Its run.
        run: String,
        /// `approved` or `rejected`.
        verdict: String,
    },
    /// A task's answer was accepted.
    Task {
        /// Its run.
        run: String,
        /// The path of its step.
        path: String,
        /// `completed` or `failed`.
        status: String,
    },
    /// A run was seen to have ended.
    Final {
        /// The run.
        run: String,
        /// Its final status.
        status: String,
    },
}
