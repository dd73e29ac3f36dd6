//! The names that an expression refers to, and where they stand in it.

use std::sync::Arc;

use crate::plan::References;

use super::{SyntaxError, failure::Span, functions};

/// A name of the scope with what is literally selected from it: `steps.charge.output.id`, also when written
/// `steps["charge"].output`. What macros bind is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its parts: `["steps", "charge", "output", "id"]`.
    pub path: Vec<Arc<str>>,
    /// Where each part stands in the source text.
    pub spans: Vec<Span>,
    /// Byte offset of the whole in the source text.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
}

impl Name {
    pub(crate) fn new(segments: Vec<Segment>) -> Name {
        let whole = match (segments.first(), segments.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => Span::default(),
        };
        let (path, spans) = segments.into_iter().map(|segment| (segment.text, segment.span)).unzip();
        Name { path, spans, offset: whole.offset as usize, length: whole.length as usize }
    }

    /// The first part.
    pub fn root(&self) -> &str {
        self.path.first().map_or("", |root| root)
    }
}

/// One part of a name.
pub(crate) struct Segment {
    pub(crate) text: Arc<str>,
    pub(crate) span: Span,
}

/// The type that `google.protobuf.Timestamp` and the like name.
pub(crate) fn protobuf_type(segments: &[Segment]) -> Option<&'static str> {
    let [google, protobuf, name, ..] = segments else { return None };
    if google.text.as_ref() != "google" || protobuf.text.as_ref() != "protobuf" {
        return None;
    }
    match name.text.as_ref() {
        "Timestamp" => Some("google.protobuf.Timestamp"),
        "Duration" => Some("google.protobuf.Duration"),
        _ => None,
    }
}

/// Some names say nothing alone: which step, which loop, which secret is meant must be plain without evaluating.
pub(crate) fn check_root(segments: &[Segment]) -> Result<(), Box<SyntaxError>> {
    const FIELDS: [&str; 3] = ["output", "status", "error"];
    match segments {
        [root] => {
            let message = match root.text.as_ref() {
                "steps" => "name a step: `steps.<id>`, with `.output`, `.status` or `.error`",
                "loops" => "name a loop: `loops.<id>`, with `.item`, `.index` or `.last`",
                "secrets" => "name a secret: `secrets.<name>`",
                _ => return Ok(()),
            };
            Err(SyntaxError::at(message, root.span))
        }
        [root, id, field, ..] if root.text.as_ref() == "steps" && !FIELDS.contains(&field.text.as_ref()) => {
            let message = format!("a step has `output`, `status` and `error`, but no `{}`", field.text);
            let mut error = SyntaxError::at(message, field.span);
            error.suggestion = Some(match functions::nearest_of(&field.text, FIELDS) {
                Some(field) => field,
                None => format!("steps.{}.output.{}", id.text, field.text),
            });
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The names as the plan keeps them: each once, in order of appearance.
pub(crate) fn references<'a>(names: impl IntoIterator<Item = &'a Name>) -> References {
    let mut references = References::default();
    for name in names {
        let (list, entry) = match name.path.as_slice() {
            [root, id, ..] if root.as_ref() == "steps" => (&mut references.steps, id),
            [root, ..] => (&mut references.roots, root),
            [] => continue,
        };
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
    references
}
