//! Deciding what an event means: what it is recorded as, or why it changes nothing.

use std::sync::Arc;

use windlass_definition::{Value, plan::StepKind};

use super::{Machine, Opening, scope::holds};
use crate::{
    entry::Record,
    event::{Event, Reject},
    frame::{At, Phase, Wait},
    id::RunId,
    planted::{Bug, planted},
    run::{Held, SignalMark, UndoPhase},
    start::Principal,
    status::RunStatus,
};

impl Machine<'_> {
    /// What opens the transition that the event makes. Reads the state and leaves it as it is.
    pub fn decide(&self, event: Event) -> Result<Opening, Reject> {
        let status = self.run.status;
        if status.is_final() && !(planted(Bug::FinalStatusChanges) && matches!(event, Event::Cancel { .. })) {
            return Err(Reject::NotNow(status));
        }
        match event {
            Event::Admit if self.run.started_at.is_none() => Ok(of_run(Record::Admitted)),
            Event::Admit => Err(Reject::Duplicate),
            Event::StepEnded { path, attempt, started_at, result } => {
                if self.is_current_undo(&path) {
                    self.check_undo_attempt(&path, attempt)?;
                    let record = self.judge_undo(result).ok_or_else(|| Reject::NoSuchStep(path.clone()))?;
                    return Ok(Opening { path, attempt, record });
                }
                let at = self.attempt_at(&path, attempt)?;
                let record = self.judge(at, started_at, result);
                Ok(Opening { path, attempt, record })
            }
            Event::StepLost { path, attempt } => {
                if self.is_current_undo(&path) {
                    self.check_undo_attempt(&path, attempt)?;
                } else {
                    self.attempt_at(&path, attempt)?;
                }
                Ok(Opening { path, attempt, record: Record::Lost })
            }
            Event::Tick => match self.run.next_timer() {
                Some(due) if due <= self.now => Ok(of_run(Record::Timer)),
                Some(due) if planted(Bug::TimerEarly) && due.micros() - 1 <= self.now.micros() => {
                    Ok(of_run(Record::Timer))
                }
                _ => Err(Reject::NoMatch),
            },
            Event::Continue if self.run.work.is_empty() || self.run.paused.is_some() => Err(Reject::NoMatch),
            Event::Continue => Ok(of_run(Record::Continued)),
            Event::Signal { name, payload, key, by } => {
                self.decide_signal(&name, &payload, key.as_ref())?;
                Ok(of_run(Record::Signal { name, payload, key, by }))
            }
            Event::Decide(decision) => {
                let at = self.at(&decision.path)?;
                self.check_decider(at, &decision.by)?;
                Ok(Opening { path: decision.path.clone(), attempt: 0, record: Record::Decided(decision) })
            }
            Event::ChildEnded { path, child, result } => {
                self.check_child(&path, child)?;
                Ok(Opening { path, attempt: 0, record: Record::Child { child, result } })
            }
            Event::ChildStarted { path, child, version } => {
                self.check_child(&path, Some(child))?;
                Ok(Opening { path, attempt: 0, record: Record::ChildStarted { child, version } })
            }
            Event::ChildRestarted { path, child, run } => {
                if self.check_child(&path, Some(run)).is_ok() {
                    return Err(Reject::Duplicate);
                }
                self.check_child(&path, Some(child))?;
                Ok(Opening { path, attempt: 0, record: Record::ChildRestarted { child, run } })
            }
            Event::CloudEvent { path, key, event } => self.decide_event(path, key, event),
            Event::Settle { path, settlement, by } => {
                let at = self.at(&path)?;
                self.expect(at, &path, |wait| *wait == Wait::Settlement)?;
                let attempt = self.run.slot(at).attempt;
                Ok(Opening { path, attempt, record: Record::Settled { settlement, by } })
            }
            Event::Cancel { by, reason, undo } => match status {
                RunStatus::Compensating if !planted(Bug::CancelDuringUndo) => Err(Reject::NotNow(status)),
                _ if self.run.ending.is_some() => Err(Reject::Duplicate),
                _ => Ok(of_run(Record::Cancelled { by, reason, undo })),
            },
            Event::Pause { by } => match status {
                RunStatus::Queued | RunStatus::Running | RunStatus::Waiting => Ok(of_run(Record::Paused { by })),
                _ => Err(Reject::NotNow(status)),
            },
            Event::Resume { by } => match status {
                RunStatus::Paused => Ok(of_run(Record::Resumed { by })),
                _ => Err(Reject::NotNow(status)),
            },
        }
    }

    fn at(&self, path: &Arc<str>) -> Result<At, Reject> {
        self.run.open.get(path).copied().ok_or_else(|| Reject::NoSuchStep(path.clone()))
    }

    fn attempt_at(&self, path: &Arc<str>, attempt: u32) -> Result<At, Reject> {
        let at = self.at(path)?;
        let slot = self.run.slot(at);
        let runs = matches!(slot.phase, Phase::Running | Phase::Waiting(Wait::Task(_)));
        if runs && slot.attempt == attempt {
            return Ok(at);
        }
        Err(Reject::NotWaiting { path: path.clone(), status: slot.status() })
    }

    fn check_undo_attempt(&self, path: &Arc<str>, attempt: u32) -> Result<(), Reject> {
        let runs = self.run.undo.current.as_ref().is_some_and(|current| {
            current.attempt == attempt && matches!(current.phase, UndoPhase::Running | UndoPhase::Stopping)
        });
        if runs { Ok(()) } else { Err(Reject::NoSuchStep(path.clone())) }
    }

    fn expect(&self, at: At, path: &Arc<str>, right: impl Fn(&Wait) -> bool) -> Result<(), Reject> {
        match self.phase(at) {
            Phase::Waiting(wait) if right(wait) => Ok(()),
            _ => Err(Reject::NotWaiting { path: path.clone(), status: self.run.slot(at).status() }),
        }
    }

    fn decide_signal(&self, name: &Arc<str>, payload: &Value, key: Option<&Arc<str>>) -> Result<(), Reject> {
        let first = key.and_then(|key| self.run.signal_keys.get(key));
        if let Some(first) = first.filter(|_| !planted(Bug::SignalKeyIgnored)) {
            let same = *first == SignalMark::of(name, payload);
            return Err(if same { Reject::Duplicate } else { Reject::KeyReused });
        }
        if self.run.status == RunStatus::Compensating {
            return Err(Reject::NotNow(self.run.status));
        }
        let max = self.run.info.limits.signals_max;
        if self.signals_kept() >= max && !self.is_awaited(name) {
            let message = format!("{max} signals wait in this run, the most that may (setting `signals_max`)");
            return Err(Reject::Limit(message));
        }
        Ok(())
    }

    /// Signals that no step has taken, those that came during a pause included.
    fn signals_kept(&self) -> usize {
        let held = self.run.paused.iter().flat_map(|paused| &paused.held);
        let held = held.filter(|(_, it)| matches!(it, Held::Signal(..)));
        self.run.signals.len() + held.count()
    }

    /// Whether a step takes a signal of that name as soon as it comes.
    fn is_awaited(&self, name: &Arc<str>) -> bool {
        let wait = Phase::Waiting(Wait::Signal(name.clone()));
        self.run.paused.is_none() && self.run.signal_waits.iter().any(|at| *self.phase(*at) == wait)
    }

    fn check_decider(&self, at: At, by: &Principal) -> Result<(), Reject> {
        let Phase::Waiting(Wait::Approval(wait)) = self.phase(at) else {
            return Err(Reject::NotWaiting { path: self.path(at), status: self.run.slot(at).status() });
        };
        let requested = by.people().any(|person| self.run.info.by.people().any(|other| other == person));
        if requested && !planted(Bug::RequesterDecides) {
            return Err(Reject::Denied("who started the run may not decide on it".into()));
        }
        let held = self.run.paused.iter().flat_map(|paused| &paused.held).filter_map(|(_, held)| match held {
            Held::Decision(decision) if self.run.open.get(&decision.path) == Some(&at) => Some(&decision.by),
            _ => None,
        });
        let twice = planted(Bug::DecidesTwice);
        if !twice && wait.need > 1 && wait.responses.iter().map(|(_, it)| &it.by).chain(held).any(|other| other == by) {
            return Err(Reject::Duplicate);
        }
        Ok(())
    }

    fn check_child(&self, path: &Arc<str>, child: Option<RunId>) -> Result<(), Reject> {
        if self.is_current_undo(path) {
            let waits = self.run.undo.current.as_ref().is_some_and(|current| match (current.phase, child) {
                (UndoPhase::Child(expected), Some(child)) => expected == child,
                (UndoPhase::Child(_), None) => true,
                _ => false,
            });
            return if waits { Ok(()) } else { Err(Reject::NoSuchStep(path.clone())) };
        }
        let at = self.at(path)?;
        self.expect(at, path, |wait| match (wait, child) {
            (Wait::Child(expected), Some(child)) => *expected == child,
            (Wait::Child(_), None) => true,
            _ => false,
        })
    }

    fn decide_event(&self, path: Arc<str>, key: Arc<str>, event: Value) -> Result<Opening, Reject> {
        let at = self.at(&path)?;
        self.expect(at, &path, |wait| *wait == Wait::Event)?;
        if let StepKind::Event { when: Some(when), .. } = &self.step(at).kind {
            let scope = self.scope(at).with("event", event.clone());
            if !holds(when, &scope).unwrap_or(false) {
                return Err(Reject::NoMatch);
            }
        }
        Ok(Opening { path, attempt: 0, record: Record::Event { key, event } })
    }
}

fn of_run(record: Record) -> Opening {
    Opening { path: Arc::default(), attempt: 0, record }
}
