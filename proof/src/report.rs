//! What a check found: one line of JSON.
//!
//! Invariant: a check passes only with no violation and with every minimum of progress reached.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use windlass_bench::machine::{self, Machine};

use crate::options::Database;

/// Violations that are printed; the rest is counted.
const VIOLATIONS_MAX: usize = 100;

/// What happened during a check, and what must not have.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    counts: Map<String, Value>,
    violations: Vec<String>,
}

impl Outcome {
    /// The check itself could not go on.
    pub fn broken(error: &anyhow::Error) -> Outcome {
        Outcome { counts: Map::new(), violations: vec![format!("the check broke off: {error:#}")] }
    }

    /// Something that was counted or measured.
    pub fn count(&mut self, name: &str, value: impl Into<Value>) {
        self.counts.insert(name.to_owned(), value.into());
    }

    /// The same, where less than `least` means that the check says nothing.
    pub fn at_least(&mut self, name: &str, value: u64, least: u64) {
        self.count(name, value);
        if value < least {
            self.violation(format!("too little happened: {name} is {value}, at least {least} are needed"));
        }
    }

    /// Something that must not have happened.
    pub fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// What another part of the check found, under that name.
    pub fn add(&mut self, name: &str, part: Outcome) {
        self.count(name, part.counts);
        self.violations.extend(part.violations.into_iter().map(|it| format!("{name}: {it}")));
    }

    /// How many there are.
    pub fn violation_count(&self) -> usize {
        self.violations.len()
    }

    /// Whether there is none.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// Several of them.
    pub fn violations(&mut self, what: impl IntoIterator<Item = String>) {
        self.violations.extend(what);
    }
}

/// The line.
#[derive(Debug, Serialize)]
pub struct Report {
    check: &'static str,
    passed: bool,
    database: &'static str,
    seed: u64,
    commit: String,
    seconds: f64,
    counts: Map<String, Value>,
    violation_count: usize,
    violations: Vec<String>,
    machine: Machine,
}

impl Report {
    /// Of a check that has ended.
    pub fn new(check: &'static str, of: (Database, u64), took: Duration, mut outcome: Outcome) -> Report {
        let violation_count = outcome.violations.len();
        outcome.violations.truncate(VIOLATIONS_MAX);
        Report {
            check,
            passed: violation_count == 0,
            database: of.0.name(),
            seed: of.1,
            commit: machine::commit(),
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
            counts: outcome.counts,
            violation_count,
            violations: outcome.violations,
            machine: Machine::here(),
        }
    }

    /// Whether what was promised held.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Prints the line.
    #[expect(clippy::print_stdout, reason = "this is a program whose output is its result")]
    pub fn print(&self) {
        // Names are texts and numbers are finite: it serialises.
        println!("{}", serde_json::to_string(self).unwrap_or_default());
    }
}
