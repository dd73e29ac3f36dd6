//! Pure steps: done within the transition, because nothing outside the run can see them happen.

use std::sync::Arc;

use windlass_definition::{
    Class, Error, Value,
    input::{InputError, validate_input},
    plan::{Step, StepKind},
    value::Key,
};

use super::{Machine, attempt::invalid, start::text};
use crate::{
    Effect,
    frame::{At, FrameStop},
    id::RunId,
    run::Ending,
    status::StepStatus,
};

impl Machine<'_> {
    pub(super) fn run_pure(&mut self, at: At, step: &Step) {
        match &step.kind {
            StepKind::Join => {
                let output = self.gathered(at, step);
                self.complete(at, output);
            }
            StepKind::Break => self.leave_iteration(at, FrameStop::Break),
            StepKind::Next => self.leave_iteration(at, FrameStop::Next),
            StepKind::Transform { value } => match value.evaluate(&self.scope(at)) {
                Ok(output) => self.complete(at, output),
                Err(error) => self.fail(at, error),
            },
            StepKind::Log { with } => {
                if let Some(line) = self.evaluate_with(at, with) {
                    let path = self.path(at);
                    self.effects.push(Effect::Log { path, line });
                    self.complete(at, Value::Null);
                }
            }
            StepKind::Respond { with } => {
                if let Some(answer) = self.evaluate_with(at, with) {
                    self.effects.push(Effect::Respond { answer });
                    self.complete(at, Value::Null);
                }
            }
            StepKind::Fail { with } => {
                if let Some(with) = self.evaluate_with(at, with) {
                    self.fail(at, raised(&with));
                }
            }
            StepKind::State { with } => {
                if let Some(with) = self.evaluate_with(at, with) {
                    match apply_state(&self.run.state, &with) {
                        Ok((state, output)) => {
                            self.run.state = state;
                            self.complete(at, output);
                        }
                        Err(error) => self.fail(at, error),
                    }
                }
            }
            StepKind::Restart { with } => {
                if let Some(with) = self.evaluate_with(at, with) {
                    self.restart(at, &with);
                }
            }
            _ => {}
        }
    }

    /// The outputs of a `join`'s direct sources, by id.
    fn gathered(&self, at: At, step: &Step) -> Value {
        let frame = self.run.frame(at.frame);
        let block = self.plan.block(frame.block);
        let sources = step.incoming.iter().map(|edge| block.edges[*edge as usize].from as usize);
        Value::map(sources.map(|from| (&self.plan.step(block.steps[from]).id, frame.slots[from].output.clone())))
    }

    fn leave_iteration(&mut self, at: At, how: FrameStop) {
        self.complete(at, Value::Null);
        if let Some(iteration) = self.nearest_loop(at.frame) {
            self.stop_frame(iteration, how);
        }
    }

    /// Ends this run in favour of a fresh one, which is started once this one has ended. An input that this run's own
    /// plan refuses fails the step.
    fn restart(&mut self, at: At, with: &Value) {
        let path = self.path(at);
        let run: RunId = self.derived_id(&path, 1, "restart");
        let input = with.get("input").cloned().unwrap_or_default();
        match validate_input(self.plan, input.clone()) {
            Ok(_) => self.complete(at, Value::map([("run_id", Value::from(run.to_string()))])),
            Err(errors) => self.fail(at, refused_input(&errors)),
        }
        // What the journal says counts, also when it is read again.
        if self.run.slot(at).status() == StepStatus::Completed {
            self.run.ending.get_or_insert(Ending::Restart { run, input });
            self.stop_forward();
        }
    }
}

fn refused_input(errors: &[InputError]) -> Error {
    let all: Vec<String> = errors.iter().map(|error| format!("/input{}: {}", error.pointer, error.message)).collect();
    Error::new(Class::Validation, "input", format!("the fresh run would refuse its input: {}", all.join("; ")))
}

