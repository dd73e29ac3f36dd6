//! `windlass deploy`: workflow files to drafts, and drafts to versions.

use std::path::PathBuf;

use serde_json::{Value, json};
use windlass_definition::{diagnostic, source};

use super::{Context, roles};
use crate::{
    client::{self, Call, Client, escape},
    exit::{Exit, Failure, Outcome},
    input::WorkflowFile,
    output,
};

/// Whether the drafts are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// They are.
    Yes,
    /// They stay drafts.
    No,
}

/// How a file is sent.
#[derive(Debug, Clone)]
pub struct Deploying {
    /// Whether it is published.
    pub publish: Publish,
    /// The id of the folder in which it lies.
    pub folder: Option<Value>,
}

impl From<Publish> for Deploying {
    fn from(publish: Publish) -> Deploying {
        Deploying { publish, folder: None }
    }
}

/// Sends the files; stops at the first that is refused.
///
/// # Errors
/// A file is refused, or the server is not there.
pub async fn run(files: &[PathBuf], (publish, folder): (Publish, Option<String>), context: &Context) -> Outcome {
    let read: Vec<WorkflowFile> = files.iter().map(|path| WorkflowFile::read(path)).collect::<Result<_, _>>()?;
    let client = context.client().await?;
    let ended = each(&client, &read, (publish, folder.as_deref()), context).await;
    client.close().await;
    let deployed = ended?;
    if context.json() {
        output::json(&json!({ "workflows": deployed }))?;
    }
    Ok(Exit::Done)
}

async fn each(
    client: &Client,
    files: &[WorkflowFile],
    (publish, folder): (Publish, Option<&str>),
    context: &Context,
) -> Result<Vec<Value>, Failure> {
    let folder = match folder {
        Some(folder) => Some(roles::own_folder(client, folder).await?),
        None => None,
    };
    let mut deployed = Vec::new();
    for file in files {
        let workflow = deploy(client, file, Deploying { publish, folder: folder.clone() }).await?;
        if !context.json() {
            output::line(sentence(file, &workflow, publish))?;
        }
        deployed.push(workflow);
    }
    Ok(deployed)
}

fn sentence(file: &WorkflowFile, workflow: &Value, publish: Publish) -> String {
    let name = workflow["name"].as_str().unwrap_or_default();
    match (publish, &workflow["version"]) {
        (Publish::Yes, Value::Number(version)) => format!("{name}: version {version} from {}", file.name),
        _ => format!("{name}: draft {} from {}", workflow["revision"], file.name),
    }
}

/// Sends one file.
///
/// # Errors
/// It is refused; the message shows every error with its source line.
pub async fn deploy(client: &Client, file: &WorkflowFile, how: impl Into<Deploying>) -> Result<Value, Failure> {
    let Deploying { publish, folder } = how.into();
    let name = name_of(file).ok_or_else(|| no_name(file))?;
    let path = format!("/workflows/{}", escape(&name));
    let body = Some((file.media_type(), file.text.clone().into_bytes()));
    let query = client::query(&[("folder", folder.as_ref().and_then(Value::as_str).map(str::to_owned))]);
    let put = Call { method: http::Method::PUT, body, ..Call::get(format!("{path}{query}")) };
    let answer = client.try_send(put).await?;
    let diagnostics = answer.diagnostics();
    if !answer.status.is_success() && !diagnostics.is_empty() {
        let shown = diagnostic::render(&diagnostics, &file.name);
        return Err(Failure::new(Exit::Refused, "invalid_document", shown));
    }
    let mut answer = answer.or_problem()?;
    if publish == Publish::Yes {
        answer = client.send(Call::post(format!("{path}/publish"))).await?;
    }
    let mut workflow: Value = answer.read()?;
    if let Some(fields) = workflow.as_object_mut() {
        fields.remove("source");
    }
    Ok(workflow)
}

/// The name that the document gives itself. Whether the rest is right is the server's to say.
fn name_of(file: &WorkflowFile) -> Option<String> {
    let parsed = source::parse(source::without_mark(&file.text), file.format);
    let name = parsed.root?.get("name")?.as_str()?.to_owned();
    (!name.is_empty()).then_some(name)
}

/// A document without a name has other faults as well, most likely: a local check names them all.
fn no_name(file: &WorkflowFile) -> Failure {
    let types = match super::check::step_types() {
        Ok(types) => types,
        Err(failure) => return failure,
    };
    match windlass_definition::compile(&file.text, file.format, &types) {
        Err(diagnostics) => {
            Failure::new(Exit::Refused, "invalid_document", diagnostic::render(&diagnostics, &file.name))
        }
        Ok(_) => Failure::refused(format!("{} has no `name`", file.name)),
    }
}
