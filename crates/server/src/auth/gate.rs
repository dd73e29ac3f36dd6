//! Who comes in: sessions and API keys are looked up by their hash, and an answer is remembered until anything changes of
//! who may do what: at once on the server that changes it, within a second on the others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, StatusCode, header};
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::{id::TenantKey, start::Principal};
use windlass_resource::permission::{EVERYTHING, Myself, Permission, is_system};
use windlass_store::{
    Acting, By, Caller, CameWith, Holds, KeyUse, Namer, NewApiKey, Rate, Reach, Rights, Store, by_principal,
};

use super::{Far, unauthorized};
use crate::{
    permits::Permits,
    problem::Problem,
    token::{self, CHOSEN_TOKEN_CHARS_MIN, SecretKind, TOKEN_CHARS_MAX, TokenHash},
};

/// Callers in memory at most; beyond that all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 10_000;
/// What limits of keys are about.
const MINUTE: Duration = Duration::from_secs(60);
/// How often it is written down how keys were used.
const WRITTEN_EVERY: Duration = Duration::from_secs(10);
/// How long the first link works.
const FIRST_LINK: Duration = Duration::from_secs(86_400);
/// The name of the first administrator's key.
const FIRST_NAME: &str = "admin";
/// By what the first administrator signs in until it says otherwise.
const FIRST_EMAIL: &str = "admin@localhost";

/// Who the caller is and what it may do.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Where it acts.
    pub tenant: TenantKey,
    /// Who it is, for the journal.
    pub by: Principal,
    /// What it may do.
    pub holds: Holds,
    /// What it came in with; nothing at the machine itself.
    pub with: Option<Arc<CameWith>>,
}

impl Identity {
    /// The person at the command line of this machine, who could open the database as well.
    pub fn local() -> Identity {
        Identity { tenant: TenantKey::DEFAULT, by: Principal::System, holds: Holds::Everything, with: None }
    }

    fn of(caller: Caller) -> Identity {
        let by = match &caller.with {
            CameWith::Session { email, acting: None, .. } => Principal::Person(email.as_str().into()),
            CameWith::Session { email, acting: Some(acting), .. } => {
                Principal::Acting { who: acting.email.as_str().into(), of: email.as_str().into() }
            }
            CameWith::Delegate { email, from, .. } => {
                Principal::Delegate { who: email.as_str().into(), of: from.as_str().into() }
            }
            CameWith::Key { name, .. } => Principal::Token(name.as_str().into()),
            CameWith::Application { name, of, .. } => Principal::Application {
                name: name.as_str().into(),
                of: of.as_ref().map(|(_, email)| email.as_str().into()),
            },
        };
        Identity { tenant: caller.tenant, by, holds: caller.holds, with: Some(Arc::new(caller.with)) }
    }

    /// Whether it has that permission, everywhere. What is about the whole installation is only for its first tenant.
    pub fn may(&self, permission: &str) -> bool {
        self.reach(permission) == Reach::Everywhere
    }

    /// How far that permission goes.
    pub fn reach(&self, permission: &str) -> Reach {
        match permission {
            Myself::NAME => Reach::Everywhere,
            _ if self.tenant != TenantKey::DEFAULT && is_system(permission) => Reach::Places(Arc::default()),
            _ => self.holds.reach(permission),
        }
    }

    /// Whether that permission goes as far.
    pub fn goes(&self, permission: &str, far: Far) -> bool {
        match (far, self.reach(permission)) {
            (_, Reach::Everywhere) => true,
            (far, reach) => far == Far::Somewhere && !reach.is_nowhere(),
        }
    }

    /// The first permission of these that it has not as far.
    pub fn lacks<'a>(&self, rights: &'a Rights) -> Option<&'a str> {
        rights.each().find(|(place, name)| !self.reach(name).covers(place)).map(|(_, name)| name)
    }

    /// Who it is, in rows and in the audit.
    pub fn who(&self) -> String {
        by_principal(&self.by)
    }

    /// Who acts in its name.
    pub fn acting(&self) -> Option<&Acting> {
        match self.with.as_deref()? {
            CameWith::Session { acting, .. } => acting.as_ref(),
            CameWith::Delegate { .. } | CameWith::Key { .. } | CameWith::Application { .. } => None,
        }
    }

    /// The identity provider that provisions people by this caller.
    pub fn provider(&self) -> Option<Uuid> {
        match self.with.as_deref()? {
            CameWith::Key { provider, .. } => *provider,
            CameWith::Session { .. } | CameWith::Delegate { .. } | CameWith::Application { .. } => None,
        }
    }

    /// The member in whose own name it acts: none when somebody else does.
    pub fn acts_as(&self) -> Option<Uuid> {
        if self.acting().is_some() { None } else { self.member() }
    }

    /// As whom it names secrets.
    pub fn namer(&self) -> Namer {
        Namer::of(&self.holds, self.acts_as())
    }

    /// The member that it is, or whose key it has, or in whose name an application acts.
    pub fn member(&self) -> Option<Uuid> {
        match self.with.as_deref()? {
            CameWith::Session { member, .. } => Some(*member),
            CameWith::Delegate { .. } => None,
            CameWith::Key { member, .. } => *member,
            CameWith::Application { of, .. } => of.as_ref().map(|(member, _)| *member),
        }
    }
}

