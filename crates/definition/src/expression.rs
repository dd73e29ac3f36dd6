//! Expressions: the Common Expression Language with this language's own functions, bounded in length, depth and cost.
//!
//! Invariant: evaluating reads nothing but the [`Scope`], ends, never panics, and gives the same value for the same
//! scope. `docs/expressions.md` is the reference for users.
//!
//! Codes of errors of class `expression`:
//! - `no_such_key`: a name, key or index is absent, or something is selected from null; `default` answers these
//! - `no_such_overload`: a function or operator is not made for values of these types
//! - `invalid_argument`: the types are right and the value is not, such as a text that is no time
//! - `division_by_zero`: of ints and uints
//! - `overflow`: beyond the range of int, uint, times or durations
//!
//! Codes of class `limit`:
//! - `cost_limit`: more work than [`Limits::cost`]
//! - `value_limit`: the value is larger than [`Limits::value_bytes`]

use std::sync::Arc;

use uuid::Uuid;

use crate::{Timestamp, Value, error::Error, plan::References};

mod access;
mod arithmetic;
mod ast;
mod compare;
mod evaluator;
mod failure;
mod functions;
mod lexer;
mod literal;
mod meter;
mod names;
mod parser;
mod pattern;
mod token;

pub use failure::Span;
pub use functions::names as function_names;
pub(crate) use literal::text as literal_text;
pub use names::Name;
pub(crate) use names::references;
pub use parser::is_reserved;

use ast::{Kind, LinkKind, Node};
use evaluator::Evaluator;
use failure::{Failure, Outcome};
use meter::Meter;

/// Bytes of a source text, at most.
pub const SOURCE_BYTES_MAX: usize = 2 << 10;

/// Brackets, braces, calls and branches of `? :` within each other, at most.
pub const NESTING_MAX: usize = 64;

/// Levels of the tree, at most: operators of different precedence within each other count too.
pub const HEIGHT_MAX: usize = 256;

/// Operators of one level in a row, or selects in a row, at most.
pub const CHAIN_MAX: usize = 256;

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

/// What an evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Units of work: one per node evaluated, per element touched, and per 64 bytes touched.
    pub cost: u64,
    /// Bytes of the value as JSON, about.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cost: 1_000_000, value_bytes: crate::value::BYTES_MAX }
    }
}

/// Where an expression stands in its document. `uuid()` gives different identifiers at different places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// Of the text that holds it, such as its JSON pointer in the document.
    pub pointer: &'a str,
    /// Of the expression in that text, in bytes.
    pub offset: usize,
}

impl Place<'_> {
    /// A number that is the same on every machine and in every version (FNV-1a).
    fn number(self) -> u32 {
        let offset = self.offset as u64;
        let bytes = self.pointer.bytes().chain(offset.to_le_bytes());
        bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// A parsed expression. Cloning it is cheap; it is equal to another of the same source text.
#[derive(Debug, Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Arc<str>,
    root: Node,
    names: Vec<Name>,
    place: u32,
    text_offset: usize,
    /// Whether the value is a part of what the scope gave, which is within its bounds already.
    selects_only: bool,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.inner.source == other.inner.source
    }
}

impl Eq for Expression {}

impl Expression {
    /// Parses a source text without its braces.
    ///
    /// # Errors
    /// What is wrong and where; also a text past its bounds, and a call of a function that does not exist.
    pub fn parse(source: &str) -> Result<Expression, SyntaxError> {
        Expression::parse_at(source, Place::default())
    }

    /// Parses a source text that stands at that place of its document.
    ///
    /// # Errors
    /// As [`Expression::parse`].
    pub fn parse_at(source: &str, place: Place<'_>) -> Result<Expression, SyntaxError> {
        let parsed = parser::parse(source).map_err(|error| *error)?;
        let inner = Inner {
            selects_only: selects_only(&parsed.root),
            source: source.into(),
            root: parsed.root,
            names: parsed.names,
            place: place.number(),
            text_offset: place.offset,
        };
        Ok(Expression { inner: Arc::new(inner) })
    }

    /// Where it stands in the text around it, in bytes.
    pub fn text_offset(&self) -> usize {
        self.inner.text_offset
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// The names it refers to, without those that its own macros bind.
    pub fn references(&self) -> References {
        names::references(&self.inner.names)
    }

    /// The names it refers to and where they stand, in order of appearance.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.inner.names.iter()
    }

    /// Whether it refers to a secret.
    pub fn uses_secrets(&self) -> bool {
        self.names().any(|name| name.root() == "secrets")
    }

    /// Evaluates it: the same scope gives the same value. The value may be of any kind, not only JSON.
    ///
    /// # Errors
    /// Class `expression` (never retryable), or `limit` when its cost passes the bound. `details` has the expression
    /// and the offset in it.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Error> {
        self.evaluate_within(scope, Limits::default())
    }

    /// Evaluates it with other bounds.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn evaluate_within(&self, scope: &dyn Scope, limits: Limits) -> Result<Value, Error> {
        self.outcome(scope, limits).map_err(|failure| failure.into_error(&self.inner.source))
    }

    /// Evaluates a `when` or `if`: there is no truthiness.
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; also a value that is not a bool.
    pub fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, Error> {
        match self.evaluate(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => {
                let message = format!("a condition must be true or false, not {}", other.type_name());
                Err(Failure::no_such_overload(message).into_error(&self.inner.source))
            }
        }
    }

    fn outcome(&self, scope: &dyn Scope, limits: Limits) -> Outcome {
        let meter = Meter::new(limits.cost);
        let mut evaluator = Evaluator { scope, meter, locals: Vec::new(), place: self.inner.place, uuids: 0 };
        let value = evaluator.evaluate(&self.inner.root)?;
        if !self.inner.selects_only && value.json_bytes_within(limits.value_bytes).is_none() {
            let message =
                format!("the value of the expression is larger than {} bytes (value_bytes_max)", limits.value_bytes);
            return Err(Failure::value_limit(message));
        }
        Ok(value)
    }
}

fn selects_only(node: &Node) -> bool {
    match &*node.kind {
        Kind::Variable(_) | Kind::Step(_) | Kind::StepField(..) => true,
        Kind::Postfix(first, links) => {
            let plain = |kind: &LinkKind| matches!(kind, LinkKind::Field(_) | LinkKind::Index(_));
            selects_only(first) && links.iter().all(|link| plain(&link.kind))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
