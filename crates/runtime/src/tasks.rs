//! Tasks for outside workers: claimed with a lease, kept alive by heartbeats, answered once.
//!
//! What a worker says goes straight to its run where this node moves the run: the transition that takes the answer ends
//! the task in the same commit, and the worker is told when that is on disk. An answer for another node's run waits in
//! the task's row until that node takes it. Either way an answer that was acknowledged is never lost. A lease that runs
//! out gives the task back to its queue, and the run counts it.
//!
//! What is asked for at the same time is written together: claims, heartbeats, and answers for other nodes.

mod answers;
mod claims;
mod hall;
mod handed;
mod leases;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;
use windlass_definition::{Class, Error, Timestamp, Value};
use windlass_engine::{
    effect::OfferTask,
    event::Failure,
    id::{RunId, TaskId, TenantKey},
    status::TaskStatus,
};
use windlass_store::{Claim, Holder, Holding, LaneId, StoreError, TaskResult, tasks::CLAIM_MAX};

use self::{
    answers::Answer,
    claims::{Claims, Held},
    hall::{Hall, Place, Reserved, Wanted},
};
pub(crate) use self::{answers::deliver_finished, claims::Offered, hall::Lying, handed::Handed, leases::expire_leases};
use crate::{
    core::Core,
    error::RuntimeError,
    gather::Gather,
    live_run::{Remember, Source},
    metrics::add,
    payload,
    request::{ClaimRequest, Proof, TaskFilter, TaskRequest},
    runtime::Runtime,
    turner::Deliver,
    views::{ClaimedTask, Page, TaskView},
};

const PAGE_ROWS: i64 = 1_000;
const QUEUES_MAX: usize = 100;
/// Pages of tasks that one list looks through for a queue.
const PAGES_MAX: usize = 10;
/// Tasks that are unwanted and whose workers do not ask; the oldest are forgotten with all others.
const UNWANTED_MAX: usize = 100_000;

/// Who waits for tasks, and who has which.
pub(crate) struct Tasks {
    hall: Arc<Hall>,
    claims: Arc<Claims>,
    heartbeats: Gather<(TenantKey, Holding), Option<Timestamp>>,
    ends: Gather<(TenantKey, TaskResult), bool>,
    /// Claimed tasks that their runs want no more: their workers are told with the next heartbeat.
    unwanted: Mutex<HashSet<TaskId>>,
}

/// A task that counts as claimed, for a claim that waits for it.
#[derive(Debug)]
pub(crate) struct Promised {
    pub(crate) task: TaskId,
    pub(crate) holder: Holder,
    reserved: Reserved,
}

impl Default for Tasks {
    fn default() -> Tasks {
        let claims = Arc::<Claims>::default();
        let hall = Arc::new(Hall::new(Arc::clone(&claims)));
        Tasks { hall, claims, heartbeats: Gather::default(), ends: Gather::default(), unwanted: Mutex::default() }
    }
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

    /// Whether a task without a row may lie there for whoever comes next.
    pub(crate) fn may_lie(&self, tenant: TenantKey, queue: &Arc<str>) -> bool {
        self.hall.may_lie(tenant, queue)
    }

    /// Whether one more claim will be known without reading.
    pub(crate) fn have_room(&self) -> bool {
        self.claims.have_room()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<TaskId, Held>> {
        self.claims.held()
    }
}

/// A task that is no longer wanted.
pub(crate) struct Withdrawal {
    pub(crate) task: TaskId,
    pub(crate) lane: LaneId,
    pub(crate) path: Arc<str>,
    pub(crate) attempt: u32,
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
        self.core.tasks.claims.hold(task, held.clone());
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
        let wanted = Wanted { tenant, queues, worker: worker.into(), max };
        let (place, answer, looks) = core.tasks.hall.enter(wanted, core.shelf_time());
        let mut waiter = Waiter { core, place, answer };
        if looks {
            core.look_for(tenant);
        }
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
}

impl Tasks {
    /// The task has ended.
    fn forget(&self, task: TaskId) {
        self.held().remove(&task);
        self.unwanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
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
        let lay = self.tasks.hall.withdraw(task, self.now());
        let error = Error::new(Class::Cancelled, "cancelled", "the task was withdrawn before anybody claimed it");
        let answer = Answer::Failed(Failure::certain(error));
        let core = Arc::clone(self);
        let deliver = move |core: &Core, answer: Answer| {
            if core.letters.take(task.uuid()) {
                let event = answer.event(path, attempt, core.now());
                core.deliver(Deliver::new(tenant, run, event).from(Source::Task(task, lane, Remember::Already)));
            }
        };
        if lay {
            return deliver(self, answer);
        }
        self.spawn(async move {
            match core.store.withdraw_task(tenant, task, payload::json(&answer)).await {
                // Its row says so as well, until the run has taken it.
                Ok(true) => deliver(&core, answer),
                Ok(false) => {}
                // The run's own grace time ends the wait.
                Err(error) => tracing::warn!(%task, %error, "a task could not be withdrawn"),
            }
        });
    }

    /// A task is on disk that was promised to a claim.
    pub(crate) fn hand(self: &Arc<Core>, offered: Offered, to: Promised) {
        let Promised { holder, reserved, .. } = to;
        let (held, task) = offered.claimed(holder);
        self.tasks.claims.hold(task.id, held);
        self.release(reserved.hand(task));
    }

    /// A task is on disk by its run's journal alone, and there for whoever comes next.
    pub(crate) fn lay(self: &Arc<Core>, offered: Offered) -> Lying {
        let (lying, orphans) = self.tasks.hall.lay(offered, self.shelf_time());
        self.release(orphans);
        lying
    }

    /// A task of that queue is on disk with a row: claims look for it.
    pub(crate) fn stored_task(self: &Arc<Core>, tenant: TenantKey, lane: LaneId, queue: &Arc<str>) {
        if self.tasks.hall.stored(tenant, queue) {
            self.look_for(tenant);
        }
        self.store.hint_tasks_elsewhere(lane);
    }

    /// The time, while tasks without rows may be taken: another node that took their runs over would know nothing of it.
    fn shelf_time(&self) -> Option<Timestamp> {
        (self.store.is_alone() && self.store.lease_holds()).then(|| self.now())
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
        let mut unwritten = None;
        for run in runs {
            unwritten = self.write_handed_of(run).await.err().or(unwritten);
        }
        let holdings = orphans.iter().map(|(task, held)| (held.tenant, Holding { task: *task, token: held.token }));
        self.store.release_tasks(holdings.collect()).await?;
        unwritten.map_or(Ok(()), Err)
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
                self.tasks.claims.hold(view.id, held);
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
            let orphans = self.tasks.hall.looked(place, found, self.shelf_time());
            self.release(orphans);
        }
    }
}
