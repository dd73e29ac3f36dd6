//! Attempts: running a step outside, judging how that ended, trying again.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use windlass_definition::{
    Class, Error, Timestamp, Value,
    plan::{Backoff, Catch, Retry, Step, StepKind},
    step_types::PRIORITY_MAX,
};

use super::{End, Machine, frames::around};
use crate::{
    Effect,
    effect::{OfferTask, RunStep, StepRate},
    entry::{AttemptRecord, Record, StepRecord, UnknownRecord},
    event::{Failure, Settlement},
    frame::{At, Control, Owner, Part, Phase, SlotStop, TimerKind, Wait},
    id::{Id, derived_bits},
    planted::{Bug, planted},
    run::Held,
    status::StepStatus,
};

/// How long a task's claim holds when the step does not say.
const TASK_LEASE: Duration = Duration::from_secs(60);

impl Machine<'_> {
    /// Begins the next attempt of a step whose `with` is evaluated.
    pub(super) fn start_attempt(&mut self, at: At) {
        let now = self.now;
        let step = self.step(at);
        let slot = self.slot_mut(at);
        slot.attempt += 1;
        slot.stop = None;
        slot.started_at = Some(now);
        slot.first_at.get_or_insert(now);
        self.ask_for_attempt(at, step);
        let asked = matches!(self.phase(at), Phase::Running | Phase::Waiting(_));
        if asked && self.run.slot(at).attempt == 1 {
            self.register_started(at, step);
        }
    }

    fn ask_for_attempt(&mut self, at: At, step: &Step) {
        if let StepKind::Workflow { .. } = step.kind {
            return self.start_child(at, step);
        }
        if let Some(timeout) = step.timeout {
            self.set_timer(at, TimerKind::Timeout, self.now.after(timeout));
        }
        match &step.kind {
            StepKind::Task { .. } => match self.task(at, step) {
                Ok(task) => {
                    self.wait_for(at, Wait::Task(task.task));
                    self.effects.push(Effect::OfferTask(task));
                }
                Err(error) => self.fail(at, error),
            },
            _ => match self.run_step(at, step) {
                Ok(effect) => {
                    self.set_running(at);
                    self.effects.push(Effect::RunStep(effect));
                }
                Err(error) => self.fail(at, error),
            },
        }
    }

    fn set_running(&mut self, at: At) {
        let path = self.path(at);
        self.slot_mut(at).phase = Phase::Running;
        self.run.running += 1;
        self.run.open.insert(path, at);
    }

    /// What the runtime is asked for on behalf of an attempt that runs.
    pub(super) fn run_step(&self, at: At, step: &Step) -> Result<RunStep, Error> {
        let scope = self.scope(at);
        let lock = match &step.lock {
            None => None,
            Some(lock) => Some(lock.evaluate(&scope)?.to_text().into()),
        };
        let rate = match &step.rate {
            None => None,
            Some(rate) => {
                let key = rate.key.as_ref().map(|key| key.evaluate(&scope)).transpose()?;
                let key = format!("{}/{}/{}", self.run.info.workflow, step.id, key.unwrap_or_default().to_text());
                Some((StepRate::from(rate), key.into()))
            }
        };
        let slot = self.run.slot(at);
        Ok(RunStep {
            path: self.path(at),
            step: self.run.step_index(self.plan, at),
            type_name: step.type_name.clone(),
            with: slot.input.clone(),
            attempt: slot.attempt,
            key: match planted(Bug::KeyOfAttempt) {
                true => self.key(&format!("{}/{}", self.path(at), slot.attempt)),
                false => self.key(&self.path(at)),
            },
            now: slot.ready_at,
            lock,
            rate,
            at_most_once: step.at_most_once,
        })
    }

    pub(super) fn task(&self, at: At, step: &Step) -> Result<OfferTask, Error> {
        let slot = self.run.slot(at);
        let with = &slot.input;
        let path = self.path(at);
        let queue = super::start::text(with, "queue").filter(|queue| !queue.is_empty() && queue.len() <= 200);
        let Some(queue) = queue else {
            return Err(invalid("`queue` must be a text of 1 to 200 characters"));
        };
        let lease = match with.get("lease") {
            None | Some(Value::Null) => TASK_LEASE,
            Some(lease) => super::waiting::duration(lease)?.clamp(Duration::from_secs(1), Duration::from_secs(86_400)),
        };
        let priority = match with.get("priority") {
            None | Some(Value::Null) => 0,
            Some(priority) => {
                let priority = priority.as_i64().and_then(|it| i32::try_from(it).ok());
                let allowed = priority.filter(|it| (-PRIORITY_MAX..=PRIORITY_MAX).contains(it));
                let what =
                    || invalid(format!("`priority` must be a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}"));
                allowed.ok_or_else(what)?
            }
        };
        Ok(OfferTask {
            task: self.derived_id(&path, slot.attempt, "task"),
            step: step.id.clone(),
            attempt: slot.attempt,
            key: self.key(&path),
            queue,
            input: with.get("input").cloned().unwrap_or_default(),
            priority,
            lease,
            path,
        })
    }

    /// Makes the step wait for something outside that will name it by its path.
    pub(super) fn wait_for(&mut self, at: At, wait: Wait) {
        let path = self.path(at);
        self.slot_mut(at).phase = Phase::Waiting(wait);
        self.run.open.insert(path, at);
    }

    /// The idempotency key of a path: the same over retries, restarts and servers.
    pub(super) fn key(&self, path: &str) -> Arc<str> {
        let key = format!("{}/{path}", self.run.info.run);
        if key.len() <= 200 { key.into() } else { hex(&Sha256::digest(key.as_bytes())).into() }
    }

    /// An id that follows from the run, the path and the attempt, so that asking twice names the same thing.
    pub(super) fn derived_id<T>(&self, path: &str, attempt: u32, purpose: &str) -> Id<T> {
        let bits = derived_bits(self.run.info.run, path, attempt, purpose);
        let unix_ms = u64::try_from(self.now.micros() / 1_000).unwrap_or(0);
        Id::from_parts(unix_ms, bits)
    }

    /// What an attempt's result means: the step's record, another attempt, or a question to a person.
    pub(super) fn judge(&self, at: At, started_at: Timestamp, result: Result<Value, Failure>) -> Record {
        let (status, output, error, unknown) = match result {
            Ok(output) => (StepStatus::Completed, output, None, false),
            Err(Failure { error, unknown }) => match self.run.slot(at).stop {
                Some(SlotStop::Timeout) => return self.judge_failure(at, started_at, self.timeout_error(at), unknown),
                Some(SlotStop::Stopped) if error.class == Class::Cancelled => {
                    (StepStatus::Cancelled, Value::Null, None, unknown)
                }
                Some(SlotStop::Stopped) => (StepStatus::Failed, Value::Null, Some(error), unknown),
                None => return self.judge_failure(at, started_at, error, unknown),
            },
        };
        self.step_record(at, started_at, Judged { status, output, error, unknown })
    }

    fn judge_failure(&self, at: At, started_at: Timestamp, error: Error, unknown: bool) -> Record {
        let step = self.step(at);
        if step.at_most_once && unknown {
            let lost = Error::new(
                Class::WorkerLost,
                "unknown_outcome",
                format!("nobody knows whether the step took effect: {}", error.message),
            )
            .with_detail("cause", error.to_value());
            if !self.is_caught(at, &lost) {
                return Record::Unknown(UnknownRecord { started_at, error: lost });
            }
            let judged = Judged { status: StepStatus::Failed, output: Value::Null, error: Some(lost), unknown };
            return self.step_record(at, started_at, judged);
        }
        if let Some(next_at) = self.next_attempt(at, step, &error) {
            return Record::Attempt(AttemptRecord { started_at, error, unknown, next_at });
        }
        // Whoever answers, even with an error, has said what became of it.
        let unknown = unknown && error.leaves_open();
        let timed_out = self.run.slot(at).stop == Some(SlotStop::Timeout);
        let status = if timed_out { StepStatus::TimedOut } else { StepStatus::Failed };
        self.step_record(at, started_at, Judged { status, output: Value::Null, error: Some(error), unknown })
    }

    fn step_record(&self, at: At, started_at: Timestamp, judged: Judged) -> Record {
        Record::Step(StepRecord {
            type_name: self.step(at).type_name.clone(),
            status: judged.status,
            started_at: Some(started_at),
            input: self.run.slot(at).input.clone(),
            output: judged.output,
            error: judged.error,
            skipped_by: None,
            unknown: judged.unknown,
        })
    }

    /// When the next attempt begins, if there is one.
    fn next_attempt(&self, at: At, step: &Step, error: &Error) -> Option<Timestamp> {
        let retry = step.retry.as_ref()?;
        let slot = self.run.slot(at);
        if self.is_stopping(at.frame) {
            return None;
        }
        let first_at = slot.first_at.unwrap_or(self.now);
        next_attempt(retry, error, Tried { attempts: slot.attempt, first_at, now: self.now, jitter: self.jitter(at) })
    }

    /// A number from 0 to 1 that follows from the run, the path and the attempt.
    fn jitter(&self, at: At) -> f64 {
        jitter(&format!("{}/{}/{}", self.run.info.run, self.path(at), self.run.slot(at).attempt))
    }

    pub(super) fn timeout_error(&self, at: At) -> Error {
        let step = self.step(at);
        let limit = step.timeout.unwrap_or_default();
        let message = format!("step `{}` took longer than its timeout of {}", step.id, seconds(limit));
        Error::new(Class::Timeout, "step_timeout", message).retryable()
    }

    /// Whether something around a step takes this error of it.
    fn is_caught(&self, at: At, error: &Error) -> bool {
        let takes = |catches: &[Catch]| {
            catches.iter().any(|catch| catch.on.is_empty() || catch.on.iter().any(|pattern| pattern.matches(error)))
        };
        if self.step(at).continue_on_error {
            return true;
        }
        for frame in around(self.run, at.frame) {
            let caught = match self.run.frame(frame).owner {
                Owner::Run => self.run.whole.part == Part::Body && takes(&self.plan.catches),
                Owner::Step(owner) => match (&self.step(owner).kind, self.phase(owner)) {
                    (StepKind::Try { catches, .. }, Phase::Control(Control::Try(state))) => {
                        state.part == Part::Body && takes(catches)
                    }
                    _ => self.step(owner).continue_on_error,
                },
            };
            if caught {
                return true;
            }
        }
        false
    }

    /// Changes the state by what an attempt's end was judged to be, when that came from outside.
    pub(super) fn apply_attempt(&mut self, path: &Arc<str>, record: Record) {
        if self.is_current_undo(path) {
            return self.apply_undo_attempt(record);
        }
        let Some(at) = self.run.open.get(path).copied() else { return };
        self.apply_judged(at, record);
    }

    /// Records what an attempt's end was judged to be, when that follows from something else.
    pub(super) fn note_judged(&mut self, at: At, record: Record) {
        let record = self.note(self.path(at), self.run.slot(at).attempt, record);
        self.apply_judged(at, record);
    }

    fn apply_judged(&mut self, at: At, record: Record) {
        match record {
            Record::Step(record) => self.step_ended(at, record),
            Record::Attempt(record) => self.wait_again(at, Wait::Backoff, Some(record.next_at)),
            Record::Unknown(record) => {
                self.slot_mut(at).error = Some(Arc::new(record.error));
                self.wait_again(at, Wait::Settlement, None);
            }
            _ => {}
        }
    }

    /// Makes a step whose attempt has ended wait.
    fn wait_again(&mut self, at: At, wait: Wait, due: Option<Timestamp>) {
        self.clear_timers(at);
        let before = std::mem::replace(&mut self.slot_mut(at).phase, Phase::Pending);
        match before {
            Phase::Running => self.run.running -= 1,
            Phase::Waiting(Wait::Task(task)) => self.effects.push(Effect::CloseTask { task }),
            _ => {}
        }
        self.slot_mut(at).stop = None;
        self.wait_for(at, wait);
        if let Some(due) = due {
            self.set_timer(at, TimerKind::Due, due);
        }
    }

    /// An attempt was lost with its server or worker: it is repeated under the same key, without counting.
    pub(super) fn lost(&mut self, path: &Arc<str>) {
        if self.is_current_undo(path) {
            return self.undo_lost();
        }
        let Some(at) = self.run.open.get(path).copied() else { return };
        let step = self.step(at);
        let max = self.run.info.limits.lost_attempts_max;
        let slot = self.slot_mut(at);
        slot.lost += 1;
        let (lost, stop) = (slot.lost, slot.stop);
        let started_at = slot.started_at.unwrap_or_default();
        let error = Error::new(Class::WorkerLost, "worker_lost", "the server or worker that ran the attempt is gone");
        if stop.is_some() {
            let gone = Error::new(Class::Cancelled, "cancelled", "the attempt was lost while it was being stopped");
            let record = self.judge(at, started_at, Err(Failure { error: gone, unknown: true }));
            return self.note_judged(at, record);
        }
        if step.at_most_once && !planted(Bug::AtMostOnceAgain) {
            let record = self.judge(at, started_at, Err(Failure { error, unknown: true }));
            return self.note_judged(at, record);
        }
        if lost > max {
            let message = format!("the attempt was lost {lost} times with its server or worker");
            let error = Error::new(Class::WorkerLost, "worker_lost", message);
            let end = End { unknown: true, ..End::failed(error) };
            return self.end_step(at, end);
        }
        // However often it is lost during a pause, it runs again once.
        let held = Held::Lost(path.clone());
        let known = self.run.paused.as_ref().is_some_and(|paused| paused.held.iter().any(|(_, it)| *it == held));
        if !known {
            self.take(held);
        }
    }

    /// Runs an attempt that was lost again, with the whole of its time: a server's absence is none of the step's. A
    /// task's row goes back to its queue by itself.
    pub(super) fn run_again(&mut self, path: &Arc<str>) {
        let Some(at) = self.run.open.get(path).copied() else { return };
        if *self.phase(at) != Phase::Running {
            return;
        }
        let (now, step) = (self.now, self.step(at));
        if self.run.slot(at).stop.is_some() {
            // A cancel came during the pause.
            return self.lost(path);
        }
        self.clear_timers(at);
        self.slot_mut(at).started_at = Some(now);
        if let Some(timeout) = step.timeout {
            self.set_timer(at, TimerKind::Timeout, now.after(timeout));
        }
        if let Ok(effect) = self.run_step(at, step) {
            self.effects.push(Effect::RunStep(effect));
        }
    }

    /// A person said what became of an attempt.
    pub(super) fn settled(&mut self, path: &Arc<str>, settlement: Settlement) {
        let Some(at) = self.run.open.get(path).copied() else { return };
        match settlement {
            Settlement::Completed(output) => self.complete(at, output),
            Settlement::Failed(error) => self.fail(at, error),
            Settlement::Again => self.take(Held::Again(path.clone())),
        }
    }

    /// Begins another attempt where a person said that the one before did not happen.
    pub(super) fn try_again(&mut self, path: &Arc<str>) {
        if let Some(at) = self.run.open.get(path).copied()
            && *self.phase(at) == Phase::Waiting(Wait::Settlement)
        {
            self.run.open.remove(path);
            self.start_attempt(at);
        }
    }
}

