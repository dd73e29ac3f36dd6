//! `windlass workflows …`: workflows and their versions.

use serde_json::Value;

use super::{Context, runs};
use crate::{
    args::{PageArgs, WorkflowsCommand},
    client::{Call, Client, escape, query},
    exit::{Exit, Outcome},
    output,
    output::table::{Table, cell, time_cell},
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: WorkflowsCommand, context: &Context) -> Outcome {
    let client = context.client().await?;
    let outcome = carry_out(command, context, &client).await;
    client.close().await;
    outcome
}

async fn carry_out(command: WorkflowsCommand, context: &Context, client: &Client) -> Outcome {
    match command {
        WorkflowsCommand::List { folder, tag, page } => {
            let find = [("folder", folder), ("tag", tag)];
            list(client, (find, page), context).await
        }
        WorkflowsCommand::Versions { name, page } => versions(client, &name, page, context).await,
        WorkflowsCommand::Show { name, version, format } => {
            let version = version.map_or(String::new(), |it| format!("/versions/{it}"));
            let format = if context.json() { String::new() } else { query(&[("format", Some(format))]) };
            let answer = client.send(Call::get(format!("/workflows/{}{version}{format}", escape(&name)))).await?;
            output::line(answer.text().trim_end())?;
            Ok(Exit::Done)
        }
        WorkflowsCommand::Publish { name } => {
            let answer = client.send(Call::post(format!("/workflows/{}/publish", escape(&name)))).await?;
            let workflow: Value = answer.read()?;
            if context.json() {
                output::line(answer.text())?;
            } else {
                output::line(format!("{name}: version {}", workflow["version"]))?;
            }
            Ok(Exit::Done)
        }
    }
}

type Find = [(&'static str, Option<String>); 2];

async fn list(client: &Client, ([folder, tag], page): (Find, PageArgs), context: &Context) -> Outcome {
    let query = query(&[("limit", page.limit.map(|it| it.to_string())), ("after", page.after), folder, tag]);
    let answer = client.send(Call::get(format!("/workflows{query}"))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["WORKFLOW", "VERSION", "DRAFT", "CHANGED", "DESCRIPTION"]);
    for workflow in page["items"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(workflow, "name"),
            cell(workflow, "version"),
            cell(workflow, "revision"),
            time_cell(workflow, "updated_at"),
            console::truncate_str(&cell(workflow, "description"), 60, "…").into_owned(),
        ]);
    }
    table.print("no workflows")?;
    runs::more(&page);
    Ok(Exit::Done)
}

async fn versions(client: &Client, name: &str, page: PageArgs, context: &Context) -> Outcome {
    let query = query(&[("limit", page.limit.map(|it| it.to_string())), ("after", page.after)]);
    let answer = client.send(Call::get(format!("/workflows/{}/versions{query}", escape(name)))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["VERSION", "PUBLISHED", "BY", "HASH"]);
    for version in page["items"].as_array().into_iter().flatten() {
        let hash = cell(version, "hash").chars().take(12).collect();
        let (published, by) = (time_cell(version, "published_at"), cell(version, "published_by"));
        table.row(vec![cell(version, "version"), published, by, hash]);
    }
    table.print("not published yet")?;
    runs::more(&page);
    Ok(Exit::Done)
}
