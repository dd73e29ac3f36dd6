//! What every check can be told.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// Checks a promise of Windlass. One line of JSON goes to standard output, progress to standard error.
#[derive(Debug, Clone, Parser)]
#[command(name = "windlass-proof")]
pub struct Command {
    /// Which check
    pub check: String,
    /// On which database
    #[arg(long)]
    pub database: Option<Database>,
    /// Everything else
    #[command(flatten)]
    pub options: Options,
}

/// Options that every check takes.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Draws other moments
    #[arg(long, default_value_t = 20_261_121)]
    pub seed: u64,
    /// How often it does its harm
    #[arg(long)]
    pub count: Option<u32>,
    /// Seconds instead of hours
    #[arg(long)]
    pub short: bool,
    /// Leave the databases, ledgers and logs where they are, and say where
    #[arg(long)]
    pub keep: bool,
    /// The program to check [default: the one that is built beside this]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Where data directories are made
    #[arg(long, default_value = "target/proof", value_name = "DIR")]
    pub folder: PathBuf,
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Database {
    /// SQLite in a new data directory.
    Sqlite,
    /// A new database on a temporary PostgreSQL.
    Postgres,
}

impl Database {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Database::Sqlite => "sqlite",
            Database::Postgres => "postgres",
        }
    }
}
