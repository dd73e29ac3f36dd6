//! Reading a run back: its row, its last snapshot, the journal after it, and the state that they lead to.
//!
//! A journal is read in pages and folded on a thread with a large stack, so that neither a long run nor a deep value
//! holds up anything else.

use std::{
    collections::{HashMap, HashSet},
    io,
    num::NonZero,
    sync::{Arc, LazyLock},
};

use tokio::runtime::{Builder, Runtime};
use windlass_definition::Timestamp;
use windlass_engine::{
    Entry, Run,
    id::{RunId, TaskId, TenantKey},
    status::RunStatus,
};
use windlass_store::{LaneId, RunRow, Store, StoreError, StoredEntry, crash_point};

use crate::{
    core::Core,
    error::RuntimeError,
    payload::{self, Decoded},
    plans::CompiledPlan,
    turner::Message,
};

/// Snapshots of another version of the engine's state are not read: the journal is.
pub(crate) const ENGINE_VERSION: i32 = 2;

const PAGE_ROWS: i64 = 5_000;
/// Claimed runs of one read, and the rows that each of them may have less than: more are read by themselves.
const CLAIMED_CHUNK: usize = 250;
const CLAIMED_ROWS_MAX: i64 = 8;
const STACK_BYTES: usize = 64 << 20;

/// Whether what the run was doing is to be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recover {
    /// Another process did it, or its state here was given up.
    Yes,
    /// Only if something of it was running.
    No,
}

/// A run that was read.
pub(crate) struct Loaded {
    pub(crate) run: Run,
    /// What its row says.
    pub(crate) status: RunStatus,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) lane: LaneId,
    /// Its tasks that have rows, if it is recovered.
    pub(crate) tasks: HashSet<TaskId>,
    pub(crate) timer: Option<Timestamp>,
    pub(crate) visible: HashSet<Arc<str>>,
    pub(crate) snapshot_seq: i64,
    pub(crate) last_at: Timestamp,
    pub(crate) recover: Recover,
}

/// Why a run was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// There is no such run in this tenant.
    #[error("there is no such run")]
    NotFound,
    /// It has ended.
    #[error("the run is {0}")]
    Over(RunStatus, LaneId),
    /// Another node owns it.
    #[error("another node owns lane {}", .0.0)]
    Elsewhere(LaneId),
    /// Its journal leads nowhere.
    #[error("{0}")]
    Damaged(String),
    /// The database did not answer.
    #[error("{0}")]
    Store(String),
}

impl LoadError {
    /// What is answered to who sent something to the run.
    pub(crate) fn answer(&self, run: RunId) -> RuntimeError {
        match self {
            LoadError::NotFound => RuntimeError::not_found("run", run),
            LoadError::Over(status, _) => windlass_engine::Reject::NotNow(*status).into(),
            LoadError::Elsewhere(lane) => RuntimeError::Elsewhere { lane: *lane },
            LoadError::Damaged(detail) => RuntimeError::Damaged { run, detail: detail.clone() },
            LoadError::Store(detail) => RuntimeError::unavailable(detail.clone()),
        }
    }
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> LoadError {
        match error {
            StoreError::Damaged(detail) => LoadError::Damaged(detail),
            other => LoadError::Store(other.to_string()),
        }
    }
}

/// Reads a run for its turner.
pub(crate) async fn load(core: Arc<Core>, tenant: TenantKey, run: RunId, recover: Recover) {
    crash_point::hit("before-load");
    let result = read_for_turner(&core, tenant, run, recover).await.map(Box::new);
    crash_point::hit("after-load");
    core.send(run, Message::Loaded { tenant, run, recover, result });
}

/// Reads runs that were claimed to begin, many at once, for their turners. What is not that simple is left out: it is
/// read by itself when it is told to begin.
pub(crate) async fn load_claimed(core: &Arc<Core>, tenant: TenantKey, runs: &[RunId]) {
    for some in runs.chunks(CLAIMED_CHUNK) {
        crash_point::hit("before-load");
        let read = read_claimed(core, tenant, some).await;
        crash_point::hit("after-load");
        match read {
            Ok(all) => {
                all.into_iter()
                    .for_each(|it| core.send(it.run.id(), Message::Claimed { tenant, loaded: Box::new(it) }));
            }
            Err(error) => tracing::debug!(%error, "claimed runs are read one by one"),
        }
    }
}

