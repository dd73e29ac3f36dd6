//! A batch as PostgreSQL takes it: one array per column, rows of one statement side by side.
//!
//! Most batches go as one statement. Where one row would be touched twice, or a start may lose its idempotency key, the
//! statements follow one another in one flight.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::ToSql;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::RunId;

use crate::{
    committer::{
        chain::{Chain, Chains},
        commit::{CommitError, LaneId, RunChange},
        forms::{self, Keyed, Op, Rows},
        ops::{self, FoldKey, Lowered},
        queue::Job,
    },
    database::{Value, postgres::PgTime},
    run_row,
};

/// The journal's statement; `u` is what winners are filtered by.
pub(crate) fn journal_sql(keyed: Keyed) -> &'static str {
    match keyed {
        Keyed::All => {
            "insert into journal (tenant_key, run_id, seq, kind, opens, path, step, attempt, at, payload, checksum) \
             select u.* from unnest($1::integer[], $2::uuid[], $3::bigint[], $4::text[], $5::boolean[], $6::text[], \
             $7::text[], $8::integer[], $9::timestamptz[], $10::bytea[], $11::bigint[]) \
             as u(tenant_key, run_id, seq, kind, opens, path, step, attempt, at, payload, checksum)"
        }
        Keyed::Winners => {
            "insert into journal (tenant_key, run_id, seq, kind, opens, path, step, attempt, at, payload, checksum) \
             select u.* from unnest($1::integer[], $2::uuid[], $3::bigint[], $4::text[], $5::boolean[], $6::text[], \
             $7::text[], $8::integer[], $9::timestamptz[], $10::bytea[], $11::bigint[]) \
             as u(tenant_key, run_id, seq, kind, opens, path, step, attempt, at, payload, checksum) \
             where exists (select 1 from idempotency_keys k \
             where k.tenant_key = u.tenant_key and k.run_id = u.run_id)"
        }
    }
}

/// The journal's statement for a few rows, whose values are given one by one.
pub(crate) fn journal_sql_of(rows: usize) -> String {
    let columns = JOURNAL.map(|(name, _)| name).join(", ");
    let row = |row: usize| {
        let holes = JOURNAL.iter().enumerate();
        let holes = holes.map(|(at, (_, kind))| format!("${}::{kind}", row * JOURNAL.len() + at + 1));
        format!("({})", holes.collect::<Vec<_>>().join(", "))
    };
    let rows = (0..rows).map(row).collect::<Vec<_>>().join(", ");
    format!("insert into journal ({columns}) select u.* from (values {rows}) as u({columns})")
}

/// The journal's columns and their types.
pub(crate) const JOURNAL: [(&str, &str); 11] = [
    ("tenant_key", "integer"),
    ("run_id", "uuid"),
    ("seq", "bigint"),
    ("kind", "text"),
    ("opens", "boolean"),
    ("path", "text"),
    ("step", "text"),
    ("attempt", "integer"),
    ("at", "timestamptz"),
    ("payload", "bytea"),
    ("checksum", "bigint"),
];

/// The journal's columns, borrowed from the jobs.
#[derive(Default)]
pub(crate) struct Entries<'a> {
    tenant: Vec<i32>,
    run: Vec<Uuid>,
    seq: Vec<i64>,
    kind: Vec<&'a str>,
    opens: Vec<bool>,
    path: Vec<&'a str>,
    step: Vec<&'a str>,
    attempt: Vec<i32>,
    at: Vec<PgTime>,
    payload: Vec<&'a [u8]>,
    checksum: Vec<i64>,
}

impl Entries<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.seq.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.seq.len()
    }

    /// The values of one row.
    pub(crate) fn row(&self, at: usize) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.tenant[at],
            &self.run[at],
            &self.seq[at],
            &self.kind[at],
            &self.opens[at],
            &self.path[at],
            &self.step[at],
            &self.attempt[at],
            &self.at[at],
            &self.payload[at],
            &self.checksum[at],
        ]
    }

    /// All rows, as one array per column.
    pub(crate) fn params(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.tenant,
            &self.run,
            &self.seq,
            &self.kind,
            &self.opens,
            &self.path,
            &self.step,
            &self.attempt,
            &self.at,
            &self.payload,
            &self.checksum,
        ]
    }
}

