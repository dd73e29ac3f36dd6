//! Full text: by which words workflows and runs are found.
//!
//! The words of a workflow are written where its draft is. Those of runs are written behind them, by whoever reads what
//! has come since ([`Store::runs_to_read`]), so that a run costs nothing more than before; up to where they have been
//! read stands in the database, and an answer can say it. Words are rows of an ordinary table: under row-level
//! security PostgreSQL would not use an index of its own full text (docs/adr/0027).
//!
//! Invariant: each word of `search_words` stands in the document of the same thing, so that what goes takes its words
//! with it.

mod words;

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    RunFilter, RunRow, StoreError,
    database::{Dialect, Row, Tx, Value},
    run_lists::{Query, WithWords, first_id},
    run_row::{self, NAMES},
    runs::PAGE_RUNS_MAX,
    store::Store,
};

pub use words::{Term, TermError, Words, terms};

/// How many words may begin as a term says.
const PREFIX_WORDS_MAX: usize = 50;
/// Up to how many things with a word are counted, to look for the rarest first.
const SAMPLE_MAX: i64 = 2_000;
/// The same where even the rarest has as many.
const LARGE_SAMPLE_MAX: i64 = 20_000;
/// Of how many runs with the rarest word one page looks whether they have the others, and all else that is asked.
const LOOKED_AT_MAX: i64 = 10_000;
/// Words that are kept of a workflow.
const WORKFLOW_WORDS_MAX: usize = 2_000;

/// What is found by words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Workflow,
    Run,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Workflow => "workflow",
            Kind::Run => "run",
        }
    }
}

/// A term as it is looked for: one of these words, which up to so many things have.
#[derive(Debug, Clone)]
pub(crate) struct Sought {
    pub words: Vec<Arc<str>>,
    pub few: i64,
}

/// What a run is to be found by.
#[derive(Debug, Clone)]
pub struct RunWords {
    /// The run.
    pub run: RunId,
    /// Its words.
    pub words: Words,
    /// It was not over when it was read.
    pub waits: bool,
}

/// Runs that were made since the last ones that were read.
#[derive(Debug, Clone)]
pub struct RunsToRead {
    /// Those up to this one have been read.
    pub after: RunId,
    /// The next ones, the oldest first.
    pub runs: Vec<RunRow>,
    /// When there is none: whether there are younger ones than were asked for.
    pub younger: bool,
}

/// A page of runs that were searched.
#[derive(Debug, Clone)]
pub struct RunsFound {
    /// The runs, newest first.
    pub runs: Vec<RunRow>,
    /// The page may have fewer runs than it could, and older ones than this one were not looked at.
    pub looked_until: Option<RunId>,
}

/// Why nothing was looked for.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Too many words begin like that.
    #[error("more than {PREFIX_WORDS_MAX} words begin with `{0}`: write more of it")]
    TooManyWords(Arc<str>),
    /// The database refused, or went away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Conditions that a thing has these words, beside `id`, its column; the parameters are added.
pub(crate) fn conditions(
    (kind, id): (&str, &str),
    sought: &[Sought],
    dialect: Dialect,
    params: &mut Vec<Value>,
) -> String {
    let mut all = String::new();
    for Sought { words, .. } in sought {
        params.push(words.clone().into());
        let is_one = dialect.in_texts(params.len());
        all.push_str(&format!(
            " and exists (select 1 from search_words o where o.tenant_key = $1 and o.kind = '{kind}' \
             and o.word {is_one} and o.id = {id})"
        ));
    }
    all
}

/// The last run of those that have one of these words which a page looks at: each word gets its share. PostgreSQL would
/// sort all that have one of several words, also where these are one.
pub(crate) fn last_looked_at((tenant, filter): (TenantKey, &RunFilter), words: &[Arc<str>], dialect: Dialect) -> Query {
    let before = filter.after.map_or(Uuid::max(), |run| run.uuid());
    let each = LOOKED_AT_MAX / i64::try_from(words.len()).unwrap_or(LOOKED_AT_MAX).max(1);
    let from = dialect.pick("json_each($2) w", "unnest($2::text[]) as w(value)");
    let sql = format!(
        "select e.id from (select (select o.id from search_words o where o.tenant_key = $1 and o.kind = 'run' \
         and o.word = w.value and o.id < $3 order by o.id desc limit 1 offset $4) as id from {from}) e \
         order by e.id desc nulls last limit 1"
    );
    Query { sql, params: vec![tenant.into(), words.to_vec().into(), before.into(), (each - 1).into()] }
}

