//! Workflows as templates: marking them, and making new workflows from others.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use uuid::Uuid;
use windlass_runtime::{Expected, RuntimeError, TemplateChange};

use super::{
    people::field,
    workflows::{self, WorkflowPath},
};
use crate::{
    app::App,
    auth::{Asked, Within, WorkflowsWrite},
    extract::{Body, Name, PathOf},
    openapi::schema,
    problem::Problem,
    reply::{self, Reply},
};

/// Characters of a category.
const CATEGORY_CHARS_MAX: usize = 100;

/// What to change of a workflow, apart from its document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWorkflowBody {
    /// Whether it is a template: there to be copied. It runs as before. As it was when left out.
    is_template: Option<bool>,
    /// Under what a template is found, 1 to 100 characters; null takes it away. As it was when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    template_category: Option<Option<String>>,
}

/// A null that was written is not the same as nothing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change what a workflow is besides its document: whether it is a template, and its category.
#[utoipa::path(patch, path = "/workflows/{name}", tag = "workflows",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    request_body = ChangeWorkflowBody, responses((status = 200, body = schema::Workflow)))]
pub async fn update_workflow(
    caller: Within<WorkflowsWrite>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    headers: HeaderMap,
    asked: Asked,
    Body(body): Body<ChangeWorkflowBody>,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    let expected = workflows::if_match(&headers)?;
    let ChangeWorkflowBody { is_template, template_category: category } = body;
    if let Some(Some(category)) = &category {
        check_category(category)?;
    }
    let change = TemplateChange { is_template, category };
    let workflow = app.runtime().mark_template(caller.actor(asked), (&name.0, change), expected).await?;
    Ok(workflows::with_etag(reply::ok(&workflow)?, &workflow))
}

fn check_category(category: &str) -> Result<(), Problem> {
    let fits = (1..=CATEGORY_CHARS_MAX).contains(&category.chars().count()) && !category.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(field(
        "/template_category",
        format!("must have 1 to {CATEGORY_CHARS_MAX} characters, and no control characters"),
    ))
}

/// What to make of a workflow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyWorkflowBody {
    /// The name of the new workflow.
    #[schema(pattern = "^[a-z0-9]([a-z0-9_-]{0,198}[a-z0-9])?$")]
    name: String,
    /// The id of the folder in which it is to lie.
    folder: Option<Uuid>,
    /// The version to copy: the newest when left out, the draft as long as there is none.
    #[schema(minimum = 1)]
    version: Option<i32>,
}

/// Make a new workflow from a template, or from any other workflow: a draft with the same document under another name.
#[utoipa::path(post, path = "/workflows/{name}/copies", tag = "workflows", params(("name" = String, Path)),
    request_body = CopyWorkflowBody, responses((status = 201, body = schema::Workflow)))]
pub async fn copy_workflow(
    caller: Within<WorkflowsWrite>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    asked: Asked,
    Body(body): Body<CopyWorkflowBody>,
) -> Reply {
    let CopyWorkflowBody { name: copy, folder, version } = body;
    let copy = Name::workflow(&copy).map_err(|_| {
        let message = "small letters and digits, with `-` and `_` between them, at most 200 characters";
        field("/name", message.to_owned())
    })?;
    let caller = caller.workflow_in(&app, &copy, folder).await?;
    caller.sees(&app, &name).await?;
    let copied = app.runtime().copied(caller.tenant(), (&name.0, version), &copy.0).await?;
    workflows::check_author(&app, &caller, (&copied.source, copied.format)).await?;
    let expected = Expected { revision: Some(0), folder, made_from: Some(copied.made_from) };
    let made = app.runtime().put_workflow(caller.actor(asked), &copy.0, &copied.source, copied.format, expected).await;
    let workflow = made.map_err(|error| match error {
        RuntimeError::Revision { .. } => {
            Problem::conflict("taken", format!("there is a workflow `{}` already: take another name", copy.0))
        }
        other => other.into(),
    })?;
    let mut response = workflows::with_etag(reply::json(StatusCode::CREATED, &workflow)?, &workflow);
    let location = reply::header_value(&format!("{}/workflows/{}", super::API, copy.0));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
