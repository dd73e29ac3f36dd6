//! `emit`: an event for other runs, or a signed webhook for another system.
//!
//! Invariant: an event's source and id count once, and the id is the step's key unless the document gives one: however
//! often an attempt is repeated, there is one event.

mod webhook;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use windlass_definition::{
    Class, Error, Timestamp, Value,
    step_type::{Family, StepType},
};
use windlass_runtime::{
    EventRequest, PublishedEvent, RuntimeError,
    step::{Boxed, Step, StepContext, StepFailure, until_answered},
};

pub use webhook::{BadKey, SigningKeys};

use crate::{egress::Egress, schema};

const DOCUMENTATION: &str = "\
Emits a CloudEvent (1.0): runs that wait for one like it take it, and it is kept for those that begin to wait later.

`source` is `/workflows/<name>` and `id` the step's key when they are not given (its SHA-256 when it has more than 200 \
characters). An event of the same source and id counts once.

With `webhook`, the event is sent to that address instead, as Standard Webhooks has it: a POST of the event, which also \
has its `time` as `timestamp`, with `webhook-id` (the same on every retry), `webhook-timestamp` and `webhook-signature`, and \
with the run's trace as `http` sends it. \
An answer other than 2xx fails the step as it does for `http`; redirects are not followed. The server signs with its own \
key: `--webhook-signing-key-file FILE` or `WINDLASS_WEBHOOK_SIGNING_KEY`, `whsec_` and 24 to 64 bytes in base64; two keys \
with a space between them make two signatures, while one replaces the other. A server without a key sends nothing and \
fails the step with `denied/no_signing_key`.";

/// How long `type`, `source`, `id` and `subject` may be.
const NAME_CHARS_MAX: usize = 200;

/// The step type.
#[derive(Debug, Clone)]
pub struct Emit {
    egress: Egress,
    keys: SigningKeys,
}

impl Emit {
    /// The step type over that client, signing webhooks with those keys.
    pub fn new(egress: Egress, keys: SigningKeys) -> Emit {
        Emit { egress, keys }
    }
}

/// The `with` of `emit`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EmitWith {
    /// The type of the event, such as `com.shop.order.created`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 200))]
    event_type: String,
    /// What it is about.
    #[schemars(length(min = 1, max = 200))]
    subject: Option<String>,
    /// What happened, in full.
    #[serde(default)]
    data: serde_json::Value,
    /// Where it comes from.
    #[schemars(length(min = 1, max = 200))]
    source: Option<String>,
    /// Which event of that source it is.
    #[schemars(length(min = 1, max = 200))]
    id: Option<String>,
    /// When it happened, as RFC 3339; when the step became ready when absent.
    time: Option<String>,
    /// Send it to this address, signed, instead of keeping it for runs.
    webhook: Option<String>,
}

/// The output of `emit`.
#[derive(Debug, Serialize, JsonSchema)]
struct EmitOutput {
    /// The event's id.
    id: String,
    /// Where it comes from.
    source: String,
    /// How many runs took it at once; absent for a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<usize>,
    /// The status that the receiver of a webhook answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl Step for Emit {
    fn describe(&self) -> StepType {
        StepType {
            name: "emit",
            documentation: DOCUMENTATION,
            family: Family::Doing,
            with_schema: schema::input_schema::<EmitWith>(),
            output_schema: schema::output_schema::<EmitOutput>(),
            secret_fields: &[],
            program_fields: &[],
            credential_fields: &[],
            hidden: false,
        }
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            let with: EmitWith = schema::read_with("emit", &input)?;
            let webhook = with.webhook.as_deref().map(webhook::address).transpose()?;
            let request = request(context, with)?;
            let (id, source) = (request.id.clone(), request.source.clone());
            let (taken, status) = match webhook {
                None => (Some(publish(context, request).await?.taken), None),
                Some(url) => (None, Some(webhook::deliver(self, context, url, &request).await?)),
            };
            Ok(schema::to_output(&EmitOutput { id, source, taken, status }))
        })
    }
}

/// The key of a step, in a form that fits an event's id.
fn id_of(key: &str) -> String {
    if key.chars().count() <= NAME_CHARS_MAX { key.to_owned() } else { webhook::digest(key) }
}

fn request(context: &StepContext, with: EmitWith) -> Result<EventRequest, StepFailure> {
    let id = with.id.unwrap_or_else(|| id_of(&context.key));
    let source = with.source.unwrap_or_else(|| format!("/workflows/{}", context.workflow));
    let named = [
        ("type", Some(&with.event_type)),
        ("source", Some(&source)),
        ("id", Some(&id)),
        ("subject", with.subject.as_ref()),
    ];
    for (name, value) in named {
        if value.is_some_and(|it| it.is_empty() || it.chars().count() > NAME_CHARS_MAX) {
            return Err(schema::invalid("bad_event", &format!("`{name}` must have 1 to {NAME_CHARS_MAX} characters")));
        }
    }
    let time = match &with.time {
        None => context.now,
        Some(text) => {
            let bad = || schema::invalid("bad_event", &format!("`time` is `{text}`, which is no RFC 3339 time"));
            Timestamp::parse(text).ok_or_else(bad)?
        }
    };
    let mut event = Value::map([
        ("specversion", Value::from("1.0")),
        ("id", Value::from(id.as_str())),
        ("source", Value::from(source.as_str())),
        ("type", Value::from(with.event_type.as_str())),
        ("time", Value::from(time.to_string())),
        ("datacontenttype", Value::from("application/json")),
        ("data", Value::from(with.data)),
    ]);
    if let Some(subject) = &with.subject {
        event = event.with_entry("subject", Value::from(subject.as_str()));
    }
    Ok(EventRequest { tenant: context.tenant, source, id, event_type: with.event_type, subject: with.subject, event })
}

/// Hands an event in. One that may have been taken in is handed in again: under its source and id it counts once.
async fn publish(context: &StepContext, request: EventRequest) -> Result<PublishedEvent, StepFailure> {
    let is_away = |error: &RuntimeError| matches!(error, RuntimeError::Unavailable { .. });
    until_answered(&context.stop, || context.events.publish(request.clone()), is_away).await.map_err(failed)
}

/// An event that was not taken in. Whether it is kept is open, and handing it in again is safe.
fn failed(error: RuntimeError) -> StepFailure {
    match error {
        RuntimeError::Limit { code, detail } => StepFailure::nothing_sent(Error::new(Class::Limit, code, detail)),
        other => StepFailure::maybe_sent(Error::new(Class::Connect, "events", other.to_string()).retryable()),
    }
}
