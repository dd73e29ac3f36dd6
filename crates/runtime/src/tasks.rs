//! Tasks for outside workers: claimed with a lease, kept alive by heartbeats, answered once.
//!
//! What a worker says goes straight to its run where this node moves the run: the transition that takes the answer ends
//! the task in the same commit, and the worker is told when that is on disk. An answer for another node's run waits in
//! the task's row until that node takes it. Either way an answer that was acknowledged is never lost. A lease that runs
//! out gives the task back to its queue, and the run counts it.
//!
//! What is asked for at the same time is written together: claims, heartbeats, and answers for other nodes.

mod hall;
mod handed;
mod leases;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;
use windlass_definition::{Class, Error, Timestamp, Value};
use windlass_engine::{
    Entry, Event, Record,
    effect::OfferTask,
    event::Failure,
    id::{RunId, TaskId, TenantKey},
    status::TaskStatus,
};
use windlass_store::{
    Claim, FinishedTask, Holder, Holding, LaneId, StoreError, TaskAnswer, TaskEnd, TaskResult, tasks::CLAIM_MAX,
};

use self::{
    hall::{Hall, Place, Reserved, Wanted},
    leases::Leases,
};
pub(crate) use self::{handed::Handed, leases::expire_leases};
use crate::{
    core::Core,
    error::RuntimeError,
    gather::Gather,
    live_run::{Remember, Source, Taken},
    metrics::add,
    payload,
    redact::Redactor,
    request::{ClaimRequest, Proof, TaskFilter, TaskRequest},
    runtime::Runtime,
    turner::Deliver,
    views::{ClaimedTask, Page, TaskView},
};

const PAGE_ROWS: i64 = 1_000;
const QUEUES_MAX: usize = 100;
/// Pages of tasks that one list looks through for a queue.
const PAGES_MAX: usize = 10;
/// Claims that are known without reading; those beyond are read when their workers answer.
const HELD_MAX: usize = 200_000;
/// An answer of more bytes is known again by a row: looking for it in the journal would read all of it.
const RECORDED_BYTES_MAX: usize = 4_096;
/// Tasks that are unwanted and whose workers do not ask; the oldest are forgotten with all others.
const UNWANTED_MAX: usize = 100_000;

/// Who waits for tasks, and who has which.
#[derive(Default)]
pub(crate) struct Tasks {
    hall: Arc<Hall>,
    /// Claims that were made here: until `until` nobody else can have the task.
    held: Mutex<HashMap<TaskId, Held>>,
    heartbeats: Gather<(TenantKey, Holding), Option<Timestamp>>,
    ends: Gather<(TenantKey, TaskResult), bool>,
    /// Claimed tasks that their runs want no more: their workers are told with the next heartbeat.
    unwanted: Mutex<HashSet<TaskId>>,
    leases: Leases,
}

/// A claim that holds.
#[derive(Debug, Clone)]
struct Held {
    tenant: TenantKey,
    token: Uuid,
    worker: Arc<str>,
    until: Timestamp,
    lane: LaneId,
    run: RunId,
    path: Arc<str>,
    attempt: u32,
}

/// A task that counts as claimed, for a claim that waits for it.
#[derive(Debug)]
pub(crate) struct Promised {
    pub(crate) task: TaskId,
    pub(crate) holder: Holder,
    reserved: Reserved,
}

impl Tasks {
    /// Promises a task that is about to be offered to a claim that waits for one.
    pub(crate) fn promise(
        &self,
        (tenant, run): (TenantKey, RunId),
        task: &OfferTask,
        now: Timestamp,
    ) -> Option<Promised> {
        let reserved = self.hall.reserve(tenant, &task.queue)?;
        let worker = Arc::clone(&reserved.worker);
        let holder = Holder { worker, token: handed::first_token(run), until: now.after(task.lease) };
        Some(Promised { task: task.task, holder, reserved })
    }

    /// Claims that wait are answered with nothing.
    pub(crate) fn end_waiting(&self) {
        self.hall.end_all();
    }

    fn held(&self) -> MutexGuard<'_, HashMap<TaskId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more claim will be known without reading.
    pub(crate) fn have_room(&self) -> bool {
        self.held().len() < HELD_MAX / 2
    }

    fn hold(&self, task: TaskId, claim: Held) {
        self.leases.claimed(claim.until);
        let mut held = self.held();
        if held.len() < HELD_MAX {
            held.insert(task, claim);
        }
    }
}

