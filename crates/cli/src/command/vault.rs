//! `windlass vault …`: the keys with which secrets are sealed.

use serde_json::Value;
use windlass_store::{MasterKey, admin};

use super::{Context, db};
use crate::{
    args::VaultCommand,
    client::{Call, escape},
    exit::{Exit, Failure, Outcome},
    output,
    output::table::{Table, cell, time_cell},
    place::of_store,
};

/// Carries it out.
///
/// # Errors
/// The server or the database cannot be reached, or refuses.
pub async fn run(command: VaultCommand, context: &Context) -> Outcome {
    match command {
        VaultCommand::Status => status(context).await,
        VaultCommand::NewKey => new_key(context),
        VaultCommand::Rotate { data_keys } => rotate(data_keys, context).await,
        VaultCommand::Test { id } => test(&id, context).await,
        VaultCommand::Forget { yes } => forget(yes, context).await,
    }
}

async fn status(context: &Context) -> Outcome {
    let answer = context.ask(Call::get("/vault")).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let status: Value = answer.read()?;
    let word = if status["is_open"] == true { "open" } else { "closed: no master key was given" };
    output::line(format!("the vault is {word}"))?;
    output::line(format!("  key from   {}", status["source"].as_str().unwrap_or_default()))?;
    output::line(format!("  data keys  {}", status["data_keys"]))?;
    if status["rows_left"] != 0 {
        output::line(format!("  {} rows are still to be sealed anew", status["rows_left"]))?;
    }
    let mut table = Table::new(&["MASTER KEY", "SINCE", "HELD HERE"]);
    for key in status["accepted"].as_array().into_iter().flatten() {
        let held = if key["held"] == true { "yes" } else { "no" };
        table.row(vec![cell(key, "id"), time_cell(key, "created_at"), held.to_owned()]);
    }
    table.print("no master key opens it: it was never used")?;
    Ok(Exit::Done)
}

fn new_key(context: &Context) -> Outcome {
    let key = MasterKey::generate().map_err(of_store)?;
    if context.json() {
        output::json(&serde_json::json!({ "id": key.id(), "key": key.to_text().as_str() }))?;
    } else {
        output::line(key.to_text().as_str())?;
        output::note(format!("key {}: keep it where only servers can read it, and a copy elsewhere", key.id()));
    }
    Ok(Exit::Done)
}

async fn rotate(data_keys: bool, context: &Context) -> Outcome {
    let call = Call::post("/vault/rotate").json(&serde_json::json!({ "data_keys": data_keys }));
    let answer = context.ask(call).await?;
    let rotation: Value = answer.read()?;
    let waiting: Vec<&str> =
        rotation["waiting_for"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if context.json() {
        output::line(answer.text())?;
    } else if data_keys {
        output::line(format!("the data keys are replaced; {} rows are to be sealed anew", rotation["rows_left"]))?;
    } else if waiting.is_empty() {
        output::line("the master key is replaced, and the old one opens nothing but older backups")?;
    } else {
        output::line(format!(
            "both master keys open the vault; give the new one to {} and ask again",
            waiting.join(", ")
        ))?;
    }
    Ok(if waiting.is_empty() { Exit::Done } else { Exit::NotCompleted })
}

async fn test(id: &str, context: &Context) -> Outcome {
    let answer = context.ask(Call::post(format!("/credentials/{}/test", escape(id)))).await?;
    let test: Value = answer.read()?;
    if context.json() {
        output::line(answer.text())?;
    } else {
        output::line(format!("{}: {}", cell(&test, "verdict"), cell(&test, "detail")))?;
    }
    Ok(if test["verdict"] == "fails" { Exit::NotCompleted } else { Exit::Done })
}

async fn forget(yes: bool, context: &Context) -> Outcome {
    if !yes {
        let message = "this takes the values of all secrets and credentials away for good: confirm it with --yes";
        return Err(Failure::refused(message));
    }
    let rows = admin::forget_vault(db::options(&context.database()?)).await.map_err(of_store)?;
    if context.json() {
        output::json(&serde_json::json!({ "rows": rows }))?;
    } else {
        output::line(format!(
            "the vault is forgotten, and {rows} rows have lost what was sealed in them; the next start makes a new vault"
        ))?;
    }
    Ok(Exit::Done)
}
