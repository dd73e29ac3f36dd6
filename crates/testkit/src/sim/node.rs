//! A process that owns lanes and turns their runs: the model of the runtime's turner.
//!
//! It follows `crates/runtime/src/turner.rs` and its parts: what is taken together is written together; effects, letters
//! and answers wait for the acknowledgement; a state that was given up is read again from the journal.

mod effects;
mod loading;
mod resting;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use windlass_definition::{Class, Error, Plan, Timestamp};
use windlass_engine::{
    Effect, Event, Reject, Run, Start, Transition,
    event::ChildResult,
    id::{RunId, TaskId},
    planted::{Bug, planted},
    status::RunStatus,
};

use super::{
    Sim,
    commits::{Extra, Lane, Offer, Pending},
    people::Reply,
    store::{Change, Commit, Letter, LetterRow, TaskRow},
};

/// A child that has not begun for so long after it was told something never will.
const UNBORN_PATIENCE: Duration = Duration::from_secs(600);
/// Before a run is read again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Runs whose timer is nearer than this stay in memory.
const TIMER_NEAR: Duration = Duration::from_secs(60);
/// Tasks that have no rows at first, in crowded scenes.
const HANDED_PERCENT: usize = 90;
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
    /// Finds what a hint may be about.
    Hinted,
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
    /// A task that was handed out without a row gets it, if it is still there.
    WriteHanded(RunId, TaskId),
    /// A worker comes for a task that lies there.
    Take { run: RunId, task: TaskId, path: Arc<str>, attempt: u32 },
    /// Whoever was handed a task answers.
    Answer { run: RunId, task: TaskId, path: Arc<str>, attempt: u32 },
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
    /// Rows that go together with the one that it comes from.
    pub also: Vec<Change>,
    pub reply: Option<Reply>,
}

impl Deliver {
    pub fn new(run: RunId, event: Event) -> Deliver {
        Deliver { run, event, source: Source::Direct, also: Vec::new(), reply: None }
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
    status: RunStatus,
    tasks: BTreeSet<TaskId>,
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
    /// Commits of states that were given up that are still on their way: of which generation, and how many.
    pub behind: BTreeMap<RunId, (u64, usize)>,
    /// What children were told before they were started.
    pub unborn: BTreeMap<RunId, Vec<Deliver>>,
    pub timers: BTreeMap<RunId, Timestamp>,
    /// Letters and task answers that were told a moment ago.
    pub in_hand: BTreeMap<(u64, Option<TaskId>), Timestamp>,
    /// Tasks that lie there for whoever comes next, as long as their runs have them without rows.
    pub lying: BTreeSet<TaskId>,
    pub finds: BTreeMap<u64, super::letters::Find>,
    pub restarts: BTreeMap<u64, super::letters::Restarting>,
    /// The checksum of the last row of each run that was written here.
    pub chains: BTreeMap<RunId, (i64, u64)>,
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
    /// Tasks that workers got or may get, and that have no rows yet.
    pub handed: BTreeMap<TaskId, TaskRow>,
    /// They are to get them.
    pub handed_wanted: bool,
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
            Work::Hinted => self.hinted(machine),
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
            Work::WriteHanded(run, task) => self.hand_lasts(machine, run, task),
            Work::Take { run, task, path, attempt } => self.take(machine, run, (task, path, attempt)),
            Work::Answer { run, task, path, attempt } => self.answer_handed(machine, run, (task, path, attempt)),
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
        let told_before = process.unborn.remove(&run).unwrap_or_default();
        if told_before.iter().any(|it| matches!(it.event, Event::Cancel { .. })) {
            return self.refuse_unborn(machine, &start, (lane, source, told_before));
        }
        let Some(process) = self.process(machine) else { return };
        if process.runs.contains_key(&run) {
            self.reply(reply, Ok((run, Taken::Before)));
            return self.throw_away(machine, run, source.discard().into_iter().collect());
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
            handed: BTreeMap::new(),
            handed_wanted: false,
            snapshot_seq: 0,
            idle: false,
            last_at: now,
        };
        let Some(process) = self.process(machine) else { return };
        process.runs.insert(run, live);
        let waiting = process.loading.remove(&run);
        let extra = Extra { born: true, key, rows: source.discard().into_iter().collect(), ..Extra::default() };
        self.write(machine, run, (transition, extra), reply);
        for deliver in told_before.into_iter().chain(waiting.into_iter().flatten()) {
            self.deliver(machine, deliver);
        }
    }

