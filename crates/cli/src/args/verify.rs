//! `windlass verify`: what a database is judged by.

use std::path::PathBuf;

use clap::Args;

/// What `windlass verify` takes; the database is the one of `--data-dir` or `--database-url`, else `./windlass-data`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// What clients were told: a line of JSON for each answer; may be given more than once
    #[arg(long = "ledger", value_name = "FILE")]
    pub ledgers: Vec<PathBuf>,
    /// What the outside world saw: the ledger of the demo shop, its file or its address
    #[arg(long, value_name = "FILE|URL")]
    pub effects: Option<String>,
    /// Where the outside world is: each success of a request there is among the effects [default: the address of --effects]
    #[arg(long, value_name = "URL", requires = "effects")]
    pub effects_at: Option<String>,
    /// Nothing may be unfinished: every run has ended, no letter waits, no place is held
    #[arg(long)]
    pub finished: bool,
    /// At least so many runs have ended
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub minimum_runs: u64,
    /// At least so many steps are recorded
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub minimum_steps: u64,
    /// At least so many lines are in the ledgers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub minimum_told: u64,
    /// At least so many effects were seen
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub minimum_effects: u64,
}
