//! A turner: it owns the runs hashed to it and moves them.
//!
//! Nothing of a run is shared, so nothing of it is locked. A turner takes everything that is waiting for it at once,
//! so that what it writes reaches the disk in one batch. It never waits for the database or for a step. Where several
//! tenants have something waiting, they take turns, in batches so small that nobody waits long for another's. It is
//! turned by its own thread, and by a committer's thread where that has few commits to tell of: see [`crate::wheel`].
//!
//! Invariant: effects, answers and announcements of a transition come after its commit's acknowledgement.

mod effects;
mod loading;
mod resting;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use windlass_engine::id::{ApprovalId, RunId, TaskId, TenantKey};
use windlass_engine::status::{RunStatus, StepStatus};
use windlass_engine::{Effect, Event, Reject, Run, Start, Transition};
use windlass_store::{CommitError, Committed, FairQueue, LaneId, RowChange, RunChange, RunCommit};

use self::loading::{Behind, Loads};
use crate::backlog::Seat;
use crate::core::Core;
use crate::error::RuntimeError;
use crate::inbox::InHand;
use crate::live_run::{Birth, Extra, LiveRun, OnDisk, Reply, Source, Taken};
use crate::loader::{LoadError, Loaded, Recover};
use crate::metrics::add;
use crate::plans::CompiledPlan;
use crate::tasks::Handed;
use crate::timers::Timers;
use crate::views::{RunView, StepView};

/// Messages that a turner handles before it looks at its timers.
const BATCH_MAX: usize = 4_096;
/// How long it does so before what it wants written is handed over: nobody waits longer for the batch of another.
const BATCH_TIME_MAX: Duration = Duration::from_millis(5);
/// Before a run is read again: a database that is away does not come back by being asked all the time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Children that were told something before they began, remembered until they do.
const UNBORN_MAX: usize = 10_000;
/// A child that has not begun for so long after it was told something never will.
const UNBORN_PATIENCE: Duration = Duration::from_secs(600);
/// Events that wait for a run to be loaded.
const WAITING_FOR_LOAD_MAX: usize = 10_000;
/// Ended runs that a turner remembers for those who ask just after the end.
const ENDED_MAX: usize = 2_048;
const ENDED_OUTPUT_BYTES_MAX: usize = 16 << 10;

/// The generation of what is written beside any state of a run.
const BESIDE: u64 = 0;

/// What a turner is told.
pub(crate) enum Message {
    /// Start a run.
    Start(Box<StartRun>),
    /// Something happened to a run.
    Deliver(Box<Deliver>),
    /// Commits are on disk, or are not: they were gathered at the wheel.
    Acked,
    /// One of them.
    Written(Ack),
    /// A run was read from the database, or could not be.
    Loaded { tenant: TenantKey, run: RunId, recover: Recover, result: Result<Box<Loaded>, LoadError> },
    /// A run that is about to be told to begin was read together with others.
    Claimed { tenant: TenantKey, loaded: Box<Loaded> },
    /// Tell me when the run has ended or answered.
    Watch { run: RunId, reply: oneshot::Sender<Arc<RunView>> },
    /// Write the rows of the tasks that the run handed out without; say when they are on disk.
    WriteHanded { run: RunId, reply: oneshot::Sender<Result<Taken, RuntimeError>> },
    /// Let go of this when nothing of the run is on its way to the disk.
    Rests { run: RunId, held: oneshot::Sender<()> },
    /// Somebody does not wait for the run any more.
    Unwatch { run: RunId },
    /// How is the run now, if it is in memory?
    Look { tenant: TenantKey, run: RunId, reply: oneshot::Sender<Option<Look>> },
    /// Take the run over from the database, if it is not here.
    Adopt { tenant: TenantKey, run: RunId, recover: Recover },
    /// These lanes are somebody else's now.
    Lost(Vec<LaneId>),
    /// Take nothing new; say when nothing is on its way to the disk.
    Drain(oneshot::Sender<()>),
    /// Stop at once.
    Stop,
}

