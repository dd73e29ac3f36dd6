//! What the program asks of PostgreSQL while all kinds of runs go on: each statement stays within one tenant, or is one
//! of a few with reasons, and each finds what it wants by an index that begins with what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use windlass_store::StatementLog;

use crate::{
    harness::Harness,
    {deletions, queue, quotas, restarts, runs, waits},
};

/// Statements that are not of one tenant: how they begin or what they contain, and why.
const OF_ALL_TENANTS: &[(&str, &str)] = &[
    ("nodes", "nodes work for all tenants"),
    ("from lanes", "so do their lanes"),
    ("lanes (", "so do their lanes"),
    ("update lanes", "so do their lanes"),
    ("pg_advisory", "a lock of the whole database"),
    ("pg_notify", "a hint"),
    ("clock_timestamp()\u{0}", "the time"),
    ("set_config", "a setting of the session"),
    ("current_setting", "a setting of the server"),
    ("to_regclass", "the schema itself"),
    ("pg_class", "the schema itself"),
    ("pg_inherits", "the schema itself"),
    ("migrations", "the schema's own version"),
    ("from tenants", "the tenants themselves"),
    ("into tenants", "the tenants themselves"),
    ("\"tenants\"", "the tenants themselves, as a record"),
    ("settings", "of the whole database"),
    ("where lane_id", "what a node asks of its own lanes"),
    ("r.lane_id = $1", "what a node asks of its own lanes"),
    ("t.lane_id = u.lane_id", "a commit's own lane"),
    ("from journal where run_id >= $1 and run_id < $2 limit 1", "whether a new partition's rows lie elsewhere already"),
    ("from task_leases where lease_until", "the sweep of claims that ran out, for all tenants"),
    ("from task_leases order by lease_until", "when it is due, for all tenants"),
    ("from vault_master_keys", "the master keys, of the whole installation"),
    ("from audit_unsealed u join tenants", "whose entries wait to be sealed: a small table, asked for all tenants"),
    ("run_allowances", "what a node may have of the quotas of the tenants that have runs on it"),
    ("from run_backlog", "whose turn it is: one look over the tenants that wait"),
];

/// Tables that grow: reading one of them from end to end is a mistake.
const LARGE: [&str; 14] = [
    "runs",
    "journal",
    "tasks",
    "task_ready",
    "task_leases",
    "timers",
    "inbox",
    "approvals",
    "events",
    "blobs",
    "run_backlog",
    "run_labels",
    "idempotency_keys",
    "state_values",
];

/// Statements that read a large table from end to end though there are indexes, and why.
const SWEEPS: &[(&str, &str)] = &[
    ("select tenant_key, count(*) from run_backlog", "counts all of the queue, at most a twentieth of the time"),
    ("from task_leases where lease_until", "claimed tasks only; an index would make every heartbeat write it"),
    ("from task_leases order by lease_until", "the same, when the next one is due and every five seconds"),
];

/// Statements whose index has columns in between that they do not name, and why.
const PASSING_OVER: &[(&str, &str)] = &[
    (
        "from journal where run_id >= $1 and run_id < $2 limit 1",
        "asked once for each new partition, of a table that is empty but for damage",
    ),
    ("delete from run_allowances where node_id in", "once an hour, of a small table, for nodes that are forgotten"),
    ("r.status in ('queued', 'paused') and r.started_at is null", "reads the open runs of a lane that was taken over"),
];

/// Runs tests of all kinds and gives what they asked of the database.
async fn noted() -> BTreeSet<String> {
    let log = StatementLog::default();
    let server = async || Harness::postgres_noting(&log).await;
    runs::a_run_completes(server().await).await;
    runs::signals_come_before_and_after_the_wait(server().await).await;
    runs::pause_holds_and_resume_goes_on(server().await).await;
    runs::large_values_come_back(server().await).await;
    runs::one_key_starts_one_run(server().await).await;
    waits::workers_do_tasks(server().await).await;
    waits::a_lost_lease_returns_the_task(server().await).await;
    waits::people_decide(server().await).await;
    waits::events_come_before_and_after_the_wait(server().await).await;
    waits::full_places_queue(server().await).await;
    waits::runs_come_from_runs(server().await).await;
    restarts::a_wait_survives_and_outlives(server().await).await;
    deletions::nothing_starts_what_is_deleted(server().await).await;
    deletions::what_is_started_is_not_deleted(server().await).await;
    queue::tenants_take_turns(server().await).await;
    queue::queued_runs_can_be_stopped_paused_and_told(server().await).await;
    quotas::a_quota_holds_on_one_server(server().await).await;
    log.lock().unwrap().clone()
}

