//! Ends: `finally` runs, the final status says what happened, signals are taken once.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Entry, Record,
    event::UndoChoice,
    run::UndoStatus,
    start::{Mode, Origin},
    status::{RunStatus, StepStatus},
};
use windlass_definition::{
    Value,
    plan::{BlockIndex, StepKind},
};

use super::{History, Violation, violated};

/// A `try` that began ran its `finally`, and so did the run, unless the time for that was over.
pub(super) fn finally_always_runs(history: &History) -> Result<(), Violation> {
    let undoes = matches!(history.start.origin, Origin::Undo { .. });
    if undoes || history.start.mode == Mode::Test || time_for_finally_was_over(history) {
        return Ok(());
    }
    let records = history.by_path();
    let ran = |prefix: &str, block: BlockIndex| {
        let steps = &history.plan.block(block).steps;
        steps.iter().any(|step| records.contains_key(&*format!("{prefix}{}", history.plan.step(*step).id)))
    };
    for (path, (entry, record)) in &records {
        if let StepKind::Try { finally: Some(finally), .. } = &history.step(path).kind
            && record.started_at.is_some()
            && !history.stands_in(path)
            && !ran(&format!("{path}."), *finally)
        {
            return violated("`finally` always runs", format!("{entry:?}"));
        }
    }
    let began = history.entries.iter().any(|it| !it.path.is_empty());
    if let Some(finally) = history.plan.finally
        && began
        && history.finish().is_some()
        && !ran("", finally)
    {
        return violated("`finally` always runs", "that of the run did not");
    }
    Ok(())
}

/// Only a cancel, the run's timeout or a restart bound what `finally` may take.
fn time_for_finally_was_over(history: &History) -> bool {
    let limit = Duration::from_millis(history.start.limits.finally_ms);
    let status = history.finish().map(|it| it.status);
    if status == Some(RunStatus::TimedOut) || history.has_type("restart") {
        return true;
    }
    let ends = |it: &&Entry| matches!(it.record, Record::Compensating { .. } | Record::Finished(_));
    let forward_until = history.entries.iter().find(ends).or(history.entries.last());
    match (history.cancelled_at(), forward_until) {
        (Some(cancelled), Some(end)) => end.at >= cancelled.after(limit),
        _ => false,
    }
}

/// Once a run takes back what it did, nobody stops that.
pub(super) fn nothing_is_cancelled_while_it_is_taken_back(history: &History) -> Result<(), Violation> {
    let since = history.entries.iter().position(|it| matches!(it.record, Record::Compensating { .. }));
    let later = since.map_or(&[][..], |since| &history.entries[since..]);
    match later.iter().find(|it| matches!(it.record, Record::Cancelled { .. })) {
        Some(entry) => violated("undo runs to the end", format!("{entry:?}")),
        None => Ok(()),
    }
}

/// The final status follows from what is in the journal.
pub(super) fn the_final_status_says_what_happened(history: &History) -> Result<(), Violation> {
    let Some(finish) = history.finish() else { return violated("a run ends with its record", "there is none") };
    let finishes = history.entries.iter().filter(|it| matches!(it.record, Record::Finished(_))).count();
    let last = history.entries.last().map(|it| it.record.kind());
    if finishes != 1 || last != Some("finished") {
        return violated("a final status never changes", format!("{finishes} ends, {finish:?}, the last is {last:?}"));
    }
    let cancel = history.entries.iter().find_map(|it| match &it.record {
        Record::Cancelled { undo, .. } => Some(*undo),
        _ => None,
    });
    let undoes = matches!(history.start.origin, Origin::Undo { .. });
    let compensating = undoes || history.entries.iter().any(|it| matches!(it.record, Record::Compensating { .. }));
    let undone = &history.undone;
    let expected = match (cancel, compensating) {
        (_, true) if undoes && undone.all_succeeded() => vec![RunStatus::Completed],
        (_, true) if undoes => vec![RunStatus::Failed],
        (Some(_), _) => vec![RunStatus::Cancelled],
        (None, true) if undone.all_succeeded() => vec![RunStatus::Compensated, RunStatus::TimedOut],
        (None, true) => vec![RunStatus::Failed, RunStatus::TimedOut],
        (None, false) if undone.registered.is_empty() => {
            vec![RunStatus::Completed, RunStatus::Failed, RunStatus::TimedOut]
        }
        (None, false) => vec![RunStatus::Completed],
    };
    if !expected.contains(&finish.status) {
        return violated("the final status says what happened", format!("{} is not {expected:?}", finish.status));
    }
    let undo = match (compensating, cancel) {
        (true, _) if undone.all_succeeded() => UndoStatus::Done,
        (true, _) => UndoStatus::Left,
        (false, Some(UndoChoice::Leave)) if !undone.registered.is_empty() => UndoStatus::Off,
        (false, _) => UndoStatus::None,
    };
    if finish.undo.status != undo {
        return violated("the final status says what was taken back", format!("{:?} is not {undo:?}", finish.undo));
    }
    if (finish.status == RunStatus::Completed) != finish.error.is_none() {
        return violated("a run that did not complete says why", format!("{finish:?}"));
    }
    Ok(())
}

/// No signal is taken twice, and those of one name are taken in the order in which they came.
pub(super) fn signals_are_taken_once_and_in_order(history: &History) -> Result<(), Violation> {
    let mut kept: BTreeMap<&str, VecDeque<&Value>> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.record {
            Record::Signal { name, payload, .. } => kept.entry(name).or_default().push_back(payload),
            Record::Step(record) if &*record.type_name == "wait" && record.status == StepStatus::Completed => {
                if history.stands_in(&entry.path) {
                    continue;
                }
                let name = record.input.get("signal").and_then(Value::as_str).unwrap_or_default();
                let first = kept.get_mut(name).and_then(VecDeque::pop_front);
                let shaped = history.step(&entry.path).output.is_some();
                if first.is_none_or(|first| *first != record.output && !shaped) {
                    let detail = format!("{first:?} came first: {entry:?}");
                    return violated("signals are taken once and in order", detail);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
