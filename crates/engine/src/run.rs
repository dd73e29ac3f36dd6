//! The state of a run, and the door to the machine that moves it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use windlass_definition::{Error, Plan, Timestamp, Value, plan::StepIndex};

use crate::{
    effect::Effect,
    entry::{Entry, Record},
    event::{Decision, Event, Reject, UndoChoice},
    frame::{At, Frame, FrameId, Phase, Slot, Timer, Try, Wait, Work},
    id::RunId,
    machine::{Machine, Opening},
    planted::{Bug, planted},
    start::Start,
    status::{RunStatus, StepStatus},
};

/// What an event changed: what is to be written, and what is to be done once it is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transition {
    /// In order, without gaps after the run's last one.
    pub entries: Vec<Entry>,
    /// In order.
    pub effects: Vec<Effect>,
    /// Whether there was more to do than one transition may hold: send [`Event::Continue`] next.
    pub more: bool,
}

/// The state of a run: the fold of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub(crate) info: Arc<Start>,
    pub(crate) status: RunStatus,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) seq: i64,
    /// The time of the last transition.
    pub(crate) last_at: Timestamp,
    pub(crate) frames: BTreeMap<FrameId, Frame>,
    pub(crate) next_frame: u32,
    /// The steps that something outside may speak of: those that run or wait, by path.
    pub(crate) open: BTreeMap<Arc<str>, At>,
    /// How many of them have an attempt running.
    pub(crate) running: u32,
    pub(crate) work: VecDeque<Work>,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    /// Signals that no step has taken.
    pub(crate) signals: VecDeque<(Arc<str>, Value)>,
    /// The idempotency keys of the signals that came, and what came under each.
    pub(crate) signal_keys: BTreeMap<Arc<str>, SignalMark>,
    /// The steps that wait for a signal, in the order in which they began.
    pub(crate) signal_waits: VecDeque<At>,
    /// The run's own state, as `state` shows it.
    pub(crate) state: Value,
    pub(crate) whole: Try,
    pub(crate) undo: UndoState,
    pub(crate) paused: Option<Paused>,
    pub(crate) ending: Option<Ending>,
    /// The `finally` blocks had their time: no more of them begin.
    pub(crate) finally_over: bool,
    pub(crate) children: u32,
    pub(crate) output: Value,
    pub(crate) error: Option<Error>,
}

/// Tells a signal from another one under the same key: the beginning of the SHA-256 of its name and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignalMark([u8; 16]);

impl SignalMark {
    pub(crate) fn of(name: &str, payload: &Value) -> SignalMark {
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([0])
            .chain_update(serde_json::to_vec(payload).unwrap_or_default())
            .finalize();
        let mut mark = [0; 16];
        mark.copy_from_slice(&digest[..16]);
        SignalMark(mark)
    }
}

/// A pause, and what came during it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Paused {
    pub since: Timestamp,
    pub held: Vec<(Timestamp, Held)>,
}

/// What came during a pause and moves the run when it is resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Held {
    Signal(Arc<str>, Value),
    Decision(Decision),
    Event(Arc<str>, Value),
    /// The attempt at that path was lost and is to be run again.
    Lost(Arc<str>),
    /// A person said that the attempt at that path did not happen: another one begins.
    Again(Arc<str>),
}

/// Why everything is being stopped, other than by a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Cancel(UndoChoice, Error),
    TimedOut(Error),
    /// By `restart`: a fresh run with this input takes this one's place.
    Restart {
        run: RunId,
        input: Value,
    },
}

/// What the run can take back, and how far it is with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UndoState {
    /// In order of completion.
    pub items: Vec<UndoItem>,
    pub unknown: Vec<Arc<str>>,
    /// How many were registered when it began.
    pub registered: u32,
    pub current: Option<UndoAttempt>,
    /// Those whose undo failed.
    pub left: Vec<UndoItem>,
    pub status: UndoStatus,
    /// The error of the last undo that failed.
    pub failure: Option<Error>,
    /// Why: what `e` is.
    pub error: Value,
}

