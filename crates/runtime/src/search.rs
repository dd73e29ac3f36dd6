//! Reading runs for full text, behind everything else: what was made since the last look, what came to the database later
//! than its id says, and what went on when it was read and is over now.
//!
//! Invariants: nothing here holds up a run, for it rests nine times as long as it works; what two servers read both is
//! written once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use windlass_definition::{Value, time::Timestamp};
use windlass_engine::{
    entry::Record,
    id::{RunId, TenantKey},
};
use windlass_store::{Ends, RunRow, RunWords, Store, Term, Words};

use crate::{core::Core, error::RuntimeError, loader, payload};

/// Runs that are read at once.
const RUNS_PER_TURN: i64 = 200;
/// So often at once of one tenant: then others have their turn.
const TURNS_MAX: u32 = 10;
/// It rests so many times as long as it worked.
const RESTS: u32 = 9;
/// A run that is younger may be on its way to the database still.
const SETTLED: Duration = Duration::from_secs(1);
/// Between two looks at everything, whether or not anything was heard of it here.
const LOOK: Duration = Duration::from_secs(60);
/// After a look that came to nothing.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// Words of what a run was given; the others are for what came of it.
const GIVEN_WORDS_MAX: usize = 70;
/// Words of a run.
const WORDS_MAX: usize = 100;
/// Runs that are remembered as late; of more, those that go on are found by the next look.
const LATE_MAX: usize = 100_000;

/// What this server knows of runs that are to be read.
#[derive(Debug, Default)]
pub(crate) struct ToRead(Mutex<Heard>);

#[derive(Debug, Clone, Default)]
struct Heard {
    /// Who has runs since the last look.
    tenants: BTreeSet<TenantKey>,
    /// Runs that began or ended on disk so late that they may have been passed.
    late: Vec<(TenantKey, RunId)>,
}

impl ToRead {
    /// A run has begun or ended on disk.
    pub(crate) fn hear(&self, (tenant, run): (TenantKey, RunId), now: Timestamp) {
        let is_late = now.since(run.made_at()) > SETTLED;
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.tenants.insert(tenant);
        if is_late && heard.late.len() < LATE_MAX {
            heard.late.push((tenant, run));
        }
    }

    /// A tenant has more runs.
    fn again(&self, tenant: TenantKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tenants.insert(tenant);
    }

    fn take(&self) -> Heard {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing came of what was taken.
    fn put_back(&self, Heard { tenants, late }: Heard) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.tenants.extend(tenants);
        let room = LATE_MAX.saturating_sub(heard.late.len());
        heard.late.extend(late.into_iter().take(room));
    }
}

