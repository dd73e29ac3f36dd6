//! Stopping: whatever the reason, everything is stopped alike.
//!
//! Waiting steps, backoffs and unclaimed tasks become `cancelled`; running attempts are asked to stop and awaited; a
//! control step ends when everything in it has ended.

use std::time::Duration;

use super::{End, Machine};
use crate::{
    Effect,
    frame::{At, FrameId, FrameStop, Phase, SlotStop, TimerKind, Wait, Work},
    status::StepStatus,
};

impl Machine<'_> {
    /// Stops a frame: it starts nothing more, and what has begun in it is stopped.
    pub(super) fn stop_frame(&mut self, id: FrameId, why: FrameStop) {
        let frame = self.frame_mut(id);
        if frame.stop.is_some() {
            // It is coming to its end already; but what was not to be stopped then has to stop now.
            if why == FrameStop::Stopped {
                self.stop_slots(id);
            }
            return;
        }
        frame.stop = Some(why);
        self.stop_slots(id);
        self.check_frame(id);
    }

    fn stop_slots(&mut self, id: FrameId) {
        for position in 0..self.run.frame(id).slots.len() as u32 {
            self.stop_slot(At { frame: id, position });
        }
    }

    fn stop_slot(&mut self, at: At) {
        match self.phase(at) {
            Phase::Pending | Phase::Ended(..) => {}
            Phase::Ready => {
                self.slot_mut(at).phase = Phase::Pending;
                self.frame_mut(at.frame).live -= 1;
            }
            Phase::Running | Phase::Control(_) | Phase::Waiting(Wait::Task(_) | Wait::Child(_)) => {
                if self.run.slot(at).stop.is_none() {
                    self.ask_to_stop(at, SlotStop::Stopped);
                }
            }
            Phase::Waiting(_) => self.end_step(at, End::new(StepStatus::Cancelled)),
        }
    }

    /// Asks what runs on behalf of a step to stop; the step ends when that has ended.
    pub(super) fn ask_to_stop(&mut self, at: At, why: SlotStop) {
        let grace = self.now.after(Duration::from_millis(self.run.info.limits.stop_grace_ms));
        let path = self.path(at);
        let slot = self.slot_mut(at);
        slot.stop = Some(why);
        let attempt = slot.attempt;
        match slot.phase {
            Phase::Running => {
                self.effects.push(Effect::StopStep { path, attempt });
                self.set_timer(at, TimerKind::Grace, grace);
            }
            Phase::Waiting(Wait::Task(task)) => {
                self.effects.push(Effect::StopTask { task, path, attempt });
                self.set_timer(at, TimerKind::Grace, grace);
            }
            Phase::Waiting(Wait::Child(child)) => self.effects.push(Effect::CancelChild { child }),
            Phase::Control(_) => {
                self.stop_open_blocks(at);
                // If nothing is open in it, nothing else will bring it to its end.
                self.run.work.push_back(Work::Advance(at));
            }
            _ => {}
        }
    }
}
