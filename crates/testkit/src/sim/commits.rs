//! What a transition writes, and the committer that brings it to the database: one batch a lane at a time, and a look
//! for what became of it when its answer never comes.

use std::collections::{BTreeSet, VecDeque};

use windlass_definition::{Class, Error};
use windlass_engine::{
    Effect, Entry, Event, Record, Transition,
    effect::OfferTask,
    event::{ChildResult, UndoChoice},
    id::{RunId, TaskId},
    planted::{Bug, planted},
    start::{Origin, Principal},
    status::RunStatus,
};

use super::{
    Action, Outcome, Sim,
    node::{Ack, Answer, CommitError, Live, Message, Work},
    people::{Reply, Told},
    store::{self, Batch, Birth, Change, ChildOrder, Commit, Letter, LetterRow, Row, TaskRow, Written},
};

/// Batches of which one commit is refused by itself, in percent.
const REFUSED_ALONE_PERCENT: usize = 20;

/// A transition on its way to the disk, and what follows when it is there.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub effects: Vec<Effect>,
    pub letters: Vec<LetterRow>,
    pub replies: Vec<(Reply, Told)>,
    /// Rows of what was refused because of it.
    pub discards: Vec<Change>,
    pub entries: i64,
    /// The run's last entry with it.
    pub seq: i64,
    pub more: bool,
}

/// What else a transition writes.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub born: bool,
    pub key: Option<(u64, u64)>,
    pub rows: Vec<Change>,
    /// It asks for what was asked for before: the letters of that may be there already, as other rows. These tasks have
    /// their rows.
    pub again: Option<BTreeSet<TaskId>>,
    pub offer: Offer,
}

/// How tasks are offered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Offer {
    /// They have their rows at once.
    #[default]
    Stored,
    /// Somebody waits for them.
    Promised,
    /// They lie there for whoever comes next.
    Lies,
}

/// A lane of a process.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub epoch: u32,
    pub waiting: VecDeque<Job>,
    /// One at a time.
    pub flights: VecDeque<Flight>,
}

#[derive(Debug)]
pub(super) struct Job {
    commit: Commit,
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub id: u64,
    jobs: Vec<Job>,
    batch: Batch,
}

impl Live {
    /// The commit of a transition, and what is held until it is acknowledged.
    pub fn commit(&mut self, transition: Transition, extra: Extra, letters: Vec<LetterRow>) -> (Commit, Pending) {
        let Transition { entries, effects, more } = transition;
        let mut commit = Commit { rows: extra.rows, ..Commit::new(self.run.id(), self.lane) };
        self.last_at = entries.last().map_or(self.last_at, |last| self.last_at.max(last.at));
        for effect in &effects {
            match (effect, &extra.again) {
                (Effect::OfferTask(task), None) if !matches!(extra.offer, Offer::Stored) => {
                    let claimed = matches!(extra.offer, Offer::Promised);
                    let row = TaskRow { claimed, ..task_row(commit.run, self.lane, task) };
                    self.handed.insert(task.task, row);
                }
                (Effect::OfferTask(task), Some(written)) => {
                    let there = written.contains(&task.task) && !planted(Bug::HandedWrittenAgain);
                    if !there && !planted(Bug::HandedForgotten) {
                        let row = TaskRow { claimed: true, ..task_row(commit.run, self.lane, task) };
                        commit.rows.push(Change::OpenTask(task.task, Box::new(row)));
                    }
                }
                _ => self.write_effect(effect, &mut commit),
            }
        }
        // Behind entries, or with nothing ahead of the disk: rows are of no use without what they follow from.
        if self.handed_wanted && (!entries.is_empty() || self.pending.is_empty()) {
            self.handed_wanted = false;
            let handed = std::mem::take(&mut self.handed).into_iter();
            commit.rows.extend(handed.map(|(task, row)| Change::OpenTask(task, Box::new(row))));
        }
        // What has no row has none to be deleted.
        commit.rows.retain(|row| !matches!(row, Change::CloseTask(task) if self.handed.remove(task).is_some()));
        self.write_run(&entries, (extra.born, extra.key), &mut commit);
        let new = self.run.resting_timer();
        if new != self.timer_on_disk && !(new.is_none() && planted(Bug::TimerStays)) {
            commit.timer = Some(new);
            self.timer_on_disk = new;
        }
        if !planted(Bug::LetterNotWritten) {
            commit.rows.extend(letters.iter().cloned().map(|row| Change::PutLetter(Box::new(row))));
        }
        let count = entries.len() as i64;
        commit.entries = entries;
        let seq = self.run.seq();
        (commit, Pending { effects, letters, entries: count, seq, more, ..Pending::default() })
    }

