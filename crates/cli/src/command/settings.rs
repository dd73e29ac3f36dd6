//! `windlass settings …`: what is chosen, where that comes from, and choosing.

use http::Method;
use serde_json::{Value, json};

use windlass_server::settings::Setting;

use super::Context;
use crate::{
    args::{OfTenant, SettingsCommand},
    client::{Call, Client, escape, query},
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

/// A value as its setting reads it. What this program does not know, the server may: it says what it thinks of a text.
fn read(name: &str, text: &str) -> Result<Value, Failure> {
    match Setting::named(name) {
        Some(setting) => setting.parse(text).map_err(Failure::refused),
        None => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
    }
}

async fn send(client: &Client, command: SettingsCommand, context: &Context) -> Outcome {
    let path = |name: &str| format!("/settings/{}", escape(name));
    let tenant = |of: &OfTenant| ("tenant", of.tenant.clone());
    let call = match &command {
        SettingsCommand::List { of } => Call::get(format!("/settings{}", query(&[tenant(of)]))),
        SettingsCommand::Get { name, of } => Call::get(path(name) + &query(&[tenant(of)])),
        SettingsCommand::Set { name, value, installation, of } => {
            let value = read(name, &value.join(" "))?;
            let body = json!({ "value": value, "layer": layer(*installation), "tenant": of.tenant });
            Call { method: Method::PUT, ..Call::get(path(name)) }.json(&body)
        }
        SettingsCommand::Unset { name, installation, of } => {
            let layer = ("layer", Some(layer(*installation).to_owned()));
            Call::delete(path(name) + &query(&[layer, tenant(of)]))
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
        table.row(cells.iter().map(|name| shown(item, name)).collect());
    }
    table.print("no settings")
}

/// A value as a command line says it.
fn shown(item: &Value, name: &str) -> String {
    match &item[name] {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => cell(item, name),
    }
}

fn one(item: &Value) -> Result<(), Failure> {
    output::line(format!("{}: {}", cell(item, "name"), cell(item, "about")))?;
    let worth = ["kind", "value", "source", "next_start", "built_in", "least", "most", "unit", "choices"];
    for name in worth.iter().chain(&["takes_effect", "per_tenant"]).filter(|name| !item[**name].is_null()) {
        let text = if *name == "per_tenant" { cell(item, name) } else { shown(item, name) };
        output::line(format!("  {:12}  {text}", name.replace('_', " ")).trim_end())?;
    }
    Ok(())
}
