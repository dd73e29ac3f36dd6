//! What happened so far, as the world outside saw it: the journal and what was asked for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    Effect, Entry, Record, Run, Start, Transition,
    entry::{FinishRecord, StepRecord},
    id::RunId,
    run::ReplayError,
    start::{Mode, Origin},
    status::RunStatus,
};
use windlass_definition::{Plan, Timestamp, plan::Step};

use super::{Violation, check_status, undo::Undone, violated};

/// The journal of a run, and when what was asked for.
pub struct History {
    /// What the run runs.
    pub plan: Arc<Plan>,
    /// What it was started with.
    pub start: Start,
    /// The journal.
    pub entries: Vec<Entry>,
    /// Attempts in the order in which they were asked for.
    pub asked: Vec<Asked>,
    pub(super) undone: Undone,
    /// Attempts that were asked to stop, for whatever reason.
    pub(super) stopped: BTreeSet<(Arc<str>, u32)>,
    /// Children that were asked for, with the attempt that each is.
    child_attempts: BTreeMap<RunId, (Arc<str>, u32)>,
    /// The fold of the journal so far.
    folded: Option<Run>,
}

/// An attempt that was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The step's path; an undo's ends in `:undo`.
    pub path: Arc<str>,
    /// Counts from 1.
    pub attempt: u32,
    /// The last entry of the transition that asked for it.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
}

impl History {
    /// Of a run that is about to begin.
    pub fn new(plan: Arc<Plan>, start: Start) -> History {
        History {
            undone: Undone::of(&start.origin),
            plan,
            start,
            entries: Vec::new(),
            asked: Vec::new(),
            stopped: BTreeSet::new(),
            child_attempts: BTreeMap::new(),
            folded: None,
        }
    }

    /// Of a stored journal, with the state that it leads to.
    ///
    /// # Errors
    /// Where it does not fold, or what does not hold between two of its transitions.
    pub(super) fn of_journal(plan: &Arc<Plan>, entries: Vec<Entry>) -> Result<(History, Run), Violation> {
        let Some(Entry { record: Record::Started(start), .. }) = entries.first() else {
            return violated("the journal folds", ReplayError::NoStart.to_string());
        };
        let mut history = History::new(plan.clone(), (**start).clone());
        let mut run = Run::new((**start).clone());
        let mut left: VecDeque<Entry> = entries.into();
        loop {
            // The transitions are looked at before they are consumed; most are a few entries.
            let end = left.iter().skip(1).position(|entry| entry.opens).map_or(left.len(), |at| at + 1);
            let entries: Vec<Entry> = left.range(..end).cloned().collect();
            let status = run.status();
            let asked = run.replay_next(plan, &mut left).map_err(|error| unfoldable(&error))?;
            let Some(Transition { effects, more, .. }) = asked else { return Ok((history, run)) };
            history.note(&Transition { entries, effects, more }, status)?;
            check_status(&run, plan, &history, more)?;
        }
    }

    /// Takes note of a transition, and checks that the journal folds into the state that it led to.
    ///
    /// # Errors
    /// What does not fit.
    pub fn append(&mut self, transition: &Transition, run: &Run) -> Result<(), Violation> {
        let before = self.folded.as_ref().map_or(RunStatus::Queued, Run::status);
        self.note(transition, before)?;
        let folded = match self.folded.take() {
            Some(folded) => folded.replay_onto(&self.plan, transition.entries.iter().cloned()),
            None => Run::replay(&self.plan, transition.entries.iter().cloned()),
        };
        match folded {
            Err(error) => Err(unfoldable(&error)),
            Ok(folded) if folded != *run => {
                violated("the fold of the journal is the state", format!("{folded:#?}\n is not \n{run:#?}"))
            }
            Ok(folded) => {
                self.folded = Some(folded);
                Ok(())
            }
        }
    }

    fn note(&mut self, transition: &Transition, before: RunStatus) -> Result<(), Violation> {
        self.check_order(&transition.entries)?;
        self.check_places(&transition.entries)?;
        if before == RunStatus::Paused {
            self.check_pause(transition)?;
        }
        self.entries.extend(transition.entries.iter().cloned());
        self.undone.note(&self.plan, transition)?;
        let seq = self.entries.last().map_or(0, |it| it.seq);
        for effect in &transition.effects {
            let Some((path, attempt)) = attempt_of(effect) else { continue };
            // A task is offered again by whoever takes the run over; an attempt that was lost is another one.
            let again = matches!(effect, Effect::OfferTask(_)) && self.was_asked(&path, attempt);
            if !again {
                self.asked.push(Asked { path, attempt, seq, at: self.last_at() });
            }
        }
        for effect in &transition.effects {
            self.note_stop(effect);
        }
        Ok(())
    }

    fn note_stop(&mut self, effect: &Effect) {
        match effect {
            Effect::StopStep { path, attempt } | Effect::StopTask { path, attempt, .. } => {
                self.stopped.insert((path.clone(), *attempt));
            }
            Effect::StartChild(child) => {
                self.child_attempts.insert(child.child, (child.path.clone(), self.attempt_under(&child.path)));
            }
            Effect::CancelChild { child } => self.stopped.extend(self.child_attempts.get(child).cloned()),
            _ => {}
        }
    }

    /// Which attempt of a subflow begins: one more than have failed.
    fn attempt_under(&self, path: &str) -> u32 {
        let failed = |it: &&Entry| *it.path == *path && matches!(it.record, Record::Attempt(_));
        1 + self.entries.iter().filter(failed).count() as u32
    }