/// The undo that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UndoAttempt {
    pub item: UndoItem,
    pub attempt: u32,
    pub lost: u32,
    pub first_at: Timestamp,
    pub started_at: Timestamp,
    pub input: Value,
    pub phase: UndoPhase,
    pub timer: Option<Timestamp>,
}

/// Where the undo under way stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UndoPhase {
    Running,
    /// Asked to stop because its time is over.
    Stopping,
    Backoff,
    Child(RunId),
}

/// A step that completed and can be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoItem {
    /// The path of the step.
    pub path: Arc<str>,
    /// Its id.
    pub step: Arc<str>,
    /// What its undo can see of the time when it completed: roots by name, and `steps` by id.
    pub seen: Value,
    /// The child run that it started, when it is a subflow without an undo of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<RunId>,
}

/// What became of the undo steps of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UndoSummary {
    /// In a word.
    pub status: UndoStatus,
    /// The paths of the steps that are still to be taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Arc<str>>,
    /// The paths of the steps of which nobody knows whether their effect happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Arc<str>>,
}

/// What became of the undo steps, in a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoStatus {
    /// Nothing was to be taken back.
    #[default]
    None,
    /// All was taken back.
    Done,
    /// Some of it could not be.
    Left,
    /// Whoever cancelled said to leave it.
    Off,
}

impl UndoStatus {
    /// The word that answers and the database use.
    pub fn as_str(self) -> &'static str {
        match self {
            UndoStatus::None => "none",
            UndoStatus::Done => "done",
            UndoStatus::Left => "left",
            UndoStatus::Off => "off",
        }
    }
}

/// A step that runs or waits now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActiveStep {
    /// Its path.
    pub path: Arc<str>,
    /// Its id.
    pub step: Arc<str>,
    /// The word after `type:`.
    #[serde(rename = "type")]
    pub type_name: Arc<str>,
    /// `running` or `waiting`.
    pub status: StepStatus,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// When the attempt began.
    pub started_at: Option<Timestamp>,
    /// The evaluated `with`.
    pub input: Value,
    /// What it waits for, in a word; `None` when it runs.
    pub waits_for: Option<&'static str>,
}

/// Why a journal does not fold into a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The first entry is not a start, or there is none.
    #[error("the journal does not begin with a start")]
    NoStart,
    /// A number is missing.
    #[error("entry {found} follows entry {last}")]
    Gap {
        /// The last one read.
        last: i64,
        /// The one that follows.
        found: i64,
    },
    /// The plan leads elsewhere than the journal went.
    #[error("entry {seq} is `{found}`, but the plan leads to `{expected}`")]
    Diverged {
        /// Where.
        seq: i64,
        /// What the plan leads to: kind and path.
        expected: String,
        /// What stands there.
        found: String,
    },
}

impl Run {
    /// A new run.
    pub fn start(plan: &Plan, start: Start, now: Timestamp) -> (Run, Transition) {
        let mut run = Run::new(start.clone());
        let opening = Opening { path: Arc::default(), attempt: 0, record: Record::Started(Box::new(start)) };
        let transition = Machine::new(plan, &mut run, now).open(opening);
        (run, transition)
    }

    /// Moves the run.
    ///
    /// # Errors
    /// Why the event changes nothing: the run is as it was.
    pub fn step(&mut self, plan: &Plan, event: Event, now: Timestamp) -> Result<Transition, Reject> {
        let machine = Machine::new(plan, self, now);
        let opening = machine.decide(event)?;
        Ok(machine.open(opening))
    }

    /// The state that a journal leads to.
    ///
    /// # Errors
    /// Where the journal is not that of a run of this plan.
    pub fn replay(plan: &Plan, entries: impl IntoIterator<Item = Entry>) -> Result<Run, ReplayError> {
        let mut entries = entries.into_iter().peekable();
        let Some(Entry { record: Record::Started(start), .. }) = entries.peek() else {
            return Err(ReplayError::NoStart);
        };
        Run::new((**start).clone()).replay_onto(plan, entries)
    }

