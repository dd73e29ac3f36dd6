//! Shared state: what `state` steps keep in the scopes `workflow` and `tenant`, for people and programs outside.
//!
//! The operations are those of the step, in its words, and mean the same.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use windlass_definition::{Timestamp, Value, step_types};
use windlass_store::{
    FindState, STATE_DESCRIPTION_CHARS_MAX, StateAddress, StateChange, StateChanger, StateEntry, StoreError,
};

use crate::{
    app::App,
    auth::{Asked, Authorized, Permission, StateRead, StateWrite, Within},
    extract::{Body, Name, Query},
    json::Json,
    openapi::schema,
    page::PageQuery,
    problem::Problem,
    reply::{self, Reply},
};

/// Characters of a key, and of a namespace.
const KEY_CHARS_MAX: usize = windlass_steps::state::KEY_CHARS_MAX;

/// A value and what is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SharedValue {
    /// Its space of keys; empty for the one without a name.
    namespace: String,
    /// Its key.
    key: String,
    /// The value.
    #[schema(value_type = schema::Json)]
    value: Value,
    /// `null`, `boolean`, `number`, `string`, `array` or `object`.
    r#type: &'static str,
    /// What it is for, in the words of whoever wrote it from outside; null where nobody said.
    #[schema(required)]
    description: Option<String>,
    /// Counts its changes: what `If-Match` names.
    version: i64,
    /// Since when it is there; null where that was not noted.
    #[schema(required, value_type = Option<chrono::DateTime<chrono::Utc>>)]
    created_at: Option<Timestamp>,
    /// When it was changed.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    updated_at: Timestamp,
    /// When it goes; null for never.
    #[schema(required, value_type = Option<chrono::DateTime<chrono::Utc>>)]
    expires_at: Option<Timestamp>,
    /// When it was last read, to about a minute.
    #[schema(required, value_type = Option<chrono::DateTime<chrono::Utc>>)]
    accessed_at: Option<Timestamp>,
    /// How often it was read, up to about a minute ago.
    access_count: i64,
}

impl From<StateEntry> for SharedValue {
    fn from(entry: StateEntry) -> SharedValue {
        SharedValue {
            namespace: entry.namespace,
            key: entry.key,
            r#type: type_of(&entry.value),
            value: entry.value,
            description: entry.description,
            version: entry.version,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
            expires_at: entry.expires_at,
            accessed_at: entry.accessed_at,
            access_count: entry.access_count,
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value.to_serde() {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "boolean",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    }
}

/// A page of values.
#[derive(Debug, Serialize, ToSchema)]
pub struct SharedValuePage {
    /// By their namespace and key.
    items: Vec<SharedValue>,
    /// Ask with `after` = this for more; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Which values.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StateQuery {
    /// Those of this workflow; the tenant's own when left out.
    workflow: Option<String>,
    /// Those of this namespace; all when left out.
    namespace: Option<String>,
    /// Those whose keys begin so.
    prefix: Option<String>,
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List shared state.
#[utoipa::path(get, path = "/state", tag = "state", params(StateQuery), responses((status = 200, body = SharedValuePage)))]
pub async fn list_state(caller: Within<StateRead>, State(app): State<App>, Query(query): Query<StateQuery>) -> Reply {
    let caller = of_workflow(caller, &app, query.workflow.as_deref()).await?;
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    let wrong = || Problem::bad_request("invalid_query", "`after` is no cursor of ours");
    let after = page.after.as_deref().map(|after| serde_json::from_str::<(String, String)>(after).map_err(|_| wrong()));
    let find = FindState {
        workflow: bounded(query.workflow, "workflow")?,
        namespace: bounded(query.namespace, "namespace")?,
        prefix: bounded(query.prefix, "prefix")?.unwrap_or_default(),
        after: after.transpose()?,
    };
    let mut entries = app.store().list_state(caller.tenant(), &find, page.limit as i64 + 1).await?;
    let more = entries.len() > page.limit;
    entries.truncate(page.limit);
    let next = entries.last().filter(|_| more).map(|last| json!([last.namespace, last.key]).to_string());
    reply::ok(&SharedValuePage { items: entries.into_iter().map(SharedValue::from).collect(), next })
}

/// The caller, for the state of that workflow or of the tenant itself.
async fn of_workflow<P: Permission>(
    caller: Within<P>,
    app: &App,
    workflow: Option<&str>,
) -> Result<Authorized<P>, Problem> {
    match workflow {
        Some(workflow) => caller.workflow(app, &Name(workflow.to_owned())).await,
        None => caller.everywhere(),
    }
}

fn bounded(text: Option<String>, name: &str) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.chars().count() > KEY_CHARS_MAX => {
            Err(Problem::bad_request("invalid_query", format!("`{name}` may have at most {KEY_CHARS_MAX} characters")))
        }
        text => Ok(text),
    }
}

/// Which value.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ValueQuery {
    /// Its key.
    key: String,
    /// The workflow that it is of; the tenant's own when left out.
    workflow: Option<String>,
    /// Its namespace; the one without a name when left out.
    namespace: Option<String>,
}

