//! What is decided once: a branch, a person's word, a signal under its key.

use std::collections::BTreeSet;

use windlass_definition::{
    Value,
    plan::{BlockIndex, Catch, EdgeWhen, Join, StepKind},
};

use super::{History, Violation, history::prefix_of, violated};
use crate::{Record, status::StepStatus};

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

/// A `catch` runs only for an error that it names: that of the first step of the body that failed.
pub(super) fn catches_take_what_they_name(history: &History) -> Result<(), Violation> {
    check_catches(history, "", (history.plan.body, &history.plan.catches))?;
    for (path, _) in history.by_path() {
        if let StepKind::Try { body, catches, .. } = &history.step(path).kind {
            check_catches(history, &format!("{path}."), (*body, catches))?;
        }
    }
    Ok(())
}

fn check_catches(history: &History, prefix: &str, (body, catches): (BlockIndex, &[Catch])) -> Result<(), Violation> {
    let records = history.by_path();
    let of_block = |block: BlockIndex| {
        let steps = history.plan.block(block).steps.iter().map(|step| history.plan.step(*step));
        steps.filter_map(|step| Some((step, records.get(&*format!("{prefix}{}", step.id))?)))
    };
    let block = history.plan.block(body);
    // A condition or an output may have failed as well, and has no record.
    if block.output.is_some() || block.edges.iter().any(|edge| matches!(edge.when, EdgeWhen::Expression(_))) {
        return Ok(());
    }
    let failed = of_block(body).filter(|(step, (_, record))| record.error.is_some() && !step.continue_on_error);
    let Some((_, (entry, record))) = failed.min_by_key(|(_, (entry, _))| entry.seq) else { return Ok(()) };
    for catch in catches.iter().filter(|catch| !catch.on.is_empty()) {
        let named = record.error.as_ref().is_none_or(|error| catch.on.iter().any(|pattern| pattern.matches(error)));
        if !named && of_block(catch.body).next().is_some() {
            return violated("a `catch` takes what it names", format!("{:?} took {entry:?}", catch.on));
        }
    }
    Ok(())
}

/// A `parallel` completes only when as many of its branches as it needs have no step that failed them.
pub(super) fn enough_branches_complete(history: &History) -> Result<(), Violation> {
    let records = history.by_path();
    for (path, (entry, record)) in &records {
        let StepKind::Parallel { branches, join, .. } = &history.step(path).kind else { continue };
        if record.status != StepStatus::Completed || history.stands_in(path) {
            continue;
        }
        let fails = |block: &BlockIndex| {
            let steps = history.plan.block(*block).steps.iter().map(|step| history.plan.step(*step));
            steps.filter(|step| !step.continue_on_error).any(|step| {
                let ended = records.get(&*format!("{path}.{}", step.id)).map(|(_, record)| record.status);
                matches!(ended, Some(StepStatus::Failed | StepStatus::TimedOut))
            })
        };
        let well = branches.iter().filter(|(_, block)| !fails(block)).count();
        let needed = match join {
            Join::All => branches.len(),
            Join::AtLeast(n) => branches.len().min(*n as usize),
        };
        if well < needed {
            return violated("enough branches of a `parallel` complete", format!("{well} of {needed}: {entry:?}"));
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
