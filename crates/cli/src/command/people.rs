//! `windlass login`, `logout`, `sessions`, `whoami`, `password`, `invite`, `impersonate`,
//! `join`: people at the command line.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use crate::{
    args::{ImpersonateArgs, InviteArgs, JoinArgs, LoginArgs, SecondFactorCommand},
    client::{self, Call, Client, escape},
    exit::{Exit, Failure, Outcome},
    loopback::Loopback,
    output::{self, table::Table},
    place::Place,
    session,
};

/// Signs in, and keeps the session for later commands.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn login(args: LoginArgs, context: &Context) -> Outcome {
    if let Some(provider) = &args.provider {
        return by_provider((provider, args.tenant.as_deref()), context).await;
    }
    let body = match (&args.link, &args.email) {
        (Some(link), _) => json!({ "link": link, "tenant": args.tenant }),
        (None, email) => json!({ "email": email, "password": password("Password")?, "tenant": args.tenant }),
    };
    come("/sign-in", body, context).await
}

/// Sends the person's browser to a provider, and waits until it comes back to this machine.
async fn by_provider((provider, tenant): (&str, Option<&str>), context: &Context) -> Outcome {
    let url = server(context)?;
    let loopback = Loopback::open().await?;
    let (port, challenge) = (Some(loopback.port()?.to_string()), Some(loopback.challenge()));
    let tenant = tenant.map(str::to_owned);
    let query = client::query(&[("port", port), ("challenge", challenge), ("tenant", tenant)]);
    let (server, provider) = (url.trim_end_matches('/'), client::escape(provider));
    let address = format!("{server}/api/v1/sign-in/oidc/{provider}{query}");
    output::note(format!("open this address in a browser on this machine:\n  {address}"));
    let ticket = loopback.ticket().await?;
    come("/sign-in/ticket", json!({ "ticket": ticket, "verifier": loopback.verifier }), context).await
}

/// Accepts an invitation, and keeps the session for later commands.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn join(args: JoinArgs, context: &Context) -> Outcome {
    let body = json!({ "link": args.link, "name": args.name, "password": password("Password")? });
    come("/invitations/accept", body, context).await
}

/// Shows what it has, and a code besides when one is asked for.
async fn come(path: &str, mut body: Value, context: &Context) -> Outcome {
    let url = server(context)?;
    let client = Client::open(&Place::Server { url: url.clone(), token: None }).await?;
    let answer = match client.send(Call::post(path).json(&body)).await {
        Err(failure) if failure.code == "second_factor_required" => {
            body["code"] = json!(password("Code of the second factor, or a recovery code")?);
            client.send(Call::post(path).json(&body)).await?
        }
        other => other?,
    };
    let came: Value = answer.read()?;
    session::keep(&url, came["token"].as_str().unwrap_or_default())?;
    if context.json() {
        output::json(&json!({ "email": came["email"], "tenant": came["tenant"], "expires_at": came["expires_at"] }))?;
    } else {
        let word = |name: &str| came[name].as_str().unwrap_or_default().to_owned();
        output::line(format!("signed in as {} to {} until {}", word("email"), word("tenant"), word("expires_at")))?;
    }
    Ok(Exit::Done)
}

/// The server to sign in to.
fn server(context: &Context) -> Result<String, Failure> {
    match context.place()? {
        Place::Server { url, .. } => Ok(url),
        _ => Err(Failure::refused("who is at the data itself needs no session: name a server with --url")),
    }
}

/// Signs out, and forgets the session.
///
/// # Errors
/// The server is not there.
pub async fn logout(everywhere: bool, context: &Context) -> Outcome {
    let path = if everywhere { "/sign-out/everywhere" } else { "/sign-out" };
    context.ask(Call::post(path)).await?;
    // A token that was named is not the one that is kept.
    if let Place::Server { url, token: None } = context.place()? {
        session::forget(&url)?;
    }
    if context.json() {
        output::json(&json!({ "signed_out": true }))?;
    } else {
        output::line("signed out")?;
    }
    Ok(Exit::Done)
}

