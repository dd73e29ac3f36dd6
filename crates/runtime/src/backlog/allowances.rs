//! What this node may have of tenants' quotas of active runs, where several nodes share a database.
//!
//! A node holds an allowance for each tenant with a quota that has runs here: as many active runs as it may have, which
//! the database keeps (`Store::settle_allowances`). A start within it asks nobody. One beyond it asks for a little more
//! than it needs, and is queued where there is none. What a node has not used for a while it gives back, and at once what
//! it cannot use while runs wait. Invariants: what is given back is not used from the moment on in which that is
//! decided; an allowance that was taken of a higher quota than today's is not used; runs that got a seat beyond it are
//! told to the others, and when they end nobody takes their place.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::RwLock;
use windlass_engine::id::TenantKey;
use windlass_store::{AllowanceWish, StoreError};

use super::{Backlog, Bounds, Taken, Tenant};
use crate::{core::Core, dispatch::Table, error::RuntimeError};

/// How often a node asks for more of a quota that others have.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long what is not used is kept.
const IDLE_KEPT: Duration = Duration::from_secs(1);
/// This part of a quota is asked for beyond what is needed.
const PORTION_SHARE: usize = 20;
const PORTION_MAX: usize = 1_000;

/// Who speaks with the database about allowances: about one tenant, one at a time, so that what was written last is what
/// is known here.
#[derive(Debug)]
pub(super) struct Allowances {
    /// A look writes; starts, which ask for one tenant each, read.
    looking: RwLock<()>,
    asking: Table<TenantKey>,
    /// When it was last seen what is not used.
    idle_since: Mutex<Option<Instant>>,
}

impl Default for Allowances {
    fn default() -> Allowances {
        Allowances { looking: RwLock::default(), asking: Table::new(1), idle_since: Mutex::default() }
    }
}

impl Allowances {
    /// Whether the time is over for which what is not used is kept; then the next one begins.
    fn idle_over(&self) -> bool {
        let mut since = self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        let over = since.is_none_or(|since| since.elapsed() >= IDLE_KEPT);
        if over {
            *since = Some(Instant::now());
        }
        over
    }
}

/// What this node may have of one quota.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// Active runs.
    runs: usize,
    /// How many the others take it to have.
    counted: usize,
    /// The quota that it was taken of.
    quota: usize,
    /// The fewest of it that were free since that was last looked at.
    free_least: usize,
    /// Nobody knows what the database has: an answer did not come.
    unknown: bool,
    /// There was no more of the quota.
    denied: Option<Instant>,
    /// Starts that wait for more of it.
    asking: usize,
}

impl Allowance {
    pub(super) fn is_none(&self) -> bool {
        self.runs == 0 && self.counted == 0 && !self.unknown && self.asking == 0
    }

    /// How many runs may be active under that quota.
    pub(super) fn under(&self, quota: usize) -> usize {
        if self.quota > quota { 0 } else { self.runs }
    }

    /// Whether the others take it to have fewer than that.
    pub(super) fn is_short(&self, used: usize) -> bool {
        used > self.counted
    }

    /// So many of it are used now.
    pub(super) fn used(&mut self, active: usize) {
        self.free_least = self.free_least.min(self.runs.saturating_sub(active));
    }
}

/// What is asked for beyond what is needed, so that the next starts ask nobody.
fn portion(quota: usize) -> usize {
    (quota / PORTION_SHARE).clamp(1, PORTION_MAX)
}

fn wish(tenant: TenantKey, used: usize, wanted: usize) -> AllowanceWish {
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    AllowanceWish { tenant, used: number(used), wanted: number(wanted) }
}

/// What a look knows of a tenant.
#[derive(Debug, Clone, Copy)]
struct Sight {
    /// Runs of it are in the queue.
    waits: bool,
    /// This node could take some of them, as far as the quota goes.
    has_room: bool,
    /// The time is over for which what is not used is kept.
    idle_over: bool,
}

