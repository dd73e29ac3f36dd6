//! An identity provider that signs whatever a test wants.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// By what it knows whoever asks it.
pub const CLIENT: &str = "windlass";
/// The secret that it gave.
pub const SECRET: &str = "a-secret-of-the-test";

/// What is wrong with the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say what they are")]
pub enum Wrong {
    Nothing,
    Nonce,
    NoNonce,
    Issuer,
    Audience,
    SecondAudience,
    Expired,
    OfTheFuture,
    Old,
    AlgNone,
    SignedWithTheSecret,
    AnotherKey,
    UnknownKey,
    Changed,
    NoToken,
    AccessToken,
    NoCode,
}

/// Everything that may be wrong, and by what words it is refused.
pub const WRONGS: [(Wrong, &str); 16] = [
    (Wrong::Nonce, "`nonce`"),
    (Wrong::NoNonce, "`nonce`"),
    (Wrong::Issuer, "`iss`"),
    (Wrong::Audience, "`aud`"),
    (Wrong::SecondAudience, "`aud`"),
    (Wrong::Expired, "`exp`"),
    (Wrong::OfTheFuture, "`iat`"),
    (Wrong::Old, "`iat`"),
    (Wrong::AlgNone, "algorithm that is not let in"),
    (Wrong::SignedWithTheSecret, "algorithm that is not let in"),
    (Wrong::AnotherKey, "its signature is not its issuer's"),
    (Wrong::UnknownKey, "its issuer publishes no such key"),
    (Wrong::Changed, "its signature is not its issuer's"),
    (Wrong::NoToken, "no ID token"),
    (Wrong::AccessToken, "`at_hash`"),
    (Wrong::NoCode, "refuses the code: invalid_grant"),
];

/// A provider at an address of its own.
#[derive(Clone)]
pub struct Fake {
    /// As it calls itself.
    pub issuer: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    key: Key,
    codes: HashMap<String, Code>,
    wrong: Wrong,
    claims: Value,
    user: Value,
    published: Value,
    made: u32,
}

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

struct Code {
    nonce: String,
    challenge: String,
    back: String,
}

impl Key {
    fn new(id: &str) -> Key {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
        Key { id: id.to_owned(), pair }
    }

    fn published(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..65]));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": x, "y": y })
    }
}

impl Fake {
    /// Begins to answer on a free port of this machine, for as long as the process lives.
    ///
    /// # Panics
    /// There is none.
    pub async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner {
            key: Key::new("one"),
            codes: HashMap::new(),
            wrong: Wrong::Nothing,
            claims: json!({}),
            user: Value::Null,
            published: json!({}),
            made: 0,
        };
        let fake = Fake { issuer, inner: Arc::new(Mutex::new(inner)) };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/jwks", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/userinfo", get(user))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who signs in next.
    pub fn is(&self, claims: Value) {
        self.lock().claims = claims;
    }

    /// What is wrong with tokens from now on.
    pub fn will_be(&self, wrong: Wrong) {
        self.lock().wrong = wrong;
    }

    /// What it says of whoever signs in next, beside the token; null is nothing.
    pub fn says(&self, user: Value) {
        self.lock().user = user;
    }

    /// What else it publishes of itself from now on.
    pub fn publishes(&self, changes: Value) {
        self.lock().published = changes;
    }

    /// Signs with another key from now on, and publishes that one alone.
    pub fn rotate(&self) {
        let mut inner = self.lock();
        inner.made += 1;
        inner.key = Key::new(&format!("key-{}", inner.made));
    }
}

async fn configuration(State(fake): State<Fake>) -> Json<Value> {
    let issuer = &fake.issuer;
    let mut all = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // It takes more than it should: what is let in is decided elsewhere.
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
    });
    all.as_object_mut().unwrap().extend(fake.lock().published.as_object().unwrap().clone());
    Json(all)
}

async fn keys(State(fake): State<Fake>) -> Json<Value> {
    Json(json!({ "keys": [fake.lock().key.published()] }))
}

