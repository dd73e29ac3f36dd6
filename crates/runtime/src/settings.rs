//! Every bound of the runtime, with its default. Passing one is a clear error or a wait, never growth without end.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use windlass_engine::start::Limits;
use windlass_store::SettingValue;

/// The bounds of a runtime.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that turn runs; 0 is one for two cores.
    pub turners: usize,
    /// Attempts that run at once on this node.
    pub attempts_max: usize,
    /// Of those, of one tenant.
    pub attempts_per_tenant_max: usize,
    /// Of those, of one workflow.
    pub attempts_per_workflow_max: usize,
    /// Runs that a node keeps in memory before it sends idle ones back to the database.
    pub runs_in_memory_max: usize,
    /// Runs of this node that are open and do not wait; what is started above that is queued in the database.
    pub runs_active_max: usize,
    /// Of those, of one tenant.
    pub runs_active_per_tenant_max: usize,
    /// Runs that wait in the database for a node with room, of all tenants; above it, starts are refused for now.
    pub runs_queued_max: u64,
    /// Of those, of one tenant.
    pub runs_queued_per_tenant_max: u64,
    /// A waiting run whose next timer is further than this leaves memory.
    pub timer_near: Duration,
    /// How long a waiting run stays in memory though nothing happens to it.
    pub idle: Duration,
    /// New journal entries from which a run that leaves memory leaves a snapshot.
    pub snapshot_entries: i64,
    /// Between two looks at the database: timers, inbox, finished tasks, lost runs.
    pub scan: Duration,
    /// Between two sweeps of history.
    pub sweep: Duration,
    /// Between two looks at which runs are new, to find them by their words.
    pub search: Duration,
    /// Whether runs are found by their words.
    pub search_runs: bool,
    /// An attempt that runs longer than this becomes visible in the database.
    pub active_after: Duration,
    /// Values from this size on are kept apart from the journal, with a preview in it.
    pub blob_bytes_min: usize,
    /// Rows of one page of anything.
    pub page_max: usize,
    /// Tasks of one claim.
    pub claim_max: usize,
    /// The longest that a claim waits for a task.
    pub claim_wait_max: Duration,
    /// The longest that a caller waits for a run in one request.
    pub wait_max: Duration,
    /// Notices kept for a slow reader of a run's events before it reads the journal instead.
    pub live_events: usize,
    /// How long a node may take a version of a workflow from its own memory before it asks again.
    pub newest_version_age: Duration,
    /// Transitions of a run that may fail to be written one after another before it is left standing.
    pub failures_max: u32,
    /// Bounds of each run.
    pub limits: Limits,
    /// Days that events are kept for runs that begin to wait for them; `None` keeps them.
    pub events_days: Option<u32>,
    /// How much history is kept where a workflow does not say.
    pub retain: RetainDefaults,
    /// Days after which the audit leaves the database; `None` keeps it there.
    pub audit_days: Option<u32>,
    /// The directory that it leaves to; without one it stays.
    pub audit_archive: Option<PathBuf>,
    /// What was chosen since it began.
    pub now: Now,
}

type Overlay = dyn Fn(&[SettingValue]) -> Settings + Send + Sync;

/// What the settings are now: some are chosen while a runtime works, for all tenants or for one. These are read at each
/// sweep of history, so that a change takes effect at once.
#[derive(Clone, Default)]
pub struct Now(Option<Arc<Overlay>>);

impl Now {
    /// What that function makes of what was chosen in the database.
    pub fn of(overlay: impl Fn(&[SettingValue]) -> Settings + Send + Sync + 'static) -> Now {
        Now(Some(Arc::new(overlay)))
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "as chosen" } else { "as begun" })
    }
}

/// How much history of finished runs is kept where a workflow does not say; `None` keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetainDefaults {
    /// Finished runs of one workflow.
    pub runs: Option<u64>,
    /// Days since a run finished.
    pub days: Option<u32>,
    /// Bytes of the history of one workflow.
    pub bytes: Option<u64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            turners: 0,
            attempts_max: 1_000,
            attempts_per_tenant_max: 800,
            attempts_per_workflow_max: 800,
            runs_in_memory_max: 20_000,
            runs_active_max: 10_000,
            runs_active_per_tenant_max: 8_000,
            runs_queued_max: 1_000_000,
            runs_queued_per_tenant_max: 200_000,
            timer_near: Duration::from_secs(60),
            idle: Duration::from_secs(5),
            snapshot_entries: 256,
            scan: Duration::from_secs(1),
            sweep: Duration::from_secs(60),
            search: Duration::from_secs(1),
            search_runs: true,
            active_after: Duration::from_millis(250),
            blob_bytes_min: 64 << 10,
            page_max: 500,
            claim_max: 1_000,
            claim_wait_max: Duration::from_secs(60),
            wait_max: Duration::from_secs(300),
            live_events: 256,
            newest_version_age: Duration::from_millis(250),
            failures_max: 5,
            limits: Limits::default(),
            events_days: Some(30),
            retain: RetainDefaults::default(),
            audit_days: None,
            audit_archive: None,
            now: Now::default(),
        }
    }
}

impl Settings {
    /// What they are now, with what was chosen in the database.
    pub(crate) fn now(&self, chosen: &[SettingValue]) -> Settings {
        self.now.0.as_ref().map_or_else(|| self.clone(), |overlay| overlay(chosen))
    }

    /// How many turners there are. Few are better than many: what one turner does in a batch goes to disk together,
    /// and the committer, the steps and the server want cores too.
    pub fn turner_count(&self) -> usize {
        match self.turners {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8)),
            count => count,
        }
    }
}