/// Ends a session of one's own, here or elsewhere.
///
/// # Errors
/// There is no such session, or the server is not there.
pub async fn end_session(session: Uuid, context: &Context) -> Outcome {
    context.ask(Call::post(format!("/me/sessions/{session}/revoke"))).await?;
    if context.json() {
        output::json(&json!({ "signed_out": true }))?;
    } else {
        output::line("the session has ended")?;
    }
    Ok(Exit::Done)
}

/// Lists where one is signed in.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn sessions(context: &Context) -> Outcome {
    let answer = context.ask(Call::get("/me/sessions")).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let all: Value = answer.read()?;
    let mut table = Table::new(&["SESSION", "TENANT", "SINCE", "UNTIL", "BY", "FROM", "", ""]);
    for session in all["items"].as_array().into_iter().flatten() {
        let word = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
        let row = ["id", "tenant", "created_at", "expires_at", "method", "address"].map(word);
        let state = match (&session["is_this"], &session["active"]) {
            (Value::Bool(true), _) => "this one",
            (_, Value::Bool(false)) => "over",
            _ => "",
        };
        let acting = &session["acting"];
        let acting =
            acting["who"].as_str().map(|who| format!("{who}: {}", acting["reason"].as_str().unwrap_or_default()));
        table.row(row.into_iter().chain([state.to_owned(), acting.unwrap_or_default()]).collect());
    }
    table.print("no sessions")?;
    Ok(Exit::Done)
}

/// Says who the caller is and what it may do.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn whoami(context: &Context) -> Outcome {
    let answer = context.ask(Call::get("/me")).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let me: Value = answer.read()?;
    let word = |name: &str| me[name].as_str().unwrap_or_default().to_owned();
    output::line(format!("{} in tenant {}", word("who"), word("tenant")))?;
    if let Some(reason) = me["acting"]["reason"].as_str() {
        output::line(format!("  in another's name: {reason}"))?;
    }
    if me["second_factor_required"] == true && me["second_factor"] == false && word("who").starts_with("person:") {
        output::line("  the tenant asks for a second factor: windlass second-factor begin")?;
    }
    for permission in me["permissions"].as_array().into_iter().flatten() {
        output::line(format!("  {}", permission.as_str().unwrap_or_default()))?;
    }
    for place in me["places"].as_array().into_iter().flatten() {
        let word = |name: &str| place[name].as_str().unwrap_or_default();
        output::line(format!("  {} {}:", word("kind"), word("name")))?;
        for permission in place["permissions"].as_array().into_iter().flatten() {
            output::line(format!("    {}", permission.as_str().unwrap_or_default()))?;
        }
    }
    Ok(Exit::Done)
}

/// Chooses a password.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn choose_password(context: &Context) -> Outcome {
    let body = json!({ "current": present_password()?, "new": password("New password")? });
    let call = Call { method: http::Method::PUT, ..Call::get("/me/password") }.json(&body);
    context.ask(call).await?;
    if context.json() {
        output::json(&json!({ "changed": true }))?;
    } else {
        output::line("it is your password now; your other sessions have ended")?;
    }
    Ok(Exit::Done)
}

/// Invites somebody, and prints the link, this once.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn invite(args: InviteArgs, context: &Context) -> Outcome {
    let body = json!({ "email": args.email, "role": args.role, "days": args.days });
    let who = format!("{}, who joins with `windlass join LINK`", args.email);
    hand_over(Call::post("/invitations").json(&body), &who, context).await
}

/// Makes a link for somebody who lost the password, and prints it, this once.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn make_link(user: uuid::Uuid, context: &Context) -> Outcome {
    hand_over(Call::post(format!("/users/{user}/link")), "the user, who comes with `windlass login LINK`", context)
        .await
}