/// Writes the words of a workflow in place of those that it had.
pub(crate) async fn put_workflow(
    tx: &mut Tx,
    tenant: TenantKey,
    (id, texts): (Uuid, &[&str]),
) -> Result<(), StoreError> {
    let mut words = Words::default();
    texts.iter().all(|text| words.add(text, WORKFLOW_WORDS_MAX));
    forget(tx, tenant, (Kind::Workflow, id)).await?;
    write(tx, (tenant, Kind::Workflow), &[(id, &words, false)]).await
}

/// Takes away the words of a run.
pub(crate) async fn forget_run(tx: &mut Tx, tenant: TenantKey, run: RunId) -> Result<(), StoreError> {
    forget(tx, tenant, (Kind::Run, run.uuid())).await
}

async fn forget(tx: &mut Tx, tenant: TenantKey, (kind, id): (Kind, Uuid)) -> Result<(), StoreError> {
    let sql = "delete from search_documents where tenant_key = $1 and kind = $2 and id = $3 returning words";
    let rows = tx.query(sql, vec![tenant.into(), kind.as_str().into(), id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let words: Vec<Arc<str>> = row.text(0)?.split(' ').map(Arc::from).collect();
    let sql = format!(
        "delete from search_words where tenant_key = $1 and kind = $2 and word {} and id = $4",
        tx.dialect().in_texts(3)
    );
    tx.execute(sql, vec![tenant.into(), kind.as_str().into(), words.into(), id.into()]).await.map(|_| ())
}

/// Writes documents and their words; of a run that was read before, what it did not have yet.
async fn write(
    tx: &mut Tx,
    (tenant, kind): (TenantKey, Kind),
    documents: &[(Uuid, &Words, bool)],
) -> Result<(), StoreError> {
    let dialect = tx.dialect();
    let rows: Vec<_> = documents
        .iter()
        .map(|(id, words, waits)| json!({ "id": id, "words": words.joined(), "waits": waits }))
        .collect();
    let from = dialect.pick(
        "unhex(value ->> 'id', '-'), value ->> 'words', value ->> 'waits' from json_each($3) where true",
        "d.id, d.words, d.waits from jsonb_to_recordset($3) as d(id uuid, words text, waits boolean) where true",
    );
    let sql = format!(
        "insert into search_documents (tenant_key, kind, id, words, waits) select $1, $2, {from} \
         on conflict (tenant_key, kind, id) do update set words = excluded.words, waits = excluded.waits \
         where search_documents.waits"
    );
    tx.execute(sql, vec![tenant.into(), kind.as_str().into(), Value::json(&rows)]).await?;
    let words: Vec<_> = documents
        .iter()
        .flat_map(|(id, words, _)| words.iter().map(move |word| json!({ "id": id, "word": word })))
        .collect();
    let from = dialect.pick(
        "value ->> 'word', unhex(value ->> 'id', '-') from json_each($3) where true",
        "w.word, w.id from jsonb_to_recordset($3) as w(word text, id uuid)",
    );
    let sql = format!(
        "insert into search_words (tenant_key, kind, word, id) select $1, $2, {from} \
         on conflict (tenant_key, kind, word, id) do nothing"
    );
    tx.execute(sql, vec![tenant.into(), kind.as_str().into(), Value::json(&words)]).await.map(|_| ())
}

impl Store {
    /// What terms are looked for as; `None` when nothing has one of them.
    async fn sought(&self, tenant: TenantKey, kind: Kind, terms: &[Term]) -> Result<Option<Vec<Sought>>, SearchError> {
        let mut all = Vec::with_capacity(terms.len());
        for term in terms {
            let words = if term.prefix {
                self.words_that_begin(tenant, kind, &term.word).await?
            } else {
                vec![Arc::clone(&term.word)]
            };
            let few = self.count_with((tenant, kind), &words, SAMPLE_MAX).await?;
            if few == 0 {
                return Ok(None);
            }
            all.push(Sought { words, few });
        }
        Ok(Some(all))
    }

    async fn words_that_begin(
        &self,
        tenant: TenantKey,
        kind: Kind,
        prefix: &Arc<str>,
    ) -> Result<Vec<Arc<str>>, SearchError> {
        // From word to word by the key: how many things have them is not read.
        let next = "select min(s.word) from search_words s where s.tenant_key = $1 and s.kind = $2 and s.word < $4";
        let sql = format!(
            "with recursive w (word) as ({next} and s.word >= $3 union all \
             select ({next} and s.word > w.word) from w where w.word is not null) \
             select word from w where word is not null limit $5"
        );
        let end = format!("{prefix}{}", char::MAX);
        let limit = i64::try_from(PREFIX_WORDS_MAX).unwrap_or(i64::MAX) + 1;
        let params = vec![tenant.into(), kind.as_str().into(), (&**prefix).into(), end.into(), limit.into()];
        let rows = self.database().of(tenant).query(sql, params).await?;
        if rows.len() > PREFIX_WORDS_MAX {
            return Err(SearchError::TooManyWords(Arc::clone(prefix)));
        }
        Ok(rows.iter().map(|row| row.shared(0)).collect::<Result<_, _>>()?)
    }

    /// How many things have one of these words, counted up to a bound.
    async fn count_with(
        &self,
        (tenant, kind): (TenantKey, Kind),
        words: &[Arc<str>],
        max: i64,
    ) -> Result<i64, StoreError> {
        let is_one = self.database().dialect().in_texts(3);
        let sql = format!(
            "select count(*) from (select 1 from search_words where tenant_key = $1 and kind = $2 and word {is_one} \
             limit $4) few"
        );
        let params = vec![tenant.into(), kind.as_str().into(), words.to_vec().into(), max.into()];
        self.database().of(tenant).query_opt(sql, params).await?.map_or(Ok(0), |row| row.int(0))
    }

    /// A page of the runs that have all of these words, newest first.
    ///
    /// # Errors
    /// Too many words begin as a term says, or the database does not answer.
    pub async fn search_runs(
        &self,
        tenant: TenantKey,
        (filter, terms): (&RunFilter, &[Term]),
        limit: i64,
    ) -> Result<RunsFound, SearchError> {
        let nothing = RunsFound { runs: Vec::new(), looked_until: None };
        let Some(mut sought) = self.sought(tenant, Kind::Run, terms).await? else { return Ok(nothing) };
        if sought.len() > 1 && sought.iter().all(|it| it.few >= SAMPLE_MAX) {
            for it in &mut sought {
                it.few = self.count_with((tenant, Kind::Run), &it.words, LARGE_SAMPLE_MAX).await?;
            }
        }
        sought.sort_by_key(|it| std::cmp::Reverse(it.few));
        let looked_until = self.looked_until(tenant, filter, sought.last()).await?;
        let limit = limit.clamp(1, PAGE_RUNS_MAX);
        let dialect = self.database().dialect();
        let words = WithWords { sought, until: looked_until };
        let Query { sql, params } = Query::of(tenant, (filter, words), dialect, (NAMES, limit));
        let rows = self.database().of(tenant).query(sql, params).await?;
        let runs = rows.iter().map(run_row::read).collect::<Result<Vec<_>, _>>()?;
        let is_full = runs.len() as i64 >= limit;
        Ok(RunsFound { runs, looked_until: looked_until.filter(|_| !is_full) })
    }

    /// How far back one page looks, when very many runs have even the rarest word.
    async fn looked_until(
        &self,
        tenant: TenantKey,
        filter: &RunFilter,
        rarest: Option<&Sought>,
    ) -> Result<Option<RunId>, StoreError> {
        let Some(rarest) = rarest.filter(|it| it.few >= SAMPLE_MAX) else { return Ok(None) };
        let Query { sql, params } = last_looked_at((tenant, filter), &rarest.words, self.database().dialect());
        let last = self.database().of(tenant).query_opt(sql, params).await?;
        Ok(last.map(|row| row.opt(0, Row::id)).transpose()?.flatten())
    }

    /// What workflows are found by; `None` when none has one of the words.
    pub(crate) async fn sought_workflows(
        &self,
        tenant: TenantKey,
        terms: &[Term],
    ) -> Result<Option<Vec<Sought>>, SearchError> {
        self.sought(tenant, Kind::Workflow, terms).await
    }

    /// Up to when runs have been read: those that were made later are not found yet.
    pub async fn searched_until(&self, tenant: TenantKey) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.read_until(tenant).await?.map(|run| run.made_at()))
    }

    async fn read_until(&self, tenant: TenantKey) -> Result<Option<RunId>, StoreError> {
        let sql = "select run_id from search_progress where tenant_key = $1";
        self.database().of(tenant).query_opt(sql, vec![tenant.into()]).await?.map(|row| row.id(0)).transpose()
    }

    /// The runs that were made before a time and not read yet, the oldest first.
    pub async fn runs_to_read(
        &self,
        tenant: TenantKey,
        before: Timestamp,
        limit: i64,
    ) -> Result<RunsToRead, StoreError> {
        let after = self.read_until(tenant).await?.unwrap_or(RunId::new(Uuid::nil()));
        let sql =
            format!("select {NAMES} from runs where tenant_key = $1 and id > $2 and id < $3 order by id limit $4");
        let params = vec![tenant.into(), after.into(), first_id(before), limit.clamp(1, PAGE_RUNS_MAX).into()];
        let rows = self.database().of(tenant).query(sql, params).await?;
        let runs = rows.iter().map(run_row::read).collect::<Result<Vec<_>, _>>()?;
        let younger = runs.is_empty() && {
            let sql = "select 1 from runs where tenant_key = $1 and id > $2 limit 1";
            self.database().of(tenant).query_opt(sql, vec![tenant.into(), after.into()]).await?.is_some()
        };
        Ok(RunsToRead { after, runs, younger })
    }

    /// Runs that were not over when they were read, and are now.
    pub async fn runs_to_read_again(&self, tenant: TenantKey, limit: i64) -> Result<Vec<RunRow>, StoreError> {
        let dialect = self.database().dialect();
        let names: Vec<String> = NAMES.split(", ").map(|name| format!("r.{name}")).collect();
        let sql = format!(
            "select {} from search_documents d {} runs r on r.tenant_key = d.tenant_key and r.id = d.id \
             where d.tenant_key = $1 and {} and r.status in \
             ('completed', 'failed', 'compensated', 'cancelled', 'timed_out') limit $2",
            names.join(", "),
            dialect.pick("cross join", "join"),
            dialect.pick("d.waits = 1", "d.waits"),
        );
        let params = vec![tenant.into(), limit.clamp(1, PAGE_RUNS_MAX).into()];
        self.database().of(tenant).query(sql, params).await?.iter().map(run_row::read).collect()
    }

    /// Writes what runs are found by; with `progress`, that those up to the second one have been read, if until now it
    /// was the first. `false`: somebody else was faster, and nothing was written.
    pub async fn put_run_words(
        &self,
        tenant: TenantKey,
        runs: Vec<RunWords>,
        progress: Option<(RunId, RunId)>,
    ) -> Result<bool, StoreError> {
        let written = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                if let Some((from, to)) = progress {
                    let make =
                        "insert into search_progress (tenant_key, run_id) values ($1, $2) on conflict do nothing";
                    tx.execute(make, vec![tenant.into(), RunId::new(Uuid::nil()).into()]).await?;
                    let go = "update search_progress set run_id = $3 where tenant_key = $1 and run_id = $2";
                    if tx.execute(go, vec![tenant.into(), from.into(), to.into()]).await? == 0 {
                        return Ok(false);
                    }
                }
                // Whoever deletes one of them waits, and finds its words then; who was faster leaves none behind.
                let lock = tx.dialect().pick("", " for key share");
                let sql =
                    format!("select id from runs where tenant_key = $1 and id {}{lock}", tx.dialect().in_uuids(2));
                let ids = Value::Uuids(runs.iter().map(|it| it.run.uuid()).collect());
                let there = tx.query(sql, vec![tenant.into(), ids]).await?;
                let there = there.iter().map(|row: &Row| row.uuid(0)).collect::<Result<Vec<_>, _>>()?;
                // A run that is over when it is first read, and has no words, needs no document.
                let is_kept = |it: &&RunWords| progress.is_none() || it.waits || !it.words.is_empty();
                let documents: Vec<_> = runs
                    .iter()
                    .filter(|it| is_kept(it) && there.contains(&it.run.uuid()))
                    .map(|it| (it.run.uuid(), &it.words, it.waits))
                    .collect();
                if !documents.is_empty() {
                    write(tx, (tenant, Kind::Run), &documents).await?;
                }
                Ok(true)
            })
        });
        written.await
    }

    /// Writes the words of workflows that an older version of the program kept without them; how many it were.
    pub async fn put_missing_workflow_words(&self, tenant: TenantKey) -> Result<usize, StoreError> {
        let turn = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                let lock = tx.dialect().pick("", " for update");
                let sql = format!(
                    "select id, name, description, draft from workflows w where tenant_key = $1 and not exists \
                     (select 1 from search_documents d where d.tenant_key = w.tenant_key and d.kind = 'workflow' \
                     and d.id = w.id) limit 20{lock}"
                );
                let rows = tx.query(sql, vec![tenant.into()]).await?;
                for row in &rows {
                    let (name, description) = (row.string(1)?, row.string(2)?);
                    let draft = row.opt(3, Row::string)?.unwrap_or_default();
                    put_workflow(tx, tenant, (row.uuid(0)?, &[&name, &description, &draft])).await?;
                }
                Ok(rows.len())
            })
        });
        turn.await
    }
}
