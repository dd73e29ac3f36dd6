//! Credentials: access tokens fetched and renewed; what makes of them what a step sends is [`crate::http`], and how each type
//! is tried stands in a file of its own.
//!
//! Invariant: everything that leaves for the outside goes through the [egress client](crate::egress); no message has a
//! secret field in it.

pub(crate) mod aws;
mod database;
mod smtp;
mod ssh;
mod trial;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value as Json, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_definition::{Class, Error, Timestamp};
use windlass_engine::id::TenantKey;
use windlass_runtime::{
    secrets::{Bound, CredentialTest, Credentials, fields_of},
    step::{Boxed, StepFailure, until_answered},
};
use windlass_store::{By, KeptCredential, RecordError, Store, Target};

use crate::egress::{Egress, Redirects, Request};

/// Bytes of an answer that a test or a token server gives.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// An access token is fetched anew that long before it ends.
const MARGIN: Duration = Duration::from_secs(60);
/// How long one holds that does not say.
const LIFE_WHEN_UNSAID: Duration = Duration::from_secs(300);
/// Tokens that a process keeps.
const TOKENS_MAX: usize = 10_000;

/// Makes credentials ready, over the egress client.
pub struct Ready {
    egress: Egress,
    tokens: Mutex<HashMap<(TenantKey, Uuid), Token>>,
}

/// An access token, of a revision of its credential.
#[derive(Clone)]
struct Token {
    revision: i64,
    text: String,
    until: Timestamp,
}

impl Ready {
    /// Over that client.
    pub fn new(egress: Egress) -> Ready {
        Ready { egress, tokens: Mutex::default() }
    }

    async fn access_token(
        &self,
        (store, tenant): (&Store, TenantKey),
        credential: &KeptCredential,
        stop: &CancellationToken,
    ) -> Result<String, Error> {
        let key = (tenant, credential.id);
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match known.filter(|token| token.revision == credential.revision && token.until > store.now()) {
            Some(token) => Ok(token.text),
            None => {
                let egress = self.egress.of_attempt(store, tenant, stop).await;
                let egress = egress.map_err(|failure| StepFailure::from(failure).error)?;
                self.fetch(&egress, (store, tenant), credential, stop).await
            }
        }
    }

    /// Asks for a token, and keeps it; a new refresh token takes the place of the one that was used up.
    async fn fetch(
        &self,
        egress: &Egress,
        (store, tenant): (&Store, TenantKey),
        credential: &KeptCredential,
        stop: &CancellationToken,
    ) -> Result<String, Error> {
        let fields = fields_of(credential);
        let text = |name: &str| fields.get(name).and_then(Json::as_str);
        let grant = text("grant").unwrap_or("client_credentials");
        let mut form = vec![("grant_type", grant), ("client_id", text("client_id").unwrap_or_default())];
        form.extend(["client_secret", "scope"].into_iter().filter_map(|name| Some((name, text(name)?))));
        if grant == "refresh_token" {
            let refresh = text("refresh_token").ok_or_else(|| refused("it has no `refresh_token`"))?;
            form.push(("refresh_token", refresh));
        }
        let url = url(text("token_url").unwrap_or_default())?;
        let body =
            reqwest::Url::parse_with_params("http://form/", &form).map_err(|_| refused("its fields make no form"))?;
        let mut request = get(url, &bounds_of(credential));
        request.method = Method::POST;
        request.body = Some(body.query().unwrap_or_default().as_bytes().to_vec());
        request.headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.headers.insert("accept", HeaderValue::from_static("application/json"));
        let response = egress.send(request).await.map_err(|failure| StepFailure::from(failure).error)?;
        let answer: Json = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = answer["access_token"].as_str().filter(|_| response.status.is_success());
        let Some(token) = token.map(str::to_owned) else {
            let said = trial::Tried::of(credential).quote(answer["error"].as_str().unwrap_or("no access token"));
            let error = refused(&format!("its token server answered {}: {said}", response.status.as_u16()));
            return Err(if response.status.is_server_error() { error.retryable() } else { error });
        };
        let life = answer["expires_in"].as_u64().map_or(LIFE_WHEN_UNSAID, Duration::from_secs);
        let mut revision = credential.revision;
        if let Some(renewed) = answer["refresh_token"].as_str().filter(|it| text("refresh_token") != Some(*it)) {
            revision = keep_refresh_token((store, tenant), (credential, renewed), stop).await?;
        }
        let until = store.now().after(life.saturating_sub(MARGIN));
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert((tenant, credential.id), Token { revision, text: token.clone(), until });
        Ok(token)
    }
}