    fn write_effect(&self, effect: &Effect, commit: &mut Commit) {
        match effect {
            Effect::OfferTask(task) if !planted(Bug::TaskNotWritten) => {
                let row = task_row(commit.run, self.lane, task);
                commit.rows.push(Change::OpenTask(task.task, Box::new(row)));
            }
            Effect::CloseTask { task } => commit.rows.push(Change::CloseTask(*task)),
            Effect::OpenApproval(approval) => commit.rows.push(Change::OpenApproval(Box::new(approval.clone()))),
            Effect::CloseApproval { approval, .. } => commit.rows.push(Change::CloseApproval(*approval)),
            Effect::WaitForEvent(wait) => {
                commit.rows.push(Change::PutWait(wait.path.clone(), wait.event_type.clone()));
            }
            Effect::ForgetEvent { path } => commit.rows.push(Change::DropWait(path.clone())),
            _ => {}
        }
    }

    fn write_run(&mut self, entries: &[Entry], (born, key): (bool, Option<(u64, u64)>), commit: &mut Commit) {
        let status = match self.run.status() {
            RunStatus::Waiting if !self.handed.is_empty() && !planted(Bug::HandedWaits) => RunStatus::Running,
            status => status,
        };
        let changed = self.status_on_disk != Some(status);
        if born {
            commit.birth = Some(Birth { plan: self.plan.clone(), status, key });
            if status == RunStatus::Queued {
                commit.rows.push(Change::Enqueue);
            }
        } else if changed && !(planted(Bug::RowStatusBehind) && status == RunStatus::Paused) {
            commit.status = Some(status);
        }
        let admitted = entries.iter().any(|entry| entry.record == Record::Admitted);
        if admitted || (status.is_final() && self.run.started_at().is_none()) {
            commit.rows.push(Change::Dequeue);
        }
        self.status_on_disk = Some(status);
    }
}

pub(super) fn task_row(run: RunId, lane: usize, task: &OfferTask) -> TaskRow {
    let (path, attempt) = (task.path.clone(), task.attempt);
    TaskRow { run, lane, path, attempt, claimed: false, unwanted: false, answer: None }
}

