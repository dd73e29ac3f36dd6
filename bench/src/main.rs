//! `windlass-bench`: what `make bench` runs.

use std::process::ExitCode;

use clap::Parser as _;
use windlass_bench::{measure, options::Options};

// One thread: the server has the other core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench: some runs did not complete; the figures beside them say nothing");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
