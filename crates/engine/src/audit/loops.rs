//! Loops: every item once and in order, one round after another.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Entry, entry::StepRecord, status::StepStatus};
use windlass_definition::{
    Value,
    plan::{ItemError, StepKind},
};

use super::{History, Violation, violated};

/// A `foreach` that completed ran its body exactly once for each item, and its output has their outputs in order.
pub(super) fn every_item_once_and_in_order(history: &History) -> Result<(), Violation> {
    let records = history.by_path();
    let leaves = history.has_type("break") || history.has_type("next");
    for (path, (entry, record)) in &records {
        let step = history.step(path);
        let StepKind::ForEach { body, on_error, .. } = &step.kind else { continue };
        let stands_in = history.stands_in(path);
        let ran = record.status == StepStatus::Completed && !leaves && !stands_in;
        let count = record.input.get("items").and_then(Value::as_i64).unwrap_or(0);
        let seen = indices(&records, path);
        if !stands_in && seen.last().is_some_and(|last| *last >= count) {
            return violated(
                "a `foreach` runs its body once per item",
                format!("items {seen:?} of {count}: {entry:?}"),
            );
        }
        if !ran {
            continue;
        }
        if seen.len() as i64 != count {
            return violated(
                "a `foreach` runs its body once per item",
                format!("items {seen:?} of {count}: {entry:?}"),
            );
        }
        let block = history.plan.block(*body);
        let Some(last) = block.steps.last().map(|it| &history.plan.step(*it).id) else { continue };
        if step.output.is_some() || block.output.is_some() || *on_error == ItemError::Collect {
            continue;
        }
        check_outputs(&records, (path, last), record)?;
    }
    Ok(())
}

fn check_outputs(
    records: &BTreeMap<&str, (&Entry, &StepRecord)>,
    (path, last): (&str, &str),
    record: &StepRecord,
) -> Result<(), Violation> {
    for (index, output) in record.output.as_list().unwrap_or_default().iter().enumerate() {
        let expected = records.get(&*format!("{path}[{index}].{last}")).map(|(_, record)| &record.output);
        // The place of an item that failed is null.
        if !output.is_null() && expected != Some(output) {
            let detail = format!("place {index} of `{path}` is {output}, its body gave {expected:?}");
            return violated("a `foreach` gives its outputs in order", detail);
        }
    }
    Ok(())
}

/// Rounds and items begin one after another: none is left out.
pub(super) fn rounds_follow_each_other(history: &History) -> Result<(), Violation> {
    let records = history.by_path();
    for path in records.keys() {
        let StepKind::While { max, .. } = history.step(path).kind else { continue };
        let seen: Vec<i64> = indices(&records, path).into_iter().collect();
        let expected: Vec<i64> = (0..seen.len() as i64).collect();
        if seen != expected || seen.len() > max as usize {
            return violated(
                "the rounds of a `while` follow each other",
                format!("`{path}` had {seen:?}, `max` {max}"),
            );
        }
    }
    Ok(())
}

/// The iterations of which something is recorded.
fn indices(records: &BTreeMap<&str, (&Entry, &StepRecord)>, path: &str) -> BTreeSet<i64> {
    let begin = format!("{path}[");
    let inside = records.range(&*begin..).map(|(path, _)| *path).take_while(|path| path.starts_with(&begin));
    inside.filter_map(|path| path[begin.len()..].split_once(']')?.0.parse().ok()).collect()
}
