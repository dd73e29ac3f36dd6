//! The machine that moves a run: it records what happened, changes the state by what was recorded, and follows up until
//! nothing more is to be done.
//!
//! Invariants:
//! - The state changes only by entries and by what follows from them: what the live run does, its replay does too.
//! - What follows goes through one queue, first in, first out; nothing recurses deeper than blocks are nested.
//! - A recorded result stands: on replay a pure step's entry is believed, not computed again.

mod attempt;
mod children;
mod control;
mod decide;
mod edges;
mod ending;
mod frames;
mod pure;
mod recover;
mod scope;
mod start;
mod stop;
mod timers;
mod undo;
mod waiting;

pub use pure::apply_state;
pub(crate) use scope::equal;

use std::{collections::VecDeque, sync::Arc};

use windlass_definition::{Error, Plan, Timestamp, Value, plan::Step};

use crate::{
    effect::Effect,
    entry::{Entry, Record, SkippedBy, StepRecord},
    frame::{At, FrameId, Phase, Slot, Work},
    planted::{Bug, planted},
    run::{Held, ReplayError, Run, SignalMark, Transition},
    status::{RunStatus, StepStatus},
};

/// Entries after which a transition leaves the rest to the next one, so that none grows without bound.
const TRANSITION_ENTRIES_MAX: usize = 1_000;

/// One transition in the making.
pub(crate) struct Machine<'a> {
    plan: &'a Plan,
    run: &'a mut Run,
    now: Timestamp,
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    /// On replay, the entries that must follow.
    recorded: Option<VecDeque<Entry>>,
    diverged: Option<ReplayError>,
}

/// What opens a transition.
pub(crate) struct Opening {
    pub path: Arc<str>,
    pub attempt: u32,
    pub record: Record,
}

