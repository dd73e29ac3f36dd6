//! Tasks: work for outside workers, claimed with a lease and answered.

use std::{fmt, time::Duration};

use axum::extract::State;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use utoipa::{IntoParams, ToSchema};
use windlass_engine::{id::TaskId, status::TaskStatus};
use windlass_runtime::{ClaimRequest, ClaimedTask, Proof, TaskFilter, TaskRequest};

use super::runs::ErrorBody;
use crate::{
    app::App,
    auth::{Authorized, Permission, TasksRead, TasksWork},
    extract::{self, Body, PathOf, PathParts, Query},
    json::Json,
    openapi::schema,
    page::PageQuery,
    problem::Problem,
    reply::{self, Reply},
};

/// The longest that a claim waits for a task.
const CLAIM_WAIT_MAX: Duration = Duration::from_secs(60);
/// Tasks of one claim.
const CLAIM_TASKS_MAX: usize = 1_000;
/// Queues of one claim.
const CLAIM_QUEUES_MAX: usize = 100;
/// Characters of the name of a queue or a worker.
const NAME_CHARS_MAX: usize = 200;

/// The id of a task in an address.
pub struct TaskPath(TaskId);

impl PathParts for TaskPath {
    fn read(parts: &[&str]) -> Result<TaskPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "task").map(TaskPath)
    }
}

/// Which tasks are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TasksQuery {
    /// Of this queue.
    queue: Option<String>,
    /// `pending`, `claimed`, `completed` or `failed`; `pending` when left out.
    status: Option<String>,
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List tasks.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(TasksQuery),
    responses((status = 200, body = schema::TaskPage)))]
pub async fn list_tasks(
    caller: Authorized<TasksRead>,
    State(app): State<App>,
    Query(query): Query<TasksQuery>,
) -> Reply {
    let read = |word: &str| {
        let words = TaskStatus::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
        TaskStatus::parse(word)
            .ok_or_else(|| Problem::bad_request("invalid_query", format!("`status` must be of {words}")))
    };
    let status = query.status.as_deref().map(read).transpose()?;
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    let filter = TaskFilter { queue: query.queue, status, limit: page.limit, after: page.after };
    reply::ok(&app.runtime().tasks(caller.tenant(), filter).await?)
}

/// What a worker asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimBody {
    /// From which queues.
    queues: Vec<String>,
    /// Who claims.
    worker: String,
    /// How many at most; 1 when left out.
    max: Option<usize>,
    /// How long to wait for the first, such as `20s`; at most a minute.
    wait: Option<String>,
}

/// The tasks of a claim.
#[derive(Debug, Serialize)]
pub struct Claimed {
    tasks: Vec<ClaimedTask>,
}

/// Claim tasks. Each is held for its lease; a heartbeat renews it.
#[utoipa::path(post, path = "/tasks/claim", tag = "tasks", request_body = ClaimBody,
    responses((status = 200, body = schema::Claimed)))]
pub async fn claim_tasks(caller: Authorized<TasksWork>, State(app): State<App>, Body(body): Body<ClaimBody>) -> Reply {
    let refused = |detail: String| Problem::invalid("invalid_body", detail);
    let named = |text: &String| !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    let max = body.max.unwrap_or(1);
    if !(1..=CLAIM_TASKS_MAX).contains(&max) {
        return Err(refused(format!("`max` must be 1 to {CLAIM_TASKS_MAX}")));
    }
    if body.queues.is_empty() || body.queues.len() > CLAIM_QUEUES_MAX || !body.queues.iter().all(named) {
        return Err(refused(format!("`queues` must be 1 to {CLAIM_QUEUES_MAX} names")));
    }
    if !named(&body.worker) {
        return Err(refused(format!("`worker` must have 1 to {NAME_CHARS_MAX} characters")));
    }
    let wait = body.wait.as_deref().map(|text| extract::span(text, "wait", CLAIM_WAIT_MAX)).transpose()?;
    if wait.is_some_and(|wait| !wait.is_zero()) {
        caller.leave();
    }
    let claim = ClaimRequest {
        tenant: caller.tenant(),
        queues: body.queues,
        worker: body.worker,
        max,
        wait: wait.unwrap_or_default(),
    };
    reply::ok(&Claimed { tasks: app.runtime().claim(claim).await? })
}