    /// The state that the rest of a journal leads to, from the state that its beginning led to.
    ///
    /// # Errors
    /// As [`Run::replay`].
    pub fn replay_onto(mut self, plan: &Plan, entries: impl IntoIterator<Item = Entry>) -> Result<Run, ReplayError> {
        let mut entries: VecDeque<Entry> = entries.into_iter().collect();
        while self.replay_next(plan, &mut entries)?.is_some() {}
        Ok(self)
    }

    /// Does the first transition of these entries again and takes it from them; gives what it asked for, without its
    /// entries, or `None` when there is none left.
    pub(crate) fn replay_next(
        &mut self,
        plan: &Plan,
        entries: &mut VecDeque<Entry>,
    ) -> Result<Option<Transition>, ReplayError> {
        let Some(opening) = entries.pop_front() else { return Ok(None) };
        let follows = entries.iter().position(|entry| entry.opens).unwrap_or(entries.len());
        // From the front: a journal may have a million entries, and what stays is not moved.
        let recorded = entries.drain(..follows).collect();
        Machine::new(plan, self, opening.at).replay(opening, recorded).map(Some)
    }

    /// What is to be done again by a process that has just taken the run over: attempts that ran in the process
    /// before are lost, and everything else that was asked for is asked for again.
    pub fn recover(&mut self, plan: &Plan, now: Timestamp) -> Transition {
        Machine::new(plan, self, now).recover()
    }