impl Tenant {
    /// What this node would like to be allowed of its quota, where that is not what it is allowed now.
    fn wants(&mut self, quota: Option<usize>, sight: Sight) -> Option<usize> {
        let (active, used) = (self.active, self.used());
        let allowance = &mut self.allowance;
        let Some(quota) = quota else {
            // It has none any more.
            return (!allowance.is_none()).then_some(0);
        };
        let (runs, usable) = (allowance.runs, allowance.under(quota));
        if sight.waits && sight.has_room && usable <= active {
            if allowance.denied.is_none_or(|since| since.elapsed() >= ASK_EVERY) {
                let queued = usize::try_from(self.queued).unwrap_or(usize::MAX);
                return Some(active + portion(quota).min(queued.max(1)));
            }
        } else {
            allowance.denied = None;
        }
        let cannot_use = sight.waits && !sight.has_room && runs > active;
        if usable < runs || cannot_use {
            return Some(active);
        }
        if allowance.unknown || allowance.is_short(used) || allowance.counted > runs.max(used) {
            return Some(runs.max(active));
        }
        if !sight.idle_over {
            return None;
        }
        let idle = std::mem::replace(&mut allowance.free_least, runs.saturating_sub(active));
        (idle > 0).then_some(runs - idle)
    }
}

impl Backlog {
    /// What is to be written of the tenants' allowances now; what is given back is not used any more.
    fn wishes(&self, waiting: &[TenantKey], bounds: &Bounds<'_>, is_leaving: bool) -> Vec<AllowanceWish> {
        let idle_over = self.allowances.idle_over();
        let mut state = self.state();
        let has_seats = !is_leaving && state.active < bounds.settings.runs_active_max;
        let waiting: HashSet<TenantKey> =
            waiting.iter().copied().filter(|tenant| bounds.quota(*tenant).is_some()).collect();
        for tenant in &waiting {
            state.tenants.entry(*tenant).or_default();
        }
        let mut wishes = Vec::new();
        for (key, tenant) in &mut state.tenants {
            let quota = bounds.quota(*key);
            let has_room = has_seats && tenant.active < bounds.active_max(*key);
            // Who leaves keeps nothing for later.
            let sight = Sight { waits: is_leaving || waiting.contains(key), has_room, idle_over };
            if let Some(wanted) = tenant.wants(quota, sight) {
                let used = tenant.used().min(wanted);
                tenant.allowance.runs = tenant.allowance.runs.min(wanted);
                wishes.push(wish(*key, used, wanted));
            }
        }
        wishes
    }

    /// Keeps what the database said to these wishes.
    fn settled(
        &self,
        wishes: &[AllowanceWish],
        answer: &Result<Vec<windlass_store::Allowance>, StoreError>,
        bounds: &Bounds<'_>,
    ) {
        let mut state = self.state();
        let Ok(given) = answer else {
            for wish in wishes {
                state.tenants.entry(wish.tenant).or_default().allowance.unknown = true;
            }
            return;
        };
        let given: HashMap<TenantKey, windlass_store::Allowance> =
            given.iter().map(|allowance| (allowance.tenant, *allowance)).collect();
        for wish in wishes {
            let tenant = state.tenants.entry(wish.tenant).or_default();
            let given = given.get(&wish.tenant);
            let runs = given.map_or(0, |given| given.runs as usize);
            let quota = given.and_then(|given| given.quota).map_or(0, |quota| quota as usize);
            let denied = wish.wanted as usize > tenant.active && runs <= tenant.active;
            tenant.allowance = Allowance {
                runs,
                counted: given.map_or(0, |given| given.counted as usize),
                // The database may know of a higher one before this node does.
                quota: bounds.quota(wish.tenant).map_or(quota, |known| known.min(quota)),
                free_least: tenant.allowance.free_least.min(runs.saturating_sub(tenant.active)),
                unknown: false,
                denied: denied.then(Instant::now),
                asking: tenant.allowance.asking,
            };
            if tenant.is_forgettable() {
                state.tenants.remove(&wish.tenant);
            }
        }
    }

    /// Whether tenants of these wait for what other nodes have.
    fn starves(&self, waiting: &[TenantKey]) -> bool {
        let state = self.state();
        waiting.iter().any(|tenant| state.tenants.get(tenant).is_some_and(|it| it.allowance.denied.is_some()))
    }
}

impl Core {
    /// Looks what this node needs of quotas, and what it does not: these tenants have runs in the queue. Whether some of
    /// them wait for what other nodes have.
    pub(super) async fn settle_allowances(&self, waiting: &[TenantKey]) -> Result<bool, RuntimeError> {
        if !self.store.is_shared() {
            return Ok(false);
        }
        let _looking = self.backlog.allowances.looking.write().await;
        let bounds = self.bounds();
        let wishes = self.backlog.wishes(waiting, &bounds, self.is_draining());
        if !wishes.is_empty() {
            let answer = self.store.settle_allowances(wishes.clone()).await;
            self.backlog.settled(&wishes, &answer, &bounds);
            answer?;
        }
        Ok(self.backlog.starves(waiting))
    }

