//! Answers that are successes: the view's JSON, written once, straight to bytes.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::problem::Problem;

/// What handlers return.
pub type Reply = Result<Response, Problem>;

/// 200 with this as JSON.
///
/// # Errors
/// Never in practice: views have text keys and no failing serialiser.
pub fn ok<T: Serialize + ?Sized>(view: &T) -> Reply {
    json(StatusCode::OK, view)
}

/// That status with this as JSON.
///
/// # Errors
/// As [`ok`].
pub fn json<T: Serialize + ?Sized>(status: StatusCode, view: &T) -> Reply {
    // One allocation serves nearly every answer.
    let mut bytes = Vec::with_capacity(1024);
    serde_json::to_writer(&mut bytes, view).map_err(|error| {
        tracing::error!(%error, "an answer has no JSON form");
        Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    })?;
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Text of that media type.
pub fn text(media_type: &'static str, text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], text.into()).into_response()
}

/// Text as a header's value; nothing of what we write there is refused.
pub fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}
