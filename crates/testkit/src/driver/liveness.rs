//! Everything is answered and time passes: then a run must come to its end.

use std::{sync::Arc, time::Duration};

use windlass_definition::{Class, Error, Value};
use windlass_engine::{
    Event,
    audit::{self, Violation, violated},
    event::{Settlement, UndoChoice, Verdict},
    run::ActiveStep,
    status::RunStatus,
};

use super::{Driver, answers::decision, bob, crash::stored_and_read};
use crate::answer::Mood;

/// Answers after which a run that has not ended never will.
const ANSWERS_MAX: usize = 5_000;

impl Driver {
    pub(super) fn bring_to_its_end(&mut self) -> Result<(), Violation> {
        for _ in 0..ANSWERS_MAX {
            if self.run.status().is_final() {
                return Ok(());
            }
            let before = self.history.entries.len();
            self.answer_something()?;
            if self.history.entries.len() == before {
                return violated("a run that is answered goes on", self.standing());
            }
        }
        violated("a run that is answered comes to its end", self.standing())
    }

    fn standing(&self) -> String {
        let active = self.run.active(&self.plan);
        let timer = self.run.next_timer();
        format!(
            "{} at {}, next timer {timer:?}, open: {active:#?}, outside: {:#?}",
            self.run.status(),
            self.now,
            self.world
        )
    }

    fn answer_something(&mut self) -> Result<(), Violation> {
        match self.run.status() {
            RunStatus::Queued => return self.accepted(Event::Admit),
            RunStatus::Paused => return self.accepted(Event::Resume { by: bob() }),
            _ => {}
        }
        let attempt = self.world.attempts.values().chain(self.world.tasks.values()).next().cloned();
        if let Some(attempt) = attempt {
            let mood = if self.random.percent(20) { Mood::Any } else { Mood::Good };
            return self.end_attempt(&attempt, mood);
        }
        let child = self.world.children.iter().find(|(_, it)| !it.paused).map(|(id, it)| (*id, it.clone()));
        if let Some((id, child)) = child {
            return self.child_ends(id, &child, Mood::Good);
        }
        let waiting = self.run.active(&self.plan);
        if let Some(step) = waiting.iter().find(|it| !matches!(it.waits_for, Some("time" | "backoff" | "run") | None)) {
            return self.answer_wait(step);
        }
        self.let_time_pass()
    }

    fn answer_wait(&mut self, step: &ActiveStep) -> Result<(), Violation> {
        let path = step.path.clone();
        match step.waits_for {
            Some("signal") => {
                let name: Arc<str> = step.input.get("signal").and_then(Value::as_str).unwrap_or_default().into();
                let payload = Value::from(self.number());
                self.accepted(Event::Signal { name, payload, key: None, by: None })
            }
            Some("event") => self.cloud_event(path, 5),
            Some("approval") => {
                // Who has spoken already is refused; one of the three has not.
                let before = self.history.entries.len();
                for by in ["bob", "cat", "dan"] {
                    if self.history.entries.len() == before {
                        self.accepted_or_not(decision(path.clone(), by, Verdict::Approve))?;
                    }
                }
                Ok(())
            }
            _ => {
                let settlement = match self.random.below(3) {
                    0 => Settlement::Completed(Value::from("settled")),
                    1 => Settlement::Failed(Error::new(Class::User, "settled", "it did not work")),
                    _ => Settlement::Again,
                };
                self.accepted(Event::Settle { path, settlement, by: bob() })
            }
        }
    }

    fn let_time_pass(&mut self) -> Result<(), Violation> {
        let Some(due) = self.run.next_timer() else { return Ok(()) };
        self.now = due.max(self.now);
        self.accepted(Event::Tick)
    }

    /// What must hold of a run that has ended.
    pub(super) fn check_the_end(&mut self) -> Result<(), Violation> {
        let status = self.run.status();
        self.now = self.now.after(Duration::from_secs(1_000_000));
        let late: Vec<_> = self.world.late.iter().rev().take(3).cloned().collect();
        for late in late {
            let event = Event::StepLost { path: late.path, attempt: late.number };
            self.refused(event)?;
        }
        for event in [
            Event::Tick,
            Event::Admit,
            Event::Continue,
            Event::Cancel { by: bob(), reason: None, undo: UndoChoice::Undo },
            Event::Pause { by: bob() },
            Event::Resume { by: bob() },
            Event::Signal { name: "go".into(), payload: Value::Null, key: None, by: None },
        ] {
            self.refused(event)?;
        }
        let again = self.run.recover(&self.plan, self.now);
        if !again.entries.is_empty() || !again.effects.is_empty() || self.run.status() != status {
            return violated("a final run takes nothing", format!("recovering it gave {again:?}"));
        }
        stored_and_read(&self.run)?;
        audit::check_end(&self.history)?;
        // The journal alone says the same as what was seen while it was written.
        let audited = audit::journal(&self.plan, self.history.entries.clone());
        if let Some(violation) = audited.violations.into_iter().next() {
            return Err(violation);
        }
        match audited.run {
            Some(replayed) if replayed == self.run => Ok(()),
            replayed => {
                violated("the fold of the journal is the state", format!("{replayed:?}\n is not \n{:?}", self.run))
            }
        }
    }
}
