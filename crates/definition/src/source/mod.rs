//! Source text as a tree that knows where each part stands.
//!
//! YAML and JSON become the same [`Node`]s, so everything behind this module is written once. Invariant: a tree is
//! bounded in depth and size before anything walks it, whatever the text holds.

mod json;
mod node;
mod place;
mod scalar;
mod span;
mod yaml;

use serde::{Deserialize, Serialize};

pub use node::{Entry, KeysStandFor, Kind, Node, Style};
pub use place::place_within;
pub(crate) use scalar::is_plain_text;
pub use span::{Lines, Span, Spanned};

use crate::{diagnostic::Problem, document::Limits};

/// Lists and maps within each other at most.
pub const DEPTH_MAX: usize = 200;
/// Nodes of a document at most, those that aliases stand for included.
pub const NODES_MAX: usize = 250_000;
/// Nodes that aliases and merge keys may add.
pub const ALIASED_NODES_MAX: usize = 10_000;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// YAML 1.2, core schema.
    Yaml,
    /// RFC 8259, without duplicate keys.
    Json,
}

/// What reading a text gave: a tree unless the text breaks off, and whatever is wrong with it.
#[derive(Debug)]
pub struct Parsed {
    /// The tree; `None` when the text cannot be read to its end.
    pub root: Option<Node>,
    /// In the order they were found.
    pub problems: Vec<Problem>,
}

/// The text without its byte order mark: what every span counts from.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads a document's text of the usual size, which must have come through [`without_mark`].
pub fn parse(text: &str, format: Format) -> Parsed {
    parse_within(text, format, Limits::default().document_bytes)
}

/// Reads a document's text of at most so many bytes, which must have come through [`without_mark`].
pub fn parse_within(text: &str, format: Format, bytes_max: usize) -> Parsed {
    if text.len() > bytes_max {
        let message =
            format!("the document has {} bytes; the limit is {bytes_max} (setting `document_bytes_max`)", text.len());
        return Parsed { root: None, problems: vec![Problem::new(Span::at(0), message)] };
    }
    if let Some(at) = text.find('\0') {
        let problem = Problem::new(Span::at(at), "a document cannot hold a NUL character");
        return Parsed { root: None, problems: vec![problem] };
    }
    match format {
        Format::Yaml => yaml::parse(text),
        Format::Json => json::parse(text),
    }
}