async fn read_claimed(core: &Arc<Core>, tenant: TenantKey, runs: &[RunId]) -> Result<Vec<Loaded>, LoadError> {
    let rows = core.store.runs_by_id(tenant, runs).await?;
    let mut journals = core.store.first_rows(tenant, runs, CLAIMED_ROWS_MAX).await?;
    let timers = core.store.with_timers(tenant, runs).await?;
    let mut known = Vec::with_capacity(rows.len());
    for row in rows {
        let entries = journals.remove(&row.id).unwrap_or_default();
        let is_young = (1..CLAIMED_ROWS_MAX).contains(&(entries.len() as i64)) && !timers.contains(&row.id);
        if is_young
            && !row.status.is_final()
            && core.store.owns(row.lane)
            && let Ok(plan) = core.plans.find(&core.store, tenant, row.definition_hash).await
        {
            known.push((row.lane, plan, entries));
        }
    }
    let fold = move || Ok(known.into_iter().filter_map(|(lane, plan, entries)| young(lane, plan, entries)).collect());
    on_large_stack(fold).await.map_err(LoadError::Damaged)
}

/// A run that has not begun, from all that was written of it; none if it has values that are kept apart, or cannot be
/// rebuilt.
fn young(lane: LaneId, plan: Arc<CompiledPlan>, rows: Vec<StoredEntry>) -> Option<Loaded> {
    let nothing = HashMap::new();
    let decoded = rows.into_iter().map(|row| {
        let decoded = payload::decode(&row.payload).ok().filter(|decoded| decoded.apart.is_empty())?;
        entry(row, decoded, &nothing).ok()
    });
    let entries = decoded.collect::<Option<Vec<Entry>>>()?;
    let last_at = entries.last()?.at;
    let run = Run::replay(&plan.plan, entries).ok().filter(|run| run.status() == RunStatus::Queued)?;
    let visible = run.active(&plan.plan).into_iter().map(|step| step.path).collect();
    Some(Loaded {
        status: run.status(),
        run,
        plan,
        lane,
        tasks: HashSet::new(),
        timer: None,
        visible,
        snapshot_seq: 0,
        last_at,
        recover: Recover::No,
    })
}

async fn read_for_turner(
    core: &Arc<Core>,
    tenant: TenantKey,
    id: RunId,
    recover: Recover,
) -> Result<Loaded, LoadError> {
    let row = core.store.run(tenant, id).await?.ok_or(LoadError::NotFound)?;
    if row.status.is_final() {
        return Err(LoadError::Over(row.status, row.lane));
    }
    if !core.store.owns(row.lane) {
        return Err(LoadError::Elsewhere(row.lane));
    }
    let timer = core.store.timer_of(tenant, id).await?.map(|timer| timer.due_at);
    let Folded { run, plan, snapshot_seq, last_at } = fold(core, &row).await?;
    // What was open may have a row that shows it: deleting one that is not there is nothing.
    let visible = run.active(&plan.plan).into_iter().map(|step| step.path).collect();
    // The row of a run whose task has no row yet says that it runs.
    let recover = if run.is_under_way() || row.status == RunStatus::Running { Recover::Yes } else { recover };
    let tasks = match recover {
        Recover::Yes if run.offers_tasks() => core.store.tasks_of(tenant, id).await?,
        _ => HashSet::new(),
    };
    let status = row.status;
    Ok(Loaded { run, status, plan, lane: row.lane, tasks, timer, visible, snapshot_seq, last_at, recover })
}

/// A run as its journal says it is.
pub(crate) struct Folded {
    pub(crate) run: Run,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) snapshot_seq: i64,
    pub(crate) last_at: Timestamp,
}

