//! Commands that check what Windlass promises: real servers on real databases are killed, paused, starved and cut off,
//! and what is left is compared with what clients were told and with what the outside world saw.
//!
//! `cargo xtask <check>` builds and runs one. Each prints one line of JSON and fails when it found a violation, and
//! also when too little happened to mean anything. A check is one file in `checks/` and one line in [`CHECKS`].

pub mod api;
pub mod checks;
pub mod client;
pub mod disk;
pub mod inhabited;
pub mod kills;
pub mod ledger;
pub mod load;
pub mod names;
pub mod open_loop;
pub mod options;
pub mod proxy;
pub mod report;
pub mod takeover;
pub mod tenants;
pub mod upgrades;
pub mod world;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use futures::future::BoxFuture;

use crate::{
    options::{Command, Database, Options},
    report::{Outcome, Report},
};

/// A check.
pub struct Check {
    /// What comes after `cargo xtask`.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub about: &'static str,
    /// The databases it can run on, its usual one first.
    pub databases: &'static [Database],
    /// How often it does its harm.
    pub counts: fn(Database) -> Counts,
    /// Carries it out.
    pub run: fn(Plan) -> BoxFuture<'static, Result<Outcome>>,
}

/// How often a check does its harm.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// With `--short`: seconds.
    pub short: u32,
    /// Without: the bar of the project's promises.
    pub long: u32,
}

/// What a check is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// On which database.
    pub database: Database,
    /// From where random moments are drawn.
    pub seed: u64,
    /// How often it does its harm.
    pub count: u32,
    /// Everything else that was said.
    pub options: Options,
}

/// All checks.
pub static CHECKS: &[Check] = &[
    checks::crash::CHECK,
    checks::resume::CHECK,
    checks::saga::CHECK,
    checks::crashpoints::CHECK,
    checks::ackcheck::CHECK,
    checks::zombie::CHECK,
    checks::powercut::CHECK,
    checks::bitflip::CHECK,
    checks::diskfull::CHECK,
    checks::unknown_commit::CHECK,
    checks::pgchaos::CHECK,
    checks::clockskew::CHECK,
    checks::overload::CHECK,
    checks::hostile::CHECK,
    checks::idor::CHECK,
    checks::schemathesis::CHECK,
    checks::canary::CHECK,
    checks::rotation::CHECK,
    checks::ssrf::CHECK,
    checks::upgrade::CHECK,
    checks::upgrade::MAKE,
    checks::scaleout::CHECK,
];

/// Carries out what the command line says.
pub async fn run(command: Command) -> ExitCode {
    let Some(check) = CHECKS.iter().find(|it| it.name == command.check) else {
        eprintln!("proof: there is no check `{}`; there are:", command.check);
        for check in CHECKS {
            eprintln!("  {:<16} {}", check.name, check.about);
        }
        return ExitCode::from(2);
    };
    let database = command.database.unwrap_or(check.databases[0]);
    if !check.databases.contains(&database) {
        eprintln!("proof: `{}` does not run on {}", check.name, database.name());
        return ExitCode::from(2);
    }
    let options = command.options;
    let counts = (check.counts)(database);
    let usual = if options.short { counts.short } else { counts.long };
    let plan = Plan { database, seed: options.seed, count: options.count.unwrap_or(usual), options };
    let (begin, seed) = (Instant::now(), plan.seed);
    let outcome = (check.run)(plan).await.unwrap_or_else(|error| Outcome::broken(&error));
    let report = Report::new(check.name, (database, seed), begin.elapsed(), outcome);
    report.print();
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
