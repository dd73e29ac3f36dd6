//! `approval`: waits for people to decide.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{Span, Text, schema_of};
use crate::{
    Value,
    step_type::{Family, StepType},
};

/// The `with` of an `approval`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who may decide; whoever may decide approvals at all when empty.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub to: Vec<String>,
    /// What is asked, in one line.
    pub title: Text,
    /// What they have to know to decide.
    #[serde(default)]
    pub description: Option<Text>,
    /// JSON Schema of what they fill in.
    #[serde(default)]
    pub form: Option<Value>,
    /// How many must approve; without it the first decision decides.
    #[serde(default)]
    pub quorum: Option<Quorum>,
    /// How long they have.
    #[serde(default)]
    pub expires: Option<Span>,
    /// What a rejection means.
    #[serde(default)]
    pub on_reject: OnRefusal,
    /// What running out of time means.
    #[serde(default)]
    pub on_expire: OnRefusal,
}

/// `{of, need}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// How many are asked; all of `to` when absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub of: Option<u32>,
    /// How many must approve.
    #[schemars(range(min = 1))]
    pub need: u32,
}

/// What a rejection or an expiry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRefusal {
    /// The step fails.
    #[default]
    Fail,
    /// The step completes, and its output says how.
    Continue,
}

pub(super) fn step_type() -> StepType {
    StepType {
        name: "approval",
        documentation: "Waits for people to approve or reject.\n\n\
            Approved, the output is `{decision, by, at, form, comment, responses}`. Rejected fails with \
            `denied/approval_rejected`, expired with `timeout/approval_expired`, unless `on_reject` or `on_expire` is \
            `continue`. Whoever started the run cannot decide; when nobody is left to decide, the step fails with \
            `denied/no_approver` at once.",
        family: Family::Waiting,
        with_schema: schema_of::<Approval>(),
        output_schema: Value::map([("type", Value::from("object"))]),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
