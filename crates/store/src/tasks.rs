//! Tasks for outside workers: claimed with a lease, kept alive by heartbeats, completed or failed under their token.
//!
//! Tasks are offered and closed in the commits of their runs ([`crate::RowChange`]). What a worker does is a write of
//! its own, and the run's owner takes the result from [`Store::finished_tasks`]. Invariant: whoever's token is not the
//! one of the lease changes nothing.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::{
    id::{RunId, TaskId, TenantKey},
    status::TaskStatus,
};

use crate::{
    Hint, LaneId, StoreError,
    database::{Dialect, Row, Statement, Tx, Value},
    runs::word,
    store::Store,
};

/// How many tasks one claim takes at most.
pub const CLAIM_MAX: usize = 1_000;

/// Who claims, from where, and how much.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The queues to look in.
    pub queues: Vec<String>,
    /// The worker's name for itself.
    pub worker: String,
    /// How many at most.
    pub max: usize,
}

/// A task that a worker holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTask {
    /// Its id.
    pub id: TaskId,
    /// Names this claim: heartbeats and the result need it.
    pub token: Uuid,
    /// The run it is for.
    pub run: RunId,
    /// The path in it.
    pub path: String,
    /// Which attempt of the step.
    pub attempt: i32,
    /// Its queue.
    pub queue: String,
    /// What kind of work.
    pub name: String,
    /// What the worker gets.
    pub payload: Vec<u8>,
    /// Until when the claim holds without a heartbeat.
    pub lease_until: Timestamp,
}

/// A claim, by task and token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holding {
    /// The task.
    pub task: TaskId,
    /// The token that the claim gave.
    pub token: Uuid,
}

/// Who holds a claimed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLease {
    /// The token that the claim gave.
    pub token: Uuid,
    /// The name that it was claimed under.
    pub worker: String,
}

/// What a worker says in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskResult {
    /// The claim it speaks for.
    pub holding: Holding,
    /// Whether it worked.
    pub status: TaskEnd,
    /// The output, or the error: the engine's own bytes.
    pub output: Vec<u8>,
}

/// The two ends that a worker can give a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    /// It worked.
    Completed,
    /// It did not.
    Failed,
}

impl TaskEnd {
    /// The status that the task has then.
    pub const fn status(self) -> TaskStatus {
        match self {
            TaskEnd::Completed => TaskStatus::Completed,
            TaskEnd::Failed => TaskStatus::Failed,
        }
    }
}

/// A task that is over for its worker; its run has not taken the result yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedTask {
    /// Whose.
    pub tenant: TenantKey,
    /// Its id.
    pub id: TaskId,
    /// The lane of its run.
    pub lane: LaneId,
    /// Its run.
    pub run: RunId,
    /// The path in it.
    pub path: String,
    /// Which attempt of the step.
    pub attempt: i32,
    /// How it ended.
    pub status: TaskStatus,
    /// The output or the error that the worker gave; none if too many leases were lost.
    pub output: Option<Vec<u8>>,
    /// How many leases were lost.
    pub lost: i32,
}

/// A task as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Its run.
    pub run: RunId,
    /// The path in it.
    pub path: String,
    /// Its queue.
    pub queue: String,
    /// What kind of work.
    pub name: String,
    /// Higher goes first.
    pub priority: i32,
    /// Where it stands.
    pub status: TaskStatus,
    /// How many leases were lost.
    pub lost: i32,
    /// Who holds it, and until when.
    pub holder: Option<(String, Timestamp)>,
    /// When it was offered.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What an expired lease did to its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostTask {
    /// Whose.
    pub tenant: TenantKey,
    /// The task.
    pub task: TaskId,
    /// The lane of its run.
    pub lane: LaneId,
    /// Back in its queue, or failed for good.
    pub status: TaskStatus,
    /// Its run.
    pub run: RunId,
    /// The path in it.
    pub path: String,
    /// Which attempt of the step.
    pub attempt: i32,
}

