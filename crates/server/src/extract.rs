//! Parse at the door: what handlers take is already well-formed.
//!
//! Invariant: an id that cannot exist is a 404 here and never reaches the database; a body over its bound is a 413
//! before it is read to its end.

use std::{str::FromStr, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use windlass_definition::duration;
use windlass_engine::trace::Trace;

use crate::{json, problem::Problem};

/// Bytes of a workflow document.
pub const DOCUMENT_BYTES_MAX: usize = 2 << 20;
/// Bytes of any other body: a value of 16 MiB and what stands around it.
pub const BODY_BYTES_MAX: usize = (16 << 20) + 4096;
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Of a body over its bound, so many times the bound is read on, so that the client gets to the answer.
const DISCARD_FACTOR: usize = 4;
/// Characters of names, ids and keys in addresses and headers.
const NAME_CHARS_MAX: usize = 200;

/// A JSON body, read strictly.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Body<T>, Problem> {
        expect_json(request.headers())?;
        let bytes = read_bounded(request, BODY_BYTES_MAX).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Problem::bad_request("invalid_json", "a JSON body is needed, and there is none"));
        }
        json::read(&bytes).map(Body)
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub struct BodyOrDefault<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for BodyOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<BodyOrDefault<T>, Problem> {
        let is_json = expect_json(request.headers());
        let bytes = read_bounded(request, BODY_BYTES_MAX).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(BodyOrDefault(T::default()));
        }
        is_json?;
        json::read(&bytes).map(BodyOrDefault)
    }
}

/// A body that is none: bytes in it are refused, so that nobody believes they were read.
#[derive(Debug)]
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<NoBody, Problem> {
        let bytes = read_bounded(request, 64).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) || bytes.as_ref() == b"{}" {
            return Ok(NoBody);
        }
        Err(Problem::bad_request("body_not_read", "this route reads no body: leave it out or send `{}`"))
    }
}

/// The essence of the content type, in lower case: `application/json` without its parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

/// Whether the media type is JSON or a kind of it.
pub fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// The problem of a media type that the route does not read.
pub fn unsupported_media_type(found: &str, reads: &str) -> Problem {
    let status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Problem::new(status, "unsupported_media_type", format!("the body is `{found}`; this route reads {reads}"))
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_TYPE) {
        None => Ok(()),
        Some(value) if value == "application/json" => Ok(()),
        Some(_) => match media_type(headers) {
            Some(found) if !is_json(&found) => Err(unsupported_media_type(&found, "application/json")),
            _ => Ok(()),
        },
    }
}

/// The whole body, if it is not over the bound.
///
/// # Errors
/// 413 over the bound, 408 when it takes too long, 400 when it ends early or is encoded.
pub async fn read_bounded(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(unsupported_media_type("encoded", "bodies without Content-Encoding"));
    }
    match tokio::time::timeout(BODY_TIME_MAX, read_frames(request.into_body(), bytes_max)).await {
        Ok(read) => read,
        Err(_) => {
            let status = axum::http::StatusCode::REQUEST_TIMEOUT;
            Err(Problem::new(status, "body_timeout", "the body did not arrive within 30 s"))
        }
    }
}

async fn read_frames(mut body: axum::body::Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut first: Option<Bytes> = None;
    let mut read = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("body_incomplete", "the body ended before its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > bytes_max {
            discard(body, bytes_max.saturating_mul(DISCARD_FACTOR)).await;
            return Err(Problem::too_large(format!("the body is over the limit of {bytes_max} bytes"))
                .with_header(header::CONNECTION, axum::http::HeaderValue::from_static("close")));
        }
        // Nearly every body is one frame: it is given on as it is.
        match first {
            None if read.is_empty() => first = Some(data),
            _ => {
                read.extend_from_slice(&first.take().unwrap_or_default());
                read.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| read.into()))
}

/// Most clients read an answer only once they have sent everything: so much more is read and forgotten for them.
async fn discard(mut body: axum::body::Body, bytes_max: usize) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > bytes_max {
            return;
        }
    }
}

/// The query string, read strictly: unknown parameters are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        let refused = |detail: String| Problem::bad_request("invalid_query", detail);
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(refused("the query holds a NUL character, which is not allowed".into()));
        }
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(query) => Ok(Query(query.0)),
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                Err(refused(format!("the query is not what this route reads: {}", source.unwrap_or(error.to_string()))))
            }
        }
    }
}

