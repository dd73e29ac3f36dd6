//! Lists of runs: pages by id, newest first, each read off an index however many runs there are.
//!
//! A list is a union of branches, each of which one index gives in the order of the page: what is of a trace by that,
//! what has a key or a label by `run_labels`, what has words by `search_words`, what is open by its lane and status,
//! what ended badly by its status, all else by its id. Statuses stand in the text, not in parameters: only then can a
//! database know that a partial index has them all. Whoever reaches some workflows alone gets the list of each of
//! them, and of these the newest.
//! Invariant: a branch reads no more rows than its page has, apart from those that conditions beside its index leave
//! out.

use std::sync::Arc;

use windlass_definition::time::Timestamp;
use windlass_engine::{
    id::{RunId, TenantKey},
    status::RunStatus,
    trace::TraceId,
};

use crate::{
    Dialect, Reached, RunMode, RunRow, StoreError,
    database::Value,
    run_row::{self, NAMES},
    runs::PAGE_RUNS_MAX,
    search::{self, Sought},
    store::Store,
};

/// Up to how many runs a total is exact.
pub const COUNT_MAX: i64 = 10_000;

/// The name under which `run_labels` has the `key:` of a run.
pub(crate) const KEY_NAME: &str = "key";

/// The name under which `run_labels` has a label.
pub(crate) fn label_name(label: &str) -> String {
    format!("label:{label}")
}

/// Which runs a list shows: all conditions hold.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// One of these statuses; empty for all.
    pub statuses: Vec<RunStatus>,
    /// Of that workflow.
    pub workflow: Option<String>,
    /// With that `key:`.
    pub key: Option<String>,
    /// With that label of that value.
    pub labels: Vec<(String, String)>,
    /// Started by that run.
    pub parent: Option<RunId>,
    /// Of that trace: those that joined it, and the one that it begins with.
    pub trace: Option<TraceId>,
    /// In that mode.
    pub mode: Option<RunMode>,
    /// Made at or after.
    pub since: Option<Timestamp>,
    /// Made before.
    pub until: Option<Timestamp>,
    /// Only runs that are older than this one: the last of the page before.
    pub after: Option<RunId>,
    /// Of these workflows alone.
    pub within: Option<Reached>,
}

/// A total that is exact as long as it is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exactly(i64),
    /// More than this.
    MoreThan(i64),
}

/// The first id of a run that is made at that time: a run's id is its time of birth.
pub(crate) fn first_id(at: Timestamp) -> Value {
    let ms = u128::from(at.micros().max(0).unsigned_abs() / 1_000);
    Value::Uuid(uuid::Uuid::from_u128(ms << 80))
}

/// The statement of a list and its parameters.
pub(crate) struct Query {
    pub sql: String,
    pub params: Vec<Value>,
}

/// Words that runs are to have, the rarest last.
#[derive(Debug, Clone, Default)]
pub(crate) struct WithWords {
    pub sought: Vec<Sought>,
    /// Older runs than this one are not looked at.
    pub until: Option<RunId>,
}

/// What a label or a word finds runs by: a table as `l`, where it has their ids, and a condition on it.
struct FoundBy {
    table: &'static str,
    id: &'static str,
    condition: String,
    /// It may have the same run several times.
    again: bool,
}