const READY: &str = "select id from tasks where tenant_key = $1 and queue = $2 and status = 'pending' \
                     and available_at <= $3 order by prio desc, id limit $4";
const CLAIMED: &str = "id, run_id, path, attempt, queue, name, payload, lease_ms, prio";
const PUT_LEASE: &str = "insert into task_leases (tenant_key, task_id, claim_token, worker, claimed_at, lease_until) \
                         values ($1, $2, $3, $4, $5, $6)";

/// PostgreSQL claims with one statement: rows that another claim is taking are passed over.
const CLAIM_POSTGRES: &str = "\
with ready as ( \
  select t.id, t.prio from unnest($2::text[]) as q(queue) cross join lateral ( \
    select id, prio from tasks where tenant_key = $1 and queue = q.queue and status = 'pending' \
    and available_at <= $3 order by prio desc, id limit $4 for update skip locked) t \
  order by t.prio desc, t.id limit $4), \
taken as ( \
  update tasks set status = 'claimed' from ready where tasks.tenant_key = $1 and tasks.id = ready.id \
  returning tasks.id, run_id, path, attempt, queue, name, payload, lease_ms, tasks.prio), \
leased as ( \
  insert into task_leases (tenant_key, task_id, claim_token, worker, claimed_at, lease_until) \
  select $1, id, gen_random_uuid(), $5, $3, $3 + lease_ms * interval '1 millisecond' from taken \
  returning task_id, claim_token) \
select id, run_id, path, attempt, queue, name, payload, lease_ms, prio, claim_token \
from taken join leased on leased.task_id = taken.id order by prio desc, id";

fn claimed(row: &Row, now: Timestamp, token: Uuid) -> Result<ClaimedTask, StoreError> {
    let lease = Duration::from_millis(row.int(7)?.max(0).unsigned_abs());
    Ok(ClaimedTask {
        id: row.id(0)?,
        token,
        run: row.id(1)?,
        path: row.string(2)?,
        attempt: row.int32(3)?,
        queue: row.string(4)?,
        name: row.string(5)?,
        payload: row.bytes(6)?,
        lease_until: now.after(lease),
    })
}

/// SQLite claims on the writer thread, where nobody else claims meanwhile.
async fn claim_sqlite(
    tx: &mut Tx,
    tenant: TenantKey,
    claim: &Claim,
    now: Timestamp,
) -> Result<Vec<ClaimedTask>, StoreError> {
    let mut ready = Vec::new();
    for queue in &claim.queues {
        let sql = READY.replace("select id", "select id, prio");
        let params = vec![tenant.into(), queue.into(), now.into(), (claim.max as i64).into()];
        for row in tx.query(sql, params).await? {
            ready.push((-row.int(1)?, row.uuid(0)?));
        }
    }
    ready.sort_unstable();
    let mut tasks = Vec::new();
    for (_, id) in ready.into_iter().take(claim.max) {
        let sql = format!("update tasks set status = 'claimed' where tenant_key = $1 and id = $2 returning {CLAIMED}");
        let rows = tx.query(sql, vec![tenant.into(), id.into()]).await?;
        let Some(row) = rows.first() else { continue };
        let task = claimed(row, now, Uuid::now_v7())?;
        let params = vec![
            tenant.into(),
            id.into(),
            task.token.into(),
            (&claim.worker).into(),
            Value::Instant(now),
            Value::Instant(task.lease_until),
        ];
        tx.execute(PUT_LEASE, params).await?;
        tasks.push(task);
    }
    Ok(tasks)
}

const HEARTBEAT: &str = "update task_leases set lease_until = $4 where tenant_key = $1 and task_id = $2 and claim_token = $3 \
                         and exists (select 1 from tasks t where t.tenant_key = $1 and t.id = $2 and t.status = 'claimed') \
                         returning task_id";
