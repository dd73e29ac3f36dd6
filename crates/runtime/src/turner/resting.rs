//! Runs that wait, end, or leave memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use windlass_definition::Timestamp;
use windlass_engine::id::RunId;
use windlass_engine::status::RunStatus;
use windlass_engine::{Event, Transition};
use windlass_store::RowChange;

use super::{BATCH_TIME_MAX, Deliver, ENDED_MAX, ENDED_OUTPUT_BYTES_MAX, Turner};
use crate::error::RuntimeError;
use crate::live_run::{Extra, LiveRun, Reply, Taken};
use crate::metrics::add;
use crate::views::RunView;

/// Places of a table that are kept though nothing is in them.
const ROOM_KEPT: usize = 4_096;

impl Turner {
    pub(super) fn arm(&mut self, run: RunId) {
        let Some(live) = self.runs.get(&run) else { return };
        match live.run.next_timer() {
            Some(due) => self.timers.arm(run, due),
            None => self.timers.forget(run),
        }
    }

    /// Decides whether a run that nothing waits for stays in memory.
    pub(super) fn settle(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        if !live.pending.is_empty() {
            return;
        }
        if live.handed.are_wanted() {
            return self.write_wanted(run);
        }
        live.held.clear();
        let status = live.run.status();
        if status.is_final() {
            let Some(live) = self.remove(run) else { return };
            return self.end(live);
        }
        if live.fleeting && status == RunStatus::Queued {
            return self.evict(run);
        }
        let rests = matches!(status, RunStatus::Waiting | RunStatus::Paused | RunStatus::Queued);
        if rests && live.attempts.is_empty() && live.idle_since.is_none() {
            let now = Instant::now();
            live.idle_since = Some(now);
            live.seat = None;
            self.idle.push_back((now, run));
        }
    }

    pub(super) fn end(&mut self, live: LiveRun) {
        let view = Arc::new(RunView { response: live.response, ..RunView::of_run(&live.run) });
        for watcher in self.watchers.remove(&view.id).into_iter().flatten() {
            let _ = watcher.send(Arc::clone(&view));
        }
        if self.core.watchers.has(view.id) {
            self.core.watchers.close(view.id);
        }
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        let bytes = crate::payload::size(&view.output) + crate::payload::size(&view.input);
        if bytes <= ENDED_OUTPUT_BYTES_MAX {
            self.ended.push_back(view);
        }
    }

    pub(super) fn watch(&mut self, run: RunId, reply: oneshot::Sender<Arc<RunView>>) {
        if let Some(view) = self.ended.iter().rev().find(|view| view.id == run) {
            let _ = reply.send(Arc::clone(view));
            return;
        }
        if let Some(live) = self.runs.get(&run)
            && let Some(response) = &live.response
        {
            let _ = reply.send(Arc::new(RunView { response: Some(response.clone()), ..RunView::of_run(&live.run) }));
            return;
        }
        let watchers = self.watchers.entry(run).or_default();
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(reply);
    }

    pub(super) fn hold_until_it_rests(&mut self, run: RunId, held: oneshot::Sender<()>) {
        if let Some(live) = self.runs.get_mut(&run)
            && !live.pending.is_empty()
        {
            live.held.push(held);
        }
    }

    pub(super) fn unwatch(&mut self, run: RunId) {
        let Some(watchers) = self.watchers.get_mut(&run) else { return };
        watchers.retain(|watcher| !watcher.is_closed());
        if watchers.is_empty() {
            self.watchers.remove(&run);
        }
    }

    pub(super) fn remove(&mut self, run: RunId) -> Option<LiveRun> {
        let live = self.runs.remove(&run)?;
        self.timers.forget(run);
        self.core.metrics.gauges().runs_in_memory.add(-1);
        Some(*live)
    }

    pub(super) fn fire_timers(&mut self) {
        let now = self.core.now();
        let begun = Instant::now();
        // What is due beyond that is due in the next batch.
        while begun.elapsed() < BATCH_TIME_MAX {
            let Some(run) = self.timers.pop_due(now) else { return };
            let Some(live) = self.runs.get(&run) else { continue };
            let tenant = live.tenant();
            match live.run.next_timer() {
                Some(due) if due <= now => {
                    windlass_store::crash_point::hit("before-timer");
                    add(&self.core.metrics.timers_fired, 1);
                    self.step(Deliver::new(tenant, run, Event::Tick));
                }
                Some(due) => self.timers.arm(run, due),
                None => {}
            }
        }
    }