impl<'a> Machine<'a> {
    pub fn new(plan: &'a Plan, run: &'a mut Run, now: Timestamp) -> Machine<'a> {
        // A database clock that was set back must not make a run's own time go backwards.
        let now = now.max(run.last_at);
        Machine { plan, run, now, entries: Vec::new(), effects: Vec::new(), recorded: None, diverged: None }
    }

    /// Records what came from outside and everything that follows from it.
    pub fn open(mut self, opening: Opening) -> Transition {
        self.enter(opening);
        self.close()
    }

    /// Does again what a recorded transition did; gives what it asked for, without its entries.
    pub fn replay(mut self, opening: Entry, recorded: VecDeque<Entry>) -> Result<Transition, ReplayError> {
        if opening.seq != self.run.seq + 1 {
            return Err(ReplayError::Gap { last: self.run.seq, found: opening.seq });
        }
        self.recorded = Some(recorded);
        self.enter(Opening { path: opening.path, attempt: opening.attempt, record: opening.record });
        let left = self.recorded.take().and_then(|mut rest| rest.pop_front());
        match (self.diverged.take(), left) {
            (Some(error), _) => Err(error),
            (None, Some(entry)) => Err(diverged(&entry, "nothing more")),
            (None, None) => Ok(self.close()),
        }
    }

    fn enter(&mut self, opening: Opening) {
        self.run.last_at = self.now;
        let step = step_of_path(&opening.path);
        self.push(Entry {
            seq: self.run.seq + 1 + i64::from(planted(Bug::SeqGap) && opening.record == Record::Lost),
            at: self.now,
            opens: true,
            path: opening.path.clone(),
            step,
            attempt: opening.attempt,
            record: opening.record.clone(),
        });
        self.apply(&opening.path, opening.record);
        self.follow_up();
    }

    fn close(self) -> Transition {
        let more = !self.run.work.is_empty() && self.run.paused.is_none() && !self.run.status.is_final();
        Transition { entries: self.entries, effects: self.effects, more }
    }

    /// Works through the queue, as far as one transition goes.
    fn follow_up(&mut self) {
        let start = self.run.seq;
        while (self.run.paused.is_none() || planted(Bug::PauseIgnored))
            && self.diverged.is_none()
            && ((self.run.seq - start) as usize) < TRANSITION_ENTRIES_MAX
            && let Some(work) = self.run.work.pop_front()
        {
            match work {
                Work::Start(at) => self.start_step(at),
                Work::Skip(at) => self.skip_step(at),
                Work::Settle(at) => self.settle_step(at),
                Work::Advance(at) => self.advance(at),
                Work::FrameEnded(frame) => self.frame_ended(frame),
                Work::Undo => self.next_undo(),
            }
        }
        self.run.status = self.status();
    }

    fn status(&self) -> RunStatus {
        let run = &self.run;
        if run.status.is_final() || run.status == RunStatus::Compensating || run.started_at.is_none() {
            return run.status;
        }
        if run.paused.is_some() {
            return RunStatus::Paused;
        }
        let waits = run.running == 0 && run.work.is_empty();
        if waits { RunStatus::Waiting } else { RunStatus::Running }
    }

    /// Changes the state by what opened the transition.
    fn apply(&mut self, path: &Arc<str>, record: Record) {
        match record {
            Record::Started(start) => self.started(&start),
            Record::Admitted => self.begin(),
            Record::Continued => {}
            Record::Step(_) | Record::Attempt(_) | Record::Unknown(_) => self.apply_attempt(path, record),
            Record::Lost => self.lost(path),
            Record::Timer => self.fire_timers(self.now),
            Record::Signal { name, payload, key, .. } => {
                // Only the live run would know the key.
                if !(planted(Bug::ReplayDiffers) && self.recorded.is_some()) {
                    self.run.signal_keys.extend(key.map(|key| (key, SignalMark::of(&name, &payload))));
                }
                self.take(Held::Signal(name, payload));
            }
            Record::Decided(decision) => self.take(Held::Decision(decision)),
            Record::Event { key, event } => {
                let _ = key;
                self.take(Held::Event(path.clone(), event));
            }
            Record::Child { child, result } => self.child_ended(path, child, result),
            Record::ChildStarted { child, version } => self.child_started(path, child, version),
            Record::ChildRestarted { run, .. } => self.child_restarted(path, run),
            Record::Settled { settlement, .. } => self.settled(path, settlement),
            Record::Cancelled { by, reason, undo } => self.cancel(&by, reason, undo),
            Record::Paused { .. } => self.pause(),
            Record::Resumed { .. } => self.resume(),
            Record::Compensating { .. } | Record::Finished(_) => {}
        }
    }

    /// What moves a run unless it is paused; then it moves it when it is resumed.
    fn take(&mut self, held: Held) {
        if let Some(paused) = &mut self.run.paused {
            if planted(Bug::PauseDropsSignal) && matches!(held, Held::Signal(..)) {
                return;
            }
            paused.held.push((self.now, held));
            return;
        }
        match held {
            Held::Signal(name, payload) => self.signal(name, payload),
            Held::Decision(decision) => self.decision(decision),
            Held::Event(path, event) => self.cloud_event(&path, event),
            Held::Lost(path) => self.run_again(&path),
            Held::Again(path) => self.try_again(&path),
        }
    }

    fn push(&mut self, entry: Entry) {
        self.run.seq = entry.seq;
        if self.recorded.is_none() {
            self.entries.push(entry);
        }
    }

    /// Records something that follows from the opening, and gives what stands in the journal: on replay, what stood
    /// there already.
    fn note(&mut self, path: Arc<str>, attempt: u32, record: Record) -> Record {
        let seq = self.run.seq + 1;
        let record = match &mut self.recorded {
            None => record,
            Some(recorded) => match recorded.pop_front() {
                Some(entry) if entry.seq == seq && entry.path == path && entry.record.kind() == record.kind() => {
                    entry.record
                }
                found => {
                    let expected = format!("{} {path}", record.kind());
                    self.diverged.get_or_insert(match found {
                        Some(entry) => diverged(&entry, &expected),
                        None => ReplayError::Diverged { seq, expected, found: "the end of the transition".into() },
                    });
                    record
                }
            },
        };
        let step = step_of_path(&path);
        self.push(Entry { seq, at: self.now, opens: false, path, step, attempt, record: record.clone() });
        record
    }

    /// Records the end of a step that follows from the opening.
    fn end_step(&mut self, at: At, end: End) {
        let slot = self.run.slot(at);
        let record = StepRecord {
            type_name: self.step(at).type_name.clone(),
            status: end.status,
            started_at: slot.started_at,
            input: slot.input.clone(),
            output: end.output,
            error: end.error,
            skipped_by: end.skipped_by,
            unknown: end.unknown,
        };
        // What began and has no attempts of its own, such as a control step, was tried once.
        let attempt = if end.skipped_by.is_some() { 0 } else { slot.attempt.max(1) };
        match self.note(self.path(at), attempt, Record::Step(record)) {
            Record::Step(record) => self.step_ended(at, record),
            _ => unreachable!("`note` gives a record of the same kind"),
        }
    }

    fn complete(&mut self, at: At, output: Value) {
        self.end_step(at, End::completed(output));
    }

    fn fail(&mut self, at: At, error: Error) {
        let also = std::mem::take(&mut self.slot_mut(at).also);
        self.end_step(at, End::failed(edges::with_also(error, &also)));
    }

    fn step(&self, at: At) -> &'a Step {
        self.plan.step(self.run.step_index(self.plan, at))
    }

    fn slot_mut(&mut self, at: At) -> &mut Slot {
        let frame = self.run.frames.get_mut(&at.frame).expect("a frame lives as long as its slots are spoken of");
        &mut frame.slots[at.position as usize]
    }

    fn path(&self, at: At) -> Arc<str> {
        let (prefix, id) = (&self.run.frame(at.frame).prefix, &self.step(at).id);
        if prefix.is_empty() { id.clone() } else { format!("{prefix}{id}").into() }
    }

    fn phase(&self, at: At) -> &Phase {
        &self.run.slot(at).phase
    }

    fn is_stopping(&self, frame: FrameId) -> bool {
        self.run.frame(frame).stop.is_some()
    }
}

/// How a step ends.
struct End {
    status: StepStatus,
    output: Value,
    error: Option<Error>,
    skipped_by: Option<SkippedBy>,
    unknown: bool,
}

impl End {
    fn new(status: StepStatus) -> End {
        End { status, output: Value::Null, error: None, skipped_by: None, unknown: false }
    }

    fn completed(output: Value) -> End {
        End { output, ..End::new(StepStatus::Completed) }
    }

    fn failed(error: Error) -> End {
        End { error: Some(error), ..End::new(StepStatus::Failed) }
    }

    fn timed_out(error: Error) -> End {
        End { error: Some(error), ..End::new(StepStatus::TimedOut) }
    }

    fn skipped(by: SkippedBy) -> End {
        End { skipped_by: Some(by), ..End::new(StepStatus::Skipped) }
    }
}

fn diverged(found: &Entry, expected: &str) -> ReplayError {
    ReplayError::Diverged {
        seq: found.seq,
        expected: expected.to_owned(),
        found: format!("{} {}", found.record.kind(), found.path),
    }
}

/// The id of the step at a path: what follows the last dot, without an iteration.
fn step_of_path(path: &Arc<str>) -> Arc<str> {
    match path.rsplit_once('.') {
        Some((_, id)) => id.into(),
        None => path.clone(),
    }
}