impl Message {
    /// Whose work it is. What belongs to nobody, or only reports what happened, does not wait for a turn.
    fn tenant(&self) -> Option<TenantKey> {
        match self {
            Message::Start(start) => Some(start.start.tenant),
            Message::Deliver(deliver) => Some(deliver.tenant),
            Message::Written(ack) => Some(ack.tenant),
            Message::Claimed { tenant, .. } => Some(*tenant),
            Message::Acked
            | Message::Loaded { .. }
            | Message::Watch { .. }
            | Message::WriteHanded { .. }
            | Message::Rests { .. }
            | Message::Unwatch { .. }
            | Message::Look { .. }
            | Message::Adopt { .. }
            | Message::Lost(_)
            | Message::Drain(_)
            | Message::Stop => None,
        }
    }
}

/// Whether a commit is on disk.
pub(crate) struct Ack {
    tenant: TenantKey,
    run: RunId,
    generation: u64,
    result: Result<Committed, CommitError>,
}

/// A run to be started.
pub(crate) struct StartRun {
    pub(crate) start: Start,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) lane: LaneId,
    pub(crate) birth: Birth,
    pub(crate) source: Source,
    pub(crate) reply: Option<Reply>,
    pub(crate) watch: Option<oneshot::Sender<Arc<RunView>>>,
    pub(crate) seat: Option<Seat>,
}

/// Something that happened to a run.
pub(crate) struct Deliver {
    pub(crate) tenant: TenantKey,
    pub(crate) run: RunId,
    pub(crate) event: Event,
    pub(crate) source: Source,
    /// Rows that go together with the one that it comes from.
    pub(crate) also: Vec<RowChange>,
    pub(crate) reply: Option<Reply>,
    /// The approval that a decision is on, and the decisions known of it.
    pub(crate) decided: Option<(ApprovalId, Vec<serde_json::Value>)>,
    /// The lane to which a claim has moved the run that it lets in.
    pub(crate) moved: Option<LaneId>,
}

impl Ack {
    pub(crate) fn run(&self) -> RunId {
        self.run
    }
}

impl Deliver {
    pub(crate) fn new(tenant: TenantKey, run: RunId, event: Event) -> Deliver {
        let (source, also) = (Source::Direct, Vec::new());
        Deliver { tenant, run, event, source, also, reply: None, decided: None, moved: None }
    }

    pub(crate) fn from(mut self, source: Source) -> Deliver {
        self.source = source;
        self
    }

    pub(crate) fn answer(mut self, reply: oneshot::Sender<Result<Taken, RuntimeError>>) -> Deliver {
        self.reply = Some(Reply::Event(reply));
        self
    }
}

/// A run in memory, as a reader sees it.
pub(crate) struct Look {
    pub(crate) active: Vec<StepView>,
}

/// See the module's documentation.
pub(crate) struct Turner {
    core: Arc<Core>,
    number: usize,
    inbox: mpsc::Receiver<Message>,
    /// Taken out of the inbox, and not handled yet.
    waiting: FairQueue<TenantKey, Message>,
    runs: HashMap<RunId, Box<LiveRun>>,
    /// What waits for each run that is read, or is to be.
    loading: HashMap<RunId, VecDeque<Deliver>>,
    loads: Loads,
    /// Commits of states that were given up, by run, that are still on their way: the run is read behind them.
    behind: HashMap<RunId, Behind>,
    watchers: HashMap<RunId, Vec<oneshot::Sender<Arc<RunView>>>>,
    ended: VecDeque<Arc<RunView>>,
    timers: Timers,
    idle: VecDeque<(Instant, RunId)>,
    running: VecDeque<(Instant, RunId)>,
    /// Tasks without rows, from when they were handed out.
    handed: VecDeque<(Instant, RunId, TaskId)>,
    /// What children were told before they were started.
    unborn: HashMap<RunId, Vec<Deliver>>,
    failures: HashMap<RunId, u32>,
    generation: u64,
    drained: Option<oneshot::Sender<()>>,
    in_flight: usize,
    swept: Instant,
    out: Vec<(RunCommit, windlass_store::Done)>,
    /// When its own thread looks again if nobody wakes it.
    looks_again: Instant,
}

/// What a turner does after a message.
enum Goes {
    On,
    Out,
}

