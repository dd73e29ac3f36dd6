//! The world outside a run, as far as the engine can tell: what was asked for and has not been answered.
//!
//! Invariant: after every transition, what is outstanding here is what the run says is open, no more and no less.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use windlass_definition::{Plan, Timestamp};
use windlass_engine::{
    Effect, Entry, Record, Run, Transition,
    effect::{Finish, OpenApproval, StartChild},
    id::{ApprovalId, RunId, TaskId},
    status::{RunStatus, StepStatus},
};

use windlass_engine::audit::{Violation, violated};

/// What was asked for and has not been answered.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Attempts that run, by path.
    pub attempts: BTreeMap<Arc<str>, Attempt>,
    /// Tasks that are offered.
    pub tasks: BTreeMap<TaskId, Attempt>,
    /// Approvals that are open.
    pub approvals: BTreeMap<ApprovalId, OpenApproval>,
    /// Children that have not ended, or, when nobody waits for them, not been started.
    pub children: BTreeMap<RunId, Child>,
    /// Waits for CloudEvents, by path: the type.
    pub events: BTreeMap<Arc<str>, Arc<str>>,
    /// Attempts that the run gave up: their answers come too late.
    pub late: Vec<Attempt>,
    /// Attempts that were lost and not asked for again.
    pub lost: BTreeSet<Arc<str>>,
    /// Tasks that were open in a crash, which whoever takes over may offer once more.
    survived: BTreeSet<TaskId>,
    /// What the run ended with.
    pub finished: Option<Finish>,
    /// The idempotency key that each path was given.
    keys: BTreeMap<Arc<str>, Arc<str>>,
    /// The last attempt that was asked for, by path.
    asked: BTreeMap<Arc<str>, u32>,
    /// Approvals that were closed.
    closed: BTreeSet<ApprovalId>,
}

/// An attempt that runs outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The step's path.
    pub path: Arc<str>,
    /// Which one.
    pub number: u32,
    /// When it was asked for.
    pub since: Timestamp,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

/// A child run.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// The path of the step, or of the undo, that started it.
    pub path: Arc<str>,
    /// Whether its end is waited for.
    pub waits: bool,
    /// Whether it was cancelled.
    pub stopping: bool,
    /// Whether it is paused.
    pub paused: bool,
}

impl World {
    /// Takes note of what a transition recorded, then does what it asks for.
    ///
    /// # Errors
    /// What was asked for and makes no sense.
    pub fn carry_out(&mut self, transition: &Transition, now: Timestamp) -> Result<(), Violation> {
        for entry in &transition.entries {
            self.note(entry);
        }
        for effect in &transition.effects {
            if let Some(finished) = &self.finished {
                return violated("nothing is asked for after the end", format!("{effect:?} after {finished:?}"));
            }
            self.one(effect, now)?;
        }
        Ok(())
    }

    /// An attempt whose end was recorded is awaited no more.
    fn note(&mut self, entry: &Entry) {
        let ends = matches!(entry.record, Record::Step(_) | Record::Attempt(_) | Record::Unknown(_));
        if ends && self.attempts.get(&entry.path).is_some_and(|it| it.number == entry.attempt) {
            self.late.extend(self.attempts.remove(&entry.path));
        }
    }

    fn one(&mut self, effect: &Effect, now: Timestamp) -> Result<(), Violation> {
        match effect {
            Effect::RunStep(run) => {
                let attempt = Attempt { path: run.path.clone(), number: run.attempt, since: now, stopping: false };
                self.count_attempt(&run.path, run.attempt, Repeat::Allowed)?;
                if let Some(before) = self.keys.insert(run.path.clone(), run.key.clone())
                    && before != run.key
                {
                    return violated("a step has one key", format!("{run:?} had `{before}`"));
                }
                self.lost.remove(&run.path);
                if let Some(other) = self.attempts.insert(run.path.clone(), attempt) {
                    return violated("one attempt of a path at a time", format!("{run:?} beside {other:?}"));
                }
            }
            Effect::StopStep { path, attempt } => {
                if self.asked.get(path).is_none_or(|asked| asked < attempt) {
                    return violated("only what was asked for is stopped", format!("{effect:?}"));
                }
                if let Some(running) = self.attempts.get_mut(path).filter(|it| it.number == *attempt) {
                    running.stopping = true;
                }
            }
            Effect::OfferTask(task) if self.survived.remove(&task.task) => {
                let same = |it: &Attempt| it.path == task.path && it.number == task.attempt;
                if !self.tasks.get(&task.task).is_some_and(same) {
                    return violated("a task that is offered again is the same", format!("{task:?}"));
                }
            }
            Effect::OfferTask(task) => {
                self.count_attempt(&task.path, task.attempt, Repeat::Refused)?;
                let attempt = Attempt { path: task.path.clone(), number: task.attempt, since: now, stopping: false };
                if self.tasks.insert(task.task, attempt).is_some()
                    || self.late.iter().any(|it| it.path == task.path && it.number == task.attempt)
                {
                    return violated("a task is offered once", format!("{task:?}"));
                }
            }
            Effect::StopTask { task, .. } => match self.tasks.get_mut(task) {
                Some(running) => running.stopping = true,
                None => return violated("only what was asked for is stopped", format!("{effect:?}")),
            },
            Effect::CloseTask { task } => match self.tasks.remove(task) {
                Some(attempt) => self.late.push(attempt),
                None => return violated("what is closed was open", format!("{effect:?}")),
            },
            Effect::OpenApproval(approval) => {
                let again = self.closed.contains(&approval.approval);
                if self.approvals.insert(approval.approval, approval.clone()).is_some() || again {
                    return violated("an approval is opened once", format!("{approval:?}"));
                }
            }
            Effect::CloseApproval { approval, .. } => {
                self.closed.insert(*approval);
                if self.approvals.remove(approval).is_none() {
                    return violated("what is closed was open", format!("{effect:?}"));
                }
            }
            Effect::WaitForEvent(wait) => {
                self.events.insert(wait.path.clone(), wait.event_type.clone());
            }
            Effect::ForgetEvent { path } => {
                if self.events.remove(path).is_none() {
                    return violated("what is closed was open", format!("{effect:?}"));
                }
            }
            Effect::Finish(finish) => self.finished = Some(finish.clone()),
            Effect::Respond { .. } | Effect::Restart { .. } | Effect::Log { .. } => {}
            Effect::StartChild(_)
            | Effect::UndoChild { .. }
            | Effect::CancelChild { .. }
            | Effect::PauseChild { .. }
            | Effect::ResumeChild { .. } => self.of_child(effect)?,
        }
        Ok(())
    }

