//! Who comes in: tokens are looked up by their hash, and a hit is remembered for a short while.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use windlass_engine::{id::TenantKey, start::Principal};
use windlass_store::Store;

use super::{Permission, TenantsRead, TenantsWrite, unauthorized};
use crate::{
    problem::Problem,
    token::{self, CHOSEN_TOKEN_CHARS_MIN, TOKEN_CHARS_MAX, TokenHash},
};

/// How long a token is taken from memory: a revoked one works so much longer at most.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Tokens in memory at most; beyond that all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 10_000;
/// The scope that holds every permission.
const EVERYTHING: &str = "*";
/// What is about the whole installation.
const SYSTEM: &[&str] = &[TenantsRead::NAME, TenantsWrite::NAME];
/// The name of the first administrator's token.
const FIRST_NAME: &str = "admin";

/// Who the caller is and what it may do.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Where it acts.
    pub tenant: TenantKey,
    /// Who it is, for the journal.
    pub by: Principal,
    scopes: Scopes,
}

#[derive(Debug, Clone)]
enum Scopes {
    Everything,
    These(Arc<[String]>),
}

impl Identity {
    /// The person at the command line of this machine, who could open the database as well.
    pub fn local() -> Identity {
        Identity { tenant: TenantKey::DEFAULT, by: Principal::System, scopes: Scopes::Everything }
    }

    /// Whether it has that permission. What is about the whole installation is only for its first tenant.
    pub fn may(&self, permission: &str) -> bool {
        if self.tenant != TenantKey::DEFAULT && SYSTEM.contains(&permission) {
            return false;
        }
        match &self.scopes {
            Scopes::Everything => true,
            Scopes::These(scopes) => scopes.iter().any(|scope| scope == permission),
        }
    }
}

/// A door of the server.
pub enum Gate {
    /// Callers need a token.
    Tokens(Tokens),
    /// Whoever gets here may do everything: in process, or through a socket that only the owner may open.
    Local,
}

impl Gate {
    /// Who the bearer of that token is.
    ///
    /// # Errors
    /// 401 when there is none, it is unknown, expired or revoked.
    pub async fn identify(&self, token: Option<&str>) -> Result<Identity, Problem> {
        match (self, token) {
            (Gate::Local, _) => Ok(Identity::local()),
            (Gate::Tokens(tokens), Some(token)) => tokens.identify(token).await,
            (Gate::Tokens(_), None) => {
                Err(unauthorized("this route needs a token: send `Authorization: Bearer <token>`"))
            }
        }
    }
}

/// The API tokens of a store.
pub struct Tokens {
    store: Store,
    known: RwLock<HashMap<[u8; 32], Known>>,
}

struct Known {
    identity: Identity,
    until: Instant,
}

/// What opening the tokens made of the first one.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstToken {
    /// There was none: this one was made, and nobody can see it again.
    Made(String),
    /// There is one already, or somebody chose it.
    Known,
}

impl Tokens {
    /// The tokens of that store; the first administrator's is the chosen one, or is made when there is none at all.
    ///
    /// # Errors
    /// The chosen token is too short, or the store does not answer.
    pub async fn open(store: Store, chosen: Option<&str>) -> Result<(Tokens, FirstToken), Problem> {
        let first = match chosen {
            Some(chosen) => {
                check_chosen(chosen)?;
                insert(&store, chosen).await?;
                FirstToken::Known
            }
            None if !store.list_tokens(TenantKey::DEFAULT).await?.is_empty() => FirstToken::Known,
            None => {
                let (_, token) = token::generate().map_err(|error| {
                    Problem::invalid("no_randomness", format!("the system gives no random bits: {error}"))
                })?;
                insert(&store, &token).await?;
                FirstToken::Made(token)
            }
        };
        Ok((Tokens { store, known: RwLock::default() }, first))
    }

    async fn identify(&self, token: &str) -> Result<Identity, Problem> {
        if token.is_empty() || token.len() > TOKEN_CHARS_MAX {
            return Err(unknown());
        }
        let hash = TokenHash::of(token);
        if let Some(identity) = self.remembered(&hash) {
            return Ok(identity);
        }
        // Looked up by its SHA-256: how long that takes tells nothing of the token.
        let row = self.store.token_by_hash(*hash.as_bytes()).await?.ok_or_else(unknown)?;
        let scopes = match row.scopes.iter().any(|scope| scope == EVERYTHING) {
            true => Scopes::Everything,
            false => Scopes::These(row.scopes.into()),
        };
        let identity = Identity { tenant: row.tenant, by: Principal::Token(row.name.into()), scopes };
        self.remember(&hash, &identity);
        // At most once in the time that it is remembered, which is fine enough for people.
        if let Err(error) = self.store.touch_token(row.tenant, row.id).await {
            tracing::warn!(%error, "cannot note that a token was used");
        }
        Ok(identity)
    }

    fn remembered(&self, hash: &TokenHash) -> Option<Identity> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(hash.as_bytes())?;
        (found.until > Instant::now()).then(|| found.identity.clone())
    }

    fn remember(&self, hash: &TokenHash, identity: &Identity) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(*hash.as_bytes(), Known { identity: identity.clone(), until: Instant::now() + REMEMBERED });
    }
}

fn unknown() -> Problem {
    unauthorized("the token is not known here, or has expired or was revoked")
}

fn check_chosen(token: &str) -> Result<(), Problem> {
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && (CHOSEN_TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len()) {
        return Ok(());
    }
    let detail = format!(
        "WINDLASS_BOOTSTRAP_TOKEN must have {CHOSEN_TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} visible ASCII characters"
    );
    Err(Problem::invalid("invalid_token", detail))
}

/// Keeps the hash of an administrator's token.
async fn insert(store: &Store, token: &str) -> Result<(), Problem> {
    let id = match token::id_of(token) {
        Some(id) => id,
        None => windlass_engine::id::TokenId::new(uuid::Uuid::now_v7()),
    };
    let new = windlass_store::NewToken {
        id,
        name: FIRST_NAME.to_owned(),
        prefix: token::prefix(token),
        hash: *TokenHash::of(token).as_bytes(),
        scopes: vec![EVERYTHING.to_owned()],
        expires_at: None,
    };
    Ok(store.create_token(TenantKey::DEFAULT, new).await?)
}
