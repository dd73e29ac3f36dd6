//! The fields of a step that are not those of a control step.

use super::{
    Common, Control, Name, OnError, Place, Rate, Retry, Step, Test, Undo,
    fields::Fields,
    read::{Reader, UNKNOWN_MAX},
    words,
};
use crate::{
    diagnostic::{Problem, nearest},
    plan::{Backoff, UndoAfter},
    source::{Entry, Node, Spanned},
};

impl Reader<'_> {
    /// A list of steps.
    pub(super) fn steps(&mut self, node: &Node, what: &str) -> Vec<Step> {
        let Some(items) = node.as_list() else {
            self.mismatch(node, what, "a list of steps");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.step(item)).collect()
    }

    fn step(&mut self, node: &Node) -> Option<Step> {
        self.steps += 1;
        let max = self.limits.steps;
        if self.steps > max {
            if self.steps == max + 1 {
                let message = format!("the document has more than {max} steps (setting `steps_max`)");
                self.report(Problem::new(node.span, message).note("move some to a subflow (`type: workflow`)"));
            }
            return None;
        }
        let mut fields = self.fields(node, "a step")?;
        let id = self.require(&mut fields, "id").and_then(|it| self.id(it, "the step id"));
        let type_node = self.require(&mut fields, "type");
        let type_name = type_node.and_then(|it| self.name(it, "`type`"));
        let meant = type_name.as_ref().and_then(|it| self.known_type(it));
        let read_as = meant.clone().unwrap_or_default();
        let mut step = Step {
            id: id.unwrap_or_default(),
            type_name: type_name.unwrap_or_default(),
            description: fields.take("description").and_then(|it| self.text(it, "`description`")),
            needs: fields.take("needs").map(|it| self.needs(it)),
            join: None,
            condition: fields.take("if").cloned(),
            control: Control::None,
            common: Common::default(),
            undo: None,
            output: None,
            test: None,
            position: None,
            ui: None,
            span: Place::new((), fields.head),
        };
        if read_as != "parallel" {
            step.join = fields.take("join").and_then(|it| self.join_mode(it, "`join`"));
        }
        step.control = self.control(&read_as, &mut fields);
        if read_as == "join" {
            self.mode(&mut step, &mut fields);
        }
        step.common = self.common_of(&read_as, &mut fields);
        step.undo = fields.take("undo").and_then(|it| self.undo(it)).map(Box::new);
        step.output = fields.take("output").cloned();
        step.test = fields.take("test").and_then(|it| self.test(it));
        step.position = self.position(&mut fields);
        step.ui = self.step_ui(&mut fields);
        // What a step of unknown type may hold is unknown as well.
        match meant {
            Some(_) => self.finish_step(&fields, &read_as),
            None => self.finish_with(&fields, Vec::new()),
        }
        Some(step)
    }

    /// The type that a name means: itself when it is known, else the nearest one, reported.
    pub(super) fn known_type(&mut self, name: &Name) -> Option<String> {
        if self.types.get(name).is_some() {
            return Some(name.to_string());
        }
        if words::NOT_BUILT_TYPES.contains(&&*name.value) {
            let message = format!("the step type `{}` is not built into this version", name.value);
            self.report(Problem::new(name.span, message).note("use another type, or a later version"));
            return None;
        }
        let shown = self.types.iter().filter(|it| !it.hidden).map(|it| it.name);
        let suggestion = nearest(name, shown);
        let message = format!("unknown step type `{}`", super::read::shortened(name));
        let problem = Problem::new(name.span, message).suggest(suggestion.clone());
        let shown = self.types.iter().filter(|it| !it.hidden).map(|it| it.name);
        let known = format!("the types are {}", words::listed(shown, "and"));
        self.report(if suggestion.is_none() { problem.note(known) } else { problem });
        suggestion
    }

    /// Reports the fields that a step of that type does not have, and where they belong.
    fn finish_step(&mut self, fields: &Fields<'_>, type_name: &str) {
        let unknown = fields
            .left()
            .take(UNKNOWN_MAX)
            .map(|entry| self.misplaced(entry, type_name).unwrap_or_else(|| self.unknown_field(entry, fields)))
            .collect();
        self.finish_with(fields, unknown);
    }

    fn misplaced(&self, entry: &Entry, type_name: &str) -> Option<Problem> {
        let key = &*entry.key;
        let problem = Problem::new(entry.key_span, format!("unknown field `{key}` in a step of type `{type_name}`"));
        let schema = self.types.get(type_name).map(|it| it.with_schema.clone());
        if schema.as_ref().and_then(|it| it.get("properties")).is_some_and(|it| it.get(key).is_some()) {
            return Some(problem.note(format!("`{key}` belongs into `with`")));
        }
        let owners = words::owners_of(key);
        if !owners.is_empty() {
            return Some(problem.note(format!("`{key}` is a field of {}", words::listed(owners, "and"))));
        }
        None
    }

    fn needs(&mut self, node: &Node) -> Spanned<Vec<Name>> {
        let mut needs: Vec<Name> = Vec::new();
        for item in self.list(node, "`needs`") {
            if !self.literal(item, "`needs`") {
                continue;
            }
            let Some(name) = self.name(item, "a name in `needs`") else { continue };
            if needs.contains(&name) {
                self.report(Problem::new(name.span, format!("`{}` stands here a second time", name.value)));
                continue;
            }
            needs.push(name);
        }
        Spanned::new(needs, node.span)
    }

    fn mode(&mut self, step: &mut Step, fields: &mut Fields<'_>) {
        let Some(node) = fields.take("mode") else { return };
        if step.join.is_some() {
            let message = "a `join` step has `mode` or `join`, not both: they say the same";
            self.report(Problem::new(fields.key("mode").unwrap_or(node.span), message));
            return;
        }
        step.join = self.join_mode(node, "`mode`");
    }

    /// The common fields of a step; `on_error` of a `foreach` speaks of its items and is read there.
    fn common_of(&mut self, type_name: &str, fields: &mut Fields<'_>) -> Common {
        let mut common = self.common_without_on_error(fields);
        if type_name != "foreach" {
            common.on_error = self.on_error(fields);
        }
        common
    }

    /// The fields that may also stand in `defaults`.
    pub(super) fn common(&mut self, fields: &mut Fields<'_>) -> Common {
        let common = self.common_without_on_error(fields);
        Common { on_error: self.on_error(fields), ..common }
    }

    fn on_error(&mut self, fields: &mut Fields<'_>) -> Option<Spanned<OnError>> {
        let words = [("stop", OnError::Stop), ("continue", OnError::Continue)];
        fields.take("on_error").and_then(|it| self.word(it, "`on_error`", &words))
    }

    fn common_without_on_error(&mut self, fields: &mut Fields<'_>) -> Common {
        Common {
            with: fields.take("with").cloned(),
            timeout: fields.take("timeout").and_then(|it| self.duration(it, "`timeout`")),
            retry: fields.take("retry").and_then(|it| self.retry(it)),
            on_error: None,
            at_most_once: fields.take("at_most_once").and_then(|it| self.bool(it, "`at_most_once`")),
            lock: fields.take("lock").cloned(),
            rate: fields.take("rate").and_then(|it| self.rate(it)),
        }
    }

    fn retry(&mut self, node: &Node) -> Option<Spanned<Retry>> {
        let mut fields = self.fields(node, "`retry`")?;
        let words = [("fixed", Backoff::Fixed), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)];
        let retry = Retry {
            attempts: fields.take("attempts").and_then(|it| self.count(it, "`attempts`", (1, 10_000))),
            backoff: fields.take("backoff").and_then(|it| self.word(it, "`backoff`", &words)),
            delay: fields.take("delay").and_then(|it| self.duration(it, "`delay`")),
            max_delay: fields.take("max_delay").and_then(|it| self.duration(it, "`max_delay`")),
            jitter: fields.take("jitter").and_then(|it| self.bool(it, "`jitter`")),
            on: fields.take("on").map(|it| self.patterns(it, "`on`")),
            within: fields.take("within").and_then(|it| self.duration(it, "`within`")),
        };
        self.finish(&fields);
        if let (Some(delay), Some(max_delay)) = (&retry.delay, &retry.max_delay)
            && delay.value > max_delay.value
        {
            self.report(Problem::new(max_delay.span, "`max_delay` must not be shorter than `delay`"));
        }
        Some(Spanned::new(retry, node.span))
    }

    fn rate(&mut self, node: &Node) -> Option<Spanned<Rate>> {
        let mut fields = self.fields(node, "`rate`")?;
        let limit = self.require(&mut fields, "limit");
        let limit = limit.and_then(|it| self.count(it, "`limit`", (1, 1_000_000)));
        let per = self.require(&mut fields, "per").and_then(|it| self.duration(it, "`per`"));
        let key = fields.take("key").cloned();
        self.finish(&fields);
        Some(Spanned::new(Rate { limit: limit?, per: per?, key }, node.span))
    }

    fn undo(&mut self, node: &Node) -> Option<Undo> {
        let mut fields = self.fields(node, "`undo`")?;
        let type_name = self.require(&mut fields, "type").and_then(|it| self.name(it, "`type`"));
        if let Some(name) = &type_name {
            self.known_type(name);
        }
        let words = [("completed", UndoAfter::Completed), ("started", UndoAfter::Started)];
        let undo = Undo {
            type_name: type_name.unwrap_or_default(),
            with: fields.take("with").cloned(),
            timeout: fields.take("timeout").and_then(|it| self.duration(it, "`timeout`")),
            retry: fields.take("retry").and_then(|it| self.retry(it)),
            after: fields.take("after").and_then(|it| self.word(it, "`after`", &words)),
            span: Place::new((), fields.head),
        };
        self.finish(&fields);
        Some(undo)
    }

    fn test(&mut self, node: &Node) -> Option<Test> {
        let mut fields = self.fields(node, "`test`")?;
        let (output, error) = (fields.take("output").cloned(), fields.take("error").cloned());
        self.finish(&fields);
        match (output, error) {
            (Some(output), None) => Some(Test::Output(output)),
            (None, Some(error)) => {
                self.map(&error, "`error`");
                Some(Test::Error(error))
            }
            _ => {
                self.report(Problem::new(node.span, "`test` has either `output` or `error`"));
                None
            }
        }
    }
}
