//! Nothing that waits for a time comes before it.

use crate::{
    Entry, Record,
    entry::StepRecord,
    status::{RunStatus, StepStatus},
};
use windlass_definition::{Timestamp, Value};

use super::{History, Violation, violated};

/// Delays, timeouts, expiries, further attempts and the run's own timeout come no sooner than they are due.
pub(super) fn nothing_comes_early(history: &History) -> Result<(), Violation> {
    for (entry, record) in history.records() {
        if let Some(due) = due(history, entry, record)
            && entry.at < due
        {
            return violated("no timer fires early", format!("due at {due}: {entry:?}"));
        }
    }
    for asked in &history.asked {
        let announced = history.entries.iter().filter(|it| it.path == asked.path && it.attempt + 1 == asked.attempt);
        for entry in announced {
            if let Record::Attempt(failed) = &entry.record
                && asked.at < failed.next_at
            {
                return violated("no attempt starts early", format!("due at {}: {asked:?}", failed.next_at));
            }
        }
    }
    the_run_has_its_time(history)
}

/// When a record could come at the earliest, where that depends on a time.
fn due(history: &History, entry: &Entry, record: &StepRecord) -> Option<Timestamp> {
    if entry.path.ends_with(":undo") || history.stands_in(&entry.path) {
        return None;
    }
    let started_at = record.started_at?;
    let span = |key: &str| record.input.get(key).and_then(Value::as_str).and_then(windlass_definition::duration::parse);
    match (record.status, &*record.type_name) {
        (StepStatus::Completed, "delay") => Some(started_at.after(span("for")?)),
        (StepStatus::TimedOut, _) => {
            // An attempt begins a moment after it was asked for, and a task when a worker takes it: its time counts from
            // when it was asked for last.
            let asked = history
                .asked
                .iter()
                .rfind(|it| it.path == entry.path && it.attempt == entry.attempt && it.seq < entry.seq);
            let since = asked.map_or(started_at, |asked| asked.at);
            Some(since.after(history.step(&entry.path).timeout?))
        }
        (StepStatus::Failed, "approval") => {
            let expired = record.error.as_ref().is_some_and(|error| &*error.code == "approval_expired");
            if expired { Some(started_at.after(span("expires")?)) } else { None }
        }
        _ => None,
    }
}

fn the_run_has_its_time(history: &History) -> Result<(), Violation> {
    let (Some(timeout), Some(finish)) = (history.plan.timeout, history.finish()) else { return Ok(()) };
    let began = history.entries.iter().find(|it| match &it.record {
        Record::Started(start) => !start.queued,
        record => matches!(record, Record::Admitted),
    });
    if finish.status == RunStatus::TimedOut
        && let Some(began) = began
        && history.last_at() < began.at.after(timeout)
    {
        return violated(
            "no timer fires early",
            format!("the run's timeout of {timeout:?} fired at {}", history.last_at()),
        );
    }
    Ok(())
}
