//! Tasks for outside workers: claimed with a lease, kept alive by heartbeats, answered once.
//!
//! A worker's answer is durable in the task's row before the run is told, and the run's transition marks the row as
//! taken: an answer that was acknowledged is never lost. A lease that runs out gives the task back to its queue, and
//! the run counts it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};
use windlass_definition::{Class, Error, Timestamp, Value};
use windlass_engine::{
    Event,
    event::Failure,
    id::{RunId, TaskId, TenantKey},
    status::TaskStatus,
};
use windlass_store::{Claim, FinishedTask, Holding, LaneId, StoreError, TaskEnd, TaskResult};

use crate::{
    core::Core,
    error::RuntimeError,
    live_run::Source,
    metrics::add,
    payload,
    request::{ClaimRequest, Proof, TaskFilter, TaskRequest},
    runtime::Runtime,
    turner::Deliver,
    views::{ClaimedTask, Page, TaskView},
};

/// Between two looks at a queue that nobody was told about.
const POLL: Duration = Duration::from_secs(1);
const PAGE_ROWS: i64 = 1_000;
const QUEUES_MAX: usize = 100;
/// Leases that end in one look; the next look is soon.
/// Pages of tasks that one list looks through for a queue.
const PAGES_MAX: usize = 10;
const EXPIRE_ROWS: i64 = 500;

/// Who waits for tasks, by tenant and queue.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    waiting: Mutex<HashMap<TenantKey, Arc<Notify>>>,
    /// Claimed tasks that their runs want no more: their workers are told with the next heartbeat.
    unwanted: Mutex<HashSet<TaskId>>,
}

/// Tasks that are unwanted and whose workers do not ask; the oldest are forgotten with all others.
const UNWANTED_MAX: usize = 100_000;

impl Tasks {
    fn bell(&self, tenant: TenantKey) -> Arc<Notify> {
        Arc::clone(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default())
    }

    /// A task is there for whoever waits.
    pub(crate) fn offered(&self, tenant: TenantKey) {
        if let Some(bell) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            bell.notify_waiters();
        }
    }

    /// Tasks may be there for anybody.
    pub(crate) fn wake_all(&self) {
        for bell in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bell.notify_waiters();
        }
    }
}

/// A task that is no longer wanted.
pub(crate) struct Withdrawal {
    pub(crate) task: TaskId,
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

impl Runtime {
    /// The claim that a worker speaks of.
    async fn holding(&self, claim: &TaskRequest) -> Result<Holding, RuntimeError> {
        let task = claim.task;
        let token = match &claim.proof {
            Proof::Token(token) => {
                token.parse().map_err(|_| RuntimeError::invalid("/token", "is not what the claim gave"))?
            }
            Proof::Worker(_) | Proof::Holder => {
                let held = self.core.store.task_lease(claim.tenant, task).await?.ok_or_else(|| not_held(task))?;
                match &claim.proof {
                    Proof::Worker(worker) if *worker != held.worker => return Err(not_held(task)),
                    _ => held.token,
                }
            }
        };
        Ok(Holding { task, token })
    }

    /// Claims tasks for a worker; waits for the first one for as long as the request says.
    ///
    /// # Errors
    /// No queue is named, or the database does not answer.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<ClaimedTask>, RuntimeError> {
        let ClaimRequest { tenant, queues, worker, max, wait } = request;
        if queues.is_empty() || queues.len() > QUEUES_MAX {
            return Err(RuntimeError::invalid("/queues", format!("has to name 1 to {QUEUES_MAX} queues")));
        }
        let max = max.clamp(1, self.core.settings.claim_max);
        let until = Instant::now() + wait.min(self.core.settings.claim_wait_max);
        let bell = self.core.tasks.bell(tenant);
        loop {
            // The bell is listened to before the look, so that a task offered in between rings.
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let claim = Claim { queues: queues.clone(), worker: worker.clone(), max };
            let claimed = self.core.store.claim_tasks(tenant, claim).await?;
            if !claimed.is_empty() || Instant::now() >= until || self.core.is_draining() {
                add(&self.core.metrics.tasks_claimed, claimed.len() as u64);
                return claimed.into_iter().map(claimed_view).collect();
            }
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep(POLL) => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
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
        Ok(Page { items: items.into_iter().map(task_view).collect(), next })
    }

    /// Keeps a claim alive.
    ///
    /// # Errors
    /// The claim does not hold any more.
    pub async fn heartbeat(&self, claim: TaskRequest) -> Result<HeartbeatAnswer, RuntimeError> {
        let holding = self.holding(&claim).await?;
        let alive = self.core.store.heartbeat_tasks(claim.tenant, vec![holding]).await?;
        let (_, lease_until) = alive.into_iter().next().ok_or_else(|| not_held(claim.task))?;
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
        self.answer_task(claim, TaskEnd::Completed, Answer::Completed(output)).await
    }