impl Turner {
    pub(crate) fn new(core: Arc<Core>, number: usize, inbox: mpsc::Receiver<Message>) -> Turner {
        Turner {
            core,
            number,
            inbox,
            waiting: FairQueue::default(),
            runs: HashMap::new(),
            loading: HashMap::new(),
            loads: Loads::default(),
            behind: HashMap::new(),
            watchers: HashMap::new(),
            ended: VecDeque::new(),
            timers: Timers::default(),
            idle: VecDeque::new(),
            running: VecDeque::new(),
            handed: VecDeque::new(),
            unborn: HashMap::new(),
            failures: HashMap::new(),
            generation: 0,
            drained: None,
            in_flight: 0,
            swept: Instant::now(),
            out: Vec::new(),
            looks_again: Instant::now(),
        }
    }

    /// Handles what is there. Gives how long there is nothing more to do then, or nothing when it was told to stop.
    pub(crate) fn round(&mut self) -> Option<Duration> {
        let mut count = 0;
        while count < BATCH_MAX {
            let message = match self.inbox.try_recv() {
                Ok(message) => message,
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return None,
            };
            count += 1;
            match message.tenant() {
                Some(tenant) => self.waiting.push(tenant, message),
                None => {
                    if let Goes::Out = self.handle(message) {
                        return None;
                    }
                }
            }
        }
        if count > 0 {
            add(&self.core.metrics.batches, 1);
            add(&self.core.metrics.messages, count as u64);
        }
        self.handle_waiting();
        let rest = if count < BATCH_MAX && self.waiting.is_empty() { self.rest() } else { Duration::ZERO };
        self.looks_again = Instant::now() + rest;
        Some(rest)
    }

    /// Goes on from commits that are on disk, on a committer's own thread. Gives whether the turner's own thread has to
    /// look again earlier than it will.
    pub(crate) fn follow_acks(&mut self) -> bool {
        add(&self.core.metrics.batches, 1);
        self.take_acks();
        self.handle_waiting();
        !self.waiting.is_empty() || Instant::now() + self.rest() < self.looks_again
    }

    /// Handles for a moment what waits, tenants in turn, and ends the batch.
    fn handle_waiting(&mut self) {
        let begun = Instant::now();
        while let Some(message) = self.waiting.pop() {
            // Nothing that is of a tenant ends a turner.
            self.handle(message);
            if begun.elapsed() >= BATCH_TIME_MAX {
                break;
            }
        }
        self.fire_timers();
        self.sweep();
        self.flush();
        self.report_drained();
    }

    /// How long there is nothing to do.
    fn rest(&mut self) -> Duration {
        let sweep = if self.idle.is_empty() && self.running.is_empty() && self.handed.is_empty() {
            Duration::from_secs(60)
        } else {
            Duration::from_millis(100)
        };
        match self.timers.next() {
            Some(due) => sweep.min(due.since(self.core.now()) + Duration::from_micros(50)),
            None => sweep,
        }
    }

    fn handle(&mut self, message: Message) -> Goes {
        match message {
            Message::Start(start) => self.start(*start),
            Message::Deliver(deliver) => self.deliver(*deliver),
            Message::Acked => self.take_acks(),
            Message::Written(Ack { run, generation, result, .. }) => self.acked(run, generation, result),
            Message::Loaded { tenant, run, recover, result } => {
                self.load_ended();
                match result {
                    Ok(loaded) => self.loaded(run, *loaded),
                    Err(LoadError::Store(_)) if recover == Recover::Yes => self.load_later(tenant, run),
                    Err(error) => self.not_loaded(run, &error),
                }
            }
            Message::Claimed { loaded, .. } => self.claimed(*loaded),
            Message::Watch { run, reply } => self.watch(run, reply),
            Message::WriteHanded { run, reply } => self.write_handed(run, Some(Reply::Event(reply))),
            Message::Rests { run, held } => self.hold_until_it_rests(run, held),
            Message::Unwatch { run } => self.unwatch(run),
            Message::Look { tenant, run, reply } => {
                let live = self.runs.get(&run).filter(|live| live.tenant() == tenant);
                // Nobody may be waiting for the answer any more.
                let _ = reply.send(live.map(|live| look(live)));
            }
            Message::Adopt { tenant, run, recover } => {
                if !self.runs.contains_key(&run) && !self.loading.contains_key(&run) {
                    self.load(tenant, run, recover);
                }
            }
            Message::Lost(lanes) => self.lose(&lanes),
            Message::Drain(reply) => {
                self.drained = Some(reply);
                self.write_all_handed();
            }
            Message::Stop => return Goes::Out,
        }
        Goes::On
    }

