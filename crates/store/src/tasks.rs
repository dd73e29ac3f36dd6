//! Tasks for outside workers: claimed with a lease, kept alive by heartbeats, completed or failed under their token.
//!
//! Tasks are offered and closed in the commits of their runs ([`crate::RowChange`]): a worker's answer goes straight into
//! the journal where its run is moved. What else a worker does is a write of its own, and an answer that reaches another
//! node waits in the task's row until the run's owner takes it from [`Store::finished_tasks`]. A task is there until its
//! run has taken its end. Invariant: whoever's token is not the one of the lease changes nothing.

pub(crate) mod floors;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

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
    tasks::floors::Position,
};

/// How many tasks one claim takes at most.
pub const CLAIM_MAX: usize = 1_000;

/// Who claims, from where, and how much.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The queues to look in.
    pub queues: Vec<String>,
    /// The workers that wait, each as often as it wants tasks: the first task is the first one's.
    pub workers: Vec<Arc<str>>,
}

/// A task that a worker holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTask {
    /// Its id.
    pub id: TaskId,
    /// Who holds it: the place in [`Claim::workers`].
    pub place: usize,
    /// Names this claim: heartbeats and the result need it.
    pub token: Uuid,
    /// The lane of its run.
    pub lane: LaneId,
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

/// A claim that holds, or did until nobody renewed it, and the step that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLease {
    /// The token that the claim gave.
    pub token: Uuid,
    /// The name that it was claimed under.
    pub worker: String,
    /// Until when it holds without a heartbeat.
    pub until: Timestamp,
    /// The lane of the task's run.
    pub lane: LaneId,
    /// The task's run.
    pub run: RunId,
    /// The path in it.
    pub path: String,
    /// Which attempt of the step.
    pub attempt: i32,
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
    /// SHA-256 of that: the same answer given again is known by it.
    pub hash: [u8; 32],
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

const READY: &str = "select rank, task_id from task_ready where tenant_key = $1 and queue = $2 \
                     order by rank, task_id limit $3";
const TAKE: &str = "delete from task_ready where tenant_key = $1 and queue = $2 and rank = $3 and task_id = $4";
const CLAIMED: &str = "select id, run_id, path, attempt, queue, name, payload, lease_ms, lane_id from tasks \
                       where tenant_key = $1 and id = $2";
const PUT_LEASE: &str = "insert into task_leases (tenant_key, task_id, run_id, claim_token, worker, lease_ms, lease_until) \
                         values ($1, $2, $3, $4, $5, $6, $7)";

/// PostgreSQL claims for all who wait with one statement: rows that another claim is taking are passed over. Whose they are
/// is handed from part to part: where a join has the tenant as a given value, one that was planned while the table was empty
/// goes through all of the tenant's tasks for each (measured: 939 claims/s in place of 26,312). Each place takes its worker
/// and its token out of the arrays: joined to them as rows, each task would go through all workers. Each queue is looked at
/// from behind a position of it on.
const CLAIM_POSTGRES: &str = "\
with ready as ( \
  select t.* from unnest($2::text[], $7::integer[], $8::uuid[]) as q(queue, rank, task_id) cross join lateral ( \
    select ctid as at, tenant_key, queue, rank, task_id from task_ready where tenant_key = $1 and queue = q.queue \
    and (rank, task_id) > (q.rank, q.task_id) order by rank, task_id limit $4 for update skip locked) t \
  order by t.rank, t.task_id limit $4), \
gone as ( \
  delete from task_ready d using ready r where d.ctid = r.at returning d.tenant_key, d.rank, d.task_id), \
placed as (select tenant_key, rank, task_id, row_number() over (order by rank, task_id) as place from gone), \
taken as materialized ( \
  select t.id, t.run_id, t.path, t.attempt, t.queue, t.name, t.payload, t.lease_ms, t.lane_id, \
  ($6::uuid[])[p.place] as token, p.place, ($5::text[])[p.place] as worker, p.rank from placed p \
  join tasks t on t.tenant_key = p.tenant_key and t.id = p.task_id), \
leased as ( \
  insert into task_leases (tenant_key, task_id, run_id, claim_token, worker, lease_ms, lease_until) \
  select $1, id, run_id, token, worker, lease_ms, $3::timestamptz + lease_ms * interval '1 millisecond' from taken) \
select id, run_id, path, attempt, queue, name, payload, lease_ms, lane_id, token, place, rank from taken order by place";

