//! `windlass delegations …`: people of one tenant act in another.

use serde_json::{Value, json};

use super::{Context, people::hand_over};
use crate::{
    args::DelegationsCommand,
    client::Call,
    exit::{Exit, Outcome},
    output::{
        self,
        table::{Table, cell, time_cell},
    },
};

/// Offers, accepts, lists, uses or returns delegations.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: DelegationsCommand, context: &Context) -> Outcome {
    match command {
        DelegationsCommand::Offer { role, reason, days } => {
            let body = json!({ "role": role, "reason": reason, "days": days });
            let who = "an administrator of the other tenant, who accepts it with `windlass delegations accept LINK`";
            hand_over(Call::post("/delegations").json(&body), who, context).await
        }
        DelegationsCommand::Accept { link } => {
            let answer = context.ask(Call::post("/received-delegations").json(&json!({ "link": link }))).await?;
            if context.json() {
                output::line(answer.text())?;
                return Ok(Exit::Done);
            }
            let made: Value = answer.read()?;
            let word = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
            let (tenant, role, until) = (word("tenant"), word("role"), word("expires_at"));
            output::line(format!("{}: in {tenant} as {role} until {until}", word("id")))?;
            Ok(Exit::Done)
        }
        DelegationsCommand::Received => received(context).await,
        DelegationsCommand::Enter { delegation, minutes } => {
            let call = Call::post(format!("/received-delegations/{delegation}/enter"));
            let answer = context.ask(call.json(&json!({ "minutes": minutes }))).await?;
            if context.json() {
                output::line(answer.text())?;
                return Ok(Exit::Done);
            }
            let begun: Value = answer.read()?;
            let word = |name: &str| begun[name].as_str().unwrap_or_default().to_owned();
            output::line(word("token"))?;
            let (tenant, until) = (word("tenant"), word("expires_at"));
            output::note(format!("shown this once: with WINDLASS_TOKEN set to it you act in {tenant} until {until}"));
            Ok(Exit::Done)
        }
        DelegationsCommand::Return { delegation } => {
            context.ask(Call::delete(format!("/received-delegations/{delegation}"))).await?;
            if context.json() {
                output::json(&json!({ "returned": delegation }))?;
            } else {
                output::line(format!("{delegation}: returned"))?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn received(context: &Context) -> Outcome {
    let answer = context.ask(Call::get("/received-delegations")).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let all: Value = answer.read()?;
    let mut table = Table::new(&["DELEGATION", "TENANT", "ROLE", "UNTIL", "REASON"]);
    for it in all["items"].as_array().into_iter().flatten() {
        table.row(vec![
            cell(it, "id"),
            cell(it, "tenant"),
            cell(it, "role"),
            time_cell(it, "expires_at"),
            cell(it, "reason"),
        ]);
    }
    table.print("no delegations to this tenant")?;
    Ok(Exit::Done)
}
