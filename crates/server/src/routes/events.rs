//! CloudEvents in, structured and binary.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use utoipa::ToSchema;
use windlass_definition::{Timestamp, Value};
use windlass_runtime::EventRequest;

use crate::{
    app::App,
    auth::{Authorized, EventsPublish},
    extract::{self, BODY_BYTES_MAX},
    json::{self, Json},
    openapi::schema,
    problem::{FieldError, Problem},
    reply::{self, Reply},
};

const STRUCTURED: &str = "application/cloudevents+json";
/// Characters of an attribute.
const ATTRIBUTE_CHARS_MAX: usize = 1_000;

/// An event that was taken in.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventReceipt {
    /// Its source.
    pub source: String,
    /// Its id: with `source`, it counts once.
    pub id: String,
    /// Whether it was here before.
    pub duplicate: bool,
    /// How many runs took it now.
    pub taken: usize,
}

/// Publish a CloudEvent (1.0): structured as `application/cloudevents+json`, or binary with `ce-` headers.
#[utoipa::path(post, path = "/events", tag = "events",
    request_body(content((schema::Json = "application/cloudevents+json"), (schema::Json = "application/json"))),
    responses((status = 202, body = EventReceipt)))]
pub async fn publish_event(caller: Authorized<EventsPublish>, State(app): State<App>, request: Request) -> Reply {
    let media_type = extract::media_type(request.headers());
    let attributes = binary_attributes(request.headers())?;
    let bytes = extract::read_bounded(request, BODY_BYTES_MAX).await?;
    let event = match (media_type.as_deref(), attributes) {
        (Some(STRUCTURED), _) | (Some("application/json"), None) => json::read::<Json>(&bytes)?.0,
        (found, Some(attributes)) => with_data(attributes, found, &bytes)?,
        (found, None) => {
            let reads = "application/cloudevents+json, or any data with `ce-` headers";
            return Err(extract::unsupported_media_type(found.unwrap_or("without a Content-Type"), reads));
        }
    };
    let request = check(caller.tenant(), event)?;
    let (source, id) = (request.source.clone(), request.id.clone());
    let published = app.runtime().publish_event(request).await?;
    let receipt = EventReceipt { source, id, duplicate: published.duplicate, taken: published.taken };
    reply::json(StatusCode::ACCEPTED, &receipt)
}

/// The attributes in `ce-` headers; `None` when there are none.
fn binary_attributes(headers: &HeaderMap) -> Result<Option<Value>, Problem> {
    let mut event = None;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let refused = || Problem::bad_request("invalid_event", format!("the header `ce-{name}` is not UTF-8 text"));
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| refused())?;
        let text = percent_decoded(text).ok_or_else(refused)?;
        event = Some(event.unwrap_or(Value::Null).with_entry(name, text.into()));
    }
    Ok(event)
}

/// What the HTTP binding encodes: `%` and two hexadecimal digits.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match digits.filter(|_| *first == b'%').and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn with_data(attributes: Value, media_type: Option<&str>, bytes: &[u8]) -> Result<Value, Problem> {
    use base64::Engine as _;
    if bytes.is_empty() {
        return Ok(attributes);
    }
    let attributes = match media_type {
        Some(media_type) => attributes.with_entry("datacontenttype", media_type.into()),
        None => attributes,
    };
    if media_type.is_none_or(extract::is_json) {
        return Ok(attributes.with_entry("data", json::read::<Json>(bytes)?.0));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(attributes.with_entry("data", text.into())),
        _ => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
            Ok(attributes.with_entry("data_base64", encoded.into()))
        }
    }
}

/// What CloudEvents 1.0 demands of every event, all faults at once.
fn check(tenant: windlass_engine::id::TenantKey, event: Value) -> Result<EventRequest, Problem> {
    let mut errors = Vec::new();
    let mut fault = |name: &str, message: String| {
        errors.push(FieldError { pointer: format!("/{name}"), message, ..FieldError::default() });
    };
    let mut attribute = |name: &str, needed: bool| -> Option<String> {
        match event.get(name) {
            Some(Value::String(text)) if !text.is_empty() && text.chars().count() <= ATTRIBUTE_CHARS_MAX => {
                Some(text.to_string())
            }
            None | Some(Value::Null) if !needed => None,
            None | Some(Value::Null) => {
                fault(name, format!("`{name}` is needed"));
                None
            }
            Some(_) => {
                fault(name, format!("`{name}` must be text of 1 to {ATTRIBUTE_CHARS_MAX} characters"));
                None
            }
        }
    };
    let version = attribute("specversion", true);
    let (source, id) = (attribute("source", true), attribute("id", true));
    let (event_type, subject) = (attribute("type", true), attribute("subject", false));
    let time = attribute("time", false);
    if version.is_some_and(|it| it != "1.0") {
        fault("specversion", "only version 1.0 is read".into());
    }
    if time.is_some_and(|it| Timestamp::parse(&it).is_none()) {
        fault("time", "`time` must be an RFC 3339 time".into());
    }
    match (source, id, event_type) {
        (Some(source), Some(id), Some(event_type)) if errors.is_empty() => {
            Ok(EventRequest { tenant, source, id, event_type, subject, event })
        }
        _ => Err(Problem::invalid("invalid_event", "this is no CloudEvent").with_errors(errors)),
    }
}

#[cfg(test)]
mod tests {
    use windlass_engine::id::TenantKey;

    use super::*;

    #[test]
    fn events_are_checked_whole() {
        for (event, faults) in [
            (r#"{"specversion":"1.0","source":"/a","id":"1","type":"t"}"#, 0),
            (r#"{"specversion":"1.0","source":"/a","id":"1","type":"t","subject":7}"#, 1),
            (r#"{"specversion":"0.3","source":"","id":1}"#, 4),
            ("[]", 4),
        ] {
            let Json(value) = json::read(event.as_bytes()).unwrap();
            let found = check(TenantKey::DEFAULT, value).err().map_or(0, |problem| problem.errors().len());
            assert_eq!(found, faults, "{event}");
        }
    }

    #[test]
    fn headers_are_percent_decoded() {
        assert_eq!(percent_decoded("a%20b%c3%a4%").as_deref(), Some("a bä%"));
        assert_eq!(percent_decoded("%ff"), None);
        assert_eq!(percent_decoded("%00"), None);
    }
}