impl Sim {
    /// What a transition has to tell other runs.
    pub(super) fn letters_of(&mut self, machine: usize, run: RunId, transition: &Transition) -> Vec<LetterRow> {
        let Some(live) = self.process(machine).and_then(|process| process.runs.get(&run)) else { return Vec::new() };
        let (lane, info) = (live.lane, live.run.info().clone());
        let mut letters: Vec<(RunId, Letter)> = Vec::new();
        let by = Principal::Run(run);
        let born = transition.entries.iter().any(|entry| matches!(entry.record, Record::Started(_)));
        if let (true, Some(parent)) = (born, info.parent.as_ref().filter(|parent| !parent.waits)) {
            let event = Event::ChildStarted { path: parent.path.clone(), child: run, version: info.version };
            letters.push((parent.run, Letter::Event(event)));
        }
        for effect in &transition.effects {
            let letter = match effect {
                Effect::StartChild(child) => {
                    let order = ChildOrder {
                        parent: run,
                        path: child.path.clone(),
                        workflow: child.workflow.clone(),
                        input: child.input.clone(),
                        waits: child.waits,
                        depth: child.depth,
                        mode: info.mode,
                    };
                    (child.child, Letter::StartChild(Box::new(order)))
                }
                Effect::UndoChild { child, of, path, error } => {
                    let letter = Letter::UndoChild { parent: run, path: path.clone(), of: *of, error: error.clone() };
                    (*child, letter)
                }
                Effect::CancelChild { child } => {
                    let event = Event::Cancel { by: by.clone(), reason: None, undo: UndoChoice::Undo };
                    (*child, Letter::Event(event))
                }
                Effect::PauseChild { child } => (*child, Letter::Event(Event::Pause { by: by.clone() })),
                Effect::ResumeChild { child } => (*child, Letter::Event(Event::Resume { by: by.clone() })),
                Effect::Restart { run: fresh, input } => (*fresh, Letter::Restart { of: run, input: input.clone() }),
                Effect::WaitForEvent(wait) => {
                    let (path, event_type) = (wait.path.clone(), wait.event_type.clone());
                    (run, Letter::FindEvents { path, event_type, since: wait.since })
                }
                Effect::Finish(finish) => {
                    if let (Origin::Undo { of, .. }, RunStatus::Completed) = (&info.origin, finish.status) {
                        letters.push((*of, Letter::Undone));
                    }
                    // A parent waits on for the run that takes this one's place.
                    let restarted = live.run.restarted_as().is_some();
                    let waits = info.parent.as_ref().filter(|parent| parent.waits && !restarted);
                    let Some(parent) = waits else { continue };
                    let cancelled = || Error::new(Class::Cancelled, "cancelled", "the run was cancelled");
                    let result = match finish.status {
                        RunStatus::Completed => ChildResult::Completed(finish.output.clone()),
                        status => ChildResult::Failed(Some(status), finish.error.clone().unwrap_or_else(cancelled)),
                    };
                    let event = Event::ChildEnded { path: parent.path.clone(), child: Some(run), result };
                    (parent.run, Letter::Event(event))
                }
                _ => continue,
            };
            letters.push(letter);
        }
        letters.into_iter().map(|(to, letter)| self.letter_row(run, lane, (to, letter))).collect()
    }

    fn letter_row(&mut self, from: RunId, lane: usize, (run, letter): (RunId, Letter)) -> LetterRow {
        let id = self.number();
        let name = match &letter {
            Letter::Event(Event::ChildEnded { path, .. } | Event::ChildStarted { path, .. }) => {
                format!("{from}/{path}")
            }
            // A child may be paused and resumed many times.
            Letter::Event(Event::Pause { .. } | Event::Resume { .. }) => format!("{from}/{id}"),
            Letter::FindEvents { path, .. } => path.to_string(),
            _ => from.to_string(),
        };
        // The kind belongs to the name.
        let name = format!("{:?} {name}", std::mem::discriminant(&letter));
        let name = if let Letter::Event(event) = &letter {
            format!("{name} {:?}", std::mem::discriminant(event))
        } else {
            name
        };
        LetterRow { id, lane, run, name, letter, at: self.store.now }
    }

    pub(super) fn submit(&mut self, machine: usize, commit: Commit, generation: u64) {
        let lane = commit.lane;
        let Some(process) = self.process(machine) else { return };
        match process.lanes.get_mut(&lane) {
            Some(owned) => owned.waiting.push_back(Job { commit, generation }),
            None => {
                self.put_back(machine, &commit.rows);
                self.acknowledge(machine, vec![(commit.run, generation, Err(CommitError::Fenced(lane)))]);
            }
        }
    }

