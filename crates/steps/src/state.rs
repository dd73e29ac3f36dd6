//! `state` in the scopes `workflow` and `tenant`: values that runs share. A run's own state is the engine's.
//!
//! Invariant: an operation is atomic, and happens once for a step's key however often its attempt is repeated: the
//! store sees to both. What the operations mean is the engine's, so that every scope means the same.

use std::time::Duration;

use windlass_definition::{
    Class, Error, Value,
    step_type::StepType,
    step_types::{self, State, StateOperation, StateScope},
};
use windlass_runtime::step::{Boxed, Step, StepContext, StepFailure, until_answered};
use windlass_store::{Expiry, StateAddress, StateChange, StateChanger, StateOutcome, StateWrite, StoreError};

/// The step type.
#[derive(Debug, Clone, Copy, Default)]
pub struct SharedState;

impl Step for SharedState {
    fn describe(&self) -> StepType {
        step_types::state_step_type()
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            let with: State = step_types::read_with(&input).map_err(StepFailure::nothing_sent)?;
            let address = address(context, &with, &input)?;
            // Under its key it happens once.
            let ask = || ask(context, &address, (&with, &input));
            let asked = until_answered(&context.stop, ask, StoreError::is_away).await;
            asked.map_err(|err| unavailable(&err))?.map_err(StepFailure::nothing_sent)
        })
    }
}

/// Reads or changes the value; what the operation refuses is in the inner result.
async fn ask(
    context: &StepContext,
    address: &StateAddress,
    (with, input): (&State, &Value),
) -> Result<Result<Value, Error>, StoreError> {
    if with.op == StateOperation::Get {
        let current = context.store.state_value(address).await?;
        return Ok(decide(current, with, input).map(|it| it.output));
    }
    let by = StateChanger::Step { run: context.run, key: context.key.to_string() };
    let change = StateChange { address: address.clone(), by };
    let (with, input) = (with.clone(), input.clone());
    context.store.change_state(change, move |current| decide(current, &with, &input)).await
}

fn address(context: &StepContext, with: &State, input: &Value) -> Result<StateAddress, StepFailure> {
    let workflow = match with.scope {
        StateScope::Workflow => Some(context.workflow.to_string()),
        StateScope::Tenant => None,
        StateScope::Run => {
            let message = "the run's own state is changed within the run";
            return Err(StepFailure::nothing_sent(Error::new(Class::Validation, "bad_scope", message)));
        }
    };
    let key = input.get("key").map(Value::to_text).unwrap_or_default();
    if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
        let message = format!("`key` must have 1 to {KEY_CHARS_MAX} characters");
        return Err(StepFailure::nothing_sent(Error::new(Class::Validation, "bad_key", message)));
    }
    let namespace = with.namespace.clone().unwrap_or_default();
    Ok(StateAddress { tenant: context.tenant, workflow, namespace, key })
}

/// How long a key may be.
pub const KEY_CHARS_MAX: usize = 200;

/// What becomes of a value. The engine's operations work on maps of values, so this is one of a single entry.
///
/// # Errors
/// The operation does not fit what is there.
pub fn decide(current: Option<Value>, with: &State, input: &Value) -> Result<StateOutcome, Error> {
    let key = input.get("key").map(Value::to_text).unwrap_or_default();
    let state = Value::map(current.map(|value| (key.as_str(), value)));
    // How long a value is kept is no part of the operation.
    let operation = input.clone().with_entry("key", Value::from(key.as_str())).with_entry("ttl", Value::Null);
    let (after, output) = windlass_engine::apply_state(&state, &operation)?;
    let ttl: Option<Duration> = with.ttl.map(Duration::from);
    let kept = |otherwise| ttl.map_or(otherwise, Expiry::After);
    let value = after.get(&key).cloned().unwrap_or_default();
    let write = match with.op {
        StateOperation::Get => StateWrite::Keep,
        StateOperation::Delete => StateWrite::Remove,
        StateOperation::Set => StateWrite::Put(value, kept(Expiry::Never)),
        StateOperation::Update | StateOperation::Increment => StateWrite::Put(value, kept(Expiry::AsBefore)),
        StateOperation::CompareAndSet if output.get("swapped").and_then(Value::as_bool) == Some(true) => {
            StateWrite::Put(value, kept(Expiry::Never))
        }
        StateOperation::CompareAndSet => StateWrite::Keep,
    };
    Ok(StateOutcome { write, output })
}

/// A store that could not do it. Whether it did is open, and asking again under the same key is safe.
fn unavailable(err: &StoreError) -> StepFailure {
    match err {
        StoreError::Invalid(message) => {
            StepFailure::nothing_sent(Error::new(Class::Limit, "state_value_too_large", message))
        }
        other => StepFailure::maybe_sent(Error::new(Class::Connect, "store", other.to_string()).retryable()),
    }
}
