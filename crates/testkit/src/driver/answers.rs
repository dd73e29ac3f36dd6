//! What the world answers: ends of attempts, decisions, signals, events, ends of children.

use std::sync::Arc;

use serde_json::json;
use windlass_definition::{Class, Error, Value};
use windlass_engine::{
    Event,
    audit::Violation,
    event::{ChildResult, Decision, Verdict},
    id::RunId,
    start::Principal,
    status::RunStatus,
};

use super::Driver;
use crate::{
    answer::{self, Mood},
    world::{Attempt, Child},
};

impl Driver {
    /// An attempt or a task ends, if one is open.
    pub(super) fn end_something(&mut self) -> Result<(), Violation> {
        match self.some_attempt() {
            Some(attempt) => self.end_attempt(&attempt, Mood::Any),
            None => Ok(()),
        }
    }

    pub(super) fn end_attempt(&mut self, attempt: &Attempt, mood: Mood) -> Result<(), Violation> {
        let result = answer::result(&mut self.random, &mut self.counter, attempt.stopping, mood);
        self.accepted(Event::StepEnded {
            path: attempt.path.clone(),
            attempt: attempt.number,
            started_at: attempt.since,
            result,
        })
    }

    /// An attempt is lost with its server, or a task with its worker.
    pub(super) fn lose_something(&mut self) -> Result<(), Violation> {
        let Some(attempt) = self.some_attempt() else { return Ok(()) };
        self.world.lose(&attempt.path);
        self.accepted(Event::StepLost { path: attempt.path, attempt: attempt.number })
    }

    fn some_attempt(&mut self) -> Option<Attempt> {
        let attempts: Vec<Attempt> = self.world.attempts.values().chain(self.world.tasks.values()).cloned().collect();
        if attempts.is_empty() { None } else { Some(self.random.pick(&attempts).clone()) }
    }

    fn output(&mut self) -> Value {
        answer::output(&mut self.random, &mut self.counter)
    }

    fn error(&mut self) -> Error {
        answer::error(&mut self.random)
    }

    pub(super) fn signal(&mut self) -> Result<(), Violation> {
        let name: Arc<str> = (*self.random.pick(&["go", "stop", "other"])).into();
        let again = self.random.percent(20).then(|| Arc::from("key"));
        let number = self.number();
        self.accepted_or_not(Event::Signal { name, payload: Value::from(number), key: again, by: None })
    }

    pub(super) fn decide(&mut self) -> Result<(), Violation> {
        let open: Vec<Arc<str>> = self.world.approvals.values().map(|it| it.path.clone()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let path = self.random.pick(&open).clone();
        // `ann` started the run: her word does not count.
        let by = *self.random.pick(&["bob", "cat", "dan", "ann"]);
        let verdict = if self.random.percent(65) { Verdict::Approve } else { Verdict::Reject };
        let decision = decision(path, by, verdict);
        if by == "ann" { self.refused(decision) } else { self.accepted_or_not(decision) }
    }

    pub(super) fn deliver_event(&mut self) -> Result<(), Violation> {
        let open: Vec<Arc<str>> = self.world.events.keys().cloned().collect();
        if open.is_empty() {
            return Ok(());
        }
        let path = self.random.pick(&open).clone();
        let data = self.random.below(6);
        self.cloud_event(path, data)
    }

    pub(super) fn cloud_event(&mut self, path: Arc<str>, data: usize) -> Result<(), Violation> {
        let number = self.number();
        let event = Value::from(json!({ "id": number, "data": { "n": data } }));
        self.accepted_or_not(Event::CloudEvent { path, key: format!("source/{number}").into(), event })
    }

    /// A child ends, if one is open and not paused.
    pub(super) fn end_child(&mut self) -> Result<(), Violation> {
        let open: Vec<(RunId, Child)> =
            self.world.children.iter().filter(|(_, it)| !it.paused).map(|(id, it)| (*id, it.clone())).collect();
        if open.is_empty() {
            return Ok(());
        }
        let (id, child) = self.random.pick(&open).clone();
        self.child_ends(id, &child, Mood::Any)
    }

    pub(super) fn child_ends(&mut self, id: RunId, child: &Child, mood: Mood) -> Result<(), Violation> {
        self.world.children.remove(&id);
        let path = child.path.clone();
        let fails = mood == Mood::Any && self.random.percent(30);
        if !child.waits && !fails {
            return self.accepted(Event::ChildStarted { path, child: id, version: 3 });
        }
        let cancelled = Error::new(Class::Cancelled, "cancelled", "cancelled");
        let (ended, result) = match (child.stopping, fails) {
            (true, _) if mood == Mood::Good || self.random.percent(70) => {
                (Some(id), ChildResult::Failed(Some(RunStatus::Cancelled), cancelled))
            }
            (_, false) => (Some(id), ChildResult::Completed(self.output())),
            (_, true) if !child.waits || self.random.percent(30) => {
                (None, ChildResult::Failed(None, Error::new(Class::NotFound, "no_workflow", "there is none")))
            }
            (_, true) => (Some(id), ChildResult::Failed(Some(RunStatus::Compensated), self.error())),
        };
        self.accepted(Event::ChildEnded { path, child: ended, result })
    }
}

pub(super) fn decision(path: Arc<str>, by: &str, verdict: Verdict) -> Event {
    let by = Principal::Person(by.into());
    Event::Decide(Decision { path, verdict, by, form: Value::Null, comment: None })
}
