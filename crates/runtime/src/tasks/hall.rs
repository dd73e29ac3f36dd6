//! Where claims wait for tasks.
//!
//! A claim looks in the database first, together with all others of its tenant that look, unless it is known that nothing is
//! there; then at the [shelf](shelf). When nothing was there either it waits, and the next task of its queues is its own: the
//! transition that offers the task reserves it, writes it as claimed, and hands it over once that is on disk. So a worker that
//! waits costs no look and no write of its own.
//!
//! Invariant: a claim that waits has looked after the last task was stored that it could have had, or somebody has who
//! left nothing.

mod shelf;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use windlass_definition::Timestamp;
use windlass_engine::id::{RunId, TaskId, TenantKey};
use windlass_store::{Holder, StoreError};

use self::shelf::{Queue, Shelf};
use super::claims::{Claims, Offered};
use crate::views::ClaimedTask;

/// How many looks of a tenant are under way at once: while one waits for the disk, the next one finds its tasks.
const LOOKS_MAX: usize = 2;
/// Tasks that lie there without rows; those beyond have theirs at once.
const LYING_MAX: usize = 10_000;
/// Queues of which something is known; of all others nothing is.
const STOCKS_MAX: usize = 10_000;

/// What a claim is answered with.
pub(crate) type Answer = Result<Vec<ClaimedTask>, StoreError>;

/// What a worker waits for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantKey,
    /// Sorted.
    pub(crate) queues: Arc<[Arc<str>]>,
    pub(crate) worker: Arc<str>,
    pub(crate) max: usize,
}

/// Names a claim that waits.
pub(crate) type Place = u64;

/// Claims that look together: they want tasks of the same queues.
pub(crate) struct Look {
    pub(crate) queues: Arc<[Arc<str>]>,
    pub(crate) claims: Vec<(Place, Arc<str>, usize)>,
}

#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    /// It wants to look in the database, or does.
    looking: bool,
    /// It does, for so many tasks.
    under_way: Option<usize>,
    /// Something was stored since its look began.
    again: bool,
    /// It is to be answered as soon as nothing is on its way to it, with whatever it has.
    ending: bool,
    /// Tasks whose commits are on their way to the disk.
    reserved: usize,
    got: Vec<ClaimedTask>,
    reply: oneshot::Sender<Answer>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Place, Waiting>,
    last: Place,
    /// Who waits at a queue, the longest first.
    queues: HashMap<Queue, VecDeque<Place>>,
    shelf: Shelf,
    stocks: HashMap<Queue, Stock>,
    /// Tenants whose claims are looked for, and by how many.
    served: HashMap<TenantKey, usize>,
}

/// What is known of the tasks of a queue that have rows and that nobody has.
#[derive(Debug, Clone, Copy, Default)]
struct Stock {
    /// There are none.
    none: bool,
    /// The last look took all that there were: workers come as fast as tasks.
    keeps_up: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Hall {
    state: Mutex<State>,
    claims: Arc<Claims>,
}

/// A task that lies there for whoever comes next; dropped, it is nobody's any more.
#[derive(Debug)]
pub(crate) struct Lying {
    hall: Arc<Hall>,
    task: TaskId,
}

impl Lying {
    /// It gets its row: whose it is by now, if anybody's.
    pub(crate) fn end(self) -> Option<Holder> {
        let mut state = self.hall.state();
        match state.shelf.forget(self.task)? {
            Ok(queue) => {
                // Nobody came for it.
                if let Some(stock) = state.stocks.get_mut(&queue) {
                    stock.keeps_up = false;
                }
                None
            }
            Err(holder) => Some(holder),
        }
    }
}

impl Drop for Lying {
    fn drop(&mut self) {
        self.hall.state().shelf.forget(self.task);
    }
}

/// A task that is promised to a claim; dropped, the promise is taken back.
#[derive(Debug)]
pub(crate) struct Reserved {
    hall: Arc<Hall>,
    place: Place,
    pub(crate) worker: Arc<str>,
    handed: bool,
}

impl Reserved {
    /// The task is on disk as claimed. Gives back what nobody is there for any more.
    pub(crate) fn hand(mut self, task: ClaimedTask) -> Vec<ClaimedTask> {
        self.handed = true;
        self.hall.arrived(self.place, Some(task))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.handed {
            // What it had got before is kept for its other tasks, or is answered now.
            let orphans = self.hall.arrived(self.place, None);
            for task in orphans {
                tracing::debug!(task = %task.id, "a claimed task waits for its lease to run out: its worker is gone");
            }
        }
    }
}

impl Hall {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(claims: Arc<Claims>) -> Hall {
        Hall { state: Mutex::default(), claims }
    }

