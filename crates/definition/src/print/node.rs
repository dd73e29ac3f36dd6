//! A document as a tree in the order of the language page, and trees as JSON.

use std::{fmt::Write, time::Duration};

use crate::{
    document::{
        Block, Catch, Common, Control, Document, Edge, JoinMode, Missed, Name, OnError, Retry, Step, Test, Trigger,
        Undo,
    },
    plan::{Backoff, ErrorPattern, ItemError, UndoAfter, WhenFull},
    source::{Entry, Kind, Node, Span, Spanned},
};

/// What happens to what belongs to the editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Editor {
    /// `position` and `ui` are written.
    Kept,
    /// They are not.
    LeftOut,
}

/// A map that is being written, in order.
struct Fields {
    entries: Vec<Entry>,
    editor: Editor,
}

impl Fields {
    fn new(editor: Editor) -> Fields {
        Fields { entries: Vec::new(), editor }
    }

    fn put(&mut self, key: &str, value: Node) {
        self.entries.push(Entry { key: key.into(), key_span: Span::default(), value });
    }

    fn node(&mut self, key: &str, value: Option<&Node>) {
        if let Some(value) = value {
            self.put(key, value.clone());
        }
    }

    fn text(&mut self, key: &str, value: Option<&Name>) {
        if let Some(value) = value {
            self.put(key, Node::text(&*value.value));
        }
    }

    fn duration(&mut self, key: &str, value: Option<Spanned<Duration>>) {
        if let Some(value) = value {
            self.put(key, Node::text(duration(value.value)));
        }
    }

    fn number(&mut self, key: &str, value: Option<Spanned<u32>>) {
        if let Some(value) = value {
            self.put(key, whole(value.value.into()));
        }
    }

    fn bool(&mut self, key: &str, value: Option<Spanned<bool>>) {
        if let Some(value) = value {
            self.put(key, Node::new(Kind::Bool(value.value), Span::default()));
        }
    }

    fn editor_node(&mut self, key: &str, value: Option<&Node>) {
        if self.editor == Editor::Kept {
            self.node(key, value);
        }
    }

    fn done(self) -> Node {
        Node::new(Kind::Map(self.entries), Span::default())
    }
}

/// The document as a tree, its keys in the order of the language page.
pub fn to_node(document: &Document, editor: Editor) -> Node {
    let mut fields = Fields::new(editor);
    fields.text("name", Some(&document.name));
    fields.text("description", document.description.as_ref());
    if !document.tags.is_empty() {
        fields.put("tags", texts(&document.tags));
    }
    fields.node("input", document.input.as_ref());
    fields.node("vars", document.vars.as_ref());
    fields.duration("timeout", document.timeout);
    if let Some(concurrency) = &document.concurrency {
        let mut inner = Fields::new(editor);
        inner.number("limit", Some(concurrency.limit));
        inner.node("key", concurrency.key.as_ref());
        if let Some(when_full) = concurrency.when_full {
            let word = match when_full.value {
                WhenFull::Queue => "queue",
                WhenFull::Reject => "reject",
                WhenFull::Replace => "replace",
            };
            inner.put("when_full", Node::text(word));
        }
        fields.put("concurrency", inner.done());
    }
    if let Some(retain) = &document.retain {
        let mut inner = Fields::new(editor);
        if let Some(runs) = retain.runs {
            inner.put("runs", whole(runs.value));
        }
        inner.number("days", retain.days);
        fields.put("retain", inner.done());
    }
    fields.node("key", document.key.as_ref());
    if !document.labels.is_empty() {
        let labels = document.labels.iter().map(|(name, node)| (&*name.value, node.clone()));
        fields.put("labels", Node::map(labels));
    }
    if !document.triggers.is_empty() {
        fields.put("triggers", Node::list(document.triggers.iter().map(|it| trigger(it, editor))));
    }
    if !document.defaults.is_empty() {
        let defaults = document.defaults.iter().map(|(name, it)| {
            let mut inner = Fields::new(editor);
            common(&mut inner, it);
            (&*name.value, inner.done())
        });
        fields.put("defaults", Node::map(defaults));
    }
    fields.put("steps", steps(&document.body, editor));
    if let Some(edges) = &document.body.edges {
        fields.put("edges", Node::list(edges.iter().map(edge)));
    }
    if !document.catches.is_empty() {
        fields.put("catch", catches(&document.catches, editor));
    }
    if let Some(finally) = &document.finally {
        fields.put("finally", block(finally, editor));
    }
    fields.node("output", document.output.as_ref());
    fields.editor_node("ui", document.ui.as_ref());
    fields.done()
}

