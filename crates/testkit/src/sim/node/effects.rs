//! What follows from a transition that is on disk: answers, effects, letters, attempts.

use std::sync::Arc;

use windlass_definition::{Class, Error, Timestamp, Value};
use windlass_engine::{
    Effect, Event, Transition,
    effect::{OfferTask, RunStep},
    event::Failure,
    id::{RunId, TaskId},
    planted::{Bug, planted},
};

use super::{Deliver, Message, Source, Work};
use crate::{
    answer::{self, Mood},
    sim::{
        Sim,
        commits::{Extra, Pending},
        store::Change,
    },
};

/// Within this time a task that was handed out gets its row: longer than in earnest, so that more happens meanwhile.
const HANDED_MILLIS: usize = 4_000;

impl Sim {
    /// A transition is on disk: everything that waited for that may happen.
    pub(super) fn follow(&mut self, machine: usize, run: RunId, pending: Pending) {
        let Pending { effects, letters, replies, discards, more, seq, .. } = pending;
        if let (Some(live), false) = (self.live(machine, run), discards.is_empty()) {
            let lane = live.lane;
            self.submit_rows(machine, run, lane, discards);
        }
        for (reply, told) in replies {
            self.reply(Some(reply), told);
        }
        let mut inline = Vec::new();
        for effect in effects {
            self.carry_out(machine, run, (effect, seq), &mut inline);
        }
        for letter in letters {
            // A look may have found its row before we were told that it is there, and opened it.
            if self.live(machine, run).is_some() && self.take_in_hand(machine, (letter.id, None)) {
                self.open(machine, letter);
            }
        }
        for event in inline {
            if self.live(machine, run).is_none() {
                return;
            }
            self.step(machine, Deliver::new(run, event));
        }
        if more && self.live(machine, run).is_some() {
            self.step(machine, Deliver::new(run, Event::Continue));
        }
        self.settle(machine, run);
    }

    pub(super) fn carry_out(
        &mut self,
        machine: usize,
        run: RunId,
        (effect, seq): (Effect, i64),
        inline: &mut Vec<Event>,
    ) {
        match effect {
            Effect::RunStep(step) => {
                self.check_on_disk(run, seq, &step.path);
                self.run_step(machine, run, step, inline);
            }
            Effect::StopStep { path, attempt } => {
                let Some(live) = self.live(machine, run) else { return };
                let generation = live.generation;
                if let Some((open, stopping)) = live.attempts.get_mut(&path)
                    && *open == attempt
                {
                    *stopping = true;
                    let since = self.store.now;
                    self.soon(machine, 2_000, Work::Ends { run, path, attempt, generation, since });
                }
            }
            Effect::OfferTask(task) if planted(Bug::TaskNotWritten) => {
                let Some(live) = self.live(machine, run) else { return };
                let lane = live.lane;
                let row = crate::sim::commits::task_row(run, lane, &task);
                self.submit_rows(machine, run, lane, vec![Change::OpenTask(task.task, Box::new(row))]);
            }
            Effect::OfferTask(task) => self.hand(machine, run, task),
            Effect::StopTask { task, path, attempt } => {
                if let Some(row) = self.store.tasks.get_mut(&task) {
                    row.unwanted = true;
                }
                self.soon(machine, 5, Work::Withdraw { run, task, path, attempt });
            }
            _ => {}
        }
    }

    fn run_step(&mut self, machine: usize, run: RunId, step: RunStep, inline: &mut Vec<Event>) {
        let RunStep { path, attempt, key, at_most_once, .. } = step;
        let begun = self.begun.entry((key, attempt)).or_default();
        *begun += 1;
        if at_most_once && *begun > 1 {
            return self.breaks("what may happen at most once is done once", format!("run {run}, {path} #{attempt}"));
        }
        let since = self.store.now;
        if self.random.percent(30) {
            let result = self.result(false);
            return inline.push(Event::StepEnded { path, attempt, started_at: since, result });
        }
        let Some(live) = self.live(machine, run) else { return };
        let generation = live.generation;
        live.attempts.insert(path.clone(), (attempt, false));
        let millis = *self.random.pick(&[2, 50, 900, 6_000]);
        self.soon(machine, millis, Work::Ends { run, path, attempt, generation, since });
    }

    pub(super) fn attempt_ends(
        &mut self,
        machine: usize,
        (run, path, attempt): (RunId, Arc<str>, u32),
        of: (u64, Timestamp),
    ) {
        let (generation, started_at) = of;
        let Some(live) = self.live(machine, run) else { return };
        let open = live.attempts.get(&path).copied().filter(|it| it.0 == attempt && live.generation == generation);
        let Some((_, stopping)) = open else { return };
        let result = self.result(stopping);
        let event = Event::StepEnded { path, attempt, started_at, result };
        let deliver = Deliver { source: Source::Attempt(generation), ..Deliver::new(run, event) };
        self.told(machine, Message::Deliver(Box::new(deliver)));
    }

    pub(in crate::sim) fn result(&mut self, stopping: bool) -> Result<Value, Failure> {
        let mood = if self.faults || self.random.percent(10) { Mood::Any } else { Mood::Good };
        answer::result(&mut self.random, &mut self.counter, stopping, mood)
    }

