//! Where claims wait for tasks.
//!
//! A claim looks in the database first, together with all others of its tenant that look. When nothing was there it
//! waits, and the next task of its queues is its own: the transition that offers the task reserves it, writes it as
//! claimed, and hands it over once that is on disk. So a worker that waits costs no look and no write of its own.
//!
//! Invariant: a claim that waits has looked after the last task was stored that it could have had.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use windlass_engine::id::TenantKey;
use windlass_store::StoreError;

use crate::views::ClaimedTask;

/// How many looks of a tenant are under way at once: while one waits for the disk, the next one finds its tasks.
const LOOKS_MAX: usize = 2;

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
    /// It does.
    under_way: bool,
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
    queues: HashMap<(TenantKey, Arc<str>), VecDeque<Place>>,
    /// Tenants whose claims are looked for, and by how many.
    served: HashMap<TenantKey, usize>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Hall {
    state: Mutex<State>,
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

    /// Comes in; somebody has to look for it ([`Hall::serve`]).
    pub(crate) fn enter(&self, wanted: Wanted) -> (Place, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state();
        state.last += 1;
        let place = state.last;
        for queue in wanted.queues.iter() {
            state.queues.entry((wanted.tenant, Arc::clone(queue))).or_default().push_back(place);
        }
        let (looking, under_way, again, ending) = (true, false, false, false);
        let waiting = Waiting { wanted, looking, under_way, again, ending, reserved: 0, got: Vec::new(), reply };
        state.waiting.insert(place, waiting);
        (place, answer)
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
        let State { waiting, queues, .. } = &mut *state;
        let place = queues.get(&(tenant, Arc::clone(queue)))?.iter().copied().find(|place| {
            waiting
                .get(place)
                .is_some_and(|it| !it.looking && !it.ending && it.got.is_empty() && it.reserved < it.wanted.max)
        })?;
        let chosen = waiting.get_mut(&place)?;
        chosen.reserved += 1;
        let worker = Arc::clone(&chosen.wanted.worker);
        Some(Reserved { hall: Arc::clone(self), place, worker, handed: false })
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
        let State { waiting, queues, .. } = &mut *state;
        let Some(places) = queues.get(&(tenant, Arc::clone(queue))) else { return false };
        let looking = places.iter().filter(|place| waiting.get_mut(place).is_some_and(Waiting::look_again));
        looking.count() > 0
    }

    /// Tasks may be there for anybody: whose claims are to be looked for.
    pub(crate) fn stored_somewhere(&self) -> HashSet<TenantKey> {
        let mut state = self.state();
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
            .filter(|(_, it)| it.looking && !it.under_way && it.wanted.tenant == tenant)
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
            (waiting.under_way, waiting.again) = (true, false);
            claims.push((place, Arc::clone(&waiting.wanted.worker), count));
        }
        Some(Look { queues, claims })
    }

    /// What a look found for a claim. Gives back what nobody is there for any more.
    pub(crate) fn looked(&self, place: Place, found: Answer) -> Vec<ClaimedTask> {
        let mut state = self.state();
        let Some(waiting) = state.waiting.get_mut(&place) else { return found.unwrap_or_default() };
        waiting.under_way = false;
        match found {
            Ok(tasks) => {
                waiting.looking = tasks.is_empty() && waiting.again && !waiting.ending;
                waiting.got.extend(tasks);
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

impl Waiting {
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
