//! ID tokens: whether what a provider says of somebody holds.
//!
//! Invariant: the algorithm is one of the list, and the key one that the issuer publishes for it. A token that is signed
//! with the client's secret, or not at all, is none: whoever has the secret could have made it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{self, SHA256, SHA384, SHA512},
    signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Keys of an issuer that are looked at.
const KEYS_MAX: usize = 100;
/// Characters of a subject, as OpenID Connect bounds it.
const SUBJECT_CHARS_MAX: usize = 255;
/// How far the provider's clock may be from ours.
const CLOCK_SKEW_S: f64 = 60.0;
/// How old a token may be that is fresh.
const TOKEN_AGE_MAX_S: f64 = 600.0;

/// By what a token may be signed.
struct Algorithm {
    name: &'static str,
    /// The kind of its keys, and their curve.
    keys: (&'static str, Option<&'static str>),
    verify: Verify,
    /// Of which hash `at_hash` is the first half.
    hash: &'static digest::Algorithm,
}

enum Verify {
    Rsa(&'static RsaParameters),
    Ecdsa(&'static dyn VerificationAlgorithm),
    Ed25519,
}

static ALGORITHMS: [Algorithm; 5] = [
    Algorithm {
        name: "RS256",
        keys: ("RSA", None),
        verify: Verify::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        hash: &SHA256,
    },
    Algorithm {
        name: "PS256",
        keys: ("RSA", None),
        verify: Verify::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        hash: &SHA256,
    },
    Algorithm {
        name: "ES256",
        keys: ("EC", Some("P-256")),
        verify: Verify::Ecdsa(&signature::ECDSA_P256_SHA256_FIXED),
        hash: &SHA256,
    },
    Algorithm {
        name: "ES384",
        keys: ("EC", Some("P-384")),
        verify: Verify::Ecdsa(&signature::ECDSA_P384_SHA384_FIXED),
        hash: &SHA384,
    },
    Algorithm { name: "EdDSA", keys: ("OKP", Some("Ed25519")), verify: Verify::Ed25519, hash: &SHA512 },
];

/// The keys that an issuer publishes (RFC 7517). What is none of ours stands there unread.
#[derive(Debug, Deserialize)]
pub struct Keys {
    keys: Vec<Json>,
}

#[derive(Debug, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Json>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    at_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a token has to say.
pub struct Expected<'a> {
    /// Who it is of.
    pub issuer: &'a str,
    /// Whom it is for.
    pub client_id: &'a str,
    /// Which request it answers.
    pub nonce: &'a str,
    /// What came with it.
    pub access_token: &'a str,
    /// When, in seconds since 1970.
    pub now_s: i64,
}

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It is signed with a key that was not published when it was last looked.
    UnknownKey,
    /// Whatever else.
    Wrong(&'static str),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::UnknownKey => "its issuer publishes no such key",
            Flaw::Wrong(what) => what,
        })
    }
}

