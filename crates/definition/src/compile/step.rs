//! Steps: their common fields, which of them may stand where, and their undo.

use std::time::Duration;

use super::{Compiler, block::Seat, scope::Frame, template::Site};
use crate::{
    Class, Error, Value,
    diagnostic::{Problem, nearest},
    document::{self, Common, Control, JoinMode, OnError},
    plan::{Backoff, Join, Rate, Retry, Step, StepIndex, StepKind, TestDouble, Undo, UndoAfter},
    source::{Kind, Node, Span},
    step_type::Family,
};

/// What a retry is when its fields are absent.
struct RetryDefaults {
    attempts: u32,
    max_delay: Duration,
}

const STEP_RETRY: RetryDefaults = RetryDefaults { attempts: 3, max_delay: Duration::from_secs(60) };
const UNDO_RETRY: RetryDefaults = RetryDefaults { attempts: 10, max_delay: Duration::from_secs(300) };

impl Compiler<'_> {
    pub(super) fn step(&mut self, step: &document::Step, seat: Seat) -> StepIndex {
        let index = StepIndex(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        self.steps.push(None);
        self.by_id.insert(step.id.value.clone(), index);
        self.check_places(step);
        let common = self.with_defaults(step);
        let condition = step.condition.as_ref().map(|node| self.condition(node, "`if`"));
        let kind = self.kind(step, &common, index);
        let output = step
            .output
            .as_ref()
            .map(|node| self.within(Frame::Root("output"), |compiler| compiler.template(node, Site::plain("output"))));
        let compiled = Step {
            id: step.id.value.clone(),
            type_name: step.type_name.value.clone(),
            block: seat.block,
            position: seat.position,
            condition,
            join: step.join.map_or(Join::All, |it| join(it.value)),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            kind,
            timeout: common.timeout.map(|it| it.value),
            retry: common.retry.as_ref().map(|it| retry(&it.value, &STEP_RETRY)),
            undo: step.undo.as_ref().map(|undo| Box::new(self.undo(step, undo))),
            continue_on_error: common.on_error.is_some_and(|it| it.value == OnError::Continue),
            output,
            at_most_once: common.at_most_once.is_some_and(|it| it.value),
            test: step.test.as_ref().map(|test| self.test(test)),
            lock: common.lock.as_ref().map(|node| self.lock(node)),
            rate: common.rate.as_ref().map(|rate| Rate {
                limit: rate.limit.value,
                per: rate.per.value,
                key: rate.key.as_ref().map(|node| self.template(node, Site::plain("rate"))),
            }),
        };
        self.steps[index.0 as usize] = Some(compiled);
        index
    }

    fn lock(&mut self, node: &Node) -> crate::Template {
        if !matches!(node.kind, Kind::String(_)) {
            self.error(node.span, format!("`lock` must be a text, not {}", node.describe()));
        }
        self.template(node, Site::plain("lock"))
    }

    fn test(&mut self, test: &document::Test) -> TestDouble {
        match test {
            document::Test::Output(node) => TestDouble::Output(self.literal(node, "`test`")),
            document::Test::Error(node) => TestDouble::Error(self.test_error(node)),
        }
    }

    fn test_error(&mut self, node: &Node) -> Error {
        let value = self.literal(node, "`test`");
        for entry in node.as_map().unwrap_or_default() {
            const FIELDS: [&str; 5] = ["class", "code", "message", "retryable", "details"];
            if !FIELDS.contains(&&*entry.key) {
                let problem = Problem::new(entry.key_span, format!("unknown field `{}` in an error", entry.key));
                self.report(problem.suggest(nearest(&entry.key, FIELDS)));
            }
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let mut class = Class::User;
        if let Some(written) = node.get("class") {
            match text("class").and_then(Class::parse) {
                Some(known) => class = known,
                None => {
                    let suggestion = nearest(text("class").unwrap_or_default(), Class::ALL.map(Class::as_str));
                    self.report(Problem::new(written.span, "unknown error class").suggest(suggestion));
                }
            }
        }
        let mut error = Error::new(class, text("code").unwrap_or("test"), text("message").unwrap_or("as `test` says"));
        error.retryable = value.get("retryable").and_then(Value::as_bool).unwrap_or(false);
        error.details = value.get("details").cloned().unwrap_or_default();
        error
    }

    fn undo(&mut self, step: &document::Step, undo: &document::Undo) -> Undo {
        let with = self.merged_with(&undo.type_name, undo.with.as_ref());
        let frames = [Frame::Itself(step.id.value.clone()), Frame::Error(None)];
        let depth = self.frames.len();
        self.frames.extend(frames);
        let kind = self.undo_kind(undo, with.as_ref());
        self.frames.truncate(depth);
        let references = match &kind {
            StepKind::Workflow { with } | StepKind::Action { with } => with.references(),
            _ => Default::default(),
        };
        let defaults = self.defaults.get(&undo.type_name.value).and_then(|it| it.timeout);
        Undo {
            type_name: undo.type_name.value.clone(),
            kind,
            timeout: undo.timeout.or(defaults).map(|it| it.value),
            retry: retry(&undo.retry.as_ref().map_or_else(Default::default, |it| it.value.clone()), &UNDO_RETRY),
            after: undo.after.map_or(UndoAfter::Completed, |it| it.value),
            references,
        }
    }

    /// Reports common fields on steps that cannot have them.
    fn check_places(&mut self, step: &document::Step) {
        let Some(standing) = self.standing(step) else { return };
        self.check_common_places(&step.common, standing, &step.type_name);
        if let Some(undo) = &step.undo
            && standing != Standing::Doing
        {
            self.misplaced(undo.span.span, "undo", standing, &step.type_name);
        }
        if let Some(output) = &step.output
            && !matches!(standing, Standing::Holding | Standing::Join)
            && &*step.type_name.value != "workflow"
        {
            self.misplaced(output.span, "output", standing, &step.type_name);
        }
        if let Some(document::Test::Output(node) | document::Test::Error(node)) = &step.test
            && standing == Standing::Jump
        {
            self.misplaced(node.span, "test", standing, &step.type_name);
        }
    }

    /// Reports the fields of `defaults` that steps of the type cannot have.
    pub(super) fn check_default_places(&mut self, type_name: &document::Name, common: &Common) {
        let Some(step_type) = self.types.get(type_name) else { return };
        let standing = standing_of(type_name, step_type.family);
        self.check_common_places(common, standing, type_name);
        if let Some(on_error) = &common.on_error
            && &*type_name.value == "foreach"
        {
            let message = "`on_error` of a `foreach` speaks of its items and stands on the step";
            self.error(on_error.span, message);
        }
    }

    fn check_common_places(&mut self, common: &Common, standing: Standing, type_name: &document::Name) {
        let takes_time = matches!(standing, Standing::Holding | Standing::Waiting | Standing::Doing);
        let doing = standing == Standing::Doing;
        let placed = [
            ("timeout", common.timeout.map(|it| it.span), takes_time),
            ("retry", common.retry.as_ref().map(|it| it.span), doing),
            ("at_most_once", common.at_most_once.map(|it| it.span), doing),
            ("on_error", common.on_error.map(|it| it.span), standing != Standing::Jump),
            ("lock", common.lock.as_ref().map(|it| it.span), takes_time),
            ("rate", common.rate.as_ref().map(|it| it.span), takes_time),
        ];
        for (field, span, allowed) in placed {
            if let Some(span) = span
                && !allowed
            {
                self.misplaced(span, field, standing, type_name);
            }
        }
        if let Some(with) = &common.with
            && matches!(standing, Standing::Holding | Standing::Join | Standing::Jump)
        {
            let message = format!("a step of type `{}` has no `with`", type_name.value);
            self.report(Problem::new(with.span, message).note("its fields stand beside `type`"));
        }
    }

    fn misplaced(&mut self, span: Span, field: &str, standing: Standing, type_name: &document::Name) {
        let message = format!("`{field}` may not stand on a step of type `{}`", type_name.value);
        let note = match field {
            "timeout" | "lock" | "rate" => "it stands on steps that take time: this one does not",
            "retry" => "it stands on doing steps, `task` and `workflow`; around this one, retry what it holds",
            "undo" => "it stands on doing steps, `task` and `workflow`: only they have an effect to take back",
            "at_most_once" => "it stands on doing steps: only they have an effect",
            "output" if standing == Standing::Pure => "it stands on control steps; a `transform` gives a value",
            "output" => "it stands on control steps; use a `transform` after this one",
            _ => "this step only steers its loop",
        };
        self.report(Problem::new(span, message).note(note));
    }

    /// What a step is, when its type is known.
    pub(super) fn standing(&self, step: &document::Step) -> Option<Standing> {
        let step_type = self.types.get(&step.type_name)?;
        let standing = standing_of(&step.type_name, step_type.family);
        if &*step.type_name.value == "state" && is_run_state(step.common.with.as_ref()) {
            return Some(Standing::Pure);
        }
        debug_assert!(standing != Standing::Holding || !matches!(step.control, Control::None));
        Some(standing)
    }
}

/// What a step is, as far as its common fields depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A control step with blocks.
    Holding,
    /// `join`.
    Join,
    /// `break`, `next`.
    Jump,
    Waiting,
    Pure,
    Doing,
}