/// A door of the server.
pub enum Gate {
    /// Callers need a session or a key.
    Tokens(Tokens),
    /// Whoever gets here may do everything: in process, or through a socket that only the owner may open.
    Local,
}

impl Gate {
    /// Who has that token.
    ///
    /// # Errors
    /// 401 when there is none, it is unknown, over or revoked; 429 when a key is used too often.
    pub async fn identify(&self, token: Option<&str>) -> Result<Identity, Problem> {
        match (self, token) {
            (Gate::Local, _) => Ok(Identity::local()),
            (Gate::Tokens(tokens), Some(token)) => tokens.identify(token).await,
            (Gate::Tokens(_), None) => {
                Err(unauthorized("this route needs a session or an API key: send `Authorization: Bearer <token>`"))
            }
        }
    }

    /// Writes down how keys were used since that was last done.
    pub async fn flush(&self) {
        if let Gate::Tokens(tokens) = self {
            tokens.shared.flush().await;
        }
    }
}

/// The sessions and API keys of a store.
pub struct Tokens {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    known: RwLock<HashMap<[u8; 32], Known>>,
    meters: Mutex<HashMap<Uuid, Arc<Meter>>>,
}

#[derive(Clone)]
struct Known {
    identity: Identity,
    meter: Option<Arc<Meter>>,
    epoch: i64,
    until: Option<Timestamp>,
}

/// How a key is used on this server.
struct Meter {
    tenant: TenantKey,
    key: Uuid,
    requests: AtomicI64,
    refused: AtomicI64,
    /// What it may still send, where this server is the only one, and since when.
    left: Mutex<(f64, Instant)>,
    /// What it may still send of what this server has drawn, where there are others.
    permits: Mutex<Permits>,
}

impl Meter {
    fn new(tenant: TenantKey, key: Uuid, per_minute: Option<u32>) -> Meter {
        let (requests, refused, now) = (AtomicI64::new(0), AtomicI64::new(0), Instant::now());
        let left = Mutex::new((f64::from(per_minute.unwrap_or(0)), now));
        Meter { tenant, key, requests, refused, left, permits: Mutex::new(Permits::new(now)) }
    }

    /// Counts a request, and takes it from what the key may still send.
    async fn admit(&self, store: &Store, per_minute: Option<u32>) -> Result<(), Problem> {
        let Some(per_minute) = per_minute else {
            self.requests.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let taken = if store.is_shared() { self.take(store, per_minute).await? } else { self.take_here(per_minute) };
        let Err(wait) = taken else {
            self.requests.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!("the key may send {per_minute} requests a minute");
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1))))
    }

    /// Takes a request from what all servers count together; else how long until there is one.
    async fn take(&self, store: &Store, per_minute: u32) -> Result<Result<(), Duration>, Problem> {
        let rate = Rate { limit: per_minute, per: MINUTE };
        let wanted = {
            let mut permits = self.permits();
            let now = Instant::now();
            match permits.take(now) {
                Some(known) => return Ok(known),
                None => permits.wanted(now, rate),
            }
        };
        let drawn = store.take_permits(self.tenant, &format!("key:{}", self.key), rate, wanted).await?;
        let (mut permits, now) = (self.permits(), Instant::now());
        permits.draw(drawn, (now, rate));
        Ok(permits.take(now).unwrap_or(Err(Duration::ZERO)))
    }

    fn permits(&self) -> MutexGuard<'_, Permits> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same where this server is the only one: nothing is written.
    fn take_here(&self, per_minute: u32) -> Result<(), Duration> {
        let rate = f64::from(per_minute);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        left.0 = (left.0 + now.duration_since(left.1).as_secs_f64() * rate / MINUTE.as_secs_f64()).min(rate);
        left.1 = now;
        if left.0 < 1.0 {
            return Err(MINUTE.mul_f64((1.0 - left.0) / rate));
        }
        left.0 -= 1.0;
        Ok(())
    }
}

/// What opening the tokens found.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// Nobody has come in yet: this link signs the first administrator in, once, and nobody can see it again.
    Link(String),
    /// Somebody has, or somebody chose a key.
    Known,
}

