//! `windlass-bench`: what `make bench` and `make bench-peers` run.

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use windlass_bench::{
    measure,
    options::{CommandLine, Other},
    peers, scale, waiting,
};

// One thread: the server has the other core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let CommandLine { command, options } = CommandLine::parse();
    let done = match command {
        None => measure(&options).await,
        // Peers lead process groups of their own: when we are asked to end, they have to be told.
        Some(Other::Peers(options)) => tokio::select! {
            done = peers::measure(&options) => done,
            signal = asked_to_end() => Err(signal),
        },
        Some(Other::Table(options)) => peers::table::show(&options).map(|()| true),
        Some(Other::Scale(options)) => scale::measure(&options).await,
        Some(Other::Waiting(options)) => waiting::measure(&options).await,
    };
    match done {
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

/// Waits for a signal that asks to end.
async fn asked_to_end() -> anyhow::Error {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return error.into(),
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => (),
        _ = terminate.recv() => (),
    }
    anyhow::anyhow!(
        "asked to end: what was measured is in the file of results, and the same command goes on from there"
    )
}
