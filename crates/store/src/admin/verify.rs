//! Rows that must not be there, and rows that must: what `windlass verify` asks of the tables themselves.
//!
//! Each rule is a query for what breaks it, so a sound database answers nothing. Journals are read run by run; this is
//! about what stands beside them.

use std::collections::HashMap;

use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    ApprovalStatus, Store, StoreError,
    database::{Database, Dialect, Row, Value, sqlite},
    runs::word,
    slots::SlotKey,
};

/// Rows of one rule that are named.
const NAMED_MAX: usize = 100;
/// A value that nobody refers to is collected within that time: it is no orphan before.
const COLLECTED_WITHIN_US: i64 = 24 * 3_600 * 1_000_000;

/// When a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// At any moment.
    Always,
    /// Once every run has ended and every server has had time to tidy up.
    AtRest,
}

/// A rule about rows.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What must hold.
    pub expected: &'static str,
    /// When.
    pub holds: Holds,
    /// What breaks it: the run, if it is about one, and what else is to be said. `$1` is a day ago.
    sql: &'static str,
    /// The same on PostgreSQL, where it differs.
    postgres: Option<&'static str>,
}

const fn always(name: &'static str, expected: &'static str, sql: &'static str) -> Rule {
    Rule { name, expected, holds: Holds::Always, sql, postgres: None }
}

const fn at_rest(name: &'static str, expected: &'static str, sql: &'static str) -> Rule {
    Rule { holds: Holds::AtRest, ..always(name, expected, sql) }
}

