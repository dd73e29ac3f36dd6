//! How a command ends: its exit code, and what it says on standard error.

use std::{fmt, process::ExitCode};

/// The exit codes, as `windlass --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; a run that was waited for completed.
    Done = 0,
    /// A run that was waited for did not complete, or a check found something.
    NotCompleted = 1,
    /// Bad usage, a document or an input that does not validate, a state that does not allow it.
    Refused = 2,
    /// The server or the database cannot be reached, or is held by another process.
    Unreachable = 3,
    /// There is no such thing.
    NotFound = 4,
    /// No token, a wrong token, or one without the permission.
    Denied = 5,
    /// Something went wrong inside.
    Internal = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A stable word for programs.
    pub code: String,
    /// What went wrong and what to do; may have several lines.
    pub message: String,
}

/// What commands return.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure with that exit code.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Failure {
        Failure { exit, code: code.to_owned(), message: message.into() }
    }

    /// Refused: bad usage or bad input.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Refused, "refused", message)
    }

    /// Something that ought not to happen.
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Internal, "internal", message)
    }

    /// The failure as JSON, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": { "code": self.code, "message": self.message } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.starts_with("error") {
            return f.write_str(&self.message);
        }
        write!(f, "error: {}", self.message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::internal(error.to_string())
    }
}
