//! The rules of the door: how often requests may come.
//!
//! A permit for each request is taken from the rates that steps use as well: they are counted for all servers at once,
//! and no window of a rule holds more permits than it allows. A server draws some at a time ([`Permits`]), so that a busy
//! rule costs one write for many requests. Invariant: without any rule a request costs a look at a clock and at a flag.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::MatchedPath,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_store::{CountedPer, Rate, RateLimitRule, Store, by_principal};

use crate::{
    auth::{Identity, Peer},
    permits::Permits,
    problem::Problem,
    reply::header_value,
    routes::API,
};

/// The names of the headers, as the draft of the IETF's HTTPAPI group has them.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The header that lists the rules.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How old the rules are at most when another server changed them.
const RULES_AGE: Duration = Duration::from_secs(10);
/// Rules and those whom they count, in memory; beyond that all are forgotten and counted anew here.
const BUCKETS_MAX: usize = 10_000;

/// The rules, and what is left of them.
pub struct RateLimits {
    store: Store,
    began: Instant,
    /// When the rules are read again, in milliseconds since it began.
    due_ms: AtomicU64,
    any: AtomicBool,
    rules: RwLock<Arc<HashMap<TenantKey, Vec<Arc<RateLimitRule>>>>>,
    buckets: Mutex<HashMap<(Uuid, String), Bucket>>,
}

/// What this server knows of a rule and one whom it counts.
#[derive(Debug)]
struct Bucket {
    permits: Permits,
    /// Requests that came in since then.
    used: u32,
    since: Instant,
}

/// What the answer to a request tells of the rules that it matched.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<Option<[HeaderValue; 2]>>>);

impl Told {
    /// The values of `RateLimit` and `RateLimit-Policy`, where a rule matched.
    pub fn headers(&self) -> Option<[HeaderValue; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tell(&self, headers: [HeaderValue; 2]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(headers);
    }
}

/// How a request stands with one rule.
struct Standing {
    rule: Arc<RateLimitRule>,
    key: (Uuid, String),
    remaining: u32,
    reset: Duration,
}

impl RateLimits {
    /// The rules of that store.
    pub fn new(store: Store) -> RateLimits {
        RateLimits {
            store,
            began: Instant::now(),
            due_ms: AtomicU64::new(0),
            any: AtomicBool::new(false),
            rules: RwLock::default(),
            buckets: Mutex::default(),
        }
    }

