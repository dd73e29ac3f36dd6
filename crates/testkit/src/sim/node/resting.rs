//! Runs that wait, end, or leave memory.

use windlass_definition::Timestamp;
use windlass_engine::{
    Event,
    id::RunId,
    planted::{Bug, planted},
    status::RunStatus,
};

use super::{Deliver, Live, SNAPSHOT_ENTRIES, TIMER_NEAR, Work};
use crate::sim::{Action, Sim, store::Change};

impl Sim {
    pub(super) fn arm(&mut self, machine: usize, run: RunId) {
        let Some(live) = self.live(machine, run) else { return };
        let due = live.run.next_timer();
        let life = self.machines[machine].life;
        let Some(process) = self.process(machine) else { return };
        match due {
            Some(due) if process.timers.get(&run).is_none_or(|armed| *armed > due) => {
                process.timers.insert(run, due);
                // The node's own clock, where that is planted, may be ahead.
                let wake = match planted(Bug::OwnClock) {
                    true => Timestamp::from_micros(due.micros() - self.machines[machine].skew),
                    false => due,
                };
                self.at(wake, Action::Within { machine, life, work: Work::Turn });
            }
            Some(_) => {}
            None => drop(process.timers.remove(&run)),
        }
    }

    pub(super) fn fire_timers(&mut self, machine: usize) {
        let now = self.now(machine);
        let Some(process) = self.process(machine) else { return };
        let due: Vec<RunId> = process.timers.iter().filter(|(_, due)| **due <= now).map(|(run, _)| *run).collect();
        for run in due {
            let Some(process) = self.process(machine) else { return };
            process.timers.remove(&run);
            match process.runs.get(&run).and_then(|live| live.run.next_timer()) {
                Some(due) if due <= now => self.step(machine, Deliver::new(run, Event::Tick)),
                Some(_) => self.arm(machine, run),
                None => {}
            }
        }
    }

    pub(super) fn settle(&mut self, machine: usize, run: RunId) {
        let Some(live) = self.live(machine, run) else { return };
        if !live.pending.is_empty() {
            return;
        }
        if live.handed_wanted {
            return self.write_handed(machine, run);
        }
        let status = live.run.status();
        if status.is_final() {
            self.remove(machine, run);
            return;
        }
        let rests = matches!(status, RunStatus::Waiting | RunStatus::Paused | RunStatus::Queued);
        live.idle |= rests && live.attempts.is_empty();
    }

    pub(super) fn remove(&mut self, machine: usize, run: RunId) -> Option<Live> {
        let process = self.process(machine)?;
        process.timers.remove(&run);
        process.runs.remove(&run)
    }

    /// Some of the runs that rest leave memory.
    pub(in crate::sim) fn sweep(&mut self, machine: usize) {
        let near = self.store.now.after(TIMER_NEAR);
        let Some(process) = self.process(machine) else { return };
        let idle: Vec<RunId> = process.runs.iter().filter(|(_, live)| live.idle).map(|(run, _)| *run).collect();
        let hasty = planted(Bug::EvictedTooSoon);
        let all: Vec<RunId> = if hasty { process.runs.keys().copied().collect() } else { idle };
        for run in all {
            if !self.random.percent(30) {
                continue;
            }
            if !planted(Bug::HandedEvicted) {
                self.write_handed(machine, run);
            }
            let Some(live) = self.live(machine, run) else { continue };
            let busy = live.run.next_timer().is_some_and(|due| due <= near) || !live.pending.is_empty();
            if busy && !hasty {
                continue;
            }
            let (lane, seq) = (live.lane, live.run.seq());
            if seq - live.snapshot_seq >= SNAPSHOT_ENTRIES && live.pending.is_empty() {
                let state = serde_json::to_vec(&live.run).unwrap_or_default();
                self.submit_rows(machine, run, lane, vec![Change::PutSnapshot(seq, state)]);
            }
            self.remove(machine, run);
        }
        self.pump_all(machine);
    }
}
