//! A run in memory, and what its transitions write.
//!
//! Invariant: the state in memory may be ahead of the disk by the transitions in [`LiveRun::pending`], and nothing
//! that follows from one of those leaves the turner before its commit is acknowledged, first in, first out.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_definition::{Timestamp, Value};
use windlass_engine::{
    Effect, Entry, Event, Run, Transition,
    effect::{OfferTask, OpenApproval},
    entry::Record,
    event::ChildResult,
    id::{ApprovalId, RunId, TaskId, TenantKey},
    run::UndoStatus,
    start::Origin,
    status::RunStatus,
};
use windlass_store::{
    ApprovalStatus, ApprovalUpdate, IdempotencyKey, JournalRow, LaneId, NewApproval, NewRun, NewTask, OriginKind,
    QueuedRun, RowChange, RunChange, RunCommit, RunError, RunMode, RunUpdate, TaskAnswer, TimerChange,
};

use crate::{
    audit,
    backlog::Seat,
    core::Core,
    dispatch::WaitsFor,
    error::RuntimeError,
    letter::{ChildOrder, Letter},
    payload,
    plans::CompiledPlan,
    request::Started,
    settings::Settings,
    tasks::{Handed, Promised},
};

/// Whether an event counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It did.
    Now,
    /// The same one had counted before.
    Before,
}

/// Who is told once a transition is on disk.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Whoever started the run.
    Start(oneshot::Sender<Result<Started, RuntimeError>>),
    /// Whoever sent the event.
    Event(oneshot::Sender<Result<Taken, RuntimeError>>),
}

impl Reply {
    /// Tells that it is on disk. Nobody may be listening any more; that changes nothing.
    pub(crate) fn done(self, run: RunId, taken: Taken) {
        match self {
            Reply::Start(reply) => drop(reply.send(Ok(Started { run, duplicate: false }))),
            Reply::Event(reply) => drop(reply.send(Ok(taken))),
        }
    }

    /// Tells why not.
    pub(crate) fn failed(self, error: RuntimeError) {
        match self {
            Reply::Start(reply) => drop(reply.send(Err(error))),
            Reply::Event(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// Where an event was kept before it was taken: its row goes in the commit that takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Source {
    /// Nowhere: it was told directly.
    #[default]
    Direct,
    /// In a row of that lane's inbox.
    Letter(Uuid, LaneId),
    /// By an attempt that the run's state of this generation asked for.
    Attempt(u64),
    /// In the row of a task that a worker answered, or nowhere yet: then the answer is to be remembered.
    Task(TaskId, LaneId, Remember),
}

/// How a worker's answer is known again when it is given once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remember {
    /// As it is already.
    Already,
    /// By a row.
    InRow(TaskAnswer),
    /// By the journal of the run that the token names, if the step completes with just that; else by a row.
    InJournal(TaskAnswer),
}

impl Source {
    /// The row that goes when the event was of no use to the run.
    pub(crate) fn discard(self) -> Option<RowChange> {
        match self {
            Source::Direct | Source::Attempt(_) => None,
            Source::Letter(id, _) => Some(RowChange::DeleteInbox(id)),
            Source::Task(task, ..) => Some(RowChange::CloseTask(task)),
        }
    }

    /// What is written when the event counted; of an answer to a task, with what came of it.
    pub(crate) fn taken(self, answer: Option<&Event>, entries: &[Entry]) -> Vec<RowChange> {
        let answered = match self {
            Source::Task(task, _, Remember::InRow(said)) => Some((task, said)),
            Source::Task(task, _, Remember::InJournal(said)) if !answer.is_some_and(|it| is_recorded(it, entries)) => {
                Some((task, said))
            }
            _ => None,
        };
        let answered = answered.map(|(task, answer)| RowChange::PutTaskAnswer(task, answer));
        self.discard().into_iter().chain(answered).collect()
    }
}

/// Whether the entries say just what ended the step.
fn is_recorded(event: &Event, entries: &[Entry]) -> bool {
    let Event::StepEnded { path, result: Ok(output), .. } = event else { return false };
    entries.iter().any(|entry| entry.path == *path && entry.record.completed_with() == Some(output))
}

/// A transition that is on its way to the disk, and what follows when it is there.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) effects: Vec<Effect>,
    pub(crate) letters: Vec<(RunId, Uuid, Letter)>,
    pub(crate) replies: Vec<(Reply, Taken)>,
    /// Answers that say no, held back because what they speak of is not on disk yet.
    pub(crate) refusals: Vec<(Reply, RuntimeError)>,
    /// Tasks that were written for claims that wait, in the order in which they are offered.
    pub(crate) promised: VecDeque<Promised>,
    /// The queues of tasks that lay there, that nobody came for, and that get their rows with it.
    pub(crate) stored: Vec<Arc<str>>,
    /// Whether its letters are to be looked for in the inbox.
    pub(crate) look: bool,
    /// Rows of what was refused because of it: until it is on disk, they are what keeps that.
    pub(crate) discards: Vec<RowChange>,
    /// Kept only while somebody watches.
    pub(crate) announce: Vec<Entry>,
    pub(crate) entries: u64,
    pub(crate) steps_ended: u64,
    /// The status after it, when the transition changed it.
    pub(crate) status: Option<RunStatus>,
    /// Whether the engine has more to do once this is on disk.
    pub(crate) more: bool,
    /// Whether it is the run's first.
    pub(crate) born: bool,
}

/// An attempt that runs here.
#[derive(Debug)]
pub(crate) struct OpenAttempt {
    pub(crate) attempt: u32,
    pub(crate) stop: CancellationToken,
    pub(crate) waits_for: WaitsFor,
}

/// What the rows beside the journal say, as of the last transition that was submitted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OnDisk {
    pub(crate) status: Option<RunStatus>,
    pub(crate) timer: Option<Timestamp>,
    pub(crate) started: bool,
}

