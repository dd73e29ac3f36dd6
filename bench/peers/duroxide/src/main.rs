//! `duroxide`: orchestrations in this process, their activities recorded in SQLite or PostgreSQL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
    providers::{Provider, sqlite::SqliteProvider},
    runtime::{Runtime, RuntimeOptions, registry::ActivityRegistry},
};
use duroxide_pg::PostgresProvider;
use serving::{Run, effect, serve, variable};

/// Between two looks of a dispatcher that found nothing; the default is 100 ms, with which one run of 10 steps takes 1 s.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// Dispatchers of each kind on SQLite, the default: with more, runs fail because the database is locked.
const DISPATCHERS_ON_SQLITE: usize = 2;
/// Likewise on PostgreSQL.
const DISPATCHERS_ON_POSTGRES: usize = 8;
/// Longer than any run here takes.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() {
    let (store, dispatchers): (Arc<dyn Provider>, usize) = match variable("DATABASE").as_str() {
        "sqlite" => (Arc::new(sqlite().await), DISPATCHERS_ON_SQLITE),
        _ => (Arc::new(postgres().await), DISPATCHERS_ON_POSTGRES),
    };
    let activities = ActivityRegistry::builder().register("increment", increment).build();
    let orchestrations = OrchestrationRegistry::builder().register("steps", steps).register("fan_out", fan_out).build();
    let options = RuntimeOptions {
        dispatcher_min_poll_interval: POLL_EVERY,
        orchestration_concurrency: dispatchers,
        worker_concurrency: dispatchers,
        ..RuntimeOptions::default()
    };
    let _runtime = Runtime::start_with_options(Arc::clone(&store), activities, orchestrations, options).await;
    serve(run(&store, "steps"), run(&store, "fan_out")).await;
}

async fn postgres() -> PostgresProvider {
    PostgresProvider::new(&variable("DATABASE_URL")).await.expect("PostgreSQL")
}

/// The crate sets `synchronous = WAL`, a word that SQLite does not know and takes for NORMAL: a commit would not be on
/// disk. So every connection of its pool is opened and told FULL.
async fn sqlite() -> SqliteProvider {
    let url = format!("sqlite:{}/duroxide.db?mode=rwc", variable("DATA"));
    let provider = SqliteProvider::new(&url, None).await.expect("SQLite");
    let pool = provider.get_pool();
    let mut connections = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        let mut connection = pool.acquire().await.expect("a connection");
        sqlx::query("pragma synchronous = full").execute(&mut *connection).await.expect("a pragma");
        connections.push(connection);
    }
    drop(connections);
    provider
}

async fn increment(_context: ActivityContext, value: String) -> Result<String, String> {
    effect();
    Ok((number(&value)? + 1).to_string())
}

async fn steps(context: OrchestrationContext, count: String) -> Result<String, String> {
    let mut value = "0".to_owned();
    for _ in 0..number(&count)? {
        value = context.schedule_activity("increment", value).await?;
    }
    Ok(value)
}

async fn fan_out(context: OrchestrationContext, count: String) -> Result<String, String> {
    let activities = (0..number(&count)?).map(|_| context.schedule_activity("increment", "0")).collect();
    let mut sum = 0;
    for result in context.join(activities).await {
        sum += number(&result?)?;
    }
    Ok(sum.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

fn run(store: &Arc<dyn Provider>, name: &'static str) -> Run {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let store = Arc::clone(store);
    Arc::new(move |count| {
        let client = Client::new(Arc::clone(&store));
        let number_of_run = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number_of_run}", std::process::id());
        Box::pin(async move {
            client.start_orchestration(&id, name, count.to_string()).await.map_err(|error| error.to_string())?;
            match client.wait_for_orchestration(&id, PATIENCE).await.map_err(|error| format!("{error:?}"))? {
                OrchestrationStatus::Completed { output, .. } => number(&output),
                other => Err(format!("{other:?}")),
            }
        })
    })
}
