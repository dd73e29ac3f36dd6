//! Why an evaluation stops: kept small while it travels, turned into an [`Error`] at the end.
//!
//! Invariant: a failure of class `limit` is never absorbed, neither by `||` and `&&` nor by `default`.

use std::fmt::Display;

use crate::{Class, Error, Value};

use super::SyntaxError;

/// A failure on its way out. Boxed, so that the good case stays small.
#[derive(Debug)]
pub(crate) struct Failure {
    class: Class,
    code: &'static str,
    message: String,
    span: Option<Span>,
}

/// What evaluating gives.
pub(crate) type Outcome<T = Value> = Result<T, Box<Failure>>;

/// A part of the source text, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it starts.
    pub offset: u32,
    /// How long it is.
    pub length: u32,
}

impl Span {
    /// The part between two byte offsets.
    pub(crate) fn between(start: usize, end: usize) -> Span {
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span { offset: at(start), length: at(end.saturating_sub(start)) }
    }

    /// From the start of this one to the end of the other.
    pub(crate) fn to(self, last: Span) -> Span {
        Span { offset: self.offset, length: (last.offset + last.length).saturating_sub(self.offset) }
    }
}

impl Failure {
    fn boxed(class: Class, code: &'static str, message: String) -> Box<Failure> {
        Box::new(Failure { class, code, message, span: None })
    }

    pub(crate) fn no_such_key(message: impl Display) -> Box<Failure> {
        Failure::boxed(Class::Expression, "no_such_key", message.to_string())
    }

    /// A function or operator that is not made for values of these types.
    pub(crate) fn no_such_overload(message: impl Display) -> Box<Failure> {
        Failure::boxed(Class::Expression, "no_such_overload", message.to_string())
    }

    pub(crate) fn invalid_argument(message: impl Display) -> Box<Failure> {
        Failure::boxed(Class::Expression, "invalid_argument", message.to_string())
    }

    pub(crate) fn overflow(message: impl Display) -> Box<Failure> {
        Failure::boxed(Class::Expression, "overflow", message.to_string())
    }

    pub(crate) fn division_by_zero() -> Box<Failure> {
        Failure::boxed(Class::Expression, "division_by_zero", "division by zero".to_owned())
    }

    pub(crate) fn cost_limit(limit: u64) -> Box<Failure> {
        let message = format!("the expression does more work than allowed: cost limit {limit} (expression_cost_max)");
        Failure::boxed(Class::Limit, "cost_limit", message)
    }

    pub(crate) fn value_limit(message: impl Display) -> Box<Failure> {
        Failure::boxed(Class::Limit, "value_limit", message.to_string())
    }

    pub(crate) fn is_limit(&self) -> bool {
        self.class == Class::Limit
    }

    pub(crate) fn is_absence(&self) -> bool {
        self.code == "no_such_key"
    }

    /// Says where, unless something further in has said so already.
    pub(crate) fn at(mut self: Box<Self>, span: Span) -> Box<Failure> {
        self.span.get_or_insert(span);
        self
    }

    /// The failure as a run meets it, with the source text and the place in it.
    pub(crate) fn into_error(self, source: &str) -> Error {
        let error = Error::new(self.class, self.code, self.message).with_detail("expression", source);
        match self.span {
            None => error,
            Some(span) => error.with_detail("offset", span.offset).with_detail("length", span.length),
        }
    }
}

impl SyntaxError {
    pub(crate) fn new(message: impl Into<String>, offset: usize, length: usize) -> Box<SyntaxError> {
        Box::new(SyntaxError { message: message.into(), offset, length: length.max(1), suggestion: None })
    }

    pub(crate) fn at(message: impl Into<String>, span: Span) -> Box<SyntaxError> {
        SyntaxError::new(message, span.offset as usize, span.length as usize)
    }

    /// The same, in a text that this one's text is a part of.
    #[must_use]
    pub(crate) fn moved(mut self: Box<Self>, by: usize) -> Box<SyntaxError> {
        self.offset += by;
        self
    }
}