    fn acknowledge(&mut self, machine: usize, acks: Vec<(RunId, u64, Result<Outcome, CommitError>)>) {
        let acks = acks.into_iter().map(|(run, generation, result)| Ack { run, generation, result }).collect();
        self.told(machine, Message::Acked(acks));
    }

    /// Sends what waits, on every lane that waits for nothing.
    pub(super) fn pump_all(&mut self, machine: usize) {
        let Some(process) = self.process(machine) else { return };
        let lanes: Vec<usize> = process.lanes.keys().copied().collect();
        for lane in lanes {
            self.pump(machine, lane);
        }
    }

    fn pump(&mut self, machine: usize, lane: usize) {
        let flights_max = if planted(Bug::BatchesOvertake) { 2 } else { 1 };
        let Some(process) = self.process(machine) else { return };
        let Some(owned) = process.lanes.get_mut(&lane) else { return };
        if owned.waiting.is_empty() || owned.flights.len() >= flights_max {
            return;
        }
        let (node, epoch) = (process.node, owned.epoch);
        let jobs: Vec<Job> = owned.waiting.drain(..).collect();
        let mut written = Vec::new();
        for job in &jobs {
            let rows = self.rows_of(machine, &job.commit);
            written.push(Written { commit: job.commit.clone(), rows });
        }
        let id = self.number();
        let flight = Flight { id, jobs, batch: Batch { node, lane, epoch, written, bad: None } };
        let batch = flight.batch.clone();
        let Some(owned) = self.process(machine).and_then(|process| process.lanes.get_mut(&lane)) else { return };
        owned.flights.push_back(flight);
        self.fly(machine, id, batch);
    }

    /// The rows of a commit with their checksums, each of which covers the one before.
    fn rows_of(&mut self, machine: usize, commit: &Commit) -> Vec<Row> {
        let last = self.store.runs.get(&commit.run).and_then(|row| row.journal.last());
        let on_disk = last.map_or((0, 0), |row| (row.entry.seq, row.checksum));
        let Some(process) = self.process(machine) else { return Vec::new() };
        let known = process.chains.get(&commit.run).copied();
        let (mut seq, mut sum) = known.unwrap_or(if planted(Bug::ChainBroken) { (on_disk.0, 0) } else { on_disk });
        // What a state that was given up still had to write is refused, and nothing is chained to it.
        let fits = commit.entries.first().is_some_and(|first| first.seq == seq + 1);
        let mut rows = Vec::new();
        for entry in &commit.entries {
            let payload: std::sync::Arc<[u8]> = serde_json::to_vec(&entry.record).unwrap_or_default().into();
            (seq, sum) = (entry.seq, store::checksum(sum, entry.seq, &payload));
            rows.push(Row { entry: entry.clone(), payload, checksum: sum });
        }
        if fits {
            process.chains.insert(commit.run, (seq, sum));
        }
        rows
    }

    /// What becomes of a batch on its way, and of the answer to it.
    fn fly(&mut self, machine: usize, id: u64, mut batch: Batch) {
        let lane = batch.lane;
        let fate = if self.faults { self.random.weighted(&[150, 3, 6, 4, 3, 3]) } else { 0 };
        let slow = if self.random.percent(3) { 2_500 } else { 12 };
        let there = self.random.between(100, slow * 1_000) as u64;
        let back = self.random.between(100, 5_000) as u64;
        let late = self.random.between(1_000, 3_000_000) as u64;
        let now = self.store.now;
        let after = |micros: u64| now.after(std::time::Duration::from_micros(micros));
        let (arrives, (answered, answer)) = match fate {
            0 => (Some(after(there)), (after(there + back), Answer::Came)),
            1 => (None, (after(back), Answer::Again)),
            2 => (None, (after(back), Answer::Busy)),
            3 => (Some(after(there)), (after(there + back), Answer::Never)),
            4 => (None, (after(there + back), Answer::Never)),
            // Its session is gone, but the database still works on it.
            _ => (Some(after(there + late)), (after(there), Answer::Never)),
        };
        self.tell(|now| format!("{now} machine {machine} sends batch {id} of lane {lane}: fate {fate}, {batch:?}"));
        if answer == Answer::Never {
            self.counts.commits_unknown += 1;
            self.counts.commits_unknown_landed += u64::from(arrives.is_some());
        }
        batch.bad = self.bad_one(&batch).filter(|_| fate == 0);
        self.counts.commits_refused_alone += u64::from(batch.bad.is_some());
        self.counts.commits_refused += u64::from(matches!(answer, Answer::Again | Answer::Busy));
        if let Some(arrives) = arrives {
            self.flying.insert(id, batch);
            self.at(arrives, Action::Arrive(id));
        }
        let life = self.machines[machine].life;
        let work = Work::Answered { lane, flight: id, answer };
        self.at(answered, Action::Within { machine, life, work });
    }