/// A value of shared state. Its ETag is its version.
#[utoipa::path(get, path = "/state/value", tag = "state", params(ValueQuery), responses((status = 200, body = SharedValue)))]
pub async fn get_value(caller: Within<StateRead>, State(app): State<App>, Query(query): Query<ValueQuery>) -> Reply {
    let caller = of_workflow(caller, &app, query.workflow.as_deref()).await?;
    let address = StateAddress {
        tenant: caller.tenant(),
        workflow: bounded(query.workflow, "workflow")?,
        namespace: bounded(query.namespace, "namespace")?.unwrap_or_default(),
        key: query.key,
    };
    let entry = app.store().state_entry(&address).await?.ok_or_else(|| Problem::not_found("value"))?;
    let etag = reply::header_value(&format!("\"{}\"", entry.version));
    let mut response = reply::ok(&SharedValue::from(entry))?;
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// A change, in the words of a `state` step.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateChangeBody {
    /// `set`, `update` (merges an object into the one that is there), `increment`, `delete` or `compare_and_set`.
    op: String,
    /// The workflow whose state it is; the tenant's own when left out.
    workflow: Option<String>,
    /// The space of keys.
    namespace: Option<String>,
    /// The key.
    key: String,
    /// What is written.
    #[schema(value_type = schema::Json, required = false)]
    value: Option<Json>,
    /// What `increment` adds; 1 when left out.
    #[schema(value_type = Option<f64>)]
    by: Option<Json>,
    /// What `compare_and_set` has to find; null stands for nothing.
    #[schema(value_type = schema::Json, required = false)]
    expected: Option<Json>,
    /// How long it is kept, such as `1h`; for good when left out. `update` and `increment` leave that as it is.
    ttl: Option<String>,
    /// What the value is for; it stays as it is when left out, and an empty text removes it. Not with `delete`.
    #[schema(max_length = 1_000)]
    description: Option<String>,
}

/// What a change came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct StateChanged {
    /// The output that the step would have: the value as it is now, the one that was deleted, or `{swapped, value}`.
    #[schema(value_type = schema::Json)]
    output: Value,
}

/// Change a value of shared state, at once and whole: nobody else changes it meanwhile.
#[utoipa::path(post, path = "/state", tag = "state",
    params(("If-Match" = Option<String>, Header, description = "The version that was read")),
    request_body = StateChangeBody, responses((status = 200, body = StateChanged)))]
pub async fn change_state(
    caller: Within<StateWrite>,
    State(app): State<App>,
    asked: Asked,
    headers: HeaderMap,
    Body(body): Body<StateChangeBody>,
) -> Reply {
    let invalid = |pointer: &str, message: String| Problem::invalid("invalid_input", format!("{pointer} {message}"));
    let action = match body.op.as_str() {
        "set" => "set",
        "update" => "update",
        "increment" => "increment",
        "delete" => "delete",
        "compare_and_set" => "compare_and_set",
        _ => {
            let message = "must be set, update, increment, delete or compare_and_set".to_owned();
            return Err(invalid("/op", message));
        }
    };
    for (name, text) in
        [("/key", Some(&body.key)), ("/namespace", body.namespace.as_ref()), ("/workflow", body.workflow.as_ref())]
    {
        if text.is_some_and(|text| text.is_empty() || text.chars().count() > KEY_CHARS_MAX) {
            return Err(invalid(name, format!("must have 1 to {KEY_CHARS_MAX} characters")));
        }
    }
    if let Some(description) = &body.description {
        if action == "delete" {
            return Err(invalid("/description", "is of a value that stays: leave it out of a `delete`".to_owned()));
        }
        if description.chars().count() > STATE_DESCRIPTION_CHARS_MAX {
            return Err(invalid("/description", format!("may have at most {STATE_DESCRIPTION_CHARS_MAX} characters")));
        }
    }
    let actor = of_workflow(caller, &app, body.workflow.as_deref()).await?.actor(asked);
    let address = StateAddress {
        tenant: actor.tenant,
        workflow: body.workflow.clone(),
        namespace: body.namespace.clone().unwrap_or_default(),
        key: body.key.clone(),
    };
    let text = |text: &str| Value::from(text);
    let scope = if body.workflow.is_some() { "workflow" } else { "tenant" };
    let mut with = Value::map([("op", text(action)), ("scope", text(scope)), ("key", text(&body.key))]);
    let given = [
        ("namespace", body.namespace.as_deref().map(text)),
        ("value", body.value.map(|it| it.0)),
        ("by", body.by.map(|it| it.0)),
        ("expected", body.expected.map(|it| it.0)),
        ("ttl", body.ttl.as_deref().map(text)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            with = with.with_entry(name, value);
        }
    }
    let refused = |error: windlass_definition::Error| Problem::invalid("invalid_input", error.message.to_string());
    let state: step_types::State = step_types::read_with(&with).map_err(refused)?;
    let expect = expected(&headers)?;
    let by = StateChanger::Caller { by: actor.by, expect, action, description: body.description };
    let change = StateChange { address, by };
    let decide = move |current| windlass_steps::state::decide(current, &state, &with);
    let output = app.store().change_state(change, decide).await.map_err(|error| match error {
        StoreError::Conflict(detail) => Problem::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", detail),
        StoreError::Invalid(detail) => Problem::too_large(detail),
        other => other.into(),
    })?;
    reply::ok(&StateChanged { output: output.map_err(refused)? })
}

/// The version that the caller has seen.
fn expected(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    if headers.get(header::IF_NONE_MATCH).is_some_and(|it| it == "*") {
        return Ok(Some(0));
    }
    let Some(text) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = text.to_str().unwrap_or_default().trim();
    let version = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).and_then(|it| it.parse().ok());
    version.map(Some).ok_or_else(|| Problem::bad_request("invalid_if_match", "If-Match must be the ETag of a value"))
}
