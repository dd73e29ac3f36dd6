//! From a Rust type to what the language knows of it, and from an evaluated `with` to the Rust type.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use windlass_definition::{Class, Error, Value};
use windlass_runtime::step::StepFailure;

/// JSON Schema 2020-12 of what can be read as `T`, without references.
pub(crate) fn input_schema<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// JSON Schema 2020-12 of what a `T` is written as, without references.
pub(crate) fn output_schema<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::draft2020_12().for_serialize())
}

/// The schema of an output that can be anything, with a word on what it is.
pub(crate) fn any_output(description: &str) -> Value {
    Value::map([("description", Value::from(description))])
}

fn generate<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let mut settings = settings.with(|it| it.inline_subschemas = true);
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    Value::from(schema.to_value())
}

/// Reads an evaluated `with`.
pub(crate) fn read_with<T: DeserializeOwned>(step_type: &str, input: &Value) -> Result<T, StepFailure> {
    serde_json::from_value(input.to_serde())
        .map_err(|err| invalid("bad_with", &format!("`with` of {step_type}: {err}")))
}

/// Writes an output.
pub(crate) fn to_output<T: Serialize>(output: &T) -> Value {
    serde_json::to_value(output).map_or(Value::Null, Value::from)
}

/// A failure of the `with` itself: nothing has happened yet, and trying again will not help.
pub(crate) fn invalid(code: &str, message: &str) -> StepFailure {
    StepFailure::nothing_sent(Error::new(Class::Validation, code, message))
}