pub(crate) fn standing_of(type_name: &str, family: Family) -> Standing {
    match (family, type_name) {
        (Family::Control, "join") => Standing::Join,
        (Family::Control, "break" | "next") => Standing::Jump,
        (Family::Control, _) => Standing::Holding,
        (Family::Waiting, _) => Standing::Waiting,
        (Family::Pure, _) => Standing::Pure,
        (Family::Doing, _) => Standing::Doing,
    }
}

/// Whether the `with` of a `state` step speaks of the run's own state.
pub(super) fn is_run_state(with: Option<&Node>) -> bool {
    with.and_then(|it| it.get("scope")).is_none_or(|it| it.as_str() == Some("run"))
}

pub(super) fn join(mode: JoinMode) -> Join {
    match mode {
        JoinMode::All => Join::All,
        JoinMode::Any => Join::AtLeast(1),
        JoinMode::AtLeast(least) => Join::AtLeast(least),
    }
}

fn retry(written: &document::Retry, defaults: &RetryDefaults) -> Retry {
    let delay = written.delay.map_or(Duration::from_secs(1), |it| it.value);
    Retry {
        attempts: written.attempts.map_or(defaults.attempts, |it| it.value),
        backoff: written.backoff.map_or(Backoff::Exponential, |it| it.value),
        delay,
        max_delay: written.max_delay.map_or(defaults.max_delay.max(delay), |it| it.value).max(delay),
        jitter: written.jitter.is_none_or(|it| it.value),
        on: written.on.as_ref().map(|on| on.iter().map(|it| it.value.clone()).collect()),
        within: written.within.map(|it| it.value),
    }
}
