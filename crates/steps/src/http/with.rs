//! The `with` of `http`, and the request that it describes.

use std::collections::BTreeMap;

use reqwest::{
    Method, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use schemars::JsonSchema;
use serde::Deserialize;
use windlass_runtime::{secrets::ReadyCredential, step::StepFailure};

use super::{body::ResponseKind, credential::Named, is_safe, status::Expected};
use crate::{
    egress::{RESPONSE_BYTES_LIMIT, RESPONSE_BYTES_MAX, Redirects, Request},
    schema::invalid,
};

/// Headers that describe the connection or the framing of the message; only the client can set them right.
const CLIENT_HEADERS: [&str; 6] =
    ["connection", "content-length", "proxy-authorization", "te", "transfer-encoding", "upgrade"];

/// The `with` of `http`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpWith {
    /// The method; GET when absent.
    #[serde(default = "get")]
    #[schemars(regex(pattern = "^[A-Za-z]{1,20}$"))]
    method: String,
    /// Where to: an http or https URL.
    url: String,
    /// Headers by name; null leaves one out.
    #[serde(default)]
    headers: BTreeMap<String, Scalar>,
    /// Query parameters, added to those of the URL; a list repeats its parameter, null leaves it out.
    #[serde(default)]
    query: BTreeMap<String, Scalars>,
    /// The body as JSON. At most one of `json`, `text`, `form` and `body` stands.
    #[serde(default, deserialize_with = "present")]
    json: Option<serde_json::Value>,
    /// The body as plain text.
    text: Option<String>,
    /// The body as a form (`application/x-www-form-urlencoded`).
    form: Option<BTreeMap<String, Scalars>>,
    /// The body as bytes, in base64.
    body: Option<String>,
    /// The credential with which the request is made, by its name.
    #[schemars(length(min = 1, max = 100))]
    credential: Option<String>,
    /// The service of AWS that a credential of type `aws` signs for, such as `s3`, where the address does not say it.
    #[schemars(length(min = 1, max = 60))]
    aws_service: Option<String>,
    /// The statuses that count as success: numbers, `2xx`, or ranges such as `200-204`. 2xx and 3xx when absent.
    expect: Option<Vec<StatusPattern>>,
    /// Whether redirects are followed.
    #[serde(default = "yes")]
    follow_redirects: bool,
    /// How the body of the answer is read: `auto` goes by its content type.
    #[serde(default)]
    pub(super) response: ResponseKind,
    /// How large the answer may be; 16 MiB when absent.
    #[schemars(range(min = 1, max = 268_435_456))]
    max_bytes: Option<u64>,
}

/// One value that is written as text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Scalar {
    /// Left out.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// As JSON writes it.
    Number(serde_json::Number),
    /// As it is.
    Text(String),
}

/// One value, or several of one name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Scalars {
    /// One.
    One(Scalar),
    /// Several.
    Many(Vec<Scalar>),
}

/// A status, or a pattern of statuses.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum StatusPattern {
    /// One status.
    Number(u16),
    /// `2xx`, `404`, `200-204`.
    Text(String),
}

fn get() -> String {
    "GET".to_owned()
}

fn yes() -> bool {
    true
}

/// `json: null` is a body, not its absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

impl Scalar {
    fn text(&self) -> Option<String> {
        match self {
            Scalar::Null => None,
            Scalar::Bool(value) => Some(value.to_string()),
            Scalar::Number(value) => Some(value.to_string()),
            Scalar::Text(value) => Some(value.clone()),
        }
    }
}

impl Scalars {
    fn texts(&self) -> Vec<String> {
        match self {
            Scalars::One(one) => one.text().into_iter().collect(),
            Scalars::Many(many) => many.iter().filter_map(Scalar::text).collect(),
        }
    }
}

impl HttpWith {
    /// The statuses that count as success.
    pub(super) fn expected(&self) -> Result<Expected, StepFailure> {
        match &self.expect {
            None => Ok(Expected::default()),
            Some(patterns) => Expected::parse(patterns),
        }
    }

