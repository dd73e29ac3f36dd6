//! What expressions see of a run.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_definition::{Class, Error, Expression, Plan, Timestamp, Value, expression::Scope, plan::Condition};

use super::{Machine, frames::around};
use crate::{
    frame::{At, Control, FrameId, Owner, Phase, Role, Slot},
    run::Run,
    start::Mode,
};

/// The view from a step, a block or the run as a whole.
pub(super) struct RunScope<'a> {
    run: &'a Run,
    plan: &'a Plan,
    frame: Option<FrameId>,
    at: Option<At>,
    now: Timestamp,
    extra: Vec<(&'static str, Value)>,
}

impl RunScope<'_> {
    /// The same view, with one more name.
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.extra.push((name, value));
        self
    }

    fn frames(&self) -> impl Iterator<Item = FrameId> + '_ {
        self.frame.into_iter().flat_map(|frame| around(self.run, frame))
    }

    fn loops(&self) -> Value {
        let loops = self.frames().filter_map(|id| {
            let frame = self.run.frame(id);
            let Owner::Step(owner) = frame.owner else { return None };
            let id = &self.plan.step(self.run.step_index(self.plan, owner)).id;
            let bound = match &frame.role {
                Role::Item { index, item } => [("index", Value::from(*index)), ("item", item.clone())],
                Role::Round { index, last } => [("index", Value::from(*index)), ("last", last.clone())],
                _ => return None,
            };
            Some((id, Value::map(bound)))
        });
        Value::map(loops)
    }

    fn of_loop(&self, name: &str) -> Option<Value> {
        self.frames().find_map(|id| match (&self.run.frame(id).role, name) {
            (Role::Item { index, .. } | Role::Round { index, .. }, "index") => Some(Value::from(*index)),
            (Role::Item { item, .. }, "item") => Some(item.clone()),
            (Role::Round { last, .. }, "last") => Some(last.clone()),
            _ => None,
        })
    }

    fn caught(&self, name: &str) -> Option<Value> {
        self.frames().find_map(|id| match &self.run.frame(id).role {
            Role::Catch { error, name: given } if name == "e" || given.as_deref() == Some(name) => {
                Some(error.to_value())
            }
            _ => None,
        })
    }

    fn of_run(&self) -> Value {
        let info = &self.run.info;
        let started_at = self.run.started_at.and_then(Timestamp::to_datetime);
        Value::map([
            ("id", Value::from(info.run.to_string())),
            ("trace_id", Value::from(info.trace_id().to_string())),
            ("workflow", Value::String(info.workflow.clone())),
            ("version", Value::from(i64::from(info.version))),
            ("started_at", started_at.map_or(Value::Null, Value::Timestamp)),
            ("attempt", Value::Int(1)),
            (
                "mode",
                Value::from(match info.mode {
                    Mode::Production => "production",
                    Mode::Test => "test",
                }),
            ),
        ])
    }

    fn of_step(&self) -> Option<Value> {
        let at = self.at?;
        let step = self.plan.step(self.run.step_index(self.plan, at));
        let prefix = &self.run.frame(at.frame).prefix;
        let key = step_key(self.run, &format!("{prefix}{}", step.id));
        Some(Value::map([("id", Value::String(step.id.clone())), ("key", Value::from(key))]))
    }

    fn slot(&self, id: &str) -> Option<&Slot> {
        let index = *self.plan.by_id.get(id)?;
        let step = self.plan.step(index);
        let here = |frame: FrameId| {
            let frame = self.run.frames.get(&frame).filter(|frame| frame.block == step.block)?;
            frame.slots.get(step.position as usize)
        };
        if self.frame.is_none() {
            return self.run.whole.frames().find_map(here);
        }
        self.frames().find_map(|frame| here(frame).or_else(|| self.earlier_parts(frame).into_iter().find_map(here)))
    }

    /// The frames that a `catch` or `finally` sees: those of the parts before it.
    fn earlier_parts(&self, frame: FrameId) -> Vec<FrameId> {
        match (&self.run.frame(frame).role, self.run.frame(frame).owner) {
            (Role::Catch { .. } | Role::Finally, Owner::Run) => self.run.whole.frames().collect(),
            (Role::Catch { .. } | Role::Finally, Owner::Step(at)) => match &self.run.slot(at).phase {
                Phase::Control(Control::Try(state)) => state.frames().collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

impl Scope for RunScope<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        if let Some((_, value)) = self.extra.iter().rev().find(|(extra, _)| *extra == name) {
            return Some(value.clone());
        }
        match name {
            "input" => Some(self.run.info.input.clone()),
            "vars" => Some(self.plan.vars.clone()),
            "run" => Some(self.of_run()),
            "step" => self.of_step(),
            "state" => Some(self.run.state.clone()),
            "loops" => Some(self.loops()),
            "item" | "index" | "last" => self.of_loop(name),
            _ => self.caught(name),
        }
    }

    fn step(&self, id: &str) -> Option<Value> {
        self.slot(id).map(slot_value)
    }

    fn step_field(&self, id: &str, field: &str) -> Option<Value> {
        let slot = self.slot(id)?;
        match field {
            "output" => Some(slot.output.clone()),
            "status" => Some(Value::from(slot.status().as_str())),
            "error" => Some(slot_error(slot)),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn uuid(&self, place: u32) -> Uuid {
        let path = self.at.map(|at| {
            let step = self.plan.step(self.run.step_index(self.plan, at));
            format!("{}{}", self.run.frame(at.frame).prefix, step.id)
        });
        derived_uuid(self.run, &path.unwrap_or_default(), place)
    }
}

/// `uuid()` at a path and a place: the same each time it is asked for.
pub(super) fn derived_uuid(run: &Run, path: &str, place: u32) -> Uuid {
    let digest = Sha256::digest(format!("{}/{path}/{place}/uuid", run.info.run).as_bytes());
    let bytes: [u8; 16] = digest[..16].try_into().expect("a digest is longer than sixteen bytes");
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The idempotency key of a path.
pub(super) fn step_key(run: &Run, path: &str) -> String {
    let key = format!("{}/{path}", run.info.run);
    if key.len() <= 200 {
        return key;
    }
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `steps.<id>` as expressions see it.
pub(super) fn slot_value(slot: &Slot) -> Value {
    Value::map([
        ("output", slot.output.clone()),
        ("status", Value::from(slot.status().as_str())),
        ("error", slot_error(slot)),
    ])
}

fn slot_error(slot: &Slot) -> Value {
    slot.error.as_ref().map_or(Value::Null, |error| error.to_value())
}

impl Machine<'_> {
    /// The view from a step.
    pub(super) fn scope(&self, at: At) -> RunScope<'_> {
        let now = self.run.slot(at).ready_at;
        RunScope { run: self.run, plan: self.plan, frame: Some(at.frame), at: Some(at), now, extra: Vec::new() }
    }

    /// The view from within a block, with all its steps.
    pub(super) fn scope_of_frame(&self, frame: FrameId) -> RunScope<'_> {
        RunScope { run: self.run, plan: self.plan, frame: Some(frame), at: None, now: self.now, extra: Vec::new() }
    }

    /// The view from the run's own `output`: the steps of its body, `catch` and `finally`.
    pub(super) fn scope_of_run(&self) -> RunScope<'_> {
        RunScope { run: self.run, plan: self.plan, frame: None, at: None, now: self.now, extra: Vec::new() }
    }
}

/// Whether a condition holds.
pub(super) fn holds(condition: &Condition, scope: &dyn Scope) -> Result<bool, Error> {
    match condition {
        Condition::Literal(value) => Ok(*value),
        Condition::Expression(expression) => truth(expression, scope),
    }
}

/// The value of an expression that must give a bool: there is no truthiness.
pub(super) fn truth(expression: &Expression, scope: &dyn Scope) -> Result<bool, Error> {
    match expression.evaluate(scope)? {
        Value::Bool(value) => Ok(value),
        other => {
            let message = format!("`{}` must give true or false, not {}", expression.source(), other.type_name());
            Err(Error::new(Class::Expression, "not_a_bool", message))
        }
    }
}

/// The view from an undo: what its step saw when it completed, its output, and why it is taken back.
pub(super) struct UndoScope<'a> {
    pub run: &'a Run,
    pub plan: &'a Plan,
    pub seen: &'a Value,
    pub step: &'a str,
    pub path: Arc<str>,
    pub now: Timestamp,
}

impl Scope for UndoScope<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "e" => Some(self.run.undo.error.clone()),
            "input" => Some(self.run.info.input.clone()),
            "vars" => Some(self.plan.vars.clone()),
            "step" => {
                let key = Value::from(step_key(self.run, &self.path));
                Some(Value::map([("id", Value::from(self.step)), ("key", key)]))
            }
            _ => self.seen.get("roots")?.get(name).cloned(),
        }
    }

    fn step(&self, id: &str) -> Option<Value> {
        self.seen.get("steps")?.get(id).cloned()
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn uuid(&self, place: u32) -> Uuid {
        derived_uuid(self.run, &self.path, place)
    }
}

/// Whether two values are equal to the language: numbers by what they count, whatever their kind.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(whole), Value::Double(number)) | (Value::Double(number), Value::Int(whole)) => {
            *number == *whole as f64
        }
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| equal(left, right))
        }
        (Value::Map(left), Value::Map(right)) => {
            let mut pairs = left.iter().zip(right.iter());
            left.len() == right.len() && pairs.all(|(left, right)| left.0 == right.0 && equal(left.1, right.1))
        }
        _ => left == right,
    }
}