    /// Which commit of a batch cannot be written while the others can, if any: one that needs room.
    fn bad_one(&mut self, batch: &Batch) -> Option<usize> {
        if !self.faults || !self.in_a_crowd(REFUSED_ALONE_PERCENT) {
            return None;
        }
        batch.written.iter().position(|written| !written.rows.is_empty())
    }

    pub(super) fn answered(&mut self, machine: usize, lane: usize, (flight, answer): (u64, Answer)) {
        let Some(owned) = self.process(machine).and_then(|process| process.lanes.get_mut(&lane)) else { return };
        if !owned.flights.iter().any(|it| it.id == flight) {
            return;
        }
        match answer {
            Answer::Came => {
                let result = self.landed.remove(&flight);
                self.conclude(machine, lane, (flight, result));
            }
            Answer::Again => self.soon(machine, 20, Work::Resend(lane)),
            Answer::Busy => self.fail_flight(machine, lane, (flight, CommitError::Busy)),
            Answer::Never if planted(Bug::UnknownIsFailed) => {
                self.fail_flight(machine, lane, (flight, CommitError::Busy));
            }
            Answer::Never if planted(Bug::UnknownIsDone) => {
                let done = vec![Outcome::Done; 64];
                self.conclude(machine, lane, (flight, Some(Ok(done))));
            }
            Answer::Never if planted(Bug::UnknownSentAgain) => self.soon(machine, 20, Work::Resend(lane)),
            Answer::Never => self.soon(machine, 50, Work::Witness(lane)),
        }
    }

    fn take_flight(&mut self, machine: usize, lane: usize, flight: u64) -> Option<Flight> {
        let owned = self.process(machine)?.lanes.get_mut(&lane)?;
        let place = owned.flights.iter().position(|it| it.id == flight)?;
        owned.flights.remove(place)
    }

    /// What the database said of a batch is told to who waits for it.
    fn conclude(&mut self, machine: usize, lane: usize, of: (u64, Option<Result<Vec<Outcome>, store::Fenced>>)) {
        let (id, result) = of;
        match result {
            Some(Ok(outcomes)) => {
                let Some(flight) = self.take_flight(machine, lane, id) else { return };
                let mut acks = Vec::new();
                for (job, outcome) in flight.jobs.into_iter().zip(outcomes) {
                    if outcome == Outcome::Refused {
                        self.put_back(machine, &job.commit.rows);
                    }
                    if let (true, Some(process)) = (outcome != Outcome::Done, self.process(machine)) {
                        process.chains.remove(&job.commit.run);
                    }
                    acks.push((job.commit.run, job.generation, Ok(outcome)));
                }
                self.acknowledge(machine, acks);
                self.pump(machine, lane);
            }
            Some(Err(store::Fenced)) | None => self.lane_is_gone(machine, lane),
        }
    }

