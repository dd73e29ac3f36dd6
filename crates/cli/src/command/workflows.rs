//! `windlass workflows …`: workflows and their versions.

use serde_json::{Value, json};

use super::{Context, runs};
use crate::{
    args::{PageArgs, WorkflowArgs, WorkflowsCommand},
    client::{Answer, Call, Client, escape, query},
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
        WorkflowsCommand::List { folder, tag, template, category, q, deleted, page } => {
            let word = |is: bool| is.then(|| "true".to_owned());
            let find = [("folder", folder), ("tag", tag), ("category", category), ("q", q)];
            list(client, (find, [("template", word(template)), ("deleted", word(deleted))], page), context).await
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
        WorkflowsCommand::Template { workflow, category, off } => {
            let mut body = json!({ "is_template": !off });
            if let Some(category) = category {
                body["template_category"] = Some(category).filter(|it| !it.is_empty()).into();
            }
            let call = Call::patch(format!("/workflows/{}", escape(&workflow.name))).json(&body);
            let answer = client.send(seen(call, &workflow)).await?;
            let said = if off { "no template any more" } else { "a template" };
            done(&answer, format!("{}: {said}", workflow.name), context)
        }
        WorkflowsCommand::Copy { name, new_name, folder, version } => {
            let mut body = json!({ "name": new_name });
            if let Some(folder) = folder {
                body["folder"] = folder.into();
            }
            if let Some(version) = version {
                body["version"] = version.into();
            }
            let call = Call::post(format!("/workflows/{}/copies", escape(&name))).json(&body);
            let answer = client.send(call).await?;
            done(
                &answer,
                format!("{new_name}: made from {name}; publish it with `windlass workflows publish {new_name}`"),
                context,
            )
        }
        WorkflowsCommand::Delete(args) => {
            let call = Call::delete(format!("/workflows/{}", escape(&args.name)));
            client.send(seen(call, &args)).await?;
            if context.json() {
                output::json(&json!({ "deleted": args.name }))?;
            } else {
                output::line(format!("{}: deleted", args.name))?;
            }
            Ok(Exit::Done)
        }
        WorkflowsCommand::Restore(args) => {
            let call = Call::post(format!("/workflows/{}/restore", escape(&args.name)));
            let answer = client.send(seen(call, &args)).await?;
            done(&answer, format!("{}: restored", args.name), context)
        }
    }
}

/// The workflow as it is now, for programs; what was done, for people.
fn done(answer: &Answer, said: String, context: &Context) -> Outcome {
    if context.json() {
        output::line(answer.text())?;
    } else {
        output::line(said)?;
    }
    Ok(Exit::Done)
}

/// Only at the revision that was seen.
fn seen(call: Call, args: &WorkflowArgs) -> Call {
    match args.if_match {
        Some(revision) => call.header("if-match", format!("\"{revision}\"")),
        None => call,
    }
}

/// A filter of the list, and what it asks for.
type Filter = (&'static str, Option<String>);

async fn list(
    client: &Client,
    (find, [template, deleted], page): ([Filter; 4], [Filter; 2], PageArgs),
    context: &Context,
) -> Outcome {
    let (word, at, by) = match deleted.1 {
        Some(_) => ("DELETED", "deleted_at", "deleted_by"),
        None => ("CHANGED", "updated_at", "updated_by"),
    };
    let [folder, tag, category, q] = find;
    let (limit, after) = (("limit", page.limit.map(|it| it.to_string())), ("after", page.after));
    let query = query(&[limit, after, folder, tag, template, category, q, deleted]);
    let answer = client.send(Call::get(format!("/workflows{query}"))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["WORKFLOW", "VERSION", "DRAFT", word, "BY", "DESCRIPTION"]);
    for workflow in page["items"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(workflow, "name"),
            cell(workflow, "version"),
            cell(workflow, "revision"),
            time_cell(workflow, at),
            cell(workflow, by),
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
