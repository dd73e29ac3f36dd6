//! What the facade refuses or cannot do, in the terms of problem documents.

use windlass_definition::diagnostic::Diagnostic;
use windlass_engine::{Reject, id::RunId};
use windlass_store::{LaneId, SearchError, StoreError, WorkflowError};

/// Why a request was not carried out. Nothing was written, except where [`RuntimeError::Unavailable`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such thing in this tenant. 404.
    #[error("there is no {what}")]
    NotFound {
        /// What, with its name: "run 0190…".
        what: String,
    },
    /// The document does not compile. 422.
    #[error("the workflow document has {} error{}", .diagnostics.len(), if .diagnostics.len() == 1 { "" } else { "s" })]
    Document {
        /// What is wrong, all of it.
        diagnostics: Vec<Diagnostic>,
    },
    /// An input, payload, form or field is not what was asked for. 422.
    #[error("{}", summary(.fields))]
    Invalid {
        /// What is wrong, all of it.
        fields: Vec<FieldError>,
    },
    /// It is not in a state that allows this, or somebody was faster. 409.
    #[error("{detail}")]
    Conflict {
        /// A stable word.
        code: &'static str,
        /// What is in the way and what to do.
        detail: String,
    },
    /// The revision is not the one that was expected. 412.
    #[error("the workflow has revision {found}, not {expected}: read it again before you change it")]
    Revision {
        /// What the caller had seen.
        expected: i64,
        /// What is there.
        found: i64,
    },
    /// A rule says no. 403.
    #[error("{detail}")]
    Denied {
        /// A stable word.
        code: &'static str,
        /// Which rule.
        detail: String,
    },
    /// A bound was passed. 413 or 429, by its code.
    #[error("{detail}")]
    Limit {
        /// A stable word.
        code: &'static str,
        /// Which bound, and its setting.
        detail: String,
    },
    /// It cannot be known or done now: try again. After a start, signal or decision it may have been written, or not;
    /// the same idempotency key makes the second try safe. 503.
    #[error("{detail}")]
    Unavailable {
        /// What is missing.
        detail: String,
    },
    /// Another node owns the run; what was meant for it goes through its inbox. 503 where that is not possible.
    #[error("another node runs this run: ask again")]
    Elsewhere {
        /// The run's lane.
        lane: LaneId,
    },
    /// The run's journal does not lead anywhere. 500.
    #[error("run {run} stands still: {detail}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        detail: String,
    },
    /// The database says no. 500 or 503.
    #[error("the database did not do this")]
    Store(#[from] StoreError),
}

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// JSON pointer of the value.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// That value, that fault.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError { pointer: pointer.into(), message: message.into() }
    }
}

fn summary(fields: &[FieldError]) -> String {
    match fields {
        [] => "the request is not valid".to_owned(),
        [only] if only.pointer.is_empty() => only.message.clone(),
        [only] => format!("{}: {}", only.pointer, only.message),
        [first, rest @ ..] => format!("{}: {}, and {} more", first.pointer, first.message, rest.len()),
    }
}

impl RuntimeError {
    pub(crate) fn not_found(kind: &str, name: impl std::fmt::Display) -> RuntimeError {
        RuntimeError::NotFound { what: format!("{kind} `{name}`") }
    }

    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> RuntimeError {
        RuntimeError::Conflict { code, detail: detail.into() }
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> RuntimeError {
        RuntimeError::Unavailable { detail: detail.into() }
    }

    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> RuntimeError {
        RuntimeError::Invalid { fields: vec![FieldError::new(pointer, message)] }
    }

    /// A stable word for answers.
    pub fn code(&self) -> &'static str {
        match self {
            RuntimeError::NotFound { .. } => "not_found",
            RuntimeError::Document { .. } => "invalid_document",
            RuntimeError::Invalid { .. } => "invalid_input",
            RuntimeError::Conflict { code, .. }
            | RuntimeError::Denied { code, .. }
            | RuntimeError::Limit { code, .. } => code,
            RuntimeError::Revision { .. } => "revision_mismatch",
            RuntimeError::Unavailable { .. } | RuntimeError::Elsewhere { .. } => "unavailable",
            RuntimeError::Damaged { .. } => "run_damaged",
            RuntimeError::Store(_) => "database",
        }
    }
}

impl From<WorkflowError> for RuntimeError {
    fn from(error: WorkflowError) -> RuntimeError {
        let code = match error {
            WorkflowError::NotFound(name) => return RuntimeError::not_found("workflow", name),
            WorkflowError::Stale { expected, found } => return RuntimeError::Revision { expected, found },
            WorkflowError::NotNoted => return RuntimeError::unavailable(error.to_string()),
            WorkflowError::Store(error) => return error.into(),
            WorkflowError::NoTemplate(_) => return RuntimeError::invalid("/template_category", error.to_string()),
            WorkflowError::NoFolder => return RuntimeError::invalid("/folder", error.to_string()),
            WorkflowError::NoDraft(_) => "no_draft",
            WorkflowError::LiesElsewhere(_) => "lies_elsewhere",
            WorkflowError::Deleted(_) | WorkflowError::StartsDeleted { .. } => "workflow_deleted",
            WorkflowError::InUse { .. } => "in_use",
        };
        RuntimeError::conflict(code, error.to_string())
    }
}

impl From<SearchError> for RuntimeError {
    fn from(error: SearchError) -> RuntimeError {
        match error {
            SearchError::Store(error) => error.into(),
            SearchError::TooManyWords(_) => RuntimeError::invalid("/q", error.to_string()),
        }
    }
}

impl From<Reject> for RuntimeError {
    fn from(reject: Reject) -> RuntimeError {
        let (code, detail) = (reject.code(), reject.to_string());
        match reject {
            Reject::Limit(_) => RuntimeError::Limit { code, detail },
            Reject::Denied(_) => RuntimeError::Denied { code, detail },
            Reject::NoSuchStep(path) => RuntimeError::not_found("waiting step", path),
            _ => RuntimeError::Conflict { code, detail },
        }
    }
}
