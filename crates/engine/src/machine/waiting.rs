//! Waiting steps: delays, signals, CloudEvents and approvals.

use std::{sync::Arc, time::Duration};

use windlass_definition::{
    Class, Error, Timestamp, Value,
    plan::{Step, StepKind},
};

use super::{Machine, attempt::invalid, start::text};
use crate::{
    Effect,
    effect::{OpenApproval, WaitForEvent},
    entry::StepRecord,
    event::{Decision, Verdict},
    frame::{ApprovalWait, At, Phase, TimerKind, Wait},
    planted::{Bug, planted},
    start::Principal,
    status::StepStatus,
};

impl Machine<'_> {
    pub(super) fn start_waiting(&mut self, at: At, step: &Step, with: &Value) {
        if let Some(timeout) = step.timeout {
            self.set_timer(at, TimerKind::Timeout, self.now.after(timeout));
        }
        let started = match &step.kind {
            StepKind::Delay { .. } => self.start_delay(at, with),
            StepKind::Wait { .. } => self.start_wait(at, with),
            StepKind::Event { .. } => self.start_event(at, with),
            StepKind::Approval { .. } => self.start_approval(at, step, with),
            _ => Ok(()),
        };
        if let Err(error) = started {
            self.fail(at, error);
        }
    }

    fn start_delay(&mut self, at: At, with: &Value) -> Result<(), Error> {
        let due = match (with.get("for"), with.get("until")) {
            (Some(span), None | Some(Value::Null)) => self.now.after(duration(span)?),
            (None | Some(Value::Null), Some(until)) => timestamp(until)?,
            _ => return Err(invalid("`delay` takes either `for` or `until`")),
        };
        if due <= self.now {
            self.complete(at, Value::Null);
            return Ok(());
        }
        self.wait_for(at, Wait::Delay);
        self.set_timer(at, TimerKind::Due, due);
        Ok(())
    }

    /// Takes a signal that came before, or waits for one.
    fn start_wait(&mut self, at: At, with: &Value) -> Result<(), Error> {
        let name = text(with, "signal").ok_or_else(|| invalid("`signal` must be a text"))?;
        let mut earlier = self.run.signals.iter().position(|(signal, _)| *signal == name);
        if planted(Bug::SignalLastFirst) {
            earlier = self.run.signals.iter().rposition(|(signal, _)| *signal == name);
        }
        let taken = match earlier {
            Some(position) if planted(Bug::SignalTakenTwice) => self.run.signals.get(position).cloned(),
            Some(position) => self.run.signals.remove(position),
            None => None,
        };
        match taken {
            Some((_, payload)) => self.complete(at, payload),
            None => {
                self.wait_for(at, Wait::Signal(name));
                self.run.signal_waits.push_back(at);
            }
        }
        Ok(())
    }

    /// A signal goes to the step of its name that began to wait first, or is kept.
    pub(super) fn signal(&mut self, name: Arc<str>, payload: Value) {
        let waiting = self.run.signal_waits.iter().copied();
        let first = waiting.into_iter().find(|at| *self.phase(*at) == Phase::Waiting(Wait::Signal(name.clone())));
        match first {
            Some(at) => self.complete(at, payload),
            None if planted(Bug::SignalBeforeWaitLost) => {}
            None => self.run.signals.push_back((name, payload)),
        }
    }

    fn start_event(&mut self, at: At, with: &Value) -> Result<(), Error> {
        self.slot_mut(at).input = with.clone();
        let effect = self.event_wait(at)?;
        self.wait_for(at, Wait::Event);
        self.effects.push(Effect::WaitForEvent(effect));
        Ok(())
    }

    pub(super) fn event_wait(&self, at: At) -> Result<WaitForEvent, Error> {
        let with = &self.run.slot(at).input;
        let event_type = text(with, "type").ok_or_else(|| invalid("`type` must be a text"))?;
        let since = self.run.started_at.unwrap_or(self.now);
        Ok(WaitForEvent { path: self.path(at), event_type, subject: text(with, "subject"), since })
    }

    pub(super) fn cloud_event(&mut self, path: &Arc<str>, event: Value) {
        if let Some(at) = self.run.open.get(path).copied()
            && *self.phase(at) == Phase::Waiting(Wait::Event)
        {
            self.complete(at, event);
        }
    }

    fn start_approval(&mut self, at: At, step: &Step, with: &Value) -> Result<(), Error> {
        let path = self.path(at);
        let to = people(with)?;
        let requested = |person: &Arc<str>| self.run.info.by.people().any(|requester| requester == &**person);
        if !to.is_empty() && to.iter().all(requested) {
            let message = "nobody is left to decide: who started the run may not";
            return Err(Error::new(Class::Denied, "no_approver", message));
        }
        let (of, need) = quorum(with, to.len() as u32)?;
        let expires_at = match with.get("expires") {
            None | Some(Value::Null) => None,
            Some(expires) => Some(self.now.after(duration(expires)?)),
        };
        let approval = self.derived_id(&path, 1, "approval");
        let form = with.get("form").cloned().unwrap_or_default();
        let continues = |key| text(with, key).as_deref() == Some("continue");
        let wait = ApprovalWait {
            approval,
            of,
            need,
            responses: Vec::new(),
            continue_on_reject: continues("on_reject"),
            continue_on_expire: continues("on_expire"),
            form: form.clone(),
        };
        self.wait_for(at, Wait::Approval(Box::new(wait)));
        if let Some(expires_at) = expires_at {
            self.set_timer(at, TimerKind::Due, expires_at);
        }
        self.effects.push(Effect::OpenApproval(OpenApproval {
            approval,
            step: step.id.clone(),
            to,
            title: text(with, "title").unwrap_or_else(|| path.clone()),
            description: text(with, "description"),
            form,
            quorum: with.get("quorum").filter(|it| !it.is_null()).map(|_| (of, need)),
            expires_at,
            path,
        }));
        Ok(())
    }

    /// Counts a decision; the one that settles the matter ends the step.
    pub(super) fn decision(&mut self, decision: Decision) {
        let Some(at) = self.run.open.get(&decision.path).copied() else { return };
        let now = self.now;
        let Phase::Waiting(Wait::Approval(wait)) = &mut self.slot_mut(at).phase else { return };
        wait.responses.push((now, decision));
        let approved = wait.responses.iter().filter(|(_, it)| it.verdict == Verdict::Approve).count() as u32;
        let rejected = wait.responses.len() as u32 - approved;
        if approved >= wait.need {
            let output = approval_output(wait, "approved");
            self.complete(at, output);
        } else if wait.of.saturating_sub(rejected) < wait.need {
            let (output, continues) = (approval_output(wait, "rejected"), wait.continue_on_reject);
            if continues {
                return self.complete(at, output);
            }
            let error = Error::new(Class::Denied, "approval_rejected", "the approval was rejected");
            self.fail(at, Error { details: output, ..error });
        }
    }

    pub(super) fn approval_expired(&mut self, at: At) {
        let Phase::Waiting(Wait::Approval(wait)) = self.phase(at) else { return };
        let (output, continues) = (approval_output(wait, "expired"), wait.continue_on_expire);
        if continues {
            return self.complete(at, output);
        }
        let error = Error::new(Class::Timeout, "approval_expired", "nobody decided the approval in time");
        self.fail(at, Error { details: output, ..error });
    }
}

