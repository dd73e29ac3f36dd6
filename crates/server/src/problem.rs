//! Problem documents: every answer that is not a success, in the form of RFC 9457.
//!
//! Invariant: whatever goes wrong, the body is `application/problem+json` with a stable `code`. A handler returns a
//! [`Problem`]; the outer layer (`edge`) renders it, so that it can add the id of the request.

use std::borrow::Cow;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One thing that is wrong with what was sent, and where.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct FieldError {
    /// RFC 6901 pointer into the body or the document; empty for the whole of it.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// Line in the text that was sent, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Characters that it is about, from that column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// `error` or `warning`; an error when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'static str>,
    /// What was expected, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The nearest right name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The line of the document, or the part of a long one around the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// Characters of the excerpt before the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indent: Option<usize>,
}

/// The body of an answer that is not a success (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument<'a> {
    /// A URN made from the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: &'a str,
    /// What went wrong and what to do, for people.
    pub detail: &'a str,
    /// Everything that is wrong with what was sent; empty when it is not about that.
    pub errors: &'a [FieldError],
    /// The id of the request, as in the answer's `x-request-id` header and in the log.
    pub request_id: &'a str,
}

impl Problem {
    /// A problem with this status, code and detail.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Problem {
        Problem { status, code: code.into(), detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// 400: what was sent is not what this route reads.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404: there is no such thing, or none that the caller may know of.
    pub fn not_found(noun: &'static str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {noun}"))
    }

    /// 409: it is there, but its state does not allow this.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413: more than the limit; the detail names the limit and its setting.
    pub fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 422: it was understood, and refused for the listed reasons.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// The same problem with everything that is wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Problem {
        self.errors = errors;
        self
    }

    /// The same problem with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// The problem that an answer without a body of its own stands for, such as a 404 of the router.
    pub fn of_status(status: StatusCode) -> Problem {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("no_such_route", "there is no such route; see /api/v1/openapi.json"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "the route does not take this method; the Allow header says which it takes")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "the route does not read this media type"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is over the limit"),
            StatusCode::URI_TOO_LONG => ("uri_too_long", "the address is over the limit"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "the server cannot do this now; try again"),
            _ if status.is_server_error() => ("internal", "something went wrong in the server; its log says what"),
            _ => ("bad_request", "the request was refused"),
        };
        Problem::new(status, code, detail)
    }

    /// The stable word.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Everything that is wrong with what was sent.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same problem with another detail.
    #[must_use]
    pub fn with_detail(mut self, change: impl FnOnce(&str) -> String) -> Problem {
        self.detail = change(&self.detail);
        self
    }

    /// The answer, with the id of the request in it.
    pub fn render(&self, request_id: &str) -> Response {
        let document = ProblemDocument {
            kind: format!("urn:windlass:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: &self.code,
            detail: &self.detail,
            errors: &self.errors,
            request_id,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        self.respond((self.status, PROBLEM_JSON), body)
    }

    /// The answer with a body that says the same in another form.
    pub fn respond(&self, (status, media_type): (StatusCode, &'static str), body: Vec<u8>) -> Response {
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

/// An answer without a body that carries the problem; the outer layer renders it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Box::new(self));
        response
    }
}
