//! Texts with `${{ … }}` in them: where an expression starts and ends, and what is inserted for it.

use std::sync::Arc;

use crate::{
    Class, Error, Expression, Value,
    expression::{Limits, Place, SOURCE_BYTES_MAX, Scope, SyntaxError, literal_text},
};

use super::{Piece, Template, TemplateError};

const OPEN: &str = "${{";
const ESCAPED: &str = "$${{";
const CLOSE: &str = "}}";

/// Whether a text has an expression in it, right or wrong; `$${{` is none.
pub fn contains_expression(text: &str) -> bool {
    let mut parts = Parts { text, at: 0 };
    parts.any(|part| matches!(part, Part::Expression { .. }))
}

/// A part of a text.
enum Part<'a> {
    Literal(&'a str),
    /// What stands between the braces, and where that starts; `None` when they are never closed.
    Expression {
        open: usize,
        source: Option<&'a str>,
    },
}

struct Parts<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        if rest.starts_with(ESCAPED) {
            self.at += ESCAPED.len();
            return Some(Part::Literal(OPEN));
        }
        if let Some(inner) = rest.strip_prefix(OPEN) {
            let open = self.at;
            let end = close(inner);
            self.at += end.map_or(rest.len(), |end| OPEN.len() + end + CLOSE.len());
            return Some(Part::Expression { open, source: end.map(|end| &inner[..end]) });
        }
        // Up to the next opening, or to the `$` that escapes it.
        let next = rest.find(OPEN).unwrap_or(rest.len());
        let escaped = next < rest.len() && rest[..next].ends_with('$');
        let next = if escaped { next - 1 } else { next };
        self.at += next;
        Some(Part::Literal(&rest[..next]))
    }
}

/// Where the expression at the start of a text ends: at the first `}}` outside strings and braces.
fn close(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        match letter {
            '}' if depth == 0 && rest.starts_with(CLOSE) => return Some(at),
            '}' => depth = depth.saturating_sub(1),
            '{' => depth += 1,
            _ => {}
        }
        // A string that is not closed is skipped letter by letter, so that the parser gets to say what is wrong.
        let near = &rest[..rest.floor_char_boundary(2 * SOURCE_BYTES_MAX)];
        let word = near.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        at += match literal_text(near) {
            Ok(Some((_, length))) => length,
            _ => word.max(letter.len_utf8()),
        };
    }
    None
}

/// Finds and parses the expressions in a text.
pub(super) fn compile(text: &Arc<str>, pointer: &str) -> Result<Template, Vec<TemplateError>> {
    if !text.contains(OPEN) {
        return Ok(Template::Literal(Value::String(text.clone())));
    }
    let (mut pieces, mut errors) = (Vec::new(), Vec::new());
    for part in (Parts { text, at: 0 }) {
        match part {
            Part::Literal(text) => match pieces.last_mut() {
                Some(Piece::Literal(last)) => *last = format!("{last}{text}").into(),
                _ => pieces.push(Piece::Literal(text.into())),
            },
            Part::Expression { open, source } => match expression(source, pointer, open) {
                Ok(expression) => pieces.push(Piece::Expression(expression)),
                Err(error) => errors.push(error),
            },
        }
    }
    if errors.is_empty() { Ok(shape(pieces)) } else { Err(errors) }
}

/// One expression but for white space around it, a text without any, or both mixed.
fn shape(pieces: Vec<Piece>) -> Template {
    let mut expressions = pieces.iter().filter_map(|piece| match piece {
        Piece::Expression(expression) => Some(expression),
        Piece::Literal(_) => None,
    });
    let blank = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.trim().is_empty());
    match (expressions.next(), expressions.next(), pieces.as_slice()) {
        (None, _, [Piece::Literal(text)]) => Template::Literal(Value::String(text.clone())),
        (Some(expression), None, pieces) if pieces.iter().filter(|piece| !blank(piece)).count() == 1 => {
            Template::Expression(expression.clone())
        }
        _ => Template::Text(pieces),
    }
}

/// Parses what stands between the braces that open there.
fn expression(source: Option<&str>, pointer: &str, open: usize) -> Result<Expression, TemplateError> {
    let Some(source) = source else {
        let message = "this expression is not closed: `}}` is missing".to_owned();
        let error = SyntaxError { message, offset: 0, length: OPEN.len(), suggestion: None };
        return Err(TemplateError { pointer: pointer.to_owned(), offset: open, error });
    };
    parse(source, pointer, open + OPEN.len())
}

/// Parses a source text that starts there, without the white space around it.
fn parse(source: &str, pointer: &str, start: usize) -> Result<Expression, TemplateError> {
    let start = start + source.len() - source.trim_start().len();
    Expression::parse_at(source.trim(), Place { pointer, offset: start }).map_err(|error| TemplateError {
        pointer: pointer.to_owned(),
        offset: start + error.offset,
        error,
    })
}

/// A text that is an expression with or without braces.
pub(super) fn expression_field(text: &str, pointer: &str) -> Result<Expression, TemplateError> {
    let start = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    let Some(inner) = trimmed.strip_prefix(OPEN) else { return parse(trimmed, pointer, start) };
    let end = close(inner);
    let behind = end.map_or("", |end| &inner[end + CLOSE.len()..]);
    if behind.is_empty() {
        return expression(end.map(|end| &inner[..end]), pointer, start);
    }
    let message = "one expression is needed here, and more stands behind it; `+` joins texts".to_owned();
    let offset = text.trim_end().len() - behind.len();
    let error = SyntaxError { message, offset, length: behind.len(), suggestion: None };
    Err(TemplateError { pointer: pointer.to_owned(), offset, error })
}

/// A text that gives this one when it is read as a template, whatever stands behind it.
fn literally(text: &str) -> String {
    let escaped = text.replace(OPEN, ESCAPED);
    // A `$` at its end would escape the expression behind it.
    let dollars = escaped.len() - escaped.trim_end_matches('$').len();
    match escaped.split_at(escaped.len() - dollars) {
        (_, "") => escaped,
        (before, dollars) => format!("{before}{OPEN} '{dollars}' {CLOSE}"),
    }
}

/// An expression as a template writes it.
pub(super) fn written(expression: &Expression) -> String {
    format!("{OPEN} {} {CLOSE}", expression.source())
}

/// Puts the values of a text's expressions into it.
pub(super) fn insert(pieces: &[Piece], scope: &dyn Scope, limits: Limits) -> Result<Value, Error> {
    let bytes_max = limits.value_bytes;
    let mut text = String::new();
    // Who puts the secrets in later reads this text again: what others gave must not read as an expression then.
    let is_read_again = pieces.iter().any(Piece::uses_secrets);
    let add = |text: &mut String, part: &str| match is_read_again {
        true => text.push_str(&literally(part)),
        false => text.push_str(part),
    };
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => add(&mut text, literal),
            Piece::Expression(expression) if expression.uses_secrets() => text.push_str(&written(expression)),
            Piece::Expression(expression) => {
                let value = expression.evaluate_within(scope, limits)?.into_json();
                let value = value.map_err(|message| Error::new(Class::Expression, "invalid_argument", message))?;
                add(&mut text, &value.to_text());
            }
        }
        if text.len() > bytes_max {
            let message = format!("the text is larger than {bytes_max} bytes (value_bytes_max)");
            return Err(Error::new(Class::Limit, "value_limit", message));
        }
    }
    Ok(Value::from(text))
}
