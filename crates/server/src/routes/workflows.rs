//! Workflows: their drafts, their versions, and checking a document without keeping it.

use axum::{
    body::Body as HttpBody,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use windlass_definition::{print, source::Format};
use windlass_runtime::{Expected, InFolder, Revision, RuntimeError, WorkflowFilter, WorkflowView};
use windlass_store::Reach;

use super::authors;
use crate::{
    app::App,
    auth::{Asked, Authorized, VaultUse, Within, WorkflowsPublish, WorkflowsRead, WorkflowsWrite},
    extract::{self, DOCUMENT_BYTES_MAX, Name, NoBody, PathOf, PathParts, Query},
    openapi::schema,
    page::PageQuery,
    problem::{FieldError, Problem},
    refusal,
    reply::{self, Reply},
};

/// The name of a workflow in an address.
pub struct WorkflowPath(pub Name);

impl PathParts for WorkflowPath {
    fn read(parts: &[&str]) -> Result<WorkflowPath, Problem> {
        Name::workflow(parts.first().copied().unwrap_or_default()).map(WorkflowPath)
    }
}

/// The name of a workflow and one of its versions in an address.
pub struct VersionPath(Name, i32);

impl PathParts for VersionPath {
    fn read(parts: &[&str]) -> Result<VersionPath, Problem> {
        let [name, version] = parts else { return Err(Problem::not_found("version")) };
        let version = version.parse().ok().filter(|it| *it > 0).ok_or_else(|| Problem::not_found("version"))?;
        Ok(VersionPath(Name::workflow(name)?, version))
    }
}

/// Which workflows are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WorkflowsQuery {
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Only those in the folder with this id; `top` for those in none.
    folder: Option<String>,
    /// Only those with this tag: of the tenant's tags, or of their document.
    tag: Option<String>,
    /// Templates alone; or, when false, what is none.
    template: Option<bool>,
    /// Only templates of this category.
    category: Option<String>,
    /// Words that all stand in its name, description or draft; `ord*` for how one begins.
    q: Option<String>,
    /// Those that are deleted and can be restored, in place of those that are there.
    #[serde(default)]
    #[param(required = false)]
    deleted: bool,
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionsQuery {
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List the workflows of the tenant, by name.
#[utoipa::path(get, path = "/workflows", tag = "workflows", params(WorkflowsQuery),
    responses((status = 200, body = schema::WorkflowPage)))]
pub async fn list_workflows(
    caller: Within<WorkflowsRead>,
    State(app): State<App>,
    Query(query): Query<WorkflowsQuery>,
) -> Reply {
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    let folder = folder(query.folder)?;
    let WorkflowsQuery { tag, template, category, deleted, q, .. } = query;
    let (caller, within) = caller.all(&app).await?;
    let (limit, after) = (page.limit, page.after);
    let filter = WorkflowFilter { limit, after, folder, tag, template, category, deleted, q, within };
    reply::ok(&app.runtime().workflows(caller.tenant(), filter).await?)
}

/// The folder that is meant.
fn folder(text: Option<String>) -> Result<InFolder, Problem> {
    match text.as_deref() {
        None => Ok(InFolder::Any),
        Some("top") => Ok(InFolder::Top),
        Some(id) => id
            .parse()
            .map(InFolder::This)
            .map_err(|_| Problem::bad_request("invalid_query", "`folder` must be the id of a folder, or `top`")),
    }
}

/// As what a document is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DocumentQuery {
    /// The document alone, as `yaml` or `json`; without it, the workflow with its document as `source`.
    #[param(value_type = Option<String>)]
    format: Option<DocumentFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DocumentFormat {
    Yaml,
    Json,
}

/// A workflow and its draft.
#[utoipa::path(get, path = "/workflows/{name}", tag = "workflows", params(("name" = String, Path), DocumentQuery),
    responses((status = 200, body = schema::Workflow)))]
pub async fn get_workflow(
    caller: Within<WorkflowsRead>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    Query(query): Query<DocumentQuery>,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    let workflow = app.runtime().workflow(caller.tenant(), &name.0).await?;
    let response = match query.format {
        None => reply::ok(&workflow)?,
        Some(format) => print(&app, workflow.source.as_deref().unwrap_or_default(), format)?,
    };
    Ok(with_etag(response, &workflow))
}

/// Where a workflow lies.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PutQuery {
    /// The id of the folder that a new one is put into, and one that is there has to lie in. Whoever may change workflows in
    /// folders alone names one of them to make a new one.
    folder: Option<Uuid>,
}