    /// Comes in, and takes what lies there if nothing is stored and that may be taken at this time. Says where it waits then, and
    /// whether somebody has to look for it ([`Hall::serve`]).
    pub(crate) fn enter(&self, wanted: Wanted, at: Option<Timestamp>) -> (Place, oneshot::Receiver<Answer>, bool) {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state();
        state.last += 1;
        let place = state.last;
        for queue in wanted.queues.iter() {
            state.queues.entry((wanted.tenant, Arc::clone(queue))).or_default().push_back(place);
        }
        let looking = at.is_none() || !wanted.all_queues().all(|queue| state.stock(&queue).none);
        let (under_way, again, ending) = (None, false, false);
        let waiting = Waiting { wanted, looking, under_way, again, ending, reserved: 0, got: Vec::new(), reply };
        state.waiting.insert(place, waiting);
        state.fill(place, at, &self.claims);
        state.answer_if_done(place);
        (place, answer, looking)
    }

    /// Waits no longer. Gives back what nobody is there for any more.
    pub(crate) fn end(&self, place: Place) -> Vec<ClaimedTask> {
        let mut state = self.state();
        let Some(waiting) = state.waiting.get_mut(&place) else { return Vec::new() };
        waiting.ending = true;
        state.answer_if_done(place)
    }

    /// Nobody waits any longer.
    pub(crate) fn end_all(&self) {
        let places: Vec<Place> = self.state().waiting.keys().copied().collect();
        for place in places {
            self.end(place);
        }
    }

    /// Promises a task that is about to be written to whoever has waited longest.
    pub(crate) fn reserve(self: &Arc<Hall>, tenant: TenantKey, queue: &Arc<str>) -> Option<Reserved> {
        let mut state = self.state();
        let place = state.first_at(&(tenant, Arc::clone(queue)), |it| it.has_room() && it.got.is_empty())?;
        let chosen = state.waiting.get_mut(&place)?;
        chosen.reserved += 1;
        let worker = Arc::clone(&chosen.wanted.worker);
        Some(Reserved { hall: Arc::clone(self), place, worker, handed: false })
    }

    /// Whether a task of that queue may lie there for whoever comes next.
    pub(crate) fn may_lie(&self, tenant: TenantKey, queue: &Arc<str>) -> bool {
        let state = self.state();
        state.shelf.len() < LYING_MAX && state.stock(&(tenant, Arc::clone(queue))).keeps_up
    }

    /// Lays a task there for whoever comes next; whoever waits by now gets it, if it may be taken at this time. Gives back what
    /// nobody is there for any more.
    pub(crate) fn lay(self: &Arc<Hall>, offered: Offered, at: Option<Timestamp>) -> (Lying, Vec<ClaimedTask>) {
        let lying = Lying { hall: Arc::clone(self), task: offered.task.task };
        let mut state = self.state();
        let place = state.first_at(&(offered.tenant, Arc::clone(&offered.task.queue)), Waiting::has_room);
        state.shelf.lay(offered);
        let orphans = place.map(|place| {
            state.fill(place, at, &self.claims);
            state.answer_if_done(place)
        });
        (lying, orphans.unwrap_or_default())
    }

    /// Nobody gets a task any more that lies there; whether it did.
    pub(crate) fn withdraw(&self, task: TaskId, now: Timestamp) -> bool {
        self.state().shelf.give(task, &Arc::default(), now).is_some()
    }

    /// The run of a task that lies there.
    pub(crate) fn run_of(&self, task: TaskId) -> Option<RunId> {
        self.state().shelf.run_of(task)
    }

    fn arrived(&self, place: Place, task: Option<ClaimedTask>) -> Vec<ClaimedTask> {
        let mut state = self.state();
        let Some(waiting) = state.waiting.get_mut(&place) else { return task.into_iter().collect() };
        waiting.reserved -= 1;
        waiting.got.extend(task);
        state.answer_if_done(place)
    }

    /// A task was stored for whoever asks: true if somebody has to look ([`Hall::serve`]).
    pub(crate) fn stored(&self, tenant: TenantKey, queue: &Arc<str>) -> bool {
        let mut state = self.state();
        let queue = (tenant, Arc::clone(queue));
        let State { waiting, queues, stocks, .. } = &mut *state;
        if let Some(stock) = stocks.get_mut(&queue) {
            stock.none = false;
        }
        let Some(places) = queues.get(&queue) else { return false };
        let looking = places.iter().filter(|place| waiting.get_mut(place).is_some_and(Waiting::look_again));
        looking.count() > 0
    }

    /// Tasks may be there for anybody: whose claims are to be looked for.
    pub(crate) fn stored_somewhere(&self) -> HashSet<TenantKey> {
        let mut state = self.state();
        state.stocks.values_mut().for_each(|stock| stock.none = false);
        state.waiting.values_mut().filter_map(|it| it.look_again().then_some(it.wanted.tenant)).collect()
    }

    /// Whether the caller has to look for this tenant's claims: as many do as may.
    pub(crate) fn serve(&self, tenant: TenantKey) -> bool {
        let mut state = self.state();
        let looks = state.served.entry(tenant).or_default();
        let more = *looks < LOOKS_MAX;
        *looks += usize::from(more);
        more
    }