    pub(super) fn withdraw(&mut self, machine: usize, run: RunId, (task, path, attempt): (TaskId, Arc<str>, u32)) {
        let error = Error::new(Class::Cancelled, "cancelled", "the task was withdrawn before anybody claimed it");
        let result = Err(Failure::certain(error));
        let lane = if self.lies(machine, run, task) {
            let taken = self.pick_up(machine, run, task);
            self.live(machine, run).filter(|_| taken).map(|live| live.lane)
        } else {
            let row = self.store.tasks.get_mut(&task).filter(|row| !row.claimed && row.answer.is_none());
            row.map(|row| {
                // Its row says so as well, until the run has taken it.
                row.answer = Some(result.clone());
                row.lane
            })
        };
        let Some(lane) = lane else { return };
        self.given(task, "nobody, for it was withdrawn");
        if self.take_in_hand(machine, (0, Some(task))) {
            let event = Event::StepEnded { path, attempt, started_at: self.store.now, result };
            let deliver = Deliver { source: Source::Task(task, lane), ..Deliver::new(run, event) };
            self.told(machine, Message::Deliver(Box::new(deliver)));
        }
    }

    /// A task without a row is with a worker, or lies there for the next one.
    fn hand(&mut self, machine: usize, run: RunId, task: OfferTask) {
        let OfferTask { task, path, attempt, .. } = task;
        let Some(row) = self.live(machine, run).and_then(|live| live.handed.get(&task)) else { return };
        let claimed = row.claimed;
        self.soon(machine, HANDED_MILLIS, Work::WriteHanded(run, task));
        if claimed {
            return self.is_with_a_worker(machine, run, (task, path, attempt));
        }
        if let Some(process) = self.process(machine) {
            process.lying.insert(task);
        }
        if self.random.percent(80) {
            let millis = *self.random.pick(&[1, 50, 300, 6_000]);
            self.soon(machine, millis, Work::Take { run, task, path, attempt });
        }
    }

    /// A worker comes for a task that lies there.
    pub(super) fn take(&mut self, machine: usize, run: RunId, of: (TaskId, Arc<str>, u32)) {
        let kept = planted(Bug::LyingKept) && self.process(machine).is_some_and(|it| it.lying.remove(&of.0));
        if kept || (self.lies(machine, run, of.0) && self.pick_up(machine, run, of.0)) {
            self.is_with_a_worker(machine, run, of);
        }
    }

    /// A worker has a task that has no row, and may answer before it has one.
    fn is_with_a_worker(&mut self, machine: usize, run: RunId, (task, path, attempt): (TaskId, Arc<str>, u32)) {
        self.given(task, "a worker");
        // Some go away with it.
        if self.random.percent(60) {
            let millis = *self.random.pick(&[2, 100, 400, 6_000]);
            self.soon(machine, millis, Work::Answer { run, task, path, attempt });
        }
    }

    /// Whether a task lies there for whoever comes next: as long as its run has it without a row.
    fn lies(&mut self, machine: usize, run: RunId, task: TaskId) -> bool {
        let taken = planted(Bug::LyingWithdrawn);
        self.live(machine, run).is_some_and(|live| live.handed.contains_key(&task))
            && (taken || self.process(machine).is_some_and(|process| process.lying.contains(&task)))
    }

    /// It lies there no longer.
    fn pick_up(&mut self, machine: usize, run: RunId, task: TaskId) -> bool {
        let Some(process) = self.process(machine) else { return false };
        process.lying.remove(&task);
        let Some(row) = process.runs.get_mut(&run).and_then(|live| live.handed.get_mut(&task)) else { return false };
        row.claimed = !planted(Bug::LyingTwice);
        true
    }

    /// Somebody has a task now, who has it alone.
    pub(in crate::sim) fn given(&mut self, task: TaskId, to: &str) {
        if !self.had.insert(task) {
            self.breaks(
                "a task is with one worker at a time",
                format!("task {task} is given to {to}, and is not free"),
            );
        }
    }

    pub(super) fn hand_lasts(&mut self, machine: usize, run: RunId, task: TaskId) {
        if self.live(machine, run).is_some_and(|live| live.handed.contains_key(&task)) {
            self.write_handed(machine, run);
            self.pump_all(machine);
        }
    }

    /// Has the rows written of what a run handed out without: with its next entries, or by themselves once nothing is
    /// ahead of the disk.
    pub(super) fn write_handed(&mut self, machine: usize, run: RunId) {
        let Some(live) = self.live(machine, run) else { return };
        live.handed_wanted = !live.handed.is_empty();
        if live.handed_wanted && live.pending.is_empty() {
            let nothing = Transition { entries: Vec::new(), effects: Vec::new(), more: false };
            self.write(machine, run, (nothing, Extra::default()), None);
        }
    }

    /// The worker's claim is known here, so its answer goes straight to the run.
    pub(super) fn answer_handed(&mut self, machine: usize, run: RunId, of: (TaskId, Arc<str>, u32)) {
        let (task, path, attempt) = of;
        let Some(lane) = self.store.runs.get(&run).map(|row| row.lane) else { return };
        if self.process(machine).is_none_or(|process| !process.lanes.contains_key(&lane)) {
            return;
        }
        let result = self.result(false);
        self.counts.tasks += 1;
        let event = Event::StepEnded { path, attempt, started_at: self.store.now, result };
        let deliver = Deliver { source: Source::Task(task, lane), ..Deliver::new(run, event) };
        self.told(machine, Message::Deliver(Box::new(deliver)));
    }

    /// Nothing that the world sees comes before what it follows from is on disk.
    fn check_on_disk(&mut self, run: RunId, seq: i64, path: &str) {
        let on_disk = self.store.runs.get(&run).map_or(0, |row| row.journal.len() as i64);
        if on_disk < seq {
            let detail = format!("run {run}: `{path}` began after entry {seq}, but {on_disk} are on disk");
            self.breaks("effects wait for the disk", detail);
        }
    }
}