impl Tokens {
    /// The tokens of that store. The first administrator has the chosen key; without one, and as long as nobody has come
    /// in, each start makes a link that signs it in.
    ///
    /// # Errors
    /// The chosen key is too short, or the store does not answer.
    pub async fn open(store: Store, chosen: Option<&str>) -> Result<(Tokens, First), Problem> {
        store.keep_roles().await?;
        let first = match chosen {
            Some(chosen) => {
                check_chosen(chosen)?;
                insert(&store, chosen).await?;
                First::Known
            }
            None if store.anybody_came().await? => First::Known,
            None => {
                let user = store.first_administrator(FIRST_EMAIL, "Administrator").await?;
                let link = token::secret(SecretKind::Link)?;
                let until = store.now().after(FIRST_LINK);
                store.add_link(user, *TokenHash::of(&link).as_bytes(), (until, By::system())).await?;
                First::Link(link)
            }
        };
        let shared = Shared { store, known: RwLock::default(), meters: Mutex::default() };
        let shared = Arc::new(shared);
        tokio::spawn(write_down(Arc::downgrade(&shared)));
        Ok((Tokens { shared }, first))
    }

    async fn identify(&self, token: &str) -> Result<Identity, Problem> {
        if token.is_empty() || token.len() > TOKEN_CHARS_MAX {
            return Err(unknown());
        }
        let (shared, hash) = (&self.shared, TokenHash::of(token));
        let epoch = shared.store.access_epoch().await?;
        let known = match shared.remembered(&hash, epoch) {
            Some(known) => known,
            None => shared.look_up(token, &hash, epoch).await?,
        };
        if let (Some(meter), Some(CameWith::Key { per_minute, .. })) = (&known.meter, known.identity.with.as_deref()) {
            meter.admit(&shared.store, *per_minute).await?;
        }
        Ok(known.identity)
    }
}

impl Shared {
    fn remembered(&self, hash: &TokenHash, epoch: i64) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(hash.as_bytes()).filter(|found| found.epoch == epoch)?;
        found.until.is_none_or(|until| until > self.store.now()).then(|| found.clone())
    }

    async fn look_up(&self, token: &str, hash: &TokenHash, epoch: i64) -> Result<Known, Problem> {
        // Looked up by its SHA-256: how long that takes tells nothing of the token.
        let found = match SecretKind::of(token) {
            Some(SecretKind::Session) => self.store.caller_of_session(*hash.as_bytes()).await?,
            Some(SecretKind::Access) => self.store.caller_of_token(*hash.as_bytes()).await?,
            _ => self.store.caller_of_key(*hash.as_bytes()).await?,
        };
        let caller = found.ok_or_else(unknown)?;
        let meter = match &caller.with {
            CameWith::Key { id, per_minute, .. } => Some(self.meter((caller.tenant, *id), *per_minute)),
            CameWith::Session { .. } | CameWith::Delegate { .. } | CameWith::Application { .. } => None,
        };
        let until = caller.until;
        let known = Known { identity: Identity::of(caller), meter, epoch, until };
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(*hash.as_bytes(), known.clone());
        Ok(known)
    }

    fn meter(&self, (tenant, key): (TenantKey, Uuid), per_minute: Option<u32>) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = meters.entry(key).or_insert_with(|| Arc::new(Meter::new(tenant, key, per_minute)));
        Arc::clone(meter)
    }

    async fn flush(&self) {
        let uses: Vec<KeyUse> = {
            let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
            let told = |meter: &Arc<Meter>| KeyUse {
                tenant: meter.tenant,
                key: meter.key,
                requests: meter.requests.swap(0, Ordering::Relaxed),
                refused: meter.refused.swap(0, Ordering::Relaxed),
            };
            let uses = meters.values().map(told).filter(|it| it.requests > 0 || it.refused > 0).collect();
            // Who is remembered holds its meter.
            if meters.len() >= REMEMBERED_MAX {
                meters.retain(|_, meter| Arc::strong_count(meter) > 1);
            }
            uses
        };
        if !uses.is_empty()
            && let Err(error) = self.store.count_key_uses(&uses).await
        {
            tracing::warn!(%error, "how API keys were used in the last seconds is not written down");
        }
    }
}

/// Writes down how keys are used, as long as there is a gate.
async fn write_down(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(WRITTEN_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.flush().await;
    }
}

fn unknown() -> Problem {
    unauthorized("the session, API key or access token is not known here, or is over or was revoked")
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

/// Keeps the hash of an administrator's key.
async fn insert(store: &Store, token: &str) -> Result<(), Problem> {
    let new = NewApiKey {
        id: token::id_of(token).map_or_else(Uuid::now_v7, |id| id.uuid()),
        name: FIRST_NAME.to_owned(),
        prefix: token::prefix(token),
        hash: *TokenHash::of(token).as_bytes(),
        scopes: vec![EVERYTHING.to_owned()],
        ..NewApiKey::default()
    };
    Ok(store.create_api_key(TenantKey::DEFAULT, new).await?)
}
