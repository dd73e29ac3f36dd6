//! Starting a run, and waiting for it: the fast path of the server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use windlass_engine::{id::RunId, start::Mode};
use windlass_runtime::{RunView, RuntimeError, StartRequest, Started, Target};

use super::workflows::WorkflowPath;
use crate::{
    app::App,
    auth::{Authorized, RunsStart, Within},
    extract::{self, BodyOrDefault, PathOf, Query},
    json::Json,
    openapi::schema,
    problem::Problem,
    reply::{self, Reply},
};

/// The longest that a request waits for a run.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a request that waits is still waited for once the server is to stop.
const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// How long a run that was started keeps the place of the request that waits for it. After that it keeps it as long as
/// this server works on it: a full server takes longer for each, and would let in ever more if that freed places.
const PLACE_KEPT: Duration = Duration::from_millis(100);
/// Labels of a run that a start may give.
const LABELS_MAX: usize = 64;
/// Characters of a key, of a label and of its value.
const LABEL_CHARS_MAX: usize = 200;
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How a run is started.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// Checked against the workflow's `input`; `{}` when left out.
    #[serde(default)]
    #[schema(value_type = schema::Json, required = false)]
    input: Json,
    /// A published version; the newest when left out.
    version: Option<i32>,
    /// `test` runs the draft.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// A key to find the run by.
    key: Option<String>,
    /// Labels to find the run by.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: BTreeMap<String, String>,
    /// Who goes first where runs wait for their turn: the higher one, from -1000 to 1000.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i32,
}

/// Whether the answer waits for the run's end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Such as `30s`, at most 5 minutes.
    wait: Option<String>,
}

/// Start a run of a workflow.
#[utoipa::path(post, path = "/workflows/{name}/runs", tag = "runs",
    params(("name" = String, Path), WaitQuery, ("Idempotency-Key" = Option<String>, Header),
        ("traceparent" = Option<String>, Header, description = "The trace that the run joins, as W3C Trace Context has it"),
        ("tracestate" = Option<String>, Header, description = "What belongs to it")),
    request_body = Option<StartBody>,
    responses((status = 200, description = "The run has ended", body = schema::Run),
        (status = 202, description = "The run goes on", body = schema::Run)))]
pub async fn start_run(
    caller: Within<RunsStart>,
    State(app): State<App>,
    PathOf(WorkflowPath(name)): PathOf<WorkflowPath>,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    BodyOrDefault(body): BodyOrDefault<StartBody>,
) -> Reply {
    let wait = query.wait.as_deref().map(|text| extract::span(text, "wait", WAIT_MAX)).transpose()?;
    let caller = caller.workflow(&app, &name).await?;
    let request = body.into_request(&caller, name.0, &headers)?;
    if let Target::Draft { name } = &request.target {
        // Boxed, for it is rare.
        Box::pin(app.runtime().may_try_draft(caller.tenant(), caller.identity().namer(), name)).await?;
    }
    // Boxed: what waits is moved from hand to hand first.
    let (started, view) = match wait {
        Some(wait) if !wait.is_zero() => {
            let waited = Box::pin(start_and_wait(&app, &caller, request, wait));
            unless_stopping(&app, waited).await?
        }
        _ => {
            let started = Box::pin(app.runtime().start(request)).await?;
            (started, Arc::new(app.runtime().run(caller.tenant(), started.run).await?))
        }
    };
    let mut response = reply::json(if view.status.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED }, &view)?;
    if !view.status.is_final() {
        response.headers_mut().insert(header::LOCATION, location(&view));
    }
    if started.duplicate {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Waits for the run's end; a server that is about to stop does not wait much longer.
async fn start_and_wait(
    app: &App,
    caller: &Authorized<RunsStart>,
    request: StartRequest,
    wait: Duration,
) -> Result<(Started, Arc<RunView>), RuntimeError> {
    let (started, watched) = app.runtime().start_watched(request).await?;
    let end = app.runtime().end_of(watched, wait);
    tokio::pin!(end);
    if let Ok(view) = tokio::time::timeout(PLACE_KEPT, &mut end).await {
        return Ok((started, view?));
    }
    tokio::select! {
        view = &mut end => return Ok((started, view?)),
        () = app.runtime().rests(started.run) => caller.leave(),
    }
    Ok((started, end.await?))
}

/// What that gives, unless the server is about to stop: then it is not waited for much longer.
async fn unless_stopping<T>(app: &App, started: impl Future<Output = Result<T, RuntimeError>>) -> Result<T, Problem> {
    tokio::pin!(started);
    if let Some(started) = app.unless_draining(&mut started).await {
        return Ok(started?);
    }
    match tokio::time::timeout(DRAIN_WAIT, started).await {
        Ok(started) => Ok(started?),
        Err(_) => {
            let detail = "the server is stopping; the run may be started and goes on elsewhere or at the next start: \
                          ask again with the same Idempotency-Key";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail))
        }
    }
}

/// Where the run is found.
pub(crate) fn location(run: &RunView) -> HeaderValue {
    location_of(run.id)
}

/// Where a run is found.
pub(crate) fn location_of(run: RunId) -> HeaderValue {
    reply::header_value(&format!("{}/runs/{run}", super::API))
}

impl StartBody {
    fn into_request(
        self,
        caller: &Authorized<RunsStart>,
        name: String,
        headers: &HeaderMap,
    ) -> Result<StartRequest, Problem> {
        let mode = self.mode.unwrap_or(Mode::Production);
        let target = match (mode, self.version) {
            (Mode::Production, version) => Target::Published { name, version },
            (Mode::Test, None) => Target::Draft { name },
            (Mode::Test, Some(_)) => {
                return Err(Problem::invalid("invalid_body", "`mode: test` runs the draft: leave `version` out"));
            }
        };
        check_label("key", self.key.as_deref())?;
        if self.labels.len() > LABELS_MAX {
            return Err(Problem::invalid("invalid_body", format!("a run has at most {LABELS_MAX} labels")));
        }
        for (label, value) in &self.labels {
            check_label("label", Some(label))?;
            check_label("label", Some(value))?;
        }
        Ok(StartRequest {
            tenant: caller.tenant(),
            target,
            input: self.input.0,
            mode,
            by: caller.by(),
            idempotency_key: extract::idempotency_key(headers)?,
            key: self.key,
            labels: self.labels,
            priority: self.priority,
            trace: extract::trace(headers),
        })
    }
}

fn check_label(what: &str, text: Option<&str>) -> Result<(), Problem> {
    match text {
        Some(text) if text.chars().count() > LABEL_CHARS_MAX => {
            Err(Problem::invalid("invalid_body", format!("a {what} has at most {LABEL_CHARS_MAX} characters")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How large the future of a handler is.
    fn size_of_answer<A, B, C, D, E, F, Answer>(_: impl Fn(A, B, C, D, E, F) -> Answer) -> usize {
        size_of::<Answer>()
    }

    /// Each request moves its future from hand to hand, and allocates it: it once had 34 KiB.
    #[test]
    fn a_start_is_small() {
        let bytes = size_of_answer(start_run);
        assert!(bytes < 4 << 10, "{bytes} bytes");
    }
}
