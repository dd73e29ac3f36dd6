//! `durare`: workflows in this process, their steps recorded in SQLite or PostgreSQL.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use durare::{
    DurableContext, DurableEngine, Error, PostgresProvider, Result, SqliteProvider, StateProvider, WorkflowOptions,
};
use futures::future::join_all;
use serving::{Run, effect, serve, variable};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

#[tokio::main]
async fn main() {
    let provider: Arc<dyn StateProvider> = match variable("DATABASE").as_str() {
        "sqlite" => Arc::new(sqlite().await),
        _ => Arc::new(PostgresProvider::connect(&variable("DATABASE_URL")).await.expect("PostgreSQL")),
    };
    let mut engine = DurableEngine::new(provider).await.expect("an engine");
    engine.register("steps", steps);
    engine.register("fan_out", fan_out);
    engine.launch().await.expect("an engine");
    let engine = Arc::new(engine);
    serve(run(&engine, "steps"), run(&engine, "fan_out")).await;
}

/// As the crate opens it, but for `synchronous`, which it sets to NORMAL: a commit would not be on disk.
async fn sqlite() -> SqliteProvider {
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{}/durare.db", variable("DATA")))
        .expect("a path")
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new().max_connections(5).connect_with(options).await.expect("SQLite");
    SqliteProvider::from_pool(pool)
}

async fn steps(context: DurableContext, count: u32) -> Result<u64> {
    let mut value = 0;
    for _ in 0..count {
        value = step(&context, value).await?;
    }
    Ok(value)
}

async fn fan_out(context: DurableContext, count: u32) -> Result<u64> {
    let results: Result<Vec<u64>> = join_all((0..count).map(|_| step(&context, 0))).await.into_iter().collect();
    Ok(results?.into_iter().sum())
}

async fn step(context: &DurableContext, value: u64) -> Result<u64> {
    context
        .step("increment", || async {
            effect();
            Ok::<_, Error>(value + 1)
        })
        .await
}

fn run(engine: &Arc<DurableEngine>, name: &'static str) -> Run {
    let engine = Arc::clone(engine);
    Arc::new(move |count| {
        let engine = Arc::clone(&engine);
        Box::pin(async move {
            let started = engine.start::<u32, u64>(name, count, WorkflowOptions::default()).await;
            let run = started.map_err(|error| error.to_string())?;
            run.result().await.map_err(|error| error.to_string())
        })
    })
}
