//! Records: the same routes for everything that a descriptor declares.
//!
//! Invariant: a handler has the record, the tenant and the caller from [`Permitted`] alone, and that is given to
//! nobody without the operation's permission.

use std::collections::btree_map::Entry;

use axum::{
    Router,
    body::Body as HttpBody,
    extract::State,
    handler::Handler,
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::{MethodRouter, delete, get, patch, post},
};
use serde_json::{Value, json};
use utoipa::openapi::{OpenApi, PathItem, RefOr, Schema};
use uuid::Uuid;
use windlass_resource::{
    FieldError, Operation, Record, list::ListQuery, openapi, records::limits::RATE_LIMIT_RULES, schema,
};
use windlass_store::{RecordView, Target};

use super::{API, export};
use crate::{
    app::App,
    auth::{Permitted, PermittedFirst, RecordRoute},
    extract::{self, Body, BodyOrDefault, NoBody, PathOf, PathParts, Query},
    json::Json,
    problem::Problem,
    refusal,
    reply::{self, Reply},
};

/// The id in an address, as it was written.
pub struct RecordPath(String);

impl PathParts for RecordPath {
    fn read(parts: &[&str]) -> Result<RecordPath, Problem> {
        Ok(RecordPath(parts.first().copied().unwrap_or_default().to_owned()))
    }
}

