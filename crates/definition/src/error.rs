//! The one shape of every failure a run can meet.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Value;

/// What kind of thing went wrong: `retry.on` and `catch.on` match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Time ran out.
    Timeout,
    /// No connection to the other side; nothing was sent.
    Connect,
    /// The other side answered with an HTTP error status.
    Http,
    /// A value does not have the shape that was asked for.
    Validation,
    /// An expression could not be evaluated.
    Expression,
    /// Stopped because a person or a surrounding step asked for it.
    Cancelled,
    /// A bound of the product was passed.
    Limit,
    /// A person or a rule said no.
    Denied,
    /// Something named does not exist.
    NotFound,
    /// A script or program failed.
    Script,
    /// A WebAssembly component failed.
    Wasm,
    /// A language model failed.
    Model,
    /// The server or worker that ran the attempt is gone.
    WorkerLost,
    /// The workflow's author said so with `fail`.
    User,
}

impl Class {
    /// Every class, in the order of the language page.
    pub const ALL: [Class; 14] = [
        Class::Timeout,
        Class::Connect,
        Class::Http,
        Class::Validation,
        Class::Expression,
        Class::Cancelled,
        Class::Limit,
        Class::Denied,
        Class::NotFound,
        Class::Script,
        Class::Wasm,
        Class::Model,
        Class::WorkerLost,
        Class::User,
    ];

    /// The word that documents and answers use.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Timeout => "timeout",
            Class::Connect => "connect",
            Class::Http => "http",
            Class::Validation => "validation",
            Class::Expression => "expression",
            Class::Cancelled => "cancelled",
            Class::Limit => "limit",
            Class::Denied => "denied",
            Class::NotFound => "not_found",
            Class::Script => "script",
            Class::Wasm => "wasm",
            Class::Model => "model",
            Class::WorkerLost => "worker_lost",
            Class::User => "user",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure of a step or of a run, as it stands in the journal and in answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// What kind of failure.
    pub class: Class,
    /// Which one, stable and machine-readable: `no_such_key`, `500`, `loop_limit`.
    pub code: Arc<str>,
    /// What happened and what to do, for a person.
    pub message: Arc<str>,
    /// Whether trying again may help.
    pub retryable: bool,
    /// Whatever else is known; null when nothing is.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl Error {
    /// A failure that is not worth a retry.
    pub fn new(class: Class, code: impl AsRef<str>, message: impl AsRef<str>) -> Error {
        Error {
            class,
            code: code.as_ref().into(),
            message: message.as_ref().into(),
            retryable: false,
            details: Value::Null,
        }
    }

    /// The same failure, worth a retry.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.retryable = true;
        self
    }

    /// The same failure, with one more detail.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Error {
        self.details = self.details.with_entry(key, value.into());
        self
    }

    /// Whether nobody answered, so that it may have had its effect all the same; other errors are answers.
    pub fn leaves_open(&self) -> bool {
        matches!(self.class, Class::Timeout | Class::Cancelled | Class::WorkerLost | Class::Connect)
    }

    /// The failure as the value that `e` and `steps.<id>.error` show.
    pub fn to_value(&self) -> Value {
        Value::map([
            ("class", Value::from(self.class.as_str())),
            ("code", Value::String(self.code.clone())),
            ("message", Value::String(self.message.clone())),
            ("retryable", Value::Bool(self.retryable)),
            ("details", self.details.clone()),
        ])
    }

    /// Reads what [`Error::to_value`] wrote; `None` when it is not the shape of an error.
    pub fn from_value(value: &Value) -> Option<Error> {
        Some(Error {
            class: Class::parse(value.get("class")?.as_str()?)?,
            code: value.get("code")?.as_str()?.into(),
            message: value.get("message")?.as_str()?.into(),
            retryable: matches!(value.get("retryable"), Some(Value::Bool(true))),
            details: value.get("details").cloned().unwrap_or(Value::Null),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.class, self.code, self.message)
    }
}

impl std::error::Error for Error {}