    /// The credential that it names.
    pub(super) fn credential<'a>(&'a self, ready: Option<&'a ReadyCredential>) -> Option<Named<'a>> {
        let name = self.credential.as_deref()?;
        Some(Named { name, aws_service: self.aws_service.as_deref(), ready })
    }

    /// The request that this describes; `key` becomes its `Idempotency-Key` when it may change something.
    pub(super) fn request(&self, key: &str) -> Result<Request, StepFailure> {
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| invalid("bad_method", &format!("`{}` is not an HTTP method", self.method)))?;
        let mut headers = self.header_map()?;
        let body = self.encode_body(&mut headers)?;
        if !is_safe(&method) && !headers.contains_key("idempotency-key") {
            let value = HeaderValue::from_str(key)
                .map_err(|_| invalid("bad_key", "the step's key cannot be written as a header"))?;
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        let bytes_max = self.max_bytes.map_or(RESPONSE_BYTES_MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
        if bytes_max > RESPONSE_BYTES_LIMIT {
            return Err(invalid("bad_max_bytes", &format!("`max_bytes` is at most {RESPONSE_BYTES_LIMIT}")));
        }
        Ok(Request {
            method,
            url: self.full_url()?,
            headers,
            body,
            redirects: if self.follow_redirects { Redirects::Follow } else { Redirects::Return },
            response_bytes_max: bytes_max,
            bounds: std::sync::Arc::default(),
        })
    }

    fn full_url(&self) -> Result<Url, StepFailure> {
        let mut url = Url::parse(&self.url).map_err(|err| invalid("bad_url", &format!("`url` is no URL: {err}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(invalid("bad_url", "`url` must begin with http:// or https:// and name a host"));
        }
        if !self.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, values) in &self.query {
                for value in values.texts() {
                    pairs.append_pair(name, &value);
                }
            }
        }
        Ok(url)
    }

    fn header_map(&self) -> Result<HeaderMap, StepFailure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let Some(value) = value.text() else { continue };
            let bad = |what: &str| invalid("bad_header", &format!("header `{name}`: {what}"));
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("not a header name"))?;
            if CLIENT_HEADERS.contains(&header.as_str()) {
                return Err(bad("is set by the client and cannot be given"));
            }
            let value =
                HeaderValue::from_str(&value).map_err(|_| bad("its value has a character that none may have"))?;
            headers.insert(header, value);
        }
        Ok(headers)
    }

    fn encode_body(&self, headers: &mut HeaderMap) -> Result<Option<Vec<u8>>, StepFailure> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let given = [self.json.is_some(), self.text.is_some(), self.form.is_some(), self.body.is_some()];
        if given.into_iter().filter(|it| *it).count() > 1 {
            return Err(invalid("two_bodies", "only one of `json`, `text`, `form` and `body` may stand"));
        }
        let (content_type, bytes) = if let Some(json) = &self.json {
            ("application/json", json.to_string().into_bytes())
        } else if let Some(text) = &self.text {
            ("text/plain; charset=utf-8", text.clone().into_bytes())
        } else if let Some(form) = &self.form {
            ("application/x-www-form-urlencoded", encode_form(form))
        } else if let Some(body) = &self.body {
            let bytes =
                STANDARD.decode(body).map_err(|err| invalid("bad_body", &format!("`body` is not base64: {err}")))?;
            ("application/octet-stream", bytes)
        } else {
            return Ok(None);
        };
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        Ok(Some(bytes))
    }
}

/// A form is written as a query is, so the URL's own writer does it.
fn encode_form(form: &BTreeMap<String, Scalars>) -> Vec<u8> {
    let Ok(mut url) = Url::parse("http://form/") else { return Vec::new() };
    for (name, values) in form {
        for value in values.texts() {
            url.query_pairs_mut().append_pair(name, &value);
        }
    }
    url.query().unwrap_or_default().as_bytes().to_vec()
}
