//! The body of an answer as a value.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header;
use schemars::JsonSchema;
use serde::Deserialize;
use windlass_definition::{Class, Error, Value};
use windlass_runtime::step::StepFailure;

use crate::egress::Response;

/// How the body of an answer is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResponseKind {
    /// By its content type: JSON, else text, else base64.
    #[default]
    Auto,
    /// JSON; anything else fails the step.
    Json,
    /// Text.
    Text,
    /// The bytes in base64.
    Base64,
}

/// Reads the body; an empty one is null, whatever was expected.
pub(super) fn read(kind: ResponseKind, response: &Response) -> Result<Value, StepFailure> {
    let bytes = response.body.as_slice();
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    match kind {
        ResponseKind::Base64 => Ok(Value::from(STANDARD.encode(bytes))),
        ResponseKind::Text => Ok(Value::from(text(bytes, &content_type(response)).unwrap_or_else(|| lossy(bytes)))),
        ResponseKind::Json => serde_json::from_slice(bytes).map_err(|err| {
            let message = format!("the answer is not JSON: {err}");
            let error = Error::new(Class::Http, "bad_json", message).with_detail("body", excerpt(response));
            StepFailure::maybe_sent(error)
        }),
        ResponseKind::Auto => Ok(guess(bytes, &content_type(response))),
    }
}

/// The first part of a body, for the details of an error.
pub(super) fn excerpt(response: &Response) -> String {
    const CHARS_MAX: usize = 2_048;
    let part = &response.body[..response.body.len().min(CHARS_MAX * 4)];
    lossy(part).chars().take(CHARS_MAX).collect()
}

fn content_type(response: &Response) -> String {
    let value = response.headers.get(header::CONTENT_TYPE).map(|it| String::from_utf8_lossy(it.as_bytes()));
    value.unwrap_or_default().to_ascii_lowercase()
}

fn guess(bytes: &[u8], content_type: &str) -> Value {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    if is_json && let Ok(value) = serde_json::from_slice(bytes) {
        return value;
    }
    text(bytes, content_type).map_or_else(|| Value::from(STANDARD.encode(bytes)), Value::from)
}

/// The body as text when its character set is known here and fits.
fn text(bytes: &[u8], content_type: &str) -> Option<String> {
    let charset = content_type.split(';').find_map(|it| it.trim().strip_prefix("charset="));
    match charset.map(|it| it.trim_matches('"')) {
        // Latin-1 is the first 256 code points.
        Some("iso-8859-1" | "latin1") => Some(bytes.iter().copied().map(char::from).collect()),
        None | Some("utf-8" | "utf8" | "us-ascii") => String::from_utf8(bytes.to_vec()).ok(),
        Some(_) => None,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