    pub(crate) fn new(start: Start) -> Run {
        Run {
            info: Arc::new(start),
            status: RunStatus::Queued,
            started_at: None,
            finished_at: None,
            seq: 0,
            last_at: Timestamp::default(),
            frames: BTreeMap::new(),
            next_frame: 0,
            open: BTreeMap::new(),
            running: 0,
            work: VecDeque::new(),
            timers: BTreeSet::new(),
            signals: VecDeque::new(),
            signal_keys: BTreeMap::new(),
            signal_waits: VecDeque::new(),
            state: Value::map::<&str>([]),
            whole: Try::new(),
            undo: UndoState::default(),
            paused: None,
            ending: None,
            finally_over: false,
            children: 0,
            output: Value::Null,
            error: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        self.info.run
    }

    /// What it was started with.
    pub fn info(&self) -> &Start {
        &self.info
    }

    /// Where it stands.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// When it left the queue.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    /// Its output; null unless completed.
    pub fn output(&self) -> &Value {
        &self.output
    }

    /// Why it did not complete.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The fresh run that takes its place.
    pub fn restarted_as(&self) -> Option<RunId> {
        match &self.ending {
            Some(Ending::Restart { run, .. }) => Some(*run),
            _ => None,
        }
    }

    /// The number of its last journal entry.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Its own state, as `state` shows it to expressions.
    pub fn state(&self) -> &Value {
        &self.state
    }

    /// When [`Event::Tick`] is due next. Nothing is due while the run is paused.
    pub fn next_timer(&self) -> Option<Timestamp> {
        match self.paused {
            Some(_) => None,
            None => self.timers.first().map(|(at, _)| *at),
        }
    }

    /// When it wants to be woken while it is not in memory, which is what its timer row says: only a run that rests may
    /// leave memory, so one that is under way needs none.
    pub fn resting_timer(&self) -> Option<Timestamp> {
        let rests = matches!(self.status, RunStatus::Waiting | RunStatus::Paused);
        if rests && !planted(Bug::TimerNotWritten) { self.next_timer() } else { None }
    }

    /// Whether something of it was under way, so that a process that loads it has to ask for that again.
    pub fn is_under_way(&self) -> bool {
        let moves = matches!(self.status, RunStatus::Running | RunStatus::Compensating);
        (self.has_running_steps() || moves) && !planted(Bug::LoadedNotRecovered)
    }

    /// Whether an attempt of a step runs outside, so that the run has to stay in memory.
    pub fn has_running_steps(&self) -> bool {
        let undoes = self.undo.current.as_ref().is_some_and(|undo| undo.phase != UndoPhase::Backoff);
        self.running > 0 || undoes
    }

    /// The steps that run or wait now, by path; control steps are not among them.
    pub fn active(&self, plan: &Plan) -> Vec<ActiveStep> {
        let steps = self.open.iter().map(|(path, at)| {
            let (slot, index) = (self.slot(*at), self.step_index(plan, *at));
            let step = plan.step(index);
            ActiveStep {
                path: path.clone(),
                step: step.id.clone(),
                type_name: step.type_name.clone(),
                status: slot.status(),
                attempt: slot.attempt.max(1),
                started_at: slot.started_at,
                input: slot.input.clone(),
                waits_for: waits_for(&slot.phase),
            }
        });
        let undo = self.undo.current.iter().map(|undo| {
            let owner = plan.by_id.get(&undo.item.step).map(|index| plan.step(*index));
            let type_name =
                owner.and_then(|step| step.undo.as_ref()).map_or("workflow".into(), |it| it.type_name.clone());
            ActiveStep {
                path: undo_path(&undo.item.path),
                step: undo_path(&undo.item.step),
                type_name,
                status: if undo.phase == UndoPhase::Backoff { StepStatus::Waiting } else { StepStatus::Running },
                attempt: undo.attempt,
                started_at: Some(undo.started_at),
                input: undo.input.clone(),
                waits_for: (undo.phase == UndoPhase::Backoff).then_some("backoff"),
            }
        });
        steps.chain(undo).collect()
    }

    /// Whether a step of it waits for a worker's answer.
    pub fn offers_tasks(&self) -> bool {
        self.open.values().any(|at| matches!(self.slot(*at).phase, Phase::Waiting(Wait::Task(_))))
    }

    /// The child runs that it waits for.
    pub fn waited_children(&self) -> Vec<RunId> {
        let steps = self.open.values().filter_map(|at| match self.slot(*at).phase {
            Phase::Waiting(Wait::Child(child)) => Some(child),
            _ => None,
        });
        let undo = self.undo.current.iter().filter_map(|undo| match undo.phase {
            UndoPhase::Child(child) => Some(child),
            _ => None,
        });
        steps.chain(undo).collect()
    }

    /// What became of its undo steps.
    pub fn undo(&self) -> UndoSummary {
        let untried = if self.undo.status == UndoStatus::Off { &self.undo.items[..] } else { &[] };
        let left = self.undo.left.iter().chain(untried);
        UndoSummary {
            status: self.undo.status,
            left: left.map(|item| item.path.clone()).collect(),
            unknown: self.undo.unknown.clone(),
        }
    }

    /// What a linked undo run would have to take back, in order of completion.
    pub fn undo_left(&self) -> Vec<UndoItem> {
        let mut left = self.undo.left.clone();
        left.reverse();
        self.undo.items.iter().cloned().chain(left).collect()
    }

    /// Why it is taking back, or took back, what it did.
    pub fn undo_error(&self) -> &Value {
        &self.undo.error
    }

    pub(crate) fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[&id]
    }

    pub(crate) fn slot(&self, at: At) -> &Slot {
        &self.frames[&at.frame].slots[at.position as usize]
    }

    pub(crate) fn step_index(&self, plan: &Plan, at: At) -> StepIndex {
        plan.block(self.frame(at.frame).block).steps[at.position as usize]
    }
}

fn waits_for(phase: &Phase) -> Option<&'static str> {
    let Phase::Waiting(wait) = phase else { return None };
    Some(match wait {
        Wait::Delay => "time",
        Wait::Signal(_) => "signal",
        Wait::Event => "event",
        Wait::Approval(_) => "approval",
        Wait::Task(_) => "task",
        Wait::Child(_) => "run",
        Wait::Backoff => "backoff",
        Wait::Settlement => "settlement",
    })
}

/// The path, or the id, under which the undo of a step is recorded.
pub(crate) fn undo_path(of: &str) -> Arc<str> {
    format!("{of}:undo").into()
}