fn is_of_one_tenant(sql: &str) -> bool {
    // Those of records are built, with quoted names and words in capitals.
    let sql = sql.replace('"', "").to_lowercase();
    let inserts = sql.starts_with("insert into") && sql.contains("tenant_key");
    inserts || sql.contains("tenant_key = ") || sql.contains("tenant_key) in") || sql.contains("select set_config")
}

fn excused(sql: &str, reasons: &[(&str, &str)]) -> bool {
    let ended = format!("{sql}\u{0}");
    reasons.iter().any(|(part, _)| ended.contains(part))
}

/// The plan of a statement when no parameter is known, with every way but the indexes made expensive.
async fn plan(harness: &Harness, sql: &str) -> String {
    let params = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
    let given = if params == 0 { String::new() } else { format!("({})", vec!["null"; params].join(", ")) };
    let sql = sql.to_owned();
    let rows = harness.runtime.store().database().across_tenants().transact(move |tx| {
        Box::pin(async move {
            let by_index = "select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
                            set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true), \
                            set_config('plan_cache_mode', 'force_generic_plan', true)";
            tx.query(by_index, vec![]).await?;
            tx.execute(format!("prepare planned as {sql}"), vec![]).await?;
            let rows = tx.query(format!("explain execute planned{given}"), vec![]).await;
            tx.execute("deallocate planned", vec![]).await?;
            rows
        })
    });
    let rows = rows.await.unwrap_or_else(|error| panic!("{error:?}"));
    rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Every index with its columns in order.
async fn indexes(harness: &Harness) -> BTreeMap<String, Vec<String>> {
    let sql = "select i.relname::text, (select string_agg(a.attname, ',' order by k.at) \
               from unnest(x.indkey::smallint[]) with ordinality k(attnum, at) \
               join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum)::text \
               from pg_index x join pg_class i on i.oid = x.indexrelid where i.relnamespace = 'public'::regnamespace";
    let rows = harness.runtime.store().database().across_tenants().query(sql, vec![]).await.unwrap();
    let index = |row: &windlass_store::Row| {
        let columns = row.text(1).unwrap().split(',').map(str::to_owned).collect();
        (row.text(0).unwrap().to_owned(), columns)
    };
    rows.iter().map(index).collect()
}

/// The first index of a plan whose condition passes over one of its columns: entries are read there that a better index
/// would not have, all of a tenant's at worst.
fn passes_over(plan: &str, indexes: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let lines: Vec<&str> = plan.lines().collect();
    lines.windows(2).find_map(|pair| {
        let name = pair[0].split(" using ").nth(1)?.split(' ').next()?;
        let columns = indexes.get(name)?;
        let condition = pair[1].trim_start().strip_prefix("Index Cond: ")?;
        let mut words = condition.split(|char: char| !char.is_ascii_alphanumeric() && char != '_' && char != '.');
        let named: BTreeSet<&str> = words.by_ref().filter(|word| columns.iter().any(|column| column == word)).collect();
        let bound = columns.iter().take_while(|column| named.contains(column.as_str())).count();
        (bound < named.len()).then(|| format!("{name} ({})", columns.join(", ")))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_stay_within_a_tenant_and_go_by_index() {
    let noted = noted().await;
    let harness = Harness::postgres().await;
    let indexes = indexes(&harness).await;
    let mut wrong = Vec::new();
    for sql in &noted {
        if !is_of_one_tenant(sql) && !excused(sql, OF_ALL_TENANTS) {
            wrong.push(format!("of several tenants, without a reason: {sql}"));
        }
        let first = sql.trim_start().split(' ').next().unwrap_or_default();
        if !["select", "with", "insert", "update", "delete"].contains(&first) || excused(sql, SWEEPS) {
            continue;
        }
        let plan = plan(&harness, sql).await;
        if let (Some(index), false) = (passes_over(&plan, &indexes), excused(sql, PASSING_OVER)) {
            wrong.push(format!("passes over columns of {index}: {sql}\n{plan}"));
        }
        for table in LARGE {
            let scans = |line: &str| {
                line.contains("Seq Scan on ")
                    && line
                        .split("Seq Scan on ")
                        .nth(1)
                        .and_then(|it| it.split(' ').next())
                        .is_some_and(|it| it == table || (table == "journal" && it.starts_with("journal_")))
            };
            if plan.lines().any(scans) {
                wrong.push(format!("reads all of {table}: {sql}\n{plan}"));
            }
        }
    }
    assert!(noted.len() > 60, "only {} statements were noted", noted.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), noted.len(), wrong.join("\n\n"));
}
