//! What the runtime and the store refuse, as problem documents.

use axum::http::{HeaderValue, StatusCode, header};
use windlass_definition::diagnostic::{Diagnostic, Severity};
use windlass_runtime::RuntimeError;
use windlass_store::{FileError, RecordError, StoreError};

use crate::problem::{FieldError, Problem};

/// Of the rest of a body that was refused nothing is read.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

impl From<RuntimeError> for Problem {
    fn from(error: RuntimeError) -> Problem {
        let (code, detail) = (error.code(), error.to_string());
        let status = match error {
            RuntimeError::NotFound { .. } => StatusCode::NOT_FOUND,
            RuntimeError::Document { diagnostics } => {
                return Problem::invalid(code, detail)
                    .with_errors(diagnostics.into_iter().map(of_diagnostic).collect());
            }
            RuntimeError::Invalid { fields } => {
                let errors = fields.into_iter().map(|field| FieldError {
                    pointer: field.pointer,
                    message: field.message,
                    ..FieldError::default()
                });
                return Problem::invalid(code, detail).with_errors(errors.collect());
            }
            RuntimeError::Conflict { .. } => StatusCode::CONFLICT,
            RuntimeError::Revision { .. } => StatusCode::PRECONDITION_FAILED,
            RuntimeError::Denied { .. } => StatusCode::FORBIDDEN,
            RuntimeError::Limit { code, .. } if limit_status(code) == StatusCode::TOO_MANY_REQUESTS => {
                return Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
                    .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            RuntimeError::Limit { code, .. } => limit_status(code),
            RuntimeError::Unavailable { .. } | RuntimeError::Elsewhere { .. } => return unavailable(detail),
            RuntimeError::Damaged { .. } => {
                tracing::error!(%detail, "a damaged run was asked for");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            RuntimeError::Store(error) => return error.into(),
        };
        Problem::new(status, code, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Unavailable(detail) => unavailable(detail),
            StoreError::Conflict(detail) => Problem::conflict("conflict", detail),
            StoreError::Invalid(detail) => Problem::invalid("invalid_input", detail),
            StoreError::Damaged(detail) => {
                tracing::error!(%detail, "the database is damaged");
                let detail = format!("the database is damaged: {detail}; `windlass db check` lists all that is");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "database_damaged", detail)
            }
            StoreError::Locked(detail) => Problem::conflict("vault_locked", detail),
            StoreError::Closed => unavailable("the server is about to stop".into()),
            error => {
                tracing::error!(%error, "the store refused");
                Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Problem {
        let detail = error.to_string();
        match error {
            RecordError::NotFound { noun } => Problem::not_found(noun),
            RecordError::Invalid { errors, .. } => {
                Problem::invalid("invalid_input", detail).with_errors(of_fields(errors))
            }
            RecordError::Taken { errors, .. } => Problem::conflict("taken", detail).with_errors(of_fields(errors)),
            RecordError::Stale { .. } => Problem::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", detail),
            RecordError::Transition { .. } => Problem::conflict("transition_not_allowed", detail),
            RecordError::Guarded { .. } => Problem::conflict("transition_guarded", detail),
            RecordError::InUse { .. } => Problem::conflict("in_use", detail),
            RecordError::Store(error) => error.into(),
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Problem {
        let detail = error.to_string();
        match error {
            FileError::Record(error) => error.into(),
            FileError::NotFound(noun) => Problem::not_found(noun),
            FileError::TooLarge { .. } => Problem::too_large(detail).with_header(header::CONNECTION, CLOSE),
            FileError::Quota { .. } => {
                Problem::conflict("quota_exceeded", detail).with_header(header::CONNECTION, CLOSE)
            }
            FileError::Cut(_) => Problem::bad_request("body_incomplete", detail).with_header(header::CONNECTION, CLOSE),
            FileError::NoStorage | FileError::Busy(_) => unavailable(detail),
            FileError::Storage(_) => {
                tracing::error!(%detail, "the storage of files");
                unavailable("the storage of files does not answer as it should; the server's log says more".to_owned())
            }
            FileError::Damaged(_) => {
                tracing::error!(%detail, "a file");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "file_damaged", detail)
            }
        }
    }
}

/// What is wrong with a record's fields.
pub fn of_fields(errors: Vec<windlass_resource::FieldError>) -> Vec<FieldError> {
    let error = |it: windlass_resource::FieldError| FieldError {
        pointer: it.pointer,
        message: it.message,
        ..FieldError::default()
    };
    errors.into_iter().map(error).collect()
}

/// Too much at once passes with time: 429. Too large never does: 413.
fn limit_status(code: &str) -> StatusCode {
    match code {
        "value_too_large" | "too_large" | "document_too_large" | "limit" => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::TOO_MANY_REQUESTS,
    }
}

fn unavailable(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// A diagnostic as one of a problem's errors: nothing of it is lost, so that clients can show it with its source line.
pub fn of_diagnostic(diagnostic: Diagnostic) -> FieldError {
    FieldError {
        pointer: diagnostic.pointer,
        message: diagnostic.message,
        severity: Some(match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }),
        line: Some(diagnostic.line),
        column: Some(diagnostic.column),
        length: Some(diagnostic.length),
        note: diagnostic.note,
        suggestion: diagnostic.suggestion,
        excerpt: Some(diagnostic.excerpt),
        indent: Some(diagnostic.indent),
    }
}

impl From<getrandom::Error> for Problem {
    fn from(error: getrandom::Error) -> Problem {
        let detail = format!("the system gives no random bits: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_randomness", detail)
    }
}
