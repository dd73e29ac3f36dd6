//! Queued runs: what is above this node's bounds waits in the database, and whoever has room takes it from there.
//!
//! An active run (one that is open and does not wait) has a [`Seat`]. A start that finds none free is accepted all
//! the same, as a queued run with a row in the backlog. As seats get free, a node claims that many runs: tenants take
//! turns, and within a tenant the higher priority goes first, then the older run. What is claimed is this node's, and
//! is admitted by its next journal entry.
//!
//! Invariants: a run that was accepted is never refused later, so whatever comes back to life (a timer, a signal, a
//! run taken over) gets a seat beyond the bound; while runs wait that could have a seat, nobody passes them.

mod allowances;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use windlass_engine::{
    Event,
    id::{RunId, TenantKey},
};
use windlass_store::{CLAIM_RUNS_MAX, Hint, LaneId, Position, Share, TenantRules};

use self::allowances::{ASK_EVERY, Allowances};
use crate::{core::Core, error::RuntimeError, loader, metrics::add, settings::Settings, turner::Deliver};

/// Tenants that one claim looks at.
const TENANTS_MAX: usize = 1_000;
/// What gets free within this time is filled by one claim.
const GATHER: Duration = Duration::from_millis(10);
/// How long floors are kept: a run of a higher priority may have been queued by another node before them.
const FLOORS_KEPT: Duration = Duration::from_secs(1);
/// Before a claimed run that could not be told is told again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// From that many claimed runs of a tenant on they are read together.
const TOGETHER_MIN: usize = 8;
/// Counting the queue may take this part of the time.
const COUNT_SHARE: u32 = 20;

/// The node's seats, and what it knows of the queue.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    state: Mutex<State>,
    wake: Notify,
    allowances: Allowances,
}

#[derive(Debug, Default)]
struct State {
    active: usize,
    /// Runs wait that any free seat could take.
    pressed: bool,
    tenants: HashMap<TenantKey, Tenant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tenant {
    active: usize,
    /// Seats of those for runs that were claimed and may have one of their own by now.
    lent: usize,
    /// Runs of it wait, and it has as many seats as it may.
    pressed: bool,
    /// Runs of it in the queue: as counted last, and what was put and taken here since.
    queued: u64,
    /// What this node may have of its quota, where that is counted over all nodes.
    allowance: allowances::Allowance,
}

impl Tenant {
    fn is_forgettable(&self) -> bool {
        self.active == 0 && self.queued == 0 && !self.pressed && self.allowance.is_none()
    }

    /// Active runs, each counted once.
    fn used(&self) -> usize {
        self.active.saturating_sub(self.lent)
    }

    fn sit(&mut self, seats: usize) {
        self.active += seats;
        self.allowance.used(self.active);
    }
}

/// What came of asking for a seat.
#[derive(Debug)]
pub(crate) enum Taken {
    Seat(Seat),
    /// It has to wait for its turn.
    Wait,
    /// This node has used up its part of the tenant's quota: there may be more of it.
    Ask,
}

/// A place among this node's active runs, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    backlog: Arc<Backlog>,
    tenant: TenantKey,
    lent: bool,
}

impl Seat {
    fn of(backlog: &Arc<Backlog>, tenant: TenantKey) -> Seat {
        Seat { backlog: Arc::clone(backlog), tenant, lent: false }
    }

    /// It is for a run that takes one of its own when it is let in.
    fn lend(mut self) -> Seat {
        if let Some(tenant) = self.backlog.state().tenants.get_mut(&self.tenant) {
            tenant.lent += 1;
            self.lent = true;
        }
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.backlog.state();
        state.active -= 1;
        let mut wanted = state.pressed;
        if let Some(tenant) = state.tenants.get_mut(&self.tenant) {
            tenant.active -= 1;
            tenant.lent -= usize::from(self.lent);
            wanted |= tenant.pressed;
            if tenant.is_forgettable() {
                state.tenants.remove(&self.tenant);
            }
        }
        drop(state);
        if wanted {
            self.backlog.wake();
        }
    }
}

/// The bounds of tenants: the settings, and what the rules of a tenant say beside.
pub(crate) struct Bounds<'a> {
    settings: &'a Settings,
    rules: Arc<HashMap<TenantKey, TenantRules>>,
    /// Whether quotas are counted over several nodes.
    shared: bool,
}