/// Make a workflow or change its draft. The body is a document in YAML or JSON, as its Content-Type says.
#[utoipa::path(put, path = "/workflows/{name}", tag = "workflows",
    params(("name" = String, Path), PutQuery, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    request_body(content((schema::Json = "application/json"), (schema::Json = "application/yaml"))),
    responses((status = 200, body = schema::Workflow), (status = 201, body = schema::Workflow)))]
pub async fn put_workflow(
    caller: Within<WorkflowsWrite>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    Query(PutQuery { folder }): Query<PutQuery>,
    asked: Asked,
    request: Request,
) -> Reply {
    let revision = if_match(request.headers())?;
    let caller = caller.workflow_in(&app, &name, folder).await?;
    let (source, format) = read_document(request).await?;
    check_author(&app, &caller, (&source, format)).await?;
    let expected = Expected { revision, folder, made_from: None };
    let workflow = app.runtime().put_workflow(caller.actor(asked), &name.0, &source, format, expected).await?;
    let status = if workflow.revision == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok(with_etag(reply::json(status, &workflow)?, &workflow))
}

/// Refuses a draft that asks for what its author may not do.
///
/// # Errors
/// 403 for the first of it.
pub(super) async fn check_author(
    app: &App,
    author: &Authorized<WorkflowsWrite>,
    (source, format): (&str, Format),
) -> Result<(), Problem> {
    // Whoever runs a draft or publishes it runs what somebody wrote who may use secrets.
    if app.runtime().uses_secrets(source, format) {
        author.also::<VaultUse>()?;
    }
    if author.reach::<WorkflowsWrite>() != Reach::Everywhere {
        authors::check(app, author, app.runtime().asks(source, format)).await?;
    }
    Ok(())
}

/// Delete a workflow; it can be restored.
///
/// Its runs go on and stay, and its name stays taken. One that the newest version of another workflow starts is not deleted.
#[utoipa::path(delete, path = "/workflows/{name}", tag = "workflows",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204, description = "It is deleted, and nothing starts it any more")))]
pub async fn delete_workflow(
    caller: Within<WorkflowsWrite>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    headers: HeaderMap,
    asked: Asked,
    _: NoBody,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    let expected = if_match(&headers)?;
    let is_narrow = caller.reach::<WorkflowsRead>() != Reach::Everywhere;
    let deleted = app.runtime().delete_workflow(caller.actor(asked), &name.0, expected).await;
    deleted.map_err(|error| match error {
        // Who starts it may be out of the caller's sight.
        RuntimeError::Conflict { code, .. } if is_narrow && code == "in_use" => {
            Problem::conflict(code, format!("workflow `{}` is in use: other workflows start it", name.0))
        }
        other => other.into(),
    })?;
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Take the deletion of a workflow back; one that is not deleted stays as it is.
#[utoipa::path(post, path = "/workflows/{name}/restore", tag = "workflows",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = schema::Workflow)))]
pub async fn restore_workflow(
    caller: Within<WorkflowsWrite>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    headers: HeaderMap,
    asked: Asked,
    _: NoBody,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    let expected = if_match(&headers)?;
    let workflow = app.runtime().restore_workflow(caller.actor(asked), &name.0, expected).await?;
    Ok(with_etag(reply::ok(&workflow)?, &workflow))
}

/// Publish the draft as the next version; if it is what the newest version is already, that one stays.
#[utoipa::path(post, path = "/workflows/{name}/publish", tag = "workflows", params(("name" = String, Path)),
    responses((status = 200, body = schema::Workflow)))]
pub async fn publish_workflow(
    caller: Within<WorkflowsPublish>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    asked: Asked,
    _: NoBody,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    if caller.reach::<WorkflowsPublish>() != Reach::Everywhere {
        let asks = app.runtime().draft_asks(caller.tenant(), &name.0).await?;
        authors::check(&app, &caller, asks).await?;
    }
    let workflow = app.runtime().publish(caller.actor(asked), &name.0).await?;
    Ok(with_etag(reply::ok(&workflow)?, &workflow))
}

/// List the published versions of a workflow, the newest first.
#[utoipa::path(get, path = "/workflows/{name}/versions", tag = "workflows",
    params(("name" = String, Path), VersionsQuery), responses((status = 200, body = schema::VersionPage)))]
pub async fn list_versions(
    caller: Within<WorkflowsRead>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    Query(query): Query<VersionsQuery>,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    let filter = WorkflowFilter { limit: page.limit, after: page.after, ..WorkflowFilter::default() };
    reply::ok(&app.runtime().versions(caller.tenant(), &name.0, filter).await?)
}

/// A published version and its document.
#[utoipa::path(get, path = "/workflows/{name}/versions/{version}", tag = "workflows",
    params(("name" = String, Path), ("version" = i32, Path), DocumentQuery),
    responses((status = 200, body = schema::Version)))]
