//! Runs that come into memory, and runs whose state in memory is given up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use windlass_engine::Event;
use windlass_engine::id::{RunId, TenantKey};
use windlass_engine::status::RunStatus;
use windlass_store::{CommitError, LaneId, RowChange, StoreError};

use super::{AGAIN_AFTER, Deliver, Turner, UNBORN_MAX, UNBORN_PATIENCE};
use crate::error::RuntimeError;
use crate::inbox::InHand;
use crate::live_run::{Extra, LiveRun, OnDisk, Source};
use crate::loader::{LoadError, Loaded, Recover};
use crate::metrics::add;
use crate::tasks::Handed;

/// Runs that one turner reads at once. Each has its rows, its thread and its entries in memory meanwhile; those beyond
/// wait as three words.
const LOADS_MAX: usize = 64;

/// The runs that are being read, and those whose turn comes.
#[derive(Debug, Default)]
pub(super) struct Loads {
    open: usize,
    waiting: VecDeque<Load>,
}

/// A run to be read, after a pause if the database was asked just now.
#[derive(Debug)]
struct Load {
    tenant: TenantKey,
    run: RunId,
    recover: Recover,
    after: Option<Duration>,
}

/// What is to be known before a run is read whose state was given up.
#[derive(Debug)]
pub(super) struct Behind {
    tenant: TenantKey,
    generation: u64,
    /// Its commits that have not been answered. Whatever of them is written, the new state has to follow it.
    commits: usize,
}

impl Turner {
    /// A commit failed for good: what was ahead of the disk never happened. The journal says what did.
    pub(super) fn fall_back(&mut self, run: RunId, error: CommitError) {
        add(&self.core.metrics.commits_failed, 1);
        let Some(live) = self.remove(run) else { return };
        let (tenant, born, generation) = (live.tenant(), live.on_disk_before(), live.generation);
        let commits = live.pending.len().saturating_sub(1);
        for open in live.attempts.values() {
            open.stop.cancel();
        }
        for pending in live.pending {
            // What was refused because of it is taken after all.
            self.core.letters.put_back(&InHand::held(&pending.discards));
            for (reply, _) in pending.replies {
                reply.failed(commit_error(&error));
            }
        }
        tracing::warn!(%run, %error, "a transition was not written; the run is rebuilt from its journal");
        if let CommitError::Fenced(lane) = error {
            return self.core.lane_lost(lane);
        }
        if born == Born::Never && matches!(error, CommitError::Busy(_) | CommitError::Failed(_)) {
            return;
        }
        if !is_of_database(&error) {
            let failures = self.failures.entry(run).or_insert(0);
            *failures += 1;
            if *failures > self.core.settings.failures_max {
                self.core.quarantine(run, format!("its transitions cannot be written: {error}"));
                return;
            }
        }
        self.loading.entry(run).or_default();
        self.behind.insert(run, Behind { tenant, generation, commits });
        self.read_again(run);
    }

    /// A commit of a state that was given up is answered.
    pub(super) fn came_behind(&mut self, run: RunId, generation: u64) {
        if let Some(behind) = self.behind.get_mut(&run).filter(|behind| behind.generation == generation) {
            behind.commits -= 1;
            self.read_again(run);
        }
    }

    /// Reads a run whose state was given up, once nothing of that state is on its way.
    fn read_again(&mut self, run: RunId) {
        if self.behind.get(&run).is_some_and(|behind| behind.commits == 0)
            && let Some(Behind { tenant, .. }) = self.behind.remove(&run)
        {
            self.begin_load(Load { tenant, run, recover: Recover::Yes, after: Some(AGAIN_AFTER) });
        }
    }

    pub(super) fn load(&mut self, tenant: TenantKey, run: RunId, recover: Recover) {
        self.begin_load(Load { tenant, run, recover, after: None });
    }

    fn begin_load(&mut self, load: Load) {
        self.loading.entry(load.run).or_default();
        if self.loads.open >= LOADS_MAX {
            return self.loads.waiting.push_back(load);
        }
        self.loads.open += 1;
        let core = Arc::clone(&self.core);
        self.core.spawn(async move {
            let Load { tenant, run, recover, after } = load;
            if let Some(pause) = after {
                tokio::time::sleep(pause).await;
            }
            crate::loader::load(core, tenant, run, recover).await;
        });
    }

    /// The next run that waits to be read is read.
    pub(super) fn load_ended(&mut self) {
        self.loads.open -= 1;
        if let Some(next) = self.loads.waiting.pop_front() {
            self.begin_load(next);
        }
    }

    pub(super) fn loaded(&mut self, run: RunId, loaded: Loaded) {
        let Some(waiting) = self.loading.remove(&run) else { return };
        if !self.runs.contains_key(&run) {
            self.take_in(loaded);
        }
        for deliver in waiting {
            self.deliver(deliver);
        }
        self.settle(run);
    }

    /// A claimed run comes in, unless it did so by another way. Should something have happened to it since it was read,
    /// its next commit meets the journal's key, and it is read again.
    pub(super) fn claimed(&mut self, loaded: Loaded) {
        let run = loaded.run.id();
        if !self.runs.contains_key(&run) && !self.loading.contains_key(&run) && self.core.damage(run).is_none() {
            self.take_in(loaded);
        }
    }