impl Bounds<'_> {
    fn active_max(&self, tenant: TenantKey) -> usize {
        let most = self.settings.runs_active_per_tenant_max;
        match self.rules.get(&tenant) {
            Some(rules) if rules.suspended => 0,
            Some(rules) => rules.runs_active_max.map_or(most, |max| max.min(most)),
            None => most,
        }
    }

    /// The tenant's quota of active runs, where it is counted over all nodes.
    fn quota(&self, tenant: TenantKey) -> Option<usize> {
        self.rules.get(&tenant).filter(|_| self.shared).and_then(|rules| rules.runs_active_max)
    }

    /// How many runs more may be active here.
    fn room(&self, (key, tenant): (TenantKey, &Tenant)) -> usize {
        let most = self.active_max(key);
        let most = self.quota(key).map_or(most, |quota| tenant.allowance.under(quota).min(most));
        most.saturating_sub(tenant.active)
    }

    fn queued_max(&self, tenant: TenantKey) -> (u64, &'static str) {
        let most = self.settings.runs_queued_per_tenant_max;
        match self.rules.get(&tenant).and_then(|rules| rules.runs_queued_max) {
            Some(quota) if quota < most => (quota, "its quota `max_queued_runs`"),
            _ => (most, "setting `runs_queued_per_tenant_max`"),
        }
    }
}

impl Core {
    /// The bounds of tenants as they are now.
    pub(crate) fn bounds(&self) -> Bounds<'_> {
        Bounds { settings: &self.settings, rules: self.store.all_rules(), shared: self.store.is_shared() }
    }
}

impl Backlog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may be there to be claimed, or room for it.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A seat for a run that begins now.
    pub(crate) fn take(self: &Arc<Backlog>, tenant: TenantKey, bounds: &Bounds<'_>) -> Taken {
        let settings = bounds.settings;
        let mut state = self.state();
        if state.active >= settings.runs_active_max {
            state.pressed = true;
        }
        let pressed = state.pressed;
        let of = state.tenants.entry(tenant).or_default();
        if of.active >= bounds.active_max(tenant) {
            of.pressed = true;
        }
        if pressed || of.pressed {
            return Taken::Wait;
        }
        if bounds.room((tenant, of)) == 0 {
            return Taken::Ask;
        }
        of.sit(1);
        state.active += 1;
        drop(state);
        Taken::Seat(Seat::of(self, tenant))
    }

    /// A seat for a run that was accepted before, whether or not one is free.
    pub(crate) fn force(self: &Arc<Backlog>, tenant: TenantKey, bounds: &Bounds<'_>) -> Seat {
        let mut state = self.state();
        state.active += 1;
        let of = state.tenants.entry(tenant).or_default();
        of.sit(1);
        let beyond = bounds.quota(tenant).is_some() && of.allowance.is_short(of.used());
        drop(state);
        if beyond {
            // The other nodes are to know of it.
            self.wake();
        }
        Seat::of(self, tenant)
    }

    /// Active runs of this node.
    pub(crate) fn active(&self) -> usize {
        self.state().active
    }

    /// Whether the queue takes one more run of that tenant.
    ///
    /// # Errors
    /// It does not: which bound is passed, and its setting.
    pub(crate) fn admits(&self, tenant: TenantKey, bounds: &Bounds<'_>) -> Result<(), RuntimeError> {
        let settings = bounds.settings;
        let state = self.state();
        let of = state.tenants.get(&tenant).map_or(0, |tenant| tenant.queued);
        let (most, name) = bounds.queued_max(tenant);
        if of >= most {
            let detail = format!(
                "{of} runs of this tenant wait for their turn, the most it may have ({name}): start it again when some \
                 of them have begun"
            );
            return Err(RuntimeError::Limit { code: "too_many_queued", detail });
        }
        let all: u64 = state.tenants.values().map(|tenant| tenant.queued).sum();
        if all >= settings.runs_queued_max {
            return Err(RuntimeError::unavailable(format!(
                "{all} runs wait for their turn, the most there may be (setting `runs_queued_max`): start it again \
                 when some of them have begun"
            )));
        }
        Ok(())
    }

    /// A run of that tenant was put into the queue.
    pub(crate) fn queued(&self, tenant: TenantKey) {
        self.state().tenants.entry(tenant).or_default().queued += 1;
        self.wake();
    }

    fn counted(&self, counts: &BTreeMap<TenantKey, u64>) {
        let mut state = self.state();
        for tenant in counts.keys() {
            state.tenants.entry(*tenant).or_default();
        }
        state.tenants.retain(|key, tenant| {
            tenant.queued = counts.get(key).copied().unwrap_or(0);
            !tenant.is_forgettable()
        });
    }

    /// Whether anybody is known to wait.
    fn any_wait(&self) -> bool {
        let state = self.state();
        state.pressed || state.tenants.values().any(|tenant| tenant.pressed || tenant.queued > 0)
    }

    /// Shares the free seats among the tenants that wait, `waiting` being all of them in the order of their turns, and
    /// takes the seats.
    fn share(self: &Arc<Backlog>, waiting: &[TenantKey], bounds: &Bounds<'_>) -> Vec<(TenantKey, Vec<Seat>)> {
        let settings = bounds.settings;
        let mut state = self.state();
        let room_of = |state: &State, tenant: &TenantKey| {
            bounds.room((*tenant, &state.tenants.get(tenant).copied().unwrap_or_default()))
        };
        let may: Vec<(TenantKey, usize)> =
            waiting.iter().map(|it| (*it, room_of(&state, it))).filter(|(_, room)| *room > 0).collect();
        let free = settings.runs_active_max.saturating_sub(state.active).min(CLAIM_RUNS_MAX);
        let shares = turns(free, &may);
        // Who waits and got nothing waits for a seat of the node, or for one of its own.
        state.pressed = shares.len() < may.len() || (!may.is_empty() && free == 0);
        if waiting.len() < TENANTS_MAX {
            state.tenants.values_mut().for_each(|tenant| tenant.pressed = false);
        }
        for tenant in waiting {
            let at_its_bound = room_of(&state, tenant) == 0;
            state.tenants.entry(*tenant).or_default().pressed = at_its_bound;
        }
        for (tenant, seats) in &shares {
            state.active += seats;
            state.tenants.entry(*tenant).or_default().sit(*seats);
        }
        drop(state);
        shares
            .into_iter()
            .map(|(tenant, seats)| (tenant, (0..seats).map(|_| Seat::of(self, tenant)).collect()))
            .collect()
    }

    fn claimed(&self, tenant: TenantKey) {
        if let Some(tenant) = self.state().tenants.get_mut(&tenant) {
            tenant.queued = tenant.queued.saturating_sub(1);
        }
    }
}

