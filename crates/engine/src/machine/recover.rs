//! Taking a run over from a process that is gone.

use std::sync::Arc;

use super::{Machine, Opening};
use crate::{
    Effect,
    effect::OfferTask,
    entry::Record,
    frame::{At, Phase, Wait},
    planted::{Bug, planted},
    run::{Transition, UndoPhase},
};

impl Machine<'_> {
    /// Attempts that ran in the process before are lost; what was asked for and lives on outside is asked for again.
    pub fn recover(mut self) -> Transition {
        if self.run.status.is_final() {
            return self.close();
        }
        // What the losses below lead to is asked for by them: only what was open before is asked for again.
        let undo = self.run.undo.current.as_ref().map(|current| current.phase);
        let open: Vec<(Arc<str>, At)> = self.run.open.iter().map(|(path, at)| (path.clone(), *at)).collect();
        // First what is out there, so that whatever a loss leads to speaks of children that have been started.
        for (_, at) in &open {
            self.ask_again(*at);
        }
        for (path, at) in open {
            // What a step lost before this one led to may have ended this one.
            let runs = self.run.open.get(&path) == Some(&at) && *self.phase(at) == Phase::Running;
            if runs && !planted(Bug::RecoverForgetsAttempts) {
                let attempt = self.run.slot(at).attempt;
                self.enter(Opening { path, attempt, record: Record::Lost });
            }
        }
        match undo {
            Some(UndoPhase::Running | UndoPhase::Stopping) => {
                if let Some((path, attempt)) = self.undo_attempt() {
                    self.enter(Opening { path, attempt, record: Record::Lost });
                }
            }
            Some(UndoPhase::Child(_)) => self.ask_undo_again(),
            Some(UndoPhase::Backoff) | None => {}
        }
        self.close()
    }

    fn ask_again(&mut self, at: At) {
        let path = self.path(at);
        let slot = self.run.slot(at);
        let (attempt, stop) = (slot.attempt, slot.stop);
        match slot.phase {
            Phase::Waiting(Wait::Child(child)) => {
                // A run that took a child's place has been asked for by the child, with an input of its own.
                if self.is_first_child(&path, attempt, child) {
                    self.effects.extend(self.child(at, child).ok().map(Effect::StartChild));
                }
                // A cancel is asked for again, which changes nothing where it arrived. A pause and its end are not: they
                // outlive a crash as letters, and said again they would undo what somebody told the child since.
                if stop.is_some() {
                    self.effects.push(Effect::CancelChild { child });
                }
            }
            // Whoever got it may have got it before its row was written.
            Phase::Waiting(Wait::Task(task)) => {
                let offer = self.task(at, self.step(at)).ok();
                self.effects.extend(offer.map(|offer| Effect::OfferTask(OfferTask { task, ..offer })));
                if stop.is_some() {
                    self.effects.push(Effect::StopTask { task, path, attempt });
                }
            }
            Phase::Waiting(Wait::Event) => {
                self.effects.extend(self.event_wait(at).ok().map(Effect::WaitForEvent));
            }
            _ => {}
        }
    }
}
