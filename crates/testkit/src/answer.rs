//! How attempts end: well, badly, or in ways that nobody can tell.

use serde_json::json;
use windlass_definition::{Class, Error, Value};
use windlass_engine::event::Failure;

use crate::random::Random;

/// How willing the world is to do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Anything may happen.
    Any,
    /// Everything goes well, or stops when asked to.
    Good,
}

/// The end of an attempt that was asked to stop or not.
///
/// # Errors
/// It failed.
pub fn result(random: &mut Random, counter: &mut i64, stopping: bool, mood: Mood) -> Result<Value, Failure> {
    let unknown = random.percent(20);
    let (good, stops) = (mood == Mood::Good || random.percent(65), random.percent(60));
    match (stopping, good) {
        (true, _) if mood == Mood::Good || stops => {
            Err(Failure { error: Error::new(Class::Cancelled, "cancelled", "stopped"), unknown })
        }
        (_, true) => Ok(output(random, counter)),
        (_, false) => Err(Failure { error: error(random), unknown }),
    }
}

/// An output; the number in it is given once.
pub fn output(random: &mut Random, counter: &mut i64) -> Value {
    *counter += 1;
    match random.below(4) {
        0 => Value::Null,
        1 => Value::from(*counter),
        _ => Value::from(json!({ "n": random.below(6), "number": *counter })),
    }
}

/// An error of one kind or another.
pub fn error(random: &mut Random) -> Error {
    let (class, code, retryable) = *random.pick(&[
        (Class::Http, "500", true),
        (Class::Http, "429", true),
        (Class::Http, "404", false),
        (Class::Timeout, "read", true),
        (Class::Connect, "refused", true),
        (Class::User, "broken", false),
        (Class::User, "broken", true),
        (Class::Validation, "bad_shape", true),
        (Class::Cancelled, "cancelled", true),
        (Class::Expression, "no_such_key", true),
    ]);
    let error = Error::new(class, code, "it went wrong");
    let error = if retryable { error.retryable() } else { error };
    if random.percent(10) { error.with_detail("retry_after_ms", Value::Int(7_000)) } else { error }
}
