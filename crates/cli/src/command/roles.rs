//! `windlass grant` and `windlass revoke`: a member's roles, in the tenant or on a folder or a workflow alone.

use serde_json::{Value, json};

use super::Context;
use crate::{
    args::RoleArgs,
    client::{self, Call, Client, escape},
    exit::{Exit, Failure, Outcome},
    output,
};

/// Gives a member a role.
///
/// # Errors
/// There is no such member, role or place, or the server refuses.
pub async fn grant(args: RoleArgs, context: &Context) -> Outcome {
    let client = context.client().await?;
    let given = give(&client, &args).await;
    client.close().await;
    say("has the role", &args, &given?, context)
}

/// Takes a role from a member.
///
/// # Errors
/// The member has no such role there, or the server refuses.
pub async fn revoke(args: RoleArgs, context: &Context) -> Outcome {
    let client = context.client().await?;
    let taken = take(&client, &args).await;
    client.close().await;
    say("has no longer the role", &args, &taken?, context)
}

fn say(what: &str, args: &RoleArgs, assignment: &Value, context: &Context) -> Outcome {
    if context.json() {
        output::json(assignment)?;
        return Ok(Exit::Done);
    }
    let place = match (&args.folder, &args.workflow) {
        (Some(folder), _) => format!(" in the folder {folder}"),
        (None, Some(workflow)) => format!(" on the workflow {workflow}"),
        (None, None) => String::new(),
    };
    output::line(format!("{} {what} {}{place}", args.email, args.role))?;
    Ok(Exit::Done)
}

async fn give(client: &Client, args: &RoleArgs) -> Result<Value, Failure> {
    let body = assignment(client, args).await?;
    client.send(Call::post("/role-assignments").json(&body)).await?.read()
}

async fn take(client: &Client, args: &RoleArgs) -> Result<Value, Failure> {
    let wanted = assignment(client, args).await?;
    let text = |name: &str| wanted[name].as_str().map(str::to_owned);
    let null = |name: &str| wanted[name].is_null().then(|| "true".to_owned());
    let query = client::query(&[
        ("member_id", text("member_id")),
        ("role_id", text("role_id")),
        ("folder_id", text("folder_id")),
        ("folder_id.null", null("folder_id")),
        ("workflow_id", text("workflow_id")),
        ("workflow_id.null", null("workflow_id")),
    ]);
    let found: Value = client.send(Call::get(format!("/role-assignments{query}"))).await?.read()?;
    let Some(id) = found["items"][0]["id"].as_str() else {
        return Err(not_found(format!("{} has not the role {} there", args.email, args.role)));
    };
    client.send(Call { method: http::Method::DELETE, ..Call::get(format!("/role-assignments/{id}")) }).await?;
    Ok(found["items"][0].clone())
}

/// What is given, or to be found.
async fn assignment(client: &Client, args: &RoleArgs) -> Result<Value, Failure> {
    let member = the_one(client, &format!("/members?email={}", escape(&args.email)), "member", &args.email).await?;
    let role = the_one(client, &format!("/roles?name={}", escape(&args.role)), "role", &args.role).await?;
    let mut body = json!({ "member_id": member, "role_id": role });
    if let Some(folder) = &args.folder {
        body["folder_id"] = folder_of(client, folder).await?;
    }
    if let Some(name) = &args.workflow {
        let workflow: Value = client.send(Call::get(format!("/workflows/{}", escape(name)))).await?.read()?;
        body["workflow_id"] = workflow["id"].clone();
    }
    Ok(body)
}

/// The id of a folder, by its name or its id.
async fn folder_of(client: &Client, folder: &str) -> Result<Value, Failure> {
    match folder.parse::<uuid::Uuid>() {
        Ok(id) => Ok(json!(id)),
        Err(_) => the_one(client, &format!("/folders?name={}", escape(folder)), "folder", folder).await,
    }
}

/// The id of a folder in which the caller makes workflows, by its name or its id: whoever works in folders alone sees none
/// but his own.
///
/// # Errors
/// There is none, or several have the name.
pub async fn own_folder(client: &Client, folder: &str) -> Result<Value, Failure> {
    let me: Value = client.send(Call::get("/me")).await?.read()?;
    let own = me["places"].as_array().into_iter().flatten();
    let own: Vec<&Value> = own.filter(|place| place["kind"] == "folder" && place["name"] == folder).collect();
    match own.as_slice() {
        [only] => Ok(only["id"].clone()),
        _ => folder_of(client, folder).await,
    }
}

/// The id of the only row of a list.
async fn the_one(client: &Client, path: &str, noun: &str, name: &str) -> Result<Value, Failure> {
    let found: Value = client.send(Call::get(path)).await?.read()?;
    match found["items"].as_array().map(Vec::as_slice) {
        Some([only]) => Ok(only["id"].clone()),
        Some([]) | None => Err(not_found(format!("there is no {noun} {name}"))),
        Some(several) => {
            let ids: Vec<&str> = several.iter().filter_map(|row| row["id"].as_str()).collect();
            Err(Failure::refused(format!("several are called {name}: name one by its id, of {}", ids.join(", "))))
        }
    }
}

fn not_found(message: String) -> Failure {
    Failure::new(Exit::NotFound, "not_found", message)
}