impl Query {
    /// A list in that dialect that gives `columns` of `limit` runs, newest first.
    pub(crate) fn of(
        tenant: TenantKey,
        (filter, mut words): (&RunFilter, WithWords),
        dialect: Dialect,
        (columns, limit): (&str, i64),
    ) -> Query {
        let mut query = Query { sql: String::new(), params: vec![tenant.into()] };
        let columns: Vec<String> = columns.split(", ").map(|column| format!("r.{column}")).collect();
        let mut labels: Vec<(String, &str)> =
            filter.labels.iter().map(|(name, value)| (label_name(name), value.as_str())).collect();
        labels.extend(filter.key.as_deref().map(|key| (KEY_NAME.to_owned(), key)));
        // One of them finds the runs, the key if there is one; the others are asked of each.
        let by_trace = filter.trace.map(|trace| query.given(trace.uuid()));
        let found_by = match (&by_trace, labels.pop()) {
            (Some(_), label) => {
                labels.extend(label);
                None
            }
            (None, Some((name, value))) => Some(query.by_label(name, value)),
            (None, None) => words.sought.pop().map(|sought| query.by_words(&sought, dialect)),
        };
        let id = found_by.as_ref().map_or("r.id", |it| it.id);
        let mut of_id = search::conditions(("run", id), &words.sought, dialect, &mut query.params);
        for (name, value) in labels {
            let (name, value) = (query.given(name), query.given(value));
            of_id.push_str(&format!(
                " and exists (select 1 from run_labels o where o.tenant_key = $1 and o.name = {name} \
                 and o.value = {value} and o.run_id = {id})"
            ));
        }
        for (comparison, value) in bounds(filter, words.until) {
            let value = query.given(value);
            of_id.push_str(&format!(" and {id} {comparison} {value}"));
        }
        let mut of_run = String::new();
        for (column, value) in plain_conditions(filter) {
            let value = query.given(value);
            of_run.push_str(&format!(" and r.{column} = {value}"));
        }
        let (columns, limit) = (columns.join(", "), query.given(limit));
        let reached = filter.within.as_ref().map(|reached| query.given(among(filter, reached)));
        // What a trace, a label or a word finds is few, and lies together.
        let is_found = by_trace.is_some() || found_by.is_some();
        let each = reached.filter(|names| {
            let is_among = match dialect {
                _ if !is_found => "= w.value".to_owned(),
                Dialect::Sqlite => format!("in (select value from json_each({names}))"),
                Dialect::Postgres => format!("= any({names}::text[])"),
            };
            of_run.push_str(&format!(" and r.workflow {is_among}"));
            !is_found
        });
        let of_workflow = filter.workflow.is_some() || each.is_some();
        // SQLite has no lateral joins: it finds the ids first.
        let ids_alone = each.is_some() && dialect == Dialect::Sqlite;
        let found = if ids_alone { "r.id".to_owned() } else { columns.clone() };
        let page = Page { columns: found, of_id, of_run, limit: limit.clone(), of_workflow };
        let mut statuses = filter.statuses.clone();
        statuses.sort_unstable_by_key(|status| status.as_str());
        statuses.dedup();
        query.sql = match (found_by, by_trace) {
            (_, Some(trace)) => page.of_trace(&statuses, dialect, &trace),
            (Some(found_by), None) => page.found(&statuses, dialect, &found_by),
            // Few runs have one parent.
            (None, None) if statuses.is_empty() || filter.parent.is_some() => page.of_any(&statuses),
            (None, None) => page.of_statuses(&statuses, dialect),
        };
        if let Some(names) = each {
            let of_each = match dialect {
                Dialect::Sqlite => format!(
                    "json_each({names}) w cross join runs r where r.tenant_key = $1 and r.id in (select id from ({}) q)",
                    query.sql
                ),
                Dialect::Postgres => format!("unnest({names}::text[]) w(value) cross join lateral ({}) r", query.sql),
            };
            query.sql = format!("select {columns} from {of_each} order by r.id desc limit {limit}");
        }
        query
    }

    fn by_label(&mut self, name: String, value: &str) -> FoundBy {
        let (name, value) = (self.given(name), self.given(value));
        let condition = format!("l.tenant_key = $1 and l.name = {name} and l.value = {value}");
        FoundBy { table: "run_labels", id: "l.run_id", condition, again: false }
    }

    fn by_words(&mut self, sought: &Sought, dialect: Dialect) -> FoundBy {
        let is_one = match sought.words.as_slice() {
            [word] => format!("= {}", self.given(&**word)),
            words => {
                self.params.push(words.to_vec().into());
                dialect.in_texts(self.params.len())
            }
        };
        let condition = format!("l.tenant_key = $1 and l.kind = 'run' and l.word {is_one}");
        FoundBy { table: "search_words", id: "l.id", condition, again: sought.words.len() > 1 }
    }

    /// The place of a parameter.
    fn given(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("${}", self.params.len())
    }
}

/// The workflows whose runs are listed, of those that are reached.
fn among(filter: &RunFilter, reached: &Reached) -> Value {
    let wanted = |name: &&Arc<str>| filter.workflow.as_deref().is_none_or(|wanted| wanted == &***name);
    Value::Texts(reached.workflows.iter().filter(wanted).cloned().collect())
}

/// What the branches of a list have in common.
struct Page {
    of_workflow: bool,
    columns: String,
    /// Conditions on ids, where these are found.
    of_id: String,
    /// Conditions on the runs.
    of_run: String,
    limit: String,
}

