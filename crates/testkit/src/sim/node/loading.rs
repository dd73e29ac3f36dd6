//! Runs that come into memory, and runs whose state in memory is given up.

use std::collections::{BTreeMap, VecDeque};

use windlass_engine::{
    Event,
    id::RunId,
    planted::{Bug, planted},
    status::RunStatus,
};

use super::{
    AGAIN_AFTER, CommitError, Deliver, Fail, Live, LoadError, Loaded, Message, Recover, Source, UNBORN_PATIENCE, Work,
};
use crate::sim::{
    Action, Sim,
    commits::Extra,
    store::{Change, LetterRow},
};

impl Sim {
    /// A commit failed for good: what was ahead of the disk never happened. The journal says what did.
    pub(super) fn fall_back(&mut self, machine: usize, run: RunId, error: CommitError) {
        let Some(live) = self.remove(machine, run) else { return };
        let ahead: i64 = live.pending.iter().map(|pending| pending.entries).sum();
        let never = live.run.seq() <= ahead;
        let behind = (live.generation, live.pending.len().saturating_sub(1));
        for pending in live.pending {
            // What was refused because of it is taken after all.
            self.put_back(machine, &pending.discards);
            for (reply, _) in pending.replies {
                self.reply(Some(reply), Err(Fail::Unavailable));
            }
        }
        if let CommitError::Fenced(lane) = error {
            return self.told(machine, Message::Lost(vec![lane]));
        }
        if never && matches!(error, CommitError::Busy | CommitError::Refused) {
            return;
        }
        let Some(process) = self.process(machine) else { return };
        process.loading.entry(run).or_default();
        process.behind.insert(run, behind);
        self.read_again(machine, run);
    }

    /// A commit of a state that was given up is answered.
    pub(super) fn came_behind(&mut self, machine: usize, run: RunId, generation: u64) {
        let behind = self.process(machine).and_then(|process| process.behind.get_mut(&run));
        if let Some((_, commits)) = behind.filter(|(of, _)| *of == generation) {
            *commits -= 1;
            self.read_again(machine, run);
        }
    }

    /// Reads a run whose state was given up, once nothing of that state is on its way.
    fn read_again(&mut self, machine: usize, run: RunId) {
        let Some(process) = self.process(machine) else { return };
        if process.behind.get(&run).is_some_and(|(_, commits)| *commits == 0) {
            process.behind.remove(&run);
            self.read_later(machine, run);
        }
    }

    fn read_later(&mut self, machine: usize, run: RunId) {
        let Some(process) = self.process(machine) else { return };
        process.loading.entry(run).or_default();
        let life = self.machines[machine].life;
        let work = Work::Read(run, Recover::Yes);
        self.at(self.store.now.after(AGAIN_AFTER), Action::Within { machine, life, work });
    }

    pub(super) fn load(&mut self, machine: usize, run: RunId, recover: Recover) {
        let Some(process) = self.process(machine) else { return };
        process.loading.entry(run).or_default();
        self.soon(machine, 4, Work::Read(run, recover));
    }

    pub(super) fn read(&mut self, machine: usize, run: RunId, recover: Recover) {
        let result = self.read_run(machine, run).map(Box::new);
        let recover = match &result {
            Ok(loaded) if loaded.run.is_under_way() => Recover::Yes,
            Ok(loaded) if loaded.status == RunStatus::Running && !planted(Bug::HandedNotRecovered) => Recover::Yes,
            _ => recover,
        };
        self.soon(machine, 4, Work::Told(Message::Loaded { run, recover, result }));
    }

    fn read_run(&mut self, machine: usize, run: RunId) -> Result<Loaded, LoadError> {
        if self.faults && self.random.percent(2) {
            return Err(LoadError::Store);
        }
        let Some(row) = self.store.runs.get(&run) else { return Err(LoadError::NotFound) };
        let (lane, plan, status) = (row.lane, row.plan.clone(), row.status);
        if row.status.is_final() {
            return Err(LoadError::Over(lane));
        }
        if self.process(machine).is_none_or(|process| !process.lanes.contains_key(&lane)) {
            return Err(LoadError::Elsewhere(lane));
        }
        let timer = self.store.timers.get(&run).map(|(_, due)| *due);
        let tasks = self.store.tasks.iter().filter(|(_, row)| row.run == run).map(|(task, _)| *task).collect();
        match self.store.fold(run) {
            Ok((state, snapshot_seq)) => {
                let journal = &self.store.runs[&run].journal;
                let last_at = journal.last().map_or(self.store.now, |row| row.entry.at);
                Ok(Loaded { run: state, plan, lane, status, tasks, timer, snapshot_seq, last_at })
            }
            Err(error) => {
                self.breaks("the journal folds", format!("run {run}: {error}"));
                Err(LoadError::NotFound)
            }
        }
    }

