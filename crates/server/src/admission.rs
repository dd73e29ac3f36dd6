//! Who may come in now: requests that are worked on have a bound, and tenants take turns at it.
//!
//! A request that finds no place waits for one before its body is read, in the order of its flow: the starts of a
//! tenant are one flow, everything else of it another, so that reads do not wait behind a flood of starts. Flows take
//! turns. Whoever has waited too long is refused, and nothing was done for it.
//!
//! Invariants: no request that has a tenant is worked on without a [`Pass`]; of one tenant there are never more than
//! `requests_per_tenant_max`, so there is always room for another; while somebody waits that may come in, nobody
//! passes.
//!
//! All that is inside shares processors, and whoever is let in at once still waits for what is there already. So a tenant
//! has all of its places only while it is alone, and half of them beside others.
//!
//! Whoever was refused and comes again at once costs as much as a request that is worked on, and gets nowhere sooner: a
//! connection that asks again before `Retry-After` is held until then, unless there is room.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::http::{StatusCode, header};
use tokio::{sync::oneshot, time::Instant};
use windlass_engine::id::TenantKey;
use windlass_store::FairQueue;

use crate::{
    auth::{EventsPublish, MetricsRead, Permission, RunsStart},
    metrics::AdmissionMetrics,
    problem::Problem,
};

/// Places of one tenant for each core. Enough to fill the batches of a disk; more would only wait inside.
const PER_CORE: usize = 256;
/// The bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests that are worked on at once.
    pub requests_max: usize,
    /// Of those, of one tenant; half of that while others are there.
    pub requests_per_tenant_max: usize,
    /// Requests that wait for a place.
    pub requests_waiting_max: usize,
    /// Of those, of one tenant.
    pub requests_waiting_per_tenant_max: usize,
    /// How long a request waits for a place.
    pub request_wait: Duration,
    /// When a client that was refused may ask again: not all at the same time, who were refused at the same time.
    pub retry_after: Range<Duration>,
    /// For how long other tenants count as there once they have gone.
    pub company_kept: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let per_tenant = PER_CORE * std::thread::available_parallelism().map_or(1, usize::from);
        Limits {
            requests_max: per_tenant + per_tenant / 4,
            requests_per_tenant_max: per_tenant,
            requests_waiting_max: 10_000,
            requests_waiting_per_tenant_max: 8_000,
            request_wait: Duration::from_secs(1),
            retry_after: Duration::from_secs(1)..Duration::from_secs(3),
            company_kept: Duration::from_secs(1),
        }
    }
}

/// What requests of a tenant share a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// New work.
    Starts,
    /// All that looks at work that was accepted, or moves it on.
    Other,
}

impl Class {
    /// The class of requests that need that permission; none for those that always come in.
    pub fn of(permission: &str) -> Option<Class> {
        match permission {
            MetricsRead::NAME => None,
            RunsStart::NAME | EventsPublish::NAME => Some(Class::Starts),
            _ => Some(Class::Other),
        }
    }
}

/// A queue of its own.
type Flow = (TenantKey, Class);

/// The door of the server.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    state: Mutex<State>,
    metrics: AdmissionMetrics,
    spread: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    /// When several tenants were here at once, most lately.
    company: Option<Instant>,
    /// Of each tenant that is there.
    tenants: HashMap<TenantKey, Tenant>,
    queue: FairQueue<Flow, Waiter>,
    waiting: usize,
}

#[derive(Debug)]
struct Waiter {
    tenant: TenantKey,
    turn: oneshot::Sender<Pass>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tenant {
    inside: usize,
    waiting: usize,
}

/// What a connection was refused last.
#[derive(Debug, Clone, Default)]
pub struct Refused(Arc<Mutex<Option<(Flow, Instant)>>>);

impl Refused {
    fn state(&self) -> MutexGuard<'_, Option<(Flow, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when it was told not to ask for that again.
    fn until(&self, flow: Flow) -> Option<Instant> {
        self.state().filter(|(refused, until)| *refused == flow && *until > Instant::now()).map(|(_, until)| until)
    }

    fn note(&self, flow: Flow, pause: Duration) {
        *self.state() = Some((flow, Instant::now() + pause));
    }
}

/// A place, until it is left or dropped.
#[derive(Debug)]
pub struct Pass {
    /// None for whoever needs no place.
    door: Option<Arc<Door>>,
    tenant: TenantKey,
    left: AtomicBool,
}

impl Pass {
    /// Of somebody who needs no place.
    pub fn free(tenant: TenantKey) -> Pass {
        Pass { door: None, tenant, left: AtomicBool::new(true) }
    }