impl Page {
    fn from(&self, source: &str, status: &str) -> String {
        let Page { columns, of_id, of_run, .. } = self;
        format!("select {columns} from {source}{status}{of_run}{of_id} {}", self.end("r.id"))
    }

    fn end(&self, id: &str) -> String {
        format!("order by {id} desc limit {}", self.limit)
    }

    fn of_any(&self, statuses: &[RunStatus]) -> String {
        self.from("runs r where r.tenant_key = $1", &is_one_of(statuses))
    }

    /// Those that joined a trace, and the one that it begins with.
    fn of_trace(&self, statuses: &[RunStatus], dialect: Dialect, trace: &str) -> String {
        let (is, index) = (is_one_of(statuses), dialect.pick(" indexed by runs_by_trace", ""));
        let joined = self.from(&format!("runs r{index} where r.tenant_key = $1 and r.trace_id = {trace}"), &is);
        let first =
            self.from(&format!("runs r where r.tenant_key = $1 and r.id = {trace} and r.trace_id is null"), &is);
        format!("select * from (select * from ({joined}) j union all select * from ({first}) f) r {}", self.end("r.id"))
    }

    fn found(&self, statuses: &[RunStatus], dialect: Dialect, found_by: &FoundBy) -> String {
        let FoundBy { table, id, condition, again } = found_by;
        let Page { columns, of_id, of_run, .. } = self;
        let select = if *again { "select distinct" } else { "select" };
        // All ids are found before their runs are read: SQLite keeps to the order in which tables of a cross join are named,
        // PostgreSQL to a selection with an offset.
        let (join, order) = (dialect.pick("cross join", "join"), format!(" order by {id} desc offset 0"));
        let ids = format!(
            "{select} l.tenant_key, {id} as id from {table} l where {condition}{of_id}{}",
            dialect.pick("", &order)
        );
        format!(
            "select {columns} from ({ids}) l {join} runs r on r.tenant_key = l.tenant_key and r.id = l.id \
             where true{}{of_run} {}",
            is_one_of(statuses),
            self.end("l.id")
        )
    }

    fn of_statuses(&self, statuses: &[RunStatus], dialect: Dialect) -> String {
        let branches: Vec<String> = statuses.iter().map(|status| self.of_status(*status, dialect)).collect();
        match branches.as_slice() {
            [only] => only.clone(),
            all => {
                let all: Vec<String> = all.iter().map(|branch| format!("select * from ({branch}) b")).collect();
                format!("select * from ({}) r {}", all.join(" union all "), self.end("r.id"))
            }
        }
    }

    fn of_status(&self, status: RunStatus, dialect: Dialect) -> String {
        let is = is_one_of(&[status]);
        let bad = status.is_final() && status != RunStatus::Completed;
        match (status.is_final(), dialect) {
            // Without statistics it would take the index by workflow, and look at each of its runs.
            (true, Dialect::Sqlite) if bad => {
                let index = if self.of_workflow { "runs_ended_badly_by_workflow" } else { "runs_ended_badly" };
                self.from(&format!("runs r indexed by {index} where r.tenant_key = $1"), &is)
            }
            (true, _) => self.from("runs r where r.tenant_key = $1", &is),
            // It has one lane.
            (false, Dialect::Sqlite) => self.from("runs r where r.lane_id = 1 and r.tenant_key = $1", &is),
            (false, Dialect::Postgres) => {
                let of_lane = self.from("runs r where r.lane_id = lanes.id and r.tenant_key = $1", &is);
                format!("select r.* from lanes cross join lateral ({of_lane}) r {}", self.end("r.id"))
            }
        }
    }
}

/// The status as a condition; nothing for all.
fn is_one_of(statuses: &[RunStatus]) -> String {
    let words: Vec<String> = statuses.iter().map(|status| format!("r.status = '{}'", status.as_str())).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => format!(" and {only}"),
        all => format!(" and ({})", all.join(" or ")),
    }
}

/// A run's own columns, and what they are to be.
fn plain_conditions(filter: &RunFilter) -> Vec<(&'static str, Value)> {
    let of_column = [
        ("workflow", filter.workflow.as_ref().map(Value::from)),
        ("parent_run_id", filter.parent.map(Value::from)),
        ("mode", filter.mode.map(|mode| mode.as_str().into())),
    ];
    of_column.into_iter().filter_map(|(column, value)| Some((column, value?))).collect()
}

