//! Attempts: how many, of which errors, and how far apart.

use std::{collections::BTreeSet, time::Duration};

use crate::{Entry, Record, entry::AttemptRecord, event::Settlement, status::StepStatus};
use windlass_definition::{
    Class, Error,
    plan::{Backoff, ErrorPattern, Retry},
};

use super::{
    History, Violation,
    history::{Asked, is_undo},
    violated,
};

/// Never more attempts than `attempts`, never another after an error that is not to be retried, never outside `within`.
pub(super) fn retries_keep_their_bounds(history: &History) -> Result<(), Violation> {
    for entry in &history.entries {
        if let Record::Attempt(failed) = &entry.record {
            check_retry(history, entry, failed)?;
        }
    }
    for asked in &history.asked {
        let most = retry_of(history, &asked.path).map_or(1, |it| it.attempts);
        if asked.attempt > most + settled_again(history, &asked.path) {
            return violated(
                "retries never exceed `attempts`",
                format!("`{}` #{} of {most}", asked.path, asked.attempt),
            );
        }
        check_reason(history, asked)?;
    }
    no_retry_is_left_out(history)
}

/// An attempt that may happen at most once is never asked for twice.
pub(super) fn at_most_once_is_asked_for_once(history: &History) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for asked in history.asked.iter().filter(|it| !is_undo(&it.path)) {
        if history.step(&asked.path).at_most_once && !seen.insert((&asked.path, asked.attempt)) {
            return violated("what may happen at most once is asked for once", format!("{asked:?}"));
        }
    }
    Ok(())
}

/// A step fails for good only when its attempts are used up or its error is not to be retried, unless it was stopped.
fn no_retry_is_left_out(history: &History) -> Result<(), Violation> {
    for (entry, record) in history.records() {
        let (Some(retry), Some(error)) = (retry_of(history, &entry.path), &record.error) else { continue };
        let undo = is_undo(&entry.path);
        let lost = history.entries.iter().any(|it| it.path == entry.path && matches!(it.record, Record::Lost));
        let settled =
            history.entries.iter().any(|it| it.path == entry.path && matches!(it.record, Record::Settled { .. }));
        let tried = entry.attempt > 0 && history.undone.tried.contains(&entry.path);
        let by_itself = tried && (undo || !was_stopped(history, entry)) && !lost && !settled;
        let wanted = is_wanted(&retry, error, undo) && retry.within.is_none() && entry.attempt < retry.attempts;
        let ended = matches!(record.status, StepStatus::Failed | StepStatus::TimedOut);
        // What cannot be evaluated, or is no undo at all, is not retried.
        if ended && by_itself && wanted && !(history.step(&entry.path).at_most_once && record.unknown) {
            return violated("no retry is left out", format!("{entry:?}"));
        }
    }
    Ok(())
}

/// Whether something may have stopped the step from outside: then its failure is not retried.
fn was_stopped(history: &History, entry: &Entry) -> bool {
    history.stopped.contains(&(entry.path.clone(), entry.attempt))
}

/// Every attempt but the first follows an `attempt` record of the one before, or a person's word.
fn check_reason(history: &History, asked: &Asked) -> Result<(), Violation> {
    let reason = |entry: &Entry| {
        entry.path == asked.path
            && entry.seq <= asked.seq
            && match &entry.record {
                Record::Attempt(_) => entry.attempt + 1 == asked.attempt,
                Record::Settled { settlement, .. } => *settlement == Settlement::Again,
                _ => false,
            }
    };
    if asked.attempt > 1 && !history.entries.iter().any(reason) {
        return violated("an attempt follows the end of the one before", format!("{asked:?}"));
    }
    Ok(())
}

fn check_retry(history: &History, entry: &Entry, failed: &AttemptRecord) -> Result<(), Violation> {
    let Some(retry) = retry_of(history, &entry.path) else {
        return violated("retries never exceed `attempts`", format!("{entry:?} has no `retry`"));
    };
    if !is_wanted(&retry, &failed.error, is_undo(&entry.path)) {
        return violated("only errors that are to be retried are", format!("{entry:?}"));
    }
    if !is_undo(&entry.path) && history.step(&entry.path).at_most_once && failed.unknown {
        return violated(
            "nothing of unknown outcome is repeated when it may happen at most once",
            format!("{entry:?}"),
        );
    }
    let waited = failed.next_at.since(entry.at);
    let (least, most) = bounds(&retry, entry.attempt, &failed.error);
    if waited < least || waited > most {
        return violated(
            "the next attempt keeps its distance",
            format!("{waited:?} is not {least:?} to {most:?}: {entry:?}"),
        );
    }
    let first = history.asked.iter().find(|it| it.path == entry.path);
    if let (Some(within), Some(first)) = (retry.within, first)
        && failed.next_at > first.at.after(within)
    {
        return violated("all attempts stay `within`", format!("{entry:?}"));
    }
    Ok(())
}

fn bounds(retry: &Retry, attempt: u32, error: &Error) -> (Duration, Duration) {
    let growth = match retry.backoff {
        Backoff::Fixed => 1,
        Backoff::Linear => attempt,
        Backoff::Exponential => 1 << (attempt - 1),
    };
    let most = (retry.delay * growth).min(retry.max_delay);
    let asked = error.details.get("retry_after_ms").and_then(windlass_definition::Value::as_i64);
    let asked = Duration::from_millis(asked.unwrap_or(0) as u64).min(retry.max_delay);
    // Jitter takes off up to half, in whole microseconds.
    let least = if retry.jitter { (most / 2).saturating_sub(Duration::from_micros(1)) } else { most };
    (least.max(asked), most.max(asked))
}

fn is_wanted(retry: &Retry, error: &Error, undo: bool) -> bool {
    if matches!(error.class, Class::Expression | Class::Validation | Class::Cancelled) {
        return false;
    }
    let hundreds = |digit: &u8| error.class == Class::Http && error.code.starts_with(char::from(b'0' + digit));
    match &retry.on {
        None => undo || error.retryable,
        Some(patterns) => patterns.iter().any(|pattern| match pattern {
            ErrorPattern::Class(class) => *class == error.class,
            ErrorPattern::Code(code) => *code == error.code,
            ErrorPattern::StatusClass(digit) => hundreds(digit),
        }),
    }
}

fn retry_of(history: &History, path: &str) -> Option<Retry> {
    let step = history.step(path);
    if is_undo(path) { step.undo.as_ref().map(|undo| undo.retry.clone()) } else { step.retry.clone() }
}

fn settled_again(history: &History, path: &str) -> u32 {
    let again = |entry: &&Entry| match &entry.record {
        Record::Settled { settlement: Settlement::Again, .. } => *entry.path == *path,
        _ => false,
    };
    history.entries.iter().filter(again).count() as u32
}
