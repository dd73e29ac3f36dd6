//! A step starts only after its incoming edges allow it, and is dead only when they forbid it.

use std::collections::BTreeMap;

use uuid::Uuid;
use windlass_definition::{
    Timestamp, Value,
    expression::Scope,
    plan::{Edge, EdgeWhen, Join, Step},
};
use windlass_engine::{
    Entry,
    entry::{SkippedBy, StepRecord},
    status::StepStatus,
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
        let decided: Vec<bool> = incoming.iter().filter_map(|edge| self.taken(edge, seq)).collect();
        let taken = decided.iter().filter(|it| **it).count() as u32;
        let open = (incoming.len() - decided.len()) as u32;
        let holds = match (verdict, self.step.join) {
            (Verdict::Ready, _) if incoming.is_empty() => true,
            (Verdict::Dead, _) if incoming.is_empty() => false,
            (Verdict::Ready, Join::All) => open == 0 && taken > 0,
            (Verdict::Dead, Join::All) => open == 0 && taken == 0,
            (Verdict::Ready, Join::AtLeast(n)) => taken >= n,
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

    /// Whether an edge was taken; `None` when it was not decided by then.
    fn taken(&self, edge: &Edge, seq: i64) -> Option<bool> {
        let plan = &self.history.plan;
        let block = plan.block(self.step.block);
        let source = plan.step(block.steps[edge.from as usize]);
        let path = format!("{}{}", self.prefix, source.id);
        let (_, record) = self.records.get(&*path).filter(|(entry, _)| entry.seq <= seq)?;
        let passed = match (record.status, record.skipped_by) {
            (StepStatus::Completed, _) | (StepStatus::Skipped, Some(SkippedBy::If)) => true,
            (StepStatus::Skipped, _) => return Some(false),
            _ if source.continue_on_error => true,
            _ => return None,
        };
        let scope = OfSource { input: &self.history.start.input, id: &source.id, record };
        let holds = |edge: &Edge| match &edge.when {
            EdgeWhen::Always => Some(true),
            EdgeWhen::Expression(when) => when.evaluate_bool(&scope).ok(),
            EdgeWhen::Otherwise => Some(false),
        };
        let siblings = source.outgoing.iter().map(|it| &block.edges[*it as usize]);
        match &edge.when {
            EdgeWhen::Otherwise => siblings.map(holds).collect::<Option<Vec<bool>>>().map(|it| !it.contains(&true)),
            _ => holds(edge).map(|holds| holds && passed),
        }
    }
}

/// What the condition of an edge may refer to: its source and the input.
struct OfSource<'h> {
    input: &'h Value,
    id: &'h str,
    record: &'h StepRecord,
}

impl Scope for OfSource<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "input").then(|| self.input.clone())
    }

    fn step(&self, id: &str) -> Option<Value> {
        let error = self.record.error.as_ref().map_or(Value::Null, |error| error.to_value());
        (id == self.id).then(|| {
            Value::map([
                ("status", Value::from(self.record.status.as_str())),
                ("output", self.record.output.clone()),
                ("error", error),
            ])
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn uuid(&self, _: u32) -> Uuid {
        Uuid::nil()
    }
}
