//! `windlass oauth secret`, `answer`, `mine`, `withdraw`: applications of third parties, and what one lets them do.

use std::io::IsTerminal as _;

use serde_json::{Map, Value, json};

use super::Context;
use crate::{
    args::{AnswerArgs, OauthCommand, SecretArgs},
    client::{self, Call, Client},
    exit::{Exit, Failure, Outcome},
    output::{self, table::Table},
};

/// Carries out a command.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(command: OauthCommand, context: &Context) -> Outcome {
    match command {
        OauthCommand::Secret(args) => secret(args, context).await,
        OauthCommand::Answer(args) => answer(args, context).await,
        OauthCommand::Mine => mine(context).await,
        OauthCommand::Withdraw { id } => {
            context.ask(Call::post(format!("/me/oauth-consents/{id}/revoke"))).await?;
            if context.json() {
                output::json(&json!({ "withdrawn": true }))?;
            } else {
                output::line("the application may do nothing in your name any more")?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn secret(args: SecretArgs, context: &Context) -> Outcome {
    let body = json!({ "former_minutes": args.former_minutes });
    let made = context.ask(Call::post(format!("/oauth-applications/{}/secret", args.id)).json(&body)).await?;
    if context.json() {
        output::line(made.text())?;
        return Ok(Exit::Done);
    }
    let made: Value = made.read()?;
    output::line(made["client_secret"].as_str().unwrap_or_default())?;
    output::note("shown this once: put it where the application reads it");
    Ok(Exit::Done)
}

/// Shows what an application asks for, and gives the answer of whoever is here.
async fn answer(args: AnswerArgs, context: &Context) -> Outcome {
    let request = request_of(&args.address)?;
    let client = context.client().await?;
    let answered = give(&client, (&args, &request), context).await;
    client.close().await;
    let answered = answered?;
    if context.json() {
        output::json(&answered)?;
        return Ok(Exit::Done);
    }
    output::line(answered["redirect_to"].as_str().unwrap_or_default())?;
    output::note("open this address, at once, in the browser that the application had opened");
    Ok(Exit::Done)
}

async fn give(
    client: &Client,
    (args, request): (&AnswerArgs, &Map<String, Value>),
    context: &Context,
) -> Result<Value, Failure> {
    let pairs: Vec<(&str, Option<String>)> =
        request.iter().map(|(name, value)| (name.as_str(), value.as_str().map(str::to_owned))).collect();
    let asked = client.send(Call::get(format!("/me/authorization{}", client::query(&pairs)))).await?.read()?;
    if !context.json() {
        show(&asked);
    }
    let decision = match (args.allow, args.refuse) {
        (true, _) => "approve",
        (_, true) => "refuse",
        _ => ask()?,
    };
    let body = json!({ "decision": decision, "request": request });
    client.send(Call::post("/me/authorization").json(&body)).await?.read()
}

fn show(asked: &Value) {
    let word = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    output::note(format!("{} asks to act in your name", word(asked, "name")));
    for text in ["description", "website"].map(|name| word(asked, name)).into_iter().filter(|it| !it.is_empty()) {
        output::note(format!("  {text}"));
    }
    output::note(format!("  the answer goes to {}", word(asked, "redirect_uri")));
    for scope in asked["scopes"].as_array().into_iter().flatten() {
        let lacking = if scope["allowed"] == true { "" } else { " (you may not, so it could not either)" };
        output::note(format!("  {}  {}{lacking}", word(scope, "name"), word(scope, "description")));
    }
}

/// Asks whoever is at the terminal.
fn ask() -> Result<&'static str, Failure> {
    let terminal = console::Term::stderr();
    if !terminal.is_term() || !std::io::stdin().is_terminal() {
        return Err(Failure::refused("nobody is here to be asked: say --allow or --refuse"));
    }
    terminal.write_str("Allow it? [y/N] ")?;
    let said = terminal.read_line()?;
    Ok(if matches!(said.trim(), "y" | "yes") { "approve" } else { "refuse" })
}

/// The request in the query of an address.
fn request_of(url: &str) -> Result<Map<String, Value>, Failure> {
    let wrong =
        |why: &str| Failure::refused(format!("{why}: give the address to which the application sent your browser"));
    let query = url.split_once('?').map(|(_, query)| query).ok_or_else(|| wrong("the address has no query"))?;
    let query = query.split('#').next().unwrap_or_default();
    let known =
        ["response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"];
    let mut request = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
            continue;
        }
        if request.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return Err(wrong("the address says something twice"));
        }
    }
    Ok(request)
}

async fn mine(context: &Context) -> Outcome {
    let answer = context.ask(Call::get("/me/oauth-consents")).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let all: Value = answer.read()?;
    let mut table = Table::new(&["CONSENT", "APPLICATION", "SINCE", "LAST TOKEN", "FOR"]);
    for consent in all["items"].as_array().into_iter().flatten() {
        let mut row = ["id", "name", "created_at", "last_token_at"]
            .map(|name| consent[name].as_str().unwrap_or_default().to_owned())
            .to_vec();
        let scopes = consent["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        row.push(scopes.collect::<Vec<_>>().join(" "));
        table.row(row);
    }
    table.print("you let no application do anything")?;
    Ok(Exit::Done)
}