    fn fail_flight(&mut self, machine: usize, lane: usize, (id, error): (u64, CommitError)) {
        let Some(flight) = self.take_flight(machine, lane, id) else { return };
        let mut acks = Vec::new();
        for job in flight.jobs {
            self.put_back(machine, &job.commit.rows);
            if let Some(process) = self.process(machine) {
                process.chains.remove(&job.commit.run);
            }
            acks.push((job.commit.run, job.generation, Err(error)));
        }
        self.acknowledge(machine, acks);
        self.pump(machine, lane);
    }

    /// Somebody else owns the lane: whatever waits on it here is not written.
    pub(super) fn lane_is_gone(&mut self, machine: usize, lane: usize) {
        let Some(process) = self.process(machine) else { return };
        let Some(owned) = process.lanes.remove(&lane) else { return };
        process.chains.clear();
        let flying = owned.flights.into_iter().flat_map(|flight| flight.jobs);
        let mut acks = Vec::new();
        for job in flying.chain(owned.waiting) {
            self.put_back(machine, &job.commit.rows);
            acks.push((job.commit.run, job.generation, Err(CommitError::Fenced(lane))));
        }
        self.acknowledge(machine, acks);
    }

    /// Takes the lane's lock, which waits out whoever may still write the batch, and looks for one row of it.
    pub(super) fn witness(&mut self, machine: usize, lane: usize) {
        let Some(owned) = self.process(machine).and_then(|process| process.lanes.get(&lane)) else { return };
        let Some(flight) = owned.flights.front() else { return };
        let id = flight.id;
        let starts = flight.batch.written.iter().any(|it| it.commit.birth.as_ref().is_some_and(|it| it.key.is_some()));
        let written = flight.batch.written.clone();
        if self.flying.contains_key(&id) && !planted(Bug::WitnessTooSoon) {
            match self.random.percent(50) {
                true => self.arrive(id),
                false => drop(self.flying.remove(&id)),
            }
        }
        let witness = written.iter().find_map(|it| self.bears_witness(it));
        if witness.is_none() && !starts {
            // Rows alone leave nothing to look for; writing them twice changes nothing, so nobody does.
            return self.fail_flight(machine, lane, (id, CommitError::Unknown));
        }
        let landed = self.landed.remove(&id);
        // The keys say whether a batch of keyed starts is there; nothing of it can be there twice.
        let there = witness.filter(|_| !starts).unwrap_or_else(|| landed.as_ref().is_some_and(Result::is_ok));
        match landed {
            Some(Err(fenced)) => self.conclude(machine, lane, (id, Some(Err(fenced)))),
            Some(Ok(outcomes)) if there => self.conclude(machine, lane, (id, Some(Ok(outcomes)))),
            _ => self.resend(machine, lane),
        }
    }

    /// Whether the last row of a commit is there; none for a commit that leaves no row, or that the committer leaves out
    /// because it does not follow what is there.
    fn bears_witness(&self, written: &Written) -> Option<bool> {
        let (first, last) = (written.rows.first()?, written.rows.last()?);
        let journal = self.store.runs.get(&written.commit.run).map_or(&[][..], |row| &row.journal);
        match journal.get(last.entry.seq as usize - 1) {
            Some(found) => (found.checksum == last.checksum).then_some(true),
            None => (first.entry.seq <= journal.len() as i64 + 1).then_some(false),
        }
    }

    pub(super) fn resend(&mut self, machine: usize, lane: usize) {
        let Some(owned) = self.process(machine).and_then(|process| process.lanes.get_mut(&lane)) else { return };
        let epoch = owned.epoch;
        let Some(flight) = owned.flights.front_mut() else { return };
        flight.batch.epoch = epoch;
        let (old, batch) = (flight.id, flight.batch.clone());
        let id = self.number();
        if let Some(owned) = self.process(machine).and_then(|process| process.lanes.get_mut(&lane))
            && let Some(flight) = owned.flights.iter_mut().find(|it| it.id == old)
        {
            flight.id = id;
        }
        self.fly(machine, id, batch);
    }
}
