//! Signing in with an identity provider: OpenID Connect, the authorization code flow with PKCE.
//!
//! Invariants: everything that leaves goes through the egress client, and its redirects are not followed; of what a
//! provider says only that counts which is signed by a key that its issuer publishes, for this client, for this browser's
//! request, and now.

mod configuration;
mod flow;
mod person;
mod token;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use url::{Url, form_urlencoded};
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_steps::egress::{Egress, Redirects, Request};
use windlass_store::{Provider, Store};

pub use flow::{FLOW, Flow, TICKET, Ticket, Way, challenge_of};
pub use person::Person;

use crate::problem::Problem;
use configuration::{Configuration, Published};
use token::{Expected, Flaw, Keys};

/// Bytes of what a provider answers.
const ANSWER_BYTES_MAX: usize = 512 << 10;
/// How long it has for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long what a provider publishes is used before it is asked again.
const KNOWN_FOR: Duration = Duration::from_secs(3_600);
/// How often it is asked again because something is signed with a key that it did not publish.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Providers of which something is remembered; beyond that all is forgotten.
const KNOWN_MAX: usize = 1_000;
const SCOPES: &str = "openid email profile";

/// Whom people of tenants sign in with, as this process knows them.
pub struct Oidc {
    egress: Egress,
    known: Arc<Mutex<HashMap<Uuid, Known>>>,
}

/// What a provider published.
#[derive(Clone)]
struct Known {
    published: Arc<Published>,
    since: Instant,
    /// When it was last asked because of a key.
    asked_for_key: Option<Instant>,
}

/// A provider and its secret.
pub struct Party {
    /// Its record.
    pub provider: Provider,
    /// What it gave this server.
    pub secret: Option<String>,
}

/// Where a browser goes to sign in, and what comes back with it.
pub struct Begun {
    /// The address at the provider.
    pub location: String,
    /// Comes back as `state`.
    pub state: String,
    /// Comes back in the token.
    pub nonce: String,
    /// Proves that whoever brings the code began.
    pub verifier: String,
}

/// What a provider gives for a code.
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    id_token: Option<String>,
}

