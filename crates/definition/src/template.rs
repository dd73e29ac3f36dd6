//! Templates: JSON with `${{ … }}` in its texts.
//!
//! Invariant: a template without expressions is its value; evaluating gives JSON, or says why there is none. Text that
//! an expression inserts is never read as an expression again.

use std::sync::Arc;

use crate::{
    Class, Error, Expression, Value,
    expression::{Limits, Name, Scope, SyntaxError},
    plan::{Condition, References},
    value::{DEPTH_MAX, Key, Map},
};

mod secret;
mod text;

pub use text::contains_expression;

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

impl Piece {
    fn uses_secrets(&self) -> bool {
        matches!(self, Piece::Expression(expression) if expression.uses_secrets())
    }
}

/// What is wrong with an expression in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Of the text in the value, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Byte offset in that text.
    pub offset: usize,
    /// What is wrong; its own offset counts from the start of the expression.
    pub error: SyntaxError,
}

/// A name in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateName<'a> {
    /// Of the text in the value, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Byte offset in that text.
    pub offset: usize,
    /// The name; its own offsets count from the start of the expression.
    pub name: &'a Name,
}

impl Template {
    /// Finds and parses every expression in a value.
    ///
    /// # Errors
    /// All that is wrong, in the order of the value.
    pub fn compile(value: &Value) -> Result<Template, Vec<TemplateError>> {
        Template::compile_at(value, "")
    }

    /// Finds and parses every expression in the value that stands at that JSON pointer of its document: `uuid()` gives
    /// different identifiers at different places. Pointers in errors are those of the document then.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile_at(value: &Value, pointer: &str) -> Result<Template, Vec<TemplateError>> {
        let mut compiler = Compiler { pointer: pointer.to_owned(), depth: 0, errors: Vec::new() };
        let template = compiler.value(value);
        if compiler.errors.is_empty() { Ok(template) } else { Err(compiler.errors) }
    }

    /// Compiles what stands in `when`, `if`, `on` or `items` at that JSON pointer: a text is an expression with or
    /// without braces, any other value is itself.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile_expression_field(value: &Value, pointer: &str) -> Result<Template, Vec<TemplateError>> {
        match value {
            Value::String(text) => text::expression_field(text, pointer).map(Template::Expression),
            other => Ok(Template::Literal(other.clone())),
        }
        .map_err(|error| vec![error])
    }

    /// Compiles a `when` or `if` at that JSON pointer: a bool, or a text that is an expression with or without braces.
    ///
    /// # Errors
    /// As [`Template::compile`]; also a value that is neither.
    pub fn condition(value: &Value, pointer: &str) -> Result<Condition, Vec<TemplateError>> {
        match Template::compile_expression_field(value, pointer)? {
            Template::Literal(Value::Bool(truth)) => Ok(Condition::Literal(truth)),
            Template::Expression(expression) => Ok(Condition::Expression(expression)),
            _ => {
                let message = format!("a condition is true, false or an expression, not {}", value.type_name());
                let error = SyntaxError { message, offset: 0, length: 1, suggestion: None };
                Err(vec![TemplateError { pointer: pointer.to_owned(), offset: 0, error }])
            }
        }
    }

    /// Evaluates every expression in it, and gives JSON: see [`Value::into_json`]. An expression with a secret is left
    /// as its text: secrets are resolved where they are used, and never pass through here.
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; also a value that has no JSON form, or is larger than a value may be.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Error> {
        self.evaluate_within(scope, Limits::default())
    }

    /// Evaluates it with other bounds: the cost is that of each expression, the size that of the whole.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn evaluate_within(&self, scope: &dyn Scope, limits: Limits) -> Result<Value, Error> {
        let value = match self {
            Template::Literal(value) => return Ok(value.clone()),
            other => other.value(scope, limits)?,
        };
        let bytes_max = limits.value_bytes;
        let several = matches!(self, Template::Text(_) | Template::List(_) | Template::Map(_));
        if several && value.json_bytes_within(bytes_max).is_none() {
            let message = format!("the value is larger than {bytes_max} bytes (value_bytes_max)");
            return Err(Error::new(Class::Limit, "value_limit", message));
        }
        value.into_json().map_err(|message| Error::new(Class::Expression, "invalid_argument", message))
    }

    fn value(&self, scope: &dyn Scope, limits: Limits) -> Result<Value, Error> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expression(expression) if expression.uses_secrets() => Ok(Value::from(text::written(expression))),
            Template::Expression(expression) => expression.evaluate_within(scope, limits),
            Template::Text(pieces) => text::insert(pieces, scope, limits),
            Template::List(items) => {
                let items: Result<Vec<Value>, Error> = items.iter().map(|item| item.value(scope, limits)).collect();
                Ok(Value::List(Arc::new(items?)))
            }
            Template::Map(entries) => {
                let mut map = Map::new();
                for (key, template) in entries {
                    map.insert(Key::String(key.clone()), template.value(scope, limits)?);
                }
                Ok(Value::Map(Arc::new(map)))
            }
        }
    }

    /// Calls back with every expression in it and the JSON pointer of its text.
    fn visit<'a>(&'a self, pointer: &mut String, found: &mut dyn FnMut(&str, &'a Expression)) {
        match self {
            Template::Literal(_) => {}
            Template::Expression(expression) => found(pointer, expression),
            Template::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Expression(expression) = piece {
                        found(pointer, expression);
                    }
                }
            }
            Template::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let length = enter(pointer, &index.to_string());
                    item.visit(pointer, found);
                    pointer.truncate(length);
                }
            }
            Template::Map(entries) => {
                for (key, item) in entries {
                    let length = enter(pointer, key);
                    item.visit(pointer, found);
                    pointer.truncate(length);
                }
            }
        }
    }

    /// Calls back with every expression in it and the JSON pointer of its text.
    pub(crate) fn each_expression<'a>(&'a self, found: &mut dyn FnMut(&str, &'a Expression)) {
        self.visit(&mut String::new(), found);
    }

    /// The expressions in it, in order.
    pub fn expressions(&self) -> Vec<&Expression> {
        let mut expressions = Vec::new();
        self.visit(&mut String::new(), &mut |_, expression| expressions.push(expression));
        expressions
    }

    /// The names that its expressions refer to, and where they stand.
    pub fn names(&self) -> Vec<TemplateName<'_>> {
        let mut names = Vec::new();
        self.visit(&mut String::new(), &mut |pointer, expression| {
            names.extend(expression.names().map(|name| TemplateName {
                pointer: pointer.to_owned(),
                offset: expression.text_offset() + name.offset,
                name,
            }));
        });
        names
    }

    /// The names that its expressions refer to.
    pub fn references(&self) -> References {
        let names = self.expressions().into_iter().flat_map(Expression::names);
        crate::expression::references(names)
    }

    /// Whether an expression in it refers to a secret.
    pub fn uses_secrets(&self) -> bool {
        self.expressions().into_iter().any(Expression::uses_secrets)
    }
}

