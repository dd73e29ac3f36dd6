//! Each type tried as far as it can be, and what people are told of it.
//!
//! Invariants: what is told is one short line, and nothing that the other side said is in it when a secret stands in that,
//! in whichever form; a trial leaves nothing behind at the other side.

use std::{fmt::Display, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;
use windlass_engine::id::TenantKey;
use windlass_runtime::{
    redact::Redactor,
    secrets::{Bound, CredentialTest, Verdict, fields_of},
    step::StepFailure,
};
use windlass_store::{KeptCredential, Store};

use super::{Ready, aws, basic, database, get, key_header, smtp, ssh, url};
use crate::egress::{Egress, Line, keep_bounds};

/// How long a trial may take.
pub(super) const TIME_MAX: Duration = Duration::from_secs(20);
/// How long the other side may take to say goodbye, once all is seen.
pub(super) const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);
/// Characters of what the other side said that people are told.
const QUOTE_CHARS_MAX: usize = 200;

/// A credential that is tried.
pub(super) struct Tried {
    fields: Map<String, Json>,
    secrets: Option<Redactor>,
    /// Where it may go.
    pub(super) bounds: Arc<[Bound]>,
}

impl Tried {
    pub(super) fn of(credential: &KeptCredential) -> Tried {
        let secret: Map<String, Json> = serde_json::from_str(&credential.secret_fields).unwrap_or_default();
        let fields = fields_of(credential);
        let user = fields.get("username").and_then(Json::as_str).unwrap_or_default();
        // A secret is looked for within longer texts in base64 unless it is short: this is what is sent with short ones.
        let sent = |text: &str| [text.to_owned(), format!("{user}:{text}"), format!("\0{user}\0{text}")];
        let texts = secret.values().filter_map(Json::as_str);
        let all: Vec<String> = texts
            .flat_map(|text| sent(text).map(|it| STANDARD.encode(it)).into_iter().chain([text.to_owned()]))
            .collect();
        let secrets = Redactor::of(all.iter().map(String::as_str));
        Tried { fields, secrets, bounds: super::bounds_of(credential) }
    }

    /// A field, if it is there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Json::as_str)
    }

    /// A field that every credential of the type has.
    pub(super) fn needed(&self, name: &str) -> Result<&str, String> {
        self.text(name).ok_or_else(|| format!("it has no `{name}`"))
    }

    /// Its port, or the usual one.
    pub(super) fn port_or(&self, usual: u16) -> u16 {
        self.fields.get("port").and_then(Json::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(usual)
    }

    /// Opens a connection to where it may go.
    pub(super) async fn dial(&self, egress: &Egress, (host, port): (&str, u16)) -> Result<Line, String> {
        keep_bounds(&self.bounds, host, port).map_err(|error| error.to_string())?;
        egress.dial(host, port).await.map_err(|error| error.to_string())
    }

    /// What the other side said, as one line; a word about it where it repeats a secret.
    pub(super) fn quote(&self, said: impl Display) -> String {
        let said = said.to_string();
        if self.secrets.as_ref().is_some_and(|secrets| secrets.text(&said).is_some()) {
            return "an answer that repeats a secret and is not shown".to_owned();
        }
        let line: Vec<&str> = said.split(|it: char| it.is_whitespace() || it.is_control()).collect();
        let line = line.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        line.chars().take(QUOTE_CHARS_MAX).collect()
    }
}

/// Tries a credential. How long it takes is for the caller to bound.
pub(super) async fn run(
    ready: &Ready,
    store: &Store,
    (tenant, credential): (TenantKey, &KeptCredential),
) -> CredentialTest {
    let tried = Tried::of(credential);
    let egress = match ready.egress.of(store, tenant).await {
        Ok(egress) => egress,
        Err(error) => return fails(error.to_string()),
    };
    match credential.credential_type.as_str() {
        "bearer" => {
            let header = format!("Bearer {}", tried.text("token").unwrap_or_default());
            ask(&egress, &tried, (AUTHORIZATION, header)).await
        }
        "basic_auth" => ask(&egress, &tried, (AUTHORIZATION, basic(&|name: &str| tried.text(name)))).await,
        "api_key" => match key_header(&tried.fields) {
            Ok(header) => ask(&egress, &tried, header).await,
            Err(why) => fails(why),
        },
        "oauth2" => match ready.fetch(&egress, (store, tenant), credential, &CancellationToken::new()).await {
            Ok(_) => works("the token server gave an access token"),
            Err(error) => fails(error.message.to_string()),
        },
        "smtp" => seen(smtp::try_out(&egress, &tried).await),
        "database" => database::try_out(&egress, &tried).await,
        "aws" => seen(aws::try_out(&egress, &tried, store.now()).await),
        "ssh_key" => ssh::look_at(&tried).await,
        kind => unknown(format!("nothing was tried: this version tries no `{kind}`")),
    }
}

/// Asks the credential's address with a header.
async fn ask(egress: &Egress, tried: &Tried, (name, value): (HeaderName, String)) -> CredentialTest {
    let Some(test_url) = tried.text("test_url") else {
        return unknown("nothing was tried: give it a `test_url` that answers 2xx to a GET with it");
    };
    let Ok(url) = url(test_url) else { return fails("its `test_url` is no address") };
    let Ok(mut value) = HeaderValue::from_str(&value) else { return fails("it does not fit into a header") };
    value.set_sensitive(true);
    let mut request = get(url, &tried.bounds);
    request.headers.insert(name, value);
    match egress.send(request).await {
        Ok(response) if response.status.is_success() => {
            works(format!("{test_url} answered {}", response.status.as_u16()))
        }
        Ok(response) => fails(format!("{test_url} answered {}", response.status.as_u16())),
        Err(failure) => fails(StepFailure::from(failure).error.message.to_string()),
    }
}

/// What a trial saw, or why it failed.
fn seen(result: Result<String, String>) -> CredentialTest {
    match result {
        Ok(detail) => works(detail),
        Err(detail) => fails(detail),
    }
}

pub(super) fn works(detail: impl Into<String>) -> CredentialTest {
    CredentialTest { verdict: Verdict::Works, detail: detail.into() }
}

pub(super) fn fails(detail: impl Into<String>) -> CredentialTest {
    CredentialTest { verdict: Verdict::Fails, detail: detail.into() }
}

pub(super) fn unknown(detail: impl Into<String>) -> CredentialTest {
    CredentialTest { verdict: Verdict::Unknown, detail: detail.into() }
}
