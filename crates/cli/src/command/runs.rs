//! `windlass runs …`: looking at runs and acting on them.

use serde_json::{Map, Value, json};

use super::{Context, start};
use crate::{
    args::{PageArgs, RunsCommand, SettleOutcome},
    client::{Answer, Call, Client, escape, query},
    exit::{Exit, Failure, Outcome},
    follow::{Ended, Follow, Show},
    input, output,
    output::table::{self, Table, cell, time_cell, took_cell},
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: RunsCommand, context: &Context) -> Outcome {
    let client = context.client().await?;
    let outcome = carry_out(command, context, &client).await;
    client.close().await;
    outcome
}

async fn carry_out(command: RunsCommand, context: &Context, client: &Client) -> Outcome {
    let run_path = |run: &str, rest: &str| format!("/runs/{}{rest}", escape(run));
    let call = match command {
        RunsCommand::List { status, workflow, key, label, trace_id, q, page } => {
            let path = query(&[
                ("status", status),
                ("workflow", workflow),
                ("key", key),
                ("label", label),
                ("trace_id", trace_id),
                ("q", q),
                ("limit", page.limit.map(|it| it.to_string())),
                ("after", page.after),
            ]);
            return list(client, &format!("/runs{path}"), context).await;
        }
        RunsCommand::Show { run } => return show(client, &run, context).await,
        RunsCommand::Steps { run, page } => return steps(client, &run, page, context).await,
        RunsCommand::Journal { run, page } => return journal(client, &run, page, context).await,
        RunsCommand::Watch { run } => return watch(client, &run, context).await,
        RunsCommand::Cancel { run, reason, no_undo } => {
            let mut body = Map::new();
            if let Some(reason) = reason {
                body.insert("reason".into(), reason.into());
            }
            if no_undo {
                body.insert("undo".into(), false.into());
            }
            Call::post(run_path(&run, "/cancel")).json(&Value::Object(body))
        }
        RunsCommand::Pause { run } => Call::post(run_path(&run, "/pause")),
        RunsCommand::Resume { run } => Call::post(run_path(&run, "/resume")),
        RunsCommand::Rerun { run } => Call::post(run_path(&run, "/rerun")),
        RunsCommand::Undo { run } => Call::post(run_path(&run, "/undo")),
        RunsCommand::Fork { run, at } => Call::post(run_path(&run, "/fork")).json(&json!({ "at": at })),
        RunsCommand::Signal { run, name, payload, idempotency_key } => {
            let payload = payload.map_or(Ok(Value::Null), |text| input::json(&text, "--payload"))?;
            let call = Call::post(run_path(&run, &format!("/signals/{}", escape(&name)))).json(&payload);
            match idempotency_key {
                Some(key) => call.header("idempotency-key", key),
                None => call,
            }
        }
        RunsCommand::Settle { run, path, outcome, output, message } => {
            let body = settlement(outcome, output.as_deref(), message.as_deref())?;
            Call::post(run_path(&run, &format!("/steps/{}/settle", escape(&path)))).json(&body)
        }
    };
    print_run(&client.send(call).await?, context)
}

fn settlement(outcome: SettleOutcome, output: Option<&str>, message: Option<&str>) -> Result<Value, Failure> {
    Ok(match outcome {
        SettleOutcome::Completed => {
            let output = output.map_or(Ok(Value::Null), |text| input::json(text, "--output"))?;
            json!({ "outcome": "completed", "output": output })
        }
        SettleOutcome::Failed => match message {
            Some(message) => json!({ "outcome": "failed", "error": { "message": message } }),
            None => json!({ "outcome": "failed" }),
        },
        SettleOutcome::Again => json!({ "outcome": "again" }),
    })
}

/// One line about the run, or about the signal that was taken in.
fn print_run(answer: &Answer, context: &Context) -> Outcome {
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let run: Value = answer.read()?;
    if run["run_id"].is_string() {
        output::line(format!("{} has the signal `{}`", cell(&run, "run_id"), cell(&run, "name")))?;
    } else {
        output::line(format!("{} {}", cell(&run, "id"), table::status(&cell(&run, "status"))))?;
    }
    Ok(Exit::Done)
}

