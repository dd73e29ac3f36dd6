//! A turner: the thread that owns the runs hashed to it and moves them.
//!
//! Nothing of a run is shared, so nothing of it is locked. A turner takes everything that is waiting for it at once,
//! so that what it writes reaches the disk in one batch. It never waits for the database or for a step.
//!
//! Invariant: effects, answers and announcements of a transition come after its commit's acknowledgement.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::{
    Effect, Event, Reject, Run, Start, Transition,
    effect::RunStep,
    event::Failure,
    id::{ApprovalId, RunId, TenantKey},
    status::RunStatus,
};
use windlass_store::{CommitError, Committed, LaneId, RowChange, RunCommit};

use crate::{
    core::Core,
    error::RuntimeError,
    letter::Letter,
    live::{LiveEntry, LiveEvent},
    live_run::{Birth, Extra, LiveRun, OnDisk, OpenAttempt, Pending, Reply, Source, Taken},
    loader::{LoadError, Loaded, Recover},
    metrics::add,
    plans::CompiledPlan,
    timers::Timers,
    views::{RunView, StepView},
};

/// Messages that a turner handles before it looks at its timers.
const BATCH_MAX: usize = 4_096;
/// Before a run is read again: a database that is away does not come back by being asked all the time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Children that were cancelled before they began, remembered until they do.
const UNBORN_MAX: usize = 10_000;
/// Events that wait for a run to be loaded.
const WAITING_FOR_LOAD_MAX: usize = 10_000;
/// Ended runs that a turner remembers for those who ask just after the end.
const ENDED_MAX: usize = 2_048;
const ENDED_OUTPUT_BYTES_MAX: usize = 16 << 10;

/// What a turner is told.
pub(crate) enum Message {
    /// Start a run.
    Start(Box<StartRun>),
    /// Something happened to a run.
    Deliver(Box<Deliver>),
    /// Commits are on disk, or are not: see [`Acks`].
    Acked,
    /// A run was read from the database, or could not be.
    Loaded { tenant: TenantKey, run: RunId, recover: Recover, result: Result<Box<Loaded>, LoadError> },
    /// Tell me when the run has ended or answered.
    Watch { run: RunId, reply: oneshot::Sender<Arc<RunView>> },
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

/// Whether a commit is on disk.
pub(crate) struct Ack {
    run: RunId,
    generation: u64,
    result: Result<Committed, CommitError>,
}

/// What a turner was told of its commits; gathered for one batch of the committer, so that what follows from all of
/// it goes into the next batch together.
pub(crate) type Acks = Mutex<Vec<Ack>>;

/// A run to be started.
pub(crate) struct StartRun {
    pub(crate) start: Start,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) lane: LaneId,
    pub(crate) birth: Birth,
    pub(crate) source: Source,
    pub(crate) reply: Option<Reply>,
    pub(crate) watch: Option<oneshot::Sender<Arc<RunView>>>,
}

/// Something that happened to a run.
pub(crate) struct Deliver {
    pub(crate) tenant: TenantKey,
    pub(crate) run: RunId,
    pub(crate) event: Event,
    pub(crate) source: Source,
    pub(crate) reply: Option<Reply>,
    /// The approval that a decision is on, and the decisions known of it.
    pub(crate) decided: Option<(ApprovalId, Vec<serde_json::Value>)>,
}

impl Ack {
    pub(crate) fn run(&self) -> RunId {
        self.run
    }
}

