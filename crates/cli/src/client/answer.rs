//! An answer of the API, and what a problem document means for a command.

use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use windlass_definition::diagnostic::Diagnostic;

use crate::exit::{Exit, Failure};

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A problem document, as far as commands care.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: String,
    detail: String,
    errors: Vec<serde_json::Value>,
}

impl Answer {
    /// The answer, unless it is a problem.
    ///
    /// # Errors
    /// The problem, with the exit code that its status means.
    pub fn or_problem(self) -> Result<Answer, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem: ProblemBody = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut message = problem.detail;
        if message.is_empty() {
            message = format!("the server answered {}", self.status);
        }
        for error in &problem.errors {
            message.push_str(&line_of(error));
        }
        if problem.code == "unauthorized" {
            message.push_str(
                "\n  come in with `windlass login --email ADDRESS`, or with the link that the server printed, `windlass login LINK`; \
                 programs give a key: WINDLASS_TOKEN or --token",
            );
        }
        Err(Failure::new(exit_of(self.status), &problem.code, message))
    }

    /// The diagnostics of a document that was refused; empty when it was refused for something else.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let problem: ProblemBody = serde_json::from_slice(&self.body).unwrap_or_default();
        problem.errors.into_iter().filter_map(|error| serde_json::from_value(error).ok()).collect()
    }

    /// The body read as `T`.
    ///
    /// # Errors
    /// The server speaks of something else: most likely another version of it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::internal(format!("the server's answer is not what was expected: {error}")))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn line_of(error: &serde_json::Value) -> String {
    let text = |key: &str| error.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    match text("pointer") {
        "" => format!("\n  - {}", text("message")),
        pointer => format!("\n  - {pointer}: {}", text("message")),
    }
}

fn exit_of(status: StatusCode) -> Exit {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Denied,
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY => Exit::Unreachable,
        status if status.is_client_error() => Exit::Refused,
        _ => Exit::Internal,
    }
}
