//! The `windlass` program: its command line, and the parts of it that tests start in process.
//!
//! Invariant: with `--json`, standard output holds JSON alone; what is for people goes to standard error, or is the
//! answer itself. Every way to end has an exit code (see [`exit::Exit`]).

pub mod args;
pub mod client;
pub mod command;
pub mod demo;
pub mod exit;
pub mod follow;
mod idle;
pub mod input;
mod log;
mod loopback;
pub mod output;
pub mod place;
pub mod serving;
mod session;

use std::process::ExitCode;

use clap::FromArgMatches;

use args::{Cli, Global};
use command::Context;
use exit::{Exit, Failure, Outcome};
use place::Sources;

/// Stack of the threads that carry out commands: documents and values may be deep.
const STACK_BYTES: usize = 16 << 20;

/// The whole program.
pub fn main() -> ExitCode {
    // No command of people: a server runs jq programs in processes of this same program.
    if std::env::args_os().nth(1).is_some_and(|it| it == windlass_steps::jq::helper::ARGUMENT) {
        return windlass_steps::jq::helper::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let matches = args::grammar().try_get_matches();
    let matches = match matches {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let sources = Sources::of(&matches);
    if let Some(call) = args::call_of(&matches) {
        let global = match Global::from_arg_matches(&matches) {
            Ok(global) => global,
            Err(error) => return usage(&error),
        };
        let context = Context { global, sources };
        let json = context.json();
        return end(carry_out(|| command::run_record(call, context)), json);
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let context = Context { global: cli.global, sources };
    let json = context.json();
    end(carry_out(|| command::run(cli.command, context)), json)
}

fn end(outcome: Outcome, json: bool) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report(&failure, json);
            failure.exit.into()
        }
    }
}

fn carry_out<F: Future<Output = Outcome> + Send + 'static>(command: impl FnOnce() -> F) -> Outcome {
    // Whoever installed one before us, in a test, has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(async {
        // On a worker thread, for its stack.
        tokio::spawn(command()).await
    });
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| Err(Failure::internal(format!("the command broke off: {error}"))))
}

fn report(failure: &Failure, json: bool) {
    if json {
        // The exit code tells it all the same.
        let _ = output::json(&failure.to_json());
    }
    output::note(failure.to_string());
}

/// Help and versions are answers; the rest is bad usage.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is nobody's fault.
    let _ = error.print();
    if error.use_stderr() { Exit::Refused.into() } else { Exit::Done.into() }
}