/// A run in memory.
pub(crate) struct LiveRun {
    pub(crate) run: Run,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) lane: LaneId,
    /// Answers to commits of another generation are not this one's.
    pub(crate) generation: u64,
    pub(crate) on_disk: OnDisk,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) attempts: HashMap<Arc<str>, OpenAttempt>,
    /// Tasks that workers got, and that have no rows yet.
    pub(crate) handed: Handed,
    pub(crate) visible: HashSet<Arc<str>>,
    /// All decisions on approvals that came while it was in memory, as their rows show them.
    pub(crate) responses: HashMap<ApprovalId, Vec<serde_json::Value>>,
    pub(crate) snapshot_seq: i64,
    pub(crate) idle_since: Option<Instant>,
    pub(crate) response: Option<Value>,
    /// The time of its last transition: a clock that was set back does not take the run with it.
    pub(crate) last_at: Timestamp,
    /// While it is active.
    pub(crate) seat: Option<Seat>,
    /// Let go of as soon as nothing of it is on its way to the disk.
    pub(crate) held: Vec<oneshot::Sender<()>>,
    /// It leaves memory as soon as it is on disk and has not begun: any node may take it then.
    pub(crate) fleeting: bool,
}

/// What belongs to the transition that starts a run.
#[derive(Debug, Default)]
pub(crate) struct Birth {
    pub(crate) idempotency: Option<IdempotencyKey>,
    pub(crate) queue: Option<QueuedRun>,
    /// Whether it waits until some node has room.
    pub(crate) backlog: bool,
}

/// What else a transition writes.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) birth: Option<Birth>,
    pub(crate) rows: Vec<RowChange>,
    /// The approval that a decision is on, and the decisions that its row shows so far.
    pub(crate) decided: Option<(ApprovalId, Vec<serde_json::Value>)>,
    /// Whether it asks for what was asked for before. A letter that is still there keeps its row, and with it its id: the
    /// letters of this transition are left to whoever looks at the inbox. Tasks that have their rows are named here.
    pub(crate) again: Option<HashSet<TaskId>>,
}

impl LiveRun {
    pub(crate) fn tenant(&self) -> TenantKey {
        self.run.info().tenant
    }

    pub(crate) fn id(&self) -> RunId {
        self.run.id()
    }