/// The routes of these records.
pub fn router(records: &[&'static Record]) -> Router<App> {
    let mut router = Router::new();
    for record in records {
        for operation in record.operations() {
            let route = RecordRoute { record, operation };
            router = router.route(
                &format!("{API}{}", openapi::path(record, operation)),
                handler(operation).layer(axum::Extension(route)),
            );
        }
    }
    router
}

fn handler(operation: Operation) -> MethodRouter<App> {
    match operation {
        Operation::List => get(permitted(list_rows)),
        Operation::Export => get(permitted(export_rows)),
        Operation::Get => get(permitted(get_row)),
        Operation::Create => post(permitted(create_row)),
        Operation::Update => patch(permitted(update_row)),
        Operation::Delete => delete(permitted(delete_row)),
        Operation::Restore => post(permitted(restore_row)),
        Operation::Transition(_) => post(permitted(take_transition)),
    }
}

/// Writes the routes of these records into the document.
pub fn describe(document: &mut OpenApi, prefix: &str, records: &[&Record]) {
    let components = document.components.get_or_insert_default();
    for record in records {
        for (name, schema) in schema::components(record) {
            // What is no schema is left out, and the test of the document says so.
            if let Ok(schema) = serde_json::from_value::<RefOr<Schema>>(schema) {
                components.schemas.insert(name, schema);
            }
        }
        for (path, item) in openapi::paths(record) {
            if let Ok(mut item) = serde_json::from_value::<PathItem>(item) {
                let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
                operations.into_iter().flatten().for_each(super::with_problem);
                // A way of its own may stand beside those that every record has.
                match document.paths.paths.entry(format!("{prefix}{path}")) {
                    Entry::Vacant(place) => drop(place.insert(item)),
                    Entry::Occupied(mut place) => place.get_mut().merge_operations(item),
                }
            }
        }
    }
}

/// What a change of a record changes at once in this server.
async fn heed(app: &App, record: &Record) {
    if record.name == RATE_LIMIT_RULES.name {
        app.rate_limits().reload().await;
    }
}

/// A handler that gets nothing without the permission: any other does not compile here.
fn permitted<H: Handler<T, App>, T: PermittedFirst>(handler: H) -> H {
    handler
}

async fn list_rows(caller: Permitted, State(app): State<App>, Query(pairs): Query<Vec<(String, String)>>) -> Reply {
    let query = ListQuery::parse(caller.record(), &pairs).map_err(bad_query)?;
    let page = app.store().list_records(caller.tenant(), caller.record(), &query).await?;
    reply::ok(&json!({ "items": page.items, "next": page.next }))
}

/// What a list's parameters are refused with.
pub fn bad_query(errors: Vec<FieldError>) -> Problem {
    Problem::bad_request("invalid_query", "the query is not what this list reads")
        .with_errors(refusal::of_fields(errors))
}

async fn export_rows(caller: Permitted, State(app): State<App>, Query(pairs): Query<Vec<(String, String)>>) -> Reply {
    export::answer(app.store().clone(), (caller.tenant(), caller.record()), pairs)
}

async fn get_row(caller: Permitted, State(app): State<App>, PathOf(path): PathOf<RecordPath>) -> Reply {
    let id = id(&caller, &path)?;
    shown(StatusCode::OK, &app.store().record(caller.tenant(), caller.record(), id).await?)
}

async fn create_row(caller: Permitted, State(app): State<App>, Body(body): Body<Json>) -> Reply {
    let record = caller.record();
    let made = app.store().create_record(caller.tenant(), record, &plain(body), caller.by()).await?;
    heed(&app, record).await;
    let mut response = shown(StatusCode::CREATED, &made)?;
    let place = format!("{}/{}/{}", super::API, record.slug(), made.json["id"].as_str().unwrap_or_default());
    response.headers_mut().insert(header::LOCATION, reply::header_value(&place));
    Ok(response)
}

async fn update_row(
    caller: Permitted,
    State(app): State<App>,
    PathOf(path): PathOf<RecordPath>,
    headers: HeaderMap,
    Body(body): Body<Json>,
) -> Reply {
    let target = target(&caller, &path, &headers)?;
    let place = (caller.tenant(), caller.record());
    let changed = app.store().update_record(place, target, &plain(body), caller.by()).await?;
    heed(&app, caller.record()).await;
    shown(StatusCode::OK, &changed)
}

async fn delete_row(
    caller: Permitted,
    State(app): State<App>,
    PathOf(path): PathOf<RecordPath>,
    headers: HeaderMap,
    _: NoBody,
) -> Reply {
    let target = target(&caller, &path, &headers)?;
    app.store().delete_record((caller.tenant(), caller.record()), target, caller.by()).await?;
    heed(&app, caller.record()).await;
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

async fn restore_row(
    caller: Permitted,
    State(app): State<App>,
    PathOf(path): PathOf<RecordPath>,
    headers: HeaderMap,
    _: NoBody,
) -> Reply {
    let target = target(&caller, &path, &headers)?;
    let place = (caller.tenant(), caller.record());
    shown(StatusCode::OK, &app.store().restore_record(place, target, caller.by()).await?)
}

async fn take_transition(
    caller: Permitted,
    State(app): State<App>,
    PathOf(path): PathOf<RecordPath>,
    headers: HeaderMap,
    BodyOrDefault(body): BodyOrDefault<Option<Json>>,
) -> Reply {
    let target = target(&caller, &path, &headers)?;
    let Operation::Transition(transition) = caller.operation() else { return Err(Problem::not_found("transition")) };
    let body = body.map_or_else(|| json!({}), plain);
    let place = (caller.tenant(), caller.record());
    shown(StatusCode::OK, &app.store().transition_record(place, (target, transition), &body, caller.by()).await?)
}

pub(super) fn shown(status: StatusCode, view: &RecordView) -> Reply {
    let mut response = reply::json(status, &view.json)?;
    if let Some(revision) = view.revision {
        response.headers_mut().insert(header::ETAG, reply::header_value(&format!("\"{revision}\"")));
    }
    Ok(response)
}

fn id(caller: &Permitted, path: &RecordPath) -> Result<Uuid, Problem> {
    extract::id(&path.0, caller.record().noun)
}

fn target(caller: &Permitted, path: &RecordPath, headers: &HeaderMap) -> Result<Target, Problem> {
    Ok(Target { id: id(caller, path)?, expect: if_match(headers) })
}

/// The revision that the caller has seen; an ETag that we never gave matches nothing.
pub(super) fn if_match(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(header::IF_MATCH)?.to_str().unwrap_or_default().trim().trim_start_matches("W/");
    if text == "*" {
        return None;
    }
    let revision = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).and_then(|it| it.parse().ok());
    Some(revision.unwrap_or(-1))
}

/// The body as plain JSON; what was read strictly has such a form.
fn plain(Json(body): Json) -> Value {
    serde_json::to_value(&body).unwrap_or(Value::Null)
}