/// Has a link made, and prints it.
pub(super) async fn hand_over(call: Call, who: &str, context: &Context) -> Outcome {
    let answer = context.ask(call).await?;
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let made: Value = answer.read()?;
    output::line(made["link"].as_str().unwrap_or_default())?;
    output::note(format!("shown this once: send it to {who}"));
    Ok(Exit::Done)
}

/// Begins, confirms or ends a second factor.
///
/// # Errors
/// The code is wrong, or the server refuses.
pub async fn second_factor(command: SecondFactorCommand, context: &Context) -> Outcome {
    let (path, body) = match command {
        SecondFactorCommand::Begin => ("/me/second-factor", json!({ "password": present_password()? })),
        SecondFactorCommand::Confirm { code } => ("/me/second-factor/confirm", json!({ "code": code })),
        SecondFactorCommand::End { code } => {
            let body = json!({ "password": present_password()?, "code": code });
            return ended(Call::post("/me/second-factor/end").json(&body), context).await;
        }
    };
    let made: Value = context.ask(Call::post(path).json(&body)).await?.read()?;
    if context.json() {
        output::json(&made)?;
        return Ok(Exit::Done);
    }
    if let Some(url) = made["url"].as_str() {
        output::line(url)?;
        output::note("give it to an app that makes codes, then: windlass second-factor confirm CODE");
    }
    for code in made["recovery_codes"].as_array().into_iter().flatten() {
        output::line(code.as_str().unwrap_or_default())?;
    }
    Ok(Exit::Done)
}

/// Ends the second factor of a user who lost it.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn end_second_factor(user: Uuid, context: &Context) -> Outcome {
    ended(Call::post(format!("/users/{user}/end-second-factor")), context).await
}

/// Deletes a user.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn delete_user(user: Uuid, context: &Context) -> Outcome {
    context.ask(Call { method: Method::DELETE, ..Call::get(format!("/users/{user}")) }).await?;
    if context.json() {
        output::json(&json!({ "deleted": true }))?;
    } else {
        output::line("deleted")?;
    }
    Ok(Exit::Done)
}

async fn ended(call: Call, context: &Context) -> Outcome {
    context.ask(call).await?;
    if context.json() {
        output::json(&json!({ "ended": true }))?;
    } else {
        output::line("no code is asked for any more")?;
    }
    Ok(Exit::Done)
}

/// Begins a session in a member's name, and prints its token, this once.
///
/// # Errors
/// There is no such member, or the server refuses.
pub async fn impersonate(args: ImpersonateArgs, context: &Context) -> Outcome {
    let client = context.client().await?;
    let begun = begin(&client, &args).await;
    client.close().await;
    let begun = begun?;
    if context.json() {
        output::json(&begun)?;
        return Ok(Exit::Done);
    }
    let word = |name: &str| begun[name].as_str().unwrap_or_default().to_owned();
    output::line(word("token"))?;
    output::note(format!(
        "shown this once: with WINDLASS_TOKEN set to it you act for {} until {}",
        word("email"),
        word("expires_at")
    ));
    Ok(Exit::Done)
}

async fn begin(client: &Client, args: &ImpersonateArgs) -> Result<Value, Failure> {
    let found: Value = client.send(Call::get(format!("/members?email={}", escape(&args.email)))).await?.read()?;
    let Some(member) = found["items"][0]["id"].as_str() else {
        return Err(Failure::new(Exit::NotFound, "not_found", format!("there is no member {}", args.email)));
    };
    let body = json!({ "reason": args.reason, "minutes": args.minutes });
    client.send(Call::post(format!("/members/{member}/impersonate")).json(&body)).await?.read()
}

fn present_password() -> Result<Option<String>, Failure> {
    Ok(Some(password("Present password (empty if you have none)")?).filter(|it| !it.is_empty()))
}

/// Asks for a secret, without showing it; where nobody is asked, it is the next line of standard input.
fn password(what: &str) -> Result<String, Failure> {
    let terminal = console::Term::stderr();
    if terminal.is_term() && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        terminal.write_str(&format!("{what}: "))?;
        return Ok(terminal.read_secure_line()?);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