    /// Fails a task; answers once that is on disk. Whether its effect may have happened is not known. The same answer
    /// given again is a success as well.
    ///
    /// # Errors
    /// The claim does not hold any more.
    pub async fn fail(&self, claim: TaskRequest, error: Error) -> Result<(), RuntimeError> {
        self.answer_task(claim, TaskEnd::Failed, Answer::Failed(Failure { error, unknown: true })).await
    }

    async fn answer_task(&self, claim: TaskRequest, status: TaskEnd, answer: Answer) -> Result<(), RuntimeError> {
        let output = payload::json(&answer);
        let refused = match self.holding(&claim).await {
            Ok(holding) => {
                let result = TaskResult { holding, status, output: output.clone() };
                // The store hints at it, and the run is told by whoever owns it.
                let held = self.core.store.finish_tasks(claim.tenant, vec![result]).await?;
                if held.first() == Some(&true) {
                    return Ok(());
                }
                not_held(claim.task)
            }
            Err(error @ RuntimeError::Conflict { .. }) => error,
            Err(error) => return Err(error),
        };
        // A worker that did not hear the first answer says the same again.
        let token = match &claim.proof {
            Proof::Token(token) => token.parse().ok(),
            Proof::Worker(_) | Proof::Holder => None,
        };
        let repeated = self.core.store.was_answered(claim.tenant, claim.task, token, &output).await?;
        if repeated { Ok(()) } else { Err(refused) }
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
        worker: row.holder.as_ref().map(|(worker, _)| worker.clone()),
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

fn claimed_view(row: windlass_store::ClaimedTask) -> Result<ClaimedTask, RuntimeError> {
    let body: Value = payload::deep(&row.payload)
        .map_err(|error| StoreError::damaged(format!("the input of task {}: {error}", row.id)))?;
    Ok(ClaimedTask {
        id: row.id,
        token: row.token.to_string(),
        queue: row.queue,
        run_id: row.run,
        path: row.path.into(),
        attempt: u32::try_from(row.attempt).unwrap_or(0),
        key: body.get("key").and_then(Value::as_str).unwrap_or_default().into(),
        input: body.get("input").cloned().unwrap_or_default(),
        lease_until: row.lease_until,
    })
}

fn deliver(core: &Core, ended: &FinishedTask, answer: Answer) {
    core.tasks.unwanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended.id);
    let result = match answer {
        Answer::Completed(output) => Ok(output),
        Answer::Failed(failure) => Err(failure),
    };
    let event = Event::StepEnded {
        path: ended.path.as_str().into(),
        attempt: u32::try_from(ended.attempt).unwrap_or(0),
        started_at: core.now(),
        result,
    };
    core.deliver(Deliver::new(ended.tenant, ended.run, event).from(Source::Task(ended.id, ended.lane)));
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

/// Gives tasks back to their queues whose workers were silent for too long, and tells their runs.
pub(crate) async fn expire_leases(core: &Arc<Core>) -> Result<(), RuntimeError> {
    let lost = core.store.expire_tasks(EXPIRE_ROWS).await?;
    add(&core.metrics.tasks_lost, lost.len() as u64);
    for lost in lost {
        let event = Event::StepLost { path: lost.path.into(), attempt: u32::try_from(lost.attempt).unwrap_or(0) };
        core.deliver(Deliver::new(lost.tenant, lost.run, event));
        core.tasks.offered(lost.tenant);
    }
    Ok(())
}

impl Core {
    /// A run wants a task no more: nobody gets it any more, or its worker is told.
    pub(crate) fn withdraw_task(self: &Arc<Core>, tenant: TenantKey, run: RunId, withdrawal: Withdrawal) {
        let Withdrawal { task, path, attempt } = withdrawal;
        {
            let mut unwanted = self.tasks.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
            if unwanted.len() >= UNWANTED_MAX {
                unwanted.clear();
            }
            unwanted.insert(task);
        }
        let core = Arc::clone(self);
        self.spawn(async move {
            match core.store.withdraw_task(tenant, task).await {
                Ok(true) => {
                    let error =
                        Error::new(Class::Cancelled, "cancelled", "the task was withdrawn before anybody claimed it");
                    let result = Err(Failure::certain(error));
                    let event = Event::StepEnded { path, attempt, started_at: core.now(), result };
                    core.deliver(Deliver::new(tenant, run, event));
                }
                Ok(false) => {}
                // The run's own grace time ends the wait.
                Err(error) => tracing::warn!(%task, %error, "a task could not be withdrawn"),
            }
        });
    }
}