/// `{decision, by, at, form, comment, responses}`: what the last decision said, and all of them.
fn approval_output(wait: &ApprovalWait, decision: &str) -> Value {
    let responses = wait.responses.iter().map(|(at, it)| {
        Value::map([
            ("decision", Value::from(it.verdict.to_string())),
            ("by", principal(&it.by)),
            ("at", Value::from(at.to_string())),
            ("form", it.form.clone()),
            ("comment", it.comment.clone().map_or(Value::Null, Value::String)),
        ])
    });
    let responses: Vec<Value> = responses.collect();
    let last = responses.last().cloned().unwrap_or_default();
    let of_last = |key: &str| last.get(key).cloned().unwrap_or_default();
    Value::map([
        ("decision", Value::from(decision)),
        ("by", of_last("by")),
        ("at", of_last("at")),
        ("form", of_last("form")),
        ("comment", of_last("comment")),
        ("responses", Value::list(responses)),
    ])
}

pub(super) fn principal(principal: &Principal) -> Value {
    match principal {
        Principal::Person(name) | Principal::Token(name) => Value::String(name.clone()),
        Principal::Run(run) => Value::from(format!("run {run}")),
        Principal::Acting { who, of } | Principal::Application { name: who, of: Some(of) } => {
            Value::from(format!("{who} for {of}"))
        }
        Principal::Delegate { who, of } => Value::from(format!("{who} of {of}")),
        Principal::Application { name, of: None } => Value::String(name.clone()),
        Principal::System => Value::from("system"),
    }
}

/// The word that the approval's row ends with.
pub(super) fn approval_status(record: &StepRecord) -> &'static str {
    let said = match record.status {
        StepStatus::Completed => record.output.get("decision").and_then(Value::as_str),
        StepStatus::Failed => {
            record.error.as_ref().and_then(|error| error.details.get("decision")).and_then(Value::as_str)
        }
        StepStatus::TimedOut => Some("expired"),
        _ => None,
    };
    match said {
        Some("approved") => "approved",
        Some("rejected") => "rejected",
        Some("expired") => "expired",
        _ => "cancelled",
    }
}

fn people(with: &Value) -> Result<Vec<Arc<str>>, Error> {
    match with.get("to") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(person)) => Ok(vec![person.clone()]),
        Some(Value::List(people)) => people
            .iter()
            .map(|person| match person {
                Value::String(person) => Ok(person.clone()),
                _ => Err(invalid("`to` must be a list of texts")),
            })
            .collect(),
        Some(_) => Err(invalid("`to` must be a list of texts")),
    }
}

/// Of how many, how many must approve. Without a quorum the first decision decides.
fn quorum(with: &Value, people: u32) -> Result<(u32, u32), Error> {
    let Some(quorum) = with.get("quorum").filter(|quorum| !quorum.is_null()) else { return Ok((1, 1)) };
    let number = |key: &str| quorum.get(key).and_then(Value::as_i64).and_then(|number| u32::try_from(number).ok());
    let need = number("need").ok_or_else(|| invalid("`quorum.need` must be a whole number"))?;
    let of = number("of").unwrap_or(people.max(need));
    if need == 0 || need > of {
        return Err(invalid(format!("`quorum` needs {need} of {of}: `need` must be from 1 to `of`")));
    }
    Ok((of, need))
}

/// A span of time in an evaluated `with`: a text such as `30s`, or seconds.
pub(super) fn duration(value: &Value) -> Result<Duration, Error> {
    let span = match value {
        Value::String(text) => windlass_definition::duration::parse(text),
        Value::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Double(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        _ => None,
    };
    span.ok_or_else(|| invalid(format!("`{}` is not a span of time such as `30s`, `1h30m` or `3d`", value.to_text())))
}

fn timestamp(value: &Value) -> Result<Timestamp, Error> {
    let at = value.as_str().and_then(Timestamp::parse);
    at.ok_or_else(|| invalid(format!("`{}` is not a time such as `2026-11-21T07:00:00Z`", value.to_text())))
}
