//! A process that owns lanes and turns their runs: the model of the runtime's turner.
//!
//! It follows `crates/runtime/src/turner.rs` and its parts: what is taken together is written together; effects, letters
//! and answers wait for the acknowledgement; a state that was given up is read again from the journal.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use windlass_definition::{Class, Error, Plan, Timestamp, Value};
use windlass_engine::{
    Effect, Event, Reject, Run, Start, Transition,
    effect::RunStep,
    event::{ChildResult, Failure},
    id::{RunId, TaskId},
    planted::{Bug, planted},
    status::RunStatus,
};

use super::{
    Sim,
    commits::{Extra, Lane, Pending},
    people::Reply,
    store::{Change, Commit, Letter, LetterRow},
};
use crate::answer::{self, Mood};

/// Before a run is read again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Runs whose timer is nearer than this stay in memory.
const TIMER_NEAR: Duration = Duration::from_secs(60);
/// New entries after which a run that leaves memory leaves a snapshot: few, so that there are some.
const SNAPSHOT_ENTRIES: i64 = 4;

/// Something a process does.
#[derive(Debug)]
pub(super) enum Work {
    /// Takes what was told and hands out what is to be written.
    Turn,
    /// It is told something.
    Told(Message),
    /// Looks at the database.
    Look,
    /// Finds what is there of its lanes.
    Scan,
    /// Renews its lease.
    Renew,
    /// What became of the batch of a lane.
    Answered { lane: usize, flight: u64, answer: Answer },
    /// Looks for the batch of a lane whose answer never came.
    Witness(usize),
    /// Sends the batch of a lane again.
    Resend(usize),
    /// Reads a run.
    Read(RunId, Recover),
    /// Does what a letter asks of the runtime.
    Act(Box<LetterRow>),
    /// An attempt ends.
    Ends { run: RunId, path: Arc<str>, attempt: u32, generation: u64, since: Timestamp },
    /// A task that is no longer wanted is taken back, if nobody has it.
    Withdraw { run: RunId, task: TaskId, path: Arc<str>, attempt: u32 },
    /// A client's request arrives.
    Receive { request: usize },
}

impl Work {
    pub fn name(&self) -> String {
        match self {
            Work::Act(row) => format!("opens {row:?}"),
            Work::Told(message) => format!("is told {message:?}"),
            other => format!("{other:?}"),
        }
    }
}

/// The answer to a batch, as the network gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    /// What the database said.
    Came,
    /// It was not sent: try again.
    Again,
    /// There was no room for it: it is not written.
    Busy,
    /// It never came.
    Never,
}

/// Whether what the run was doing is to be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recover {
    Yes,
    No,
}

#[derive(Debug)]
pub(super) enum Message {
    Start(Box<StartRun>),
    Deliver(Box<Deliver>),
    Acked(Vec<Ack>),
    Loaded { run: RunId, recover: Recover, result: Result<Box<Loaded>, LoadError> },
    Adopt(RunId, Recover),
    Lost(Vec<usize>),
}

#[derive(Debug)]
pub(super) struct StartRun {
    pub start: Start,
    pub plan: Arc<Plan>,
    pub lane: usize,
    pub key: Option<(u64, u64)>,
    pub source: Source,
    pub reply: Option<Reply>,
}

#[derive(Debug)]
pub(super) struct Deliver {
    pub run: RunId,
    pub event: Event,
    pub source: Source,
    pub reply: Option<Reply>,
}

impl Deliver {
    pub fn new(run: RunId, event: Event) -> Deliver {
        Deliver { run, event, source: Source::Direct, reply: None }
    }
}

/// Where an event was kept before it was taken: its row goes in the commit that takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    Direct,
    Letter(u64, usize),
    Attempt(u64),
    Task(TaskId, usize),
}