pub async fn get_version(
    caller: Within<WorkflowsRead>,
    State(app): State<App>,
    PathOf(VersionPath(name, version)): PathOf<VersionPath>,
    Query(query): Query<DocumentQuery>,
) -> Reply {
    let caller = caller.workflow(&app, &name).await?;
    let version = app.runtime().version(caller.tenant(), &name.0, version).await?;
    match query.format {
        None => reply::ok(&version),
        Some(format) => print(&app, version.source.as_deref().unwrap_or_default(), format),
    }
}

/// What a check found.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckReport {
    /// Whether the document could be saved.
    pub valid: bool,
    /// Everything that is wrong with it or worth knowing.
    pub diagnostics: Vec<FieldError>,
}

/// Check a document without keeping it.
#[utoipa::path(post, path = "/workflows/check", tag = "workflows",
    request_body(content((schema::Json = "application/json"), (schema::Json = "application/yaml"))),
    responses((status = 200, body = CheckReport)))]
pub async fn check_workflow(caller: Within<WorkflowsRead>, State(app): State<App>, request: Request) -> Reply {
    let _caller = caller.anywhere();
    let (source, format) = read_document(request).await?;
    let types = app.runtime().step_types().clone();
    let found = tokio::task::spawn_blocking(move || windlass_definition::compile(&source, format, &types)).await;
    let (valid, diagnostics) = match found {
        Ok(Ok(compiled)) => (true, compiled.warnings),
        Ok(Err(diagnostics)) => (false, diagnostics),
        Err(_) => return Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)),
    };
    reply::ok(&CheckReport { valid, diagnostics: diagnostics.into_iter().map(refusal::of_diagnostic).collect() })
}

/// The document of a request and its form.
async fn read_document(request: Request) -> Result<(String, Format), Problem> {
    let format = match extract::media_type(request.headers()).as_deref() {
        Some(json) if extract::is_json(json) => Format::Json,
        Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml") => Format::Yaml,
        found => {
            let found = found.unwrap_or("without a Content-Type");
            return Err(extract::unsupported_media_type(found, "application/yaml and application/json"));
        }
    };
    let bytes = extract::read_bounded(request, DOCUMENT_BYTES_MAX).await?;
    let not_text = |_| Problem::bad_request("invalid_document", "the document is not UTF-8 text");
    let source = String::from_utf8(bytes.into()).map_err(not_text)?;
    if source.contains('\0') {
        return Err(Problem::bad_request("nul", "the document holds a NUL character, which is not allowed"));
    }
    Ok((source, format))
}

/// The document in the form that is wanted: as it was written if that is it already, else printed anew.
fn print(app: &App, source: &str, wanted: DocumentFormat) -> Reply {
    let written = if source.trim_start().starts_with('{') { DocumentFormat::Json } else { DocumentFormat::Yaml };
    let (media_type, format) = match wanted {
        DocumentFormat::Yaml => ("application/yaml", Format::Yaml),
        DocumentFormat::Json => ("application/json", Format::Json),
    };
    if written == wanted {
        return Ok(reply::text(media_type, source.to_owned()));
    }
    let read_as = if format == Format::Yaml { Format::Json } else { Format::Yaml };
    let compiled = windlass_definition::compile(source, read_as, app.runtime().step_types());
    let compiled = compiled.map_err(|diagnostics| {
        let detail = "the document was saved by another version of the server and does not validate any more";
        let errors = diagnostics.into_iter().map(refusal::of_diagnostic).collect();
        Problem::invalid("invalid_document", detail).with_errors(errors)
    })?;
    let printed = match wanted {
        DocumentFormat::Yaml => print::print_yaml(&compiled.document),
        DocumentFormat::Json => print::print_json(&compiled.document),
    };
    Ok(reply::text(media_type, printed))
}

pub(super) fn with_etag(mut response: Response, workflow: &WorkflowView) -> Response {
    let etag = reply::header_value(&format!("\"{}\"", workflow.revision));
    response.headers_mut().insert(header::ETAG, etag);
    response
}

/// The revision that the caller has seen: `"7"`, or `*` for any that is there.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let none_match = headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
    match (headers.get(header::IF_MATCH), none_match) {
        (None, None) => Ok(None),
        (None, Some(b"*")) => Ok(Some(0)),
        (Some(value), None) => {
            let text = value.to_str().unwrap_or_default().trim().trim_start_matches("W/");
            let revision = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).and_then(|it| it.parse().ok());
            // An ETag that we never gave matches nothing: that is a 412, not bad syntax.
            Ok(Some(revision.unwrap_or(-1)))
        }
        _ => Err(Problem::bad_request("invalid_precondition", "send If-Match with an ETag, or If-None-Match: *")),
    }
}
