//! The run as a whole: its beginning, pauses, and its end.

use std::{sync::Arc, time::Duration};

use windlass_definition::{Class, Error, Value};

use super::{
    Machine,
    attempt::seconds,
    control::{NextPart, TryBlocks, next_part},
    waiting::principal,
};
use crate::{
    Effect,
    effect::Finish,
    entry::{FinishRecord, Record},
    event::UndoChoice,
    frame::{FrameStop, Outcome, Owner, Part, Role, Timer, Work},
    run::{Ending, Paused, UndoStatus},
    start::{Origin, Principal, Start},
    status::RunStatus,
};

impl Machine<'_> {
    pub(super) fn started(&mut self, start: &Start) {
        if let Some(error) = &start.refused {
            self.run.error = Some(error.clone());
            return self.finish(RunStatus::Failed);
        }
        if start.queued {
            return;
        }
        if let Origin::Undo { items, error, .. } = &start.origin {
            self.run.started_at = Some(self.now);
            self.run.undo.items = items.clone();
            self.run.undo.registered = items.len() as u32;
            self.run.undo.error = error.clone();
            self.run.status = RunStatus::Compensating;
            self.run.work.push_back(Work::Undo);
            return;
        }
        self.begin();
    }

    /// The run leaves the queue: its body begins.
    pub(super) fn begin(&mut self) {
        self.run.status = RunStatus::Running;
        self.run.started_at = Some(self.now);
        if let Some(paused) = &mut self.run.paused {
            // A run that was paused in the queue begins paused, and its time with it.
            paused.since = self.now;
        }
        if let Some(timeout) = self.plan.timeout {
            self.run.timers.insert((self.now.after(timeout), Timer::Run));
        }
        let body = self.open_frame(self.plan.body, Owner::Run, Role::Body);
        self.run.whole.body = Some(body);
    }

    pub(super) fn run_part_ended(&mut self, outcome: Outcome) {
        let stopping = self.run.ending.is_some();
        let finally = self.plan.finally.filter(|_| !self.run.finally_over);
        let blocks = TryBlocks { catches: &self.plan.catches, finally };
        match next_part(&mut self.run.whole, outcome, stopping, blocks) {
            NextPart::Open(block, role) => {
                let frame = self.open_frame(block, Owner::Run, role);
                self.run.whole.set_current(frame);
            }
            NextPart::End(outcome) => self.conclude(outcome),
        }
    }

    /// Everything forward has ended.
    fn conclude(&mut self, outcome: Outcome) {
        self.run.timers.clear();
        let (status, result) = match (self.run.ending.clone(), outcome) {
            (Some(Ending::Cancel(_, error)), _) => (RunStatus::Cancelled, Err(error)),
            (Some(Ending::TimedOut(error)), _) => (RunStatus::TimedOut, Err(error)),
            (Some(Ending::Restart { run, input }), _) => {
                self.run.output = Value::map([("restarted_as", Value::from(run.to_string()))]);
                self.effects.push(Effect::Restart { run, input });
                return self.finish(RunStatus::Completed);
            }
            (None, Outcome::Completed(output)) => match self.run_output(output) {
                Ok(output) => (RunStatus::Completed, Ok(output)),
                Err(error) => (RunStatus::Failed, Err(error)),
            },
            (None, Outcome::Failed(error)) => (RunStatus::Failed, Err(error)),
            (None, Outcome::Stopped | Outcome::Break | Outcome::Next) => {
                (RunStatus::Failed, Err(Error::new(Class::Cancelled, "cancelled", "the run was stopped")))
            }
        };
        match result {
            Ok(output) => {
                self.run.output = output;
                self.finish(status);
            }
            Err(error) => self.take_back(status, error),
        }
    }

    fn run_output(&self, output: Value) -> Result<Value, Error> {
        match &self.plan.output {
            None => Ok(output),
            Some(template) => template.evaluate(&self.scope_of_run().with("output", output)),
        }
    }

    /// The run did not complete: its undo steps run, unless whoever cancelled it said to leave them.
    fn take_back(&mut self, status: RunStatus, error: Error) {
        self.run.error = Some(error.clone());
        self.run.undo.error = error.to_value();
        self.run.undo.registered = self.run.undo.items.len() as u32;
        if self.run.undo.items.is_empty() {
            return self.finish(status);
        }
        if matches!(self.run.ending, Some(Ending::Cancel(UndoChoice::Leave, _))) {
            self.run.undo.status = UndoStatus::Off;
            return self.finish(status);
        }
        self.note(Arc::default(), 0, Record::Compensating { error });
        self.run.status = RunStatus::Compensating;
        self.run.work.push_back(Work::Undo);
    }

    /// All that was to be taken back was tried.
    pub(super) fn undo_over(&mut self) {
        let undo = &mut self.run.undo;
        let all = undo.left.is_empty();
        undo.status = if all { UndoStatus::Done } else { UndoStatus::Left };
        let status = match (&self.run.ending, &self.run.info.origin) {
            (_, Origin::Undo { .. }) if all => RunStatus::Completed,
            (_, Origin::Undo { .. }) => {
                self.run.error = self.run.undo.failure.clone();
                RunStatus::Failed
            }
            (Some(Ending::Cancel(..)), _) => RunStatus::Cancelled,
            (Some(Ending::TimedOut(_)), _) => RunStatus::TimedOut,
            _ if all && self.run.undo.registered > 0 => RunStatus::Compensated,
            _ => RunStatus::Failed,
        };
        self.finish(status);
    }

    fn finish(&mut self, status: RunStatus) {
        self.run.status = status;
        self.run.finished_at = Some(self.now);
        let record = FinishRecord {
            status,
            output: self.run.output.clone(),
            error: self.run.error.clone(),
            undo: self.run.undo(),
        };
        if let Record::Finished(record) = self.note(Arc::default(), 0, Record::Finished(record)) {
            self.run.status = record.status;
            self.run.output = record.output;
            self.run.error = record.error;
        }
        let (output, error) = (self.run.output.clone(), self.run.error.clone());
        self.effects.push(Effect::Finish(Finish { status, output, error }));
        self.run.frames.clear();
        self.run.open.clear();
        self.run.work.clear();
        self.run.timers.clear();
        self.run.signals.clear();
        self.run.signal_keys.clear();
        self.run.signal_waits.clear();
    }

    pub(super) fn cancel(&mut self, by: &Principal, reason: Option<Arc<str>>, undo: UndoChoice) {
        let paused = self.run.paused.take();
        let message = match reason {
            Some(reason) => reason,
            None => format!("cancelled by {}", principal(by).to_text()).into(),
        };
        let error = Error::new(Class::Cancelled, "cancelled", message);
        if self.run.started_at.is_none() {
            self.run.error = Some(error);
            return self.finish(RunStatus::Cancelled);
        }
        self.run.ending = Some(Ending::Cancel(undo, error));
        self.stop_forward();
        // What is not stopped, such as a `finally`, goes on as if the run had been resumed.
        if let Some(paused) = paused {
            self.end_pause(paused);
        }
    }

    pub(super) fn run_timed_out(&mut self) {
        let limit = self.plan.timeout.unwrap_or_default();
        let message = format!("the run took longer than its timeout of {}", seconds(limit));
        self.run.ending.get_or_insert(Ending::TimedOut(Error::new(Class::Timeout, "run_timeout", message)));
        self.stop_forward();
    }

    /// Stops the body, or the `catch` that runs in its place; what is in `finally` goes to its end in its time.
    pub(super) fn stop_forward(&mut self) {
        let over_at = self.now.after(Duration::from_millis(self.run.info.limits.finally_ms));
        self.run.timers.insert((over_at, Timer::Finally));
        if self.run.whole.part != Part::Finally
            && let Some(frame) = self.run.whole.current()
        {
            self.stop_frame(frame, FrameStop::Stopped);
        }
    }

    pub(super) fn pause(&mut self) {
        self.run.paused = Some(Paused { since: self.now, held: Vec::new() });
        self.run.status = RunStatus::Paused;
        for child in self.run.waited_children() {
            self.effects.push(Effect::PauseChild { child });
        }
    }

    /// What came during the pause takes effect in the order of its times; the run's own time did not pass.
    pub(super) fn resume(&mut self) {
        let Some(paused) = self.run.paused.take() else { return };
        if self.run.started_at.is_none() {
            self.run.status = RunStatus::Queued;
        }
        let length = self.now.since(paused.since);
        let deadline = self.run.timers.iter().find(|(_, timer)| *timer == Timer::Run).copied();
        if let Some((due, timer)) = deadline {
            self.run.timers.remove(&(due, timer));
            self.run.timers.insert((due.after(length), timer));
        }
        self.end_pause(paused);
        self.fire_timers(self.now);
    }

    fn end_pause(&mut self, paused: Paused) {
        for child in self.run.waited_children() {
            self.effects.push(Effect::ResumeChild { child });
        }
        for (at, held) in paused.held {
            self.fire_timers(at);
            self.take(held);
            self.follow_up();
        }
    }
}
