//! A document as text again: the same order of keys always, no comments.
//!
//! Invariant: what is printed, read again, is the same document.

mod node;
mod yaml;

use sha2::{Digest, Sha256};

use crate::{document::Document, plan::PlanHash};

pub use node::{Editor, to_node};

/// The document as YAML.
pub fn print_yaml(document: &Document) -> String {
    yaml::write(&to_node(document, Editor::Kept))
}

/// The document as JSON, indented.
pub fn print_json(document: &Document) -> String {
    let mut text = String::new();
    node::write_json(&to_node(document, Editor::Kept), 0, &mut text);
    text.push('\n');
    text
}

/// SHA-256 of what the document means to the engine and to its readers: compact JSON with keys in code point order,
/// spans of time in their shortest form, without the editor's `position` and `ui`. `description` counts: a run's
/// record shows the text that it was started with.
pub fn hash(document: &Document) -> PlanHash {
    let canonical = to_node(document, Editor::LeftOut).to_value().to_string();
    PlanHash(Sha256::digest(canonical.as_bytes()).into())
}