const LEASE_MS: &str = "select lease_ms from tasks where tenant_key = $1 and id = $2";
const LEASE: &str = "select claim_token, worker from task_leases where tenant_key = $1 and task_id = $2";
const END_LEASE: &str = "delete from task_leases where tenant_key = $1 and task_id = $2 and claim_token = $3";
const FINISH: &str = "update tasks set status = $3, output = $4, finished_at = $5, answer_token = $6, answer_hash = $7 \
                      where tenant_key = $1 and id = $2 and status = 'claimed' returning lane_id";
const FINISHED: &str = "tenant_key, id, lane_id, run_id, path, attempt, status, output, lost";

fn finished(row: &Row) -> Result<FinishedTask, StoreError> {
    Ok(FinishedTask {
        tenant: row.tenant(0)?,
        id: row.id(1)?,
        lane: LaneId(row.int32(2)?),
        run: row.id(3)?,
        path: row.string(4)?,
        attempt: row.int32(5)?,
        status: word(row, 6, TaskStatus::parse)?,
        output: row.opt(7, Row::bytes)?,
        lost: row.int32(8)?,
    })
}

const EXPIRED: &str = "select tenant_key, task_id, claim_token from task_leases where lease_until < $1 limit $2";
const LOSE: &str = "update tasks set lost = lost + 1, \
                    status = case when lost + 1 >= lost_max then 'failed' else 'pending' end, \
                    finished_at = case when lost + 1 >= lost_max then $3 else finished_at end \
                    where tenant_key = $1 and id = $2 and status = 'claimed' returning lane_id, status, run_id, path, attempt";

fn answer_hash(output: &[u8]) -> [u8; 32] {
    Sha256::digest(output).into()
}

impl Store {
    /// Claims what is ready in these queues, highest priority first, then oldest.
    pub async fn claim_tasks(&self, tenant: TenantKey, mut claim: Claim) -> Result<Vec<ClaimedTask>, StoreError> {
        claim.max = claim.max.clamp(1, CLAIM_MAX);
        let now = self.now();
        if self.database().dialect() == Dialect::Sqlite {
            return self
                .database()
                .transact(move |tx| Box::pin(async move { claim_sqlite(tx, tenant, &claim, now).await }))
                .await;
        }
        let queues = claim.queues.iter().map(|queue| Arc::from(queue.as_str())).collect();
        let params =
            vec![tenant.into(), Value::Texts(queues), now.into(), (claim.max as i64).into(), (&claim.worker).into()];
        let written = self.database().execute(CLAIM_POSTGRES, params).await?;
        written.rows.iter().map(|row| claimed(row, now, row.uuid(9)?)).collect()
    }

    /// Prolongs claims; gives those that still hold and until when. The others belong to somebody else, or are over.
    pub async fn heartbeat_tasks(
        &self,
        tenant: TenantKey,
        holdings: Vec<Holding>,
    ) -> Result<Vec<(TaskId, Timestamp)>, StoreError> {
        let now = self.now();
        self.database()
            .transact(move |tx| {
                Box::pin(async move {
                    let mut alive = Vec::new();
                    for holding in holdings {
                        let found = tx.query(LEASE_MS, vec![tenant.into(), holding.task.into()]).await?;
                        let Some(row) = found.first() else { continue };
                        let until = now.after(Duration::from_millis(row.int(0)?.max(0).unsigned_abs()));
                        let params =
                            vec![tenant.into(), holding.task.into(), holding.token.into(), Value::Instant(until)];
                        if !tx.query(HEARTBEAT, params).await?.is_empty() {
                            alive.push((holding.task, until));
                        }
                    }
                    Ok(alive)
                })
            })
            .await
    }

    /// Who holds a claimed task.
    pub async fn task_lease(&self, tenant: TenantKey, task: TaskId) -> Result<Option<TaskLease>, StoreError> {
        let found = self.database().query(LEASE, vec![tenant.into(), task.into()]).await?;
        found.first().map(|row| Ok(TaskLease { token: row.uuid(0)?, worker: row.string(1)? })).transpose()
    }