/// How many seats each tenant gets of the free ones: one after the other takes one, as far as there is room.
fn turns(free: usize, may: &[(TenantKey, usize)]) -> Vec<(TenantKey, usize)> {
    let mut left = free;
    let mut shares: Vec<(TenantKey, usize)> = may.iter().map(|(tenant, _)| (*tenant, 0)).collect();
    let mut given = true;
    while left > 0 && given {
        given = false;
        for ((_, seats), (_, room)) in shares.iter_mut().zip(may) {
            if left > 0 && *seats < *room {
                *seats += 1;
                left -= 1;
                given = true;
            }
        }
    }
    shares.retain(|(_, seats)| *seats > 0);
    shares
}

/// What the loop remembers from one look to the next.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The tenant that was served last: the next one is first.
    last: TenantKey,
    floors: HashMap<TenantKey, Position>,
    floors_since: Instant,
    counted: Option<Instant>,
    count_took: Duration,
    claims: usize,
    /// Tenants wait for a part of their quota that other nodes have.
    starving: bool,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns {
            last: TenantKey(i32::MIN),
            floors: HashMap::new(),
            floors_since: Instant::now(),
            counted: None,
            count_took: Duration::ZERO,
            claims: 0,
            starving: false,
        }
    }

    /// The waiting tenants, beginning with the one whose turn it is.
    async fn waiting(&self, core: &Core) -> Result<Vec<TenantKey>, RuntimeError> {
        let mut waiting = core.store.backlog_tenants(self.last, TENANTS_MAX as i64).await?;
        if waiting.len() < TENANTS_MAX && self.last != TenantKey(i32::MIN) {
            let from_the_first = core.store.backlog_tenants(TenantKey(i32::MIN), TENANTS_MAX as i64).await?;
            waiting.extend(from_the_first.into_iter().take_while(|tenant| *tenant <= self.last));
        }
        Ok(waiting)
    }

    fn floor(&self, tenant: TenantKey) -> Position {
        self.floors.get(&tenant).map_or(Position::FIRST, |last| last.with_slack())
    }
}

