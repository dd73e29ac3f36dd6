//! The outer layer of every route: problem bodies, headers for safety, the request's id, counting.
//!
//! Invariant: no answer leaves without passing here, so none leaves without its headers, and no error without a problem
//! document. It costs no span, and no allocation but the request's id.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use tower::ServiceExt as _;

use crate::{
    app::App,
    problem::{PROBLEM_JSON, Problem},
    rate_limits::{RATE_LIMIT, RATE_LIMIT_POLICY, Told},
    scim,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a request's id that a client may choose.
const REQUEST_ID_CHARS_MAX: usize = 128;
/// Bytes of an address with its query.
const URI_BYTES_MAX: usize = 16 << 10;

/// Everything between the connection and the routes.
pub async fn around(app: &App, mut request: Request, routes: &Router) -> Response {
    let started = Instant::now();
    let id = request.headers().get(REQUEST_ID).filter(|id| is_plain(id)).cloned().unwrap_or_else(new_request_id);
    // Whoever notes something of the request finds it there, whoever made it.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let refusal = refuse(&request);
    let is_scim = scim::is_here(request.uri().path());
    let _in_flight = app.metrics().enter();
    let told = app.rate_limits().any().then(Told::default);
    if let Some(told) = &told {
        request.extensions_mut().insert(told.clone());
    }
    let mut response = match refusal {
        None => run(request, routes).await,
        Some(problem) => problem.into_response(),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = if is_scim { as_scim_error(response, &id) } else { as_problem(response, &id) };
    }
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some([limit, policy]) = told.and_then(|told| told.headers()) {
        response.headers_mut().insert(RATE_LIMIT, limit);
        response.headers_mut().insert(RATE_LIMIT_POLICY, policy);
    }
    app.metrics().answered(response.status(), started.elapsed());
    guard(response.headers_mut());
    response
}

/// The answer of its route; a handler that panicked has one as well.
async fn run(request: Request, routes: &Router) -> Response {
    let answer = AssertUnwindSafe(routes.clone().oneshot(request)).catch_unwind().await;
    let panicked = |_| Ok(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response());
    answer.unwrap_or_else(panicked).unwrap_or_else(|never| match never {})
}

/// What no route would take.
fn refuse(request: &Request) -> Option<Problem> {
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        return Some(Problem::of_status(StatusCode::URI_TOO_LONG));
    }
    let accept = request.headers().get(header::ACCEPT)?;
    if accept == "*/*" || accept == "application/json" || accepts_ours(accept.to_str().unwrap_or("")) {
        return None;
    }
    let detail = "this server answers application/json (and text/event-stream, application/yaml, text/plain where a \
                  route says so), and Accept excludes all of them";
    Some(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail))
}

fn accepts_ours(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';');
        let essence = parts.next().unwrap_or_default().trim();
        let excluded = parts.any(|it| matches!(it.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        let ours = essence == "*/*"
            || essence == "application/*"
            || essence == "text/*"
            || essence == "application/json"
            || essence == PROBLEM_JSON
            || essence == "text/event-stream"
            || essence == "text/plain"
            || essence == "text/csv"
            || essence == "application/jsonl"
            || essence == "application/octet-stream"
            || essence.contains("yaml")
            || essence.contains("openmetrics")
            || essence.ends_with("+json");
        ours && !excluded
    })
}

/// The same answer as a problem document.
fn as_problem(mut response: Response, id: &HeaderValue) -> Response {
    let id = id.to_str().unwrap_or("-");
    if let Some(problem) = response.extensions_mut().remove::<Box<Problem>>() {
        return problem.render(id);
    }
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == "application/json") {
        // A readiness report is an answer of its own, and so is what RFC 6749 has applications told.
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut problem = Problem::of_status(response.status()).render(id);
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    problem
}

/// The same in SCIM's form: its clients read nothing else.
fn as_scim_error(mut response: Response, id: &HeaderValue) -> Response {
    let problem = response.extensions_mut().remove::<Box<Problem>>();
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut problem = problem.map_or_else(|| Problem::of_status(response.status()), |problem| *problem);
    if let Some(allow) = allow {
        problem = problem.with_header(header::ALLOW, allow);
    }
    scim::error(&problem, id.to_str().unwrap_or("-"))
}

fn is_plain(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    !bytes.is_empty() && bytes.len() <= REQUEST_ID_CHARS_MAX && bytes.iter().all(u8::is_ascii_graphic)
}

/// An id that no other request has: the digits before the dash are drawn once by each process.
fn new_request_id() -> HeaderValue {
    static PROCESS: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().simple().to_string()[..12].to_owned());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{}-{count:x}", *PROCESS);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("-"))
}

fn guard(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_read_as_a_list() {
        for (accept, ours) in [
            ("text/html, */*;q=0.1", true),
            ("application/xml", false),
            ("application/json;q=0", false),
            ("text/html,application/xhtml+xml", false),
            ("application/yaml", true),
        ] {
            assert_eq!(accepts_ours(accept), ours, "{accept}");
        }
    }
}
