//! What the end of a step means for the steps that wait for it, and for its block.

use windlass_definition::{
    Error, Value,
    plan::{EdgeWhen, Join},
};

use super::{End, Machine};
use crate::{
    Effect,
    entry::{SkippedBy, StepRecord},
    frame::{At, FrameStop, Phase, Wait, Work},
    planted::{Bug, planted},
    status::StepStatus,
};

impl Machine<'_> {
    /// Changes the state by the record of a step's end.
    pub(super) fn step_ended(&mut self, at: At, record: StepRecord) {
        self.note_undo(at, &record);
        self.close_phase(at, &record);
        let slot = self.slot_mut(at);
        slot.phase = Phase::Ended(record.status, record.skipped_by);
        slot.started_at = record.started_at;
        slot.input = Value::Null;
        slot.output = record.output;
        slot.error = record.error.map(Into::into);
        self.frame_mut(at.frame).left -= 1;
        self.run.work.push_back(Work::Settle(at));
    }

    /// Takes back what the world was asked for on behalf of the step, and its timers.
    fn close_phase(&mut self, at: At, record: &StepRecord) {
        let path = self.path(at);
        self.clear_timers(at);
        let phase = std::mem::replace(&mut self.slot_mut(at).phase, Phase::Pending);
        match phase {
            Phase::Pending | Phase::Ended(..) => return,
            Phase::Ready | Phase::Control(_) => {}
            Phase::Running => {
                self.run.running -= 1;
                self.run.open.remove(&path);
            }
            Phase::Waiting(wait) => {
                self.run.open.remove(&path);
                match wait {
                    Wait::Task(task) => self.effects.push(Effect::CloseTask { task }),
                    Wait::Event => self.effects.push(Effect::ForgetEvent { path }),
                    Wait::Signal(_) => self.run.signal_waits.retain(|waiting| *waiting != at),
                    Wait::Approval(wait) => {
                        let status = super::waiting::approval_status(record);
                        self.effects.push(Effect::CloseApproval { approval: wait.approval, status });
                    }
                    Wait::Delay | Wait::Child(_) | Wait::Backoff | Wait::Settlement => {}
                }
            }
        }
        self.frame_mut(at.frame).live -= 1;
    }

    /// Decides the edges that start at a step that has ended, or stops its block when it failed.
    pub(super) fn settle_step(&mut self, at: At) {
        let Phase::Ended(status, skipped_by) = *self.phase(at) else { return };
        let continues = self.step(at).continue_on_error;
        let error = self.run.slot(at).error.clone();
        match status {
            StepStatus::Failed | StepStatus::TimedOut | StepStatus::Cancelled if self.is_stopping(at.frame) => {
                let also = std::mem::take(&mut self.slot_mut(at).also);
                let frame = self.frame_mut(at.frame);
                match error.filter(|_| status != StepStatus::Cancelled) {
                    Some(error) => frame.also.push((*error).clone()),
                    None => frame.also.extend(also),
                }
            }
            _ if self.is_stopping(at.frame) => {}
            StepStatus::Completed => self.decide_edges(at, Source::Passed),
            StepStatus::Skipped if planted(Bug::DeadPathLives) => self.decide_edges(at, Source::Passed),
            StepStatus::Skipped if skipped_by == Some(SkippedBy::If) && !planted(Bug::SkippedIsDead) => {
                self.decide_edges(at, Source::Passed)
            }
            StepStatus::Skipped => self.decide_edges(at, Source::Dead),
            _ if continues && !planted(Bug::ContinueStops) => self.decide_edges(at, Source::Passed),
            _ => {
                let error = error.map_or_else(cancelled, |error| (*error).clone());
                self.frame_fails(at, error);
            }
        }
        self.check_frame(at.frame);
    }

    fn frame_fails(&mut self, at: At, error: Error) {
        let path = self.path(at);
        let frame = self.frame_mut(at.frame);
        frame.error.get_or_insert_with(|| with_path(error, &path));
        self.stop_frame(at.frame, FrameStop::Failed);
    }

    fn decide_edges(&mut self, at: At, source: Source) {
        let plan = self.plan;
        let block = plan.block(self.run.frame(at.frame).block);
        let mut any_taken = false;
        for edge in self.step(at).outgoing.iter().map(|index| &block.edges[*index as usize]) {
            let taken = match (&edge.when, source) {
                // Below, once it is known whether another edge is taken.
                (EdgeWhen::Otherwise, _) => continue,
                (_, Source::Dead) => Ok(false),
                (EdgeWhen::Always, _) => Ok(true),
                (EdgeWhen::Expression(when), _) => super::scope::truth(when, &self.scope_of_frame(at.frame)),
            };
            match taken {
                Ok(taken) => {
                    any_taken |= taken;
                    self.decide_edge(At { frame: at.frame, position: edge.to }, taken);
                }
                Err(error) => return self.frame_fails(at, error),
            }
        }
        for edge in self.step(at).outgoing.iter().map(|index| &block.edges[*index as usize]) {
            if matches!(edge.when, EdgeWhen::Otherwise) {
                let taken = source == Source::Passed && (!any_taken || planted(Bug::OtherwiseAlways));
                self.decide_edge(At { frame: at.frame, position: edge.to }, taken);
            }
        }
    }

    /// Counts an edge at its target. A join decides once: late arrivals change nothing.
    fn decide_edge(&mut self, target: At, taken: bool) {
        let step = self.step(target);
        let incoming = step.incoming.len() as u32;
        let slot = self.slot_mut(target);
        slot.decided += 1;
        slot.taken += u32::from(taken);
        if slot.phase != Phase::Pending && !planted(Bug::JoinTwice) {
            return;
        }
        let (taken, open) = (slot.taken, incoming - slot.decided);
        let (ready, dead) = match step.join {
            Join::All => ((open == 0 || planted(Bug::JoinAllAtFirst)) && taken > 0, open == 0 && taken == 0),
            Join::AtLeast(n) => (taken + u32::from(planted(Bug::JoinOneTooFew)) >= n, taken + open < n),
        };
        if ready {
            self.make_ready(target);
        } else if dead {
            // It keeps its place in the queue, so that records come in the order in which things were decided.
            self.frame_mut(target.frame).live += 1;
            self.slot_mut(target).phase = Phase::Ready;
            self.run.work.push_back(Work::Skip(target));
        }
    }

    /// Records that no path leads to a step any more.
    pub(super) fn skip_step(&mut self, at: At) {
        if self.run.frames.contains_key(&at.frame) && *self.phase(at) == Phase::Ready {
            self.end_step(at, End::skipped(SkippedBy::Path));
        }
    }
}

/// Whether the edges of a step can be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It completed, was skipped by its own `if`, or its failure does not count.
    Passed,
    /// No path led to it.
    Dead,
}

fn cancelled() -> Error {
    Error::new(windlass_definition::Class::Cancelled, "cancelled", "the step was cancelled")
}

/// The error with the path of the step that it came from, unless it says so already.
fn with_path(error: Error, path: &str) -> Error {
    match &error.details {
        Value::Null => error.with_detail("path", Value::from(path)),
        Value::Map(_) if error.details.get("path").is_none() => error.with_detail("path", Value::from(path)),
        _ => error,
    }
}

/// The first failure, with the later ones in `details.also`.
pub(super) fn with_also(error: Error, also: &[Error]) -> Error {
    if also.is_empty() {
        return error;
    }
    let also = Value::list(also.iter().map(Error::to_value));
    error.with_detail("also", also)
}