    /// Takes what workers say in the end, durably; gives for each whether its claim still held.
    pub async fn finish_tasks(&self, tenant: TenantKey, results: Vec<TaskResult>) -> Result<Vec<bool>, StoreError> {
        let now = self.now();
        let (held, lanes) = self
            .database()
            .transact(move |tx| {
                Box::pin(async move {
                    let (mut held, mut lanes) = (Vec::with_capacity(results.len()), Vec::new());
                    for result in results {
                        let Holding { task, token } = result.holding;
                        if tx.execute(END_LEASE, vec![tenant.into(), task.into(), token.into()]).await? == 0 {
                            held.push(false);
                            continue;
                        }
                        let status = result.status.status().as_str();
                        let hash = answer_hash(&result.output);
                        let params = vec![
                            tenant.into(),
                            task.into(),
                            status.into(),
                            result.output.into(),
                            now.into(),
                            token.into(),
                            Value::Bytes(hash.into()),
                        ];
                        let rows = tx.query(FINISH, params).await?;
                        held.push(!rows.is_empty());
                        lanes.extend(rows.first().map(|row| row.int32(0).map(LaneId)).transpose()?);
                    }
                    Ok((held, lanes))
                })
            })
            .await?;
        lanes.into_iter().for_each(|lane| self.hint(lane, Hint::Inbox));
        Ok(held)
    }

    /// Whether a worker ended the task with just this answer, under that token if there is one.
    pub async fn was_answered(
        &self,
        tenant: TenantKey,
        task: TaskId,
        token: Option<Uuid>,
        output: &[u8],
    ) -> Result<bool, StoreError> {
        let sql = "select answer_token from tasks where tenant_key = $1 and id = $2 and answer_hash = $3";
        let params = vec![tenant.into(), task.into(), Value::Bytes(answer_hash(output).into())];
        let Some(row) = self.database().query_opt(sql, params).await? else { return Ok(false) };
        let given = row.uuid(0)?;
        Ok(token.is_none_or(|token| token == given))
    }

    /// Puts tasks whose lease ran out back into their queue, or fails those that were lost too often.
    pub async fn expire_tasks(&self, limit: i64) -> Result<Vec<LostTask>, StoreError> {
        let now = self.now();
        let expired = self.database().query(EXPIRED, vec![Value::Instant(now), limit.clamp(1, 500).into()]).await?;
        if expired.is_empty() {
            return Ok(Vec::new());
        }
        let lost: Vec<LostTask> = self
            .database()
            .transact(move |tx| {
                Box::pin(async move {
                    let mut lost = Vec::new();
                    for row in expired {
                        let (tenant, task, token) = (row.tenant(0)?, row.id(1)?, row.uuid(2)?);
                        // A heartbeat may have come since: then the lease is not over.
                        let sql = format!("{END_LEASE} and lease_until < $4");
                        let params = vec![tenant.into(), Value::from(task), token.into(), Value::Instant(now)];
                        if tx.execute(sql, params).await? == 0 {
                            continue;
                        }
                        let rows = tx.query(LOSE, vec![tenant.into(), task.into(), now.into()]).await?;
                        if let Some(row) = rows.first() {
                            let status = word(row, 1, TaskStatus::parse)?;
                            lost.push(LostTask {
                                tenant,
                                task,
                                lane: LaneId(row.int32(0)?),
                                status,
                                run: row.id(2)?,
                                path: row.string(3)?,
                                attempt: row.int32(4)?,
                            });
                        }
                    }
                    Ok(lost)
                })
            })
            .await?;
        for task in &lost {
            self.hint(task.lane, if task.status == TaskStatus::Pending { Hint::Tasks } else { Hint::Inbox });
        }
        Ok(lost)
    }