/// Every rule. `{final}` stands for the final statuses of a run, `{run}` for the join with its run as `r`.
pub static RULES: &[Rule] = &[
    always(
        "timer_of_waiting_run",
        "a timer belongs to a run that waits",
        "select x.run_id, coalesce(r.status, 'no such run') from timers x {run} where r.id is null or r.status not in ('waiting', 'paused')",
    ),
    always(
        "one_timer_per_run",
        "a run has one timer, its earliest",
        "select x.run_id, 'has several' from timers x group by x.tenant_key, x.run_id having count(*) > 1",
    ),
    always(
        "lane_of_run",
        "what belongs to a run is on its lane",
        "select x.run_id, x.what from (select tenant_key, run_id, lane_id, 'a timer' as what from timers \
         union all select tenant_key, run_id, lane_id, 'a task' from tasks \
         union all select tenant_key, run_id, lane_id, 'an approval' from approvals \
         union all select tenant_key, run_id, lane_id, 'a place in the queue' from run_queue \
         union all select tenant_key, run_id, lane_id, 'a wait for an event' from event_waits) x {run} where r.lane_id <> x.lane_id",
    ),
    always(
        "active_step_of_open_run",
        "a step that runs belongs to a run that is open",
        "select x.run_id, x.path from active_steps x {run} where r.id is null or r.status in {final}",
    ),
    always(
        "queue_holds_queued_runs",
        "a run in the queue is queued",
        "select x.run_id, coalesce(r.status, 'no such run') from run_queue x {run} where r.id is null or r.status not in ('queued', 'paused')",
    ),
    always(
        "backlog_holds_queued_runs",
        "a run that waits for room is queued",
        "select x.run_id, coalesce(r.status, 'no such run') from run_backlog x {run} where r.id is null or r.status not in ('queued', 'paused')",
    ),
    // One that is claimed waits for nothing but its next entry, which a crash may put off until the next start.
    at_rest(
        "queued_run_is_in_queue",
        "a queued run is in a queue",
        "select r.id, r.workflow from runs r left join run_queue x on x.tenant_key = r.tenant_key and x.run_id = r.id \
         left join run_backlog b on b.tenant_key = r.tenant_key and b.run_id = r.id \
         where r.status = 'queued' and x.run_id is null and b.run_id is null",
    ),
    at_rest(
        "place_of_open_run",
        "a place is held by a run that is open",
        "select x.run_id, x.workflow from concurrency_slots x {run} where r.id is null or r.status in {final}",
    ),
    at_rest("inbox_empty", "no letter waits", "select x.run_id, x.kind from inbox x"),
    always(
        "task_of_open_run",
        "a task that is open belongs to a run that is open",
        "select x.run_id, x.path from tasks x {run} where x.status = 'pending' and (r.id is null or r.status in {final})",
    ),
    at_rest(
        "task_result_taken",
        "a task's result is taken by its run",
        "select x.run_id, x.path from tasks x where x.finished_at is not null",
    ),
    always(
        "lease_of_open_task",
        "a lease belongs to an open task",
        "select t.run_id, coalesce(t.status, 'no such task') from task_leases x \
         left join tasks t on t.tenant_key = x.tenant_key and t.id = x.task_id where t.id is null or t.status <> 'pending'",
    ),
    always(
        "open_task_has_one_place",
        "an open task is either there to be claimed or has a lease",
        "select t.run_id, t.path from tasks t left join task_leases x on x.tenant_key = t.tenant_key and x.task_id = t.id \
         left join task_ready q on q.tenant_key = t.tenant_key and q.queue = t.queue and q.rank = -t.prio and q.task_id = t.id \
         where t.status = 'pending' and (x.task_id is null) = (q.task_id is null)",
    ),
    always(
        "approval_of_open_run",
        "a pending approval belongs to a run that is open",
        "select x.run_id, x.path from approvals x {run} where x.status = 'pending' and (r.id is null or r.status in {final})",
    ),
    always(
        "event_wait_of_open_run",
        "a wait for an event belongs to a run that is open",
        "select x.run_id, x.path from event_waits x {run} where r.id is null or r.status in {final}",
    ),
    always(
        "label_of_run",
        "what runs are found by is of runs that are there",
        "select x.run_id, x.name from run_labels x {run} where r.id is null",
    ),
    always(
        "words_of_run",
        "the words that runs are found by are of runs that are there",
        "select x.run_id, x.words from (select tenant_key, id as run_id, words from search_documents where kind = 'run') x {run} \
         where r.id is null",
    ),
    always(
        "word_of_document",
        "a word that something is found by is one of its words",
        "select x.id, x.word from search_words x left join search_documents d \
         on d.tenant_key = x.tenant_key and d.kind = x.kind and d.id = x.id \
         where d.id is null or ' ' || d.words || ' ' not like '% ' || x.word || ' %'",
    ),
    always(
        "run_is_found_by_its_key",
        "a run with a key is found by it",
        "select r.id, r.key from runs r where r.key is not null and not exists (select 1 from run_labels l \
         where l.tenant_key = r.tenant_key and l.name = 'key' and l.value = r.key and l.run_id = r.id)",
    ),
    // A program before schema 31 wrote none, and what comes of such a child is of that child's trace.
    always(
        "trace_of_parent",
        "a run that another one started is of its trace",
        "select r.id, 'another trace' from runs r join runs p on p.tenant_key = r.tenant_key and p.id = r.parent_run_id \
         where r.origin_run_id is null and r.trace_id is not null and r.trace_id <> coalesce(p.trace_id, p.id)",
    ),
    always(
        "value_ref_of_run",
        "a large value is referred to by a run that is there",
        "select x.run_id, 'no such run' from blob_refs x {run} where r.id is null",
    ),
    at_rest(
        "value_is_referred_to",
        "a large value that nobody refers to is collected within a day",
        "select null, 'touched ' || x.touched_at from blobs x left join blob_refs b on b.tenant_key = x.tenant_key and b.hash = x.hash \
         where b.hash is null and x.touched_at < $1",
    ),
    always(
        "idempotency_key_of_run",
        "an idempotency key leads to a run that is there",
        "select x.run_id, 'no such run' from idempotency_keys x {run} where r.id is null",
    ),
    always(
        "one_idempotency_key_per_run",
        "a run was started under one idempotency key at most",
        "select x.run_id, 'has several' from idempotency_keys x group by x.tenant_key, x.run_id having count(*) > 1",
    ),
    always(
        "snapshot_of_run",
        "a stored state belongs to a run that is there",
        "select x.run_id, 'no such run' from run_snapshots x {run} where r.id is null",
    ),
    always(
        "state_change_of_run",
        "a recorded change of a state value belongs to a run that is there",
        "select x.run_id, x.step_key from state_applied x {run} where r.id is null",
    ),
    Rule {
        postgres: Some(
            "select x.run_id, 'no such run' from (select distinct tenant_key, run_id from journal) x {run} \
             left join journal_garbage g on g.tenant_key = x.tenant_key and g.run_id = x.run_id \
             where r.id is null and g.run_id is null",
        ),
        ..always(
            "journal_of_run",
            "a journal belongs to a run that is there",
            "select null, 'run_key ' || x.run_key from (select distinct run_key from journal) x \
             left join runs r on r.run_key = x.run_key left join journal_garbage g on g.run_key = x.run_key \
             where r.run_key is null and g.run_key is null",
        )
    },
    always(
        "definition_of_run",
        "the document of a run is there",
        "select r.id, r.workflow from runs r left join definitions x on x.tenant_key = r.tenant_key and x.hash = r.definition_hash \
         where x.hash is null",
    ),
    always(
        "end_of_run",
        "a run has a time of its end exactly when its status is final",
        "select r.id, r.status from runs r where (r.status in {final}) <> (r.finished_at is not null)",
    ),
    always(
        "parent_of_open_run",
        "the parent of an open run is there",
        "select r.id, r.workflow from runs r left join runs p on p.tenant_key = r.tenant_key and p.id = r.parent_run_id \
         where r.parent_run_id is not null and p.id is null and r.status not in {final}",
    ),
    at_rest("run_has_ended", "every run has ended", "select r.id, r.status from runs r where r.status not in {final}"),
    always(
        "node_of_lane",
        "a lane belongs to a node that is there and has not left",
        "select null, 'lane ' || x.id from lanes x left join nodes n on n.id = x.node_id \
         where x.node_id is not null and (n.id is null or n.state = 'left')",
    ),
];

