//! JSON Schemas that a document holds: each must be one, and must not lead outside the document.

use super::Compiler;
use crate::{
    diagnostic::{Problem, nearest},
    input,
    source::{Entry, Kind, Node},
};

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

impl Compiler<'_> {
    /// Checks that a part of the document is a JSON Schema 2020-12.
    pub(super) fn check_json_schema(&mut self, node: &Node, what: &str) {
        let problems_before = self.problems.len();
        self.check_references(node, node);
        let schema = node.to_value().to_serde();
        for error in input::meta_errors(&schema) {
            let at = node.at_pointer(&error.pointer).unwrap_or(node);
            let name = at.as_str().filter(|_| error.pointer.ends_with("/type"));
            self.report(match name {
                Some(name) => Problem::new(at.span, format!("{what} is not a JSON Schema: unknown type `{name}`"))
                    .suggest(nearest(name, TYPES)),
                None => Problem::new(at.span, format!("{what} is not a JSON Schema: {}", error.message)),
            });
        }
        if self.problems.len() > problems_before {
            return;
        }
        if let Err(error) = input::build(&schema) {
            let at = node.at_pointer(&error.pointer).unwrap_or(node);
            self.error(at.span, format!("{what} is not a JSON Schema that can be used: {}", error.message));
        }
    }

    /// References must stay within the schema: nothing is fetched.
    fn check_references(&mut self, node: &Node, root: &Node) {
        match &node.kind {
            Kind::List(items) => items.iter().for_each(|it| self.check_references(it, root)),
            Kind::Map(entries) => entries.iter().for_each(|it| self.check_reference(it, root)),
            _ => {}
        }
    }

    fn check_reference(&mut self, entry: &Entry, root: &Node) {
        let Some(reference) = entry.value.as_str().filter(|_| &*entry.key == "$ref") else {
            return self.check_references(&entry.value, root);
        };
        // With an `$id` of its own, a schema may refer to itself by that.
        if !reference.starts_with('#') && root.get("$id").is_none() {
            let problem = Problem::new(entry.value.span, "a schema must not refer to anything outside the document");
            self.report(problem.note("put it under `$defs` and refer to `#/$defs/<name>`"));
        } else if let Some(pointer) = reference.strip_prefix('#').filter(|it| it.is_empty() || it.starts_with('/'))
            && root.at_pointer(pointer).is_none()
        {
            let names = root.get("$defs").and_then(Node::as_map).unwrap_or_default().iter().map(|it| &*it.key);
            let suggestion = pointer.strip_prefix("/$defs/").and_then(|name| nearest(name, names));
            let problem = Problem::new(entry.value.span, format!("nothing stands at `{reference}`"));
            self.report(problem.suggest(suggestion.map(|name| format!("#/$defs/{name}"))));
        }
    }
}
