//! JSON Schemas that a document holds: each must be one, and must not lead outside the document.

use super::Compiler;
use crate::{diagnostic::Problem, input, source::Node};

impl Compiler<'_> {
    /// Checks that a part of the document is a JSON Schema 2020-12.
    pub(super) fn check_json_schema(&mut self, node: &Node, what: &str) {
        let schema = node.to_value().to_serde();
        let mut sound = true;
        for error in input::meta_errors(&schema) {
            sound = false;
            let at = node.at_pointer(&error.pointer).unwrap_or(node);
            let problem = Problem::new(at.span, format!("{what} is not a JSON Schema: {}", error.message));
            self.report(problem.note("JSON Schema 2020-12"));
        }
        if !sound {
            return;
        }
        if let Err(error) = input::build(&schema) {
            let at = node.at_pointer(&error.pointer).unwrap_or(node);
            self.error(at.span, format!("{what} is not a JSON Schema that can be used: {}", error.message));
        }
    }
}
