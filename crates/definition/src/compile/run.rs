//! The whole run: its blocks, its output, and what is known before it starts.

use std::{collections::BTreeMap, sync::Arc};

use super::{Compiler, scope::Frame, template::Site};
use crate::{
    Plan, Template, Value,
    document::{self, Document},
    input::InputCheck,
    plan::{Block, Concurrency, Retain, WhenFull},
    print,
    source::{Kind, Node},
};

impl Compiler<'_> {
    /// The plan of a document. It means something only when nothing is wrong.
    pub(super) fn plan(&mut self, document: &Document) -> Plan {
        self.collect_ids(document);
        self.collect_defaults(document);
        self.collect_names(document);
        self.triggers(document);
        let vars = document.vars.as_ref().map_or_else(empty, |node| self.literal(node, "`vars`"));
        if let Some(input) = &document.input {
            self.check_json_schema(input, "`input`");
        }
        let concurrency = document.concurrency.as_ref().map(|it| self.concurrency(it));
        let key = document.key.as_ref().map(|node| self.key(node, "`key`"));
        let labels: BTreeMap<Arc<str>, Template> =
            document.labels.iter().map(|(name, node)| (name.value.clone(), self.key(node, "a label"))).collect();
        let body = self.block(&document.body, None);
        let (catches, finally) = self.handlers(&document.body, (&document.catches, document.finally.as_ref()), None);
        let output = document.output.as_ref().map(|node| {
            self.within(Frame::Ended(document.body.number), |compiler| compiler.template(node, Site::plain("output")))
        });
        let (steps, blocks) = (std::mem::take(&mut self.steps), std::mem::take(&mut self.blocks));
        Plan {
            hash: print::hash(document),
            name: document.name.value.clone(),
            steps: steps.into_iter().flatten().collect(),
            blocks: blocks.into_iter().map(|it| it.unwrap_or_else(empty_block)).collect(),
            by_id: std::mem::take(&mut self.by_id),
            body,
            catches,
            finally,
            output,
            vars,
            input_schema: document.input.as_ref().map(Node::to_value),
            input_check: InputCheck::default(),
            timeout: document.timeout.map(|it| it.value),
            concurrency,
            retain: document.retain.as_ref().map_or(Retain::default(), |it| Retain {
                runs: it.runs.map(|it| it.value),
                days: it.days.map(|it| it.value),
            }),
            key,
            labels,
        }
    }

    /// The names that `vars` and `input` give, so that expressions can be checked against them.
    fn collect_names(&mut self, document: &Document) {
        let keys = |node: &Node| node.as_map().map(|entries| entries.iter().map(|it| it.key.clone()).collect());
        self.vars = match &document.vars {
            None => Some(Default::default()),
            Some(node) => keys(node),
        };
        let closed = |schema: &Node| schema.get("additionalProperties").is_some_and(|it| it.kind == Kind::Bool(false));
        let open = ["$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"];
        self.inputs = document
            .input
            .as_ref()
            .filter(|schema| closed(schema) && open.iter().all(|key| schema.get(key).is_none()))
            .and_then(|schema| schema.get("properties").and_then(keys));
    }

    fn concurrency(&mut self, written: &document::Concurrency) -> Concurrency {
        Concurrency {
            limit: written.limit.value,
            key: written.key.as_ref().map(|node| self.key(node, "`key`")),
            when_full: written.when_full.map_or(WhenFull::Queue, |it| it.value),
        }
    }

    fn key(&mut self, node: &Node, what: &str) -> Template {
        if matches!(node.kind, Kind::List(_) | Kind::Map(_)) {
            self.error(node.span, format!("{what} must be a single value, not {}", node.describe()));
        }
        self.template(node, Site::plain(what.trim_matches('`')))
    }
}

fn empty() -> Value {
    Value::map::<&str>([])
}

/// Stands for a block that was dropped with what held it, which has been reported.
fn empty_block() -> Block {
    Block { owner: None, steps: Vec::new(), edges: Vec::new(), output: None }
}
