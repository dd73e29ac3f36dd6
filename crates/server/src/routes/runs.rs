//! Runs: looking at them and acting on them.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use windlass_definition::{Error, error::Class};
use windlass_engine::{
    event::{Settlement, UndoChoice},
    id::RunId,
    status::RunStatus,
    trace::BadId,
};
use windlass_runtime::{CancelOptions, RunFilter, RunRequest, SettleRequest, SignalRequest};

use super::start::{REPLAYED, location_of};
use crate::{
    app::App,
    auth::{Authorized, Permission, RunsControl, RunsRead, RunsSignal, RunsStart, Within},
    extract::{self, Body, BodyOrDefault, Name, NoBody, PathOf, PathParts, Query},
    json::Json,
    openapi::schema,
    page::PageQuery,
    problem::Problem,
    reply::{self, Reply},
    view::JournalEntry,
};

/// The id of a run in an address.
pub struct RunPath(pub RunId);

impl PathParts for RunPath {
    fn read(parts: &[&str]) -> Result<RunPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "run").map(RunPath)
    }
}

/// The id of a run and a name in an address: a signal's, or the path of a step.
pub struct NameInRunPath(RunId, Name);

impl PathParts for NameInRunPath {
    fn read(parts: &[&str]) -> Result<NameInRunPath, Problem> {
        let [run, name] = parts else { return Err(Problem::not_found("run")) };
        Ok(NameInRunPath(extract::id(run, "run")?, Name::plain(name, "name")?))
    }
}

/// Which runs are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// One status, or several with commas between them.
    status: Option<String>,
    /// Of this workflow.
    workflow: Option<String>,
    /// With this key.
    key: Option<String>,
    /// With this label: `name:value`.
    label: Option<String>,
    /// Started by this run's steps.
    parent: Option<String>,
    /// Of this trace: those that joined it, and the one that it begins with.
    #[param(pattern = "^[0-9a-f]{32}$")]
    trace_id: Option<String>,
    /// Words that all stand in its key, labels, input, error or output; `ord*` for how one begins.
    q: Option<String>,
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl RunsQuery {
    fn into_filter(self) -> Result<RunFilter, Problem> {
        let refused = |detail: String| Problem::bad_request("invalid_query", detail);
        let page = PageQuery { limit: self.limit, after: self.after }.check()?;
        let read = |word: &str| {
            RunStatus::parse(word).ok_or_else(|| refused(format!("`status` must be of {}", status_words())))
        };
        let statuses = self.status.iter().flat_map(|list| list.split(',')).map(read).collect::<Result<_, _>>()?;
        let label = |text: String| match text.split_once(':') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(refused("`label` must be `name:value`".into())),
        };
        let parent = |text: String| text.parse().map_err(|_| refused("`parent` is no id of a run".into()));
        let trace = |text: String| text.parse().map_err(|bad: BadId| refused(format!("`trace_id` {bad}")));
        Ok(RunFilter {
            workflow: self.workflow,
            statuses,
            key: self.key,
            labels: self.label.map(label).transpose()?.into_iter().collect(),
            parent: self.parent.map(parent).transpose()?,
            trace: self.trace_id.map(trace).transpose()?,
            q: self.q,
            within: None,
            limit: page.limit,
            after: page.after,
        })
    }
}

fn status_words() -> String {
    RunStatus::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")
}

/// List runs, the newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(RunsQuery),
    responses((status = 200, body = schema::RunPage)))]
pub async fn list_runs(caller: Within<RunsRead>, State(app): State<App>, Query(query): Query<RunsQuery>) -> Reply {
    let filter = query.into_filter()?;
    let (caller, within) = caller.all(&app).await?;
    reply::ok(&app.runtime().runs(caller.tenant(), RunFilter { within, ..filter }).await?)
}

/// A run.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = schema::Run)))]
pub async fn get_run(caller: Within<RunsRead>, State(app): State<App>, PathOf(RunPath(run)): PathOf<RunPath>) -> Reply {
    let caller = caller.run(&app, run).await?;
    reply::ok(&app.runtime().run(caller.tenant(), run).await?)
}