const FINAL: &str = "('completed', 'failed', 'compensated', 'cancelled', 'timed_out')";
const RUN: &str = "left join runs r on r.tenant_key = x.tenant_key and r.id = x.run_id";

/// A row that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The run that it is about.
    pub run: Option<RunId>,
    /// What was found.
    pub found: String,
}

/// What stands beside the journal of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Its timers.
    pub timers: Vec<Timestamp>,
    /// Its approvals: path and status.
    pub approvals: Vec<(String, ApprovalStatus)>,
    /// The paths of its tasks that nobody has finished, or whose results it has not taken.
    pub tasks: Vec<String>,
    /// The paths that wait for events.
    pub event_waits: Vec<String>,
    /// Whether it is in the queue for a place.
    pub queued: bool,
    /// The places that it holds.
    pub places: Vec<SlotKey>,
    /// The paths of its steps that are shown as running.
    pub active_steps: Vec<String>,
}

impl Store {
    /// Rows that break these rules, at most 100 of each.
    pub async fn broken_rows(
        &self,
        rules: impl Iterator<Item = &'static Rule>,
    ) -> Result<Vec<(&'static Rule, Broken)>, StoreError> {
        let dialect = self.database().dialect();
        let at = Timestamp::from_micros(self.now().micros() - COLLECTED_WITHIN_US);
        let mut broken = Vec::new();
        let session = match self.database() {
            Database::Sqlite(_) => None,
            Database::Postgres(postgres) => {
                let session = postgres.own_session().await?;
                session.batch("set statement_timeout = 0").await?;
                Some(session)
            }
        };
        for rule in rules {
            let sql = if dialect == Dialect::Postgres { rule.postgres.unwrap_or(rule.sql) } else { rule.sql };
            let sql = sql.replace("{final}", FINAL).replace("{run}", RUN);
            // A parameter that a statement does not name would be refused.
            let sql = format!("select * from ({sql}) as broken where $1 is not null limit {NAMED_MAX}");
            let sql = sql.replace("$1", dialect.pick("$1", "$1::timestamptz"));
            let rows = match &session {
                Some(session) => session.run(&sql, &[at.into()]).await?.rows,
                None => self.long_query(sql, vec![at.into()]).await?,
            };
            for row in rows {
                broken.push((rule, Broken { run: row.opt(0, Row::id)?, found: row.string(1)? }));
            }
        }
        Ok(broken)
    }

    /// A query that may take as long as it takes on SQLite; PostgreSQL has its usual limit.
    async fn long_query(&self, sql: String, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self.database() {
            Database::Sqlite(sqlite) => {
                let read = move |connection: &rusqlite::Connection| sqlite::run(connection, &sql, &params);
                sqlite.with_reader(read).await.map(|written| written.rows)
            }
            Database::Postgres(_) => self.database().across_tenants().query(sql, params).await,
        }
    }

    /// What stands beside the journals of these runs; runs without anything are left out.
    pub async fn belongings(
        &self,
        tenant: TenantKey,
        runs: &[RunId],
    ) -> Result<HashMap<RunId, Belongings>, StoreError> {
        let runs = Value::Uuids(runs.iter().map(|run| run.uuid()).collect());
        let mut all: HashMap<RunId, Belongings> = HashMap::new();
        let rows = async |columns: &str, table: &str| -> Result<Vec<Row>, StoreError> {
            let chosen = self.database().dialect().in_uuids(2);
            let sql = format!("select run_id, {columns} from {table} where tenant_key = $1 and run_id {chosen}");
            self.long_query(sql, vec![tenant.into(), runs.clone()]).await
        };
        for row in rows("due_at", "timers").await? {
            all.entry(row.id(0)?).or_default().timers.push(row.time(1)?);
        }
        for row in rows("path, status", "approvals").await? {
            let approval = (row.string(1)?, word(&row, 2, ApprovalStatus::parse)?);
            all.entry(row.id(0)?).or_default().approvals.push(approval);
        }
        for row in rows("path", "tasks").await? {
            all.entry(row.id(0)?).or_default().tasks.push(row.string(1)?);
        }
        for row in rows("path", "event_waits").await? {
            all.entry(row.id(0)?).or_default().event_waits.push(row.string(1)?);
        }
        for row in rows("path", "active_steps").await? {
            all.entry(row.id(0)?).or_default().active_steps.push(row.string(1)?);
        }
        for table in ["run_queue", "run_backlog"] {
            for row in rows("tenant_key", table).await? {
                all.entry(row.id(0)?).or_default().queued = true;
            }
        }
        for row in rows("workflow, slot_key", "concurrency_slots").await? {
            let place = SlotKey { workflow: row.string(1)?, key: row.string(2)? };
            all.entry(row.id(0)?).or_default().places.push(place);
        }
        Ok(all)
    }
}
