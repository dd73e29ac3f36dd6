//! Outgoing webhooks as Standard Webhooks has them: signed over id, time and body.
//!
//! Invariants: nothing is sent unsigned; the keys are never shown, not even by `Debug`; an event has one id, however
//! often it is sent.

use std::{fmt, fmt::Write as _, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use ring::{digest::SHA256, hmac};
use windlass_definition::{Class, Error, Value};
use windlass_runtime::{
    EventRequest,
    step::{StepContext, StepFailure},
};

use super::Emit;
use crate::{
    egress::{Redirects, Request},
    http::{exchange, status::Expected, trace},
    schema::invalid,
};

const KEY_PREFIX: &str = "whsec_";
/// Bytes of a key, as Standard Webhooks bounds them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// One, and the one that replaces it.
const KEYS_MAX: usize = 2;
/// The answer is only looked at when it says no.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The keys that webhooks are signed with; none when the server has none.
#[derive(Clone, Default)]
pub struct SigningKeys(Arc<[hmac::Key]>);

/// What is wrong with a text of keys. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No key, or too many.
    #[error("has {0} keys: give one, or two with a space between them while one replaces the other")]
    Count(usize),
    /// It does not look like one.
    #[error("key {0} does not begin with `whsec_`, or is not base64 after that")]
    Form(usize),
    /// Too short to be safe, or too long.
    #[error("key {place} has {bytes} bytes: it must have 24 to 64")]
    Length {
        /// Which, from 1.
        place: usize,
        /// How many bytes it has.
        bytes: usize,
    },
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.0.len())
    }
}

impl SigningKeys {
    /// Reads one key or two: `whsec_` and base64, with white space between them.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn parse(text: &str) -> Result<SigningKeys, BadKey> {
        let texts: Vec<&str> = text.split_whitespace().collect();
        if texts.is_empty() || texts.len() > KEYS_MAX {
            return Err(BadKey::Count(texts.len()));
        }
        let key = |(place, text): (usize, &str)| {
            let place = place + 1;
            let encoded = text.strip_prefix(KEY_PREFIX).ok_or(BadKey::Form(place))?;
            let key = STANDARD.decode(encoded).map_err(|_| BadKey::Form(place))?;
            if !KEY_BYTES.contains(&key.len()) {
                return Err(BadKey::Length { place, bytes: key.len() });
            }
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
        };
        texts.into_iter().enumerate().map(key).collect::<Result<Vec<_>, _>>().map(|keys| SigningKeys(keys.into()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `webhook-signature`: one signature for each key.
    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let signature = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp_s}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a text never fails.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Where a webhook goes.
pub(super) fn address(text: &str) -> Result<Url, StepFailure> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| invalid("bad_url", "`webhook` must begin with http:// or https:// and name a host"))
}

/// Sends an event, and gives the status that it was answered with.
pub(super) async fn deliver(
    emit: &Emit,
    context: &StepContext,
    url: Url,
    event: &EventRequest,
) -> Result<u16, StepFailure> {
    if emit.keys.is_empty() {
        return Err(StepFailure::nothing_sent(Error::new(
            Class::Denied,
            "no_signing_key",
            "this server has no key to sign webhooks with: start it with --webhook-signing-key-file FILE, or set \
             WINDLASS_WEBHOOK_SIGNING_KEY",
        )));
    }
    // A full stop would end the id where the signature is checked, so what comes from a path is hashed.
    let id = format!("msg_{}", &digest(&format!("{}\n{}", event.source, event.id))[..32]);
    let timestamp_s = context.store.now().micros() / 1_000_000;
    let time = event.event.get("time").cloned().unwrap_or(Value::Null);
    let body = event.event.clone().with_entry("timestamp", time).to_serde().to_string().into_bytes();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-signature", emit.keys.sign(&id, timestamp_s, &body)),
        ("webhook-timestamp", timestamp_s.to_string()),
        ("webhook-id", id),
    ] {
        let value = HeaderValue::try_from(value)
            .map_err(|_| invalid("bad_header", &format!("`{name}` cannot be written as a header")))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    trace::join(&mut headers, context);
    let request = Request {
        method: Method::POST,
        url,
        headers,
        body: Some(body),
        redirects: Redirects::Return,
        bounds: Arc::default(),
        response_bytes_max: ANSWER_BYTES_MAX,
    };
    let response = exchange(&emit.egress, context, request, &Expected::success()).await?;
    Ok(response.status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The test vector that comes with the Standard Webhooks specification.
    #[test]
    fn the_published_vector_is_signed_as_published() {
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(SigningKeys::parse(KEY).unwrap().sign(id, at, body), signature);
        let another = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = SigningKeys::parse(&format!("{another} {KEY}\n")).unwrap();
        let signed = both.sign(id, at, body);
        assert_eq!(signed.split(' ').count(), 2);
        assert!(signed.starts_with("v1,") && signed.ends_with(&format!(" {signature}")), "{signed}");
        assert_eq!(format!("{both:?}"), "SigningKeys(2)");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        for (text, wrong) in [
            (String::new(), BadKey::Count(0)),
            (format!("{KEY} {KEY} {KEY}"), BadKey::Count(3)),
            (KEY.replace("whsec_", ""), BadKey::Form(1)),
            (format!("{KEY} whsec_!"), BadKey::Form(2)),
            (short, BadKey::Length { place: 1, bytes: 23 }),
            (format!("whsec_{}", STANDARD.encode([7; 65])), BadKey::Length { place: 1, bytes: 65 }),
        ] {
            let error = SigningKeys::parse(&text).unwrap_err();
            assert_eq!(error, wrong);
            assert!(!error.to_string().contains("MfKQ"));
        }
    }
}