/// Claims until everything stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut turns = Turns::new();
    loop {
        if let Err(error) = tick(&core, &mut turns).await {
            tracing::warn!(%error, "queued runs wait until the next look");
        }
        let pause = if turns.starving { core.settings.scan.min(ASK_EVERY) } else { core.settings.scan };
        tokio::select! {
            () = core.backlog.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// One look: takes as many queued runs as there is room for.
pub(crate) async fn tick(core: &Arc<Core>, turns: &mut Turns) -> Result<(), RuntimeError> {
    if !core.store.lease_holds() {
        return Ok(());
    }
    if core.is_draining() {
        // What is not used here is for those who stay.
        return core.settle_allowances(&[]).await.map(|_| ());
    }
    if turns.floors_since.elapsed() >= FLOORS_KEPT {
        turns.floors.clear();
        turns.floors_since = Instant::now();
    }
    count(core, turns).await?;
    loop {
        let lanes = core.store.lanes();
        if lanes.is_empty() {
            return Ok(());
        }
        let waiting = turns.waiting(core).await?;
        turns.starving = core.settle_allowances(&waiting).await?;
        let mut seats = core.backlog.share(&waiting, &core.bounds());
        // Where all get something, the one that comes first gets what is over: each is first in its turn.
        let served = if seats.len() == waiting.len() { seats.first() } else { seats.last() };
        let Some((served, _)) = served else { return Ok(()) };
        turns.last = *served;
        turns.claims += 1;
        // Each claim takes its lane's lock for a moment: they take turns, too.
        let lane = lanes[turns.claims % lanes.len()];
        let shares: Vec<Share> = seats
            .iter()
            .map(|(tenant, seats)| {
                let runs = u32::try_from(seats.len()).unwrap_or(u32::MAX);
                Share { tenant: *tenant, runs, floor: turns.floor(*tenant) }
            })
            .collect();
        let claimed = core.store.claim_runs(lane, &shares).await?;
        add(&core.metrics.runs_claimed, claimed.len() as u64);
        for (tenant, _) in &seats {
            let runs: Vec<RunId> = claimed.iter().filter(|it| it.tenant == *tenant).map(|it| it.position.run).collect();
            // A few are read by themselves, all at once.
            if runs.len() >= TOGETHER_MIN {
                loader::load_claimed(core, *tenant, &runs).await;
            }
        }
        for it in &claimed {
            let floor = turns.floors.entry(it.tenant).or_insert(it.position);
            *floor = (*floor).max(it.position);
            core.backlog.claimed(it.tenant);
            let free = seats.iter_mut().find(|(tenant, _)| *tenant == it.tenant).and_then(|(_, seats)| seats.pop());
            core.admit((it.tenant, it.position.run), lane, free);
        }
        if claimed.is_empty() {
            // Others were faster, or the floors hide what is left: the next look is without them.
            let hidden = !turns.floors.is_empty();
            turns.floors.clear();
            if !hidden {
                return Ok(());
            }
        }
    }
}

/// Counts the queue now and then, if there is one: its bounds go by this.
async fn count(core: &Core, turns: &mut Turns) -> Result<(), RuntimeError> {
    let pause = core.settings.scan.max(turns.count_took * COUNT_SHARE);
    let due = turns.counted.is_none_or(|since| since.elapsed() >= pause);
    if !due || (turns.counted.is_some() && !core.backlog.any_wait()) {
        return Ok(());
    }
    let begun = Instant::now();
    core.backlog.counted(&core.store.backlog_counts().await?);
    turns.counted = Some(Instant::now());
    turns.count_took = begun.elapsed();
    Ok(())
}

impl Core {
    /// Lets a run in that this node has claimed onto that lane. It is told until it is known to be in, or to be somebody else's.
    pub(crate) fn admit(self: &Arc<Core>, (tenant, run): (TenantKey, RunId), lane: LaneId, seat: Option<Seat>) {
        let (core, seat) = (Arc::clone(self), seat.map(Seat::lend));
        self.spawn(async move {
            // Anything else: it is in, or was cancelled meanwhile, or stands still for a reason that was logged.
            let admit = || Deliver { moved: Some(lane), ..Deliver::new(tenant, run, Event::Admit) };
            while let Err(RuntimeError::Unavailable { .. } | RuntimeError::Store(_)) = core.tell(admit()).await {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            // The run in memory has a seat of its own by now.
            drop(seat);
        });
    }

    /// A run was put into the queue: whoever has room is told.
    pub(crate) fn backlogged(&self, tenant: TenantKey) {
        add(&self.metrics.runs_queued, 1);
        self.backlog.queued(tenant);
        self.store.hint(LaneId(0), Hint::Backlog);
    }
}

#[cfg(test)]
mod tests;