/// A task that is no longer wanted.
pub(crate) struct Withdrawal {
    pub(crate) task: TaskId,
    pub(crate) lane: LaneId,
    pub(crate) path: Arc<str>,
    pub(crate) attempt: u32,
}

/// What a worker said of a task, as its row keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Completed(Value),
    Failed(Failure),
}

/// What a heartbeat says back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeartbeatAnswer {
    /// Until when the claim holds now.
    pub lease_until: Timestamp,
    /// Whether the run wants the task no more: stop, and fail it as `cancelled`, or complete it if it is done.
    pub stop: bool,
}

/// A claim that waits. When its caller goes away, what it had got is put back.
struct Waiter<'a> {
    core: &'a Arc<Core>,
    place: Place,
    answer: oneshot::Receiver<hall::Answer>,
}

impl Waiter<'_> {
    /// It is answered as soon as nothing is on its way to it.
    fn end(&self) {
        let orphans = self.core.tasks.hall.end(self.place);
        self.core.release(orphans);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.answer.close();
        self.end();
        if let Ok(Ok(tasks)) = self.answer.try_recv() {
            self.core.release(tasks);
        }
    }
}

impl Runtime {
    /// The claim that a worker speaks of, if it holds: as it is known here, or else as the database has it.
    async fn held(&self, claim: &TaskRequest) -> Result<Held, RuntimeError> {
        let (tenant, task) = (claim.tenant, claim.task);
        let given = match &claim.proof {
            Proof::Token(token) => {
                let token: Uuid =
                    token.parse().map_err(|_| RuntimeError::invalid("/token", "is not what the claim gave"))?;
                Some(token)
            }
            _ => None,
        };
        let is_theirs = |held: &Held| match &claim.proof {
            Proof::Token(_) => given == Some(held.token),
            // Whoever took the run over does not know who had it.
            Proof::Worker(worker) => held.worker.is_empty() || **worker == *held.worker,
            Proof::Holder => true,
        };
        let known = self.core.tasks.held().get(&task).filter(|held| held.tenant == tenant).cloned();
        let held = match known.filter(|held| held.until > self.core.now()) {
            Some(held) => held,
            None => self.read_held(claim).await?,
        };
        if !is_theirs(&held) {
            return Err(not_held(task));
        }
        if held.until > self.core.now() {
            return Ok(held);
        }
        // Nobody has given the task back yet, and nobody can once it is renewed.
        let until = self.beat(tenant, Holding { task, token: held.token }).await?;
        Ok(Held { until, ..held })
    }

    async fn read_held(&self, claim: &TaskRequest) -> Result<Held, RuntimeError> {
        let (tenant, task) = (claim.tenant, claim.task);
        let mut lease = self.core.store.task_lease(tenant, task).await?;
        if lease.is_none() && self.core.write_handed(task).await? {
            lease = self.core.store.task_lease(tenant, task).await?;
        }
        let Some(lease) = lease else { return Err(self.nobodys(claim).await?) };
        let held = Held {
            tenant,
            token: lease.token,
            worker: lease.worker.into(),
            until: lease.until,
            lane: lease.lane,
            run: lease.run,
            path: lease.path.into(),
            attempt: u32::try_from(lease.attempt).unwrap_or(0),
        };
        self.core.tasks.hold(task, held.clone());
        Ok(held)
    }

    /// Why nobody holds the task.
    async fn nobodys(&self, claim: &TaskRequest) -> Result<RuntimeError, RuntimeError> {
        let (core, tenant, task) = (&self.core, claim.tenant, claim.task);
        let taken_over = || RuntimeError::unavailable("the task's run is being taken over: ask again");
        if !core.store.has_task(tenant, task).await? {
            if self.recorded_answer(claim).await?.is_some() {
                return Ok(not_held(task));
            }
            return Ok(if core.may_be_written(task) { taken_over() } else { RuntimeError::not_found("task", task) });
        }
        // Its row may have come since it was looked for.
        let lease = core.store.task_lease(tenant, task).await?;
        Ok(lease.map_or_else(|| not_held(task), |_| taken_over()))
    }

    async fn beat(&self, tenant: TenantKey, holding: Holding) -> Result<Timestamp, RuntimeError> {
        let gather = &self.core.tasks.heartbeats;
        let serve = |core: Arc<Core>, all| async move { core.store.heartbeat_tasks(all).await };
        let ask = || gather.ask(&self.core, (tenant, holding), |core| &core.tasks.heartbeats, serve);
        let mut until = ask().await?;
        if until.is_none() && self.core.write_handed(holding.task).await? {
            until = ask().await?;
        }
        let mut held = self.core.tasks.held();
        match (until, held.get_mut(&holding.task).filter(|held| held.token == holding.token)) {
            (Some(until), Some(held)) => held.until = until,
            (None, Some(_)) => drop(held.remove(&holding.task)),
            (_, None) => {}
        }
        until.ok_or_else(|| not_held(holding.task))
    }

