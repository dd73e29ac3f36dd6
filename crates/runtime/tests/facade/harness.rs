//! A runtime on a database of its own, and a step whose effects can be counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use windlass_definition::{
    Class, Error, Value,
    source::Format,
    step_type::{Family, StepType},
};
use windlass_engine::{
    id::{RunId, TenantKey},
    start::{Mode, Principal},
};
use windlass_runtime::{
    MetricsSnapshot, RunView, Runtime, Settings, SignalRequest, StartRequest, StepView, Target,
    step::{Boxed, Catalogue, Step, StepContext, StepFailure},
};
use windlass_store::{Dialect, Hints, Location, StatementLog, Store, StoreOptions};

pub const TENANT: TenantKey = TenantKey::DEFAULT;

/// What the probe steps of a test did.
#[derive(Default)]
pub struct Ledger {
    begun: Mutex<BTreeMap<String, u32>>,
    ended: Mutex<BTreeMap<String, u32>>,
    open: AtomicU64,
    most: AtomicU64,
    /// Steps with `gate: true` wait for this.
    pub gate: Notify,
    pub changed: Notify,
}

impl Ledger {
    pub fn begun(&self) -> BTreeMap<String, u32> {
        self.begun.lock().unwrap().clone()
    }

    pub fn ended(&self) -> BTreeMap<String, u32> {
        self.ended.lock().unwrap().clone()
    }

    /// The most attempts that ran at one moment.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }

    /// Waits until that many attempts have begun.
    pub async fn begun_reaches(&self, count: u32) {
        loop {
            let changed = self.changed.notified();
            if self.begun().values().sum::<u32>() >= count {
                return;
            }
            changed.await;
        }
    }
}

/// `probe`: gives back `value`, after `sleep_ms`, or once the gate opens, or fails, or panics.
pub struct Probe(pub Arc<Ledger>);

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

impl Step for Probe {
    fn describe(&self) -> StepType {
        StepType {
            name: "probe",
            documentation: "Gives back `value`.",
            family: Family::Doing,
            with_schema: schema(r#"{"type": "object"}"#),
            output_schema: schema("true"),
            secret_fields: &[],
            program_fields: &[],
            credential_fields: &[],
            hidden: false,
        }
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            *self.0.begun.lock().unwrap().entry(context.key.to_string()).or_default() += 1;
            let open = self.0.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(open, Ordering::SeqCst);
            self.0.changed.notify_waiters();
            let result = self.work(context, &input).await;
            self.0.open.fetch_sub(1, Ordering::SeqCst);
            *self.0.ended.lock().unwrap().entry(context.key.to_string()).or_default() += 1;
            self.0.changed.notify_waiters();
            result
        })
    }

    fn run_now(&self, input: &Value) -> Option<Result<Value, StepFailure>> {
        input.get("now").map(|value| Ok(value.clone()))
    }
}

impl Probe {
    async fn work(&self, context: &StepContext, input: &Value) -> Result<Value, StepFailure> {
        let cancelled = || StepFailure::nothing_sent(Error::new(Class::Cancelled, "stopped", "asked to stop"));
        if let Some(ms) = input.get("sleep_ms").and_then(Value::as_i64) {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())) => {}
                () = context.stop.cancelled() => return Err(cancelled()),
            }
        }
        if input.get("gate").is_some() {
            tokio::select! {
                () = self.0.gate.notified() => {}
                () = context.stop.cancelled() => return Err(cancelled()),
            }
        }
        if input.get("panic").is_some() {
            panic!("as it was told to");
        }
        if let Some(code) = input.get("fail").and_then(Value::as_str) {
            return Err(StepFailure::maybe_sent(Error::new(Class::User, code, "as it was told to").retryable()));
        }
        if input.get("trace").is_some() {
            let parent = context.trace.traceparent(context.run, &context.path, context.attempt);
            let state = context.trace.state.as_deref().map_or(Value::Null, Value::from);
            return Ok(Value::map([("parent", Value::from(parent)), ("state", state)]));
        }
        Ok(input.get("value").cloned().unwrap_or_default())
    }
}

/// `http` that asks nobody: every request is a success.
pub struct Http;

impl Step for Http {
    fn describe(&self) -> StepType {
        StepType { name: "http", documentation: "Asks nobody.", ..Probe(Arc::default()).describe() }
    }

    fn run<'a>(&'a self, _: &'a StepContext, _: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async { Ok(Value::Null) })
    }
}

/// The steps that tests have.
pub fn catalogue(ledger: &Arc<Ledger>) -> Catalogue {
    Catalogue::new(vec![Arc::new(Probe(Arc::clone(ledger))), Arc::new(Http)])
}

