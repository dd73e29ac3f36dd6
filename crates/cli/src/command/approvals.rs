//! `windlass approvals …`: what waits for a person, and the decision.

use serde_json::{Map, Value};

use super::{Context, runs};
use crate::{
    args::{ApprovalsCommand, DecideArgs},
    client::{Call, Client, escape, query},
    exit::{Exit, Outcome},
    input, output,
    output::table::{self, Table, cell, time_cell},
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: ApprovalsCommand, context: &Context) -> Outcome {
    let client = context.client().await?;
    let outcome = match command {
        ApprovalsCommand::List { status, page } => {
            let limit = page.limit.map(|it| it.to_string());
            let query = query(&[("status", status), ("limit", limit), ("after", page.after)]);
            list(&client, &query, context).await
        }
        ApprovalsCommand::Approve(args) => decide(&client, "approve", args, context).await,
        ApprovalsCommand::Reject(args) => decide(&client, "reject", args, context).await,
    };
    client.close().await;
    outcome
}

async fn list(client: &Client, query: &str, context: &Context) -> Outcome {
    let answer = client.send(Call::get(format!("/approvals{query}"))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["APPROVAL", "STATUS", "RUN", "STEP", "ASKED", "TITLE"]);
    for approval in page["items"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(approval, "id"),
            table::status(&cell(approval, "status")),
            cell(approval, "run_id"),
            cell(approval, "path"),
            time_cell(approval, "created_at"),
            cell(approval, "title"),
        ]);
    }
    table.print("no approvals")?;
    runs::more(&page);
    Ok(Exit::Done)
}

async fn decide(client: &Client, verb: &str, args: DecideArgs, context: &Context) -> Outcome {
    let mut body = Map::new();
    if let Some(form) = &args.form {
        body.insert("form".into(), input::json(form, "--form")?);
    }
    for (key, value) in [("comment", args.comment), ("by", args.by)] {
        if let Some(value) = value {
            body.insert(key.into(), value.into());
        }
    }
    let path = format!("/approvals/{}/{verb}", escape(&args.approval));
    let answer = client.send(Call::post(path).json(&Value::Object(body))).await?;
    let approval: Value = answer.read()?;
    if context.json() {
        output::line(answer.text())?;
    } else {
        output::line(format!("{} {}", cell(&approval, "id"), table::status(&cell(&approval, "status"))))?;
    }
    Ok(Exit::Done)
}
