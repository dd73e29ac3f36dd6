//! The project's own checks and generators: `cargo xtask <name>`.

mod proof;
mod sim;
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
    /// Simulates nodes, a database and everything that goes wrong: --seeds, --seed, --mode run|safety|liveness.
    #[command(disable_help_flag = true)]
    Sim(Rest),
    /// The same with bugs planted, one after the other: each has to be found within --seeds.
    #[command(disable_help_flag = true)]
    SimMutants(Rest),
    /// Checks a promise: crash, saga, … [options]; a name that is none lists them all.
    #[command(external_subcommand)]
    Proof(Vec<OsString>),
}

/// What is handed on as it is.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Tidy => tidy::run(&root()),
        Command::Wfinstances(options) => wfinstances::run(&root(), &options),
        Command::Sim(rest) => sim::run(&root(), sim::Bugs::None, &rest.arguments),
        Command::SimMutants(rest) => sim::run(&root(), sim::Bugs::Planted, &rest.arguments),
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