    /// Shows attempts that run for a while, and sends idle runs back to the database.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.swept) < Duration::from_millis(50) {
            return;
        }
        self.swept = now;
        while let Some((since, run)) = self.running.front().copied() {
            if now.duration_since(since) < self.core.settings.active_after {
                break;
            }
            self.running.pop_front();
            self.show_active(run);
        }
        while let Some((since, run, task)) = self.handed.front().copied() {
            if now.duration_since(since) < self.core.settings.active_after {
                break;
            }
            self.handed.pop_front();
            if self.runs.get(&run).is_some_and(|live| live.handed.contains(task)) {
                self.write_handed(run, None);
            }
        }
        // Those that stay go to the end, and are not asked twice.
        for _ in 0..self.idle.len() {
            let Some((since, run)) = self.idle.front().copied() else { break };
            if !self.is_crowded() && now.duration_since(since) < self.core.settings.idle {
                break;
            }
            self.idle.pop_front();
            if self.runs.get(&run).is_some_and(|live| live.idle_since == Some(since)) {
                self.evict(run);
            }
        }
        self.give_room_back();
    }

    /// What a crowd needed is not kept once it has gone.
    fn give_room_back(&mut self) {
        let much = |room: usize, used: usize| room > ROOM_KEPT && room / 8 > used;
        if much(self.runs.capacity(), self.runs.len()) {
            self.runs.shrink_to(ROOM_KEPT);
        }
        if much(self.loading.capacity(), self.loading.len()) {
            self.loading.shrink_to(ROOM_KEPT);
        }
        if much(self.idle.capacity(), self.idle.len()) {
            self.idle.shrink_to(ROOM_KEPT);
        }
    }

    pub(super) fn show_active(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let rows = show(live, self.core.now());
        if !rows.is_empty() {
            let (tenant, lane) = (live.tenant(), live.lane);
            self.submit_rows(tenant, run, lane, rows);
        }
    }

    /// Has the rows written of tasks that a run handed out without.
    pub(super) fn write_handed(&mut self, run: RunId, reply: Option<Reply>) {
        match self.runs.get_mut(&run) {
            Some(live) => live.handed.want_rows(reply),
            None => {
                // A state that was given up comes back with rows for its tasks.
                let is_coming = self.loading.contains_key(&run);
                return reply.into_iter().for_each(|reply| match is_coming {
                    true => reply.failed(RuntimeError::unavailable("the task's run is being read again: ask again")),
                    false => reply.done(run, Taken::Before),
                });
            }
        }
        self.write_wanted(run);
    }

    /// Writes them by themselves, unless something is ahead of the disk.
    fn write_wanted(&mut self, run: RunId) {
        if self.runs.get(&run).is_some_and(|live| live.handed.are_wanted() && live.pending.is_empty()) {
            let nothing = Transition { entries: Vec::new(), effects: Vec::new(), more: false };
            self.write(run, nothing, Extra::default(), None);
        }
    }

    pub(super) fn write_all_handed(&mut self) {
        let runs: HashSet<RunId> = self.handed.drain(..).map(|(_, run, _)| run).collect();
        runs.into_iter().for_each(|run| self.write_handed(run, None));
    }

    /// Whether there are more runs than memory is meant for.
    fn is_crowded(&self) -> bool {
        self.runs.len() > self.core.settings.runs_in_memory_max / self.core.turners()
    }

    /// A run whose next timer is near stays: it would be read again at once. In a crowd only those stay whose timers
    /// the next looks at the database would come too late for.
    pub(super) fn evict(&mut self, run: RunId) {
        let settings = &self.core.settings;
        let near = if self.is_crowded() { settings.timer_near.min(settings.scan * 2) } else { settings.timer_near };
        let near = self.core.now().after(near);
        if self.runs.get(&run).is_some_and(|live| !live.handed.is_empty()) {
            self.write_handed(run, None);
        }
        let Some(live) = self.runs.get_mut(&run) else { return };
        if live.run.next_timer().is_some_and(|due| due <= near) || !live.pending.is_empty() {
            let now = Instant::now();
            live.idle_since = Some(now);
            self.idle.push_back((now, run));
            return;
        }
        let mut rows = show(live, self.core.now());
        if live.run.seq() - live.snapshot_seq >= self.core.settings.snapshot_entries {
            let state = crate::payload::json(&live.run);
            let engine_version = crate::loader::ENGINE_VERSION;
            rows.push(RowChange::PutSnapshot { seq: live.run.seq(), engine_version, state });
        }
        let (tenant, lane) = (live.tenant(), live.lane);
        if !rows.is_empty() {
            self.submit_rows(tenant, run, lane, rows);
        }
        add(&self.core.metrics.runs_evicted, 1);
        self.remove(run);
    }
}

/// Rows for the steps that run or wait and have none yet.
fn show(live: &mut LiveRun, now: Timestamp) -> Vec<RowChange> {
    let active = live.run.active(&live.plan.plan);
    let hidden = active.into_iter().filter(|step| live.visible.insert(step.path.clone()));
    hidden
        .map(|step| RowChange::PutActiveStep {
            path: step.path,
            step: step.step,
            attempt: i32::try_from(step.attempt).unwrap_or(i32::MAX),
            started_at: step.started_at.unwrap_or(now),
        })
        .collect()
}