/// The error that a `fail` step raises.
fn raised(with: &Value) -> Error {
    if let Some(error) = with.get("error").filter(|error| !error.is_null()) {
        return Error::from_value(error)
            .unwrap_or_else(|| Error::new(Class::User, "failed", error.to_text()).with_detail("error", error.clone()));
    }
    let class = text(with, "class").and_then(|class| Class::parse(&class)).unwrap_or(Class::User);
    let code = text(with, "code").unwrap_or_else(|| "failed".into());
    let message = with.get("message").map(Value::to_text).unwrap_or_default();
    let retryable = with.get("retryable").and_then(Value::as_bool).unwrap_or(false);
    let details = with.get("details").cloned().unwrap_or_default();
    Error { class, code, message: message.into(), retryable, details }
}

/// Applies the operation of a `state` step to a map of values by key; gives the map and the step's output.
///
/// # Errors
/// The operation does not fit what is there, or is none.
pub fn apply_state(state: &Value, with: &Value) -> Result<(Value, Value), Error> {
    let key = text(with, "key").ok_or_else(|| invalid("`key` must be a text"))?;
    if with.get("ttl").is_some_and(|ttl| !ttl.is_null()) {
        return Err(invalid("`ttl` is for the scopes `workflow` and `tenant`: a run's own state ends with the run"));
    }
    let current = state.get(&key).cloned();
    let value = with.get("value").cloned().unwrap_or_default();
    let set = |value: Value| (state.clone().with_entry(&key, value.clone()), value);
    match text(with, "op").as_deref() {
        Some("get") => Ok((state.clone(), current.unwrap_or(value))),
        Some("set") => Ok(set(value)),
        Some("update") => Ok(set(merged(current, value)?)),
        Some("increment") => Ok(set(incremented(current, with)?)),
        Some("delete") => Ok((without(state, &key), current.unwrap_or_default())),
        Some("compare_and_set") => {
            let expected = with.get("expected").cloned().unwrap_or_default();
            let found = current.unwrap_or_default();
            let swapped = super::scope::equal(&found, &expected);
            let (state, now) = if swapped { set(value) } else { (state.clone(), found) };
            Ok((state, Value::map([("swapped", Value::Bool(swapped)), ("value", now)])))
        }
        other => Err(invalid(format!("`op` is `{}`, which is no operation", other.unwrap_or_default()))),
    }
}

fn merged(current: Option<Value>, value: Value) -> Result<Value, Error> {
    match (current, &value) {
        (None | Some(Value::Null), Value::Map(_)) => Ok(value),
        (Some(Value::Map(mut current)), Value::Map(more)) => {
            Arc::make_mut(&mut current).extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
            Ok(Value::Map(current))
        }
        _ => Err(invalid("`update` merges maps: both what is there and `value` must be maps")),
    }
}

fn incremented(current: Option<Value>, with: &Value) -> Result<Value, Error> {
    let by = with.get("by").filter(|by| !by.is_null()).cloned().unwrap_or(Value::Int(1));
    let overflow = || Error::new(Class::Expression, "overflow", "the number is too large to be incremented");
    match (current.unwrap_or(Value::Int(0)), by) {
        (Value::Null, by @ (Value::Int(_) | Value::Double(_))) => Ok(by),
        (Value::Int(a), Value::Int(b)) => a.checked_add(b).map(Value::Int).ok_or_else(overflow),
        (Value::Int(a), Value::Double(b)) => Ok(Value::Double(a as f64 + b)),
        (Value::Double(a), Value::Int(b)) => Ok(Value::Double(a + b as f64)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        _ => Err(invalid("`increment` adds numbers: both what is there and `by` must be numbers")),
    }
}

fn without(state: &Value, key: &str) -> Value {
    match state {
        Value::Map(map) => {
            let mut map = (**map).clone();
            map.remove(&Key::from(key));
            Value::Map(Arc::new(map))
        }
        other => other.clone(),
    }
}