impl Source {
    pub fn discard(self) -> Option<Change> {
        match self {
            Source::Letter(..) if planted(Bug::LetterStays) => None,
            Source::Direct | Source::Attempt(_) => None,
            Source::Letter(id, _) => Some(Change::DropLetter(id)),
            Source::Task(task, _) => Some(Change::CloseTask(task)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub run: RunId,
    pub generation: u64,
    pub result: Result<super::Outcome, CommitError>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CommitError {
    Fenced(usize),
    Busy,
    Refused,
    Unknown,
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fail {
    Unavailable,
    NotFound,
    Elsewhere(usize),
    KeyReused,
    Refused,
}

/// Whether an event counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Taken {
    Now,
    Before,
}

#[derive(Debug)]
pub(super) struct Loaded {
    run: Run,
    plan: Arc<Plan>,
    lane: usize,
    timer: Option<Timestamp>,
    snapshot_seq: i64,
    last_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum LoadError {
    NotFound,
    Over(usize),
    Elsewhere(usize),
    Store,
}

/// A process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Its row in the database; another one at every start.
    pub node: u32,
    pub lanes: BTreeMap<usize, Lane>,
    pub known_lanes: Vec<usize>,
    pub inbox: VecDeque<Message>,
    pub turning: bool,
    pub runs: BTreeMap<RunId, Live>,
    pub loading: BTreeMap<RunId, VecDeque<Deliver>>,
    pub unborn: BTreeSet<RunId>,
    pub timers: BTreeMap<RunId, Timestamp>,
    /// Letters and task answers that were told a moment ago.
    pub in_hand: BTreeMap<(u64, Option<TaskId>), Timestamp>,
    pub finds: BTreeMap<u64, super::letters::Find>,
    pub restarts: BTreeMap<u64, super::letters::Restarting>,
    /// The checksum of the last row of each run that was written here.
    pub chains: BTreeMap<RunId, u64>,
    pub generation: u64,
    /// Its lease ran out.
    pub lost: bool,
}

impl Process {
    /// The batches that it waits for.
    pub fn flights(&self) -> Vec<u64> {
        self.lanes.values().flat_map(|lane| lane.flights.iter().map(|flight| flight.id)).collect()
    }
}

/// A run in memory.
#[derive(Debug)]
pub(super) struct Live {
    pub run: Run,
    pub plan: Arc<Plan>,
    pub lane: usize,
    pub generation: u64,
    pub status_on_disk: Option<RunStatus>,
    pub timer_on_disk: Option<Timestamp>,
    pub pending: VecDeque<Pending>,
    /// The attempts that run here, and whether each was asked to stop.
    pub attempts: BTreeMap<Arc<str>, (u32, bool)>,
    pub snapshot_seq: i64,
    pub idle: bool,
    pub last_at: Timestamp,
}

impl Sim {
    pub(super) fn process(&mut self, machine: usize) -> Option<&mut Process> {
        self.machines[machine].process.as_mut()
    }

    fn live(&mut self, machine: usize, run: RunId) -> Option<&mut Live> {
        self.process(machine)?.runs.get_mut(&run)
    }

    pub(super) fn work(&mut self, machine: usize, work: Work) {
        match work {
            Work::Turn => self.turn(machine),
            Work::Told(message) => self.told(machine, message),
            Work::Look => self.look(machine),
            Work::Scan => self.scan(machine),
            Work::Renew => self.renew(machine),
            Work::Answered { lane, flight, answer } => self.answered(machine, lane, (flight, answer)),
            Work::Witness(lane) => self.witness(machine, lane),
            Work::Resend(lane) => self.resend(machine, lane),
            Work::Read(run, recover) => self.read(machine, run, recover),
            Work::Act(row) => self.act(machine, *row),
            Work::Ends { run, path, attempt, generation, since } => {
                self.attempt_ends(machine, (run, path, attempt), (generation, since));
            }
            Work::Withdraw { run, task, path, attempt } => self.withdraw(machine, run, (task, path, attempt)),
            Work::Receive { request } => self.receive(machine, request),
        }
    }

    pub(super) fn told(&mut self, machine: usize, message: Message) {
        let Some(process) = self.process(machine) else { return };
        process.inbox.push_back(message);
        if !std::mem::replace(&mut process.turning, true) {
            self.soon(machine, 3, Work::Turn);
        }
    }

    fn turn(&mut self, machine: usize) {
        let Some(process) = self.process(machine) else { return };
        process.turning = false;
        for message in std::mem::take(&mut process.inbox) {
            self.handle(machine, message);
        }
        self.fire_timers(machine);
        self.pump_all(machine);
    }

    fn handle(&mut self, machine: usize, message: Message) {
        match message {
            Message::Start(order) => self.start(machine, *order),
            Message::Deliver(deliver) => self.deliver(machine, *deliver),
            Message::Acked(acks) => acks.into_iter().for_each(|ack| self.acked(machine, ack)),
            Message::Loaded { run, recover, result } => match result {
                Ok(loaded) => self.loaded(machine, run, (*loaded, recover)),
                Err(LoadError::Store) if recover == Recover::Yes => self.load_later(machine, run),
                Err(error) => self.not_loaded(machine, run, error),
            },
            Message::Adopt(run, recover) => {
                let Some(process) = self.process(machine) else { return };
                if !process.runs.contains_key(&run) && !process.loading.contains_key(&run) {
                    self.load(machine, run, recover);
                }
            }
            Message::Lost(lanes) => self.lose(machine, &lanes),
        }
    }

    fn start(&mut self, machine: usize, order: StartRun) {
        let StartRun { start, plan, lane, key, source, reply } = order;
        let run = start.run;
        let Some(process) = self.process(machine) else { return };
        if process.unborn.remove(&run) {
            return self.refuse_unborn(machine, &start, (lane, source));
        }
        if process.runs.contains_key(&run) {
            return self.reply(reply, Ok((run, Taken::Before)));
        }
        process.generation += 1;
        let generation = process.generation;
        let now = self.now(machine).max(start.created_at);
        let (state, transition) = Run::start(&plan, start, now);
        let live = Live {
            run: state,
            plan,
            lane,
            generation,
            status_on_disk: None,
            timer_on_disk: None,
            pending: VecDeque::new(),
            attempts: BTreeMap::new(),
            snapshot_seq: 0,
            idle: false,
            last_at: now,
        };
        let Some(process) = self.process(machine) else { return };
        process.runs.insert(run, live);
        let waiting = process.loading.remove(&run);
        let extra = Extra { born: true, key, rows: source.discard().into_iter().collect() };
        self.write(machine, run, (transition, extra), reply);
        for deliver in waiting.into_iter().flatten() {
            self.deliver(machine, deliver);
        }
    }

    fn refuse_unborn(&mut self, machine: usize, start: &Start, (lane, source): (usize, Source)) {
        let Some(parent) = &start.parent else { return };
        let error = Error::new(Class::Cancelled, "cancelled", "the run was cancelled before it began");
        let result = ChildResult::Failed(Some(RunStatus::Cancelled), error);
        let event = Event::ChildEnded { path: parent.path.clone(), child: Some(start.run), result };
        self.told(machine, Message::Deliver(Box::new(Deliver::new(parent.run, event))));
        if let Some(row) = source.discard() {
            self.submit_rows(machine, start.run, lane, vec![row]);
        }
    }

    pub(super) fn deliver(&mut self, machine: usize, deliver: Deliver) {
        let run = deliver.run;
        let Some(process) = self.process(machine) else { return };
        if let Some(waiting) = process.loading.get_mut(&run) {
            waiting.push_back(deliver);
            return;
        }
        if process.runs.contains_key(&run) {
            return self.step(machine, deliver);
        }
        process.loading.insert(run, VecDeque::from([deliver]));
        self.load(machine, run, Recover::No);
    }

    fn step(&mut self, machine: usize, deliver: Deliver) {
        let Deliver { run, event, source, reply } = deliver;
        let now = self.now(machine);
        let Some(live) = self.live(machine, run) else { return };
        if matches!(source, Source::Attempt(generation) if generation != live.generation) {
            return;
        }
        if let Event::StepEnded { path, attempt, .. } = &event
            && live.attempts.get(path).is_some_and(|(open, _)| open == attempt)
        {
            live.attempts.remove(path);
        }
        match live.run.step(&live.plan, event, now.max(live.last_at)) {
            Ok(transition) => {
                let extra = Extra { born: false, key: None, rows: source.discard().into_iter().collect() };
                self.write(machine, run, (transition, extra), reply);
            }
            Err(reject) => {
                let lane = live.lane;
                let told = match reject {
                    Reject::Duplicate => Ok((run, Taken::Before)),
                    _ => Err(Fail::Refused),
                };
                match live.pending.back_mut() {
                    Some(last) => last.replies.extend(reply.map(|reply| (reply, told))),
                    None => self.reply(reply, told),
                }
                // What it was refused for may not be on disk yet: if that never happens, it is taken after all.
                let row = source.discard();
                match (self.live(machine, run).and_then(|live| live.pending.back_mut()), row) {
                    (Some(last), Some(row)) if !planted(Bug::RefusedThrownAway) => last.discards.push(row),
                    (_, Some(row)) => self.submit_rows(machine, run, lane, vec![row]),
                    _ => {}
                }
                self.settle(machine, run);
            }
        }
    }

    /// Submits a transition and holds what follows from it.
    fn write(&mut self, machine: usize, run: RunId, (transition, extra): (Transition, Extra), reply: Option<Reply>) {
        let letters = self.letters_of(machine, run, &transition);
        let Some(live) = self.live(machine, run) else { return };
        live.idle = false;
        let silent = transition.entries.is_empty() && extra.rows.is_empty() && !extra.born;
        let (commit, mut pending) = live.commit(transition, extra, letters);
        let generation = live.generation;
        pending.replies.extend(reply.map(|reply| (reply, Ok((run, Taken::Now)))));
        if planted(Bug::AnswerBeforeAck) {
            for (reply, told) in std::mem::take(&mut pending.replies) {
                self.reply(Some(reply), told);
            }
        }
        if planted(Bug::EffectBeforeAck) {
            let effects = std::mem::take(&mut pending.effects);
            let mut inline = Vec::new();
            for effect in effects {
                self.carry_out(machine, run, (effect, pending.seq), &mut inline);
            }
            let Some(live) = self.live(machine, run) else { return };
            live.pending.push_back(pending);
            self.submit(machine, commit, generation);
            for event in inline {
                self.step(machine, Deliver::new(run, event));
            }
            return self.arm(machine, run);
        }
        let Some(live) = self.live(machine, run) else { return };
        if silent && live.pending.is_empty() && commit.rows.is_empty() && commit.timer.is_none() {
            self.follow(machine, run, pending);
        } else {
            live.pending.push_back(pending);
            self.submit(machine, commit, generation);
        }
        self.arm(machine, run);
    }

    fn acked(&mut self, machine: usize, ack: Ack) {
        let Ack { run, generation, result } = ack;
        let Some(live) = self.live(machine, run) else { return };
        if live.generation != generation && !planted(Bug::AckOfOldState) {
            return;
        }
        match result {
            Ok(super::Outcome::Done) => {
                if let Some(pending) = live.pending.pop_front() {
                    self.follow(machine, run, pending);
                }
            }
            Ok(super::Outcome::Duplicate { run: first, same_body }) => {
                let Some(live) = self.remove(machine, run) else { return };
                let told = if planted(Bug::LoserToldOwnRun) { run } else { first };
                for (reply, _) in live.pending.into_iter().flat_map(|pending| pending.replies) {
                    self.counts.starts_duplicate += 1;
                    let answer = if same_body { Ok((told, Taken::Before)) } else { Err(Fail::KeyReused) };
                    self.reply(Some(reply), answer);
                }
            }
            Ok(super::Outcome::Refused) => self.fall_back(machine, run, CommitError::Refused),
            Err(error) => self.fall_back(machine, run, error),
        }
    }

    /// A commit failed for good: what was ahead of the disk never happened. The journal says what did.
    fn fall_back(&mut self, machine: usize, run: RunId, error: CommitError) {
        let Some(live) = self.remove(machine, run) else { return };
        let ahead: i64 = live.pending.iter().map(|pending| pending.entries).sum();
        let never = live.run.seq() <= ahead;
        for (reply, _) in live.pending.into_iter().flat_map(|pending| pending.replies) {
            self.reply(Some(reply), Err(Fail::Unavailable));
        }
        if let CommitError::Fenced(lane) = error {
            return self.told(machine, Message::Lost(vec![lane]));
        }
        if never && matches!(error, CommitError::Busy | CommitError::Refused) {
            return;
        }
        self.read_later(machine, run);
    }

    fn read_later(&mut self, machine: usize, run: RunId) {
        let Some(process) = self.process(machine) else { return };
        process.loading.entry(run).or_default();
        let life = self.machines[machine].life;
        let work = Work::Read(run, Recover::Yes);
        self.at(self.store.now.after(AGAIN_AFTER), super::Action::Within { machine, life, work });
    }

    fn load(&mut self, machine: usize, run: RunId, recover: Recover) {
        let Some(process) = self.process(machine) else { return };
        process.loading.entry(run).or_default();
        self.soon(machine, 4, Work::Read(run, recover));
    }

    fn read(&mut self, machine: usize, run: RunId, recover: Recover) {
        let result = self.read_run(machine, run).map(Box::new);
        let recover = match &result {
            Ok(loaded) if loaded.run.is_under_way() => Recover::Yes,
            _ => recover,
        };
        self.soon(machine, 4, Work::Told(Message::Loaded { run, recover, result }));
    }

    fn read_run(&mut self, machine: usize, run: RunId) -> Result<Loaded, LoadError> {
        if self.faults && self.random.percent(2) {
            return Err(LoadError::Store);
        }
        let Some(row) = self.store.runs.get(&run) else { return Err(LoadError::NotFound) };
        let (lane, plan) = (row.lane, row.plan.clone());
        if row.status.is_final() {
            return Err(LoadError::Over(lane));
        }
        if self.process(machine).is_none_or(|process| !process.lanes.contains_key(&lane)) {
            return Err(LoadError::Elsewhere(lane));
        }
        let timer = self.store.timers.get(&run).map(|(_, due)| *due);
        match self.store.fold(run) {
            Ok((state, snapshot_seq)) => {
                let journal = &self.store.runs[&run].journal;
                let last_at = journal.last().map_or(self.store.now, |row| row.entry.at);
                Ok(Loaded { run: state, plan, lane, timer, snapshot_seq, last_at })
            }
            Err(error) => {
                self.breaks("the journal folds", format!("run {run}: {error}"));
                Err(LoadError::NotFound)
            }
        }
    }

    fn loaded(&mut self, machine: usize, run: RunId, (loaded, recover): (Loaded, Recover)) {
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
        let Loaded { run, plan, lane, timer, snapshot_seq, last_at } = loaded;
        let now = self.now(machine).max(last_at);
        let Some(process) = self.process(machine) else { return };
        process.generation += 1;
        let id = run.id();
        let mut live = Live {
            status_on_disk: Some(run.status()),
            timer_on_disk: timer,
            run,
            plan,
            lane,
            generation: process.generation,
            pending: VecDeque::new(),
            attempts: BTreeMap::new(),
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
            Some(transition) => self.write(machine, id, (transition, Extra::default()), None),
            None => self.arm(machine, id),
        }
    }

    fn load_later(&mut self, machine: usize, run: RunId) {
        let Some(process) = self.process(machine) else { return };
        let waiting = process.loading.remove(&run).unwrap_or_default();
        let (answered, kept): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(|it| it.reply.is_some());
        process.loading.insert(run, kept);
        for deliver in answered {
            self.reply(deliver.reply, Err(Fail::Unavailable));
        }
        self.read_later(machine, run);
    }

    fn not_loaded(&mut self, machine: usize, run: RunId, error: LoadError) {
        let Some(process) = self.process(machine) else { return };
        let waiting = process.loading.remove(&run).unwrap_or_default();
        let cancelled =
            |it: &Deliver| matches!(&it.event, Event::Cancel { .. }) && matches!(it.source, Source::Letter(..));
        if error == LoadError::NotFound && waiting.iter().any(cancelled) {
            process.unborn.insert(run);
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
            if let Some(row) = deliver.source.discard() {
                self.submit_rows(machine, run, lane, vec![row]);
            }
        }
    }

    pub(super) fn lose(&mut self, machine: usize, lanes: &[usize]) {
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
            if self.live(machine, run).is_some() {
                self.take_in_hand(machine, (letter.id, None));
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

    fn carry_out(&mut self, machine: usize, run: RunId, (effect, seq): (Effect, i64), inline: &mut Vec<Event>) {
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
                let row = super::commits::task_row(run, lane, &task);
                self.submit_rows(machine, run, lane, vec![Change::OpenTask(task.task, Box::new(row))]);
            }
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

    fn attempt_ends(&mut self, machine: usize, (run, path, attempt): (RunId, Arc<str>, u32), of: (u64, Timestamp)) {
        let (generation, started_at) = of;
        let Some(live) = self.live(machine, run) else { return };
        let open = live.attempts.get(&path).copied().filter(|it| it.0 == attempt && live.generation == generation);
        let Some((_, stopping)) = open else { return };
        let result = self.result(stopping);
        let event = Event::StepEnded { path, attempt, started_at, result };
        let deliver = Deliver { source: Source::Attempt(generation), ..Deliver::new(run, event) };
        self.told(machine, Message::Deliver(Box::new(deliver)));
    }

    pub(super) fn result(&mut self, stopping: bool) -> Result<Value, Failure> {
        let mood = if self.faults || self.random.percent(10) { Mood::Any } else { Mood::Good };
        answer::result(&mut self.random, &mut self.counter, stopping, mood)
    }

    fn withdraw(&mut self, machine: usize, run: RunId, (task, path, attempt): (TaskId, Arc<str>, u32)) {
        if self.store.tasks.get(&task).is_some_and(|row| !row.claimed && row.answer.is_none()) {
            self.store.tasks.remove(&task);
            let error = Error::new(Class::Cancelled, "cancelled", "the task was withdrawn before anybody claimed it");
            let result = Err(Failure::certain(error));
            let event = Event::StepEnded { path, attempt, started_at: self.store.now, result };
            self.told(machine, Message::Deliver(Box::new(Deliver::new(run, event))));
        }
    }

    /// Nothing that the world sees comes before what it follows from is on disk.
    fn check_on_disk(&mut self, run: RunId, seq: i64, path: &str) {
        let on_disk = self.store.runs.get(&run).map_or(0, |row| row.journal.len() as i64);
        if on_disk < seq {
            let detail = format!("run {run}: `{path}` began after entry {seq}, but {on_disk} are on disk");
            self.breaks("effects wait for the disk", detail);
        }
    }

    fn arm(&mut self, machine: usize, run: RunId) {
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
                self.at(wake, super::Action::Within { machine, life, work: Work::Turn });
            }
            Some(_) => {}
            None => drop(process.timers.remove(&run)),
        }
    }

    fn fire_timers(&mut self, machine: usize) {
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
        let status = live.run.status();
        if status.is_final() {
            self.remove(machine, run);
            return;
        }
        let rests = matches!(status, RunStatus::Waiting | RunStatus::Paused | RunStatus::Queued);
        live.idle |= rests && live.attempts.is_empty();
    }

    fn remove(&mut self, machine: usize, run: RunId) -> Option<Live> {
        let process = self.process(machine)?;
        process.timers.remove(&run);
        process.runs.remove(&run)
    }

    /// Some of the runs that rest leave memory.
    pub(super) fn sweep(&mut self, machine: usize) {
        let near = self.store.now.after(TIMER_NEAR);
        let Some(process) = self.process(machine) else { return };
        let idle: Vec<RunId> = process.runs.iter().filter(|(_, live)| live.idle).map(|(run, _)| *run).collect();
        let hasty = planted(Bug::EvictedTooSoon);
        let all: Vec<RunId> = if hasty { process.runs.keys().copied().collect() } else { idle };
        for run in all {
            if !self.random.percent(30) {
                continue;
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
    }

    pub(super) fn submit_rows(&mut self, machine: usize, run: RunId, lane: usize, rows: Vec<Change>) {
        let commit = Commit { rows, ..Commit::new(run, lane) };
        self.submit(machine, commit, 0);
    }

    /// Tells a run what a letter says, or has the runtime do it.
    pub(super) fn open(&mut self, machine: usize, row: LetterRow) {
        match row.letter {
            Letter::Event(event) => {
                let source = Source::Letter(row.id, row.lane);
                if planted(Bug::LetterThrownAway) {
                    self.store.inbox.remove(&row.id);
                }
                let deliver = Deliver { run: row.run, event, source, reply: None };
                self.told(machine, Message::Deliver(Box::new(deliver)));
            }
            _ => self.soon(machine, 5, Work::Act(Box::new(row))),
        }
    }
}
