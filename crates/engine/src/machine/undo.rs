//! Undo: what is registered when a step completes, and taking it back, one at a time, last done first.

use std::sync::Arc;

use windlass_definition::{
    Class, Error, Value,
    expression::Scope,
    plan::{Step, StepKind, Undo, UndoAfter},
};

use super::{
    Machine,
    attempt::{Tried, jitter, next_attempt, seconds},
    children::child_of,
    scope::UndoScope,
};
use crate::{
    Effect,
    effect::RunStep,
    entry::{AttemptRecord, Record, StepRecord},
    event::{ChildResult, Failure},
    frame::{At, Timer, Work},
    id::RunId,
    planted::{Bug, planted},
    run::{UndoAttempt, UndoItem, UndoPhase, undo_path},
    status::StepStatus,
};

impl Machine<'_> {
    /// Registers the undo of a step that has completed, or lists a step of which nobody knows whether it took effect.
    pub(super) fn note_undo(&mut self, at: At, record: &StepRecord) {
        let step = self.step(at);
        // What was taken from a recording or a `test` had no effect here.
        if self.run.slot(at).attempt == 0 {
            return;
        }
        match (&step.undo, record.status) {
            (Some(undo), StepStatus::Completed) => {
                let item = UndoItem { child: None, ..self.undo_item(at, step, &record.output) };
                if undo.after == UndoAfter::Started {
                    self.run.undo.items.retain(|other| other.path != item.path);
                }
                if !(planted(Bug::UndoForgotten) && self.run.undo.items.len() == 1) {
                    self.run.undo.items.push(item);
                }
            }
            (None, StepStatus::Completed) => {
                if let Some(child) = self.waits_for_child(at) {
                    let item = self.undo_item(at, step, &record.output);
                    self.run.undo.items.push(UndoItem { child: Some(child), ..item });
                }
            }
            (Some(undo), _) if record.unknown && undo.after == UndoAfter::Completed => {
                let path = self.path(at);
                self.run.undo.unknown.push(path);
            }
            _ => {}
        }
    }

    /// Registers, at the first attempt, the undo of a step whose effect may happen from then on.
    pub(super) fn register_started(&mut self, at: At, step: &Step) {
        let at_start = step.undo.as_ref().is_some_and(|undo| undo.after == UndoAfter::Started);
        if at_start && !planted(Bug::UndoStartedLate) {
            let item = self.undo_item(at, step, &Value::Null);
            self.run.undo.items.push(item);
        }
    }

    /// The step with what its undo will want to see.
    fn undo_item(&self, at: At, step: &Step, output: &Value) -> UndoItem {
        let scope = self.scope(at);
        let own = Value::map([
            ("output", output.clone()),
            ("status", Value::from(StepStatus::Completed.as_str())),
            ("error", Value::Null),
        ]);
        let seen = match &step.undo {
            None => Value::Null,
            Some(undo) => {
                let given = |name: &str| matches!(name, "e" | "input" | "vars" | "step" | "secrets");
                let roots = undo.references.roots.iter().filter(|name| !given(name.as_ref()));
                let roots = roots.filter_map(|name| Some((name, scope.variable(name)?)));
                let steps = undo.references.steps.iter().filter_map(|id| match **id == *step.id {
                    true => Some((id, own.clone())),
                    false => Some((id, scope.step(id)?)),
                });
                // Times have no JSON form of their own: what is kept is what the journal would show.
                let roots = Value::map(roots).into_json().unwrap_or_default();
                Value::map([("roots", roots), ("steps", Value::map(steps))])
            }
        };
        UndoItem { path: self.path(at), step: step.id.clone(), seen, child: None }
    }

    /// Takes back the step that completed last, or ends the run when none is left.
    pub(super) fn next_undo(&mut self) {
        if self.run.undo.current.is_some() {
            return;
        }
        if planted(Bug::UndoForward) {
            self.run.undo.items.reverse();
        }
        let Some(item) = self.run.undo.items.pop() else { return self.undo_over() };
        if planted(Bug::UndoForward) {
            self.run.undo.items.reverse();
        }
        let now = self.now;
        self.run.undo.current = Some(UndoAttempt {
            item,
            attempt: 0,
            lost: 0,
            first_at: now,
            started_at: now,
            input: Value::Null,
            phase: UndoPhase::Running,
            timer: None,
        });
        if let Err(error) = self.prepare_undo() {
            return self.note_undo_end(Err(Failure::certain(error)));
        }
        self.start_undo_attempt();
    }

    /// Evaluates the `with` of the undo, once for all attempts.
    fn prepare_undo(&mut self) -> Result<(), Error> {
        let Some(current) = &self.run.undo.current else { return Ok(()) };
        if current.item.child.is_some() {
            return Ok(());
        }
        let undo = self.undo_of(&current.item)?;
        let (StepKind::Action { with } | StepKind::Workflow { with }) = &undo.kind else {
            return Err(Error::new(Class::Validation, "invalid_undo", "an undo is a doing step or `workflow`"));
        };
        let input = with.evaluate(&UndoScope {
            run: self.run,
            plan: self.plan,
            seen: &current.item.seen,
            step: &current.item.step,
            path: undo_path(&current.item.path),
            now: self.now,
        })?;
        if let Some(current) = &mut self.run.undo.current {
            current.input = input;
        }
        Ok(())
    }

    fn undo_of(&self, item: &UndoItem) -> Result<&'_ Undo, Error> {
        let step = self.plan.by_id.get(&item.step).map(|index| self.plan.step(*index));
        step.and_then(|step| step.undo.as_deref()).ok_or_else(|| {
            Error::new(Class::NotFound, "no_undo", format!("the plan has no undo for step `{}`", item.step))
        })
    }

    fn start_undo_attempt(&mut self) {
        let now = self.now;
        if let Some(current) = &mut self.run.undo.current {
            current.attempt += 1;
            current.started_at = now;
            current.phase = UndoPhase::Running;
        }
        let Some(current) = self.run.undo.current.clone() else { return };
        let path = undo_path(&current.item.path);
        let child: RunId = self.derived_id(&path, current.attempt, "run");
        if let Some(of) = current.item.child {
            let error = self.run.undo.error.clone();
            self.effects.push(Effect::UndoChild { child, of, path, error });
            return self.set_undo_phase(UndoPhase::Child(child));
        }
        match self.undo_effect(&current, child) {
            Err(error) => self.note_undo_end(Err(Failure::certain(error))),
            Ok(effect) => {
                if let Effect::StartChild(_) = effect {
                    self.set_undo_phase(UndoPhase::Child(child));
                }
                self.effects.push(effect);
                let timeout = self.undo_of(&current.item).ok().and_then(|undo| undo.timeout);
                if let Some(timeout) = timeout {
                    self.set_undo_timer(now.after(timeout));
                }
            }
        }
    }

    fn undo_effect(&self, current: &UndoAttempt, child: RunId) -> Result<Effect, Error> {
        let undo = self.undo_of(&current.item)?;
        let path = undo_path(&current.item.path);
        if let StepKind::Workflow { .. } = undo.kind {
            // Otherwise a workflow that takes itself back by starting itself would never come to an end.
            self.check_depth()?;
            return child_of(&current.input, child, path, self.run.info.depth + 1).map(Effect::StartChild);
        }
        Ok(Effect::RunStep(RunStep {
            step: self.plan.by_id[&current.item.step],
            type_name: undo.type_name.clone(),
            with: current.input.clone(),
            attempt: current.attempt,
            key: self.key(&path),
            now: current.started_at,
            lock: None,
            rate: None,
            at_most_once: false,
            path,
        }))
    }

    /// Asks again for what the undo under way asked for.
    pub(super) fn ask_undo_again(&mut self) {
        let Some(current) = self.run.undo.current.clone() else { return };
        let path = undo_path(&current.item.path);
        let effect = match (current.phase, current.item.child) {
            (UndoPhase::Child(child), _) if !self.is_first_child(&path, current.attempt, child) => None,
            (UndoPhase::Child(child), Some(of)) => {
                let error = self.run.undo.error.clone();
                Some(Effect::UndoChild { child, of, path, error })
            }
            (UndoPhase::Child(child), None) => self.undo_effect(&current, child).ok(),
            (UndoPhase::Running | UndoPhase::Stopping, _) => {
                let child = self.derived_id(&current.item.path, current.attempt, "unused");
                self.undo_effect(&current, child).ok()
            }
            (UndoPhase::Backoff, _) => None,
        };
        self.effects.extend(effect);
    }

    /// Another run has taken the place of the one that undoes; if that one's time is over, so is this one's.
    pub(super) fn undo_child_restarted(&mut self, child: RunId) {
        self.set_undo_phase(UndoPhase::Child(child));
        let Some(current) = &self.run.undo.current else { return };
        let timed = self.undo_of(&current.item).is_ok_and(|undo| undo.timeout.is_some());
        if timed && current.timer.is_none() {
            self.effects.push(Effect::CancelChild { child });
        }
    }

    fn set_undo_phase(&mut self, phase: UndoPhase) {
        if let Some(current) = &mut self.run.undo.current {
            current.phase = phase;
        }
    }

    fn set_undo_timer(&mut self, due: windlass_definition::Timestamp) {
        self.clear_undo_timer();
        self.run.timers.insert((due, Timer::Undo));
        if let Some(current) = &mut self.run.undo.current {
            current.timer = Some(due);
        }
    }

    fn clear_undo_timer(&mut self) {
        if let Some(due) = self.run.undo.current.as_mut().and_then(|current| current.timer.take()) {
            self.run.timers.remove(&(due, Timer::Undo));
        }
    }

    /// The timeout, the grace or the backoff of the undo under way is over.
    pub(super) fn undo_timer(&mut self) {
        let grace = std::time::Duration::from_millis(self.run.info.limits.stop_grace_ms);
        let now = self.now;
        let Some(current) = &mut self.run.undo.current else { return };
        current.timer = None;
        let (path, attempt) = (undo_path(&current.item.path), current.attempt);
        match current.phase {
            UndoPhase::Backoff => self.start_undo_attempt(),
            UndoPhase::Running => {
                self.set_undo_phase(UndoPhase::Stopping);
                self.effects.push(Effect::StopStep { path, attempt });
                self.set_undo_timer(now.after(grace));
            }
            UndoPhase::Child(child) => self.effects.push(Effect::CancelChild { child }),
            UndoPhase::Stopping => {
                let error = Error::new(Class::Timeout, "step_timeout", "the undo did not stop when it was asked to");
                self.note_undo_end(Err(Failure { error, unknown: true }));
            }
        }
    }

    pub(super) fn is_current_undo(&self, path: &str) -> bool {
        let current = self.run.undo.current.as_ref();
        current.is_some_and(|current| path.strip_suffix(":undo") == Some(&current.item.path))
    }

    /// What the result of an undo's attempt means: its record, or another attempt.
    pub(super) fn judge_undo(&self, result: Result<Value, Failure>) -> Option<Record> {
        let current = self.run.undo.current.as_ref()?;
        let undo = self.undo_of(&current.item).ok();
        let (status, output, failure) = match result {
            Ok(output) => (StepStatus::Completed, output, None),
            Err(mut failure) => {
                if current.phase == UndoPhase::Stopping {
                    let limit = undo.and_then(|undo| undo.timeout).unwrap_or_default();
                    let message = format!("the undo took longer than its timeout of {}", seconds(limit));
                    failure.error = Error::new(Class::Timeout, "step_timeout", message).retryable();
                }
                (StepStatus::Failed, Value::Null, Some(failure))
            }
        };
        if let (Some(failure), Some(undo)) = (&failure, undo) {
            let seed = format!("{}/{}:undo/{}", self.run.info.run, current.item.path, current.attempt);
            let tried =
                Tried { attempts: current.attempt, first_at: current.first_at, now: self.now, jitter: jitter(&seed) };
            // An undo is worth every attempt: it is retried whatever went wrong.
            let error = match undo.retry.on {
                None => failure.error.clone().retryable(),
                Some(_) => failure.error.clone(),
            };
            if let Some(next_at) = next_attempt(&undo.retry, &error, tried) {
                return Some(Record::Attempt(AttemptRecord {
                    started_at: current.started_at,
                    error: failure.error.clone(),
                    unknown: failure.unknown,
                    next_at,
                }));
            }
        }
        let unknown = failure.as_ref().is_some_and(|failure| failure.unknown);
        Some(Record::Step(StepRecord {
            type_name: undo.map_or_else(|| "workflow".into(), |undo| undo.type_name.clone()),
            status,
            started_at: Some(current.started_at),
            input: current.input.clone(),
            output,
            error: failure.map(|failure| failure.error),
            skipped_by: None,
            unknown,
        }))
    }

    fn note_undo_end(&mut self, result: Result<Value, Failure>) {
        let Some(record) = self.judge_undo(result) else { return };
        let Some(current) = &self.run.undo.current else { return };
        let (path, attempt) = (undo_path(&current.item.path), current.attempt);
        let record = self.note(path, attempt, record);
        self.apply_undo_attempt(record);
    }

    /// Changes the state by what the end of an undo's attempt was judged to be.
    pub(super) fn apply_undo_attempt(&mut self, record: Record) {
        self.clear_undo_timer();
        match record {
            Record::Attempt(record) => {
                self.set_undo_phase(UndoPhase::Backoff);
                self.set_undo_timer(record.next_at);
            }
            Record::Step(record) => {
                let Some(current) = self.run.undo.current.take() else { return };
                if planted(Bug::UndoTwice) && self.run.undo.items.is_empty() {
                    self.run.undo.items.push(current.item.clone());
                }
                if record.status != StepStatus::Completed {
                    self.run.undo.failure = record.error;
                    if !planted(Bug::UndoFailureHidden) {
                        self.run.undo.left.push(current.item);
                    }
                }
                self.run.work.push_back(Work::Undo);
            }
            _ => {}
        }
    }

    pub(super) fn undo_lost(&mut self) {
        let max = self.run.info.limits.lost_attempts_max;
        let Some(current) = &mut self.run.undo.current else { return };
        current.lost += 1;
        if current.lost > max {
            let message = format!("the attempt was lost {max} times with its server");
            let error = Error::new(Class::WorkerLost, "worker_lost", message);
            return self.note_undo_end(Err(Failure { error, unknown: true }));
        }
        if current.phase == UndoPhase::Stopping {
            let gone = Error::new(Class::Cancelled, "cancelled", "the attempt was lost while it was being stopped");
            return self.note_undo_end(Err(Failure { error: gone, unknown: true }));
        }
        current.started_at = self.now;
        let item = current.item.clone();
        if let Some(timeout) = self.undo_of(&item).ok().and_then(|undo| undo.timeout) {
            self.set_undo_timer(self.now.after(timeout));
        }
        self.ask_undo_again();
    }

    pub(super) fn undo_child_ended(&mut self, result: ChildResult) {
        let result = match result {
            ChildResult::Completed(output) => Ok(output),
            ChildResult::Failed(_, error) => Err(Failure::certain(error)),
        };
        self.note_undo_end(result);
    }

    /// The undo under way, as an owner of an attempt.
    pub(super) fn undo_attempt(&self) -> Option<(Arc<str>, u32)> {
        let current = self.run.undo.current.as_ref()?;
        Some((undo_path(&current.item.path), current.attempt))
    }
}