    /// Hands everything that this batch wants written to the store at once.
    fn flush(&mut self) {
        if !self.out.is_empty() {
            self.core.store.submit_all(std::mem::take(&mut self.out));
        }
    }

    fn submit(&mut self, commit: RunCommit, generation: u64) {
        let (core, tenant, run) = (Arc::clone(&self.core), commit.tenant, commit.run);
        let held = InHand::held(&commit.rows);
        self.in_flight += 1;
        self.core.metrics.gauges().commits_in_flight.add(1);
        let done = move |result: Result<Committed, CommitError>| {
            if result.is_err() {
                core.letters.put_back(&held);
            }
            core.gather(Ack { tenant, run, generation, result });
        };
        self.out.push((commit, Box::new(done)));
    }

    /// Writes rows beside any transition; nobody waits for them.
    fn submit_rows(&mut self, tenant: TenantKey, run: RunId, lane: LaneId, rows: Vec<RowChange>) {
        let mut commit = RunCommit::new(tenant, run, lane);
        commit.rows = rows;
        self.submit(commit, BESIDE);
    }

    fn start(&mut self, order: StartRun) {
        let StartRun { start, plan, lane, birth, source, reply, watch, seat } = order;
        let (run, tenant) = (start.run, start.tenant);
        let told_before = self.unborn.remove(&run).unwrap_or_default();
        if told_before.iter().any(|it| matches!(it.event, Event::Cancel { .. })) {
            return self.refuse_unborn(&start, lane, (source, told_before));
        }
        if self.runs.contains_key(&run) {
            if let Some(reply) = reply {
                reply.done(run, Taken::Before);
            }
            return self.throw_away(run, source.discard().into_iter().collect());
        }
        let now = self.core.now().max(start.created_at);
        let (state, transition) = Run::start(&plan.plan, start, now);
        self.generation += 1;
        let live = LiveRun {
            run: state,
            plan,
            lane,
            generation: self.generation,
            on_disk: OnDisk::default(),
            pending: VecDeque::new(),
            attempts: HashMap::new(),
            handed: Handed::default(),
            visible: std::collections::HashSet::new(),
            responses: HashMap::new(),
            snapshot_seq: 0,
            held: Vec::new(),
            idle_since: None,
            response: None,
            last_at: now,
            seat,
            fleeting: birth.backlog,
        };
        self.runs.insert(run, Box::new(live));
        self.core.metrics.gauges().runs_in_memory.add(1);
        if let Some(watch) = watch {
            self.watchers.entry(run).or_default().push(watch);
        }
        let rows = source.discard().into_iter().collect();
        let extra = Extra { birth: Some(birth), rows, ..Extra::default() };
        self.write(run, transition, extra, reply);
        let waiting = self.loading.remove(&run).into_iter().flatten();
        for deliver in told_before.into_iter().chain(waiting).filter(|it| it.tenant == tenant) {
            self.deliver(deliver);
        }
    }

    /// A child that was cancelled before it began never begins, and its parent is told. What asked for the child and
    /// what cancelled it go in the commit of its parent: without the one, the other would start it or be forgotten.
    fn refuse_unborn(&mut self, start: &Start, lane: LaneId, (source, told): (Source, Vec<Deliver>)) {
        let cancels = told.iter().filter_map(|deliver| deliver.source.discard());
        let Some(parent) = &start.parent else {
            let rows = source.discard().into_iter().chain(cancels).collect();
            return self.submit_rows(start.tenant, start.run, lane, rows);
        };
        let error = windlass_definition::Error::new(
            windlass_definition::Class::Cancelled,
            "cancelled",
            "the run was cancelled before it began",
        );
        let result = windlass_engine::event::ChildResult::Failed(Some(RunStatus::Cancelled), error);
        let event = Event::ChildEnded { path: parent.path.clone(), child: Some(start.run), result };
        let also = cancels.collect();
        self.core.deliver(Deliver { also, ..Deliver::new(start.tenant, parent.run, event).from(source) });
    }