    pub(super) fn take_in(&mut self, loaded: Loaded) {
        let Loaded { run, status, plan, lane, timer, tasks, visible, snapshot_seq, last_at, recover } = loaded;
        let id = run.id();
        add(&self.core.metrics.runs_loaded, 1);
        self.core.metrics.gauges().runs_in_memory.add(1);
        self.generation += 1;
        let on_disk = OnDisk { status: Some(status), timer, started: run.started_at().is_some() };
        let mut live = LiveRun {
            run,
            plan,
            lane,
            generation: self.generation,
            on_disk,
            pending: VecDeque::new(),
            attempts: HashMap::new(),
            handed: Handed::default(),
            visible,
            responses: HashMap::new(),
            snapshot_seq,
            held: Vec::new(),
            idle_since: None,
            response: None,
            last_at,
            seat: None,
            fleeting: on_disk.status == Some(RunStatus::Queued),
        };
        let asked = match recover {
            Recover::Yes => Some(live.run.recover(&live.plan.plan, self.core.now().max(last_at))),
            Recover::No => None,
        };
        self.runs.insert(id, Box::new(live));
        match asked {
            Some(transition) => {
                let lost = transition.entries.iter().filter(|it| it.record == windlass_engine::Record::Lost).count();
                add(&self.core.metrics.attempts_lost, lost as u64);
                self.write(id, transition, Extra { again: Some(tasks), ..Extra::default() }, None);
            }
            None => self.arm(id),
        }
    }

    /// The database is away. A run that was under way has nobody else to bring it back.
    pub(super) fn load_later(&mut self, tenant: TenantKey, run: RunId) {
        let waiting = self.loading.remove(&run).unwrap_or_default();
        let (answered, kept): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(|it| it.reply.is_some());
        for reply in answered.into_iter().filter_map(|deliver| deliver.reply) {
            reply.failed(RuntimeError::unavailable("the database does not answer: ask again"));
        }
        self.loading.insert(run, kept);
        self.begin_load(Load { tenant, run, recover: Recover::Yes, after: Some(AGAIN_AFTER) });
    }

    pub(super) fn not_loaded(&mut self, run: RunId, error: &LoadError) {
        let waiting = self.loading.remove(&run).unwrap_or_default();
        let (early, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|it| matches!(error, LoadError::NotFound) && self.is_early(it));
        self.remember(run, early);
        if let LoadError::Damaged(detail) = error {
            self.core.quarantine(run, detail.clone());
        }
        for deliver in waiting {
            if let Some(reply) = deliver.reply {
                reply.failed(error.answer(run));
            }
            if let (LoadError::Elsewhere(owner), Source::Letter(id, lane)) = (error, deliver.source)
                && *owner != lane
            {
                self.forward(run, id, lane, *owner);
                continue;
            }
            // What the run can no longer take is of no use; what could not be read now is read again.
            let lane = match (error, deliver.source) {
                (LoadError::Over(..) | LoadError::NotFound, Source::Letter(_, lane) | Source::Task(_, lane, _)) => lane,
                _ => continue,
            };
            let rows: Vec<RowChange> = deliver.source.discard().into_iter().chain(deliver.also).collect();
            if !rows.is_empty() {
                self.submit_rows(deliver.tenant, run, lane, rows);
            }
        }
    }

    /// Whether a run may be told this before it is there: its letter stays until it is.
    fn is_early(&self, deliver: &Deliver) -> bool {
        let Source::Letter(id, _) = deliver.source else { return false };
        let told = matches!(deliver.event, Event::Cancel { .. } | Event::Pause { .. } | Event::Resume { .. });
        let (seconds, _) = id.get_timestamp().map_or((0, 0), |at| at.to_unix());
        let age_s = self.core.now().micros() / 1_000_000 - i64::try_from(seconds).unwrap_or(0);
        told && age_s < UNBORN_PATIENCE.as_secs().cast_signed()
    }

    fn remember(&mut self, run: RunId, early: Vec<Deliver>) {
        if early.is_empty() {
            return;
        }
        if self.unborn.len() >= UNBORN_MAX {
            // Their letters are still there, and are read again.
            self.unborn.clear();
        }
        let known = self.unborn.entry(run).or_default();
        for deliver in early {
            if !known.iter().any(|it| it.source == deliver.source) {
                known.push(deliver);
            }
        }
    }

    /// A queued run was claimed after the letter for it was written.
    fn forward(&self, run: RunId, id: Uuid, from: LaneId, to: LaneId) {
        let core = Arc::clone(&self.core);
        self.core.spawn(async move {
            if let Err(error) = core.store.forward_inbox(from, id, to).await {
                // The row is still there: the recovery loop opens it again.
                tracing::warn!(%run, %error, "a letter could not be handed on yet");
            }
        });
    }

    pub(super) fn lose(&mut self, lanes: &[LaneId]) {
        let gone: Vec<RunId> =
            self.runs.iter().filter(|(_, live)| lanes.contains(&live.lane)).map(|(run, _)| *run).collect();
        for run in gone {
            let Some(live) = self.remove(run) else { continue };
            for open in live.attempts.values() {
                open.stop.cancel();
            }
            for (reply, _) in live.pending.into_iter().flat_map(|pending| pending.replies) {
                reply.failed(RuntimeError::unavailable("another node has taken the run over: ask again"));
            }
        }
    }
}

/// Whether anything of a run is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Born {
    Never,
    Yes,
}

impl LiveRun {
    fn on_disk_before(&self) -> Born {
        let ahead: u64 = self.pending.iter().map(|pending| pending.entries).sum();
        if self.run.seq() <= i64::try_from(ahead).unwrap_or(i64::MAX) { Born::Never } else { Born::Yes }
    }
}

/// Whether the database is away, full or busy, which says nothing of the run: it goes on once that is over.
fn is_of_database(error: &CommitError) -> bool {
    matches!(error, CommitError::Busy(_) | CommitError::Unknown | CommitError::Failed(StoreError::Unavailable(_)))
}

fn commit_error(error: &CommitError) -> RuntimeError {
    match error {
        CommitError::Failed(windlass_store::StoreError::Invalid(detail)) => RuntimeError::invalid("", detail.clone()),
        error => RuntimeError::unavailable(error.to_string()),
    }
}