    /// What asked for the child and what cancelled it go in the commit of its parent.
    fn refuse_unborn(&mut self, machine: usize, start: &Start, of: (usize, Source, Vec<Deliver>)) {
        let (lane, source, told) = of;
        let mut also: Vec<Change> = told.iter().filter_map(|deliver| deliver.source.discard()).collect();
        let Some(parent) = &start.parent else {
            also.extend(source.discard());
            return self.submit_rows(machine, start.run, lane, also);
        };
        let error = Error::new(Class::Cancelled, "cancelled", "the run was cancelled before it began");
        let result = ChildResult::Failed(Some(RunStatus::Cancelled), error);
        let event = Event::ChildEnded { path: parent.path.clone(), child: Some(start.run), result };
        // Each planted bug leaves what asked for the child, so that it begins; the second one takes the cancel away.
        let source = if planted(Bug::UnbornAskedForStill) { Source::Direct } else { source };
        if planted(Bug::UnbornInTwoCommits) {
            self.submit_rows(machine, start.run, lane, std::mem::take(&mut also));
            self.pump_all(machine);
        }
        let message = Message::Deliver(Box::new(Deliver { source, also, ..Deliver::new(parent.run, event) }));
        match planted(Bug::UnbornInTwoCommits) {
            true => self.soon(machine, 8_000, Work::Told(message)),
            false => self.told(machine, message),
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
        let Deliver { run, event, source, also, reply } = deliver;
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
                let rows = source.discard().into_iter().chain(also).collect();
                let extra = Extra { rows, ..Extra::default() };
                self.write(machine, run, (transition, extra), reply);
            }
            Err(reject) => {
                let told = match reject {
                    Reject::Duplicate => Ok((run, Taken::Before)),
                    _ => Err(Fail::Refused),
                };
                match live.pending.back_mut() {
                    Some(last) => last.replies.extend(reply.map(|reply| (reply, told))),
                    None => self.reply(reply, told),
                }
                self.throw_away(machine, run, source.discard().into_iter().chain(also).collect());
                self.settle(machine, run);
            }
        }
    }

    /// What it was refused for may not be on disk yet: if that never happens, it is taken after all.
    fn throw_away(&mut self, machine: usize, run: RunId, rows: Vec<Change>) {
        let Some(live) = self.live(machine, run) else { return };
        let lane = live.lane;
        let ahead = !live.pending.is_empty() && !rows.is_empty();
        self.counts.letters_refused_ahead += u64::from(ahead);
        let Some(live) = self.live(machine, run) else { return };
        match live.pending.back_mut() {
            Some(last) if !planted(Bug::RefusedThrownAway) => last.discards.extend(rows),
            _ if rows.is_empty() => {}
            _ => self.submit_rows(machine, run, lane, rows),
        }
    }

    /// Submits a transition and holds what follows from it.
    fn write(&mut self, machine: usize, run: RunId, (transition, extra): (Transition, Extra), reply: Option<Reply>) {
        let letters = self.letters_of(machine, run, &transition);
        let offer = match self.in_a_crowd(HANDED_PERCENT) {
            true => *self.random.pick(&[Offer::Promised, Offer::Lies]),
            false => Offer::Stored,
        };
        let extra = Extra { offer, ..extra };
        let Some(live) = self.live(machine, run) else { return };
        live.idle = false;
        let silent = transition.entries.is_empty() && extra.rows.is_empty() && !extra.born;
        let again = extra.again.is_some();
        let (commit, mut pending) = live.commit(transition, extra, letters);
        if again {
            // Whichever row is there is found by the next look.
            pending.letters.clear();
            pending.effects.retain(|effect| !matches!(effect, Effect::OfferTask(_)));
        }
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
        let changed = !commit.rows.is_empty() || commit.timer.is_some() || commit.status.is_some();
        if silent && live.pending.is_empty() && !changed {
            self.follow(machine, run, pending);
        } else {
            live.pending.push_back(pending);
            self.submit(machine, commit, generation);
        }
        self.arm(machine, run);
    }

    fn acked(&mut self, machine: usize, ack: Ack) {
        let Ack { run, generation, result } = ack;
        let is_its = |live: &&mut Live| live.generation == generation || planted(Bug::AckOfOldState);
        let Some(live) = self.live(machine, run).filter(is_its) else {
            return self.came_behind(machine, run, generation);
        };
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
                let deliver = Deliver { source, ..Deliver::new(row.run, event) };
                self.told(machine, Message::Deliver(Box::new(deliver)));
            }
            _ => {
                // A child begins late where its plan is read first.
                let millis = *self.random.pick(&[5, 5, 800]);
                self.soon(machine, millis, Work::Act(Box::new(row)));
            }
        }
    }
}
