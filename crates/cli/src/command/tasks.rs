//! `windlass tasks …`: the work that waits for outside workers.

use serde_json::Value;

use super::{Context, runs};
use crate::{
    args::TasksCommand,
    client::{Call, query},
    exit::{Exit, Outcome},
    output,
    output::table::{self, Table, cell, time_cell},
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: TasksCommand, context: &Context) -> Outcome {
    let TasksCommand::List { queue, status, page } = command;
    let limit = page.limit.map(|it| it.to_string());
    let query = query(&[("queue", queue), ("status", status), ("limit", limit), ("after", page.after)]);
    let answer = context.ask(Call::get(format!("/tasks{query}"))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["TASK", "QUEUE", "STATUS", "LOST", "WORKER", "RUN", "STEP", "OFFERED"]);
    for task in page["items"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(task, "id"),
            cell(task, "queue"),
            table::status(&cell(task, "status")),
            cell(task, "lost"),
            cell(task, "worker"),
            cell(task, "run_id"),
            cell(task, "path"),
            time_cell(task, "created_at"),
        ]);
    }
    table.print("no tasks")?;
    runs::more(&page);
    Ok(Exit::Done)
}
