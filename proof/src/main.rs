//! `windlass-proof`: what `cargo xtask <check>` runs.

use std::process::ExitCode;

use clap::Parser as _;
use windlass_proof::options::Command;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    windlass_proof::run(Command::parse()).await
}