/// One row of the batch that tells whether the batch is on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness {
    pub tenant: i32,
    pub run: Uuid,
    pub seq: i64,
    pub checksum: i64,
}

/// The idempotency keys of a batch, sorted so that two batches never wait for each other.
#[derive(Default)]
pub(crate) struct Keys {
    pub tenant: Vec<Value>,
    pub key_hash: Vec<Value>,
    pub body_hash: Vec<Value>,
    pub run: Vec<Value>,
}

/// A batch that is ready to fly.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub entries: Entries<'a>,
    pub columns: Vec<(Op, Vec<Vec<Value>>)>,
    pub keys: Keys,
    pub lanes: Vec<LaneId>,
    pub witness: Option<Witness>,
    /// Whether all of it may be one statement.
    pub together: bool,
    /// By the place of the job: why it is not part of the batch.
    pub refused: HashMap<usize, CommitError>,
}

/// Operations and rows of the journal that are given one by one.
const OPS_ONE_BY_ONE_MAX: usize = 6;
const ENTRIES_ONE_BY_ONE_MAX: usize = 3;

impl Batch<'_> {
    /// How its rows are given to one statement.
    pub(crate) fn rows(&self) -> Rows {
        let single = |(_, columns): &(Op, Vec<Vec<Value>>)| columns.first().is_some_and(|column| column.len() == 1);
        let one_by_one = self.lanes.len() == 1
            && self.columns.len() <= OPS_ONE_BY_ONE_MAX
            && self.entries.len() <= ENTRIES_ONE_BY_ONE_MAX
            && self.columns.iter().all(single);
        if one_by_one { Rows::One } else { Rows::Many }
    }
}

/// Lays the jobs out; `chains` holds the end of every run's journal that is on disk, and is moved on.
pub(crate) fn build<'a>(jobs: &'a [Job], chains: &mut Chains, at: Timestamp) -> Batch<'a> {
    let mut batch = Batch::default();
    let mut rows = Vec::new();
    let mut places: HashMap<RunId, usize> = HashMap::new();
    let mut lanes = HashSet::new();
    for (place, job) in jobs.iter().enumerate() {
        match extend(&mut batch.entries, job, chains) {
            Ok(chain) => {
                run_rows(job, chain, &mut rows, &mut places);
                chains.set(job.commit.run, chain);
                ops::lower(&job.commit, at, |lowered| rows.push(lowered));
                lanes.insert(job.commit.lane);
                if let (Some(_), true) = (job.commit.entries.last(), batch.witness.is_none()) {
                    batch.witness = Some(Witness {
                        tenant: job.commit.tenant.0,
                        run: job.commit.run.uuid(),
                        seq: chain.seq,
                        checksum: chain.checksum,
                    });
                }
            }
            Err(error) => {
                batch.refused.insert(place, error);
            }
        }
    }
    batch.together = all_apart(&rows);
    batch.columns = columns(rows);
    batch.keys = keys(jobs, &batch.refused);
    batch.lanes = lanes.into_iter().collect();
    batch.lanes.sort_unstable();
    batch
}

/// Adds the journal rows of a job, or says why it does not fit.
fn extend<'a>(entries: &mut Entries<'a>, job: &'a Job, chains: &Chains) -> Result<Chain, CommitError> {
    let commit = &job.commit;
    let known = match &commit.change {
        RunChange::Insert(_, _) => Some(Chain::start(commit.run, 0)),
        _ => chains.get(commit.run),
    };
    let Some(mut chain) = known else {
        return Err(CommitError::Conflict(format!("there is no run {}", commit.run)));
    };
    if let RunChange::Update(update) = &commit.change
        && chain.ended
        && update.status.is_some_and(|status| !status.is_final())
    {
        return Err(CommitError::Conflict("the run has a final status, which never changes".to_owned()));
    }
    let mut checksums = Vec::with_capacity(commit.entries.len());
    chain.extend(commit, |_, checksum| checksums.push(checksum))?;
    for (entry, checksum) in commit.entries.iter().zip(checksums) {
        entries.tenant.push(commit.tenant.0);
        entries.run.push(commit.run.uuid());
        entries.seq.push(entry.seq);
        entries.kind.push(entry.kind);
        entries.opens.push(entry.opens);
        entries.path.push(&entry.path);
        entries.step.push(&entry.step);
        entries.attempt.push(entry.attempt);
        entries.at.push(PgTime(entry.at));
        entries.payload.push(&entry.payload);
        entries.checksum.push(checksum);
    }
    match &commit.change {
        RunChange::None => {}
        RunChange::Insert(run, _) => chain.ended = run.status.is_final(),
        RunChange::Update(update) => chain.ended |= update.status.is_some_and(|status| status.is_final()),
    }
    Ok(chain)
}

