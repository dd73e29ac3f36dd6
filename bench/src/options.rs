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
    /// Generate a store of so many finished runs, and measure starts, lists, pages and the cost of a step on it
    Scale(Scale),
    /// Start so many runs that wait for a signal, a time or people, and measure what they cost while they do
    Waiting(Waiting),
}

/// How a large store is generated and measured.
#[derive(Debug, Clone, Args)]
pub struct Scale {
    /// Finished runs that are generated; 10,000,000 take about 11 GB on SQLite
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub runs: u64,
    /// Seconds of the measurement under load, on the empty store and on the full one
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Clients at once in that
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// What all measurements have in common
    #[command(flatten)]
    pub common: Common,
}

/// How waiting runs are measured.
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Runs that wait, a third of them for each of a signal, a time and people
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(300..))]
    pub runs: u32,
    /// Seconds over which the idle server is watched
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// What all measurements have in common
    #[command(flatten)]
    pub common: Common,
}

/// What is measured, and where.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The program to measure
    #[arg(long, default_value = "target/dist/windlass", value_name = "FILE")]
    pub program: PathBuf,
    /// Only on this database; on both when left out
    #[arg(long)]
    pub database: Option<Kind>,
    /// Where data directories are made; a folder on the disk that is to be measured
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    pub folder: PathBuf,
}

impl Common {
    /// Whether that database is to be measured.
    pub fn wants_database(&self, kind: Kind) -> bool {
        self.database.is_none_or(|it| it == kind)
    }
}

impl Scale {
    /// What of this changes figures.
    pub fn settings(&self) -> Value {
        let Scale { runs, seconds, clients, common } = self;
        json!({ "runs": runs, "seconds": seconds, "clients": clients, "program": common.program })
    }
}

impl Waiting {
    /// What of this changes figures.
    pub fn settings(&self) -> Value {
        let Waiting { runs, seconds, common } = self;
        json!({ "runs": runs, "seconds": seconds, "program": common.program })
    }
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
    /// Seconds of each measurement under load; the first fifth is not counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Clients at once, each of which waits for its run before it starts the next
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// Only these measurements; the machine's limits are always measured
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub only: Vec<Case>,
    /// What all measurements have in common
    #[command(flatten)]
    pub common: Common,
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
    /// Runs of 10, 100, 1,000 and 10,000 steps, each step a round of a loop.
    Rounds,
    /// Runs of 10 pure steps.
    Chain,
    /// 1,000 steps beside each other.
    FanOut,
    /// 100,000 steps beside each other.
    #[value(name = "fan-out-100000")]
    FanOutLarge,
    /// Runs of 10 tasks for outside workers.
    Workers,
    /// Memory before and after.
    Memory,
    /// From start to ready on the database that all this left.
    Start,
    /// Claims of 50,000 tasks that wait for workers.
    Claims,
}

impl Options {
    /// Whether that is to be measured.
    pub fn wants(&self, case: Case) -> bool {
        self.only.is_empty() || self.only.contains(&case)
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
        json!({ "seconds": self.seconds, "clients": self.clients, "program": self.common.program })
    }
}