/// A database, and the runtime that is open on it.
pub struct Harness {
    pub runtime: Runtime,
    pub ledger: Arc<Ledger>,
    database: Place,
    pub settings: Settings,
    nodes: Nodes,
}

/// How the nodes of a test differ from the ordinary.
#[derive(Clone)]
struct Nodes {
    lease_ms: i64,
    hints: Hints,
    statements: Option<StatementLog>,
}

/// Their lease outlives a disk that stands still for seconds.
const ORDINARY: Nodes = Nodes { lease_ms: 60_000, hints: Hints::On, statements: None };

enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Arc<windlass_testkit::Postgres>),
}

pub fn settings() -> Settings {
    Settings {
        turners: 2,
        attempts_per_workflow_max: 8,
        scan: Duration::from_millis(50),
        idle: Duration::from_millis(100),
        ..Settings::default()
    }
}

impl Harness {
    pub async fn sqlite() -> Harness {
        Harness::open(Place::Sqlite(tempfile::tempdir().unwrap()), ORDINARY).await
    }

    pub async fn postgres() -> Harness {
        Harness::open(Place::Postgres(Arc::new(windlass_testkit::postgres().await)), ORDINARY).await
    }

    /// Servers that notice soon when one of them is gone, or has lost its lease.
    pub async fn postgres_with_short_leases(hints: Hints) -> Harness {
        let nodes = Nodes { lease_ms: 3_000, hints, ..ORDINARY };
        Harness::open(Place::Postgres(Arc::new(windlass_testkit::postgres().await)), nodes).await
    }

    /// A server that neither sends nor hears hints, and others that it makes are like it.
    pub async fn postgres_without_hints() -> Harness {
        let nodes = Nodes { hints: Hints::Off, ..ORDINARY };
        Harness::open(Place::Postgres(Arc::new(windlass_testkit::postgres().await)), nodes).await
    }

    /// A server whose statements are noted.
    pub async fn postgres_noting(statements: &StatementLog) -> Harness {
        let nodes = Nodes { statements: Some(statements.clone()), ..ORDINARY };
        Harness::open(Place::Postgres(Arc::new(windlass_testkit::postgres().await)), nodes).await
    }

    async fn open(database: Place, nodes: Nodes) -> Harness {
        let ledger = Arc::new(Ledger::default());
        let settings = settings();
        let runtime = open(&database, &ledger, settings.clone(), nodes.clone()).await;
        Harness { runtime, ledger, database, settings, nodes }
    }

    /// The same server after a restart with other settings.
    pub async fn with(mut self, change: impl FnOnce(&mut Settings)) -> Harness {
        change(&mut self.settings);
        self.crash().await;
        self
    }

    /// Another tenant of the database.
    pub async fn tenant(&self, key: i32) -> TenantKey {
        self.runtime.store().add_tenant(TenantKey(key), &format!("tenant-{key}")).await.unwrap();
        TenantKey(key)
    }

    /// Another server on the same PostgreSQL.
    pub async fn another(&self) -> Harness {
        match &self.database {
            Place::Postgres(postgres) => Harness::open(Place::Postgres(Arc::clone(postgres)), self.nodes.clone()).await,
            Place::Sqlite(_) => panic!("a data directory has one server"),
        }
    }

    /// On PostgreSQL its lease is over by the database's clock, as after a long pause; a data directory has no other server
    /// that it could lose it to.
    pub async fn lose_lease(&self) {
        if let Place::Postgres(postgres) = &self.database {
            let node = self.runtime.store().node();
            let sql = format!("update nodes set state = 'dead' where id = '{node}'");
            windlass_testkit::look_at(&postgres.url).await.unwrap().batch_execute(&sql).await.unwrap();
        }
    }

    /// From now on the database refuses new rows of that table of which `when` holds, which speaks of `new`.
    pub async fn refuse_rows(&self, table: &str, when: &str) {
        let database = self.runtime.store().database();
        let before = format!("create trigger refused_{table} before insert on {table}");
        let statements = match database.dialect() {
            Dialect::Sqlite => vec![format!("{before} when {when} begin select raise(abort, 'refused'); end")],
            Dialect::Postgres => vec![
                "create or replace function refused() returns trigger language plpgsql as \
                 $$ begin raise exception 'refused' using errcode = 'check_violation'; end $$"
                    .to_owned(),
                format!("{before} for each row when ({when}) execute function refused()"),
            ],
        };
        for sql in statements {
            database.across_tenants().execute(sql, vec![]).await.unwrap();
        }
    }