    /// The commit of a transition, and what is held until it is acknowledged.
    pub(crate) fn commit(&mut self, transition: Transition, extra: Extra, core: &Core) -> (RunCommit, Pending) {
        let Transition { entries, effects, more } = transition;
        let mut commit = RunCommit::new(self.tenant(), self.id(), self.lane);
        let mut pending = Pending { more, ..Pending::default() };
        commit.rows = extra.rows;
        for entry in &entries {
            self.write_entry(entry, &core.settings, &mut commit);
            pending.steps_ended += u64::from(matches!(entry.record, Record::Step(_)));
        }
        if let Some(last) = entries.last() {
            self.last_at = self.last_at.max(last.at);
        }
        pending.entries = entries.len() as u64;
        for effect in &effects {
            match (effect, &extra.again) {
                (Effect::OfferTask(task), None) => self.offer(task, core, &mut commit, &mut pending),
                (Effect::OfferTask(task), Some(written)) if !written.contains(&task.task) => {
                    commit.rows.push(RowChange::OpenTask(core.tasks.offered_before(self.run.id(), task, core.now())));
                }
                (Effect::OfferTask(_), Some(_)) => {}
                _ => self.write_effect(effect, &mut commit, &mut pending.letters),
            }
        }
        commit.rows.retain(|row| !matches!(row, RowChange::CloseTask(task) if self.handed.remove(*task)));
        if self.handed.are_wanted() && (!entries.is_empty() || self.pending.is_empty()) {
            let (tasks, replies) = self.handed.take_rows();
            pending.stored.extend(tasks.iter().filter(|it| it.holder.is_none()).map(|it| it.queue.as_str().into()));
            commit.rows.extend(tasks.into_iter().map(RowChange::OpenTask));
            pending.replies.extend(replies.into_iter().map(|reply| (reply, Taken::Before)));
        }
        for note in audit::notes(&entries, self.run.info(), extra.decided.as_ref().map(|(approval, _)| *approval)) {
            commit.rows.push(RowChange::PutAudit(Box::new(note)));
            core.store.audit_noted();
        }
        if let Some((approval, known)) = extra.decided {
            self.write_decision(approval, known, &entries, &mut commit);
        }
        self.write_run(&mut commit, extra.birth, &mut pending);
        self.write_timer(&mut commit);
        for (to, id, letter) in &pending.letters {
            let mut row = letter.row(*to, self.lane, letter_name(self.id(), letter));
            row.id = *id;
            commit.rows.push(RowChange::PutInbox(row));
        }
        pending.announce = entries;
        pending.effects = effects;
        (commit, pending)
    }

    /// A task for a claim that waits, or that comes in a moment, has no row yet, unless another node may be asked about it.
    fn offer(&mut self, task: &OfferTask, core: &Core, commit: &mut RunCommit, pending: &mut Pending) {
        let promised = core.tasks.promise((self.tenant(), self.run.id()), task, self.last_at);
        let holder = promised.as_ref().map(|it| it.holder.clone());
        let may_lack = core.store.is_alone() && core.tasks.have_room();
        let may_lie = || !core.is_draining() && core.tasks.may_lie(self.tenant(), &task.queue);
        if may_lack && (holder.is_some() || may_lie()) {
            self.handed.insert(task.clone(), holder, self.last_at);
        } else {
            commit.rows.push(RowChange::OpenTask(NewTask { holder, ..new_task(task, self.last_at) }));
        }
        pending.promised.extend(promised);
    }

    fn write_entry(&mut self, entry: &Entry, settings: &Settings, commit: &mut RunCommit) {
        write_journal(entry, settings.blob_bytes_min, commit);
        match &entry.record {
            Record::Step(_) if self.visible.remove(&entry.path) => {
                commit.rows.push(RowChange::DeleteActiveStep { path: entry.path.clone() });
            }
            Record::Admitted => commit.rows.push(RowChange::Dequeue),
            _ => {}
        }
    }

