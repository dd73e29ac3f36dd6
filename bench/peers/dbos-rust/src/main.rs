//! `dbos` for Rust: workflows in this process, their steps recorded in PostgreSQL.

use std::sync::Arc;

use dbos::{Config, DBOS, Result, WorkflowRef};
use futures::future::join_all;
use serving::{Run, effect, serve, variable};

/// Connections to PostgreSQL, four times the crate's default of 10: the figures were better with it.
const CONNECTIONS: u32 = 40;

#[tokio::main]
async fn main() {
    let config = Config {
        app_version: Some("1".to_owned()),
        max_connections: CONNECTIONS,
        ..Config::new("bench", variable("DATABASE_URL"))
    };
    let dbos = DBOS::new(config);
    let steps = dbos.register_workflow("steps", |count: u32| async move {
        let mut value = 0u64;
        for _ in 0..count {
            value = step(value).await?;
        }
        Result::Ok(value)
    });
    let fan_out = dbos.register_workflow("fan_out", |count: u32| async move {
        let results: Result<Vec<u64>> = join_all((0..count).map(|_| step(0))).await.into_iter().collect();
        Result::Ok(results?.into_iter().sum())
    });
    let (steps, fan_out) = (steps.expect("a workflow"), fan_out.expect("a workflow"));
    dbos.launch().await.expect("PostgreSQL");
    serve(run(steps), run(fan_out)).await;
}

async fn step(value: u64) -> Result<u64> {
    dbos::step("increment", move || async move {
        effect();
        Result::Ok(value + 1)
    })
    .await
}

fn run(workflow: WorkflowRef<u32, u64>) -> Run {
    let workflow = Arc::new(workflow);
    Arc::new(move |count| {
        let workflow = Arc::clone(&workflow);
        Box::pin(async move { workflow.run(count).await.map_err(|error| error.to_string()) })
    })
}