    /// Claims tasks for a worker; waits for the first one for as long as the request says.
    ///
    /// # Errors
    /// No queue is named, or the database does not answer.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, RuntimeError> {
        let ClaimRequest { tenant, mut queues, worker, max, wait } = request;
        if queues.is_empty() || queues.len() > QUEUES_MAX {
            return Err(RuntimeError::invalid("/queues", format!("has to name 1 to {QUEUES_MAX} queues")));
        }
        let core = &self.core;
        let until = Instant::now() + wait.min(core.settings.claim_wait_max);
        queues.sort_unstable();
        queues.dedup();
        let queues = queues.into_iter().map(Arc::from).collect();
        let max = max.clamp(1, core.settings.claim_max.min(CLAIM_MAX));
        let (place, answer) = core.tasks.hall.enter(Wanted { tenant, queues, worker: worker.into(), max });
        let mut waiter = Waiter { core, place, answer };
        core.look_for(tenant);
        if core.is_draining() {
            // It may have come in behind those that were told.
            waiter.end();
        }
        let answered = tokio::select! {
            answered = &mut waiter.answer => answered,
            () = tokio::time::sleep_until(until) => {
                waiter.end();
                (&mut waiter.answer).await
            }
        };
        let claimed = answered.unwrap_or(Err(StoreError::Closed))?;
        add(&core.metrics.tasks_claimed, claimed.len() as u64);
        Ok(claimed)
    }

    /// Tasks in a state (without one, those that nobody has), the newest first.
    ///
    /// # Errors
    /// The cursor is no such thing.
    pub async fn tasks(&self, tenant: TenantKey, filter: TaskFilter) -> Result<Page<TaskView>, RuntimeError> {
        let limit = filter.limit.clamp(1, self.core.settings.page_max);
        let status = filter.status.unwrap_or(TaskStatus::Pending);
        let mut after = match &filter.after {
            Some(text) => Some(text.parse().map_err(|_| RuntimeError::invalid("/after", "is no cursor of a page"))?),
            None => None,
        };
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.core.store.list_tasks(tenant, status, after, PAGE_ROWS).await?;
            let last = (page.len() as i64) < PAGE_ROWS;
            after = page.last().map(|row| row.id).or(after);
            items.extend(page.into_iter().filter(|row| filter.queue.as_ref().is_none_or(|queue| *queue == row.queue)));
            if last || items.len() > limit {
                break;
            }
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|row| row.id.to_string()) } else { None };
        Ok(Page::new(items.into_iter().map(task_view).collect(), next))
    }

    /// Keeps a claim alive.
    ///
    /// # Errors
    /// The claim does not hold any more.
    pub async fn heartbeat(&self, claim: TaskRequest) -> Result<HeartbeatAnswer, RuntimeError> {
        let held = self.held(&claim).await?;
        let lease_until = self.beat(claim.tenant, Holding { task: claim.task, token: held.token }).await?;
        let stop = self.core.tasks.unwanted.lock().unwrap_or_else(PoisonError::into_inner).contains(&claim.task);
        Ok(HeartbeatAnswer { lease_until, stop })
    }

    /// Completes a task; answers once that is on disk. The same answer given again is a success as well.
    ///
    /// # Errors
    /// The claim does not hold any more, or the output is too large.
    pub async fn complete(&self, claim: TaskRequest, output: Value) -> Result<(), RuntimeError> {
        let max = self.core.settings.limits.value_bytes_max;
        if payload::size(&output) > max {
            let detail = format!("the output has more than {max} bytes (setting `value_bytes_max`)");
            return Err(RuntimeError::Limit { code: "value_too_large", detail });
        }
        self.answer_task(claim, Answer::Completed(output)).await
    }

    /// Fails a task; answers once that is on disk. Whether its effect may have happened is not known. The same answer
    /// given again is a success as well.
    ///
    /// # Errors
    /// The claim does not hold any more.
    pub async fn fail(&self, claim: TaskRequest, error: Error) -> Result<(), RuntimeError> {
        self.answer_task(claim, Answer::Failed(Failure { error, unknown: true })).await
    }

    async fn answer_task(&self, claim: TaskRequest, answer: Answer) -> Result<(), RuntimeError> {
        let said = Said::of(answer, self.core.known.of_vault(&self.core.store, claim.tenant).await);
        let hash = said.hash;
        let refused = match self.held(&claim).await {
            Ok(held) => match self.end_task(&claim, &held, said).await {
                // The run has an end of this step already, or is over itself.
                Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. }) => {
                    self.core.tasks.forget(claim.task);
                    not_held(claim.task)
                }
                ended => return ended,
            },
            Err(error @ (RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. })) => error,
            Err(error) => return Err(error),
        };
        // A worker that did not hear the first answer says the same again.
        let repeated = self.core.store.was_answered(claim.tenant, claim.task, token_of(&claim), hash).await?
            || self.recorded_answer(&claim).await? == Some(hash);
        if repeated { Ok(()) } else { Err(refused) }
    }

    /// The hash of what a task completed with, if the claim's token leads to the run whose journal says it.
    async fn recorded_answer(&self, claim: &TaskRequest) -> Result<Option<[u8; 32]>, RuntimeError> {
        let Some(run) = token_of(claim).map(RunId::new) else { return Ok(None) };
        let is_it = |entry: &Entry| claim.task.is_of(run, &entry.path, entry.attempt);
        let record = self.recorded(claim.tenant, run, "step", is_it).await?;
        let output = record.as_ref().and_then(Record::completed_with);
        Ok(output.map(|output| Said::of(Answer::Completed(output.clone()), None).hash))
    }

    /// Tells the run, or whoever owns it, what the holder of a task says.
    async fn end_task(
        &self,
        claim: &TaskRequest,
        held: &Held,
        Said { answer, output, hash, is_kept_as_sent }: Said,
    ) -> Result<(), RuntimeError> {
        let (tenant, task, token) = (claim.tenant, claim.task, held.token);
        let core = &self.core;
        if core.store.owns(held.lane) {
            let (reply, taken) = oneshot::channel();
            let event = answer.event(Arc::clone(&held.path), held.attempt, core.now());
            let answered = TaskAnswer { token, hash };
            // The token that the worker has leads to the journal.
            let is_led = token == handed::first_token(held.run) && token_of(claim).is_some();
            let remember = match is_led && is_kept_as_sent {
                true => Remember::InJournal(answered),
                false => Remember::InRow(answered),
            };
            let source = Source::Task(task, held.lane, remember);
            core.deliver(Deliver::new(tenant, held.run, event).from(source).answer(reply));
            let stopping = || Err(RuntimeError::unavailable("the server is stopping: ask again"));
            if taken.await.unwrap_or_else(|_| stopping())? == Taken::Before {
                return Err(not_held(task));
            }
        } else {
            let status = match &answer {
                Answer::Completed(_) => TaskEnd::Completed,
                Answer::Failed(_) => TaskEnd::Failed,
            };
            let result = TaskResult { holding: Holding { task, token }, status, output, hash };
            // The store hints at it, and the run is told by the node that owns it.
            let serve = |core: Arc<Core>, all| async move { core.store.finish_tasks(all).await };
            if !core.tasks.ends.ask(core, (tenant, result), |core| &core.tasks.ends, serve).await? {
                return Err(self.nobodys(claim).await?);
            }
        }
        core.tasks.forget(task);
        Ok(())
    }
}

