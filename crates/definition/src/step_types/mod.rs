//! The step types that the engine itself runs, one file per type.
//!
//! Each file says what the type means, and has the struct that its evaluated `with` becomes; the schema that documents
//! are checked against is made from that struct, so the two cannot differ.

mod approval;
mod control;
mod delay;
mod event;
mod fail;
mod log;
mod respond;
mod restart;
mod shape;
mod state;
mod task;
mod transform;
mod wait;
mod workflow;

pub use approval::{Approval, OnRefusal, Quorum};
pub use delay::Delay;
pub use event::Event;
pub use fail::Fail;
pub use log::{Level, Log};
pub use respond::Respond;
pub use restart::Restart;
pub use shape::{Moment, Span, Text, schema_of};
pub use state::{State, StateOperation, StateScope, step_type as state_step_type};
pub use task::{PRIORITY_MAX, Task};
pub use transform::Transform;
pub use wait::Wait;
pub use workflow::Workflow;

use crate::{Class, Error, Value, step_type::StepType};

/// Every step type that the engine runs.
pub fn built_in() -> Vec<StepType> {
    let mut types = control::step_types();
    types.extend([
        approval::step_type(),
        delay::step_type(),
        event::step_type(),
        fail::step_type(),
        log::step_type(),
        respond::step_type(),
        restart::step_type(),
        state::step_type(),
        task::step_type(),
        transform::step_type(),
        wait::step_type(),
        workflow::step_type(),
    ]);
    types
}

/// Reads an evaluated `with` into the struct of its type.
///
/// # Errors
/// `validation/invalid_with`, naming what does not fit.
pub fn read_with<T: serde::de::DeserializeOwned>(with: &Value) -> Result<T, Error> {
    serde_json::from_value(with.to_serde()).map_err(|error| {
        Error::new(Class::Validation, "invalid_with", format!("`with` does not fit the step type: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn names_are_distinct_and_every_type_is_documented() {
        let types = built_in();
        let mut names: Vec<_> = types.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), types.len());
        for it in &types {
            assert!(it.documentation.lines().next().is_some_and(|line| line.ends_with('.')), "{}", it.name);
            assert_eq!(it.with_schema.get("type").and_then(Value::as_str), Some("object"), "{}", it.name);
        }
    }

    #[test]
    fn evaluated_values_are_read() {
        let delay: Delay = read_with(&value(r#"{"for":"5400s"}"#)).unwrap();
        assert_eq!(delay.r#for.map(Duration::from), Some(Duration::from_secs(5400)));
        let task: Task = read_with(&value(r#"{"queue":"q"}"#)).unwrap();
        assert_eq!((Duration::from(task.lease), task.priority), (Duration::from_secs(60), 0));
        let log: Log = read_with(&value(r#"{"message":7}"#)).unwrap();
        assert_eq!(log.message.as_str(), "7");
        let workflow: Workflow = read_with(&value(r#"{"name":"a"}"#)).unwrap();
        assert!(workflow.wait);
        let error = read_with::<Delay>(&value(r#"{"for":"soon"}"#)).unwrap_err();
        assert_eq!(error.class, Class::Validation);
    }
}