    /// The next claims to look for, at most `max` tasks of them; `None` when nobody wants to look: one less looks then.
    pub(crate) fn next_look(&self, tenant: TenantKey, max: usize) -> Option<Look> {
        let mut state = self.state();
        let mut places: Vec<Place> = state
            .waiting
            .iter()
            .filter(|(_, it)| it.looking && it.under_way.is_none() && it.wanted.tenant == tenant)
            .map(|(at, _)| *at)
            .collect();
        places.sort_unstable();
        let Some(first) = places.first().and_then(|place| state.waiting.get(place)) else {
            if let Some(looks) = state.served.get_mut(&tenant).filter(|looks| **looks > 1) {
                *looks -= 1;
            } else {
                state.served.remove(&tenant);
            }
            return None;
        };
        let queues = Arc::clone(&first.wanted.queues);
        let mut left = max;
        let mut claims = Vec::new();
        for place in places {
            let Some(waiting) = state.waiting.get_mut(&place).filter(|it| it.wanted.queues == queues) else { continue };
            let count = waiting.wanted.max.min(left);
            if count == 0 {
                break;
            }
            left -= count;
            (waiting.under_way, waiting.again) = (Some(count), false);
            claims.push((place, Arc::clone(&waiting.wanted.worker), count));
        }
        Some(Look { queues, claims })
    }

    /// What a look found for a claim, to which comes what lies there, if that may be taken at this time. Gives back what nobody is
    /// there for any more.
    pub(crate) fn looked(&self, place: Place, found: Answer, at: Option<Timestamp>) -> Vec<ClaimedTask> {
        let mut state = self.state();
        let Some(waiting) = state.waiting.get_mut(&place) else { return found.unwrap_or_default() };
        let asked = waiting.under_way.take();
        match found {
            Ok(tasks) => {
                let keeps_up = asked.is_some_and(|asked| tasks.len() < asked);
                let stock = Stock { none: keeps_up && !waiting.again, keeps_up };
                waiting.looking = tasks.is_empty() && waiting.again && !waiting.ending;
                waiting.got.extend(tasks);
                for queue in waiting.wanted.clone().all_queues() {
                    state.know(queue, stock);
                }
                state.fill(place, at, &self.claims);
                state.answer_if_done(place)
            }
            Err(error) => {
                if let Some(waiting) = state.remove(place) {
                    // Nobody may be waiting any more.
                    let _ = waiting.reply.send(Err(error));
                }
                Vec::new()
            }
        }
    }
}

impl Wanted {
    fn all_queues(&self) -> impl Iterator<Item = Queue> {
        self.queues.iter().map(|queue| (self.tenant, Arc::clone(queue)))
    }
}

impl Waiting {
    /// Whether it could have one more task without a look.
    fn has_room(&self) -> bool {
        !self.looking && !self.ending && self.got.len() + self.reserved < self.wanted.max
    }

    /// Whether it begins to look by this.
    fn look_again(&mut self) -> bool {
        if self.looking {
            self.again = true;
            return false;
        }
        self.looking = !self.ending && self.reserved == 0 && self.got.is_empty();
        self.looking
    }
}

impl State {
    fn stock(&self, queue: &Queue) -> Stock {
        self.stocks.get(queue).copied().unwrap_or_default()
    }

    fn know(&mut self, queue: Queue, stock: Stock) {
        if self.stocks.len() >= STOCKS_MAX && !self.stocks.contains_key(&queue) {
            self.stocks.clear();
        }
        self.stocks.insert(queue, stock);
    }

    /// Who has waited longest at a queue, of those.
    fn first_at(&self, queue: &Queue, of: impl Fn(&Waiting) -> bool) -> Option<Place> {
        self.queues.get(queue)?.iter().copied().find(|place| self.waiting.get(place).is_some_and(&of))
    }

    /// Gives a claim what lies there, if it has looked and that may be taken at this time.
    fn fill(&mut self, place: Place, at: Option<Timestamp>, claims: &Claims) {
        let (Some(now), Some(waiting)) = (at, self.waiting.get_mut(&place)) else { return };
        while waiting.has_room()
            && let Some((offered, holder)) = self.shelf.take(&waiting.wanted, now)
        {
            let (held, task) = offered.claimed(holder);
            claims.hold(task.id, held);
            waiting.got.push(task);
        }
    }

    fn answer_if_done(&mut self, place: Place) -> Vec<ClaimedTask> {
        let done = |it: &Waiting| !it.looking && it.reserved == 0 && (it.ending || !it.got.is_empty());
        if !self.waiting.get(&place).is_some_and(done) {
            return Vec::new();
        }
        let Some(waiting) = self.remove(place) else { return Vec::new() };
        match waiting.reply.send(Ok(waiting.got)) {
            Ok(()) => Vec::new(),
            Err(unsent) => unsent.unwrap_or_default(),
        }
    }

    fn remove(&mut self, place: Place) -> Option<Waiting> {
        let waiting = self.waiting.remove(&place)?;
        for queue in waiting.wanted.queues.iter() {
            let key = (waiting.wanted.tenant, Arc::clone(queue));
            if let Some(places) = self.queues.get_mut(&key) {
                places.retain(|it| *it != place);
                if places.is_empty() {
                    self.queues.remove(&key);
                }
            }
        }
        Some(waiting)
    }
}