/// What the token says, if it holds.
///
/// # Errors
/// Why it does not.
pub fn check(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Map<String, Json>, Flaw> {
    let unread = Flaw::Wrong("it cannot be read");
    if token.len() > TOKEN_BYTES_MAX {
        return Err(unread);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(unread)?;
    let (header, claims) = signed.split_once('.').ok_or(unread)?;
    let header: Header = decode(header).and_then(parse).ok_or(unread)?;
    if header.crit.is_some() {
        return Err(Flaw::Wrong("its header asks for what nobody here knows (`crit`)"));
    }
    let algorithm = ALGORITHMS.iter().find(|it| it.name == header.alg);
    let algorithm = algorithm.ok_or(Flaw::Wrong("it is signed by an algorithm that is not let in"))?;
    let signature = decode(signature).ok_or(unread)?;
    is_signed(algorithm, (&header, keys), (signed.as_bytes(), &signature))?;
    let text = decode(claims).ok_or(unread)?;
    let claims: Claims = parse(text.clone()).ok_or(unread)?;
    match claims.flaw(algorithm, expected) {
        Some(what) => Err(Flaw::Wrong(what)),
        None => parse(text).ok_or(unread),
    }
}

fn is_signed(
    algorithm: &Algorithm,
    (header, keys): (&Header, &Keys),
    (signed, signature): (&[u8], &[u8]),
) -> Result<(), Flaw> {
    let all = keys.keys.iter().take(KEYS_MAX).filter_map(|key| Key::deserialize(key).ok());
    let mut flaw = Flaw::UnknownKey;
    for key in all.filter(|key| key.is_for(algorithm, header.kid.as_deref())) {
        if key.verifies(algorithm, (signed, signature)).is_some() {
            return Ok(());
        }
        // A key that has a name and is another one's is no old key.
        if header.kid.is_some() {
            flaw = Flaw::Wrong("its signature is not its issuer's");
        }
    }
    Err(flaw)
}

impl Key {
    fn is_for(&self, algorithm: &Algorithm, named: Option<&str>) -> bool {
        let (kind, curve) = algorithm.keys;
        self.kty == kind
            && (curve.is_none() || self.crv.as_deref() == curve)
            && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.alg.as_deref().is_none_or(|alg| alg == algorithm.name)
            && named.is_none_or(|named| self.kid.as_deref() == Some(named))
    }

    fn verifies(&self, algorithm: &Algorithm, (signed, signature): (&[u8], &[u8])) -> Option<()> {
        let part = |part: &Option<String>| part.as_deref().and_then(decode);
        let verified = match algorithm.verify {
            Verify::Rsa(parameters) => {
                RsaPublicKeyComponents { n: part(&self.n)?, e: part(&self.e)? }.verify(parameters, signed, signature)
            }
            Verify::Ecdsa(by) => {
                let point = [vec![4], part(&self.x)?, part(&self.y)?].concat();
                UnparsedPublicKey::new(by, point).verify(signed, signature)
            }
            Verify::Ed25519 => UnparsedPublicKey::new(&signature::ED25519, part(&self.x)?).verify(signed, signature),
        };
        verified.ok()
    }
}

impl Claims {
    fn flaw(&self, algorithm: &Algorithm, expected: &Expected<'_>) -> Option<&'static str> {
        let audience = match &self.aud {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Many(many) => many,
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds are far from 2^53")]
        let now = expected.now_s as f64;
        let subject = 1..=SUBJECT_CHARS_MAX;
        let checks = [
            (self.iss == expected.issuer, "it is another issuer's (`iss`)"),
            (audience == [expected.client_id], "it is not for this client alone (`aud`)"),
            (self.azp.as_deref().is_none_or(|azp| azp == expected.client_id), "it is for another client (`azp`)"),
            (self.nonce.as_deref() == Some(expected.nonce), "it answers another request (`nonce`)"),
            (self.exp > now - CLOCK_SKEW_S, "it is over (`exp`)"),
            (self.iat < now + CLOCK_SKEW_S, "it is of the future (`iat`)"),
            (self.iat > now - TOKEN_AGE_MAX_S - CLOCK_SKEW_S, "it is old (`iat`)"),
            (self.nbf.is_none_or(|nbf| nbf < now + CLOCK_SKEW_S), "it does not hold yet (`nbf`)"),
            (self.is_with(algorithm, expected.access_token), "it came with another access token (`at_hash`)"),
            (subject.contains(&self.sub.chars().count()), "it names nobody, or by too long a name (`sub`)"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
    }

    fn is_with(&self, algorithm: &Algorithm, access_token: &str) -> bool {
        let hash = digest::digest(algorithm.hash, access_token.as_bytes());
        let (half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
        self.at_hash.as_deref().is_none_or(|told| told == URL_SAFE_NO_PAD.encode(half))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn parse<T: DeserializeOwned>(text: Vec<u8>) -> Option<T> {
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
            KeyPair as _,
        },
    };
    use serde_json::json;

    use super::*;

    const NOW_S: i64 = 1_800_000_000;
    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://login.example.org",
        client_id: "windlass",
        nonce: "a-nonce",
        access_token: "an-access-token",
        now_s: NOW_S,
    };

    fn text(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn claims(changes: &Json) -> Json {
        let mut claims = json!({
            "iss": EXPECTED.issuer, "sub": "1", "aud": "windlass", "nonce": EXPECTED.nonce, "iat": NOW_S,
            "exp": NOW_S + 300,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    }

    /// A key, and a token of these claims that is signed with it.
    fn signed(header: &Json, claims: &Json) -> (Json, String) {
        let random = SystemRandom::new();
        let message = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        let ecdsa = |algorithm, curve: &str| {
            let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            let key = json!({ "kty": "EC", "crv": curve, "kid": "one", "x": text(x), "y": text(y) });
            (key, pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec())
        };
        let (key, signature) = match header["alg"].as_str() {
            Some("ES384") => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            Some("EdDSA") => {
                let made = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
                let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": text(pair.public_key()) });
                (key, pair.sign(message.as_bytes()).as_ref().to_vec())
            }
            _ => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        };
        (key, format!("{message}.{}", text(signature)))
    }

    fn checked(token: &str, keys: Vec<Json>) -> Result<(), String> {
        check(token, &Keys { keys }, &EXPECTED).map(drop).map_err(|flaw| flaw.to_string())
    }

    #[test]
    fn each_algorithm_takes_its_own_keys() {
        for alg in ["ES256", "ES384", "EdDSA"] {
            let (key, token) = signed(&json!({ "alg": alg, "kid": "one" }), &claims(&json!({})));
            assert_eq!(checked(&token, vec![json!({ "kty": "unknown" }), key.clone()]), Ok(()), "{alg}");
            for change in [
                json!({ "kid": "two" }),
                json!({ "use": "enc" }),
                json!({ "alg": "RS256" }),
                json!({ "kty": "RSA" }),
                json!({ "crv": "P-521" }),
            ] {
                let mut other = key.clone();
                other.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
                assert_eq!(checked(&token, vec![other]), Err(Flaw::UnknownKey.to_string()), "{alg} {change}");
            }
            let (another, _) = signed(&json!({ "alg": alg, "kid": "one" }), &claims(&json!({})));
            assert_eq!(checked(&token, vec![another]), Err("its signature is not its issuer's".to_owned()), "{alg}");
            let without = json!({ "kty": key["kty"], "crv": key["crv"], "kid": "one" });
            assert_eq!(checked(&token, vec![without]), Err("its signature is not its issuer's".to_owned()), "{alg}");
        }
    }

    #[test]
    fn a_header_asks_for_what_is_let_in() {
        let not_let_in = "it is signed by an algorithm that is not let in";
        for (header, found) in [
            (json!({ "alg": "ES256" }), Ok(())),
            (json!({ "alg": "ES256", "kid": "one", "typ": "JWT" }), Ok(())),
            (json!({ "alg": "none" }), Err(not_let_in)),
            (json!({ "alg": "None" }), Err(not_let_in)),
            (json!({ "alg": "HS256" }), Err(not_let_in)),
            (json!({ "alg": "es256" }), Err(not_let_in)),
            (json!({ "alg": "" }), Err(not_let_in)),
            (json!({ "alg": "ES256", "crit": ["exp"] }), Err("its header asks for what nobody here knows (`crit`)")),
            (json!({ "kid": "one" }), Err("it cannot be read")),
        ] {
            let (key, token) = signed(&header, &claims(&json!({})));
            assert_eq!(checked(&token, vec![key]), found.map_err(str::to_owned), "{header}");
        }
    }

    #[test]
    fn what_is_said_has_to_hold() {
        let hash = |of: &str| text(&digest::digest(&SHA256, of.as_bytes()).as_ref()[..16]);
        for (changes, found) in [
            (json!({}), Ok(())),
            (json!({ "aud": ["windlass"], "azp": "windlass", "at_hash": hash("an-access-token") }), Ok(())),
            (json!({ "exp": NOW_S - 59, "iat": NOW_S + 59, "nbf": NOW_S + 59 }), Ok(())),
            (json!({ "iat": NOW_S - 659 }), Ok(())),
            (json!({ "iss": "https://login.example.org/" }), Err("it is another issuer's (`iss`)")),
            (json!({ "aud": "another" }), Err("it is not for this client alone (`aud`)")),
            (json!({ "aud": ["windlass", "another"] }), Err("it is not for this client alone (`aud`)")),
            (json!({ "aud": [] }), Err("it is not for this client alone (`aud`)")),
            (json!({ "azp": "another" }), Err("it is for another client (`azp`)")),
            (json!({ "nonce": "another" }), Err("it answers another request (`nonce`)")),
            (json!({ "nonce": null }), Err("it answers another request (`nonce`)")),
            (json!({ "exp": NOW_S - 60 }), Err("it is over (`exp`)")),
            (json!({ "exp": "never" }), Err("it cannot be read")),
            (json!({ "exp": null }), Err("it cannot be read")),
            (json!({ "iat": NOW_S + 60 }), Err("it is of the future (`iat`)")),
            (json!({ "iat": NOW_S - 660 }), Err("it is old (`iat`)")),
            (json!({ "nbf": NOW_S + 60 }), Err("it does not hold yet (`nbf`)")),
            (json!({ "at_hash": hash("another") }), Err("it came with another access token (`at_hash`)")),
            (json!({ "sub": "" }), Err("it names nobody, or by too long a name (`sub`)")),
            (json!({ "sub": "x".repeat(256) }), Err("it names nobody, or by too long a name (`sub`)")),
            (json!({ "sub": 1 }), Err("it cannot be read")),
        ] {
            let (key, token) = signed(&json!({ "alg": "ES256" }), &claims(&changes));
            assert_eq!(checked(&token, vec![key]), found.map_err(str::to_owned), "{changes}");
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        let (key, token) = signed(&json!({ "alg": "ES256" }), &claims(&json!({})));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        for wrong in [
            String::new(),
            "..".to_owned(),
            signed.to_owned(),
            format!("{signed}."),
            format!("{signed}.{signature}="),
            format!("{header}.{claims}.{claims}.{signature}"),
            format!("{header}.{}.{signature}", text(json!({}).to_string())),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ] {
            assert!(checked(&wrong, vec![key.clone()]).is_err(), "{wrong}");
        }
    }
}