/// How a run's id compares with others.
fn bounds(filter: &RunFilter, until: Option<RunId>) -> Vec<(&'static str, Value)> {
    let bounds = [
        (">=", filter.since.map(first_id)),
        ("<", filter.until.map(first_id)),
        ("<", filter.after.map(Value::from)),
        (">=", until.map(Value::from)),
    ];
    bounds.into_iter().filter_map(|(comparison, value)| Some((comparison, value?))).collect()
}

impl Store {
    /// A page of runs, newest first. The next page is the one `after` the last run of this one.
    pub async fn list_runs(
        &self,
        tenant: TenantKey,
        filter: &RunFilter,
        limit: i64,
    ) -> Result<Vec<RunRow>, StoreError> {
        let page = (NAMES, limit.clamp(1, PAGE_RUNS_MAX));
        let plain = (filter, WithWords::default());
        let Query { sql, params } = Query::of(tenant, plain, self.database().dialect(), page);
        self.database().of(tenant).query(sql, params).await?.iter().map(run_row::read).collect()
    }

    /// How many runs a list has: exact up to [`COUNT_MAX`].
    pub async fn count_runs(&self, tenant: TenantKey, filter: &RunFilter) -> Result<Count, StoreError> {
        let plain = (filter, WithWords::default());
        let Query { sql, params } = Query::of(tenant, plain, self.database().dialect(), ("id", COUNT_MAX + 1));
        let rows = self.database().of(tenant).query(format!("select count(*) from ({sql}) as few"), params).await?;
        let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
        Ok(if count > COUNT_MAX { Count::MoreThan(COUNT_MAX) } else { Count::Exactly(count) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Location, StoreOptions};

    const TENANT: TenantKey = TenantKey::DEFAULT;
    /// Enough that no plan is chosen because the table is small.
    const RUNS: u32 = 30_000;
    const COLUMNS_OF_FILL: &str = "tenant_key, id, lane_id, workflow, definition_hash, status, mode, priority, \
                                   parent_run_id, depth, created_at, journal_bytes";
    const STATUS_OF_FILL: &str = "case when n % 25 = 0 then 'failed' when n % 997 = 0 then 'running' \
                                  when n % 999 = 0 then 'waiting' else 'completed' end";

    /// A store with runs as they lie in a grown one: most are completed, few are open.
    async fn filled(location: Location) -> Store {
        let store = Store::open(StoreOptions::new(location)).await.expect("the store opens");
        let fill = match store.database().dialect() {
            Dialect::Sqlite => format!(
                "with recursive m (n) as (select 1 union all select n + 1 from m where n < {RUNS}) \
                 insert into runs ({COLUMNS_OF_FILL}) select 1, cast(printf('%016d', n) as blob), 1, 'w' || (n % 10), \
                 x'00', {STATUS_OF_FILL}, 'production', 0, \
                 case when n % 100 = 0 then cast(printf('%016d', n / 7) as blob) end, 0, 't', 0 from m"
            ),
            Dialect::Postgres => format!(
                "insert into runs ({COLUMNS_OF_FILL}) select 1, lpad(to_hex(n), 32, '0')::uuid, l.id, 'w' || n % 10, \
                 '\\x00', {STATUS_OF_FILL}, 'production', 0, \
                 case when n % 100 = 0 then lpad(to_hex(n / 7), 32, '0')::uuid end, 0, now(), 0 \
                 from generate_series(1, {RUNS}) n, (select min(id) as id from lanes) l"
            ),
        };
        store.database().across_tenants().execute(fill, vec![]).await.expect("runs");
        let labels = "insert into run_labels (tenant_key, name, value, run_id) \
                      select tenant_key, 'key', workflow, id from runs where status <> 'completed'";
        store.database().across_tenants().execute(labels, vec![]).await.expect("labels");
        let words = "insert into search_words (tenant_key, kind, word, id) \
                     select tenant_key, 'run', case when workflow < 'w5' then 'odd' else 'even' end, id from runs \
                     union all select tenant_key, 'run', status, id from runs where status in ('running', 'waiting')";
        store.database().across_tenants().execute(words, vec![]).await.expect("words");
        if store.is_shared() {
            store
                .database()
                .across_tenants()
                .execute("analyze runs, run_labels, search_words, lanes", vec![])
                .await
                .expect("statistics");
        }
        store
    }

    /// A parameter as text of PostgreSQL, whose `explain` takes none.
    fn literal(value: &Value) -> String {
        match value {
            Value::Int(number) => number.to_string(),
            Value::Uuid(id) => format!("'{id}'::uuid"),
            Value::Text(text) => format!("'{text}'"),
            Value::Texts(texts) => format!("'{{{}}}'", texts.join(",")),
            other => panic!("no list has {other:?}"),
        }
    }

    async fn plan(store: &Store, filter: &RunFilter, words: &[Names]) -> String {
        let sought = |words: &Names| Sought { words: words.iter().map(|word| Arc::from(*word)).collect(), few: 1 };
        let words = WithWords { sought: words.iter().map(sought).collect(), until: None };
        explain(store, Query::of(TENANT, (filter, words), store.database().dialect(), (NAMES, 51))).await
    }

    async fn explain(store: &Store, Query { mut sql, params }: Query) -> String {
        let (rows, column) = match store.database().dialect() {
            Dialect::Sqlite => {
                (store.database().of(TENANT).query(format!("explain query plan {sql}"), params).await, 3)
            }
            Dialect::Postgres => {
                for (place, value) in params.iter().enumerate().rev() {
                    sql = sql.replace(&format!("${}", place + 1), &literal(value));
                }
                (store.database().of(TENANT).query(format!("explain (costs off) {sql}"), vec![]).await, 0)
            }
        };
        let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
        rows.iter().map(|row| row.text(column).unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// Names of words or of indexes.
    type Names = &'static [&'static str];

    /// Filters with words of which one each is sought, and the indexes that their pages are read off.
    fn cases() -> Vec<(RunFilter, &'static [Names], Names)> {
        let all = RunFilter::default;
        let of = |statuses: &[RunStatus]| RunFilter { statuses: statuses.to_vec(), ..RunFilter::default() };
        let workflow = || Some("w3".to_owned());
        let reached = || Some(Reached { workflows: vec!["w3".into(), "w5".into()] });
        let after = Some(RunId::new(uuid::Uuid::from_u128(7)));
        let trace = Some(TraceId::from(uuid::Uuid::from_u128(9)));
        vec![
            (all(), &[], &["the id"]),
            (RunFilter { after, ..all() }, &[], &["the id"]),
            (of(&[RunStatus::Completed]), &[], &["the id"]),
            (of(&[RunStatus::Failed]), &[], &["runs_ended_badly"]),
            (RunFilter { after, ..of(&[RunStatus::Failed]) }, &[], &["runs_ended_badly"]),
            (of(&[RunStatus::TimedOut]), &[], &["runs_ended_badly"]),
            (RunFilter { workflow: workflow(), ..of(&[RunStatus::Failed]) }, &[], &["runs_ended_badly_by_workflow"]),
            (
                RunFilter { workflow: workflow(), after, ..of(&[RunStatus::Queued, RunStatus::TimedOut]) },
                &[],
                &["runs_open", "runs_ended_badly_by_workflow"],
            ),
            (of(&[RunStatus::Running]), &[], &["runs_open"]),
            (RunFilter { after, ..of(&[RunStatus::Waiting]) }, &[], &["runs_open"]),
            (RunFilter { workflow: workflow(), ..of(&[RunStatus::Running]) }, &[], &["runs_open"]),
            (of(&[RunStatus::Queued, RunStatus::Failed]), &[], &["runs_open", "runs_ended_badly"]),
            (RunFilter { workflow: workflow(), ..all() }, &[], &["runs_by_workflow"]),
            (RunFilter { workflow: workflow(), after, ..all() }, &[], &["runs_by_workflow"]),
            (RunFilter { parent: after, ..all() }, &[], &["runs_by_parent"]),
            (RunFilter { trace, ..all() }, &[], &["runs_by_trace", "the id"]),
            (RunFilter { trace, after, key: workflow(), ..all() }, &[], &["runs_by_trace", "the id"]),
            (RunFilter { trace, within: reached(), ..of(&[RunStatus::Failed]) }, &[], &["runs_by_trace"]),
            (RunFilter { trace, ..all() }, &[&["odd"]], &["runs_by_trace", "the id"]),
            (RunFilter { key: workflow(), ..all() }, &[], &["the labels"]),
            (
                RunFilter { key: workflow(), labels: vec![("a".to_owned(), "b".to_owned())], ..all() },
                &[],
                &["the labels"],
            ),
            (RunFilter { key: workflow(), after, ..of(&[RunStatus::Failed]) }, &[], &["the labels"]),
            (RunFilter { within: reached(), ..all() }, &[], &["runs_by_workflow"]),
            (RunFilter { within: reached(), after, ..all() }, &[], &["runs_by_workflow"]),
            (RunFilter { within: reached(), ..of(&[RunStatus::Failed]) }, &[], &["runs_ended_badly_by_workflow"]),
            (RunFilter { within: reached(), ..of(&[RunStatus::Running]) }, &[], &["runs_open"]),
            (RunFilter { within: reached(), ..all() }, &[&["odd"]], &["the words"]),
            (all(), &[&["odd"]], &["the words"]),
            (all(), &[&["even"], &["odd"]], &["the words"]),
            (RunFilter { after, ..of(&[RunStatus::Failed]) }, &[&["odd"]], &["the words"]),
            (RunFilter { workflow: workflow(), ..all() }, &[&["odd"]], &["the words"]),
            (RunFilter { key: workflow(), ..all() }, &[&["odd"]], &["the labels"]),
            (all(), &[&["running", "waiting"]], &["the words"]),
        ]
    }

    async fn check(store: &Store) {
        let dialect = store.database().dialect();
        let mut wrong = Vec::new();
        for (filter, words, indexes) in cases() {
            let plan = plan(store, &filter, words).await;
            let reads_by = |index: &&str| {
                let name = match *index {
                    "the id" => dialect.pick("sqlite_autoindex_runs_1", "runs_pkey"),
                    "the labels" => dialect.pick("SEARCH l USING PRIMARY KEY", "run_labels_pkey"),
                    "the words" => {
                        dialect.pick("USING PRIMARY KEY (tenant_key=? AND kind=? AND word=?", "search_words_pkey")
                    }
                    name => name,
                };
                plan.contains(name)
            };
            let all = indexes.iter().all(reads_by);
            let reads_everything = ["SCAN r\n", "SCAN r ", "Seq Scan on runs"].iter().any(|scan| plan.contains(scan))
                && !plan.contains("SCAN r USING INDEX");
            // Several branches are merged; one comes in its order.
            let sorts = filter.statuses.len() < 2 && ["TEMP B-TREE", "Sort"].iter().any(|sort| plan.contains(sort));
            // Pages of lanes and of workflows are merged, and PostgreSQL sorts the few runs of a key.
            let merges = plan.contains("lanes")
                || filter.within.is_some()
                || filter.trace.is_some()
                || (filter.key.is_some() && store.is_shared());
            // Whatever has one of several words is in no order.
            let merges = merges || words.last().is_some_and(|words| words.len() > 1);
            if !all || reads_everything || (sorts && !merges) {
                wrong.push(format!("{filter:?} with {words:?} is not read off {indexes:?} alone:\n{plan}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        // Where a page ends is found without sorting all that have a word.
        for words in [&["odd"][..], &["even", "odd"]] {
            let words: Vec<Arc<str>> = words.iter().map(|word| Arc::from(*word)).collect();
            let plan = explain(store, search::last_looked_at((TENANT, &RunFilter::default()), &words, dialect)).await;
            let of_each =
                dialect.pick("(tenant_key=? AND kind=? AND word=? AND id<?)", "Scan Backward using search_words_pkey");
            assert!(plan.contains(of_each), "{words:?}:\n{plan}");
        }
    }

    /// Each page looks at a bounded number of runs, and says where the next one goes on.
    async fn check_what_no_run_has(store: &Store) {
        let terms = search::terms("odd even").expect("words");
        let mut filter = RunFilter::default();
        let mut pages = 0;
        loop {
            let found = store.search_runs(TENANT, (&filter, &terms), 51).await.expect("a page");
            assert!(found.runs.is_empty());
            pages += 1;
            match found.looked_until {
                Some(until) => filter.after = Some(until),
                None => break,
            }
        }
        assert_eq!(pages, 2);
    }

    #[tokio::test]
    async fn lists_are_read_off_an_index_on_sqlite() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = filled(Location::Sqlite { data_dir: dir.path().join("data") }).await;
        check(&store).await;
        check_what_no_run_has(&store).await;
    }

    #[tokio::test]
    async fn lists_are_read_off_an_index_on_postgres() {
        let server = windlass_testkit::postgres().await;
        let store = filled(Location::Postgres { url: server.url.clone() }).await;
        check(&store).await;
        check_what_no_run_has(&store).await;
    }
}