    /// What an effect needs on disk in the same commit: rows of its own, or a letter that outlives a crash.
    fn write_effect(&mut self, effect: &Effect, commit: &mut RunCommit, letters: &mut Vec<(RunId, Uuid, Letter)>) {
        let parent = self.id();
        let mut send = |to, letter| letters.push((to, Uuid::now_v7(), letter));
        match effect {
            Effect::CloseTask { task } => {
                let there = |row: &RowChange| matches!(row, RowChange::CloseTask(other) if other == task);
                if !commit.rows.iter().any(there) {
                    commit.rows.push(RowChange::CloseTask(*task));
                }
            }
            Effect::OpenApproval(approval) => {
                commit.rows.push(RowChange::OpenApproval(new_approval(approval, self.last_at)));
            }
            Effect::CloseApproval { approval, status } => {
                let status = ApprovalStatus::parse(status).unwrap_or(ApprovalStatus::Cancelled);
                let decided_at = Some(self.last_at);
                let update = ApprovalUpdate { id: *approval, status, responses: None, decided_at };
                commit.rows.push(RowChange::UpdateApproval(update));
            }
            Effect::WaitForEvent(wait) => {
                commit.rows.push(RowChange::PutEventWait {
                    path: wait.path.clone(),
                    event_type: wait.event_type.to_string(),
                    subject: wait.subject.as_deref().map(str::to_owned),
                    since: wait.since,
                });
                send(
                    parent,
                    Letter::FindEvents {
                        path: wait.path.clone(),
                        event_type: wait.event_type.clone(),
                        subject: wait.subject.clone(),
                        since: wait.since,
                    },
                );
            }
            Effect::ForgetEvent { path } => commit.rows.push(RowChange::DeleteEventWait { path: path.clone() }),
            Effect::StartChild(child) => send(
                child.child,
                Letter::StartChild(Box::new(ChildOrder {
                    parent,
                    path: child.path.clone(),
                    workflow: child.workflow.clone(),
                    version: child.version,
                    input: child.input.clone(),
                    waits: child.waits,
                    depth: child.depth,
                    mode: self.run.info().mode,
                    priority: self.run.info().priority,
                    trace: Some(self.run.info().belongs_to().handed_on()),
                })),
            ),
            Effect::UndoChild { child, of, path, error } => {
                send(*child, Letter::UndoChild { parent, path: path.clone(), of: *of, error: error.clone() });
            }
            Effect::CancelChild { child } => send(
                *child,
                Letter::Cancel {
                    by: windlass_engine::start::Principal::Run(parent),
                    reason: None,
                    undo: windlass_engine::event::UndoChoice::Undo,
                },
            ),
            Effect::PauseChild { child } => {
                send(*child, Letter::Pause { by: windlass_engine::start::Principal::Run(parent) });
            }
            Effect::ResumeChild { child } => {
                send(*child, Letter::Resume { by: windlass_engine::start::Principal::Run(parent) });
            }
            Effect::Restart { run, input } => send(*run, Letter::Restart { of: parent, input: input.clone() }),
            Effect::Finish(finish) => {
                let info = self.run.info();
                // A parent waits on for the run that takes this one's place: see `children::restart`.
                let restarted = self.run.restarted_as().is_some();
                if let Some(waiting) = info.parent.as_ref().filter(|parent| parent.waits && !restarted) {
                    let result = match finish.status {
                        RunStatus::Completed => ChildResult::Completed(finish.output.clone()),
                        status => ChildResult::Failed(Some(status), finish.error.clone().unwrap_or_else(cancelled)),
                    };
                    let child = Some(info.run);
                    send(waiting.run, Letter::ChildEnded { path: waiting.path.clone(), child, result });
                }
                if let (Origin::Undo { of, .. }, RunStatus::Completed) = (&info.origin, finish.status) {
                    send(*of, Letter::Undone);
                }
                for path in self.visible.drain() {
                    commit.rows.push(RowChange::DeleteActiveStep { path });
                }
            }
            Effect::OfferTask(_)
            | Effect::RunStep(_)
            | Effect::StopStep { .. }
            | Effect::StopTask { .. }
            | Effect::Respond { .. }
            | Effect::Log { .. } => {}
        }
    }

    /// The approval's row shows every decision, whether or not this one closed it.
    fn write_decision(
        &mut self,
        approval: ApprovalId,
        known: Vec<serde_json::Value>,
        entries: &[Entry],
        commit: &mut RunCommit,
    ) {
        let mut responses = self.responses.remove(&approval).unwrap_or_default();
        if responses.len() < known.len() {
            responses = known;
        }
        let decisions = entries.iter().filter_map(|entry| match &entry.record {
            Record::Decided(decision) => serde_json::to_value(decision).ok(),
            _ => None,
        });
        responses.extend(decisions);
        let closed = commit.rows.iter_mut().find_map(|row| match row {
            RowChange::UpdateApproval(update) if update.id == approval => Some(update),
            _ => None,
        });
        match closed {
            Some(update) => update.responses = Some(responses.into()),
            None => {
                let (status, shown) = (ApprovalStatus::Pending, Some(responses.clone().into()));
                let update = ApprovalUpdate { id: approval, status, responses: shown, decided_at: None };
                commit.rows.push(RowChange::UpdateApproval(update));
                self.responses.insert(approval, responses);
            }
        }
    }

