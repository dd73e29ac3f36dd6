//! `event`: waits for a matching CloudEvent.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::schema_of;
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of an `event`, without `when`, which the plan keeps as an expression.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The type of the CloudEvent, to the letter.
    #[schemars(length(min = 1, max = 200))]
    pub r#type: String,
    /// Its subject, to the letter; any when absent.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub subject: Option<String>,
}

pub(super) fn step_type() -> StepType {
    let mut schema = schema_of::<Event>();
    if let Some(properties) = schema.get("properties").cloned() {
        let when = Value::map([
            ("description", Value::from("Which of these events: an expression over `event` that must give a bool.")),
            ("type", Value::list([Value::from("string"), Value::from("boolean")])),
        ]);
        schema = schema.with_entry("properties", properties.with_entry("when", when));
    }
    StepType {
        name: "event",
        documentation: "Waits for a matching CloudEvent; the output is the event.\n\n\
            Events match by `type` and `subject`, then by `when`. Those since the run started count, each once per run \
            and step.",
        family: Family::Waiting,
        with_schema: schema,
        output_schema: Value::map([("type", Value::from("object"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