/// The parameters of the path, percent-decoded and bounded, in their order.
#[derive(Debug)]
pub struct PathOf<T>(pub T);

/// What a path's parameters are read into.
pub trait PathParts: Sized + Send {
    /// Reads them; an id or name that cannot exist is a 404.
    ///
    /// # Errors
    /// The 404.
    fn read(parts: &[&str]) -> Result<Self, Problem>;
}

impl<S: Send + Sync, T: PathParts> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathOf<T>, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found("thing"))?;
        let mut read = [""; 2];
        let mut count = 0;
        for (_, value) in &params {
            if value.len() > PATH_CHARS_MAX || value.contains('\0') || count == read.len() {
                return Err(Problem::not_found("thing"));
            }
            read[count] = value;
            count += 1;
        }
        T::read(&read[..count]).map(PathOf)
    }
}

/// Characters of one parameter of a path; the path of a step is the longest.
const PATH_CHARS_MAX: usize = 4096;

/// A name in an address: a workflow's, a signal's.
#[derive(Debug, Clone)]
pub struct Name(pub String);

impl Name {
    /// A workflow's name, if it can be one.
    pub fn workflow(text: &str) -> Result<Name, Problem> {
        let bytes = text.as_bytes();
        let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = |byte: &u8| edge(byte) || matches!(byte, b'_' | b'-');
        let valid = bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(inner)
            && bytes.len() <= NAME_CHARS_MAX;
        valid.then(|| Name(text.to_owned())).ok_or_else(|| Problem::not_found("workflow"))
    }

    /// Any other name: not empty, bounded, without control characters.
    pub fn plain(text: &str, noun: &'static str) -> Result<Name, Problem> {
        let valid = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control);
        valid.then(|| Name(text.to_owned())).ok_or_else(|| Problem::not_found(noun))
    }
}

/// An id in an address; 404 when it is none.
pub fn id<T: FromStr>(text: &str, noun: &'static str) -> Result<T, Problem> {
    // The hyphenated form alone: a run has one address.
    if text.len() != 36 {
        return Err(Problem::not_found(noun));
    }
    text.parse().map_err(|_| Problem::not_found(noun))
}

/// The trace that a request belongs to, if it says so in a way that can be read: whatever else it says is as good as
/// nothing.
pub fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?.to_str().ok()?;
    let states: Result<Vec<&str>, _> = headers.get_all("tracestate").iter().map(HeaderValue::to_str).collect();
    Trace::of_headers(parent, &states.unwrap_or_default().join(","))
}

/// The `Idempotency-Key` of a request, if it has one.
///
/// # Errors
/// 400 when it is empty, too long, or holds control characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        let detail = format!("Idempotency-Key must have 1 to {NAME_CHARS_MAX} visible ASCII characters");
        return Err(Problem::bad_request("invalid_idempotency_key", detail));
    }
    Ok(Some(text.to_owned()))
}

/// A span of time in a query or a body, such as `30s`.
///
/// # Errors
/// 400 when it is none or is over the bound; the detail names the bound.
pub fn span(text: &str, name: &str, max: Duration) -> Result<Duration, Problem> {
    let refused = |detail| Problem::bad_request("invalid_duration", detail);
    let span = duration::parse(text).or_else(|| text.parse().ok().filter(|it| *it == 0u64).map(Duration::from_secs));
    let span = span.ok_or_else(|| refused(format!("`{name}` is not a duration such as `30s`: `{}`", shorten(text))))?;
    if span > max {
        return Err(refused(format!("`{name}` may be at most {} s", max.as_secs())));
    }
    Ok(span)
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_names_are_the_languages() {
        for (name, valid) in [
            ("order", true),
            ("a", true),
            ("order-2_x", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("Order", false),
            ("a b", false),
            ("ä", false),
        ] {
            assert_eq!(Name::workflow(name).is_ok(), valid, "{name}");
        }
        assert!(Name::workflow(&"a".repeat(200)).is_ok());
        assert!(Name::workflow(&"a".repeat(201)).is_err());
    }

    #[test]
    fn spans_are_bounded() {
        let max = Duration::from_secs(300);
        for (text, seconds) in [("30s", Some(30)), ("5m", Some(300)), ("0", Some(0)), ("301s", None), ("x", None)] {
            assert_eq!(span(text, "wait", max).ok(), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
