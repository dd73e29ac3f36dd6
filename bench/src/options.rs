//! What is measured, and how long.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// Measures a real server over HTTP, beside the limits of the machine. JSON lines go to standard output, progress and
/// a table to standard error.
#[derive(Debug, Clone, Parser)]
#[command(name = "windlass-bench", args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// Something else than measuring ourselves.
    #[command(subcommand)]
    pub command: Option<Other>,
    /// How we are measured.
    #[command(flatten)]
    pub options: Options,
}

/// What else there is.
#[derive(Debug, Clone, Subcommand)]
pub enum Other {
    /// Measure other engines and ourselves, at the same work. JSON lines are appended to a file; a table goes to standard
    /// output. What the file has for this commit and these settings is not measured again
    Peers(Peers),
    /// Show the tables of a file of results as Markdown
    Table(Table),
}

/// How other engines are measured.
#[derive(Debug, Clone, Args)]
pub struct Peers {
    /// Our own program
    #[arg(long, default_value = "target/dist/windlass", value_name = "FILE")]
    pub program: PathBuf,
    /// Seconds of each measurement under load; the first fifth is not counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Clients at once, each of which waits for its run before it starts the next
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// Only these, and again if they were measured: names as `windlass-sqlite`, `restate`, or `dbos` for all its databases
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub only: Vec<String>,
    /// The file of results
    #[arg(long, default_value = "target/bench/peers.jsonl", value_name = "FILE")]
    pub results: PathBuf,
    /// Where data directories are made; a folder on the disk that is to be measured
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    pub folder: PathBuf,
    /// Where the peers are described
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    pub peers: PathBuf,
    /// Where they are installed
    #[arg(long, default_value = "target/peers", value_name = "DIR")]
    pub installed: PathBuf,
    /// Seconds that one of them may take in all before it is given up
    #[arg(long, default_value_t = 240)]
    pub patience: u64,
}

/// Which tables are shown.
#[derive(Debug, Clone, Args)]
pub struct Table {
    /// The file of results
    pub results: PathBuf,
    /// Put the tables into this page, between its two lines that say so
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
}

/// What is measured of ourselves, and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The program to measure
    #[arg(long, default_value = "target/dist/windlass", value_name = "FILE")]
    pub program: PathBuf,
    /// Seconds of each measurement under load; the first fifth is not counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Clients at once, each of which waits for its run before it starts the next
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// Only these measurements; the machine's limits are always measured
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub only: Vec<Case>,
    /// Only on this database; on both when left out
    #[arg(long)]
    pub database: Option<Kind>,
    /// Where data directories are made; a folder on the disk that is to be measured
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    pub folder: PathBuf,
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// SQLite in a new data directory.
    Sqlite,
    /// A temporary PostgreSQL with default settings.
    Postgres,
}

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Latency of one 10-step run on an idle server.
    Alone,
    /// Runs of 1 step.
    #[value(name = "steps-1")]
    Steps1,
    /// Runs of 10 steps.
    #[value(name = "steps-10")]
    Steps10,
    /// Runs of 100 steps.
    #[value(name = "steps-100")]
    Steps100,
    /// Runs of 10 pure steps.
    Chain,
    /// 1,000 steps beside each other.
    FanOut,
    /// Runs of 10 tasks for outside workers.
    Workers,
    /// Memory before and after.
    Memory,
    /// From start to ready on the database that all this left.
    Start,
}

impl Options {
    /// Whether that is to be measured.
    pub fn wants(&self, case: Case) -> bool {
        self.only.is_empty() || self.only.contains(&case)
    }

    /// Whether that database is.
    pub fn wants_database(&self, kind: Kind) -> bool {
        self.database.is_none_or(|it| it == kind)
    }

    /// How long a measurement under load takes.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long a limit is measured: it is steady, and there are several.
    pub fn limit_time(&self) -> Duration {
        Duration::from_secs(self.seconds.min(3))
    }

    /// What of this changes figures.
    pub fn settings(&self) -> Value {
        json!({ "seconds": self.seconds, "clients": self.clients, "program": self.program })
    }
}
