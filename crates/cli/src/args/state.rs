//! `windlass state …`

use clap::{Args, Subcommand};

use super::PageArgs;

/// Where a value is.
#[derive(Debug, Args)]
pub struct StatePlace {
    /// The workflow whose state it is; the tenant's own when left out
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
    /// The space of keys
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// What a change takes.
#[derive(Debug, Args)]
pub struct StateWriteArgs {
    /// Where it is
    #[command(flatten)]
    pub place: StatePlace,
    /// Only if it still has this version; 0: only if it is not there
    #[arg(long, value_name = "VERSION")]
    pub if_match: Option<i64>,
    /// How long it is kept, such as `1h`
    #[arg(long, value_name = "SPAN")]
    pub ttl: Option<String>,
    /// What the value is for; an empty text removes that
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// `windlass state …`
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List values
    List {
        /// Where they are
        #[command(flatten)]
        place: StatePlace,
        /// Those whose keys begin so
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// Which page
        #[command(flatten)]
        page: PageArgs,
    },
    /// Print a value
    Get {
        /// Its key
        key: String,
        /// Where it is
        #[command(flatten)]
        place: StatePlace,
    },
    /// Write a value
    Set {
        /// Its key
        key: String,
        /// The value: JSON, `@file`, or `-` for standard input
        #[arg(value_name = "JSON|@FILE", allow_hyphen_values = true)]
        value: String,
        /// Where, and on what condition
        #[command(flatten)]
        write: StateWriteArgs,
    },
    /// Put the entries of an object into the one that is there
    Update {
        /// Its key
        key: String,
        /// The entries: JSON, `@file`, or `-` for standard input
        #[arg(value_name = "JSON|@FILE")]
        value: String,
        /// Where, and on what condition
        #[command(flatten)]
        write: StateWriteArgs,
    },
    /// Add to a number
    Increment {
        /// Its key
        key: String,
        /// What is added; 1 when left out
        #[arg(value_name = "NUMBER", allow_negative_numbers = true)]
        by: Option<String>,
        /// Where, and on what condition
        #[command(flatten)]
        write: StateWriteArgs,
    },
    /// Write a value if the one that is there is the expected one
    CompareAndSet {
        /// Its key
        key: String,
        /// The expected value: JSON; `null` stands for nothing
        #[arg(value_name = "EXPECTED", allow_hyphen_values = true)]
        expected: String,
        /// The new value: JSON
        #[arg(value_name = "JSON|@FILE", allow_hyphen_values = true)]
        value: String,
        /// Where, and on what condition
        #[command(flatten)]
        write: StateWriteArgs,
    },
    /// Remove a value
    Delete {
        /// Its key
        key: String,
        /// Where, and on what condition
        #[command(flatten)]
        write: StateWriteArgs,
    },
}
