//! The project's own checks and generators: `cargo xtask <name>`.

mod proof;
mod source;
mod tidy;
mod wfinstances;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

/// The project's own checks and generators.
#[derive(Parser)]
enum Command {
    /// Checks the rules of the house, and shows how long files and functions are.
    Tidy,
    /// Converts recorded scientific workflows into documents under examples/wfinstances.
    Wfinstances(wfinstances::Options),
    /// Checks a promise: crash, saga, … [options]; a name that is none lists them all.
    #[command(external_subcommand)]
    Proof(Vec<OsString>),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Tidy => tidy::run(&root()),
        Command::Wfinstances(options) => wfinstances::run(&root(), &options),
        Command::Proof(arguments) => proof::run(&root(), &arguments),
    };
    if let Err(error) = result {
        eprintln!("xtask: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