    /// It takes them again.
    pub async fn take_rows(&self, table: &str) {
        let database = self.runtime.store().database();
        let on = database.dialect().pick("", &format!(" on {table}")).to_owned();
        database.across_tenants().execute(format!("drop trigger refused_{table}{on}"), vec![]).await.unwrap();
    }

    /// Waits until that many more commits have failed.
    pub async fn commits_fail(&self, more: u64) {
        let before = self.runtime.metrics().commits_failed;
        self.settled(|metrics| metrics.commits_failed >= before + more).await;
    }

    /// As if the process had been killed, and started again when its lease was over.
    pub async fn crash(&mut self) {
        self.runtime.abort().await;
        self.lose_lease().await;
        self.runtime.store().close().await;
        self.runtime = open(&self.database, &self.ledger, self.settings.clone(), self.nodes.clone()).await;
    }

    /// Where its database is.
    pub fn location(&self) -> Location {
        self.database.location()
    }

    /// Stops the server and opens its database, which nobody works on then.
    pub async fn visit(&self) -> Store {
        self.runtime.shutdown(Duration::from_secs(10)).await;
        self.runtime.store().close().await;
        Store::open(StoreOptions::new(self.database.location())).await.unwrap()
    }

    /// Makes and publishes a workflow.
    pub async fn publish(&self, source: &str) -> String {
        let document = self.runtime.compile(source, Format::Yaml).unwrap_or_else(|error| panic!("{error:?}"));
        let name = document.plan.name.to_string();
        self.runtime.put_workflow(TENANT, &name, source, Format::Yaml, None).await.unwrap();
        self.runtime.publish(TENANT, &name).await.unwrap();
        name
    }

    pub async fn start(&self, name: &str, input: &str) -> RunId {
        self.runtime.start(request(name, input)).await.unwrap().run
    }

    pub async fn signal(&self, run: RunId, name: &str) {
        let (tenant, name) = (TENANT, name.to_owned());
        let signal = SignalRequest {
            tenant,
            run,
            name,
            payload: Value::Null,
            by: windlass_engine::start::Principal::System,
            idempotency_key: None,
        };
        self.runtime.signal(signal).await.unwrap();
    }

    /// Waits for the end of a run.
    pub async fn end(&self, run: RunId) -> Arc<RunView> {
        let view = self.runtime.wait(TENANT, run, Duration::from_secs(20)).await.unwrap();
        assert!(view.status.is_final(), "{view:?}");
        view
    }

    /// Publishes a document, runs it, and gives its end.
    pub async fn run(&self, source: &str, input: &str) -> Arc<RunView> {
        let name = self.publish(source).await;
        self.end(self.start(&name, input).await).await
    }

    pub async fn steps(&self, run: RunId) -> Vec<StepView> {
        self.runtime.steps(TENANT, run, None, 1_000).await.unwrap().items
    }

    /// Waits until something about the runtime is true.
    pub async fn settled(&self, what: impl Fn(&MetricsSnapshot) -> bool) {
        for _ in 0..2_000 {
            if what(&self.runtime.metrics()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to that: {:?}", self.runtime.metrics());
    }

    /// Waits until something about a run is true.
    pub async fn until(&self, run: RunId, what: impl Fn(&RunView) -> bool) -> RunView {
        for _ in 0..2_000 {
            let view = self.runtime.run(TENANT, run).await.unwrap();
            if what(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to that: {:?}", self.runtime.run(TENANT, run).await);
    }
}

impl Place {
    fn location(&self) -> Location {
        match self {
            Place::Sqlite(dir) => Location::Sqlite { data_dir: dir.path().to_owned() },
            Place::Postgres(postgres) => Location::Postgres { url: postgres.url.clone() },
        }
    }
}

async fn open(database: &Place, ledger: &Arc<Ledger>, settings: Settings, nodes: Nodes) -> Runtime {
    let Nodes { lease_ms, hints, statements } = nodes;
    let options = StoreOptions { lease_ms, hints, statements, ..StoreOptions::new(database.location()) };
    let store = Store::open(options).await.unwrap();
    Runtime::open(store, catalogue(ledger), settings).await.unwrap()
}

pub fn request(name: &str, input: &str) -> StartRequest {
    StartRequest {
        tenant: TENANT,
        target: Target::Published { name: name.to_owned(), version: None },
        input: serde_json::from_str(input).unwrap(),
        mode: Mode::Production,
        by: Principal::System,
        idempotency_key: None,
        key: None,
        labels: BTreeMap::new(),
        priority: 0,
        trace: None,
    }
}