impl Tasks {
    /// The task has ended.
    fn forget(&self, task: TaskId) {
        self.held().remove(&task);
        self.unwanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }
}

/// What a worker answered, and what is kept of it.
struct Said {
    answer: Answer,
    /// The answer as JSON.
    output: Vec<u8>,
    /// SHA-256 of what the worker said: the same is known again, whatever was redacted in it.
    hash: [u8; 32],
    /// Whether a look at what is kept is enough to know the same answer again.
    is_kept_as_sent: bool,
}

impl Said {
    fn of(answer: Answer, known: Option<Arc<Redactor>>) -> Said {
        let sent = payload::json(&answer);
        let hash = Sha256::digest(&sent).into();
        let is_short = sent.len() <= RECORDED_BYTES_MAX;
        let Some(known) = known else {
            return Said { answer, output: sent, hash, is_kept_as_sent: is_short };
        };
        let answer = answer.redacted(&known);
        let output = payload::json(&answer);
        let is_kept_as_sent = is_short && output == sent;
        Said { answer, output, hash, is_kept_as_sent }
    }
}

/// The token that a worker gives, as far as it is one.
fn token_of(claim: &TaskRequest) -> Option<Uuid> {
    match &claim.proof {
        Proof::Token(token) => token.parse().ok(),
        Proof::Worker(_) | Proof::Holder => None,
    }
}