    fn write_run(&mut self, commit: &mut RunCommit, birth: Option<Birth>, pending: &mut Pending) {
        let status = match self.run.status() {
            RunStatus::Waiting if !self.handed.is_empty() => RunStatus::Running,
            status => status,
        };
        let changed = self.on_disk.status != Some(status);
        let over = status.is_final();
        let (undo, error) = ending(&self.run);
        let started = self.run.started_at();
        pending.born = birth.is_some();
        if let Some(Birth { idempotency, queue, backlog }) = birth {
            let new = NewRun { status, ..new_run(&self.run, self.plan.plan.hash.0, (undo, error)) };
            commit.change = RunChange::Insert(Box::new(new), idempotency);
            commit.rows.extend(queue.filter(|_| !over).map(RowChange::Enqueue));
            if backlog && !over {
                let info = self.run.info();
                commit.rows.push(RowChange::PutBacklog { priority: info.priority, queued_at: info.created_at });
            }
            self.send_birth(commit);
        } else if changed || (started.is_some() && !self.on_disk.started) {
            commit.change = RunChange::Update(Box::new(RunUpdate {
                status: changed.then_some(status),
                undo_status: undo,
                error,
                started_at: started.filter(|_| !self.on_disk.started),
                finished_at: self.run.finished_at(),
            }));
            if over && started.is_none() {
                commit.rows.extend([RowChange::Dequeue, RowChange::DeleteBacklog]);
            }
        }
        pending.status = changed.then_some(status);
        self.on_disk.status = Some(status);
        self.on_disk.started = started.is_some();
    }

    /// A child that nobody waits for tells its parent that it is there.
    fn send_birth(&self, commit: &mut RunCommit) {
        let info = self.run.info();
        if let Some(parent) = info.parent.as_ref().filter(|parent| !parent.waits) {
            let letter = Letter::ChildStarted { path: parent.path.clone(), child: info.run, version: info.version };
            let row = letter.row(parent.run, self.lane, letter_name(info.run, &letter));
            commit.rows.push(RowChange::PutInbox(row));
        }
    }

    /// A run has a timer row only while it may leave memory: a running one is loaded after a crash anyway.
    fn write_timer(&mut self, commit: &mut RunCommit) {
        let new = self.run.resting_timer();
        let old = self.on_disk.timer;
        if new != old {
            commit.timer = Some(TimerChange { old, new });
            self.on_disk.timer = new;
        }
    }
}

/// The journal's row of an entry, and its large values beside it.
pub(crate) fn write_journal(entry: &Entry, blob_bytes_min: usize, commit: &mut RunCommit) {
    let mut blobs = Vec::new();
    let payload = payload::encode(&entry.record, blob_bytes_min, &mut blobs);
    commit.entries.push(JournalRow {
        seq: entry.seq,
        kind: entry.record.kind(),
        opens: entry.opens,
        path: entry.path.clone(),
        step: entry.step.clone(),
        attempt: i32::try_from(entry.attempt).unwrap_or(i32::MAX),
        at: entry.at,
        payload,
    });
    for blob in blobs {
        let raw_bytes = i64::try_from(blob.raw_bytes).unwrap_or(i64::MAX);
        commit.rows.push(RowChange::PutBlob { hash: blob.hash, raw_bytes, bytes: blob.compressed });
    }
}