/// Proof of a claim: its `token` is the best, the `worker`'s name is enough where names are unique; without both,
/// whoever holds the task is meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatBody {
    /// The `token` that the claim gave.
    token: Option<String>,
    /// The name that the task was claimed under.
    worker: Option<String>,
}

/// Renew the lease of a claimed task. `stop: true` in the answer asks the worker to stop.
#[utoipa::path(post, path = "/tasks/{id}/heartbeat", tag = "tasks", params(("id" = String, Path)),
    request_body = HeartbeatBody, responses((status = 200, body = schema::Heartbeat)))]
pub async fn heartbeat_task(
    caller: Authorized<TasksWork>,
    State(app): State<App>,
    PathOf(TaskPath(task)): PathOf<TaskPath>,
    Body(body): Body<HeartbeatBody>,
) -> Reply {
    reply::ok(&app.runtime().heartbeat(request(&caller, task, (body.token, body.worker))).await?)
}

/// What became of a task by its worker's answer.
#[derive(Debug, Serialize)]
pub struct TaskAnswered {
    id: TaskId,
    status: TaskStatus,
}

/// The output of a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteBody {
    /// The `token` that the claim gave.
    token: Option<String>,
    /// The name that the task was claimed under.
    worker: Option<String>,
    /// The output.
    #[serde(default)]
    #[schema(value_type = schema::Json, required = false)]
    output: Json,
}

/// Answer a task with its output.
#[utoipa::path(post, path = "/tasks/{id}/complete", tag = "tasks", params(("id" = String, Path)),
    request_body = CompleteBody, responses((status = 200, body = schema::TaskAnswered)))]
pub async fn complete_task(
    caller: Authorized<TasksWork>,
    State(app): State<App>,
    PathOf(TaskPath(task)): PathOf<TaskPath>,
    Body(body): Body<CompleteBody>,
) -> Reply {
    app.runtime().complete(request(&caller, task, (body.token, body.worker)), body.output.0).await?;
    reply::ok(&TaskAnswered { id: task, status: TaskStatus::Completed })
}

/// The failure of a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailBody {
    /// The `token` that the claim gave.
    token: Option<String>,
    /// The name that the task was claimed under.
    worker: Option<String>,
    /// Why: an error, or a text.
    #[serde(deserialize_with = "text_or_error")]
    error: ErrorBody,
}

fn text_or_error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ErrorBody, D::Error> {
    struct TextOrError;

    impl<'de> Visitor<'de> for TextOrError {
        type Value = ErrorBody;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an error with a `message`, or a text")
        }

        fn visit_str<E>(self, text: &str) -> Result<ErrorBody, E> {
            Ok(ErrorBody::of_text(text))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ErrorBody, A::Error> {
            ErrorBody::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(TextOrError)
}

/// Answer a task with a failure.
#[utoipa::path(post, path = "/tasks/{id}/fail", tag = "tasks", params(("id" = String, Path)),
    request_body = FailBody, responses((status = 200, body = schema::TaskAnswered)))]
pub async fn fail_task(
    caller: Authorized<TasksWork>,
    State(app): State<App>,
    PathOf(TaskPath(task)): PathOf<TaskPath>,
    Body(body): Body<FailBody>,
) -> Reply {
    let error = body.error.into_error("task_failed");
    app.runtime().fail(request(&caller, task, (body.token, body.worker)), error).await?;
    reply::ok(&TaskAnswered { id: task, status: TaskStatus::Failed })
}

fn request<P: Permission>(
    caller: &Authorized<P>,
    task: TaskId,
    proof: (Option<String>, Option<String>),
) -> TaskRequest {
    let proof = match proof {
        (Some(token), _) => Proof::Token(token),
        (None, Some(worker)) => Proof::Worker(worker),
        (None, None) => Proof::Holder,
    };
    TaskRequest { tenant: caller.tenant(), task, proof }
}