impl Deliver {
    pub(crate) fn new(tenant: TenantKey, run: RunId, event: Event) -> Deliver {
        Deliver { tenant, run, event, source: Source::Direct, reply: None, decided: None }
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
    runs: HashMap<RunId, LiveRun>,
    loading: HashMap<RunId, VecDeque<Deliver>>,
    watchers: HashMap<RunId, Vec<oneshot::Sender<Arc<RunView>>>>,
    ended: VecDeque<Arc<RunView>>,
    timers: Timers,
    idle: VecDeque<(Instant, RunId)>,
    running: VecDeque<(Instant, RunId)>,
    /// Children that were cancelled before they were started.
    unborn: HashSet<RunId>,
    failures: HashMap<RunId, u32>,
    generation: u64,
    drained: Option<oneshot::Sender<()>>,
    in_flight: usize,
    swept: Instant,
    out: Vec<(RunCommit, windlass_store::Done)>,
}

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
            runs: HashMap::new(),
            loading: HashMap::new(),
            watchers: HashMap::new(),
            ended: VecDeque::new(),
            timers: Timers::default(),
            idle: VecDeque::new(),
            running: VecDeque::new(),
            unborn: HashSet::new(),
            failures: HashMap::new(),
            generation: 0,
            drained: None,
            in_flight: 0,
            swept: Instant::now(),
            out: Vec::new(),
        }
    }

    /// Turns until it is told to stop.
    pub(crate) fn turn(mut self) {
        loop {
            let rest = self.rest();
            let first = match self.inbox.recv_timeout(rest) {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut count = 0;
            let mut next = first;
            while let Some(message) = next {
                count += 1;
                if let Goes::Out = self.handle(message) {
                    return;
                }
                next = if count < BATCH_MAX { self.inbox.try_recv().ok() } else { None };
            }
            add(&self.core.metrics.batches, 1);
            add(&self.core.metrics.messages, count as u64);
            self.fire_timers();
            self.sweep();
            self.flush();
            self.report_drained();
        }
    }

    /// How long there is nothing to do.
    fn rest(&mut self) -> Duration {
        let sweep = if self.idle.is_empty() && self.running.is_empty() {
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
            Message::Loaded { tenant, run, recover, result } => match result {
                Ok(loaded) => self.loaded(run, *loaded),
                Err(LoadError::Store(_)) if recover == Recover::Yes => self.load_later(tenant, run),
                Err(error) => self.not_loaded(run, &error),
            },
            Message::Watch { run, reply } => self.watch(run, reply),
            Message::Look { tenant, run, reply } => {
                let live = self.runs.get(&run).filter(|live| live.tenant() == tenant);
                // Nobody may be waiting for the answer any more.
                let _ = reply.send(live.map(look));
            }
            Message::Adopt { tenant, run, recover } => {
                if !self.runs.contains_key(&run) && !self.loading.contains_key(&run) {
                    self.load(tenant, run, recover);
                }
            }
            Message::Lost(lanes) => self.lose(&lanes),
            Message::Drain(reply) => self.drained = Some(reply),
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
        let (core, run) = (Arc::clone(&self.core), commit.run);
        self.in_flight += 1;
        self.core.metrics.gauges().commits_in_flight.add(1);
        self.out.push((commit, Box::new(move |result| core.gather(Ack { run, generation, result }))));
    }

    /// Writes rows beside any transition; nobody waits for them.
    fn submit_rows(&mut self, tenant: TenantKey, run: RunId, lane: LaneId, rows: Vec<RowChange>) {
        let mut commit = RunCommit::new(tenant, run, lane);
        commit.rows = rows;
        self.submit(commit, 0);
    }

    fn start(&mut self, order: StartRun) {
        let StartRun { start, plan, lane, birth, source, reply, watch } = order;
        let (run, tenant) = (start.run, start.tenant);
        if self.unborn.remove(&run) {
            return self.refuse_unborn(&start, lane, source);
        }
        if self.runs.contains_key(&run) {
            if let Some(reply) = reply {
                reply.done(run, Taken::Before);
            }
            return;
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
            visible: HashSet::new(),
            responses: HashMap::new(),
            snapshot_seq: 0,
            idle_since: None,
            response: None,
            last_at: now,
        };
        self.runs.insert(run, live);
        self.core.metrics.gauges().runs_in_memory.add(1);
        if let Some(watch) = watch {
            self.watchers.entry(run).or_default().push(watch);
        }
        let extra = Extra { birth: Some(birth), rows: source.discard().into_iter().collect(), decided: None };
        self.write(run, transition, extra, reply);
        for deliver in self.loading.remove(&run).into_iter().flatten().filter(|it| it.tenant == tenant) {
            self.deliver(deliver);
        }
    }

    fn refuse_unborn(&mut self, start: &Start, lane: LaneId, source: Source) {
        let Some(parent) = &start.parent else { return };
        let error = windlass_definition::Error::new(
            windlass_definition::Class::Cancelled,
            "cancelled",
            "the run was cancelled before it began",
        );
        let result = windlass_engine::event::ChildResult::Failed(Some(RunStatus::Cancelled), error);
        let event = Event::ChildEnded { path: parent.path.clone(), child: Some(start.run), result };
        self.core.deliver(Deliver::new(start.tenant, parent.run, event));
        if let Some(row) = source.discard() {
            self.submit_rows(start.tenant, start.run, lane, vec![row]);
        }
    }

    fn deliver(&mut self, deliver: Deliver) {
        let run = deliver.run;
        if let Some(waiting) = self.loading.get_mut(&run) {
            if waiting.len() < WAITING_FOR_LOAD_MAX {
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
        self.step(deliver);
    }

    /// Moves a run that is in memory.
    fn step(&mut self, deliver: Deliver) {
        let Deliver { run, event, source, reply, decided, .. } = deliver;
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
                let rows = source.discard().into_iter().collect();
                self.write(run, transition, Extra { birth: None, rows, decided }, reply);
            }
            Err(refusal) => self.refuse(run, refusal, source, reply),
        }
    }

    fn refuse(&mut self, run: RunId, refusal: Refusal, source: Source, reply: Option<Reply>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let (tenant, lane) = (live.tenant(), live.lane);
        if let Some(reply) = reply {
            match (refusal, live.pending.back_mut()) {
                // It counted already, or is about to: for the sender that is a success, once it is on disk.
                (Refusal::Reject(Reject::Duplicate), Some(last)) => last.replies.push((reply, Taken::Before)),
                (Refusal::Reject(Reject::Duplicate), None) => reply.done(run, Taken::Before),
                (refusal, Some(last)) => last.refusals.push((reply, refusal.into())),
                (refusal, None) => reply.failed(refusal.into()),
            }
        }
        if let Some(row) = source.discard() {
            self.submit_rows(tenant, run, lane, vec![row]);
        }
        self.settle(run);
    }

    /// Submits a transition and holds what follows from it.
    fn write(&mut self, run: RunId, transition: Transition, extra: Extra, reply: Option<Reply>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        live.idle_since = None;
        let silent = transition.entries.is_empty() && extra.rows.is_empty() && extra.birth.is_none();
        let watched = self.core.watchers.any();
        let (commit, mut pending) = live.commit(transition, extra, &self.core.settings);
        pending.replies.extend(reply.map(|reply| (reply, Taken::Now)));
        if !watched {
            pending.announce = Vec::new();
        }
        let generation = live.generation;
        if silent && live.pending.is_empty() && commit.rows.is_empty() && commit.timer.is_none() {
            self.follow(run, pending);
        } else {
            live.pending.push_back(pending);
            self.submit(commit, generation);
        }
        self.arm(run);
    }

    fn arm(&mut self, run: RunId) {
        let Some(live) = self.runs.get(&run) else { return };
        match live.run.next_timer() {
            Some(due) => self.timers.arm(run, due),
            None => self.timers.forget(run),
        }
    }

    fn take_acks(&mut self) {
        let acks = std::mem::take(&mut *self.core.acks(self.number).lock().unwrap_or_else(PoisonError::into_inner));
        add(&self.core.metrics.messages, acks.len() as u64);
        for Ack { run, generation, result } in acks {
            self.acked(run, generation, result);
        }
    }

    fn acked(&mut self, run: RunId, generation: u64, result: Result<Committed, CommitError>) {
        self.in_flight -= 1;
        self.core.metrics.gauges().commits_in_flight.add(-1);
        let Some(live) = self.runs.get_mut(&run).filter(|live| live.generation == generation) else {
            if let Err(error) = result {
                tracing::warn!(%run, %error, "rows beside a run were not written");
            }
            return;
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
                other => other.failed(RuntimeError::conflict(
                    "idempotency_key_reused",
                    format!("this idempotency key was used for run {first} with another request"),
                )),
            }
        }
    }

    /// A transition is on disk: everything that waited for that may happen.
    fn follow(&mut self, run: RunId, pending: Pending) {
        let Pending { effects, letters, replies, refusals, announce, status, more, born, .. } = pending;
        add(&self.core.metrics.runs_started, u64::from(born));
        for (reply, taken) in replies {
            reply.done(run, taken);
        }
        for (reply, error) in refusals {
            reply.failed(error);
        }
        self.announce(run, announce, status);
        if let Some(status) = status {
            self.core.metrics.run_ended(status);
        }
        let mut inline = Vec::new();
        for effect in effects {
            self.carry_out(run, effect, &mut inline);
        }
        self.post(run, letters);
        for event in inline {
            let Some(live) = self.runs.get(&run) else { return };
            self.step(Deliver::new(live.tenant(), run, event));
        }
        if more && let Some(live) = self.runs.get(&run) {
            self.step(Deliver::new(live.tenant(), run, Event::Continue));
        }
        self.settle(run);
    }

    fn announce(&mut self, run: RunId, entries: Vec<windlass_engine::Entry>, status: Option<RunStatus>) {
        if !self.core.watchers.has(run) {
            return;
        }
        let entries = entries.into_iter().map(|entry| LiveEvent::Entry(LiveEntry::from(entry)));
        self.core.watchers.tell(run, entries.chain(status.map(|status| LiveEvent::Status { status })));
    }

    fn carry_out(&mut self, run: RunId, effect: Effect, inline: &mut Vec<Event>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        match effect {
            Effect::RunStep(step) => self.run_step(run, step, inline),
            Effect::StopStep { path, attempt } => {
                if let Some(open) = live.attempts.get(&path).filter(|open| open.attempt == attempt) {
                    open.stop.cancel();
                }
            }
            Effect::OfferTask(_) => self.core.tasks.offered(live.tenant()),
            Effect::StopTask { task, path, attempt } => {
                self.core.withdraw_task(live.tenant(), run, crate::tasks::Withdrawal { task, path, attempt });
            }
            Effect::Respond { answer } => {
                live.response = Some(answer.clone());
                let view = Arc::new(RunView { response: Some(answer), ..RunView::of_run(&live.run) });
                for watcher in self.watchers.remove(&run).into_iter().flatten() {
                    let _ = watcher.send(Arc::clone(&view));
                }
            }
            Effect::Log { path, line } => {
                tracing::info!(target: "windlass::step", %run, %path, %line);
                self.core.watchers.tell(run, [LiveEvent::Log { path, line }]);
            }
            Effect::Finish(_) => {
                let info = live.run.info();
                self.core.free_place(info, &live.plan.plan);
            }
            // These are rows or letters of the commit; the letters are posted by whoever calls this.
            Effect::OpenApproval(_)
            | Effect::CloseApproval { .. }
            | Effect::CloseTask { .. }
            | Effect::WaitForEvent(_)
            | Effect::ForgetEvent { .. }
            | Effect::StartChild(_)
            | Effect::UndoChild { .. }
            | Effect::CancelChild { .. }
            | Effect::PauseChild { .. }
            | Effect::ResumeChild { .. }
            | Effect::Restart { .. } => {}
        }
    }

    fn run_step(&mut self, run: RunId, step: RunStep, inline: &mut Vec<Event>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let started_at = self.core.now();
        let Some(code) = self.core.catalogue.get(&step.type_name) else {
            let error = windlass_definition::Error::new(
                windlass_definition::Class::NotFound,
                "step_type",
                format!("this server has no step type `{}`", step.type_name),
            );
            let result = Err(Failure::certain(error));
            inline.push(Event::StepEnded { path: step.path, attempt: step.attempt, started_at, result });
            return;
        };
        if step.lock.is_none()
            && step.rate.is_none()
            && let Some(result) = code.run_now(&step.with)
        {
            add(&self.core.metrics.attempts_ended, 1);
            let result = result.map_err(crate::dispatch::failure);
            inline.push(Event::StepEnded { path: step.path, attempt: step.attempt, started_at, result });
            return;
        }
        let stop = CancellationToken::new();
        live.attempts.insert(step.path.clone(), OpenAttempt { attempt: step.attempt, stop: stop.clone() });
        self.running.push_back((Instant::now(), run));
        let (tenant, workflow) = (live.tenant(), live.run.info().workflow.clone());
        let order = crate::dispatch::Order { tenant, run, workflow, step, stop, generation: live.generation };
        crate::dispatch::dispatch(&self.core, Arc::clone(code), order);
    }

    fn post(&mut self, run: RunId, letters: Vec<(RunId, Uuid, Letter)>) {
        let Some(live) = self.runs.get(&run) else { return };
        let (tenant, lane) = (live.tenant(), live.lane);
        for (to, id, letter) in letters {
            self.core.letters.take(id);
            self.core.open_letter(crate::inbox::Opened { tenant, run: to, lane, id, letter });
        }
    }

    /// Decides whether a run that nothing waits for stays in memory.
    fn settle(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        if !live.pending.is_empty() {
            return;
        }
        let status = live.run.status();
        if status.is_final() {
            let Some(live) = self.remove(run) else { return };
            return self.end(live);
        }
        let rests = matches!(status, RunStatus::Waiting | RunStatus::Paused | RunStatus::Queued);
        if rests && live.attempts.is_empty() && live.idle_since.is_none() {
            let now = Instant::now();
            live.idle_since = Some(now);
            self.idle.push_back((now, run));
        }
    }

    fn end(&mut self, live: LiveRun) {
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

    fn watch(&mut self, run: RunId, reply: oneshot::Sender<Arc<RunView>>) {
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

    fn remove(&mut self, run: RunId) -> Option<LiveRun> {
        let live = self.runs.remove(&run)?;
        self.timers.forget(run);
        self.core.metrics.gauges().runs_in_memory.add(-1);
        Some(live)
    }

    /// A commit failed for good: what was ahead of the disk never happened. The journal says what did.
    fn fall_back(&mut self, run: RunId, error: CommitError) {
        add(&self.core.metrics.commits_failed, 1);
        let Some(live) = self.remove(run) else { return };
        let (tenant, born) = (live.tenant(), live.on_disk_before());
        for open in live.attempts.values() {
            open.stop.cancel();
        }
        for (reply, _) in live.pending.into_iter().flat_map(|pending| pending.replies) {
            reply.failed(commit_error(&error));
        }
        tracing::warn!(%run, %error, "a transition was not written; the run is rebuilt from its journal");
        if let CommitError::Fenced(lane) = error {
            return self.core.lane_lost(lane);
        }
        if born == Born::Never && matches!(error, CommitError::Busy(_) | CommitError::Failed(_)) {
            return;
        }
        let failures = self.failures.entry(run).or_insert(0);
        *failures += 1;
        if *failures > self.core.settings.failures_max {
            self.core.quarantine(run, format!("its transitions cannot be written: {error}"));
            return;
        }
        let core = Arc::clone(&self.core);
        self.loading.entry(run).or_default();
        self.core.spawn(async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            crate::loader::load(core, tenant, run, Recover::Yes).await;
        });
    }

    fn load(&mut self, tenant: TenantKey, run: RunId, recover: Recover) {
        self.loading.entry(run).or_default();
        let core = Arc::clone(&self.core);
        self.core.spawn(crate::loader::load(core, tenant, run, recover));
    }

    fn loaded(&mut self, run: RunId, loaded: Loaded) {
        let Some(waiting) = self.loading.remove(&run) else { return };
        if !self.runs.contains_key(&run) {
            self.take_in(loaded);
        }
        for deliver in waiting {
            self.deliver(deliver);
        }
        self.settle(run);
    }

    fn take_in(&mut self, loaded: Loaded) {
        let Loaded { run, plan, lane, timer, visible, snapshot_seq, last_at, recover } = loaded;
        let id = run.id();
        add(&self.core.metrics.runs_loaded, 1);
        self.core.metrics.gauges().runs_in_memory.add(1);
        self.generation += 1;
        let on_disk = OnDisk { status: Some(run.status()), timer, started: run.started_at().is_some() };
        let mut live = LiveRun {
            run,
            plan,
            lane,
            generation: self.generation,
            on_disk,
            pending: VecDeque::new(),
            attempts: HashMap::new(),
            visible,
            responses: HashMap::new(),
            snapshot_seq,
            idle_since: None,
            response: None,
            last_at,
        };
        let asked = match recover {
            Recover::Yes => Some(live.run.recover(&live.plan.plan, self.core.now().max(last_at))),
            Recover::No => None,
        };
        self.runs.insert(id, live);
        match asked {
            Some(transition) => {
                let lost = transition.entries.iter().filter(|it| it.record == windlass_engine::Record::Lost).count();
                add(&self.core.metrics.attempts_lost, lost as u64);
                self.write(id, transition, Extra::default(), None);
            }
            None => self.arm(id),
        }
    }

    /// The database is away. A run that was under way has nobody else to bring it back.
    fn load_later(&mut self, tenant: TenantKey, run: RunId) {
        let waiting = self.loading.remove(&run).unwrap_or_default();
        let (answered, kept): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(|it| it.reply.is_some());
        for reply in answered.into_iter().filter_map(|deliver| deliver.reply) {
            reply.failed(RuntimeError::unavailable("the database does not answer: ask again"));
        }
        self.loading.insert(run, kept);
        let core = Arc::clone(&self.core);
        self.core.spawn(async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            crate::loader::load(core, tenant, run, Recover::Yes).await;
        });
    }

    fn not_loaded(&mut self, run: RunId, error: &LoadError) {
        let waiting = self.loading.remove(&run).unwrap_or_default();
        let cancelled =
            |it: &Deliver| matches!(&it.event, Event::Cancel { .. }) && matches!(it.source, Source::Letter(..));
        if matches!(error, LoadError::NotFound) && waiting.iter().any(cancelled) {
            if self.unborn.len() >= UNBORN_MAX {
                self.unborn.clear();
            }
            self.unborn.insert(run);
        }
        if let LoadError::Damaged(detail) = error {
            self.core.quarantine(run, detail.clone());
        }
        for deliver in waiting {
            if let Some(reply) = deliver.reply {
                reply.failed(error.answer(run));
            }
            // What the run can no longer take is of no use; what could not be read now is read again.
            let lane = match (error, deliver.source) {
                (LoadError::Over(_, lane), _) => *lane,
                (LoadError::NotFound, Source::Letter(_, lane) | Source::Task(_, lane)) => lane,
                _ => continue,
            };
            if let Some(row) = deliver.source.discard() {
                self.submit_rows(deliver.tenant, run, lane, vec![row]);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.core.now();
        while let Some(run) = self.timers.pop_due(now) {
            let Some(live) = self.runs.get(&run) else { continue };
            let tenant = live.tenant();
            match live.run.next_timer() {
                Some(due) if due <= now => {
                    add(&self.core.metrics.timers_fired, 1);
                    self.step(Deliver::new(tenant, run, Event::Tick));
                }
                Some(due) => self.timers.arm(run, due),
                None => {}
            }
        }
    }

    /// Shows attempts that run for a while, and sends idle runs back to the database.
    fn sweep(&mut self) {
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
        let keep = self.core.settings.runs_in_memory_max / self.core.turners();
        while let Some((since, run)) = self.idle.front().copied() {
            let crowded = self.runs.len() > keep;
            if !crowded && now.duration_since(since) < self.core.settings.idle {
                break;
            }
            self.idle.pop_front();
            if self.runs.get(&run).is_some_and(|live| live.idle_since == Some(since)) {
                self.evict(run);
            }
        }
    }

    fn show_active(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let rows = show(live, self.core.now());
        if !rows.is_empty() {
            let (tenant, lane) = (live.tenant(), live.lane);
            self.submit_rows(tenant, run, lane, rows);
        }
    }

    /// A run whose next timer is near stays: it would be read again at once.
    fn evict(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let near = self.core.now().after(self.core.settings.timer_near);
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

    fn lose(&mut self, lanes: &[LaneId]) {
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

    fn report_drained(&mut self) {
        if self.in_flight == 0
            && self.out.is_empty()
            && let Some(reply) = self.drained.take()
        {
            let _ = reply.send(());
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

fn commit_error(error: &CommitError) -> RuntimeError {
    match error {
        CommitError::Failed(windlass_store::StoreError::Invalid(detail)) => RuntimeError::invalid("", detail.clone()),
        error => RuntimeError::unavailable(error.to_string()),
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

fn look(live: &LiveRun) -> Look {
    Look { active: live.run.active(&live.plan.plan).into_iter().map(StepView::from).collect() }
}