impl Answer {
    fn event(self, path: Arc<str>, attempt: u32, started_at: Timestamp) -> Event {
        let result = match self {
            Answer::Completed(output) => Ok(output),
            Answer::Failed(failure) => Err(failure),
        };
        Event::StepEnded { path, attempt, started_at, result }
    }

    fn redacted(self, known: &Redactor) -> Answer {
        match self {
            Answer::Completed(output) => Answer::Completed(known.value(output)),
            Answer::Failed(failure) => Answer::Failed(Failure { error: known.error(failure.error), ..failure }),
        }
    }
}

fn task_view(row: windlass_store::TaskRow) -> TaskView {
    TaskView {
        id: row.id,
        status: row.status,
        queue: row.queue,
        run_id: row.run,
        path: row.path.into(),
        name: row.name,
        priority: row.priority,
        lost: row.lost,
        worker: row.holder.as_ref().map(|(worker, _)| worker.clone()).filter(|worker| !worker.is_empty()),
        lease_until: row.holder.map(|(_, until)| until),
        created_at: row.created_at,
        finished_at: row.finished_at,
    }
}

fn not_held(task: TaskId) -> RuntimeError {
    RuntimeError::conflict(
        "task_not_held",
        format!("this claim on task {task} does not hold: it ran out, or the task has ended"),
    )
}

fn claimed_view(row: windlass_store::ClaimedTask) -> Result<ClaimedTask, StoreError> {
    let body: Value = payload::deep(&row.payload)
        .map_err(|error| StoreError::damaged(format!("the input of task {}: {error}", row.id)))?;
    Ok(ClaimedTask {
        id: row.id,
        token: row.token.to_string(),
        queue: row.queue.into(),
        run_id: row.run,
        path: row.path.into(),
        attempt: u32::try_from(row.attempt).unwrap_or(0),
        key: body.get("key").and_then(Value::as_str).unwrap_or_default().into(),
        input: body.get("input").cloned().unwrap_or_default(),
        lease_until: row.lease_until,
    })
}

fn deliver(core: &Core, ended: &FinishedTask, answer: Answer) {
    core.tasks.forget(ended.id);
    let event = answer.event(ended.path.as_str().into(), u32::try_from(ended.attempt).unwrap_or(0), core.now());
    core.deliver(Deliver::new(ended.tenant, ended.run, event).from(Source::Task(
        ended.id,
        ended.lane,
        Remember::Already,
    )));
}

/// Tells runs what workers answered.
pub(crate) async fn deliver_finished(core: &Arc<Core>, lanes: &[LaneId]) -> Result<(), RuntimeError> {
    loop {
        let page = core.store.finished_tasks(lanes, PAGE_ROWS).await?;
        let mut fresh = 0;
        for ended in &page {
            // One that was told a moment ago is on its way.
            if !core.letters.take(ended.id.uuid()) {
                continue;
            }
            fresh += 1;
            match payload::deep(ended.output.as_deref().unwrap_or_default()) {
                Ok(answer) => deliver(core, ended, answer),
                Err(error) => tracing::error!(task = %ended.id, %error, "a worker's answer cannot be read"),
            }
        }
        if fresh == 0 || (page.len() as i64) < PAGE_ROWS {
            return Ok(());
        }
    }
}

impl Core {
    /// A run wants a task no more: nobody gets it any more, or its worker is told.
    pub(crate) fn withdraw_task(self: &Arc<Core>, tenant: TenantKey, run: RunId, withdrawal: Withdrawal) {
        let Withdrawal { task, lane, path, attempt } = withdrawal;
        {
            let mut unwanted = self.tasks.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
            if unwanted.len() >= UNWANTED_MAX {
                unwanted.clear();
            }
            unwanted.insert(task);
        }
        let error = Error::new(Class::Cancelled, "cancelled", "the task was withdrawn before anybody claimed it");
        let answer = Answer::Failed(Failure::certain(error));
        let core = Arc::clone(self);
        self.spawn(async move {
            match core.store.withdraw_task(tenant, task, payload::json(&answer)).await {
                // Its row says so as well, until the run has taken it.
                Ok(true) if core.letters.take(task.uuid()) => {
                    let event = answer.event(path, attempt, core.now());
                    core.deliver(Deliver::new(tenant, run, event).from(Source::Task(task, lane, Remember::Already)));
                }
                Ok(_) => {}
                // The run's own grace time ends the wait.
                Err(error) => tracing::warn!(%task, %error, "a task could not be withdrawn"),
            }
        });
    }