/// Reads until everything stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut looked = None;
    loop {
        tokio::time::sleep(core.settings.search).await;
        let all = looked.is_none_or(|at: Instant| at.elapsed() >= LOOK);
        let heard = core.to_read.take();
        match look(&core, heard.clone(), (all, looked.is_none())).await {
            Ok(()) if all => looked = Some(Instant::now()),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "runs were not read for searches; the next look goes on");
                core.to_read.put_back(heard);
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// One look: at what was heard of, or at all tenants; the first one at workflows as well.
async fn look(core: &Core, heard: Heard, (all, first): (bool, bool)) -> Result<(), RuntimeError> {
    let Heard { mut tenants, late } = heard;
    if all {
        tenants.extend(core.store.tenants().await?.iter().map(|tenant| tenant.key));
    }
    let mut of_tenant: BTreeMap<TenantKey, Vec<RunId>> = BTreeMap::new();
    for (tenant, run) in late {
        of_tenant.entry(tenant).or_default().push(run);
    }
    for tenant in tenants {
        while first && core.store.put_missing_workflow_words(tenant).await? > 0 {}
        if read_new(core, tenant).await? {
            core.to_read.again(tenant);
        }
        for runs in of_tenant.remove(&tenant).unwrap_or_default().chunks(RUNS_PER_TURN as usize) {
            let begun = Instant::now();
            let rows = core.store.runs_by_id(tenant, runs).await?;
            read_again(core, tenant, rows).await?;
            tokio::time::sleep(begun.elapsed() * RESTS).await;
        }
        if all {
            read_ended(core, tenant).await?;
        }
    }
    Ok(())
}

/// Reads again what went on when it was read, and is over.
async fn read_ended(core: &Core, tenant: TenantKey) -> Result<(), RuntimeError> {
    if !searched(core, tenant).await? {
        return Ok(());
    }
    loop {
        let begun = Instant::now();
        let rows = core.store.runs_to_read_again(tenant, RUNS_PER_TURN).await?;
        let more = rows.len() as i64 >= RUNS_PER_TURN;
        read_again(core, tenant, rows).await?;
        tokio::time::sleep(begun.elapsed() * RESTS).await;
        if !more {
            return Ok(());
        }
    }
}

/// Reads what was made since the last look; whether there is more, or some of it is too young yet.
async fn read_new(core: &Core, tenant: TenantKey) -> Result<bool, RuntimeError> {
    for _ in 0..TURNS_MAX {
        let begun = Instant::now();
        let now = core.now();
        let before = Timestamp::from_micros(now.micros() - SETTLED.as_micros() as i64);
        let new = core.store.runs_to_read(tenant, before, RUNS_PER_TURN).await?;
        let Some(last) = new.runs.last().map(|row| row.id) else { return Ok(new.younger) };
        let words =
            if searched(core, tenant).await? { words_of(&core.store, tenant, new.runs).await? } else { Vec::new() };
        if !core.store.put_run_words(tenant, words, Some((new.after, last))).await? {
            // Another server is at it.
            return Ok(true);
        }
        tokio::time::sleep(begun.elapsed() * RESTS).await;
    }
    Ok(true)
}

async fn read_again(core: &Core, tenant: TenantKey, rows: Vec<RunRow>) -> Result<(), RuntimeError> {
    if !rows.is_empty() && searched(core, tenant).await? {
        let words = words_of(&core.store, tenant, rows).await?;
        core.store.put_run_words(tenant, words, None).await?;
    }
    Ok(())
}

/// Whether the tenant's runs are to be found by their words.
pub(crate) async fn searched(core: &Core, tenant: TenantKey) -> Result<bool, RuntimeError> {
    Ok(core.settings.now(&core.store.setting_values(tenant).await?).search_runs)
}

/// What these runs are found by.
pub(crate) async fn words_of(
    store: &Store,
    tenant: TenantKey,
    rows: Vec<RunRow>,
) -> Result<Vec<RunWords>, RuntimeError> {
    let runs: Vec<RunId> = rows.iter().map(|row| row.id).collect();
    let mut ends = store.journals_ends(tenant, &runs).await?;
    let read = move || {
        let words = |row: &RunRow| RunWords {
            run: row.id,
            words: words(row, ends.remove(&row.id)),
            waits: !row.status.is_final(),
        };
        Ok(rows.iter().map(words).collect())
    };
    loader::on_large_stack(read).await.map_err(RuntimeError::unavailable)
}

/// What a run is found by: its key, its labels, what it was given, and when it is over, its error and what it gave.
fn words(row: &RunRow, ends: Option<Ends>) -> Words {
    let mut words = Words::default();
    let mut given = |text: &str| words.add(text, GIVEN_WORDS_MAX);
    if let Some(key) = &row.key {
        given(key);
    }
    let labels = row.labels.as_ref().and_then(|labels| labels.as_object());
    for label in labels.into_iter().flat_map(|labels| labels.values()) {
        given(label.as_str().unwrap_or_default());
    }
    let Some(Ends { first, last }) = ends else { return words };
    texts(&first, &mut given);
    if row.status.is_final() {
        let mut came = |text: &str| words.add(text, WORDS_MAX);
        if let Some(error) = &row.error {
            came(&error.code);
            came(&error.message);
        }
        texts(&last, &mut came);
    }
    words
}

/// What an entry gives or was given; of a value that is kept apart, how it begins. One that cannot be read says nothing:
/// whoever opens the run is told.
fn texts(payload: &[u8], take: &mut impl FnMut(&str) -> bool) {
    let Ok(decoded) = payload::decode(payload) else { return };
    for apart in decoded.apart.values() {
        take(&apart.preview);
    }
    match &decoded.record {
        Record::Started(start) => each_text(&start.input, take),
        Record::Finished(end) => each_text(&end.output, take),
        _ => true,
    };
}

/// Hands out what stands in a value, as long as it is taken.
fn each_text(value: &Value, take: &mut impl FnMut(&str) -> bool) -> bool {
    match value {
        Value::String(text) => take(text),
        Value::Int(number) => take(&number.to_string()),
        Value::Uint(number) => take(&number.to_string()),
        Value::Double(number) => take(&number.to_string()),
        Value::List(items) => items.iter().all(|item| each_text(item, take)),
        Value::Map(map) => map.values().all(|item| each_text(item, take)),
        _ => true,
    }
}

/// What is asked for, as it is looked for.
pub(crate) fn terms(q: &str) -> Result<Vec<Term>, RuntimeError> {
    windlass_store::terms(q).map_err(|error| RuntimeError::invalid("/q", error.to_string()))
}
