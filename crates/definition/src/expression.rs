//! Expressions: the Common Expression Language with this language's own functions, bounded in length, depth and cost.

use std::sync::Arc;

use uuid::Uuid;

use crate::{Timestamp, Value, error::Error, plan::References};

/// What an expression can see while it is evaluated. The engine answers from a run's state.
pub trait Scope {
    /// The value of a root name such as `input`, `vars`, `item`, `run` or the name that a `catch` gave its error;
    /// `None` when nothing of that name is in scope.
    fn variable(&self, name: &str) -> Option<Value>;

    /// `steps.<id>`: a map of `output`, `status` and `error`; `None` when no such step is in scope.
    fn step(&self, id: &str) -> Option<Value>;

    /// One field of `steps.<id>`, without building the map; `field` is `output`, `status` or `error`.
    fn step_field(&self, id: &str, field: &str) -> Option<Value> {
        self.step(id)?.get(field).cloned()
    }

    /// `now()`.
    fn now(&self) -> Timestamp;

    /// `uuid()`, the one of this place in the document: the same place gives the same id when evaluated again.
    fn uuid(&self, place: u32) -> Uuid;
}

/// Why a source text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong and what would be right.
    pub message: String,
    /// Byte offset in the source text where it is wrong.
    pub offset: usize,
    /// Bytes from there that the message speaks of; at least 1.
    pub length: usize,
    /// The nearest right name, when a name is unknown.
    pub suggestion: Option<String>,
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    source: Arc<str>,
}

impl Expression {
    /// Parses a source text without its braces.
    ///
    /// # Errors
    /// What is wrong and where; also a text past its bounds, and a call of a function that does not exist.
    pub fn parse(source: &str) -> Result<Expression, SyntaxError> {
        Ok(Expression { source: source.into() })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names it refers to, without those that its own macros bind.
    pub fn references(&self) -> References {
        References::default()
    }

    /// Evaluates it: the same scope gives the same value. The value may be of any kind, not only JSON.
    ///
    /// # Errors
    /// Class `expression` (never retryable), or `limit` when its cost passes the bound.
    pub fn evaluate(&self, _scope: &dyn Scope) -> Result<Value, Error> {
        Ok(Value::Null)
    }
}