/// Adds the row of the run; several changes of one run in a batch become one.
fn run_rows(job: &Job, chain: Chain, rows: &mut Vec<Lowered>, places: &mut HashMap<RunId, usize>) {
    let commit = &job.commit;
    match &commit.change {
        RunChange::None => {}
        RunChange::Insert(run, _) => {
            let values = run_row::values(commit, run, chain.bytes);
            places.insert(commit.run, rows.len());
            rows.push(Lowered { op: Op::InsertRun, values, fold: FoldKey::Once });
        }
        RunChange::Update(update) => {
            let ends = update.status.is_some_and(|status| status.is_final());
            let values = run_row::update_values(commit, update, ends.then_some(chain.bytes));
            let row = places.get(&commit.run).map(|place| &mut rows[*place]);
            match row {
                Some(row) if row.op == Op::InsertRun => forms::fold_update(&mut row.values, values),
                Some(row) => {
                    for (old, new) in row.values.iter_mut().zip(values) {
                        if new != Value::Null {
                            *old = new;
                        }
                    }
                }
                None => {
                    places.insert(commit.run, rows.len());
                    rows.push(Lowered { op: Op::UpdateRun, values, fold: FoldKey::Once });
                }
            }
        }
    }
}

/// Whether no row is touched by two statements, so that their order means nothing.
fn all_apart(rows: &[Lowered]) -> bool {
    // A task's id is the second value of all that is done to it.
    let tasks = |wanted: Op| rows.iter().filter(move |row| row.op == wanted).filter_map(|row| row.values.get(1));
    let opened: HashSet<Uuid> = tasks(Op::OpenTask).filter_map(as_uuid).collect();
    rows.iter().all(|row| forms::any_order(row.op))
        && (opened.is_empty() || tasks(Op::DeleteTask).filter_map(as_uuid).all(|task| !opened.contains(&task)))
}

pub(crate) fn as_uuid(value: &Value) -> Option<Uuid> {
    if let Value::Uuid(uuid) = value { Some(*uuid) } else { None }
}

/// Groups rows by statement, in the order of statements; of rows that touch the same thing the last one stays.
fn columns(rows: Vec<Lowered>) -> Vec<(Op, Vec<Vec<Value>>)> {
    let mut last: HashMap<FoldKey, usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        if row.fold != FoldKey::Once {
            last.insert(row.fold.clone(), place);
        }
    }
    let mut groups: std::collections::BTreeMap<Op, Vec<Vec<Value>>> = std::collections::BTreeMap::new();
    for (place, row) in rows.into_iter().enumerate() {
        if row.fold != FoldKey::Once && last.get(&row.fold) != Some(&place) {
            continue;
        }
        let columns = groups.entry(row.op).or_insert_with(|| row.values.iter().map(|_| Vec::new()).collect());
        for (column, value) in columns.iter_mut().zip(row.values) {
            column.push(value);
        }
    }
    groups.into_iter().collect()
}

fn keys(jobs: &[Job], refused: &HashMap<usize, CommitError>) -> Keys {
    let mut all: Vec<_> = jobs
        .iter()
        .enumerate()
        .filter(|(place, _)| !refused.contains_key(place))
        .filter_map(|(_, job)| match &job.commit.change {
            RunChange::Insert(_, Some(key)) => Some((job.commit.tenant, *key, job.commit.run)),
            _ => None,
        })
        .collect();
    all.sort_by_key(|(tenant, key, run)| (*tenant, key.key_hash, *run));
    let mut keys = Keys::default();
    for (tenant, key, run) in all {
        keys.tenant.push(tenant.into());
        keys.key_hash.push(key.key_hash.into());
        keys.body_hash.push(key.body_hash.into());
        keys.run.push(run.into());
    }
    keys
}
