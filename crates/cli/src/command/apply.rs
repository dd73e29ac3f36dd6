//! `windlass apply`: documents of records and workflows, made so on the server.
//!
//! First everything is read and judged, then compared with what is there, and only then written: what is wrong with any
//! document is said before anything changes. Invariant: applying the same documents again changes nothing.

mod document;
mod item;
mod plan;

use std::path::PathBuf;

use serde_json::json;

use self::{
    document::Faults,
    item::Item,
    plan::{Action, Change, Planner},
};
use super::Context;
use crate::{
    client::Client,
    exit::{Exit, Failure, Outcome},
    output,
};

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Write,
    /// It is only said what would be.
    DryRun,
}

/// Applies what is in these files and folders.
///
/// # Errors
/// Everything that is wrong with the documents; the server refuses, or is not there.
pub async fn run(files: &[PathBuf], mode: Mode, context: &Context) -> Outcome {
    let mut faults = Faults::default();
    let documents = document::read_all(files, &mut faults)?;
    let items = item::read_all(documents, &mut faults)?;
    faults.none()?;
    let client = context.client().await?;
    let outcome = apply(&client, (items, faults), (mode, context)).await;
    client.close().await;
    outcome
}

async fn apply(client: &Client, (items, faults): (Vec<Item>, Faults), (mode, context): (Mode, &Context)) -> Outcome {
    let mut planner = Planner::new(client, items, faults);
    let changes = planner.plan().await?;
    let mut written = 0;
    let mut ended = Ok(Exit::Done);
    if !context.json() {
        changes.iter().try_for_each(print)?;
    }
    if mode == Mode::Write {
        for change in &changes {
            if let Err(failure) = planner.carry_out(change).await {
                ended = Err(failed(failure, change, written));
                break;
            }
            written += usize::from(change.action != Action::Keep);
        }
    }
    let count = |action: Action| changes.iter().filter(|it| it.action == action).count();
    let (made, changed, kept) = (count(Action::Create), count(Action::Update), count(Action::Keep));
    if context.json() {
        let items: Vec<_> = changes.iter().map(Change::to_json).collect();
        output::json(&json!({ "dry_run": mode == Mode::DryRun, "written": written, "items": items }))?;
    } else if ended.is_ok() {
        output::line(match mode {
            Mode::Write => format!("{made} made, {changed} changed, {kept} already so"),
            Mode::DryRun => format!("{made} to make, {changed} to change, {kept} already so; nothing was written"),
        })?;
    }
    ended
}

/// What the server refused, where it stands, and what was done before.
fn failed(failure: Failure, change: &Change, written: usize) -> Failure {
    let done = match written {
        0 => "nothing was written before it".to_owned(),
        count => format!("{count} were written before it; apply again once it is right"),
    };
    Failure { message: format!("{}: {}: {}\n{done}", change.place, change.title, failure.message), ..failure }
}

fn print(change: &Change) -> Result<(), Failure> {
    let sign = match change.action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Keep => return Ok(()),
    };
    output::line(format!("{sign} {} ({})", change.title, change.place))?;
    for field in &change.fields {
        output::line(format!("    {field}"))?;
    }
    Ok(())
}
