//! The process dies and another one takes the run over: from the journal, or from the stored state.

use windlass_engine::{
    Run, Transition,
    audit::{Violation, violated},
};

use super::Driver;
use crate::world::survives_crash;

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// With everything done that was committed; what was about to be committed never happened.
    Idle,
    /// After a commit, before its effects: what is no row in the database is not done.
    BeforeEffects,
}

impl Driver {
    pub(super) fn crash(&mut self) -> Result<(), Violation> {
        match *self.random.pick(&[Crash::Idle, Crash::BeforeEffects]) {
            Crash::Idle => self.take_over(),
            Crash::BeforeEffects => {
                self.crash_after_commit = true;
                let result = self.happening();
                self.crash_after_commit = false;
                result
            }
        }
    }

    /// A commit whose effects are not carried out, because the process is gone.
    pub(super) fn commit_and_crash(&mut self, transition: &Transition) -> Result<(), Violation> {
        self.crash_after_commit = false;
        self.write(transition)?;
        let effects = transition.effects.iter().filter(|it| survives_crash(it)).cloned().collect();
        let entries = transition.entries.clone();
        self.world.carry_out(&Transition { entries, effects, more: false }, self.now)?;
        self.take_over()
    }

    /// Another process reads the journal and goes on.
    fn take_over(&mut self) -> Result<(), Violation> {
        self.tell(|| "> crash".to_owned());
        self.world.crash();
        self.run = self.history.replayed()?;
        let transition = self.run.recover(&self.plan, self.now);
        self.commit(transition)
    }

    /// The run is stored, forgotten, and read again.
    pub(super) fn store_and_read(&mut self) -> Result<(), Violation> {
        self.run = stored_and_read(&self.run)?;
        Ok(())
    }
}

/// The state that went through its stored form.
pub(crate) fn stored_and_read(run: &Run) -> Result<Run, Violation> {
    let stored = serde_json::to_vec(run).map_err(|error| unreadable(&error))?;
    let read: Run = serde_json::from_slice(&stored).map_err(|error| unreadable(&error))?;
    if read != *run {
        return violated("the stored state is the state", format!("{read:?}\n is not \n{run:?}"));
    }
    Ok(read)
}

fn unreadable(error: &serde_json::Error) -> Violation {
    Violation { property: "the stored state is the state", detail: error.to_string() }
}