fn trigger(trigger: &Trigger, editor: Editor) -> Node {
    let mut inner = Fields::new(editor);
    let kind = match trigger {
        Trigger::Schedule { cron, timezone, input, missed } => {
            inner.text("cron", Some(cron));
            inner.text("timezone", timezone.as_ref());
            inner.node("input", input.as_ref());
            if let Some(missed) = missed {
                let word = match missed.value {
                    Missed::Skip => "skip",
                    Missed::RunOnce => "run_once",
                    Missed::RunAll => "run_all",
                };
                inner.put("missed", Node::text(word));
            }
            "schedule"
        }
        Trigger::Webhook { name, secret, input } => {
            inner.text("name", Some(name));
            inner.node("secret", Some(secret));
            inner.node("input", input.as_ref());
            "webhook"
        }
        Trigger::Event { event_type, when, input } => {
            inner.text("type", Some(event_type));
            inner.node("when", when.as_ref());
            inner.node("input", input.as_ref());
            "event"
        }
    };
    Node::map([(kind, inner.done())])
}

fn block(block: &Block, editor: Editor) -> Node {
    if block.edges.is_none() && block.output.is_none() {
        return steps(block, editor);
    }
    let mut fields = Fields::new(editor);
    fields.put("steps", steps(block, editor));
    if let Some(edges) = &block.edges {
        fields.put("edges", Node::list(edges.iter().map(edge)));
    }
    fields.node("output", block.output.as_ref());
    fields.done()
}

fn steps(block: &Block, editor: Editor) -> Node {
    Node::list(block.steps.iter().map(|it| step(it, editor)))
}

fn edge(edge: &Edge) -> Node {
    let mut fields = Fields::new(Editor::Kept);
    fields.text("from", Some(&edge.from));
    fields.text("to", Some(&edge.to));
    fields.node("when", edge.when.as_ref());
    fields.bool("otherwise", edge.otherwise);
    fields.text("from_port", edge.from_port.as_ref());
    fields.text("to_port", edge.to_port.as_ref());
    fields.done()
}

fn step(step: &Step, editor: Editor) -> Node {
    let mut fields = Fields::new(editor);
    fields.text("id", Some(&step.id));
    fields.text("type", Some(&step.type_name));
    fields.text("description", step.description.as_ref());
    if let Some(needs) = &step.needs {
        fields.put("needs", texts(&needs.value));
    }
    let mode = if &*step.type_name.value == "join" { "mode" } else { "join" };
    if let Some(join) = &step.join {
        fields.put(mode, join_mode(join.value));
    }
    fields.node("if", step.condition.as_ref());
    control(&mut fields, &step.control);
    common(&mut fields, &step.common);
    if let Some(undo) = &step.undo {
        fields.put("undo", undo_node(undo, editor));
    }
    fields.node("output", step.output.as_ref());
    match &step.test {
        Some(Test::Output(output)) => fields.put("test", Node::map([("output", output.clone())])),
        Some(Test::Error(error)) => fields.put("test", Node::map([("error", error.clone())])),
        None => {}
    }
    fields.editor_node("position", step.position.as_ref());
    fields.editor_node("ui", step.ui.as_ref());
    fields.done()
}

fn common(fields: &mut Fields, common: &Common) {
    fields.node("with", common.with.as_ref());
    fields.duration("timeout", common.timeout);
    if let Some(retry) = &common.retry {
        fields.put("retry", retry_node(&retry.value));
    }
    if let Some(on_error) = common.on_error {
        let word = match on_error.value {
            OnError::Stop => "stop",
            OnError::Continue => "continue",
        };
        fields.put("on_error", Node::text(word));
    }
    fields.bool("at_most_once", common.at_most_once);
    fields.node("lock", common.lock.as_ref());
    if let Some(rate) = &common.rate {
        let mut inner = Fields::new(Editor::Kept);
        inner.number("limit", Some(rate.limit));
        inner.duration("per", Some(rate.per));
        inner.node("key", rate.key.as_ref());
        fields.put("rate", inner.done());
    }
}

fn retry_node(retry: &Retry) -> Node {
    let mut fields = Fields::new(Editor::Kept);
    fields.number("attempts", retry.attempts);
    if let Some(backoff) = retry.backoff {
        let word = match backoff.value {
            Backoff::Fixed => "fixed",
            Backoff::Linear => "linear",
            Backoff::Exponential => "exponential",
        };
        fields.put("backoff", Node::text(word));
    }
    fields.duration("delay", retry.delay);
    fields.duration("max_delay", retry.max_delay);
    fields.bool("jitter", retry.jitter);
    if let Some(on) = &retry.on {
        fields.put("on", patterns(on));
    }
    fields.duration("within", retry.within);
    fields.done()
}