    /// Results for runs of these lanes that no commit has taken yet, oldest first.
    pub async fn finished_tasks(&self, lanes: &[LaneId], limit: i64) -> Result<Vec<FinishedTask>, StoreError> {
        let sql = format!(
            "select {FINISHED} from tasks where lane_id {} and status in ('completed', 'failed') and not consumed \
             order by id limit $2",
            self.database().dialect().in_ints(1)
        );
        let lanes = Value::Ints(lanes.iter().map(|lane| i64::from(lane.0)).collect());
        let rows = self.database().query(sql, vec![lanes, limit.clamp(1, 10_000).into()]).await?;
        rows.iter().map(finished).collect()
    }

    /// Takes a task back that nobody has claimed; whether there was one.
    pub async fn withdraw_task(&self, tenant: TenantKey, id: TaskId) -> Result<bool, StoreError> {
        let sql = "update tasks set status = 'failed', finished_at = $3, consumed = $4 \
                   where tenant_key = $1 and id = $2 and status = 'pending'";
        let params = vec![tenant.into(), id.into(), self.now().into(), true.into()];
        Ok(self.database().execute(sql, params).await?.count > 0)
    }

    /// One task and whether it is over.
    pub async fn task(&self, tenant: TenantKey, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
        Ok(self.select_tasks(tenant, "and t.id = $2", vec![id.into()]).await?.into_iter().next())
    }

    /// Tasks in one status, newest first, before a task of the page before.
    pub async fn list_tasks(
        &self,
        tenant: TenantKey,
        status: TaskStatus,
        after: Option<TaskId>,
        limit: i64,
    ) -> Result<Vec<TaskRow>, StoreError> {
        let after = after.map_or(Uuid::max(), |id| id.uuid());
        let params = vec![status.as_str().into(), after.into(), limit.clamp(1, 1_000).into()];
        self.select_tasks(tenant, "and t.status = $2 and t.id < $3 order by t.id desc limit $4", params).await
    }

    /// The tasks of a run, oldest first.
    pub async fn tasks_of_run(&self, tenant: TenantKey, run: RunId) -> Result<Vec<TaskRow>, StoreError> {
        self.select_tasks(tenant, "and t.run_id = $2 order by t.id", vec![run.into()]).await
    }

    async fn select_tasks(
        &self,
        tenant: TenantKey,
        rest: &str,
        params: Vec<Value>,
    ) -> Result<Vec<TaskRow>, StoreError> {
        let sql = format!(
            "select t.id, t.run_id, t.path, t.queue, t.name, t.prio, t.status, t.lost, l.worker, l.lease_until, \
             t.created_at, t.finished_at from tasks t \
             left join task_leases l on l.tenant_key = t.tenant_key and l.task_id = t.id where t.tenant_key = $1 {rest}"
        );
        let params = std::iter::once(tenant.into()).chain(params).collect();
        let task = |row: &Row| {
            let worker = row.opt(8, Row::string)?;
            Ok(TaskRow {
                id: row.id(0)?,
                run: row.id(1)?,
                path: row.string(2)?,
                queue: row.string(3)?,
                name: row.string(4)?,
                priority: row.int32(5)?,
                status: word(row, 6, TaskStatus::parse)?,
                lost: row.int32(7)?,
                holder: worker.map(|worker| Ok::<_, StoreError>((worker, row.time(9)?))).transpose()?,
                created_at: row.time(10)?,
                finished_at: row.opt(11, Row::time)?,
            })
        };
        self.database().query(sql, params).await?.iter().map(task).collect()
    }

    /// Marks results as taken whose runs are over or gone, so that nobody looks at them again.
    pub async fn drop_finished_tasks(&self, tasks: Vec<(TenantKey, TaskId)>) -> Result<(), StoreError> {
        let sql = "update tasks set consumed = $3, output = null where tenant_key = $1 and id = $2";
        let statements =
            tasks.into_iter().map(|(tenant, task)| Statement::new(sql, vec![tenant.into(), task.into(), true.into()]));
        self.database().write(statements.collect()).await.map(|_| ())
    }
}