    /// Entries count without gaps and time does not go back.
    fn check_order(&self, entries: &[Entry]) -> Result<(), Violation> {
        let (mut seq, mut at) = (self.entries.last().map_or(0, |it| it.seq), self.last_at());
        for entry in entries {
            if entry.seq != seq + 1 {
                return violated("the journal has no gaps", format!("{entry:?} follows entry {seq}"));
            }
            if entry.at < at {
                return violated("a run's time does not go back", format!("{entry:?} follows {at}"));
            }
            (seq, at) = (entry.seq, entry.at);
        }
        Ok(())
    }

    /// Entries speak of steps that the plan has.
    fn check_places(&self, entries: &[Entry]) -> Result<(), Violation> {
        let stranger = |entry: &&Entry| !entry.path.is_empty() && !self.plan.by_id.contains_key(id_of(&entry.path));
        match entries.iter().find(stranger) {
            Some(entry) => violated("only steps of the plan have records", format!("{entry:?}")),
            None => Ok(()),
        }
    }

    /// A paused run starts nothing new; what it lost it may repeat.
    fn check_pause(&self, transition: &Transition) -> Result<(), Violation> {
        let resumes = |entry: &Entry| matches!(entry.record, Record::Resumed { .. } | Record::Cancelled { .. });
        if transition.entries.iter().any(resumes) {
            return Ok(());
        }
        let held = matches!(
            transition.entries.first().map(|it| &it.record),
            Some(Record::Signal { .. } | Record::Decided(_) | Record::Event { .. } | Record::Timer)
        );
        if held && (transition.entries.len() > 1 || !transition.effects.is_empty()) {
            return violated("what comes during a pause moves nothing", format!("{transition:?}"));
        }
        for effect in &transition.effects {
            let repeated = match effect {
                Effect::StartChild(child) => self.child_attempts.contains_key(&child.child),
                _ => attempt_of(effect).is_some_and(|(path, attempt)| self.was_asked(&path, attempt)),
            };
            let starts = matches!(
                effect,
                Effect::RunStep(_)
                    | Effect::OfferTask(_)
                    | Effect::OpenApproval(_)
                    | Effect::StartChild(_)
                    | Effect::UndoChild { .. }
            );
            if starts && !repeated {
                return violated("a paused run starts nothing", format!("{effect:?}"));
            }
        }
        Ok(())
    }

    fn was_asked(&self, path: &str, attempt: u32) -> bool {
        self.asked.iter().any(|it| *it.path == *path && it.attempt == attempt)
    }

    /// The time of the last transition.
    pub fn last_at(&self) -> Timestamp {
        self.entries.last().map_or(Timestamp::default(), |it| it.at)
    }

    /// The whole journal, folded from its beginning.
    ///
    /// # Errors
    /// Where it does not fold.
    pub fn replayed(&self) -> Result<Run, Violation> {
        Run::replay(&self.plan, self.entries.iter().cloned()).map_err(|error| unfoldable(&error))
    }

    /// Whether a recorded or a made-up output may stand in for what the step at a path does.
    pub(super) fn stands_in(&self, path: &str) -> bool {
        let recorded = match &self.start.origin {
            Origin::Fork { recorded, .. } => recorded.contains_key(path),
            _ => false,
        };
        recorded || (self.start.mode == Mode::Test && self.step(path).test.is_some())
    }

    /// The records of steps, in order; those of undo steps too.
    pub fn records(&self) -> impl Iterator<Item = (&Entry, &StepRecord)> {
        self.entries.iter().filter_map(|entry| match &entry.record {
            Record::Step(record) => Some((entry, record)),
            _ => None,
        })
    }

    /// The records of forward steps by path.
    pub(super) fn by_path(&self) -> BTreeMap<&str, (&Entry, &StepRecord)> {
        self.records().filter(|(entry, _)| !is_undo(&entry.path)).map(|it| (&*it.0.path, it)).collect()
    }

    /// The plan's step at a path; of an undo, its owner.
    pub(super) fn step(&self, path: &str) -> &Step {
        self.plan.step(self.plan.by_id[id_of(path)])
    }

    pub(super) fn finish(&self) -> Option<&FinishRecord> {
        self.entries.iter().find_map(|entry| match &entry.record {
            Record::Finished(finish) => Some(finish),
            _ => None,
        })
    }

    /// When it was cancelled.
    pub(super) fn cancelled_at(&self) -> Option<Timestamp> {
        self.entries.iter().find(|it| matches!(it.record, Record::Cancelled { .. })).map(|it| it.at)
    }

    /// Whether a step of that type stands in the plan.
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.plan.steps.iter().any(|it| *it.type_name == *name)
    }
}

fn unfoldable(error: &ReplayError) -> Violation {
    Violation { property: "the journal folds", detail: error.to_string() }
}

/// The attempt that an effect asks for.
pub(super) fn attempt_of(effect: &Effect) -> Option<(Arc<str>, u32)> {
    match effect {
        Effect::RunStep(run) => Some((run.path.clone(), run.attempt)),
        Effect::OfferTask(task) => Some((task.path.clone(), task.attempt)),
        _ => None,
    }
}

pub(super) fn is_undo(path: &str) -> bool {
    path.ends_with(":undo")
}

/// The id at the end of a path.
pub(super) fn id_of(path: &str) -> &str {
    let path = path.strip_suffix(":undo").unwrap_or(path);
    path.rsplit_once('.').map_or(path, |(_, id)| id)
}

/// What a path begins with: empty, or ending in a dot.
pub(super) fn prefix_of(path: &str) -> &str {
    path.rfind('.').map_or("", |dot| &path[..=dot])
}