fn undo_node(undo: &Undo, editor: Editor) -> Node {
    let mut fields = Fields::new(editor);
    fields.text("type", Some(&undo.type_name));
    fields.node("with", undo.with.as_ref());
    fields.duration("timeout", undo.timeout);
    if let Some(retry) = &undo.retry {
        fields.put("retry", retry_node(&retry.value));
    }
    if let Some(after) = undo.after {
        let word = match after.value {
            UndoAfter::Completed => "completed",
            UndoAfter::Started => "started",
        };
        fields.put("after", Node::text(word));
    }
    fields.done()
}

fn control(fields: &mut Fields, control: &Control) {
    let editor = fields.editor;
    match control {
        Control::None => {}
        Control::If { when, then, otherwise } => {
            fields.node("when", Some(when));
            fields.put("then", block(then, editor));
            if let Some(otherwise) = otherwise {
                fields.put("else", block(otherwise, editor));
            }
        }
        Control::Switch { on, cases, default } => {
            fields.node("on", Some(on));
            let case = |it: &crate::document::Case| Node::map([("is", it.is.clone()), ("do", block(&it.body, editor))]);
            fields.put("cases", Node::list(cases.iter().map(case)));
            if let Some(default) = default {
                fields.put("default", block(default, editor));
            }
        }
        Control::ForEach { items, parallel, body, on_error } => {
            fields.node("items", Some(items));
            fields.number("parallel", *parallel);
            if let Some(on_error) = on_error {
                let word = match on_error.value {
                    ItemError::Stop => "stop",
                    ItemError::Continue => "continue",
                    ItemError::Collect => "collect",
                };
                fields.put("on_error", Node::text(word));
            }
            fields.put("do", block(body, editor));
        }
        Control::While { when, max, body } => {
            fields.node("when", Some(when));
            fields.number("max", *max);
            fields.put("do", block(body, editor));
        }
        Control::Parallel { branches, join, parallel } => {
            if let Some(join) = join {
                fields.put("join", join_mode(join.value));
            }
            fields.number("parallel", *parallel);
            let branches = branches.iter().map(|(name, it)| (&*name.value, block(it, editor)));
            fields.put("branches", Node::map(branches));
        }
        Control::Try { body, catches: clauses, finally } => {
            fields.put("do", block(body, editor));
            if !clauses.is_empty() {
                fields.put("catch", catches(clauses, editor));
            }
            if let Some(finally) = finally {
                fields.put("finally", block(finally, editor));
            }
        }
    }
}

fn catches(catches: &[Catch], editor: Editor) -> Node {
    Node::list(catches.iter().map(|catch| {
        let mut fields = Fields::new(editor);
        if let Some(on) = &catch.on {
            fields.put("on", patterns(on));
        }
        fields.text("as", catch.name.as_ref());
        fields.put("do", block(&catch.body, editor));
        fields.done()
    }))
}

fn patterns(patterns: &[Spanned<ErrorPattern>]) -> Node {
    Node::list(patterns.iter().map(|it| match &it.value {
        ErrorPattern::Class(class) => Node::text(class.as_str()),
        ErrorPattern::Code(code) => Node::text(code),
        ErrorPattern::StatusClass(hundreds) => Node::text(format!("{hundreds}xx")),
    }))
}

fn join_mode(mode: JoinMode) -> Node {
    match mode {
        JoinMode::All => Node::text("all"),
        JoinMode::Any => Node::text("any"),
        JoinMode::AtLeast(least) => Node::map([("at_least", whole(least.into()))]),
    }
}

fn texts(names: &[Name]) -> Node {
    Node::list(names.iter().map(|name| Node::text(&*name.value)))
}

fn whole(number: u64) -> Node {
    Node::new(i64::try_from(number).map_or(Kind::Uint(number), Kind::Int), Span::default())
}

/// A span of time in its shortest form: `1h30m`, `250ms`.
fn duration(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= ms {
            let _ = write!(text, "{}{unit}", rest / ms);
            rest %= ms;
        }
    }
    text
}

/// A tree as JSON, indented by two spaces a level; empty lists and maps stay on their line.
pub(super) fn write_json(node: &Node, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    match &node.kind {
        Kind::List(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                write_json(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Kind::Map(entries) if !entries.is_empty() => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                out.push_str(&json_text(&entry.key));
                out.push_str(": ");
                write_json(&entry.value, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        _ => out.push_str(&node.to_value().to_string()),
    }
}

/// A text between double quotes with the escapes of JSON, which are also those of YAML.
pub(super) fn json_text(text: &str) -> String {
    crate::Value::from(text).to_string()
}