/// Which part of a list inside a run.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InRunQuery {
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The steps of a run, in the order of their ends; then those that are open.
#[utoipa::path(get, path = "/runs/{id}/steps", tag = "runs", params(("id" = String, Path), InRunQuery),
    responses((status = 200, body = schema::StepPage)))]
pub async fn list_steps(
    caller: Within<RunsRead>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    Query(query): Query<InRunQuery>,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    reply::ok(&app.runtime().steps(caller.tenant(), run, page.after.as_deref(), page.limit).await?)
}

/// The journal of a run: everything that happened to it, in order. `after` is the `seq` to go on after.
#[utoipa::path(get, path = "/runs/{id}/journal", tag = "runs", params(("id" = String, Path), InRunQuery),
    responses((status = 200, body = schema::JournalPage)))]
pub async fn read_journal(
    caller: Within<RunsRead>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    Query(query): Query<InRunQuery>,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    let after = page.after.map_or(Ok(0), |text| text.parse::<i64>());
    let after = after.map_err(|_| Problem::bad_request("invalid_query", "`after` must be a `seq` of the journal"))?;
    let entries = app.runtime().journal(caller.tenant(), run, after, page.limit).await?;
    reply::ok(&entries.map(JournalEntry::from))
}

/// How a run is cancelled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// Why, for people.
    reason: Option<String>,
    /// Whether its undo steps run; they do when this is left out.
    undo: Option<bool>,
}

/// Cancel a run: stop it, and take back what it did.
#[utoipa::path(post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = String, Path)),
    request_body = Option<CancelBody>, responses((status = 200, body = schema::Run)))]
pub async fn cancel_run(
    caller: Within<RunsControl>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    BodyOrDefault(body): BodyOrDefault<CancelBody>,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let undo = if body.undo.unwrap_or(true) { UndoChoice::Undo } else { UndoChoice::Leave };
    let options = CancelOptions { reason: body.reason, undo };
    app.runtime().cancel(request(&caller, run), options).await?;
    reply::ok(&app.runtime().run(caller.tenant(), run).await?)
}

/// Pause a run: nothing new starts.
#[utoipa::path(post, path = "/runs/{id}/pause", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = schema::Run)))]
pub async fn pause_run(
    caller: Within<RunsControl>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    _: NoBody,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    app.runtime().pause(request(&caller, run)).await?;
    reply::ok(&app.runtime().run(caller.tenant(), run).await?)
}

/// Let a paused run go on.
#[utoipa::path(post, path = "/runs/{id}/resume", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = schema::Run)))]
pub async fn resume_run(
    caller: Within<RunsControl>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    _: NoBody,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    app.runtime().resume(request(&caller, run)).await?;
    reply::ok(&app.runtime().run(caller.tenant(), run).await?)
}

/// Start a run with the same workflow version and input.
#[utoipa::path(post, path = "/runs/{id}/rerun", tag = "runs", params(("id" = String, Path)),
    responses((status = 201, body = schema::Run)))]
pub async fn rerun_run(
    caller: Within<RunsStart>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    _: NoBody,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let new = app.runtime().rerun(request(&caller, run)).await?;
    created(&app, &caller, new.run).await
}

/// Where a fork begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkBody {
    /// The path of the first step that runs anew.
    at: String,
}

/// Start a run with the same past as this one, up to a step.
#[utoipa::path(post, path = "/runs/{id}/fork", tag = "runs", params(("id" = String, Path)),
    request_body = ForkBody, responses((status = 201, body = schema::Run)))]
pub async fn fork_run(
    caller: Within<RunsStart>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    Body(body): Body<ForkBody>,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let new = app.runtime().fork(request(&caller, run), &body.at).await?;
    created(&app, &caller, new.run).await
}

/// Take back what a run left, in a linked run.
#[utoipa::path(post, path = "/runs/{id}/undo", tag = "runs", params(("id" = String, Path)),
    responses((status = 201, body = schema::Run)))]
pub async fn undo_run(
    caller: Within<RunsControl>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    _: NoBody,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let new = app.runtime().undo(request(&caller, run)).await?;
    created(&app, &caller, new.run).await
}

