//! `http`: one HTTP request through the [egress client](crate::egress).
//!
//! Invariant: whoever repeats an attempt sends the same `Idempotency-Key`, so that a service that honours it acts once.

mod body;
mod credential;
pub(crate) mod status;
pub(crate) mod trace;
mod with;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::{Method, Url, header::HeaderMap};
use schemars::JsonSchema;
use serde::Serialize;
use status::Expected;
use tokio::time::Instant;
use windlass_definition::{
    Class, Error, Value,
    step_type::{CredentialField, Family, StepType},
};
use windlass_runtime::step::{Boxed, Step, StepContext, StepFailure};
use with::HttpWith;

use crate::{
    egress::{Egress, EgressFailure, Request, Response},
    schema,
};

/// The field that names a credential, of a type that says something to a web server.
const CREDENTIAL: CredentialField =
    CredentialField { name: "credential", types: &["api_key", "basic_auth", "bearer", "oauth2", "aws"] };

/// How long a step that is asked to stop waits for the answer to a request that may already have changed something.
/// Knowing the outcome is worth a moment: it is the difference between an undo that runs and one that cannot.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

const DOCUMENTATION: &str = "\
Sends an HTTP request and waits for the answer.

A status that `expect` does not name fails the step with class `http` and the status as its code; 408, 425, 429, 500, \
502, 503 and 504 are worth a retry, and a `Retry-After` header is in `details.retry_after_ms`. Failing to connect is \
class `connect`. Requests other than GET, HEAD and OPTIONS carry `Idempotency-Key: <step.key>` unless `headers` gives \
one: the same key on every retry. Such a request, when its step is asked to stop, still has 5 seconds for its answer: \
what is known to have happened can be undone.

`credential` names a credential of the vault: `basic_auth`, `bearer` and `oauth2` give `Authorization`, `api_key` its \
header, and `aws` signs the request (SigV4), whose redirect is then the answer. No redirect takes it to another host. A \
request, or a redirect of it, to a host that the `hosts` of one of its secrets do not name is refused (`denied/secret_host`).

Every request carries the run's trace, as [W3C Trace Context](https://www.w3.org/TR/trace-context/) has it: `traceparent`, with a \
span of its own for each attempt, and the `tracestate` that the run was started with. A `traceparent` in `headers` takes \
the place of both, a `tracestate` its own.

Addresses that are not public are refused unless the setting `private_networks` lets the tenant.";

/// The step type.
#[derive(Debug, Clone)]
pub struct Http {
    egress: Egress,
}

/// The output of `http`.
#[derive(Debug, Serialize, JsonSchema)]
struct HttpOutput {
    /// The status, such as 200.
    status: u16,
    /// The headers by lower-case name; several of one name are joined with a comma, `set-cookie` with a line break.
    headers: BTreeMap<String, String>,
    /// The body, read as `response` says.
    body: serde_json::Value,
    /// Where the answer came from, after redirects.
    url: String,
    /// How long it took.
    duration_ms: u64,
}

impl Http {
    /// The step type over that client.
    pub fn new(egress: Egress) -> Http {
        Http { egress }
    }
}

impl Step for Http {
    fn describe(&self) -> StepType {
        StepType {
            name: "http",
            documentation: DOCUMENTATION,
            family: Family::Doing,
            with_schema: schema::input_schema::<HttpWith>(),
            output_schema: schema::output_schema::<HttpOutput>(),
            secret_fields: &[
                "/url",
                "/headers/*",
                "/query/*",
                "/form/*",
                "/text",
                "/body",
                "/json",
                "/json/*",
                "/json/*/*",
            ],
            program_fields: &[],
            credential_fields: &[CREDENTIAL],
            hidden: false,
        }
    }

    fn keeps_bounds(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            let with: HttpWith = schema::read_with("http", &input)?;
            let mut request = with.request(&context.key)?;
            request.bounds = Arc::clone(&context.bounds);
            trace::join(&mut request.headers, context);
            if let Some(credential) = with.credential(context.credential.as_ref()) {
                credential.put_into(&mut request, context.store.now())?;
            }
            let expected = with.expected()?;
            let started = Instant::now();
            let response = exchange(&self.egress, context, request, &expected).await?;
            let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let body = body::read(with.response, &response)?;
            let output = HttpOutput {
                status: response.status.as_u16(),
                headers: header_map(&response.headers),
                body: serde_json::Value::Null,
                url: public_url(&response.url),
                duration_ms,
            };
            Ok(schema::to_output(&output).with_entry("body", body))
        })
    }
}

/// Sends a request and gives its answer, if its status is an expected one.
pub(crate) async fn exchange(
    egress: &Egress,
    context: &StepContext,
    request: Request,
    expected: &Expected,
) -> Result<Response, StepFailure> {
    let asked = Asked { method: request.method.clone(), url: public_url(&request.url) };
    let egress = egress.of_attempt(&context.store, context.tenant, &context.stop).await?;
    let answer = egress.send(request);
    tokio::pin!(answer);
    let result: Result<Response, EgressFailure> = tokio::select! {
        result = &mut answer => result,
        () = context.stop.cancelled() => {
            let grace = if is_safe(&asked.method) { Duration::ZERO } else { ANSWER_GRACE };
            tokio::time::timeout(grace, answer).await.map_err(|_| stopped())?
        }
    };
    let response = result?;
    if expected.contains(response.status.as_u16()) {
        return Ok(response);
    }
    Err(StepFailure::maybe_sent(status::failure(&asked, &response)))
}

/// What was asked, for messages: without whatever in a URL may be secret.
struct Asked {
    method: Method,
    url: String,
}

fn stopped() -> StepFailure {
    let message = "the step was asked to stop before the answer came";
    StepFailure::maybe_sent(Error::new(Class::Cancelled, "stopped", message))
}

/// Whether a request changes nothing by its nature.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The URL without user, password, query and fragment, which may hold secrets.
fn public_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for URLs that cannot have a user at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

fn header_map(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let separator = if name == "set-cookie" { "\n" } else { ", " };
        map.entry(name.as_str().to_owned())
            .and_modify(|it| {
                it.push_str(separator);
                it.push_str(&text);
            })
            .or_insert_with(|| text.into_owned());
    }
    map
}
