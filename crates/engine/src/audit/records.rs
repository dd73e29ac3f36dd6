//! One record per path, and all of them where a block came to its end.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    start::Origin,
    status::{RunStatus, StepStatus},
};
use windlass_definition::plan::{BlockIndex, EdgeWhen, Join, StepKind};

use super::{History, Violation, history::prefix_of, violated};

/// Exactly one final record per path; nothing is recorded of steps that the plan does not have.
pub(super) fn one_final_record_per_path(history: &History) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for (entry, record) in history.records() {
        if !record.status.is_final() || !seen.insert(entry.path.clone()) {
            return violated("one final record per path", format!("{entry:?}"));
        }
    }
    Ok(())
}

/// Where nothing stopped a block and its owner completed, every step of it has its record.
pub(super) fn completed_blocks_are_complete(history: &History) -> Result<(), Violation> {
    let finish = history.finish().map(|it| it.status);
    let undoes = matches!(history.start.origin, Origin::Undo { .. });
    if undoes || ["break", "next", "restart"].iter().any(|name| history.has_type(name)) {
        return Ok(());
    }
    let records = history.by_path();
    let mut blocks: BTreeMap<(&str, BlockIndex), Vec<&str>> = BTreeMap::new();
    for path in records.keys() {
        blocks.entry((prefix_of(path), history.step(path).block)).or_default().push(path);
    }
    if finish == Some(RunStatus::Completed) && !history.plan.block(history.plan.body).steps.is_empty() {
        blocks.entry(("", history.plan.body)).or_default();
    }
    for ((prefix, block), paths) in blocks {
        let failed = paths.iter().any(|path| {
            let status = records[path].1.status;
            let ends_well = matches!(status, StepStatus::Completed | StepStatus::Skipped);
            !ends_well && !history.step(path).continue_on_error
        });
        // A condition that could not be evaluated fails the block.
        let edges = &history.plan.block(block).edges;
        let fails = edges.iter().any(|edge| matches!(edge.when, EdgeWhen::Expression(_)));
        if failed || fails || !owner_completed(history, (prefix, block), &records) {
            continue;
        }
        for step in &history.plan.block(block).steps {
            let path = format!("{prefix}{}", history.plan.step(*step).id);
            if !records.contains_key(&*path) {
                return violated("a block that completed is complete", format!("`{path}` has no record"));
            }
        }
    }
    Ok(())
}

fn owner_completed(
    history: &History,
    (prefix, block): (&str, BlockIndex),
    records: &BTreeMap<&str, (&crate::Entry, &crate::entry::StepRecord)>,
) -> bool {
    if prefix.is_empty() {
        return history.finish().is_some_and(|it| it.status == RunStatus::Completed) && block == history.plan.body;
    }
    let owner = prefix.trim_end_matches('.');
    let owner = if owner.ends_with(']') { owner.rsplit_once('[').map_or(owner, |it| it.0) } else { owner };
    let loses = matches!(&history.step(owner).kind, StepKind::Parallel { join: Join::AtLeast(_), .. });
    !loses && records.get(owner).is_some_and(|(_, record)| record.status == StepStatus::Completed)
}