impl Credentials for Ready {
    fn ready<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
        stop: &'a CancellationToken,
    ) -> Boxed<'a, Result<Map<String, Json>, Error>> {
        Box::pin(async move {
            let mut fields = fields_of(credential);
            match credential.credential_type.as_str() {
                "oauth2" => {
                    let token = self.access_token((store, tenant), credential, stop).await?;
                    fields.insert("authorization".to_owned(), json!(format!("Bearer {token}")));
                    fields.insert("access_token".to_owned(), json!(token));
                }
                "bearer" => {
                    let token = fields.get("token").and_then(Json::as_str).unwrap_or_default();
                    fields.insert("authorization".to_owned(), json!(format!("Bearer {token}")));
                }
                "basic_auth" => {
                    let value = basic(&|name: &str| fields.get(name).and_then(Json::as_str));
                    fields.insert("authorization".to_owned(), json!(value));
                }
                _ => {}
            }
            Ok(fields)
        })
    }

    fn test<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
    ) -> Boxed<'a, CredentialTest> {
        Box::pin(async move {
            let tried = tokio::time::timeout(trial::TIME_MAX, trial::run(self, store, (tenant, credential))).await;
            tried.unwrap_or_else(|_| trial::fails(format!("no answer within {} s", trial::TIME_MAX.as_secs())))
        })
    }
}

/// The value of `Authorization` for a user and a password.
fn basic<'a>(text: &dyn Fn(&str) -> Option<&'a str>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let pair = format!("{}:{}", text("username").unwrap_or_default(), text("password").unwrap_or_default());
    format!("Basic {}", STANDARD.encode(pair))
}

/// The header that an `api_key` goes into, and its value.
pub(crate) fn key_header(fields: &Map<String, Json>) -> Result<(HeaderName, String), &'static str> {
    let text = |name: &str| fields.get(name).and_then(Json::as_str);
    let name = HeaderName::try_from(text("header").unwrap_or("x-api-key"));
    let name = name.map_err(|_| "its `header` is no name of a header")?;
    Ok((name, text("key").unwrap_or_default().to_owned()))
}

/// Keeps the refresh token that took the place of one that is used up; gives the revision for which the access token beside it
/// holds.
async fn keep_refresh_token(
    (store, tenant): (&Store, TenantKey),
    (credential, renewed): (&KeptCredential, &str),
    stop: &CancellationToken,
) -> Result<i64, Error> {
    let mut secret: Map<String, Json> = serde_json::from_str(&credential.secret_fields).unwrap_or_default();
    secret.insert("refresh_token".to_owned(), json!(renewed));
    let body = json!({ "secret_fields": secret });
    let keep = || {
        let place = (tenant, &windlass_resource::records::vault::CREDENTIALS);
        let target = Target { id: credential.id, expect: Some(credential.revision) };
        store.update_record(place, target, &body, By::system())
    };
    let is_away = |error: &RecordError| matches!(error, RecordError::Store(error) if error.is_away());
    match until_answered(stop, keep, is_away).await {
        Ok(view) => Ok(view.revision.unwrap_or(credential.revision)),
        // Whoever changed it was right: a person, another server that renewed it too, or this one, which was not told.
        Err(RecordError::Stale { .. }) => Ok(credential.revision),
        Err(error) => {
            let message = format!("the new refresh token of the credential could not be kept: {error}");
            Err(Error::new(Class::Denied, "credential", message).retryable())
        }
    }
}

/// Where a credential may go.
fn bounds_of(credential: &KeptCredential) -> Arc<[Bound]> {
    Bound::of(&credential.name, &credential.hosts).into_iter().collect()
}

/// A question with a credential, which goes nowhere but where that may go.
fn get(url: Url, bounds: &Arc<[Bound]>) -> Request {
    Request {
        bounds: Arc::clone(bounds),
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: None,
        redirects: Redirects::Return,
        response_bytes_max: ANSWER_BYTES_MAX,
    }
}

fn url(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|_| refused("its `token_url` is no address"))
}

fn refused(why: &str) -> Error {
    Error::new(Class::Denied, "credential", format!("the credential gives no access token: {why}"))
}
