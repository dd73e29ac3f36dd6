//! A step starts only after its incoming edges allow it, and is dead only when they forbid it.

use std::{cell::Cell, collections::BTreeMap};

use crate::{
    Entry,
    entry::{SkippedBy, StepRecord},
    status::StepStatus,
};
use uuid::Uuid;
use windlass_definition::{
    Timestamp, Value,
    expression::Scope,
    plan::{Edge, EdgeWhen, Join, Step},
};

use super::{
    History, Violation,
    history::{is_undo, prefix_of},
    violated,
};

type Records<'h> = BTreeMap<&'h str, (&'h Entry, &'h StepRecord)>;

/// Decides every edge again from the records alone, and compares with what the engine started and skipped.
pub(super) fn steps_start_only_when_their_edges_allow(history: &History) -> Result<(), Violation> {
    let records = history.by_path();
    for (path, (entry, record)) in &records {
        let step = history.step(path);
        let edges = Edges { history, records: &records, prefix: prefix_of(path), step };
        let before = entry.seq - 1;
        if record.skipped_by == Some(SkippedBy::Path) {
            edges.check(Verdict::Dead, before)?;
        } else {
            edges.check(Verdict::Ready, before)?;
        }
    }
    for asked in history.asked.iter().filter(|it| !is_undo(&it.path)) {
        let step = history.step(&asked.path);
        let edges = Edges { history, records: &records, prefix: prefix_of(&asked.path), step };
        edges.check(Verdict::Ready, asked.seq)?;
        check_owners(history, &records, (&asked.path, asked.seq))?;
    }
    for (path, (entry, _)) in &records {
        check_owners(history, &records, (path, entry.seq - 1))?;
    }
    Ok(())
}

/// What happens inside a control step shows that it has started.
fn check_owners(history: &History, records: &Records<'_>, (path, seq): (&str, i64)) -> Result<(), Violation> {
    let mut inner = path;
    while let Some((outer, _)) = inner.rsplit_once('.') {
        let owner = if outer.ends_with(']') { outer.rsplit_once('[').map_or(outer, |it| it.0) } else { outer };
        let edges = Edges { history, records, prefix: prefix_of(owner), step: history.step(owner) };
        edges.check(Verdict::Ready, seq)?;
        inner = owner;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ready,
    Dead,
}

/// The edges that lead to one instance of a step.
struct Edges<'h> {
    history: &'h History,
    records: &'h Records<'h>,
    prefix: &'h str,
    step: &'h Step,
}

impl Edges<'_> {
    /// Checks that the edges decided up to an entry lead to a verdict.
    fn check(&self, verdict: Verdict, seq: i64) -> Result<(), Violation> {
        let block = self.history.plan.block(self.step.block);
        let incoming: Vec<&Edge> = self.step.incoming.iter().map(|edge| &block.edges[*edge as usize]).collect();
        let seen: Vec<Seen> = incoming.iter().map(|edge| self.seen(edge, seq)).collect();
        let count = |wanted| seen.iter().filter(|it| **it == wanted).count() as u32;
        let (taken, open, unclear) = (count(Seen::Taken), count(Seen::Open), count(Seen::Unclear));
        // What cannot be judged here may have been taken or not.
        let holds = match (verdict, self.step.join) {
            (Verdict::Ready, _) if incoming.is_empty() => true,
            (Verdict::Dead, _) if incoming.is_empty() => false,
            (Verdict::Ready, Join::All) => open == 0 && taken + unclear > 0,
            (Verdict::Dead, Join::All) => open == 0 && taken == 0,
            (Verdict::Ready, Join::AtLeast(n)) => taken + unclear >= n,
            (Verdict::Dead, Join::AtLeast(n)) => taken + open < n,
        };
        if holds {
            return Ok(());
        }
        let path = format!("{}{}", self.prefix, self.step.id);
        let detail = format!(
            "`{path}` was {verdict:?} by entry {seq} with {taken} edges taken, {open} open, join {:?}",
            self.step.join
        );
        violated("a step starts only when its edges allow it", detail)
    }

    /// What became of an edge by an entry.
    fn seen(&self, edge: &Edge, seq: i64) -> Seen {
        let plan = &self.history.plan;
        let block = plan.block(self.step.block);
        let source = plan.step(block.steps[edge.from as usize]);
        let path = format!("{}{}", self.prefix, source.id);
        let Some((_, record)) = self.records.get(&*path).filter(|(entry, _)| entry.seq <= seq) else {
            return Seen::Open;
        };
        match (record.status, record.skipped_by) {
            (StepStatus::Completed, _) | (StepStatus::Skipped, Some(SkippedBy::If)) => {}
            (StepStatus::Skipped, _) => return Seen::Passed,
            _ if source.continue_on_error => {}
            _ => return Seen::Open,
        }
        let holds = |edge: &Edge| match &edge.when {
            EdgeWhen::Always => Seen::Taken,
            EdgeWhen::Otherwise => Seen::Passed,
            EdgeWhen::Expression(when) => {
                let input = &self.history.start.input;
                let scope = OfSource { input, id: &source.id, record, further: Cell::new(false) };
                match (when.evaluate_bool(&scope), scope.further.get()) {
                    (_, true) => Seen::Unclear,
                    (Ok(true), _) => Seen::Taken,
                    (Ok(false), _) => Seen::Passed,
                    // A condition that fails fails its block.
                    (Err(_), _) => Seen::Open,
                }
            }
        };
        if !matches!(edge.when, EdgeWhen::Otherwise) {
            return holds(edge);
        }
        let siblings: Vec<Seen> = source.outgoing.iter().map(|it| holds(&block.edges[*it as usize])).collect();
        match () {
            () if siblings.contains(&Seen::Open) => Seen::Open,
            () if siblings.contains(&Seen::Taken) => Seen::Passed,
            () if siblings.contains(&Seen::Unclear) => Seen::Unclear,
            () => Seen::Taken,
        }
    }
}

/// What became of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Taken,
    /// Decided, and not taken.
    Passed,
    /// Decided, but its condition looks at what the journal alone does not show.
    Unclear,
    /// Not decided.
    Open,
}

/// What the condition of an edge may refer to here: its source and the input.
struct OfSource<'h> {
    input: &'h Value,
    id: &'h str,
    record: &'h StepRecord,
    /// Whether it looked at something else.
    further: Cell<bool>,
}

impl Scope for OfSource<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        self.further.set(self.further.get() || name != "input");
        (name == "input").then(|| self.input.clone())
    }

    fn step(&self, id: &str) -> Option<Value> {
        let error = self.record.error.as_ref().map_or(Value::Null, |error| error.to_value());
        self.further.set(self.further.get() || id != self.id);
        (id == self.id).then(|| {
            Value::map([
                ("status", Value::from(self.record.status.as_str())),
                ("output", self.record.output.clone()),
                ("error", error),
            ])
        })
    }

    fn now(&self) -> Timestamp {
        self.further.set(true);
        Timestamp::default()
    }

    fn uuid(&self, _: u32) -> Uuid {
        self.further.set(true);
        Uuid::nil()
    }
}
