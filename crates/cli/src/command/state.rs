//! `windlass state …`: values that outlive runs.

use serde_json::{Map, Value, json};

use super::{Context, runs};
use crate::{
    args::{StateCommand, StateWriteArgs},
    client::{Call, Client, query},
    exit::{Exit, Failure, Outcome},
    input, output,
    output::table::{Table, cell, time_cell},
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: StateCommand, context: &Context) -> Outcome {
    let call = call(&command)?;
    let client = context.client().await?;
    let outcome = send(&client, call, (&command, context)).await;
    client.close().await;
    outcome
}

fn call(command: &StateCommand) -> Result<Call, Failure> {
    let value = |text: &str| input::json(text, "the value");
    Ok(match command {
        StateCommand::List { place, prefix, page } => {
            let query = query(&[
                ("workflow", place.workflow.clone()),
                ("namespace", place.namespace.clone()),
                ("prefix", prefix.clone()),
                ("limit", page.limit.map(|it| it.to_string())),
                ("after", page.after.clone()),
            ]);
            Call::get(format!("/state{query}"))
        }
        StateCommand::Get { key, place } => {
            let query = query(&[
                ("key", Some(key.clone())),
                ("workflow", place.workflow.clone()),
                ("namespace", place.namespace.clone()),
            ]);
            Call::get(format!("/state/value{query}"))
        }
        StateCommand::Set { key, value: text, write } => change("set", key, write, [("value", Some(value(text)?))]),
        StateCommand::Update { key, value: text, write } => {
            change("update", key, write, [("value", Some(value(text)?))])
        }
        StateCommand::Increment { key, by, write } => {
            let by = by.as_deref().map(|by| input::json(by, "the number")).transpose()?;
            change("increment", key, write, [("by", by)])
        }
        StateCommand::CompareAndSet { key, expected, value: text, write } => {
            let given = [("expected", Some(value(expected)?)), ("value", Some(value(text)?))];
            change("compare_and_set", key, write, given)
        }
        StateCommand::Delete { key, write } => change("delete", key, write, []),
    })
}

fn change<const N: usize>(op: &str, key: &str, write: &StateWriteArgs, given: [(&str, Option<Value>); N]) -> Call {
    let mut body = Map::from_iter([("op".to_owned(), json!(op)), ("key".to_owned(), json!(key))]);
    let place = [
        ("workflow", write.place.workflow.as_ref().map(|it| json!(it))),
        ("namespace", write.place.namespace.as_ref().map(|it| json!(it))),
        ("ttl", write.ttl.as_ref().map(|it| json!(it))),
        ("description", write.description.as_ref().map(|it| json!(it))),
    ];
    for (name, value) in place.into_iter().chain(given) {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    let call = Call::post("/state").json(&body);
    match write.if_match {
        None => call,
        Some(version) => call.header("if-match", format!("\"{version}\"")),
    }
}

async fn send(client: &Client, call: Call, (command, context): (&StateCommand, &Context)) -> Outcome {
    let answer = client.send(call).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let value: Value = answer.read()?;
    match command {
        StateCommand::List { .. } => {
            let mut table =
                Table::new(&["NAMESPACE", "KEY", "TYPE", "VERSION", "READ", "UPDATED", "VALUE", "DESCRIPTION"]);
            for entry in value["items"].as_array().into_iter().flatten() {
                table.row(vec![
                    cell(entry, "namespace"),
                    cell(entry, "key"),
                    cell(entry, "type"),
                    cell(entry, "version"),
                    cell(entry, "access_count"),
                    time_cell(entry, "updated_at"),
                    console::truncate_str(&entry["value"].to_string(), 60, "…").into_owned(),
                    console::truncate_str(&cell(entry, "description"), 60, "…").into_owned(),
                ]);
            }
            table.print("no values")?;
            runs::more(&value);
        }
        StateCommand::Get { .. } => output::line(output::pretty(&value["value"]))?,
        _ => output::line(output::pretty(&value["output"]))?,
    }
    Ok(Exit::Done)
}