struct Judged {
    status: StepStatus,
    output: Value,
    error: Option<Error>,
    unknown: bool,
}

/// What was tried so far.
pub(super) struct Tried {
    pub attempts: u32,
    pub first_at: Timestamp,
    pub now: Timestamp,
    /// From 0 to 1.
    pub jitter: f64,
}

/// When the next attempt begins; `None` when the error is not to be retried or the attempts are used up.
pub(super) fn next_attempt(retry: &Retry, error: &Error, tried: Tried) -> Option<Timestamp> {
    let attempts = retry.attempts + u32::from(planted(Bug::RetryOneMore)) - u32::from(planted(Bug::RetryOneFewer));
    if tried.attempts >= attempts {
        return None;
    }
    if matches!(error.class, Class::Expression | Class::Validation | Class::Cancelled) {
        return None;
    }
    let wanted = match &retry.on {
        None => error.retryable,
        Some(patterns) => patterns.iter().any(|pattern| pattern.matches(error)),
    };
    if !wanted && !planted(Bug::RetryAnything) {
        return None;
    }
    let growth = match retry.backoff {
        Backoff::Fixed => 1,
        Backoff::Exponential if planted(Bug::BackoffFlat) => 1,
        Backoff::Linear => tried.attempts.max(1),
        Backoff::Exponential => 1u32.checked_shl(tried.attempts.saturating_sub(1)).unwrap_or(u32::MAX),
    };
    let mut delay = retry.delay.saturating_mul(growth).min(retry.max_delay);
    if retry.jitter {
        let sign = if planted(Bug::JitterLonger) { -1.0 } else { 1.0 };
        delay = delay.mul_f64(1.0 - sign * tried.jitter / 2.0);
    }
    if let Some(asked_ms) = error.details.get("retry_after_ms").and_then(Value::as_i64)
        && !planted(Bug::RetryAfterIgnored)
    {
        let asked = Duration::from_millis(u64::try_from(asked_ms).unwrap_or(0));
        delay = delay.max(asked.min(retry.max_delay));
    }
    let next_at = tried.now.after(delay);
    match retry.within {
        Some(within) if !planted(Bug::WithinIgnored) && next_at > tried.first_at.after(within) => None,
        _ => Some(next_at),
    }
}

/// A number from 0 to 1 that follows from a text.
pub(super) fn jitter(seed: &str) -> f64 {
    let digest = Sha256::digest(seed.as_bytes());
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

pub(super) fn invalid(message: impl AsRef<str>) -> Error {
    Error::new(Class::Validation, "invalid_with", message)
}

/// Seconds for a message: `30s`, `0.25s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_millis() as f64 / 1_000.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
