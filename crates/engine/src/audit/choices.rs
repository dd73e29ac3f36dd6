//! What is decided once: a branch, a person's word, a signal under its key.

use std::collections::BTreeSet;

use windlass_definition::{
    Value,
    plan::{BlockIndex, StepKind},
};

use super::{History, Violation, history::prefix_of, violated};
use crate::Record;

/// Of an `if` or a `switch` at most one block runs, and it is the one that its record says.
pub(super) fn one_branch_runs(history: &History) -> Result<(), Violation> {
    let records = history.by_path();
    for path in records.keys() {
        let Some(owner) = prefix_of(path).strip_suffix('.').filter(|owner| !owner.ends_with(']')) else { continue };
        let (block, Some((entry, record))) = (history.step(path).block, records.get(owner)) else { continue };
        let allowed: Option<BlockIndex> = match (&history.step(owner).kind, &record.input) {
            (StepKind::If { then, .. }, Value::Bool(true)) => Some(*then),
            (StepKind::If { otherwise, .. }, Value::Bool(false)) => *otherwise,
            (StepKind::Switch { cases, default, .. }, on) => {
                let literal = |it: &&(windlass_definition::Template, BlockIndex)| match &it.0 {
                    windlass_definition::Template::Literal(is) => crate::machine::equal(is, on),
                    // A case that is computed is not judged: it may be this one.
                    _ => it.1 == block,
                };
                cases.iter().find(literal).map(|it| it.1).or(*default)
            }
            _ => continue,
        };
        if allowed != Some(block) {
            return violated("exactly one branch of a condition runs", format!("`{path}` ran: {entry:?}"));
        }
    }
    Ok(())
}

/// Where more than one person must approve, nobody's word counts twice.
pub(super) fn each_person_decides_once(history: &History) -> Result<(), Violation> {
    for (entry, record) in history.records() {
        let need = record.input.get("quorum").and_then(|quorum| quorum.get("need")).and_then(Value::as_i64);
        if need.is_none_or(|need| need < 2) {
            continue;
        }
        let mut seen: Vec<_> = Vec::new();
        for decision in history.entries.iter().filter(|it| it.path == entry.path) {
            if let Record::Decided(decided) = &decision.record {
                if seen.contains(&&decided.by) {
                    return violated("nobody decides twice", format!("{decision:?}"));
                }
                seen.push(&decided.by);
            }
        }
    }
    Ok(())
}

/// A second signal under the same key changes nothing.
pub(super) fn each_signal_key_counts_once(history: &History) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for entry in &history.entries {
        if let Record::Signal { key: Some(key), .. } = &entry.record
            && !seen.insert(key)
        {
            return violated("a signal's key counts once", format!("{entry:?}"));
        }
    }
    Ok(())
}
