//! The events of a run as server-sent events.
//!
//! Invariant: the id of an event is the `seq` of the journal's entry, so any server resumes any stream. What has no id
//! (`step_started`, `log`, `status`) is said once and not repeated. The stream ends with the run's last entry.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use windlass_runtime::{LiveEvent, RuntimeError};

use super::runs::RunPath;
use crate::{
    app::App,
    auth::{RunsRead, Within},
    extract::{PathOf, Query},
    openapi::schema,
    problem::Problem,
    reply::Reply,
    view::JournalEntry,
};

/// Between two comments that keep a quiet stream alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where a stream begins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// The `seq` to go on after, when the `Last-Event-ID` header does not say; 0 when left out.
    after: Option<i64>,
}

/// What happens to a run, as it happens, from its beginning or after `Last-Event-ID`.
#[utoipa::path(get, path = "/runs/{id}/events", tag = "runs",
    params(("id" = String, Path), EventsQuery, ("Last-Event-ID" = Option<i64>, Header)),
    responses((status = 200, description = "Events; the schema is that of each", content_type = "text/event-stream",
        body = schema::RunEvent)))]
pub async fn run_events(
    caller: Within<RunsRead>,
    State(app): State<App>,
    PathOf(RunPath(run)): PathOf<RunPath>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Reply {
    let after = match headers.get("last-event-id") {
        Some(id) => id.to_str().ok().and_then(|id| id.parse().ok()).filter(|id| *id >= 0),
        None => Some(query.after.unwrap_or(0)).filter(|id| *id >= 0),
    };
    let after = after.ok_or_else(|| Problem::bad_request("invalid_event_id", "Last-Event-ID must be a `seq`"))?;
    let caller = caller.run(&app, run).await?;
    // Not a stream of a run that does not exist: that is a 404.
    app.runtime().run(caller.tenant(), run).await?;
    let events = until_finished(app.runtime().subscribe(caller.tenant(), run, after)).take_until(app.drained());
    let stream = events.map(|event| Ok::<_, Infallible>(write(event)));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// The same events, up to the run's last entry. An error ends the stream: who reads it asks again after its last id.
fn until_finished(events: impl Stream<Item = Result<LiveEvent, RuntimeError>>) -> impl Stream<Item = LiveEvent> {
    let mut finished = false;
    let events = events.take_while(move |event| {
        let goes_on = !finished;
        match event {
            Ok(LiveEvent::Entry(entry)) => finished = entry.kind == "finished",
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a stream of events ended early");
                finished = true;
            }
        }
        futures::future::ready(goes_on)
    });
    events.filter_map(|event| futures::future::ready(event.ok()))
}

fn write(event: LiveEvent) -> Event {
    match event {
        LiveEvent::Entry(entry) => {
            let entry = JournalEntry::from(entry);
            Event::default().id(entry.seq.to_string()).event(entry.kind).data(json(&entry))
        }
        LiveEvent::StepStarted { .. } => Event::default().event("step_started").data(json(&event)),
        LiveEvent::Log { .. } => Event::default().event("log").data(json(&event)),
        LiveEvent::Status { .. } => Event::default().event("status").data(json(&event)),
    }
}

/// One line of JSON; views always have a JSON form.
fn json<T: Serialize>(view: &T) -> String {
    serde_json::to_string(view).unwrap_or_default()
}