    fn deliver(&mut self, deliver: Deliver) {
        let run = deliver.run;
        if let Some(waiting) = self.loading.get_mut(&run) {
            let is_told = matches!(deliver.event, Event::Tick) && waiting.iter().any(|it| it.event == Event::Tick);
            if is_told {
                // Each look finds its timer again until it is there.
            } else if waiting.len() < WAITING_FOR_LOAD_MAX {
                waiting.push_back(deliver);
            } else if let Some(reply) = deliver.reply {
                reply.failed(RuntimeError::unavailable("the run is being loaded and too much waits for it"));
            }
            return;
        }
        let Some(live) = self.runs.get_mut(&run) else {
            if let Some(detail) = self.core.damage(run) {
                if let Some(reply) = deliver.reply {
                    reply.failed(RuntimeError::Damaged { run, detail });
                }
                return;
            }
            let (tenant, recover) = (deliver.tenant, Recover::No);
            self.loading.insert(run, VecDeque::from([deliver]));
            return self.load(tenant, run, recover);
        };
        if live.tenant() != deliver.tenant {
            if let Some(reply) = deliver.reply {
                reply.failed(RuntimeError::not_found("run", run));
            }
            return;
        }
        // The claim may have been faster than the news that the run's start is on disk, or than who read it.
        if let Some(lane) = deliver.moved.filter(|lane| live.run.started_at().is_none() && live.lane != *lane) {
            // What is ahead of the disk is on the former lane, whose writer is another one: it comes first.
            if !live.pending.is_empty() {
                if let Some(reply) = deliver.reply {
                    reply.failed(RuntimeError::unavailable("the run has moved to another lane: ask again"));
                }
                return;
            }
            live.lane = lane;
        }
        self.step(deliver);
    }

    /// Moves a run that is in memory.
    fn step(&mut self, deliver: Deliver) {
        let Deliver { run, event, source, also, reply, decided, .. } = deliver;
        let now = self.core.now();
        let Some(live) = self.runs.get_mut(&run) else { return };
        // The attempt was given up together with the state that asked for it: a new one runs, or the step has ended.
        if matches!(source, Source::Attempt(generation) if generation != live.generation) {
            return;
        }
        if let Event::StepEnded { path, attempt, .. } = &event
            && live.attempts.get(path).is_some_and(|open| open.attempt == *attempt)
        {
            live.attempts.remove(path);
        }
        let answer = matches!(source, Source::Task(..)).then(|| event.clone());
        let checked = match &event {
            Event::Signal { name, payload, .. } => live.plan.check_signal(name, payload),
            _ => Ok(()),
        };
        let moved = match checked {
            Ok(()) => live.run.step(&live.plan.plan, event, now.max(live.last_at)).map_err(Refusal::Reject),
            Err(error) => Err(Refusal::Error(error)),
        };
        match moved {
            Ok(transition) => {
                let rows = source.taken(answer.as_ref(), &transition.entries).into_iter().chain(also).collect();
                self.write(run, transition, Extra { rows, decided, ..Extra::default() }, reply);
            }
            Err(refusal) => {
                let discards = source.discard().into_iter().chain(also).collect();
                self.refuse(run, refusal, discards, reply);
            }
        }
    }

    fn refuse(&mut self, run: RunId, refusal: Refusal, discards: Vec<RowChange>, reply: Option<Reply>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        if let Some(reply) = reply {
            match (refusal, live.pending.back_mut()) {
                // It counted already, or is about to: for the sender that is a success, once it is on disk.
                (Refusal::Reject(Reject::Duplicate), Some(last)) => last.replies.push((reply, Taken::Before)),
                (Refusal::Reject(Reject::Duplicate), None) => reply.done(run, Taken::Before),
                (refusal, Some(last)) => last.refusals.push((reply, refusal.into())),
                (refusal, None) => reply.failed(refusal.into()),
            }
        }
        self.throw_away(run, discards);
        self.settle(run);
    }

    /// Removes the rows of what is of no use to a run as it is now. That may not be on disk yet: if it never comes there,
    /// they are of use after all.
    fn throw_away(&mut self, run: RunId, rows: Vec<RowChange>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let (tenant, lane) = (live.tenant(), live.lane);
        match live.pending.back_mut() {
            Some(last) => last.discards.extend(rows),
            None if rows.is_empty() => {}
            None => self.submit_rows(tenant, run, lane, rows),
        }
    }