    pub(super) fn loaded(&mut self, machine: usize, run: RunId, (loaded, recover): (Loaded, Recover)) {
        let Some(process) = self.process(machine) else { return };
        let Some(waiting) = process.loading.remove(&run) else { return };
        if !process.runs.contains_key(&run) {
            self.take_in(machine, loaded, recover);
        }
        for deliver in waiting {
            self.deliver(machine, deliver);
        }
        self.settle(machine, run);
    }

    fn take_in(&mut self, machine: usize, loaded: Loaded, recover: Recover) {
        let Loaded { run, plan, lane, status, tasks, timer, snapshot_seq, last_at } = loaded;
        let now = self.now(machine).max(last_at);
        let Some(process) = self.process(machine) else { return };
        process.generation += 1;
        let id = run.id();
        let mut live = Live {
            status_on_disk: Some(status),
            timer_on_disk: timer,
            run,
            plan,
            lane,
            generation: process.generation,
            pending: VecDeque::new(),
            attempts: BTreeMap::new(),
            handed: BTreeMap::new(),
            handed_wanted: false,
            snapshot_seq,
            idle: false,
            last_at,
        };
        let asked = match recover {
            Recover::Yes => Some(live.run.recover(&live.plan, now)),
            Recover::No => None,
        };
        process.runs.insert(id, live);
        match asked {
            Some(transition) => {
                self.write(machine, id, (transition, Extra { again: Some(tasks), ..Extra::default() }), None);
            }
            None => self.arm(machine, id),
        }
    }

    pub(super) fn load_later(&mut self, machine: usize, run: RunId) {
        let Some(process) = self.process(machine) else { return };
        let waiting = process.loading.remove(&run).unwrap_or_default();
        let (answered, kept): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(|it| it.reply.is_some());
        process.loading.insert(run, kept);
        for deliver in answered {
            self.reply(deliver.reply, Err(Fail::Unavailable));
        }
        self.read_later(machine, run);
    }

    pub(super) fn not_loaded(&mut self, machine: usize, run: RunId, error: LoadError) {
        let Some(process) = self.process(machine) else { return };
        let waiting = process.loading.remove(&run).unwrap_or_default();
        let (early, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|it| error == LoadError::NotFound && self.is_early(it));
        if let (false, Some(process)) = (early.is_empty(), self.process(machine)) {
            let known = process.unborn.entry(run).or_default();
            for deliver in early {
                if !known.iter().any(|it| it.source == deliver.source) {
                    known.push(deliver);
                }
            }
        }
        for deliver in waiting {
            let fail = match error {
                LoadError::NotFound => Fail::NotFound,
                LoadError::Over(_) => Fail::Refused,
                LoadError::Elsewhere(lane) => Fail::Elsewhere(lane),
                LoadError::Store => Fail::Unavailable,
            };
            self.reply(deliver.reply, Err(fail));
            let lane = match (&error, deliver.source) {
                (LoadError::Over(lane), _) => *lane,
                (LoadError::NotFound, Source::Letter(_, lane) | Source::Task(_, lane)) => lane,
                _ => continue,
            };
            let rows: Vec<Change> = deliver.source.discard().into_iter().chain(deliver.also).collect();
            if !rows.is_empty() {
                self.submit_rows(machine, run, lane, rows);
            }
        }
    }

    /// Whether a run may be told this before it is there: its letter stays until it is.
    fn is_early(&self, deliver: &Deliver) -> bool {
        let Source::Letter(id, _) = deliver.source else { return false };
        let told = matches!(deliver.event, Event::Cancel { .. } | Event::Pause { .. } | Event::Resume { .. });
        let young = |row: &LetterRow| self.store.now.since(row.at) < UNBORN_PATIENCE;
        told && self.store.inbox.get(&id).is_some_and(young)
    }

    pub(in crate::sim) fn lose(&mut self, machine: usize, lanes: &[usize]) {
        if planted(Bug::FencedKeepsRuns) {
            return;
        }
        let Some(process) = self.process(machine) else { return };
        let runs = process.runs.iter().filter(|(_, live)| lanes.contains(&live.lane));
        let gone: Vec<RunId> = runs.map(|(run, _)| *run).collect();
        for run in gone {
            let Some(live) = self.remove(machine, run) else { continue };
            for (reply, _) in live.pending.into_iter().flat_map(|pending| pending.replies) {
                self.reply(Some(reply), Err(Fail::Unavailable));
            }
        }
    }
}
