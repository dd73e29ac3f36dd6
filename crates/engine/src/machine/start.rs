//! Starting a step: its `if`, what stands in for it, and what it is.

use std::sync::Arc;

use windlass_definition::{
    Class, Error, Template, Value,
    plan::{Step, StepKind, TestDouble},
};

use super::{End, Machine};
use crate::{
    entry::SkippedBy,
    frame::{At, Control, ForEach, Owner, Parallel, Phase, Role, TimerKind, Try, While, Work},
    planted::{Bug, planted},
    start::{Mode, Origin},
};

impl Machine<'_> {
    /// Starts a step that was queued, unless it was stopped since.
    pub(super) fn start_step(&mut self, at: At) {
        if !self.run.frames.contains_key(&at.frame) || *self.phase(at) != Phase::Ready {
            return;
        }
        let step = self.step(at);
        let now = self.now;
        match self.runs(at, step) {
            Err(error) => return self.fail(at, error),
            Ok(false) => return self.end_step(at, End::skipped(SkippedBy::If)),
            Ok(true) => self.slot_mut(at).started_at = Some(now),
        }
        if self.run.seq >= self.run.info.limits.journal_entries_max {
            return self.fail(at, journal_full(self.run.info.limits.journal_entries_max));
        }
        match self.stand_in(at, step) {
            Some(Ok(output)) => self.complete(at, output),
            Some(Err(error)) => self.fail(at, error),
            None => self.start_kind(at, step),
        }
    }

    fn runs(&self, at: At, step: &Step) -> Result<bool, Error> {
        match &step.condition {
            None => Ok(true),
            Some(condition) => super::scope::holds(condition, &self.scope(at)),
        }
    }

    /// What is taken instead of running the step: a `test` in test mode, a recorded output in a fork.
    fn stand_in(&self, at: At, step: &Step) -> Option<Result<Value, Error>> {
        if let (Mode::Test, Some(double)) = (self.run.info.mode, &step.test) {
            return Some(match double {
                TestDouble::Output(output) => Ok(output.clone()),
                TestDouble::Error(error) => Err(error.clone()),
            });
        }
        match &self.run.info.origin {
            Origin::Fork { recorded, .. } => recorded.get(&self.path(at)).cloned().map(Ok),
            _ => None,
        }
    }

    fn start_kind(&mut self, at: At, step: &Step) {
        match &step.kind {
            StepKind::If { when, then, otherwise } => match super::scope::holds(when, &self.scope(at)) {
                Err(error) => self.fail(at, error),
                Ok(true) if planted(Bug::IfInverted) => self.choose(at, Value::Bool(true), *otherwise),
                Ok(true) => self.choose(at, Value::Bool(true), Some(*then)),
                Ok(false) => self.choose(at, Value::Bool(false), *otherwise),
            },
            StepKind::Switch { on, cases, default } => match self.matching_case(at, on, cases) {
                Err(error) => self.fail(at, error),
                Ok((on, block)) => self.choose(at, on, block.or(*default)),
            },
            StepKind::ForEach { items, .. } => self.start_for_each(at, items),
            StepKind::While { .. } => {
                let state = While { index: 0, last: Value::Null, round: None, closing: false };
                self.start_control(at, Control::While(state));
                self.run.work.push_back(Work::Advance(at));
            }
            StepKind::Parallel { branches, .. } => {
                let outputs = vec![Value::Null; branches.len()];
                let state = Parallel {
                    next: 0,
                    open: Default::default(),
                    outputs,
                    completed: 0,
                    errors: Vec::new(),
                    closing: false,
                };
                self.start_control(at, Control::Parallel(state));
                self.run.work.push_back(Work::Advance(at));
            }
            StepKind::Try { body, .. } => {
                self.start_control(at, Control::Try(Try::new()));
                let frame = self.open_frame(*body, Owner::Step(at), Role::Body);
                if let Phase::Control(Control::Try(state)) = &mut self.slot_mut(at).phase {
                    state.body = Some(frame);
                }
            }
            StepKind::Join
            | StepKind::Break
            | StepKind::Next
            | StepKind::Restart { .. }
            | StepKind::Respond { .. }
            | StepKind::Fail { .. }
            | StepKind::Transform { .. }
            | StepKind::Log { .. }
            | StepKind::State { .. } => self.run_pure(at, step),
            StepKind::Delay { with }
            | StepKind::Wait { with }
            | StepKind::Event { with, .. }
            | StepKind::Approval { with } => {
                if let Some(with) = self.evaluate_with(at, with) {
                    self.start_waiting(at, step, &with);
                }
            }
            StepKind::Task { with } | StepKind::Workflow { with } | StepKind::Action { with } => {
                if self.evaluate_with(at, with).is_some() {
                    self.slot_mut(at).started_at = None;
                    self.start_attempt(at);
                }
            }
        }
    }

    /// Evaluates `with` once for all attempts; a failure ends the step.
    pub(super) fn evaluate_with(&mut self, at: At, with: &Template) -> Option<Value> {
        match with.evaluate(&self.scope(at)) {
            Ok(with) => {
                self.slot_mut(at).input = with.clone();
                Some(with)
            }
            Err(error) => {
                self.fail(at, error);
                None
            }
        }
    }

    /// Makes a step a control step under way, with its timeout.
    pub(super) fn start_control(&mut self, at: At, control: Control) {
        self.slot_mut(at).phase = Phase::Control(control);
        if let Some(timeout) = self.step(at).timeout {
            self.set_timer(at, TimerKind::Timeout, self.now.after(timeout));
        }
    }

    fn start_for_each(&mut self, at: At, items: &Template) {
        let max = self.run.info.limits.items_max;
        let items = match items.evaluate(&self.scope(at)) {
            Err(error) => return self.fail(at, error),
            Ok(items) => items,
        };
        let Some(count) = items.as_list().map(<[Value]>::len) else {
            let message = format!("`items` must be a list, not {}", items.type_name());
            return self.fail(at, Error::new(Class::Expression, "not_a_list", message));
        };
        if count > max {
            let message = format!("`items` has {count} items; at most {max} are allowed (setting `items_max`)");
            return self.fail(at, Error::new(Class::Limit, "too_many_items", message));
        }
        self.slot_mut(at).input = Value::map([("items", Value::from(count as u64))]);
        let state =
            ForEach { items, next: 0, open: Default::default(), outputs: Vec::new(), error: None, closing: false };
        self.start_control(at, Control::ForEach(state));
        self.run.work.push_back(Work::Advance(at));
    }
}

fn journal_full(max: i64) -> Error {
    let message =
        format!("the run's journal has {max} entries, the most a run may have (setting `journal_entries_max`)");
    Error::new(Class::Limit, "journal_full", message)
}

/// An identifier's text as it stands in evaluated `with`s: absent and null are the same.
pub(super) fn text(with: &Value, key: &str) -> Option<Arc<str>> {
    match with.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}