/// Folds a run's journal, from its snapshot if it has one.
pub(crate) async fn fold(core: &Arc<Core>, row: &RunRow) -> Result<Folded, LoadError> {
    let (tenant, id) = (row.tenant, row.id);
    let plan = match core.plans.find(&core.store, tenant, row.definition_hash).await {
        Ok(plan) => plan,
        Err(RuntimeError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(LoadError::Damaged(format!("its plan is not usable: {error}"))),
    };
    let snapshot = core.store.snapshot(tenant, id).await?.filter(|it| it.engine_version == ENGINE_VERSION);
    let from = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
    let entries = read_entries(&core.store, tenant, id, from).await?;
    let last_at = entries.last().map_or(row.created_at, |entry| entry.at);
    let known = Arc::clone(&plan);
    let folded = on_large_stack(move || {
        let base: Option<Run> = match &snapshot {
            Some(snapshot) => Some(payload::deep(&snapshot.state).map_err(|error| error.to_string())?),
            None => None,
        };
        let folded = match base {
            Some(base) => base.replay_onto(&known.plan, entries),
            None => Run::replay(&known.plan, entries),
        };
        folded.map_err(|error| error.to_string())
    });
    let run = folded.await.map_err(LoadError::Damaged)?;
    Ok(Folded { run, plan, snapshot_seq: from, last_at })
}

/// All entries of a run after that one, complete with the values that were kept apart.
pub(crate) async fn read_entries(
    store: &Store,
    tenant: TenantKey,
    run: RunId,
    after: i64,
) -> Result<Vec<Entry>, LoadError> {
    let (mut entries, mut after) = (Vec::new(), after);
    loop {
        let page = store.journal(tenant, run, after + 1, PAGE_ROWS).await?;
        let full = page.len() as i64 >= PAGE_ROWS;
        entries.extend(complete(store, tenant, page).await?);
        match entries.last() {
            Some(last) if full => after = last.seq,
            _ => return Ok(entries),
        }
    }
}

/// Entries from rows, with the values that were kept apart.
pub(crate) async fn complete(
    store: &Store,
    tenant: TenantKey,
    rows: Vec<StoredEntry>,
) -> Result<Vec<Entry>, LoadError> {
    let decoded = on_large_stack(move || {
        rows.into_iter()
            .map(|row| {
                let wrong = |error: serde_json::Error| format!("entry {}: {error}", row.seq);
                payload::decode(&row.payload).map(|decoded| (decoded, row.seq)).map_err(wrong).map(|it| (row, it.0))
            })
            .collect::<Result<Vec<(StoredEntry, Decoded)>, String>>()
    });
    let decoded = decoded.await.map_err(LoadError::Damaged)?;
    let mut blobs: HashMap<String, Arc<[u8]>> = HashMap::new();
    for apart in decoded.iter().flat_map(|(_, decoded)| decoded.apart.values()) {
        if !blobs.contains_key(&apart.hash) {
            let hash = hash_of(&apart.hash)?;
            let bytes = store.blob(tenant, hash).await?;
            let bytes = bytes.ok_or_else(|| LoadError::Damaged(format!("the value {} is missing", apart.hash)))?;
            blobs.insert(apart.hash.clone(), bytes.into());
        }
    }
    let filled = on_large_stack(move || {
        decoded.into_iter().map(|(row, decoded)| entry(row, decoded, &blobs)).collect::<Result<Vec<Entry>, String>>()
    });
    filled.await.map_err(LoadError::Damaged)
}

fn hash_of(text: &str) -> Result<[u8; 32], LoadError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| LoadError::Damaged(format!("`{text}` is no hash")))?;
    Ok(hash)
}

/// A value that was kept apart and does not come back.
struct Missing(String);

impl From<serde_json::Error> for Missing {
    fn from(error: serde_json::Error) -> Missing {
        Missing(error.to_string())
    }
}

fn entry(row: StoredEntry, decoded: Decoded, blobs: &HashMap<String, Arc<[u8]>>) -> Result<Entry, String> {
    let find = |hash: &str| blobs.get(hash).cloned().ok_or_else(|| Missing(format!("the value {hash} is missing")));
    let record = payload::fill(decoded, find).map_err(|Missing(what)| format!("entry {}: {what}", row.seq))?;
    Ok(Entry {
        seq: row.seq,
        at: row.at,
        opens: row.opens,
        path: row.path,
        step: row.step,
        attempt: u32::try_from(row.attempt).unwrap_or(0),
        record,
    })
}

/// Threads with large stacks, which end when nothing was to do for a while. Not a thread for each piece of work: as nobody joins
/// it, glibc may free such a stack while whoever started the thread still lets go of it, and the process ends with a
/// segmentation fault.
static LARGE_STACKS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get).max(2);
    Builder::new_current_thread()
        .thread_name("windlass-fold")
        .thread_stack_size(STACK_BYTES)
        .max_blocking_threads(threads)
        .build()
});

/// Runs something that may recurse deeply; a panic in it is an error like any other.
pub(crate) async fn on_large_stack<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let threads = LARGE_STACKS.as_ref().map_err(|error| format!("no thread to read it on: {error}"))?;
    let worked = threads.spawn_blocking(work).await;
    worked.unwrap_or_else(|_| Err("reading it failed in a way that nobody foresaw".to_owned()))
}