    /// A seat for a run whose tenant has used up what this node may have of its quota, if there is more of it.
    pub(crate) async fn ask_for_seat(&self, tenant: TenantKey) -> Taken {
        self.backlog.state().tenants.entry(tenant).or_default().allowance.asking += 1;
        let taken = self.ask_in_turn(tenant).await;
        if let Some(of) = self.backlog.state().tenants.get_mut(&tenant) {
            of.allowance.asking = of.allowance.asking.saturating_sub(1);
            // The next ones need not ask: whoever looks at the queue does.
            of.pressed |= matches!(taken, Taken::Ask);
        }
        taken
    }

    async fn ask_in_turn(&self, tenant: TenantKey) -> Taken {
        let allowances = &self.backlog.allowances;
        let _looking = allowances.looking.read().await;
        // Nobody closes it.
        let _turn = allowances.asking.get(tenant).acquire_owned().await.ok();
        let bounds = self.bounds();
        // Whoever came before may have asked for enough.
        match (self.backlog.take(tenant, &bounds), bounds.quota(tenant)) {
            (Taken::Ask, Some(quota)) => {
                let of = self.backlog.state().tenants.get(&tenant).copied().unwrap_or_default();
                let wish = wish(tenant, of.used(), of.active + portion(quota).max(of.allowance.asking));
                let answer = self.store.settle_allowances(vec![wish]).await;
                if let Err(error) = &answer {
                    tracing::warn!(%error, "what is left of a quota is not known: runs of its tenant are queued");
                }
                self.backlog.settled(&[wish], &answer, &bounds);
                self.backlog.take(tenant, &bounds)
            }
            (taken, _) => taken,
        }
    }

    /// Joins the others anew: what the node that this was might have is its no more.
    pub(crate) async fn rejoin(&self) -> Result<(), RuntimeError> {
        let _looking = self.backlog.allowances.looking.write().await;
        for tenant in self.backlog.state().tenants.values_mut() {
            tenant.allowance = Allowance { asking: tenant.allowance.asking, ..Allowance::default() };
        }
        self.store.rejoin().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node with these active runs and this allowance asks for, of a quota of 40.
    fn check(active: usize, allowance: Allowance, sight: Sight) -> Option<usize> {
        Tenant { active, queued: 9, allowance, ..Tenant::default() }.wants(Some(40), sight)
    }

    #[test]
    fn a_node_asks_for_what_it_needs_and_gives_back_what_it_does_not() {
        const CALM: Sight = Sight { waits: false, has_room: true, idle_over: false };
        const LATER: Sight = Sight { idle_over: true, ..CALM };
        const WAITING: Sight = Sight { waits: true, ..CALM };
        const FULL: Sight = Sight { has_room: false, ..WAITING };
        let may = |runs| Allowance { runs, counted: runs, quota: 40, ..Allowance::default() };
        let now = Some(Instant::now());
        for (what, active, allowance, sight, wanted) in [
            ("nothing to say", 3, may(3), CALM, None),
            ("runs wait: a portion more", 3, may(3), WAITING, Some(5)),
            ("there is some of it left", 3, may(4), WAITING, None),
            ("it asked a moment ago", 3, Allowance { denied: now, ..may(3) }, WAITING, None),
            ("it has no room for those that wait", 3, may(5), FULL, Some(3)),
            ("what was never used goes back", 3, Allowance { free_least: 2, ..may(6) }, LATER, Some(4)),
            ("what was used for a moment stays", 3, Allowance { free_least: 0, ..may(6) }, LATER, None),
            ("more runs than it may have", 5, may(3), CALM, Some(5)),
            ("they have ended", 3, Allowance { counted: 5, ..may(3) }, CALM, Some(3)),
            ("nobody knows what was written", 3, Allowance { unknown: true, ..may(4) }, CALM, Some(4)),
            ("the quota is lower now", 3, Allowance { quota: 50, ..may(8) }, CALM, Some(3)),
        ] {
            assert_eq!(check(active, allowance, sight), wanted, "{what}");
        }
        let mut without = Tenant { active: 3, allowance: may(3), ..Tenant::default() };
        assert_eq!(without.wants(None, CALM), Some(0), "the tenant has no quota any more");
    }
}