    fn new(door: &Arc<Door>, tenant: TenantKey) -> Pass {
        Pass { door: Some(Arc::clone(door)), tenant, left: AtomicBool::new(false) }
    }

    /// Gives the place to the next one: from here on this request only waits.
    pub fn leave(&self) {
        if let Some(door) = &self.door
            && !self.left.swap(true, Ordering::Relaxed)
        {
            door.state().goes(self.tenant);
            door.let_in();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Somebody who waits, counted until it does no more.
struct Waiting<'a> {
    door: &'a Door,
    flow: Flow,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.door.state();
        state.waits_no_more(self.flow.0);
        // Whoever left before its turn does not stay in the queue, however long nothing moves.
        state.queue.purge(&self.flow, |waiter| waiter.turn.is_closed());
    }
}

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy)]
enum Full {
    /// Its tenant has as many as it may.
    Tenant,
    /// The server has.
    Server,
}

impl Door {
    /// A door with these bounds.
    pub fn new(limits: Limits) -> Arc<Door> {
        Arc::new(Door {
            limits,
            state: Mutex::default(),
            metrics: AdmissionMetrics::default(),
            spread: AtomicU32::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests inside, and requests that wait.
    pub fn occupancy(&self) -> (usize, usize) {
        let state = self.state();
        (state.inside, state.waiting)
    }

    /// What was counted here.
    pub fn metrics(&self) -> &AdmissionMetrics {
        &self.metrics
    }

    /// A place for a request of that flow, now or as soon as it is its turn. A connection that was refused before is held
    /// when it asks again too soon.
    ///
    /// # Errors
    /// 429 when the tenant has more requests than it may, 503 when all tenants together have. Nothing was done.
    pub async fn enter(self: &Arc<Door>, flow: Flow, from: Option<&Refused>) -> Result<Pass, Problem> {
        if let Some(until) = from.and_then(|from| from.until(flow))
            && !self.state().lets_in(&self.limits, flow.0)
        {
            self.metrics.held();
            tokio::time::sleep_until(until).await;
        }
        self.place(flow).await.map_err(|refused| {
            let pause = self.pause();
            if let Some(from) = from {
                from.note(flow, pause);
            }
            refused.with_header(header::RETRY_AFTER, (pause.as_secs() + 1).into())
        })
    }

    /// How long somebody who is refused stays away: neighbours far apart, and all times alike in the end.
    fn pause(&self) -> Duration {
        // Steps of the golden ratio, as in Weyl's sequence.
        const STEP: u32 = 2_654_435_769;
        let part = f64::from(self.spread.fetch_add(STEP, Ordering::Relaxed)) / f64::from(u32::MAX);
        let Range { start, end } = self.limits.retry_after;
        start + (end - start).mul_f64(part)
    }

    async fn place(self: &Arc<Door>, flow: Flow) -> Result<Pass, Problem> {
        let tenant = flow.0;
        let turn = {
            let mut state = self.state();
            state.sees(tenant);
            if state.lets_in(&self.limits, tenant) {
                state.comes(tenant);
                return Ok(Pass::new(self, tenant));
            }
            if !state.has_room(&self.limits, tenant) {
                self.refuse_crowd(&state, tenant)?;
            }
            let (turn, its_turn) = oneshot::channel();
            state.queue.push(flow, Waiter { tenant, turn });
            state.waits(tenant);
            its_turn
        };
        let since = Instant::now();
        let waiting = Waiting { door: self, flow };
        // Those who wait may be of tenants that have no room.
        self.let_in();
        let came = tokio::time::timeout(self.limits.request_wait, turn).await;
        drop(waiting);
        self.metrics.waited(since.elapsed());
        match came {
            Ok(Ok(pass)) => Ok(pass),
            // Nobody drops the sender of somebody who waits.
            Ok(Err(_)) | Err(_) => Err(self.too_slow(tenant)),
        }
    }

    /// Refuses one more in a crowd.
    fn refuse_crowd(&self, state: &State, tenant: TenantKey) -> Result<(), Problem> {
        let limits = &self.limits;
        let own = state.tenants.get(&tenant).map_or(0, |tenant| tenant.waiting);
        if own >= limits.requests_waiting_per_tenant_max {
            let detail = format!(
                "{own} requests of this tenant wait for their turn, the most it may have (setting \
                 `requests_waiting_per_tenant_max`)"
            );
            return Err(self.refused(Full::Tenant, &detail));
        }
        if state.waiting >= limits.requests_waiting_max {
            let detail = format!(
                "{} requests wait for their turn, the most there may be (setting `requests_waiting_max`)",
                state.waiting
            );
            return Err(self.refused(Full::Server, &detail));
        }
        Ok(())
    }

    fn too_slow(&self, tenant: TenantKey) -> Problem {
        let limits = &self.limits;
        let (inside, most) = {
            let state = self.state();
            (state.tenants.get(&tenant).map_or(0, |tenant| tenant.inside), state.most_of_one(limits))
        };
        let waited = limits.request_wait.as_millis();
        if inside >= most {
            let share = if most < limits.requests_per_tenant_max { "half of " } else { "" };
            let detail = format!(
                "this request waited {waited} ms for its turn while {inside} others of this tenant were worked on, the \
                 most it may have now ({share}setting `requests_per_tenant_max`; see `request_wait_ms`)"
            );
            return self.refused(Full::Tenant, &detail);
        }
        let detail = format!(
            "this request waited {waited} ms for its turn while {} others were worked on, the most there may be \
             (settings `requests_max`, `request_wait_ms`)",
            limits.requests_max
        );
        self.refused(Full::Server, &detail)
    }

    fn refused(&self, full: Full, detail: &str) -> Problem {
        let (status, code) = match full {
            Full::Tenant => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Full::Server => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        };
        self.metrics.shed(status);
        Problem::new(status, code, format!("{detail}: nothing was done, send it again after `Retry-After`"))
    }

    /// Lets in whoever has room, in turn.
    fn let_in(self: &Arc<Door>) {
        loop {
            let Some(Waiter { tenant, turn }) = self.state().next(&self.limits) else { return };
            let Err(pass) = turn.send(Pass::new(self, tenant)) else { continue };
            // It went in this very moment: the place is the next one's. Not by dropping the pass, which would come
            // back here once for each that went.
            pass.left.store(true, Ordering::Relaxed);
            self.state().goes(tenant);
        }
    }
}

impl State {
    /// Whether one more comes in at once.
    fn lets_in(&self, limits: &Limits, tenant: TenantKey) -> bool {
        self.queue.is_empty() && self.has_room(limits, tenant)
    }

    fn has_room(&self, limits: &Limits, tenant: TenantKey) -> bool {
        let inside = self.tenants.get(&tenant).map_or(0, |tenant| tenant.inside);
        self.inside < limits.requests_max && inside < self.most_of_one(limits)
    }

    /// How many of one tenant are worked on at once.
    fn most_of_one(&self, limits: &Limits) -> usize {
        let alone = self.company.is_none_or(|since| since.elapsed() >= limits.company_kept);
        if alone { limits.requests_per_tenant_max } else { limits.requests_per_tenant_max.div_ceil(2) }
    }

    /// A request of that tenant has come.
    fn sees(&mut self, tenant: TenantKey) {
        if self.tenants.len() > usize::from(self.tenants.contains_key(&tenant)) {
            self.company = Some(Instant::now());
        }
    }

    fn comes(&mut self, tenant: TenantKey) {
        self.inside += 1;
        self.tenants.entry(tenant).or_default().inside += 1;
    }

    fn goes(&mut self, tenant: TenantKey) {
        self.inside -= 1;
        self.change(tenant, |tenant| tenant.inside -= 1);
    }

    fn waits(&mut self, tenant: TenantKey) {
        self.waiting += 1;
        self.tenants.entry(tenant).or_default().waiting += 1;
    }

    fn waits_no_more(&mut self, tenant: TenantKey) {
        self.waiting -= 1;
        self.change(tenant, |tenant| tenant.waiting -= 1);
    }

    fn change(&mut self, key: TenantKey, change: impl FnOnce(&mut Tenant)) {
        let Some(tenant) = self.tenants.get_mut(&key) else { return };
        change(tenant);
        if tenant.inside == 0 && tenant.waiting == 0 {
            self.tenants.remove(&key);
        }
    }

    /// Whoever is next and has room, counted as inside.
    fn next(&mut self, limits: &Limits) -> Option<Waiter> {
        let most = self.most_of_one(limits);
        while self.inside < limits.requests_max {
            let tenants = &self.tenants;
            let inside = |tenant: &TenantKey| tenants.get(tenant).map_or(0, |tenant| tenant.inside);
            let waiter = self.queue.pop_where(|(tenant, _)| inside(tenant) < most)?;
            if !waiter.turn.is_closed() {
                self.comes(waiter.tenant);
                return Some(waiter);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
