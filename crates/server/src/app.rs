//! What every handler can reach.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use windlass_engine::id::TenantKey;
use windlass_runtime::Runtime;
use windlass_steps::egress::Egress;
use windlass_store::{Store, StoreError};

use crate::{
    admission::{Door, Limits},
    auth::{Attempts, Gate, Passwords},
    metrics::HttpMetrics,
    oidc::Oidc,
    problem::Problem,
    rate_limits::RateLimits,
    settings::{Bounds, InEffect},
};

/// How long what another server's callers chose may go unseen.
const CHOSEN_ELSEWHERE: Duration = Duration::from_secs(30);
/// Tenants whose bounds are in memory at most; beyond that all are forgotten and read again.
const BOUNDS_MAX: usize = 10_000;

/// The running server, as handlers see it; cheap to clone.
#[derive(Clone)]
pub struct App {
    gate: Arc<Gate>,
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    door: Arc<Door>,
    metrics: HttpMetrics,
    rate_limits: RateLimits,
    settings: OnceLock<InEffect>,
    /// What bounds each tenant, and the epoch under which that was read.
    bounds: RwLock<HashMap<TenantKey, (i64, Arc<Bounds>)>>,
    chosen: Notify,
    passwords: Passwords,
    attempts: Attempts,
    oidc: OnceLock<Oidc>,
    draining: CancellationToken,
}

impl App {
    /// A server on that runtime, behind that gate, with the usual bounds.
    pub fn new(runtime: Runtime, gate: Gate) -> App {
        App::bounded(runtime, gate, Limits::default())
    }

    /// The same with bounds of its own.
    pub fn bounded(runtime: Runtime, gate: Gate, limits: Limits) -> App {
        let (metrics, draining) = (HttpMetrics::default(), CancellationToken::new());
        let door = Door::new(limits);
        let rate_limits = RateLimits::new(runtime.store().clone());
        let attempts = Attempts::new(runtime.store().clone());
        let shared = Shared {
            runtime,
            door,
            metrics,
            rate_limits,
            settings: OnceLock::new(),
            bounds: RwLock::default(),
            chosen: Notify::new(),
            passwords: Passwords::default(),
            attempts,
            oidc: OnceLock::new(),
            draining,
        };
        App { gate: Arc::new(gate), shared: Arc::new(shared) }
    }

    /// The same server behind another gate: for another door of it.
    #[must_use]
    pub fn with_gate(&self, gate: Gate) -> App {
        App { gate: Arc::new(gate), shared: Arc::clone(&self.shared) }
    }

    /// The runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.shared.runtime
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.shared.runtime.store()
    }

    /// Who may come in.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Where requests wait for their turn.
    pub fn door(&self) -> &Arc<Door> {
        &self.shared.door
    }

    /// The same, knowing what it was told when it started.
    #[must_use]
    pub fn with_settings(self, settings: InEffect) -> App {
        // Nobody has asked before it serves.
        let _ = self.shared.settings.set(settings);
        self
    }

    /// What it was told, and began with.
    pub fn settings(&self) -> &InEffect {
        self.shared.settings.get_or_init(InEffect::default)
    }

    /// The same, asking identity providers with that client.
    #[must_use]
    pub fn with_egress(self, egress: Egress) -> App {
        // Nobody has asked before it serves.
        let _ = self.shared.oidc.set(Oidc::new(egress));
        self
    }

    /// How people sign in with identity providers.
    ///
    /// # Errors
    /// 503 on a server that asks nobody.
    pub fn oidc(&self) -> Result<&Oidc, Problem> {
        let none =
            || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_egress", "this server asks no identity providers");
        self.shared.oidc.get().ok_or_else(none)
    }

    /// What bounds that tenant now. It is remembered until anything changes of who may do what, or of a setting.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn bounds(&self, tenant: TenantKey) -> Result<Arc<Bounds>, StoreError> {
        let epoch = self.store().access_epoch().await?;
        let known = self.shared.bounds.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        if let Some((_, bounds)) = known.filter(|(under, _)| *under == epoch) {
            return Ok(bounds);
        }
        let bounds = Arc::new(self.settings().bounds_now(&self.store().setting_values(tenant).await?));
        let mut all = self.shared.bounds.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= BOUNDS_MAX {
            all.clear();
        }
        all.insert(tenant, (epoch, Arc::clone(&bounds)));
        Ok(bounds)
    }

    /// Somebody chose a setting here.
    pub(crate) fn settings_chosen(&self) {
        self.shared.chosen.notify_one();
    }

    /// Waits until somebody may have chosen a setting: at once for what was chosen here, and a moment for what was
    /// elsewhere. One may wait.
    pub async fn settings_may_differ(&self) {
        // Whether it was told or the time is over, it looks.
        let _ = tokio::time::timeout(CHOSEN_ELSEWHERE, self.shared.chosen.notified()).await;
    }

    /// By which address others reach it, if somebody said so.
    pub fn public_url(&self) -> Option<&str> {
        self.settings().bounds().process.public_url.as_deref()
    }

    /// What people call the installation.
    pub fn installation_name(&self) -> &str {
        &self.settings().bounds().process.installation_name
    }

    /// How often requests may come.
    pub fn rate_limits(&self) -> &RateLimits {
        &self.shared.rate_limits
    }

    /// The counters of the HTTP side.
    pub fn metrics(&self) -> &HttpMetrics {
        &self.shared.metrics
    }

    /// Where attempts to come in are counted.
    pub fn attempts(&self) -> &Attempts {
        &self.shared.attempts
    }

    /// Where passwords are checked.
    pub fn passwords(&self) -> &Passwords {
        &self.shared.passwords
    }

    /// From now on `/readyz` says no, so that load balancers send nobody any more, and whoever waits is answered.
    pub fn drain(&self) {
        self.shared.draining.cancel();
    }

    /// Whether the server is about to stop.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.is_cancelled()
    }

    /// Ends when the server is about to stop.
    pub fn drained(&self) -> WaitForCancellationFutureOwned {
        self.shared.draining.clone().cancelled_owned()
    }

    /// What the future gives, unless the server is about to stop: nobody waits beyond that.
    pub(crate) async fn unless_draining<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            value = future => Some(value),
            () = self.shared.draining.cancelled() => None,
        }
    }
}