/// How a step of unknown outcome really ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "outcome")]
pub enum SettleBody {
    /// It completed.
    Completed {
        /// Its output.
        #[serde(default)]
        #[schema(value_type = schema::Json, required = false)]
        output: Json,
    },
    /// It failed.
    Failed {
        /// Why; a `user/settled_failed` error when left out.
        error: Option<ErrorBody>,
    },
    /// It did not happen: it runs again.
    Again {},
}

/// A failure as callers give it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// One of the language's classes; `user` when left out.
    #[schema(value_type = Option<String>)]
    class: Option<Class>,
    /// A stable word.
    code: Option<String>,
    /// What happened.
    message: String,
    /// Whether trying again may help.
    #[serde(default)]
    retryable: bool,
    /// Whatever else is known.
    #[serde(default)]
    #[schema(value_type = schema::Json, required = false)]
    details: Json,
}

impl ErrorBody {
    /// An error of which only the message is known.
    pub fn of_text(message: &str) -> ErrorBody {
        ErrorBody { class: None, code: None, message: message.to_owned(), retryable: false, details: Json::default() }
    }

    /// The failure in the language's terms.
    pub fn into_error(self, code: &str) -> Error {
        Error {
            class: self.class.unwrap_or(Class::User),
            code: self.code.as_deref().unwrap_or(code).into(),
            message: self.message.into(),
            retryable: self.retryable,
            details: self.details.0,
        }
    }
}

/// Say how a step of unknown outcome really ended.
#[utoipa::path(post, path = "/runs/{id}/steps/{path}/settle", tag = "runs",
    params(("id" = String, Path), ("path" = String, Path)),
    request_body = SettleBody, responses((status = 200, body = schema::Run)))]
pub async fn settle_step(
    caller: Within<RunsControl>,
    State(app): State<App>,
    PathOf(NameInRunPath(run, path)): PathOf<NameInRunPath>,
    Body(body): Body<SettleBody>,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let settlement = match body {
        SettleBody::Completed { output } => Settlement::Completed(output.0),
        SettleBody::Failed { error: Some(error) } => Settlement::Failed(error.into_error("settled_failed")),
        SettleBody::Failed { error: None } => {
            Settlement::Failed(Error::new(Class::User, "settled_failed", "a person said that it failed"))
        }
        SettleBody::Again {} => Settlement::Again,
    };
    let settle = SettleRequest { run: request(&caller, run), path: path.0, settlement };
    app.runtime().settle(settle).await?;
    reply::ok(&app.runtime().run(caller.tenant(), run).await?)
}

/// A signal that was taken in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignalReceipt {
    /// The run.
    #[schema(value_type = String)]
    pub run_id: RunId,
    /// The signal's name.
    pub name: String,
}

/// Send a named signal to a run. The body is the payload, as JSON; null when there is none.
#[utoipa::path(post, path = "/runs/{id}/signals/{name}", tag = "runs",
    params(("id" = String, Path), ("name" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<schema::Json>, responses((status = 202, body = SignalReceipt)))]
pub async fn send_signal(
    caller: Within<RunsSignal>,
    State(app): State<App>,
    PathOf(NameInRunPath(run, name)): PathOf<NameInRunPath>,
    headers: HeaderMap,
    BodyOrDefault(payload): BodyOrDefault<Json>,
) -> Reply {
    let caller = caller.run(&app, run).await?;
    let signal = SignalRequest {
        tenant: caller.tenant(),
        run,
        name: name.0.clone(),
        payload: payload.0,
        by: caller.by(),
        idempotency_key: extract::idempotency_key(&headers)?,
    };
    let replayed = app.runtime().signal(signal).await?;
    let mut response = reply::json(StatusCode::ACCEPTED, &SignalReceipt { run_id: run, name: name.0 })?;
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn request<P: Permission>(caller: &Authorized<P>, run: RunId) -> RunRequest {
    RunRequest { tenant: caller.tenant(), run, by: caller.by() }
}

async fn created<P: Permission>(app: &App, caller: &Authorized<P>, run: RunId) -> Reply {
    let view = app.runtime().run(caller.tenant(), run).await?;
    let mut response = reply::json(StatusCode::CREATED, &view)?;
    response.headers_mut().insert(header::LOCATION, location_of(run));
    Ok(response)
}