    /// Whether there is any rule.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Reads the rules again: somebody changed them here.
    pub async fn reload(&self) {
        self.due_ms.store(self.elapsed_ms() + RULES_AGE.as_millis() as u64, Ordering::Relaxed);
        match self.store.rate_limit_rules().await {
            Ok(rules) => {
                let mut by_tenant: HashMap<TenantKey, Vec<Arc<RateLimitRule>>> = HashMap::new();
                self.any.store(!rules.is_empty(), Ordering::Relaxed);
                for rule in rules {
                    by_tenant.entry(rule.tenant).or_default().push(Arc::new(rule));
                }
                *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(by_tenant);
            }
            // Those that were read before are kept.
            Err(error) => tracing::warn!(%error, "cannot read the rate limit rules"),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets a request in, if every rule that it matches does.
    ///
    /// # Errors
    /// 429, with what the rules say; or the database does not answer.
    pub async fn enter(&self, identity: &Identity, parts: &Parts) -> Result<(), Problem> {
        if self.elapsed_ms() >= self.due_ms.load(Ordering::Relaxed) {
            self.reload().await;
        }
        if !self.any() {
            return Ok(());
        }
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner).get(&identity.tenant).cloned();
        let Some(rules) = rules else { return Ok(()) };
        let caller = by_principal(&identity.by);
        let address = parts.extensions.get::<Peer>().map(|peer| peer.address.to_string()).unwrap_or_default();
        let mut passed: Vec<Standing> = Vec::new();
        for rule in rules.into_iter().filter(|rule| is_about(rule, &caller, parts)) {
            let counted = match rule.counted_per {
                CountedPer::Tenant => String::new(),
                CountedPer::Caller => caller.clone(),
                CountedPer::Address => address.clone(),
            };
            let taken = self.take(&rule, (rule.id, counted)).await;
            match taken {
                Ok(Ok(standing)) => passed.push(standing),
                refused => {
                    // It comes in by none of them: what it took is another's.
                    self.give_back(&passed);
                    return match refused {
                        Ok(Err(after)) => Err(problem(&rule, after)),
                        Err(error) => Err(error),
                        Ok(Ok(_)) => Ok(()),
                    };
                }
            }
        }
        if let (Some(told), false) = (parts.extensions.get::<Told>(), passed.is_empty()) {
            told.tell([list(passed.iter().map(limit_text)), list(passed.iter().map(|it| policy_text(&it.rule)))]);
        }
        Ok(())
    }

    /// Takes a permit; else how long there will be none.
    async fn take(
        &self,
        rule: &Arc<RateLimitRule>,
        key: (Uuid, String),
    ) -> Result<Result<Standing, Duration>, Problem> {
        let rate = Rate { limit: rule.requests, per: Duration::from_secs(rule.window_seconds.into()) };
        let wanted = match self.take_here(rule, &key, None) {
            Ok(known) => return Ok(known),
            Err(wanted) => wanted,
        };
        let name = format!("door:{}:{}", rule.id, key.1);
        let drawn = self.store.take_permits(rule.tenant, &name, rate, wanted).await?;
        let taken = self.take_here(rule, &key, Some(drawn));
        Ok(taken.unwrap_or(Err(Duration::ZERO)))
    }

    /// Takes a permit of those that are here, with what was drawn; else how many are to be drawn.
    fn take_here(
        &self,
        rule: &Arc<RateLimitRule>,
        key: &(Uuid, String),
        drawn: Option<windlass_store::Permits>,
    ) -> Result<Result<Standing, Duration>, u32> {
        let now = Instant::now();
        let window = Duration::from_secs(rule.window_seconds.into());
        let rate = Rate { limit: rule.requests, per: window };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(key) {
            buckets.clear();
        }
        let bucket = buckets.entry(key.clone()).or_insert_with(|| Bucket::new(now));
        if let Some(drawn) = drawn {
            bucket.permits.draw(drawn, (now, rate));
        }
        match bucket.permits.take(now) {
            None => return Err(bucket.permits.wanted(now, rate)),
            Some(Err(wait)) => return Ok(Err(wait)),
            Some(Ok(())) => {}
        }
        if now.duration_since(bucket.since) >= window {
            (bucket.since, bucket.used) = (now, 0);
        }
        bucket.used += 1;
        let remaining = rule.requests.saturating_sub(bucket.used).max(bucket.permits.left(now).min(rule.requests));
        let reset = window.saturating_sub(now.duration_since(bucket.since));
        Ok(Ok(Standing { rule: Arc::clone(rule), key: key.clone(), remaining, reset }))
    }

    fn give_back(&self, passed: &[Standing]) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for standing in passed {
            if let Some(bucket) = buckets.get_mut(&standing.key) {
                bucket.permits.give_back();
                bucket.used = bucket.used.saturating_sub(1);
            }
        }
    }
}

impl Bucket {
    fn new(now: Instant) -> Bucket {
        Bucket { permits: Permits::new(now), used: 0, since: now }
    }
}

/// Whether the rule is about that request.
fn is_about(rule: &RateLimitRule, caller: &str, parts: &Parts) -> bool {
    if rule.caller.as_deref().is_some_and(|it| it != caller) {
        return false;
    }
    if let Some(workflow) = &rule.workflow {
        let rest = parts.uri.path().strip_prefix(API).and_then(|rest| rest.strip_prefix("/workflows/"));
        let name = rest.and_then(|rest| rest.split('/').next()).map(decoded);
        if name.as_deref() != Some(workflow.as_bytes()) {
            return false;
        }
    }
    let Some(route) = &rule.route else { return true };
    let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    route.split_once(' ').is_some_and(|(method, path)| {
        parts.method.as_str() == method && template.strip_prefix(API).unwrap_or(template) == path
    })
}

/// A part of a path as routes read it: what is written as `%62` is a `b` to them.
fn decoded(part: &str) -> Vec<u8> {
    let mut bytes = part.as_bytes().iter();
    let mut decoded = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next().copied() {
        let rest = bytes.as_slice();
        let escaped = rest.get(..2).filter(|_| byte == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                bytes.nth(1);
            }
            None => decoded.push(byte),
        }
    }
    decoded
}

fn problem(rule: &RateLimitRule, after: Duration) -> Problem {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    let (name, requests, window) = (&rule.name, rule.requests, rule.window_seconds);
    let detail = format!(
        "the rule `{name}` allows {requests} requests in {window} s, and they have come: nothing was done, send it \
         again after `Retry-After`"
    );
    let limit = format!("\"{name}\";r=0;t={}", seconds.max(1));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
        .with_header(header::RETRY_AFTER, header_value(&seconds.max(1).to_string()))
        .with_header(RATE_LIMIT, header_value(&limit))
        .with_header(RATE_LIMIT_POLICY, header_value(&policy_text(rule)))
}

fn policy_text(rule: &RateLimitRule) -> String {
    format!("\"{}\";q={};w={}", rule.name, rule.requests, rule.window_seconds)
}

fn limit_text(standing: &Standing) -> String {
    format!("\"{}\";r={};t={}", standing.rule.name, standing.remaining, standing.reset.as_secs().max(1))
}

fn list(items: impl Iterator<Item = String>) -> HeaderValue {
    header_value(&items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_path_has_one_meaning() {
        for (part, name) in [("b", "b"), ("%62", "b"), ("a%2Db", "a-b"), ("a%", "a%"), ("a%4", "a%4"), ("%zz", "%zz")] {
            assert_eq!(decoded(part), name.as_bytes(), "{part}");
        }
    }
}