    /// Submits a transition and holds what follows from it.
    fn write(&mut self, run: RunId, transition: Transition, extra: Extra, reply: Option<Reply>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        live.idle_since = None;
        if live.seat.is_none() && matches!(live.run.status(), RunStatus::Running | RunStatus::Compensating) {
            live.seat = Some(self.core.backlog.force(live.tenant(), &self.core.bounds()));
        }
        let silent = transition.entries.is_empty() && extra.rows.is_empty() && extra.birth.is_none();
        let watched = self.core.watchers.any();
        let again = extra.again.is_some();
        let (commit, mut pending) = live.commit(transition, extra, &self.core);
        if again {
            pending.look = !std::mem::take(&mut pending.letters).is_empty();
            pending.effects.retain(|effect| !matches!(effect, Effect::OfferTask(_)));
        }
        pending.replies.extend(reply.map(|reply| (reply, Taken::Now)));
        if !watched {
            pending.announce = Vec::new();
        }
        let generation = live.generation;
        let changed = !commit.rows.is_empty() || commit.timer.is_some() || !matches!(commit.change, RunChange::None);
        if silent && live.pending.is_empty() && !changed {
            self.follow(run, pending);
        } else {
            live.pending.push_back(pending);
            self.submit(commit, generation);
        }
        self.arm(run);
    }

    fn take_acks(&mut self) {
        let acks = self.core.take_acks(self.number);
        add(&self.core.metrics.messages, acks.len() as u64);
        for ack in acks {
            self.waiting.push(ack.tenant, Message::Written(ack));
        }
    }

    fn acked(&mut self, run: RunId, generation: u64, result: Result<Committed, CommitError>) {
        self.in_flight -= 1;
        self.core.metrics.gauges().commits_in_flight.add(-1);
        let Some(live) = self.runs.get_mut(&run).filter(|live| live.generation == generation) else {
            // What a state wanted written that was given up was told of when it was.
            if let (Err(error), BESIDE) = (result, generation) {
                tracing::warn!(%run, %error, "rows beside a run were not written");
            }
            return self.came_behind(run, generation);
        };
        match result {
            Ok(Committed::Done) => {
                let Some(pending) = live.pending.pop_front() else { return };
                self.failures.remove(&run);
                add(&self.core.metrics.commits, 1);
                add(&self.core.metrics.entries, pending.entries);
                add(&self.core.metrics.steps_ended, pending.steps_ended);
                self.follow(run, pending);
            }
            Ok(Committed::Duplicate { run: first, same_body }) => self.duplicate(run, first, same_body),
            Err(error) => self.fall_back(run, error),
        }
    }

    /// The idempotency key was taken: this run was never there.
    fn duplicate(&mut self, run: RunId, first: RunId, same_body: bool) {
        let Some(live) = self.remove(run) else { return };
        for (reply, _) in live.pending.into_iter().flat_map(|pending| pending.replies) {
            match reply {
                Reply::Start(reply) if same_body => {
                    let _ = reply.send(Ok(crate::request::Started { run: first, duplicate: true }));
                }
                other => other.failed(crate::starts::key_reused(first)),
            }
        }
    }

    fn report_drained(&mut self) {
        if self.in_flight == 0
            && self.out.is_empty()
            && self.waiting.is_empty()
            && let Some(reply) = self.drained.take()
        {
            let _ = reply.send(());
        }
    }
}

enum Refusal {
    Reject(Reject),
    Error(RuntimeError),
}

impl From<Refusal> for RuntimeError {
    fn from(refusal: Refusal) -> RuntimeError {
        match refusal {
            Refusal::Reject(reject) => reject.into(),
            Refusal::Error(error) => error,
        }
    }
}

fn look(live: &LiveRun) -> Look {
    let steps = live.run.active(&live.plan.plan).into_iter().map(|step| {
        let before_it_begins = live.attempts.get(&step.path).and_then(|open| open.waits_for.get());
        match before_it_begins {
            Some(what) => StepView { status: StepStatus::Waiting, waits_for: Some(what), ..StepView::from(step) },
            None => StepView::from(step),
        }
    });
    Look { active: steps.collect() }
}