/// The row of a run as it is after its first transition, with what became of it if that was its last.
pub(crate) fn new_run(
    run: &Run,
    definition_hash: [u8; 32],
    (undo_status, error): (Option<windlass_store::UndoStatus>, Option<RunError>),
) -> NewRun {
    let info = run.info();
    NewRun {
        workflow: info.workflow.to_string(),
        version: (info.version > 0).then_some(info.version),
        definition_hash,
        status: run.status(),
        undo_status,
        mode: match info.mode {
            windlass_engine::start::Mode::Production => RunMode::Production,
            windlass_engine::start::Mode::Test => RunMode::Test,
        },
        priority: info.priority,
        trace: info.trace.as_ref().map(|trace| trace.id),
        key: info.key.as_deref().map(str::to_owned),
        labels: (!info.labels.is_empty()).then(|| serde_json::to_value(&info.labels).unwrap_or_default()),
        started_by: serde_json::to_value(&info.by).ok(),
        parent: info.parent.as_ref().map(|parent| (parent.run, parent.path.to_string())),
        origin: origin(&info.origin),
        depth: i32::try_from(info.depth).unwrap_or(i32::MAX),
        error,
        created_at: info.created_at,
        started_at: run.started_at(),
        finished_at: run.finished_at(),
    }
}

/// The same letter of the same sender has the same name, however often its commit is built.
fn letter_name(from: RunId, letter: &Letter) -> String {
    match letter {
        Letter::ChildEnded { path, .. } | Letter::ChildStarted { path, .. } => format!("{from}/{path}"),
        Letter::FindEvents { path, .. } => path.to_string(),
        // A child may be paused and resumed many times.
        Letter::Pause { .. } | Letter::Resume { .. } => format!("{from}/{}", Uuid::now_v7()),
        _ => from.to_string(),
    }
}

/// The row of a task that is offered at that time, for whoever asks.
pub(crate) fn new_task(task: &OfferTask, now: Timestamp) -> NewTask {
    let payload = Value::map([("key", Value::String(task.key.clone())), ("input", task.input.clone())]);
    NewTask {
        id: task.task,
        path: task.path.clone(),
        attempt: i32::try_from(task.attempt).unwrap_or(i32::MAX),
        queue: task.queue.to_string(),
        name: task.step.to_string(),
        priority: task.priority,
        payload: payload::json(&payload),
        available_at: now,
        lease_ms: i64::try_from(task.lease.as_millis()).unwrap_or(i64::MAX),
        lost_max: i32::MAX,
        created_at: now,
        holder: None,
    }
}

fn new_approval(approval: &OpenApproval, now: Timestamp) -> NewApproval {
    let quorum = approval.quorum.map(|(need, of)| serde_json::json!({"need": need, "of": of}));
    NewApproval {
        id: approval.approval,
        path: approval.path.clone(),
        title: approval.title.to_string(),
        detail: serde_json::json!({
            "step": approval.step,
            "to": approval.to,
            "description": approval.description,
            "form": approval.form,
            "quorum": quorum,
        }),
        created_at: now,
        expires_at: approval.expires_at,
    }
}

fn cancelled() -> windlass_definition::Error {
    windlass_definition::Error::new(windlass_definition::Class::Cancelled, "cancelled", "the run was cancelled")
}

fn run_error(error: &windlass_definition::Error) -> RunError {
    RunError {
        class: error.class.as_str().to_owned(),
        code: error.code.to_string(),
        message: error.message.to_string(),
    }
}

/// What the row of a run says of its end, once it is over.
pub(crate) fn ending(run: &Run) -> (Option<windlass_store::UndoStatus>, Option<RunError>) {
    let over = run.status().is_final();
    (over.then(|| undo_status(run.undo().status)), run.error().filter(|_| over).map(run_error))
}

fn undo_status(status: UndoStatus) -> windlass_store::UndoStatus {
    match status {
        UndoStatus::None => windlass_store::UndoStatus::None,
        UndoStatus::Done => windlass_store::UndoStatus::Done,
        UndoStatus::Left => windlass_store::UndoStatus::Left,
        UndoStatus::Off => windlass_store::UndoStatus::Off,
    }
}

fn origin(origin: &Origin) -> Option<(RunId, OriginKind)> {
    Some(match origin {
        Origin::Fresh => return None,
        Origin::Rerun { of } => (*of, OriginKind::Rerun),
        Origin::Fork { of, .. } => (*of, OriginKind::Fork),
        Origin::Restart { of } => (*of, OriginKind::Restart),
        Origin::Undo { of, .. } => (*of, OriginKind::Undo),
    })
}