    fn of_child(&mut self, effect: &Effect) -> Result<(), Violation> {
        let child = match effect {
            Effect::StartChild(StartChild { child, path, waits, .. }) => {
                self.start_child(*child, Child { path: path.clone(), waits: *waits, stopping: false, paused: false });
                return Ok(());
            }
            Effect::UndoChild { child, path, .. } => {
                self.start_child(*child, Child { path: path.clone(), waits: true, stopping: false, paused: false });
                return Ok(());
            }
            Effect::CancelChild { child } | Effect::PauseChild { child } | Effect::ResumeChild { child } => child,
            _ => return Ok(()),
        };
        let Some(running) = self.children.get_mut(child) else {
            return violated("only what was asked for is stopped", format!("{effect:?}"));
        };
        match effect {
            Effect::CancelChild { .. } => (running.stopping, running.paused) = (true, false),
            Effect::PauseChild { .. } => running.paused = !running.stopping,
            _ => running.paused = false,
        }
        Ok(())
    }

    /// Starting it twice starts it once: the id is given.
    fn start_child(&mut self, id: RunId, child: Child) {
        self.children.entry(id).or_insert(child);
    }

    /// Attempts count from 1 without gaps; a lost one is asked for again under its own number.
    fn count_attempt(&mut self, path: &Arc<str>, number: u32, repeat: Repeat) -> Result<(), Violation> {
        let last = self.asked.insert(path.clone(), number).unwrap_or(0);
        let repeats = repeat == Repeat::Allowed
            && last == number
            && !self.late.iter().any(|it| it.path == *path && it.number == number);
        if number != last + 1 && !repeats {
            return violated("an attempt's number only grows", format!("`{path}` #{number} after #{last}"));
        }
        Ok(())
    }

    /// The process is gone: the attempts that ran in it are lost. Tasks, approvals, event waits and children live on.
    pub fn crash(&mut self) {
        let lost = std::mem::take(&mut self.attempts);
        self.lost.extend(lost.into_keys());
        self.survived = self.tasks.keys().copied().collect();
    }

    /// The attempt at a path is lost with its server.
    pub fn lose(&mut self, path: &str) {
        let lost = self.attempts.remove(path);
        self.lost.extend(lost.map(|it| it.path));
    }

    /// Checks that what is outstanding is what the run says is open.
    ///
    /// # Errors
    /// What the one knows and the other does not.
    pub fn agrees_with(&self, run: &Run, plan: &Plan) -> Result<(), Violation> {
        let mut open = BTreeSet::new();
        for step in run.active(plan) {
            let kind = match (step.status, step.waits_for) {
                (StepStatus::Running, _) if self.children.values().any(|it| it.path == step.path) => "run",
                // It runs again when the run is resumed.
                (StepStatus::Running, _) if run.status() == RunStatus::Paused && self.lost.contains(&step.path) => {
                    continue;
                }
                (StepStatus::Running, _) => "attempt",
                (_, Some("task")) => "task",
                (_, Some("approval")) => "approval",
                (_, Some("run")) => "run",
                (_, Some("event")) => "event",
                _ => continue,
            };
            let number = if matches!(kind, "attempt" | "task") { step.attempt } else { 0 };
            open.insert((kind, step.path, number));
        }
        let numbered = |kind: &'static str| move |it: &Attempt| (kind, it.path.clone(), it.number);
        let outstanding: BTreeSet<(&str, Arc<str>, u32)> = (self.attempts.values().map(numbered("attempt")))
            .chain(self.tasks.values().map(numbered("task")))
            .chain(self.approvals.values().map(|it| ("approval", it.path.clone(), 0)))
            .chain(self.children.values().map(|it| ("run", it.path.clone(), 0)))
            .chain(self.events.keys().map(|path| ("event", path.clone(), 0)))
            .collect();
        if open != outstanding {
            let forgotten: Vec<_> = open.difference(&outstanding).collect();
            let left: Vec<_> = outstanding.difference(&open).collect();
            let detail = format!("open and never asked for: {forgotten:?}; asked for and left behind: {left:?}");
            return violated("what is asked for is what is open", detail);
        }
        Ok(())
    }
}

#[derive(PartialEq)]
enum Repeat {
    Allowed,
    Refused,
}

/// Whether an effect outlives a crash between its commit and itself. Rows in the database do, and the letters that
/// pause and resume children; attempts are lost with the process, begun or not; to start and to stop a child is asked
/// for again, so here it is lost.
pub fn survives_crash(effect: &Effect) -> bool {
    !matches!(effect, Effect::StartChild(_) | Effect::UndoChild { .. } | Effect::CancelChild { .. })
}