/// Goes one part further along a JSON pointer, and gives the length to cut it back to.
fn enter(pointer: &mut String, part: &str) -> usize {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
    length
}

struct Compiler {
    pointer: String,
    depth: usize,
    errors: Vec<TemplateError>,
}

impl Compiler {
    fn value(&mut self, value: &Value) -> Template {
        match value {
            Value::String(text) => self.text(text),
            Value::List(_) | Value::Map(_) if self.depth >= DEPTH_MAX => {
                let message = format!("lists and maps are more than {DEPTH_MAX} deep within each other");
                let error = SyntaxError { message, offset: 0, length: 1, suggestion: None };
                self.errors.push(TemplateError { pointer: self.pointer.clone(), offset: 0, error });
                Template::Literal(Value::Null)
            }
            Value::List(items) => {
                let templates = items.iter().enumerate();
                let templates = templates.map(|(index, item)| self.part(&index.to_string(), item)).collect();
                list_of(templates)
            }
            Value::Map(map) => {
                let entries = map.iter().map(|(key, item)| {
                    let key: Arc<str> = match key {
                        Key::String(text) => text.clone(),
                        other => other.as_text().into(),
                    };
                    let item = self.part(&key, item);
                    (key, item)
                });
                map_of(entries.collect())
            }
            other => Template::Literal(other.clone()),
        }
    }

    fn part(&mut self, part: &str, value: &Value) -> Template {
        let length = enter(&mut self.pointer, part);
        self.depth += 1;
        let template = self.value(value);
        self.depth -= 1;
        self.pointer.truncate(length);
        template
    }

    fn text(&mut self, text: &Arc<str>) -> Template {
        text::compile(text, &self.pointer).unwrap_or_else(|errors| {
            self.errors.extend(errors);
            Template::Literal(Value::Null)
        })
    }
}

fn list_of(items: Vec<Template>) -> Template {
    let literal: Option<Vec<Value>> = items.iter().map(literal).collect();
    literal.map_or(Template::List(items), |items| Template::Literal(Value::list(items)))
}

fn map_of(entries: Vec<(Arc<str>, Template)>) -> Template {
    let literals = entries.iter().map(|(key, item)| Some((Key::String(key.clone()), literal(item)?)));
    let literals: Option<Map> = literals.collect();
    literals.map_or(Template::Map(entries), |map| Template::Literal(Value::Map(Arc::new(map))))
}

fn literal(template: &Template) -> Option<Value> {
    match template {
        Template::Literal(value) => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
