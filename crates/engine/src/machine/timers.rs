//! Timers: setting, clearing and firing them, in the order of their due times.

use windlass_definition::{Class, Error, Timestamp, Value};

use super::{End, Machine};
use crate::{
    Effect,
    event::Failure,
    frame::{At, FrameStop, Phase, SlotStop, Timer, TimerKind, Wait},
    planted::{Bug, planted},
    status::StepStatus,
};

impl Machine<'_> {
    pub(super) fn set_timer(&mut self, at: At, kind: TimerKind, due: Timestamp) {
        let early = kind == TimerKind::Timeout && planted(Bug::TimeoutEarly);
        let due = if early { Timestamp::from_micros(due.micros() - 1_000_000) } else { due };
        self.slot_mut(at).timers.push((due, kind));
        self.run.timers.insert((due, Timer::Step(at, kind)));
    }

    pub(super) fn clear_timers(&mut self, at: At) {
        for (due, kind) in std::mem::take(&mut self.slot_mut(at).timers) {
            self.run.timers.remove(&(due, Timer::Step(at, kind)));
        }
    }

    /// Fires everything that is due by then, in the order of the due times: what one timer leads to comes before the
    /// next one fires.
    pub(super) fn fire_timers(&mut self, by: Timestamp) {
        let by = if planted(Bug::TimerEarly) { Timestamp::from_micros(by.micros() + 1) } else { by };
        while let Some((due, timer)) = self.run.timers.first().copied()
            && due <= by
        {
            self.run.timers.remove(&(due, timer));
            match timer {
                Timer::Run => self.run_timed_out(),
                Timer::Finally => self.finally_timed_out(),
                Timer::Undo => self.undo_timer(),
                Timer::Step(at, kind) => {
                    self.slot_mut(at).timers.retain(|it| *it != (due, kind));
                    self.step_timer(at, kind);
                }
            }
            self.follow_up();
        }
    }

    fn step_timer(&mut self, at: At, kind: TimerKind) {
        match kind {
            TimerKind::Timeout => self.step_timed_out(at),
            TimerKind::Grace => self.grace_over(at),
            TimerKind::Due => match self.phase(at) {
                Phase::Waiting(Wait::Delay) => self.complete(at, Value::Null),
                Phase::Waiting(Wait::Backoff) => {
                    let path = self.path(at);
                    self.run.open.remove(&path);
                    self.start_attempt(at);
                }
                Phase::Waiting(Wait::Approval(_)) => self.approval_expired(at),
                _ => {}
            },
        }
    }

    /// Its own `timeout` has passed: an attempt, a child and the blocks inside are asked to stop and awaited; whatever
    /// else it waits for ends at once.
    fn step_timed_out(&mut self, at: At) {
        if self.run.slot(at).stop.is_some() {
            return;
        }
        match self.phase(at) {
            Phase::Running | Phase::Control(_) | Phase::Waiting(Wait::Task(_) | Wait::Child(_)) => {
                self.ask_to_stop(at, SlotStop::Timeout);
            }
            Phase::Waiting(_) => {
                let error = self.timeout_error(at);
                self.end_step(at, End::timed_out(error));
            }
            Phase::Pending | Phase::Ready | Phase::Ended(..) => {}
        }
    }

    /// The attempt did not end in the time that it was given: nobody knows what becomes of it.
    fn grace_over(&mut self, at: At) {
        let path = self.path(at);
        let slot = self.run.slot(at);
        let (attempt, started_at, stop) = (slot.attempt, slot.started_at.unwrap_or_default(), slot.stop);
        if stop == Some(SlotStop::Stopped) {
            return self.end_step(at, End { unknown: true, ..End::new(StepStatus::Cancelled) });
        }
        let error = Error::new(Class::Timeout, "step_timeout", "the attempt did not stop when it was asked to");
        let record = self.judge(at, started_at, Err(Failure { error, unknown: true }));
        self.effects.push(Effect::StopStep { path, attempt });
        self.note_judged(at, record);
    }

    fn finally_timed_out(&mut self) {
        self.run.finally_over = true;
        let finally: Vec<_> = self
            .run
            .frames
            .iter()
            .filter(|(_, frame)| frame.role == crate::frame::Role::Finally)
            .map(|(id, _)| *id)
            .collect();
        for frame in finally {
            if self.run.frames.contains_key(&frame) {
                self.stop_frame(frame, FrameStop::Stopped);
            }
        }
    }
}