async fn list(client: &Client, path: &str, context: &Context) -> Outcome {
    let answer = client.send(Call::get(path)).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["RUN", "WORKFLOW", "VERSION", "STATUS", "CREATED", "TOOK"]);
    for run in page["items"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(run, "id"),
            cell(run, "workflow"),
            cell(run, "version"),
            table::status(&cell(run, "status")),
            time_cell(run, "created_at"),
            took_cell(run, "created_at", "finished_at"),
        ]);
    }
    table.print("no runs")?;
    if let Some(until) = page["searched_until"].as_str() {
        output::note(format!("searched: runs that were made until {until}"));
    }
    more(&page);
    Ok(Exit::Done)
}

/// Says how to see the next page.
pub fn more(page: &Value) {
    if let Some(next) = page["next"].as_str() {
        output::note(format!("more: --after {next}"));
    }
}

async fn show(client: &Client, run: &str, context: &Context) -> Outcome {
    let answer = client.send(Call::get(format!("/runs/{}", escape(run)))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let view: Value = answer.read()?;
    for key in ["id", "workflow", "version", "status", "mode", "created_at", "started_at", "finished_at", "key"] {
        let text = cell(&view, key);
        if !text.is_empty() {
            let text = if key == "status" { table::status(&text) } else { text };
            output::line(format!("{key:<12} {text}"))?;
        }
    }
    output::line(format!("{:<12} {}", "input", view["input"]))?;
    print_steps(client, run, &PageArgs::default()).await?;
    start::show_result(&view)?;
    Ok(Exit::Done)
}

async fn steps(client: &Client, run: &str, page: PageArgs, context: &Context) -> Outcome {
    if context.json() {
        let query = query(&[("limit", page.limit.map(|it| it.to_string())), ("after", page.after)]);
        let answer = client.send(Call::get(format!("/runs/{}/steps{query}", escape(run)))).await?;
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    print_steps(client, run, &page).await?;
    Ok(Exit::Done)
}

async fn print_steps(client: &Client, run: &str, page: &PageArgs) -> Result<(), Failure> {
    let query = query(&[("limit", page.limit.map(|it| it.to_string())), ("after", page.after.clone())]);
    let answer = client.send(Call::get(format!("/runs/{}/steps{query}", escape(run)))).await?;
    let page: Value = answer.read()?;
    let mut table = Table::new(&["STEP", "TYPE", "STATUS", "ATTEMPT", "TOOK", "ERROR"]);
    for step in page["items"].as_array().into_iter().flatten() {
        let error = match &step["error"] {
            Value::Null => step["waits_for"].as_str().map(|it| format!("waits for {it}")).unwrap_or_default(),
            error => format!("{}/{}", cell(error, "class"), cell(error, "code")),
        };
        table.row(vec![
            cell(step, "path"),
            cell(step, "type"),
            table::status(&cell(step, "status")),
            cell(step, "attempt"),
            took_cell(step, "started_at", "finished_at"),
            error,
        ]);
    }
    table.print("no steps yet")?;
    more(&page);
    Ok(())
}

async fn journal(client: &Client, run: &str, page: PageArgs, context: &Context) -> Outcome {
    let query = query(&[("limit", page.limit.map(|it| it.to_string())), ("after", page.after)]);
    let answer = client.send(Call::get(format!("/runs/{}/journal{query}", escape(run)))).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let page: Value = answer.read()?;
    let mut table = Table::new(&["SEQ", "AT", "KIND", "PATH", "DATA"]);
    for entry in page["items"].as_array().into_iter().flatten() {
        let data = match &entry["data"] {
            Value::Null => String::new(),
            data => console::truncate_str(&data.to_string(), 80, "…").into_owned(),
        };
        table.row(vec![cell(entry, "seq"), cell(entry, "at"), cell(entry, "kind"), cell(entry, "path"), data]);
    }
    table.print("no entries")?;
    more(&page);
    Ok(Exit::Done)
}

async fn watch(client: &Client, run: &str, context: &Context) -> Outcome {
    let path = format!("/runs/{}", escape(run));
    let before: Value = client.send(Call::get(&path)).await?.read()?;
    let place = context.place_options();
    let name = before["workflow"].as_str().unwrap_or(run);
    let show = if context.json() { Show::Nothing } else { Show::People };
    let ended = Follow { client, run, name, show, place: &place }.to_end().await?;
    let answer = client.send(Call::get(&path)).await?;
    let view: Value = answer.read()?;
    if context.json() {
        output::line(answer.text())?;
    } else {
        start::show_result(&view)?;
    }
    Ok(if ended == Ended::Finished { start::exit_of(&view, true) } else { Exit::NotCompleted })
}
