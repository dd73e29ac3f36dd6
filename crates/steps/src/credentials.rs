//! Credentials: access tokens fetched and renewed, and each type tried as far as it can be.
//!
//! Invariant: everything that leaves for the outside goes through the [egress client](crate::egress); no message has a
//! secret field in it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;
use windlass_definition::{Class, Error, Timestamp};
use windlass_engine::id::TenantKey;
use windlass_runtime::{
    secrets::{CredentialTest, Credentials, Verdict, fields_of},
    step::Boxed,
};
use windlass_store::{By, KeptCredential, Store, Target};

use crate::egress::{Egress, Redirects, Request};

/// Bytes of an answer that a test or a token server gives.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a test waits.
const TEST_TIME_MAX: Duration = Duration::from_secs(20);
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
        store: &Store,
        tenant: TenantKey,
        credential: &KeptCredential,
    ) -> Result<String, Error> {
        let key = (tenant, credential.id);
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match known.filter(|token| token.revision == credential.revision && token.until > store.now()) {
            Some(token) => Ok(token.text),
            None => self.fetch(store, tenant, credential).await,
        }
    }

    /// Asks for a token, and keeps it; a new refresh token takes the place of the one that was used up.
    async fn fetch(&self, store: &Store, tenant: TenantKey, credential: &KeptCredential) -> Result<String, Error> {
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
        let mut request = get(url);
        request.method = Method::POST;
        request.body = Some(body.query().unwrap_or_default().as_bytes().to_vec());
        request.headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.headers.insert("accept", HeaderValue::from_static("application/json"));
        let response = self
            .egress
            .send(request)
            .await
            .map_err(|failure| windlass_runtime::step::StepFailure::from(failure).error)?;
        let answer: Json = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = answer["access_token"].as_str().filter(|_| response.status.is_success());
        let Some(token) = token.map(str::to_owned) else {
            let said: String = answer["error"].as_str().unwrap_or("no access token").chars().take(100).collect();
            let error = refused(&format!("its token server answered {}: {said}", response.status.as_u16()));
            return Err(if response.status.is_server_error() { error.retryable() } else { error });
        };
        let life = answer["expires_in"].as_u64().map_or(LIFE_WHEN_UNSAID, Duration::from_secs);
        let mut revision = credential.revision;
        if let Some(renewed) = answer["refresh_token"].as_str().filter(|it| text("refresh_token") != Some(*it)) {
            revision = keep_refresh_token(store, tenant, (credential, renewed)).await?;
        }
        let until = store.now().after(life.saturating_sub(MARGIN));
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert((tenant, credential.id), Token { revision, text: token.clone(), until });
        Ok(token)
    }

    /// Asks an address with a header.
    async fn ask(&self, test_url: Option<&str>, header: (HeaderName, String)) -> CredentialTest {
        let Some(test_url) = test_url else {
            return unknown("nothing was tried: give it a `test_url` that answers 2xx to a GET with it");
        };
        let Ok(url) = url(test_url) else { return fails("its `test_url` is no address") };
        let Ok(mut value) = HeaderValue::from_str(&header.1) else { return fails("it does not fit into a header") };
        value.set_sensitive(true);
        let mut request = get(url);
        request.headers.insert(header.0, value);
        match self.egress.send(request).await {
            Ok(response) if response.status.is_success() => {
                works(format!("{test_url} answered {}", response.status.as_u16()))
            }
            Ok(response) => fails(format!("{test_url} answered {}", response.status.as_u16())),
            Err(failure) => fails(windlass_runtime::step::StepFailure::from(failure).error.message.to_string()),
        }
    }

    async fn try_out(&self, store: &Store, tenant: TenantKey, credential: &KeptCredential) -> CredentialTest {
        let fields = fields_of(credential);
        let text = |name: &str| fields.get(name).and_then(Json::as_str);
        let test_url = text("test_url");
        match credential.credential_type.as_str() {
            "bearer" => {
                self.ask(test_url, (AUTHORIZATION, format!("Bearer {}", text("token").unwrap_or_default()))).await
            }
            "basic_auth" => self.ask(test_url, (AUTHORIZATION, basic(&text))).await,
            "api_key" => match HeaderName::try_from(text("header").unwrap_or("x-api-key")) {
                Ok(name) => self.ask(test_url, (name, text("key").unwrap_or_default().to_owned())).await,
                Err(_) => fails("its `header` is no name of a header"),
            },
            "oauth2" => match self.fetch(store, tenant, credential).await {
                Ok(_) => works("the token server gave an access token".to_owned()),
                Err(error) => fails(error.message.to_string()),
            },
            "ssh_key" => match text("private_key")
                .is_some_and(|key| key.contains("-----BEGIN ") && key.contains("PRIVATE KEY-----"))
            {
                true => unknown("it looks like a private key; no server was tried with it"),
                false => fails("its `private_key` is no key as OpenSSH and PEM write it"),
            },
            kind => unknown(&format!("nothing was tried: this version tries no `{kind}`")),
        }
    }
}

impl Credentials for Ready {
    fn ready<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
    ) -> Boxed<'a, Result<Map<String, Json>, Error>> {
        Box::pin(async move {
            let mut fields = fields_of(credential);
            match credential.credential_type.as_str() {
                "oauth2" => {
                    let token = self.access_token(store, tenant, credential).await?;
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
            let tried = tokio::time::timeout(TEST_TIME_MAX, self.try_out(store, tenant, credential)).await;
            tried.unwrap_or_else(|_| fails(format!("no answer within {} s", TEST_TIME_MAX.as_secs())))
        })
    }
}

/// The value of `Authorization` for a user and a password.
fn basic<'a>(text: &dyn Fn(&str) -> Option<&'a str>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let pair = format!("{}:{}", text("username").unwrap_or_default(), text("password").unwrap_or_default());
    format!("Basic {}", STANDARD.encode(pair))
}

async fn keep_refresh_token(
    store: &Store,
    tenant: TenantKey,
    (credential, renewed): (&KeptCredential, &str),
) -> Result<i64, Error> {
    let mut secret: Map<String, Json> = serde_json::from_str(&credential.secret_fields).unwrap_or_default();
    secret.insert("refresh_token".to_owned(), json!(renewed));
    let place = (tenant, &windlass_resource::records::vault::CREDENTIALS);
    // Whoever changed it meanwhile, such as another server that renewed it too, was right.
    let target = Target { id: credential.id, expect: Some(credential.revision) };
    let changed = store.update_record(place, target, &json!({ "secret_fields": secret }), By::system()).await;
    changed.map(|view| view.revision.unwrap_or(credential.revision)).map_err(|error| {
        let message = format!("the new refresh token of the credential could not be kept: {error}");
        Error::new(Class::Denied, "credential", message).retryable()
    })
}

fn get(url: Url) -> Request {
    Request {
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

fn works(detail: String) -> CredentialTest {
    CredentialTest { verdict: Verdict::Works, detail }
}

fn fails(detail: impl Into<String>) -> CredentialTest {
    CredentialTest { verdict: Verdict::Fails, detail: detail.into() }
}

fn unknown(detail: &str) -> CredentialTest {
    CredentialTest { verdict: Verdict::Unknown, detail: detail.to_owned() }
}
