//! Subflows: the runs that a run starts.

use std::sync::Arc;

use windlass_definition::{
    Class, Error, Value,
    plan::{Step, StepKind},
};

use super::{Machine, attempt::invalid, start::text};
use crate::{
    Effect,
    effect::StartChild,
    event::{ChildResult, Failure},
    frame::{At, Phase, TimerKind, Wait},
    id::RunId,
};

impl Machine<'_> {
    pub(super) fn start_child(&mut self, at: At, step: &Step) {
        let children_max = self.run.info.limits.children_max;
        self.run.children += 1;
        if self.run.children > children_max {
            let message = format!("the run has started {children_max} runs, the most it may (setting `children_max`)");
            return self.fail(at, Error::new(Class::Limit, "too_many_children", message));
        }
        if let Err(error) = self.check_depth() {
            return self.fail(at, error);
        }
        let path = self.path(at);
        let child: RunId = self.derived_id(&path, self.run.slot(at).attempt, "run");
        match self.child(at, child) {
            Err(error) => self.fail(at, error),
            Ok(effect) => {
                self.wait_for(at, Wait::Child(child));
                if let Some(timeout) = step.timeout {
                    self.set_timer(at, TimerKind::Timeout, self.now.after(timeout));
                }
                self.effects.push(Effect::StartChild(effect));
            }
        }
    }

    /// Whether a child of this run would stand below no more runs than may be.
    pub(super) fn check_depth(&self) -> Result<(), Error> {
        let depth_max = self.run.info.limits.depth_max;
        if self.run.info.depth < depth_max {
            return Ok(());
        }
        let message = format!("{depth_max} runs stand above this one, the most that may (setting `depth_max`)");
        Err(Error::new(Class::Limit, "too_deep", message))
    }

    /// What the runtime is asked for on behalf of a step that waits for a child.
    pub(super) fn child(&self, at: At, child: RunId) -> Result<StartChild, Error> {
        child_of(&self.run.slot(at).input, child, self.path(at), self.run.info.depth + 1)
    }

    pub(super) fn child_started(&mut self, path: &Arc<str>, child: RunId, version: i32) {
        let Some(at) = self.run.open.get(path).copied() else { return };
        let output = [("run_id", Value::from(child.to_string())), ("version", Value::from(i64::from(version)))];
        self.complete(at, Value::map(output));
    }

    /// The step waits for another run from here on, which is told what the one before was told too late.
    pub(super) fn child_restarted(&mut self, path: &Arc<str>, child: RunId) {
        if self.is_current_undo(path) {
            return self.undo_child_restarted(child);
        }
        let Some(at) = self.run.open.get(path).copied() else { return };
        self.slot_mut(at).phase = Phase::Waiting(Wait::Child(child));
        if self.run.slot(at).stop.is_some() {
            self.effects.push(Effect::CancelChild { child });
        } else if self.run.paused.is_some() {
            self.effects.push(Effect::PauseChild { child });
        }
    }

    /// Whether a child is the one that a path's attempt asked for, and not one that took its place.
    pub(super) fn is_first_child(&self, path: &str, attempt: u32, child: RunId) -> bool {
        // An id begins with the time when it was made.
        let first: RunId = self.derived_id(path, attempt, "run");
        child.uuid().as_bytes()[6..] == first.uuid().as_bytes()[6..]
    }

    pub(super) fn child_ended(&mut self, path: &Arc<str>, child: Option<RunId>, result: ChildResult) {
        if self.is_current_undo(path) {
            return self.undo_child_ended(result);
        }
        let Some(at) = self.run.open.get(path).copied() else { return };
        let started_at = self.run.slot(at).started_at.unwrap_or(self.now);
        let result = match result {
            ChildResult::Completed(output) => Ok(output),
            ChildResult::Failed(status, error) => {
                let mut error = error;
                if let Some(child) = child {
                    error = error.with_detail("run_id", Value::from(child.to_string()));
                }
                if let Some(status) = status {
                    error = error.with_detail("status", Value::from(status.as_str()));
                }
                // A child that was cancelled of itself has failed its parent's step; one that the parent stopped has not.
                Err(Failure { error, unknown: false })
            }
        };
        let record = self.judge(at, started_at, result);
        self.note_judged(at, record);
    }

    /// Whether a step with a child waits for its end.
    pub(super) fn waits_for_child(&self, at: At) -> Option<RunId> {
        match (self.phase(at), &self.step(at).kind) {
            (Phase::Waiting(Wait::Child(child)), StepKind::Workflow { .. }) => {
                waits(&self.run.slot(at).input).then_some(*child)
            }
            _ => None,
        }
    }
}

fn waits(with: &Value) -> bool {
    with.get("wait").and_then(Value::as_bool).unwrap_or(true)
}

/// The child that an evaluated `with` speaks of.
pub(super) fn child_of(with: &Value, child: RunId, path: Arc<str>, depth: u32) -> Result<StartChild, Error> {
    let workflow = text(with, "name").ok_or_else(|| invalid("`name` must be the name of a workflow"))?;
    let version = match with.get("version") {
        None | Some(Value::Null) => None,
        Some(version) => {
            let version =
                version.as_i64().and_then(|version| i32::try_from(version).ok()).filter(|version| *version > 0);
            Some(version.ok_or_else(|| invalid("`version` must be a whole number from 1"))?)
        }
    };
    let input = match with.get("input") {
        None | Some(Value::Null) => Value::map::<&str>([]),
        Some(input) => input.clone(),
    };
    Ok(StartChild { child, path, workflow, version, input, waits: waits(with), depth })
}
