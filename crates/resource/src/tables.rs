//! The tables of the core, one file for each area.
//!
//! Sizes are bounded where values come from, not here: these tables are written by the program alone.

pub mod audit;
pub mod keeping;
pub mod nodes;
pub mod queues;
pub mod runs;
pub mod search;
pub mod tasks;
pub mod waits;
pub mod workflows;

use crate::{Column, Table, number};

/// Tables that belong together.
#[derive(Debug)]
pub struct TableArea {
    /// Its name.
    pub name: &'static str,
    /// What it is about: a sentence.
    pub doc: &'static str,
    /// Its tables.
    pub tables: &'static [&'static Table],
}

/// Every area.
pub static AREAS: &[&TableArea] = &[
    &nodes::AREA,
    &workflows::AREA,
    &runs::AREA,
    &queues::AREA,
    &waits::AREA,
    &tasks::AREA,
    &keeping::AREA,
    &search::AREA,
    &audit::AREA,
];

/// Every table of the core.
pub fn all() -> impl Iterator<Item = &'static Table> {
    AREAS.iter().flat_map(|area| area.tables.iter().copied())
}

/// A table of the core by its name.
pub fn find(name: &str) -> Option<&'static Table> {
    all().find(|table| table.name == name)
}

/// Whether a table of the core hides the rows that are deleted.
pub(crate) fn is_soft(name: &str) -> bool {
    find(name).is_some_and(|table| table.column("deleted_at").is_some())
}

/// Whose a row is.
const TENANT: Column = number("tenant_key").required().doc("The key of the tenant whose it is.");
/// The run that a row is about.
const RUN_ID: Column = crate::id("run_id").required().doc("The run.");
/// The lane of the run that a row is about.
const LANE_ID: Column = number("lane_id").required().doc("The lane of the run: its owner alone moves the run.");
/// The path that a row is about.
const PATH: Column =
    crate::text("path").required().doc("The path in the run: which step, in which turn of which loop.");
