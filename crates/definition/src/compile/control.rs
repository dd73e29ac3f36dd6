//! Control steps: what decides, and the blocks they hold with what each can see.

use std::sync::Arc;

use super::{
    Compiler,
    scope::{FOREACH_NAMES, Frame, ROOTS, WHILE_NAMES},
    step::join,
    template::Site,
};
use crate::{
    Template, Value,
    diagnostic::Problem,
    document::{self, Control, JoinMode},
    plan::{Catch, ItemError, Join, StepIndex, StepKind},
    source::{Kind, Node},
};

/// Rounds of a `while` without `max`.
const ROUNDS_DEFAULT: u32 = 1_000;

impl Compiler<'_> {
    pub(super) fn control(&mut self, step: &document::Step, index: StepIndex) -> StepKind {
        let owner = Some(index);
        match &step.control {
            Control::None => StepKind::Join,
            Control::If { when, then, otherwise } => StepKind::If {
                when: self.condition(when, "`when`"),
                then: self.block(then, owner),
                otherwise: otherwise.as_ref().map(|block| self.block(block, owner)),
            },
            Control::Switch { on, cases, default } => {
                self.check_cases(cases);
                StepKind::Switch {
                    on: self.expression_field(on, "on"),
                    cases: cases
                        .iter()
                        .map(|case| (self.template(&case.is, Site::plain("is")), self.block(&case.body, owner)))
                        .collect(),
                    default: default.as_ref().map(|block| self.block(block, owner)),
                }
            }
            Control::ForEach { items, parallel, body, on_error } => StepKind::ForEach {
                items: self.items(items),
                parallel: parallel.map_or(1, |it| it.value),
                body: self.loop_body(step, body, FOREACH_NAMES, index),
                on_error: on_error.map_or(ItemError::Stop, |it| it.value),
            },
            Control::While { when, max, body } => {
                let frame = Frame::Loop { id: step.id.value.clone(), names: WHILE_NAMES };
                StepKind::While {
                    when: self.within(frame, |compiler| compiler.condition(when, "`when`")),
                    max: max.map_or(ROUNDS_DEFAULT, |it| it.value),
                    body: self.loop_body(step, body, WHILE_NAMES, index),
                }
            }
            Control::Parallel { branches, join: mode, parallel } => {
                if let Some(mode) = mode
                    && let JoinMode::AtLeast(least) = mode.value
                    && least as usize > branches.len()
                {
                    let message =
                        format!("`at_least: {least}` can never be met: there are {} branches", branches.len());
                    self.error(mode.span, message);
                }
                StepKind::Parallel {
                    branches: branches
                        .iter()
                        .map(|(name, block)| (name.value.clone(), self.block(block, owner)))
                        .collect(),
                    join: mode.map_or(Join::All, |it| join(it.value)),
                    parallel: parallel.map(|it| it.value),
                }
            }
            Control::Try { body, catches, finally } => {
                let compiled = self.block(body, owner);
                let (catches, finally) = self.handlers(body, (catches, finally.as_ref()), owner);
                StepKind::Try { body: compiled, catches, finally }
            }
        }
    }

    fn items(&mut self, node: &Node) -> Template {
        if !matches!(node.kind, Kind::String(_) | Kind::List(_)) {
            self.error(node.span, format!("`items` must be an expression or a list, not {}", node.describe()));
        }
        self.expression_field(node, "items")
    }

    /// A literal that stands twice among the cases: the second never runs.
    fn check_cases(&mut self, cases: &[document::Case]) {
        let mut seen: Vec<Value> = Vec::new();
        for case in cases {
            if case.is.as_str().is_some_and(|text| text.contains("${{")) {
                continue;
            }
            let value = case.is.to_value();
            if seen.contains(&value) {
                let problem = Problem::new(case.is.span, "this case never runs: an earlier one has the same value");
                self.report(problem);
            } else {
                seen.push(value);
            }
        }
    }

    fn loop_body(
        &mut self,
        step: &document::Step,
        body: &document::Block,
        names: &'static [&'static str],
        index: StepIndex,
    ) -> crate::plan::BlockIndex {
        let frame = Frame::Loop { id: step.id.value.clone(), names };
        self.within(frame, |compiler| compiler.block(body, Some(index)))
    }

    /// `catch` sees the steps of the block it guards; `finally` those of both.
    pub(super) fn handlers(
        &mut self,
        body: &document::Block,
        (catches, finally): (&[document::Catch], Option<&document::Block>),
        owner: Option<StepIndex>,
    ) -> (Vec<Catch>, Option<crate::plan::BlockIndex>) {
        self.check_unreachable(catches);
        let depth = self.frames.len();
        self.frames.push(Frame::Ended(body.number));
        let compiled = catches
            .iter()
            .map(|catch| {
                self.check_error_name(catch);
                let name: Option<Arc<str>> = catch.name.as_ref().map(|it| it.value.clone());
                let block = self.within(Frame::Error(name.clone()), |compiler| compiler.block(&catch.body, owner));
                let on = catch.on.iter().flatten().map(|it| it.value.clone()).collect();
                Catch { on, name, body: block }
            })
            .collect();
        self.frames.extend(catches.iter().map(|catch| Frame::Ended(catch.body.number)));
        let finally = finally.map(|block| self.block(block, owner));
        self.frames.truncate(depth);
        (compiled, finally)
    }

    /// The name of an error must not hide what else is in scope.
    fn check_error_name(&mut self, catch: &document::Catch) {
        let Some(name) = &catch.name else { return };
        if self.root_in_sight(name) || ROOTS.contains(&&*name.value) {
            let problem = Problem::new(name.span, format!("the error name `{}` would hide that name", name.value));
            self.report(problem.note("choose another one; `e` always works"));
        }
    }

    /// A clause behind one that takes every error never runs.
    fn check_unreachable(&mut self, catches: &[document::Catch]) {
        let takes_all = |catch: &document::Catch| catch.on.as_ref().is_none_or(Vec::is_empty);
        let Some(first) = catches.iter().position(takes_all) else { return };
        for catch in &catches[first + 1..] {
            let problem = Problem::new(catch.body.span.span, "this clause never runs: one before it takes every error");
            self.report(problem.note("put it before that one"));
        }
    }
}