    /// A task is on disk: hands it to the claim that it was promised to, or lets claims look for it.
    pub(crate) fn offered(self: &Arc<Core>, run: (TenantKey, RunId, LaneId), task: OfferTask, to: Option<Promised>) {
        let (tenant, run, lane) = run;
        let Some(Promised { holder, reserved, .. }) = to else {
            if self.tasks.hall.stored(tenant, &task.queue) {
                self.look_for(tenant);
            }
            return self.store.hint_tasks_elsewhere(lane);
        };
        let Holder { worker, token, until } = holder;
        let OfferTask { task: id, path, attempt, key, queue, input, .. } = task;
        self.tasks.hold(id, Held { tenant, token, worker, until, lane, run, path: Arc::clone(&path), attempt });
        let token = token.to_string();
        self.release(reserved.hand(ClaimedTask {
            id,
            token,
            queue,
            run_id: run,
            path,
            attempt,
            key,
            input,
            lease_until: until,
        }));
    }

    /// Claimed tasks whose workers went away before they got them are there for others again.
    fn release(self: &Arc<Core>, orphans: Vec<ClaimedTask>) {
        let orphans: Vec<(TaskId, Held)> = {
            let mut held = self.tasks.held();
            orphans.into_iter().filter_map(|task| Some((task.id, held.remove(&task.id)?))).collect()
        };
        if orphans.is_empty() {
            return;
        }
        let core = Arc::clone(self);
        self.spawn(async move {
            if let Err(error) = core.put_back(orphans).await {
                tracing::warn!(%error, "tasks whose worker went away wait for their leases to run out");
            }
            core.look_for_all();
        });
    }

    async fn put_back(&self, orphans: Vec<(TaskId, Held)>) -> Result<(), RuntimeError> {
        let runs: HashSet<RunId> = orphans.iter().map(|(_, held)| held.run).collect();
        for run in runs {
            self.write_handed_of(run).await?;
        }
        let holdings = orphans.iter().map(|(task, held)| (held.tenant, Holding { task: *task, token: held.token }));
        Ok(self.store.release_tasks(holdings.collect()).await?)
    }

    /// Lets all claims that wait look again.
    pub(crate) fn look_for_all(self: &Arc<Core>) {
        for tenant in self.tasks.hall.stored_somewhere() {
            self.look_for(tenant);
        }
    }

    /// Looks for tasks for the claims of a tenant that want to, unless enough do.
    fn look_for(self: &Arc<Core>, tenant: TenantKey) {
        if !self.tasks.hall.serve(tenant) {
            return;
        }
        let core = Arc::clone(self);
        self.spawn(async move {
            while let Some(look) = core.tasks.hall.next_look(tenant, CLAIM_MAX) {
                core.look(tenant, look).await;
            }
        });
    }

    async fn look(self: &Arc<Core>, tenant: TenantKey, look: hall::Look) {
        let queues = look.queues.iter().map(|queue| queue.to_string()).collect();
        let workers: Vec<Arc<str>> =
            look.claims.iter().flat_map(|(_, worker, count)| std::iter::repeat_n(Arc::clone(worker), *count)).collect();
        let claimed = self.store.claim_tasks(tenant, Claim { queues, workers: workers.clone() }).await;
        let found = claimed.and_then(|rows| {
            let view = |row: windlass_store::ClaimedTask| {
                let held = Held {
                    tenant,
                    token: row.token,
                    worker: Arc::clone(&workers[row.place]),
                    until: row.lease_until,
                    lane: row.lane,
                    run: row.run,
                    path: row.path.as_str().into(),
                    attempt: u32::try_from(row.attempt).unwrap_or(0),
                };
                let view = claimed_view(row)?;
                self.tasks.hold(view.id, held);
                Ok(view)
            };
            rows.into_iter().map(view).collect::<Result<Vec<ClaimedTask>, StoreError>>()
        });
        if found.is_err() {
            // Other looks passed over what this one had in hand.
            self.look_for_all();
        }
        let mut rows = found.map(Vec::into_iter);
        for (place, _, count) in look.claims {
            let found = match &mut rows {
                Ok(rows) => Ok(rows.take(count).collect()),
                Err(error) => Err(error.clone()),
            };
            let orphans = self.tasks.hall.looked(place, found);
            self.release(orphans);
        }
    }
}