fn claimed(row: &Row, now: Timestamp, token: Uuid, place: usize) -> Result<ClaimedTask, StoreError> {
    let lease = Duration::from_millis(row.int(7)?.max(0).unsigned_abs());
    Ok(ClaimedTask {
        id: row.id(0)?,
        place,
        token,
        lane: LaneId(row.int32(8)?),
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
        let params = vec![tenant.into(), queue.into(), (claim.workers.len() as i64).into()];
        for row in tx.query(READY, params).await? {
            ready.push((row.int(0)?, row.uuid(1)?, queue));
        }
    }
    ready.sort_unstable();
    let mut tasks = Vec::new();
    for ((rank, id, queue), worker) in ready.into_iter().zip(&claim.workers) {
        tx.execute(TAKE, vec![tenant.into(), queue.into(), rank.into(), id.into()]).await?;
        let rows = tx.query(CLAIMED, vec![tenant.into(), id.into()]).await?;
        let Some(row) = rows.first() else { continue };
        let task = claimed(row, now, Uuid::now_v7(), tasks.len())?;
        let params = vec![
            tenant.into(),
            id.into(),
            task.run.into(),
            task.token.into(),
            worker.as_ref().into(),
            row.int(7)?.into(),
            Value::Instant(task.lease_until),
        ];
        tx.execute(PUT_LEASE, params).await?;
        tasks.push(task);
    }
    Ok(tasks)
}

const LEASE: &str = "select l.claim_token, l.worker, l.lease_until, t.lane_id, t.run_id, t.path, t.attempt \
                     from task_leases l join tasks t on t.tenant_key = l.tenant_key and t.id = l.task_id \
                     where l.tenant_key = $1 and l.task_id = $2";
const END_LEASE: &str = "delete from task_leases where tenant_key = $1 and task_id = $2 and claim_token = $3";
/// Ends a task for whoever holds it; the lease goes with the statement behind it.
const FINISH: &str = "update tasks set status = $4, output = $5, finished_at = $6 \
                      where tenant_key = $1 and id = $2 and status = 'pending' and exists (select 1 from task_leases l \
                      where l.tenant_key = $1 and l.task_id = $2 and l.claim_token = $3) returning lane_id";
const REMEMBER: &str = "insert into task_answers (tenant_key, task_id, run_id, token, hash) \
                        select tenant_key, task_id, run_id, claim_token, $4 from task_leases \
                        where tenant_key = $1 and task_id = $2 and claim_token = $3 on conflict do nothing";
/// Lets a task be claimed again whose lease was the one of this token; the lease goes with the statement behind it.
const RELEASE: &str = "insert into task_ready (tenant_key, queue, rank, task_id) \
                       select t.tenant_key, t.queue, -t.prio, t.id from tasks t \
                       where t.tenant_key = $1 and t.id = $2 and t.status = 'pending' and exists (select 1 from task_leases l \
                       where l.tenant_key = $1 and l.task_id = $2 and l.claim_token = $3)";
/// The same for a lease that is gone already.
const MAKE_READY: &str = "insert into task_ready (tenant_key, queue, rank, task_id) \
                          select tenant_key, queue, -prio, id from tasks where tenant_key = $1 and id = $2";
const UNREADY: &str = "delete from task_ready where (tenant_key, queue, rank, task_id) in \
                       (select tenant_key, queue, -prio, id from tasks where tenant_key = $1 and id = $2)";
/// Ends a task that nobody holds, behind [`UNREADY`]: if it was claimed meanwhile, its lease is there.
const WITHDRAW: &str = "update tasks set status = 'failed', finished_at = $3, output = $4 \
                        where tenant_key = $1 and id = $2 and status = 'pending' and not exists (select 1 from task_leases l \
                        where l.tenant_key = $1 and l.task_id = $2)";
const FINISHED: &str = "tenant_key, id, lane_id, run_id, path, attempt, output, lost";

fn finished(row: &Row) -> Result<FinishedTask, StoreError> {
    Ok(FinishedTask {
        tenant: row.tenant(0)?,
        id: row.id(1)?,
        lane: LaneId(row.int32(2)?),
        run: row.id(3)?,
        path: row.string(4)?,
        attempt: row.int32(5)?,
        output: row.opt(6, Row::bytes)?,
        lost: row.int32(7)?,
    })
}

const EXPIRED: &str = "select tenant_key, task_id, claim_token from task_leases where lease_until < $1 limit $2";
const LOSE: &str = "update tasks set lost = lost + 1, \
                    status = case when lost + 1 >= lost_max then 'failed' else status end, \
                    finished_at = case when lost + 1 >= lost_max then $3 else finished_at end \
                    where tenant_key = $1 and id = $2 and status = 'pending' returning lane_id, status, run_id, path, attempt";

/// What a task's status is: that somebody holds it is in no row but the lease's.
const STATUS: &str = "case when t.status = 'pending' and l.task_id is not null then 'claimed' else t.status end";

impl Store {
    /// Claims what is ready in these queues, highest priority first, then oldest, for all who wait in one transaction.
    pub async fn claim_tasks(&self, tenant: TenantKey, mut claim: Claim) -> Result<Vec<ClaimedTask>, StoreError> {
        claim.workers.truncate(CLAIM_MAX);
        let now = self.now();
        if self.database().dialect() == Dialect::Sqlite {
            return self
                .database()
                .of(tenant)
                .transact(move |tx| Box::pin(async move { claim_sqlite(tx, tenant, &claim, now).await }))
                .await;
        }
        let wanted = claim.workers.len();
        let (mut tasks, whole) = self.look_postgres(tenant, &claim, now).await?;
        if tasks.len() < wanted && !whole {
            claim.queues.iter().for_each(|queue| self.inner.floors.forget((tenant, queue)));
            let rest = Claim { workers: claim.workers.split_off(tasks.len()), ..claim };
            let first = tasks.len();
            match self.look_postgres(tenant, &rest, now).await {
                Ok((more, _)) => tasks.extend(more.into_iter().map(|it| ClaimedTask { place: first + it.place, ..it })),
                // What was claimed is on disk.
                Err(error) if tasks.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(tasks)
    }

    /// Claims what is behind the floors of these queues; and whether there were none.
    async fn look_postgres(
        &self,
        tenant: TenantKey,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(Vec<ClaimedTask>, bool), StoreError> {
        let floors = &self.inner.floors;
        let begun = Instant::now();
        let from: Vec<Position> = claim.queues.iter().map(|queue| floors.of((tenant, queue), begun)).collect();
        let max = claim.workers.len();
        let params = vec![
            tenant.into(),
            Value::Texts(claim.queues.iter().map(|queue| queue.as_str().into()).collect()),
            now.into(),
            (max as i64).into(),
            Value::Texts(claim.workers.clone()),
            Value::Uuids(std::iter::repeat_with(Uuid::now_v7).take(max).collect()),
            Value::Ints(from.iter().map(|it| it.rank.into()).collect()),
            Value::Uuids(from.iter().map(|it| it.task).collect()),
        ];
        let written = self.database().of(tenant).execute(CLAIM_POSTGRES, params).await?;
        let ended = Instant::now();
        let (mut tasks, mut ranks) = (Vec::with_capacity(written.rows.len()), Vec::with_capacity(written.rows.len()));
        for row in &written.rows {
            tasks.push(claimed(row, now, row.uuid(9)?, usize::try_from(row.int(10)? - 1).unwrap_or(0))?);
            ranks.push(row.int32(11)?);
        }
        // With less than it wanted, the next look begins at the beginning.
        let queues = claim.queues.iter().zip(&from).filter(|_| tasks.len() == max);
        for (queue, from) in queues {
            if let Some(last) = tasks.iter().rposition(|task| task.queue == *queue) {
                let last = Position { rank: ranks[last], task: tasks[last].id.uuid() };
                floors.taken((tenant, queue), (*from, last), (begun, ended));
            }
        }
        Ok((tasks, from.iter().all(|from| *from == Position::FIRST)))
    }

    /// Prolongs claims; says of each until when it holds now, if it does.
    pub async fn heartbeat_tasks(
        &self,
        holdings: Vec<(TenantKey, Holding)>,
    ) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let until = self
            .database()
            .dialect()
            .pick("$4 + lease_ms * 1000", "$4::timestamptz + lease_ms * interval '1 millisecond'");
        let sql: Arc<str> = format!(
            "update task_leases set lease_until = {until} \
             where tenant_key = $1 and task_id = $2 and claim_token = $3 returning lease_until"
        )
        .into();
        let now = self.now();
        let beat = |(tenant, holding): (TenantKey, Holding)| {
            let params = vec![tenant.into(), holding.task.into(), holding.token.into(), Value::Instant(now)];
            (tenant, Statement::new(sql.to_string(), params))
        };
        let written = self.database().write_each(holdings.into_iter().map(beat).collect()).await?;
        written.iter().map(|it| it.rows.first().map(|row| row.time(0)).transpose()).collect()
    }

    /// The claim that holds on a task.
    pub async fn task_lease(&self, tenant: TenantKey, task: TaskId) -> Result<Option<TaskLease>, StoreError> {
        let lease = |row: &Row| {
            Ok(TaskLease {
                token: row.uuid(0)?,
                worker: row.string(1)?,
                until: row.time(2)?,
                lane: LaneId(row.int32(3)?),
                run: row.id(4)?,
                path: row.string(5)?,
                attempt: row.int32(6)?,
            })
        };
        let found = self.database().of(tenant).query(LEASE, vec![tenant.into(), task.into()]).await?;
        found.first().map(lease).transpose()
    }

    /// Takes what workers say in the end of tasks whose runs another node moves, durably; gives for each whether its
    /// claim still held.
    pub async fn finish_tasks(&self, results: Vec<(TenantKey, TaskResult)>) -> Result<Vec<bool>, StoreError> {
        let now = Value::from(self.now());
        let statements = results.into_iter().flat_map(|(tenant, result)| {
            let claim = [tenant.into(), result.holding.task.into(), Value::from(result.holding.token)];
            let given = [result.status.status().as_str().into(), result.output.into(), now.clone()];
            [
                Statement::new(REMEMBER, [&claim[..], &[result.hash.into()]].concat()),
                Statement::new(FINISH, [&claim[..], &given].concat()),
                Statement::new(END_LEASE, claim.to_vec()),
            ]
            .map(|statement| (tenant, statement))
        });
        let written = self.database().write_each(statements.collect()).await?;
        let lanes: Vec<Option<LaneId>> = written
            .iter()
            .skip(1)
            .step_by(3)
            .map(|finished| finished.rows.first().map(|row| row.int32(0).map(LaneId)).transpose())
            .collect::<Result<_, _>>()?;
        lanes.iter().flatten().for_each(|lane| self.hint(*lane, Hint::Inbox));
        Ok(lanes.into_iter().map(|lane| lane.is_some()).collect())
    }

    /// Puts claimed tasks back into their queue, as if nobody had claimed them.
    pub async fn release_tasks(&self, holdings: Vec<(TenantKey, Holding)>) -> Result<(), StoreError> {
        // Whoever ends the task at this moment has its row: then there is nothing to be made ready.
        let locked = self.database().dialect().pick("", "for update of t");
        let release: Arc<str> = format!("{RELEASE} {locked} on conflict do nothing").into();
        let tenants: HashSet<TenantKey> = holdings.iter().map(|(tenant, _)| *tenant).collect();
        let statements = holdings.into_iter().flat_map(|(tenant, holding)| {
            let claim = vec![tenant.into(), holding.task.into(), Value::from(holding.token)];
            [Statement::new(release.to_string(), claim.clone()), Statement::new(END_LEASE, claim)]
                .map(|statement| (tenant, statement))
        });
        let released = self.database().write_each(statements.collect()).await.map(|_| ());
        tenants.into_iter().for_each(|tenant| self.inner.floors.forget_all(tenant));
        released
    }

    /// Whether a worker ended the task with just this answer, under that token if there is one.
    pub async fn was_answered(
        &self,
        tenant: TenantKey,
        task: TaskId,
        token: Option<Uuid>,
        hash: [u8; 32],
    ) -> Result<bool, StoreError> {
        let sql = "select token from task_answers where tenant_key = $1 and task_id = $2 and hash = $3";
        let params = vec![tenant.into(), task.into(), hash.into()];
        let Some(row) = self.database().of(tenant).query_opt(sql, params).await? else { return Ok(false) };
        let given = row.uuid(0)?;
        Ok(token.is_none_or(|token| token == given))
    }

    /// Whether the tenant has such a task, or had it and a worker ended it.
    pub async fn has_task(&self, tenant: TenantKey, task: TaskId) -> Result<bool, StoreError> {
        let sql = "select 1 from tasks where tenant_key = $1 and id = $2 \
                   union all select 1 from task_answers where tenant_key = $1 and task_id = $2";
        Ok(self.database().of(tenant).query_opt(sql, vec![tenant.into(), task.into()]).await?.is_some())
    }

    /// When the first of all leases runs out, or did; `None` without any. It reads all of them.
    pub async fn next_lease_end(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select lease_until from task_leases order by lease_until limit 1";
        self.database().across_tenants().query_opt(sql, vec![]).await?.map(|row| row.time(0)).transpose()
    }

    /// Puts tasks whose lease ran out back into their queue, or fails those that were lost too often.
    pub async fn expire_tasks(&self, limit: i64) -> Result<Vec<LostTask>, StoreError> {
        let now = self.now();
        let expired = self
            .database()
            .across_tenants()
            .query(EXPIRED, vec![Value::Instant(now), limit.clamp(1, 500).into()])
            .await?;
        if expired.is_empty() {
            return Ok(Vec::new());
        }
        let lost: Vec<LostTask> = self
            .database()
            .across_tenants()
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
                            if status == TaskStatus::Pending {
                                tx.execute(MAKE_READY, vec![tenant.into(), task.into()]).await?;
                            }
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
            self.inner.floors.forget_all(task.tenant);
            self.hint(task.lane, if task.status == TaskStatus::Pending { Hint::Tasks } else { Hint::Inbox });
        }
        Ok(lost)
    }

    /// Results for runs of these lanes that no commit has taken yet, oldest first.
    pub async fn finished_tasks(&self, lanes: &[LaneId], limit: i64) -> Result<Vec<FinishedTask>, StoreError> {
        let sql = format!(
            "select {FINISHED} from tasks where lane_id {} and finished_at is not null order by id limit $2",
            self.database().dialect().in_ints(1)
        );
        let lanes = Value::Ints(lanes.iter().map(|lane| i64::from(lane.0)).collect());
        let rows = self.database().across_tenants().query(sql, vec![lanes, limit.clamp(1, 10_000).into()]).await?;
        rows.iter().map(finished).collect()
    }

    /// The tasks of a run that have rows.
    pub async fn tasks_of(&self, tenant: TenantKey, run: RunId) -> Result<HashSet<TaskId>, StoreError> {
        let sql = "select id from tasks where tenant_key = $1 and run_id = $2";
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), run.into()]).await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    /// Takes a task back that nobody has claimed, and says so in a worker's place; whether there was one.
    pub async fn withdraw_task(&self, tenant: TenantKey, id: TaskId, output: Vec<u8>) -> Result<bool, StoreError> {
        let task = vec![tenant.into(), Value::from(id)];
        let end = [&task[..], &[self.now().into(), output.into()]].concat();
        let written = self
            .database()
            .of(tenant)
            .write(vec![Statement::new(UNREADY, task), Statement::new(WITHDRAW, end)])
            .await?;
        Ok(written.last().is_some_and(|it| it.count > 0))
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
        self.select_tasks(tenant, &format!("and {STATUS} = $2 and t.id < $3 order by t.id desc limit $4"), params).await
    }

    async fn select_tasks(
        &self,
        tenant: TenantKey,
        rest: &str,
        params: Vec<Value>,
    ) -> Result<Vec<TaskRow>, StoreError> {
        let sql = format!(
            "select t.id, t.run_id, t.path, t.queue, t.name, t.prio, {STATUS}, t.lost, l.worker, l.lease_until, \
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
        self.database().of(tenant).query(sql, params).await?.iter().map(task).collect()
    }
}
