//! The fields of the whole document.

use super::{
    Block, Common, Concurrency, Document, Edge, Missed, Name, Named, Place, Retain, Trigger,
    fields::Fields,
    read::{Reader, missing},
};
use crate::{
    diagnostic::{Problem, nearest},
    plan::WhenFull,
    source::{Kind, Node, Spanned},
};

impl Reader<'_> {
    pub(super) fn document(&mut self, root: &Node) -> Document {
        let mut document = Document::default();
        let Some(mut fields) = self.fields(root, "a document") else { return document };
        if let Some(node) = self.require(&mut fields, "name") {
            document.name = self.address_name(node, "a workflow name").unwrap_or_default();
        }
        document.description = fields.take("description").and_then(|node| self.text(node, "`description`"));
        document.tags = fields.take("tags").map_or(Vec::new(), |node| self.tags(node));
        document.input = fields.take("input").cloned();
        document.vars = fields.take("vars").map(|node| {
            self.map(node, "`vars`");
            node.clone()
        });
        document.timeout = fields.take("timeout").and_then(|node| self.duration(node, "`timeout`"));
        document.concurrency = fields.take("concurrency").and_then(|node| self.concurrency(node));
        document.retain = fields.take("retain").and_then(|node| self.retain(node));
        document.key = fields.take("key").cloned();
        document.labels = fields.take("labels").map_or(Vec::new(), |node| self.labels(node));
        document.triggers = fields.take("triggers").map_or(Vec::new(), |node| {
            self.list(node, "`triggers`").iter().filter_map(|it| self.trigger(it)).collect()
        });
        document.defaults = fields.take("defaults").map_or(Vec::new(), |node| self.defaults(node));
        document.body = self.body(&mut fields);
        document.catches = fields.take("catch").map_or(Vec::new(), |node| self.catches(node));
        document.finally = fields.take("finally").map(|node| self.block(node, "`finally`"));
        document.output = fields.take("output").cloned();
        document.ui = self.ui(&mut fields);
        self.finish(&fields);
        document
    }

    /// A name that can stand in an address.
    fn address_name(&mut self, node: &Node, what: &str) -> Option<Name> {
        let name = self.name(node, "`name`")?;
        if !is_workflow_name(&name) {
            let message = format!("`{}` is not {what}", super::read::shortened(&name));
            let note = "small letters and digits, with `-` and `_` between them";
            self.report(Problem::new(node.span, message).note(note));
            return None;
        }
        Some(name)
    }

    fn tags(&mut self, node: &Node) -> Vec<Name> {
        let mut tags: Vec<Name> = Vec::new();
        for item in self.list(node, "`tags`") {
            let Some(tag) = self.name(item, "a tag") else { continue };
            if tags.contains(&tag) {
                self.report(Problem::new(tag.span, format!("the tag `{}` stands here a second time", tag.value)));
                continue;
            }
            tags.push(tag);
        }
        tags
    }

    fn labels(&mut self, node: &Node) -> Named<Node> {
        let entries = self.map(node, "`labels`");
        let mut labels = Vec::new();
        for entry in entries {
            let key = Node::new(Kind::String(entry.key.clone()), entry.key_span);
            if let Some(name) = self.name(&key, "a label's name") {
                labels.push((name, entry.value.clone()));
            }
        }
        labels
    }

    fn concurrency(&mut self, node: &Node) -> Option<Concurrency> {
        let mut fields = self.fields(node, "`concurrency`")?;
        let limit = self.require(&mut fields, "limit");
        let limit = limit.and_then(|it| self.count(it, "`limit`", (1, 1_000_000)));
        let key = fields.take("key").cloned();
        let words = [("queue", WhenFull::Queue), ("reject", WhenFull::Reject), ("replace", WhenFull::Replace)];
        let when_full = fields.take("when_full").and_then(|it| self.word(it, "`when_full`", &words));
        self.finish(&fields);
        Some(Concurrency { limit: limit?, key, when_full })
    }

    fn retain(&mut self, node: &Node) -> Option<Retain> {
        let mut fields = self.fields(node, "`retain`")?;
        let runs = fields.take("runs").and_then(|it| self.whole(it, "`runs`", (0, 1_000_000_000)));
        let days = fields.take("days").and_then(|it| self.count(it, "`days`", (0, 36_500)));
        self.finish(&fields);
        Some(Retain { runs, days })
    }

    fn trigger(&mut self, node: &Node) -> Option<Trigger> {
        const KINDS: [&str; 3] = ["schedule", "webhook", "event"];
        let entries = self.map(node, "a trigger");
        let [entry] = entries else {
            if node.as_map().is_some() {
                let message = "a trigger is a map with one key: `schedule`, `webhook` or `event`";
                self.report(Problem::new(node.span, message));
            }
            return None;
        };
        match &*entry.key {
            "schedule" => self.schedule(&entry.value),
            "webhook" => self.webhook(&entry.value),
            "event" => self.event_trigger(&entry.value),
            other => {
                let problem = Problem::new(entry.key_span, format!("unknown trigger `{other}`"));
                let suggestion = nearest(other, KINDS);
                let problem = if suggestion.is_none() {
                    problem.note("triggers are `schedule`, `webhook` and `event`")
                } else {
                    problem
                };
                self.report(problem.suggest(suggestion));
                None
            }
        }
    }

    fn schedule(&mut self, node: &Node) -> Option<Trigger> {
        let mut fields = self.fields(node, "`schedule`")?;
        let cron = self.require(&mut fields, "cron").and_then(|it| self.name(it, "`cron`"));
        let timezone = fields.take("timezone").and_then(|it| self.name(it, "`timezone`"));
        let input = fields.take("input").cloned();
        let words = [("skip", Missed::Skip), ("run_once", Missed::RunOnce), ("run_all", Missed::RunAll)];
        let missed = fields.take("missed").and_then(|it| self.word(it, "`missed`", &words));
        self.finish(&fields);
        Some(Trigger::Schedule { cron: cron?, timezone, input, missed })
    }

    fn webhook(&mut self, node: &Node) -> Option<Trigger> {
        let mut fields = self.fields(node, "`webhook`")?;
        let name = self.require(&mut fields, "name").and_then(|it| self.address_name(it, "a webhook name"));
        let secret = self.require(&mut fields, "secret").cloned();
        let input = fields.take("input").cloned();
        self.finish(&fields);
        Some(Trigger::Webhook { name: name?, secret: secret?, input })
    }

    fn event_trigger(&mut self, node: &Node) -> Option<Trigger> {
        let mut fields = self.fields(node, "an `event` trigger")?;
        let event_type = self.require(&mut fields, "type").and_then(|it| self.name(it, "`type`"));
        let when = fields.take("when").cloned();
        let input = fields.take("input").cloned();
        self.finish(&fields);
        Some(Trigger::Event { event_type: event_type?, when, input })
    }

    fn defaults(&mut self, node: &Node) -> Named<Common> {
        let mut defaults = Vec::new();
        for entry in self.map(node, "`defaults`") {
            let key = Spanned::new(entry.key.clone(), entry.key_span);
            if self.known_type(&key).is_none() {
                continue;
            }
            let Some(mut fields) = self.fields(&entry.value, "defaults of a step type") else { continue };
            let common = self.common(&mut fields);
            self.finish(&fields);
            defaults.push((key, common));
        }
        defaults
    }

    fn body(&mut self, fields: &mut Fields<'_>) -> Block {
        let number = self.next_block();
        let edges = fields.take("edges").map(|node| self.edges(node));
        let Some(node) = self.require(fields, "steps") else {
            return Block { number, span: Place::new((), fields.head), steps: Vec::new(), edges, output: None };
        };
        let steps = self.steps(node, "`steps`");
        Block { number, span: Place::new((), node.span), steps, edges, output: None }
    }

    pub(super) fn next_block(&mut self) -> u32 {
        self.blocks += 1;
        self.blocks - 1
    }

    /// A list of steps, or `{steps, edges?, output?}`.
    pub(super) fn block(&mut self, node: &Node, what: &'static str) -> Block {
        let number = self.next_block();
        let mut block = Block { number, span: Place::new((), node.span), ..Block::default() };
        if self.nesting >= self.limits.nesting {
            let max = self.limits.nesting;
            let message = format!("blocks are nested deeper than {max} (setting `nesting_max`)");
            self.report(Problem::new(node.span, message).note("a subflow (`type: workflow`) nests without that limit"));
            return block;
        }
        self.nesting += 1;
        match &node.kind {
            Kind::List(_) => block.steps = self.steps(node, what),
            Kind::Map(entries) if node.get("steps").is_none() && node.get("type").is_some() => {
                let head = Fields::of(node, entries, "a block").head;
                let problem = Problem::new(head, format!("{what} must be a list of steps, not one step"));
                self.report(problem.note("put `- ` before it, or `[ ]` around it"));
            }
            Kind::Map(entries) => {
                let mut fields = Fields::of(node, entries, "a block");
                if let Some(steps) = self.require(&mut fields, "steps") {
                    block.steps = self.steps(steps, "`steps`");
                }
                block.edges = fields.take("edges").map(|it| self.edges(it));
                block.output = fields.take("output").cloned();
                self.finish(&fields);
            }
            _ => self.mismatch(node, what, "a list of steps"),
        }
        self.nesting -= 1;
        block
    }

    fn edges(&mut self, node: &Node) -> Vec<Edge> {
        self.list(node, "`edges`").iter().filter_map(|it| self.edge(it)).collect()
    }

    fn edge(&mut self, node: &Node) -> Option<Edge> {
        let mut fields = self.fields(node, "an edge")?;
        let from = self.require(&mut fields, "from").and_then(|it| self.name(it, "`from`"));
        let to = self.require(&mut fields, "to").and_then(|it| self.name(it, "`to`"));
        let when = fields.take("when").cloned();
        let otherwise = fields.take("otherwise").and_then(|it| self.bool(it, "`otherwise`"));
        let from_port = fields.take("from_port").and_then(|it| self.name(it, "`from_port`"));
        let to_port = fields.take("to_port").and_then(|it| self.name(it, "`to_port`"));
        self.finish(&fields);
        if let (Some(_), Some(otherwise)) = (&when, &otherwise)
            && otherwise.value
        {
            let message = "an edge has `when` or `otherwise`, not both";
            let note = "`otherwise` is taken when no other edge from the same step is";
            self.report(Problem::new(otherwise.span, message).note(note));
        }
        Some(Edge { from: from?, to: to?, when, otherwise, from_port, to_port, span: Place::new((), node.span) })
    }

    /// An empty block in the place of one that is missing and has been reported.
    pub(super) fn missing_block(&mut self) -> Block {
        Block { number: self.next_block(), ..Block::default() }
    }
}

/// Whether a text can be the name of a workflow.
pub fn is_workflow_name(name: &str) -> bool {
    let edge = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=200).contains(&bytes.len())
        && bytes.iter().all(|it| edge(*it) || matches!(it, b'-' | b'_'))
        && bytes.first().is_some_and(|it| edge(*it))
        && bytes.last().is_some_and(|it| edge(*it))
}

/// A part that is missing and has been reported.
pub(super) fn or_missing(node: Option<&Node>, kind: Kind) -> Node {
    node.cloned().unwrap_or_else(|| missing(kind))
}