async fn authorize(State(fake): State<Fake>, Query(query): Query<HashMap<String, String>>) -> Response {
    assert_eq!((query["client_id"].as_str(), query["response_type"].as_str()), (CLIENT, "code"));
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(query["scope"].split(' ').any(|it| it == "openid"), "{}", query["scope"]);
    let mut inner = fake.lock();
    inner.made += 1;
    let code = format!("code-{}", inner.made);
    let back = query["redirect_uri"].clone();
    let location = format!("{back}?code={code}&state={}&session_state=of-no-interest", query["state"]);
    let (nonce, challenge) = (query["nonce"].clone(), query["code_challenge"].clone());
    inner.codes.insert(code, Code { nonce, challenge, back });
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

async fn user(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    let user = fake.lock().user.clone();
    let right = headers.get(header::AUTHORIZATION).is_some_and(|it| it == "Bearer an-access-token");
    if right && !user.is_null() { Json(user).into_response() } else { StatusCode::UNAUTHORIZED.into_response() }
}

async fn token(State(fake): State<Fake>, headers: HeaderMap, Form(form): Form<HashMap<String, String>>) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    if headers.get(header::AUTHORIZATION).is_none_or(|it| it != basic.as_str()) {
        return refused("invalid_client");
    }
    let mut inner = fake.lock();
    // A code works once.
    let Some(code) = inner.codes.remove(&form["code"]) else { return refused("invalid_grant") };
    let proof = BASE64.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    if proof != code.challenge || form["redirect_uri"] != code.back || inner.wrong == Wrong::NoCode {
        return refused("invalid_grant");
    }
    let mut answer = json!({ "access_token": "an-access-token", "token_type": "Bearer", "expires_in": 60 });
    if inner.wrong != Wrong::NoToken {
        answer["id_token"] = json!(signed(&fake.issuer, &inner, &code));
    }
    Json(answer).into_response()
}

fn signed(issuer: &str, inner: &Inner, code: &Code) -> String {
    let now = chrono::Utc::now().timestamp();
    let hash = |text: &str| BASE64.encode(&Sha256::digest(text.as_bytes())[..16]);
    let mut claims = json!({
        "iss": issuer, "aud": CLIENT, "nonce": code.nonce, "iat": now, "exp": now + 300,
        "at_hash": hash("an-access-token"),
    });
    claims.as_object_mut().unwrap().extend(inner.claims.as_object().unwrap().clone());
    match inner.wrong {
        Wrong::Nonce => claims["nonce"] = json!("another"),
        Wrong::NoNonce => drop(claims.as_object_mut().unwrap().remove("nonce")),
        Wrong::Issuer => claims["iss"] = json!("https://another.example"),
        Wrong::Audience => claims["aud"] = json!("another"),
        Wrong::SecondAudience => claims["aud"] = json!([CLIENT, "another"]),
        Wrong::Expired => claims["exp"] = json!(now - 120),
        Wrong::OfTheFuture => claims["iat"] = json!(now + 120),
        Wrong::Old => claims["iat"] = json!(now - 1_000),
        Wrong::AccessToken => claims["at_hash"] = json!(hash("another")),
        _ => {}
    }
    let alg = match inner.wrong {
        Wrong::AlgNone => "none",
        Wrong::SignedWithTheSecret => "HS256",
        _ => "ES256",
    };
    let encoded = |value: &Value| BASE64.encode(value.to_string());
    let name = if inner.wrong == Wrong::UnknownKey { "unknown" } else { &inner.key.id };
    let header = encoded(&json!({ "alg": alg, "kid": name }));
    let text = format!("{header}.{}", encoded(&claims));
    let other = Key::new(&inner.key.id);
    let pair = if inner.wrong == Wrong::AnotherKey { &other.pair } else { &inner.key.pair };
    let signature = match alg {
        "none" => Vec::new(),
        "HS256" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text.as_bytes()).as_ref().to_vec(),
        _ => pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
    };
    let text = match inner.wrong {
        Wrong::Changed => {
            claims["sub"] = json!("somebody-else");
            format!("{header}.{}", encoded(&claims))
        }
        _ => text,
    };
    format!("{text}.{}", BASE64.encode(signature))
}
