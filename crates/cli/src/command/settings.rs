//! `windlass settings …`: what is chosen, where that comes from, and choosing.

use http::Method;
use serde_json::{Value, json};

use super::Context;
use crate::{
    args::SettingsCommand,
    client::{Call, Client, escape},
    exit::{Exit, Failure, Outcome},
    output,
    output::table::{Table, cell},
};

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: SettingsCommand, context: &Context) -> Outcome {
    let client = context.client().await?;
    let outcome = send(&client, command, context).await;
    client.close().await;
    outcome
}

fn layer(installation: bool) -> &'static str {
    if installation { "database" } else { "tenant" }
}

async fn send(client: &Client, command: SettingsCommand, context: &Context) -> Outcome {
    let path = |name: &str| format!("/settings/{}", escape(name));
    let call = match &command {
        SettingsCommand::List => Call::get("/settings"),
        SettingsCommand::Get { name } => Call::get(path(name)),
        SettingsCommand::Set { name, value, installation } => {
            let body = json!({ "value": value, "layer": layer(*installation) });
            Call { method: Method::PUT, ..Call::get(path(name)) }.json(&body)
        }
        SettingsCommand::Unset { name, installation } => {
            let query = format!("{}?layer={}", path(name), layer(*installation));
            Call { method: Method::DELETE, ..Call::get(query) }
        }
    };
    let answer = client.send(call).await?;
    if let SettingsCommand::Unset { name, .. } = &command {
        if context.json() {
            output::json(&json!({ "unset": name }))?;
        } else {
            output::line(format!("{name} is no longer chosen there"))?;
        }
        return Ok(Exit::Done);
    }
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let value: Value = answer.read()?;
    match &value["items"] {
        Value::Array(items) => table(items)?,
        _ => one(&value)?,
    }
    Ok(Exit::Done)
}

fn table(items: &[Value]) -> Result<(), Failure> {
    let mut table = Table::new(&["SETTING", "CATEGORY", "VALUE", "FROM", "NEXT START", "BUILT IN"]);
    for item in items {
        let cells = ["name", "category", "value", "source", "next_start", "built_in"];
        table.row(cells.iter().map(|name| cell(item, name)).collect());
    }
    table.print("no settings")
}

fn one(item: &Value) -> Result<(), Failure> {
    output::line(format!("{}: {}", cell(item, "name"), cell(item, "about")))?;
    for name in ["value", "source", "next_start", "built_in", "least", "most", "takes_effect", "per_tenant"] {
        output::line(format!("  {:12}  {}", name.replace('_', " "), cell(item, name)).trim_end())?;
    }
    Ok(())
}
