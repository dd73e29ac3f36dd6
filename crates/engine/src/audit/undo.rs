//! Undo: in reverse order of completion, each once, one at a time, and to the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{Effect, Entry, Record, Transition, entry::StepRecord, start::Origin, status::StepStatus};
use windlass_definition::{
    Plan, Template, Value,
    plan::{StepKind, UndoAfter},
};

use super::{
    History, Violation,
    history::{id_of, is_undo},
    violated,
};

/// What is registered, and what of it was taken back.
#[derive(Debug, Default)]
pub struct Undone {
    /// The paths in order of completion.
    pub(super) registered: Vec<Arc<str>>,
    /// The paths whose undo has ended, in order, with how.
    ended: Vec<(Arc<str>, StepStatus)>,
    /// What the registered steps gave; of those that only started, null.
    outputs: BTreeMap<Arc<str>, Value>,
    /// Paths of which an attempt was asked for: what a `test` stood in for had no effect.
    pub(super) tried: BTreeSet<Arc<str>>,
    begun: bool,
}

impl Undone {
    /// A run that only takes back what another one left begins with that.
    pub(super) fn of(origin: &Origin) -> Undone {
        match origin {
            Origin::Undo { items, .. } => Undone {
                registered: items.iter().map(|it| it.path.clone()).collect(),
                begun: true,
                ..Undone::default()
            },
            _ => Undone::default(),
        }
    }

    /// Takes note of what a transition completed, began and took back.
    pub(super) fn note(&mut self, plan: &Plan, transition: &Transition) -> Result<(), Violation> {
        // What is taken back was registered before: the records come first.
        for entry in &transition.entries {
            self.note_entry(plan, entry)?;
        }
        for effect in &transition.effects {
            self.tried.extend(match effect {
                Effect::RunStep(run) => Some(run.path.clone()),
                Effect::OfferTask(task) => Some(task.path.clone()),
                Effect::StartChild(child) => Some(child.path.clone()),
                _ => None,
            });
            match effect {
                Effect::RunStep(run) if is_undo(&run.path) => self.check_told(plan, &run.path, &run.with)?,
                Effect::StartChild(child) if is_undo(&child.path) => self.check_next(&child.path)?,
                Effect::UndoChild { path, .. } => self.check_next(path)?,
                Effect::RunStep(run) if run.attempt == 1 => self.started(plan, &run.path),
                Effect::OfferTask(task) if task.attempt == 1 => self.started(plan, &task.path),
                Effect::StartChild(child) => self.started(plan, &child.path),
                _ => {}
            }
        }
        Ok(())
    }

    fn note_entry(&mut self, plan: &Plan, entry: &Entry) -> Result<(), Violation> {
        match &entry.record {
            Record::Compensating { .. } => self.begun = true,
            Record::Step(record) if is_undo(&entry.path) => {
                self.check_next(&entry.path)?;
                self.ended.push((entry.path.clone(), record.status));
            }
            Record::Step(record) if record.status == StepStatus::Completed && self.tried.contains(&entry.path) => {
                self.completed(plan, &entry.path, record);
            }
            _ => {}
        }
        Ok(())
    }

    fn completed(&mut self, plan: &Plan, path: &Arc<str>, record: &StepRecord) {
        let step = plan.step(plan.by_id[id_of(path)]);
        let waits = record.input.get("wait").and_then(Value::as_bool).unwrap_or(true);
        let subflow = matches!(step.kind, StepKind::Workflow { .. }) && waits;
        if step.undo.is_some() || subflow {
            self.registered.retain(|it| it != path);
            self.registered.push(path.clone());
            self.outputs.insert(path.clone(), record.output.clone());
        }
    }

    fn started(&mut self, plan: &Plan, path: &Arc<str>) {
        let step = plan.step(plan.by_id[id_of(path)]);
        let at_start = step.undo.as_ref().is_some_and(|undo| undo.after == UndoAfter::Started);
        if at_start && !self.registered.contains(path) {
            self.registered.push(path.clone());
        }
    }

    /// The path whose undo is under way, or comes next.
    fn next(&self) -> Option<String> {
        let place = self.registered.len().checked_sub(self.ended.len() + 1)?;
        Some(format!("{}:undo", self.registered[place]))
    }

    fn check_next(&self, path: &str) -> Result<(), Violation> {
        if !self.begun {
            return violated("undo runs only when a run did not complete", format!("`{path}`"));
        }
        if self.next().as_deref() != Some(path) {
            let detail = format!("`{path}` instead of {:?}; registered {:?}", self.next(), self.registered);
            return violated("undo runs in reverse order of completion, each once", detail);
        }
        Ok(())
    }

    /// An undo is told what its step gave, where it asks for that as it is.
    fn check_told(&self, plan: &Plan, path: &str, with: &Value) -> Result<(), Violation> {
        self.check_next(path)?;
        let Some(gave) = path.strip_suffix(":undo").and_then(|path| self.outputs.get(path)) else { return Ok(()) };
        let step = plan.step(plan.by_id[id_of(path)]);
        let Some(StepKind::Action { with: Template::Map(asks) }) = step.undo.as_ref().map(|undo| &undo.kind) else {
            return Ok(());
        };
        let output = format!("steps.{}.output", step.id);
        for (key, asked) in asks {
            if matches!(asked, Template::Expression(it) if it.source().trim() == output) && with.get(key) != Some(gave)
            {
                return violated("an undo sees what its step gave", format!("`{path}` was told {with}, not {gave}"));
            }
        }
        Ok(())
    }

    /// While a run takes back what it did, exactly the next undo is under way.
    pub(super) fn check_open(&self, path: Option<&str>) -> Result<(), Violation> {
        match path {
            Some(path) => self.check_next(path),
            None => Ok(()),
        }
    }

    pub(super) fn all_succeeded(&self) -> bool {
        self.ended.len() == self.registered.len() && self.ended.iter().all(|(_, it)| *it == StepStatus::Completed)
    }
}

/// Everything registered was tried, and what failed is listed.
pub(super) fn undo_is_complete(history: &History) -> Result<(), Violation> {
    let undone = &history.undone;
    let Some(finish) = history.finish() else { return Ok(()) };
    if undone.begun && undone.ended.len() != undone.registered.len() {
        let detail = format!("{:?} of {:?}", undone.ended, undone.registered);
        return violated("undo runs to the end", detail);
    }
    let failed = undone.ended.iter().filter(|(_, status)| *status != StepStatus::Completed);
    let failed: BTreeSet<&str> = failed.filter_map(|(path, _)| path.strip_suffix(":undo")).collect();
    let left: BTreeSet<&str> = finish.undo.left.iter().map(|it| &**it).collect();
    if undone.begun && failed != left {
        return violated("what is still to be taken back is listed", format!("{left:?} is not {failed:?}"));
    }
    let unknown: BTreeSet<&str> = (history.records())
        .filter(|(entry, record)| record.unknown && !is_undo(&entry.path) && record.status != StepStatus::Completed)
        .filter(|(entry, _)| {
            history.step(&entry.path).undo.as_ref().is_some_and(|undo| undo.after == UndoAfter::Completed)
        })
        .map(|(entry, _)| &*entry.path)
        .collect();
    let listed: BTreeSet<&str> = finish.undo.unknown.iter().map(|it| &**it).collect();
    if unknown != listed {
        return violated("steps of unknown outcome are listed", format!("{listed:?} is not {unknown:?}"));
    }
    Ok(())
}
