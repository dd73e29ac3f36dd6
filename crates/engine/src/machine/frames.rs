//! Frames: opening them, and noticing their end.

use std::sync::Arc;

use windlass_definition::plan::BlockIndex;

use super::Machine;
use crate::{
    frame::{At, Frame, FrameId, FrameStop, Outcome, Owner, Phase, Role, Slot, Work},
    run::Run,
};

impl Machine<'_> {
    /// Makes an instance of a block and queues the steps of it that wait for nothing.
    pub(super) fn open_frame(&mut self, block: BlockIndex, owner: Owner, role: Role) -> FrameId {
        let id = FrameId(self.run.next_frame);
        self.run.next_frame += 1;
        let prefix = self.prefix(owner, &role);
        let steps = &self.plan.block(block).steps;
        let count = steps.len() as u32;
        self.run.frames.insert(
            id,
            Frame {
                block,
                owner,
                role,
                prefix,
                slots: (0..count).map(|_| Slot::new()).collect(),
                live: 0,
                left: count,
                stop: None,
                error: None,
                also: Vec::new(),
                ended: false,
            },
        );
        for (position, step) in steps.iter().enumerate() {
            if self.plan.step(*step).incoming.is_empty() {
                self.make_ready(At { frame: id, position: position as u32 });
            }
        }
        self.check_frame(id);
        id
    }

    /// What the paths in a frame begin with: the ids from the outside in, the iteration after a loop.
    fn prefix(&self, owner: Owner, role: &Role) -> Arc<str> {
        let Owner::Step(at) = owner else { return Arc::default() };
        let path = self.path(at);
        match role {
            Role::Item { index, .. } | Role::Round { index, .. } => format!("{path}[{index}].").into(),
            _ => format!("{path}.").into(),
        }
    }

    pub(super) fn make_ready(&mut self, at: At) {
        let now = self.now;
        let slot = self.slot_mut(at);
        slot.phase = Phase::Ready;
        slot.ready_at = now;
        self.frame_mut(at.frame).live += 1;
        self.run.work.push_back(Work::Start(at));
    }

    /// Sends a frame's end on its way when nothing in it is open any more.
    pub(super) fn check_frame(&mut self, id: FrameId) {
        let frame = self.frame_mut(id);
        let over = match frame.stop {
            None => frame.left == 0,
            Some(_) => frame.live == 0,
        };
        if over && !frame.ended {
            frame.ended = true;
            self.run.work.push_back(Work::FrameEnded(id));
        }
    }

    pub(super) fn frame_ended(&mut self, id: FrameId) {
        let outcome = self.outcome(id);
        let frame = self.frame_mut(id);
        // A failed frame tells its later failures with its first; of a stopped one they would be lost.
        let also = if frame.error.is_none() { std::mem::take(&mut frame.also) } else { Vec::new() };
        match frame.owner {
            Owner::Run => self.run_part_ended(outcome),
            Owner::Step(at) => {
                self.slot_mut(at).also.extend(also);
                self.block_ended(at, id, outcome);
            }
        }
    }

    fn outcome(&self, id: FrameId) -> Outcome {
        let frame = self.run.frame(id);
        match frame.stop {
            None => match self.block_output(id) {
                Ok(output) => Outcome::Completed(output),
                Err(error) => Outcome::Failed(error),
            },
            Some(FrameStop::Failed) => {
                let error = frame.error.clone().expect("a failed frame has its error");
                Outcome::Failed(super::edges::with_also(error, &frame.also))
            }
            Some(FrameStop::Stopped) => Outcome::Stopped,
            Some(FrameStop::Break) => Outcome::Break,
            Some(FrameStop::Next) => Outcome::Next,
        }
    }

    fn block_output(&self, id: FrameId) -> Result<windlass_definition::Value, windlass_definition::Error> {
        let frame = self.run.frame(id);
        match &self.plan.block(frame.block).output {
            Some(template) => template.evaluate(&self.scope_of_frame(id)),
            None => Ok(frame.slots.last().map(|slot| slot.output.clone()).unwrap_or_default()),
        }
    }

    pub(super) fn frame_mut(&mut self, id: FrameId) -> &mut Frame {
        self.run.frames.get_mut(&id).expect("a frame lives as long as it is spoken of")
    }

    /// Forgets a frame that nothing refers to any more.
    pub(super) fn drop_frame(&mut self, id: FrameId) {
        self.run.frames.remove(&id);
    }

    /// The nearest frame around, this one included, that is an iteration of a loop.
    pub(super) fn nearest_loop(&self, from: FrameId) -> Option<FrameId> {
        around(self.run, from).find(|id| matches!(self.run.frame(*id).role, Role::Item { .. } | Role::Round { .. }))
    }
}

/// A frame and the frames around it, from the inside out.
pub(super) fn around(run: &Run, from: FrameId) -> impl Iterator<Item = FrameId> + '_ {
    std::iter::successors(Some(from), |id| match run.frame(*id).owner {
        Owner::Run => None,
        Owner::Step(at) => Some(at.frame),
    })
}
