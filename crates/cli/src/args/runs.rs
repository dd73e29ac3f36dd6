//! `windlass runs …`: looking at runs and acting on them.

use clap::{Subcommand, ValueEnum};

use super::PageArgs;

/// `windlass runs …`
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, the newest first
    List {
        /// Of this status alone
        #[arg(long)]
        status: Option<String>,
        /// Of this workflow alone
        #[arg(long)]
        workflow: Option<String>,
        /// With this key alone
        #[arg(long)]
        key: Option<String>,
        /// With this label alone: `name:value`
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
        /// Of this trace alone: those that joined it, and the one that it begins with
        #[arg(long, value_name = "TRACE")]
        trace_id: Option<String>,
        /// With all these words in their key, labels, input, error or output; `ord*` for how one begins
        #[arg(long, value_name = "WORDS")]
        q: Option<String>,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a run with its steps
    Show {
        /// The run's id
        run: String,
    },
    /// List the steps of a run
    Steps {
        /// The run's id
        run: String,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Print the journal of a run: everything that happened to it
    Journal {
        /// The run's id
        run: String,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Follow a run until it ends
    Watch {
        /// The run's id
        run: String,
    },
    /// Cancel a run: stop it, and take back what it did
    Cancel {
        /// The run's id
        run: String,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
        /// Leave what was done; `runs undo` can take it back later
        #[arg(long)]
        no_undo: bool,
    },
    /// Pause a run: nothing new starts
    Pause {
        /// The run's id
        run: String,
    },
    /// Let a paused run go on
    Resume {
        /// The run's id
        run: String,
    },
    /// Send a named signal to a run
    Signal {
        /// The run's id
        run: String,
        /// The signal's name
        name: String,
        /// The payload: JSON, `@file`, or `-` for standard input; null when left out
        #[arg(long, value_name = "JSON|@FILE")]
        payload: Option<String>,
        /// Sending twice with one key sends once
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Start a run with the same past as this one, up to a step
    Fork {
        /// The run's id
        run: String,
        /// The path of the first step that runs anew
        #[arg(long, value_name = "PATH")]
        at: String,
    },
    /// Start a run with the same workflow version and input
    Rerun {
        /// The run's id
        run: String,
    },
    /// Take back what a run left: undo steps that did not succeed, or that a cancel left out
    Undo {
        /// The run's id
        run: String,
    },
    /// Say how a step of unknown outcome really ended
    Settle {
        /// The run's id
        run: String,
        /// The step's path
        path: String,
        /// How it ended
        outcome: SettleOutcome,
        /// Its output, when it completed: JSON, `@file`, or `-` for standard input
        #[arg(long, value_name = "JSON|@FILE")]
        output: Option<String>,
        /// Why, when it failed
        #[arg(long)]
        message: Option<String>,
    },
}

/// How a step of unknown outcome ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SettleOutcome {
    /// It completed
    Completed,
    /// It failed
    Failed,
    /// It did not happen: run it again
    Again,
}