/// What it says instead.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Oidc {
    /// Over that client.
    pub fn new(egress: Egress) -> Oidc {
        Oidc { egress, known: Arc::default() }
    }

    /// The same for the providers of a tenant, which are reached where that may reach them.
    ///
    /// # Errors
    /// 502 when it is not known where that is.
    pub async fn of(&self, store: &Store, tenant: TenantKey) -> Result<Oidc, Problem> {
        let egress = self.egress.of(store, tenant).await.map_err(|error| unreachable(&error.to_string()))?;
        Ok(Oidc { egress, known: Arc::clone(&self.known) })
    }

    /// Where the browser goes.
    ///
    /// # Errors
    /// 502 when the provider cannot be reached, or is none.
    pub async fn begin(&self, party: &Party) -> Result<Begun, Problem> {
        let published = self.published(&party.provider).await?;
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        let mut url = address(&published.configuration.authorization_endpoint)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &party.provider.client_id)
            .append_pair("redirect_uri", &back(&party.provider))
            .append_pair("scope", SCOPES)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge_of(&verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(Begun { location: url.into(), state, nonce, verifier })
    }

    /// Who it is that came back with that code.
    ///
    /// # Errors
    /// 401 when the provider refuses the code, or what it says does not hold; 502 when it cannot be reached.
    pub async fn finish(&self, party: &Party, (flow, code): (&Flow, &str), now: Timestamp) -> Result<Person, Problem> {
        let published = self.published(&party.provider).await?;
        let tokens = self.exchange(party, &published.configuration, (flow, code)).await?;
        let id_token = tokens.id_token.as_deref().ok_or_else(|| not_in("the provider gave no ID token"))?;
        let expected = Expected {
            issuer: &party.provider.issuer,
            client_id: &party.provider.client_id,
            nonce: &flow.nonce,
            access_token: &tokens.access_token,
            now_s: now.micros().div_euclid(1_000_000),
        };
        let told = match token::check(id_token, &published.keys, &expected) {
            Err(Flaw::UnknownKey) => {
                let published = self.published_anew(&party.provider).await?;
                token::check(id_token, &published.keys, &expected)
            }
            checked => checked,
        };
        let mut told = told.map_err(|flaw| not_in(&format!("the ID token does not hold: {flaw}")))?;
        if !told.contains_key("email")
            && let Some(place) = &published.configuration.userinfo_endpoint
        {
            let more = self.user(place, &tokens.access_token).await?;
            if more.get("sub") != told.get("sub") {
                return Err(not_in("what the provider says of the user is about another one"));
            }
            person::add(&mut told, more);
        }
        person::read(&told, &party.provider)
    }

    async fn exchange(
        &self,
        party: &Party,
        configuration: &Configuration,
        (flow, code): (&Flow, &str),
    ) -> Result<Tokens, Problem> {
        let (headers, body) = grant(party, configuration, (flow, code))?;
        let asked = (Method::POST, headers, Some(body));
        let (status, body) = self.ask(&configuration.token_endpoint, asked).await?;
        if status.is_success() {
            return read(&body, "its answer to a code cannot be read");
        }
        let why = serde_json::from_slice(&body).map_or_else(|_| status.to_string(), |it: Refused| short(&it.error));
        Err(not_in(&format!("the provider refuses the code: {why}")))
    }

    /// What the provider says of the user besides.
    async fn user(&self, place: &str, access_token: &str) -> Result<Map<String, Json>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, credentials("Bearer", access_token)?);
        let (status, body) = self.ask(place, (Method::GET, headers, None)).await?;
        if !status.is_success() {
            return Err(not_in(&format!("the provider does not say who it is: {status}")));
        }
        read(&body, "what it says of a user cannot be read")
    }

    /// What the provider publishes, as it is remembered or asked for.
    async fn published(&self, provider: &Provider) -> Result<Arc<Published>, Problem> {
        let known = self.lock().get(&provider.id).cloned();
        match known {
            Some(known) if known.since.elapsed() < KNOWN_FOR => Ok(known.published),
            _ => self.discover(provider, None).await,
        }
    }

    /// The same with keys that are new, unless it was asked for them a moment ago.
    async fn published_anew(&self, provider: &Provider) -> Result<Arc<Published>, Problem> {
        let known = self.lock().get(&provider.id).cloned();
        match known {
            Some(known) if known.asked_for_key.is_some_and(|at| at.elapsed() < ASKED_AGAIN_AFTER) => {
                Ok(known.published)
            }
            _ => self.discover(provider, Some(Instant::now())).await,
        }
    }

    async fn discover(&self, provider: &Provider, asked_for_key: Option<Instant>) -> Result<Arc<Published>, Problem> {
        let place = format!("{}/.well-known/openid-configuration", provider.issuer.trim_end_matches('/'));
        let configuration: Configuration = self.look(&place, "its configuration cannot be read").await?;
        configuration.check(&provider.issuer).map_err(unreachable)?;
        let keys: Keys = self.look(&configuration.jwks_uri, "its keys cannot be read").await?;
        let published = Arc::new(Published { configuration, keys });
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let since = Instant::now();
        known.insert(provider.id, Known { published: Arc::clone(&published), since, asked_for_key });
        Ok(published)
    }

    async fn look<T: DeserializeOwned>(&self, place: &str, unread: &'static str) -> Result<T, Problem> {
        let (status, body) = self.ask(place, (Method::GET, HeaderMap::new(), None)).await?;
        if status.is_success() { read(&body, unread) } else { Err(unreachable(&format!("it answers {status}"))) }
    }

    async fn ask(
        &self,
        place: &str,
        (method, mut headers, body): (Method, HeaderMap, Option<Vec<u8>>),
    ) -> Result<(StatusCode, Vec<u8>), Problem> {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (redirects, response_bytes_max) = (Redirects::Return, ANSWER_BYTES_MAX);
        let url = address(place)?;
        let bounds = Arc::default();
        let request = Request { method, url, headers, body, redirects, response_bytes_max, bounds };
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.egress.send(request)).await;
        let answer = answer.map_err(|_| unreachable("it did not answer in time"))?;
        let answer = answer.map_err(|failure| unreachable(&failure.error.to_string()))?;
        Ok((answer.status, answer.body))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a provider sends browsers back to.
fn back(provider: &Provider) -> String {
    format!("{}/api/v1/sign-in/oidc/{}/callback", provider.server_url, provider.name)
}

/// What a code is brought with.
fn grant(
    party: &Party,
    configuration: &Configuration,
    (flow, code): (&Flow, &str),
) -> Result<(HeaderMap, Vec<u8>), Problem> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", &back(&party.provider))
        .append_pair("code_verifier", &flow.verifier);
    let mut headers = HeaderMap::new();
    let id = &party.provider.client_id;
    match &party.secret {
        Some(secret) if configuration.takes_basic() => {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
            headers.insert(header::AUTHORIZATION, credentials("Basic", &pair)?);
        }
        Some(secret) => {
            form.append_pair("client_id", id).append_pair("client_secret", secret);
        }
        None => {
            form.append_pair("client_id", id);
        }
    }
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form_type);
    Ok((headers, form.finish().into_bytes()))
}

fn address(text: &str) -> Result<Url, Problem> {
    text.parse().map_err(|_| unreachable("it names an address that is none"))
}

/// 256 random bits as text.
fn random() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    let none = |error| {
        let detail = format!("the system gives no random bits: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    };
    getrandom::fill(&mut bytes).map_err(none)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn credentials(scheme: &str, text: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::try_from(format!("{scheme} {text}"))
        .map_err(|_| unreachable("what it gave this server fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read<T: DeserializeOwned>(body: &[u8], unread: &'static str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|_| unreachable(unread))
}

/// What somebody else calls an error, short enough for an answer of ours.
pub fn short(error: &str) -> String {
    error.chars().filter(char::is_ascii_graphic).take(60).collect()
}

/// Somebody does not come in, because of what his provider says.
pub fn not_in(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "sign_in_refused", detail)
}

fn unreachable(detail: &str) -> Problem {
    let detail = format!("the identity provider cannot be asked: {detail}");
    Problem::new(StatusCode::BAD_GATEWAY, "provider_unreachable", detail)
}
