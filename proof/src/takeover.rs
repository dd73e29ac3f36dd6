//! How long the runs of a dead server stand still before another one goes on with them (PostgreSQL).
//!
//! Measured in the database, by its clock: from the kill to the first entry that the journal of each run gets afterwards,
//! of the runs that had an attempt running when their server died.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio_postgres::Client;
use windlass_testkit::look_at;

use crate::{
    Plan,
    load::{Load, examples::case},
    options::Database,
    report::Outcome,
    world::World,
};

/// The lease of a node; runs go on within two seconds after it (p99).
const LEASE: Duration = Duration::from_secs(10);
const ALLOWED: Duration = Duration::from_secs(12);
/// Runs that are under way when a server dies.
const RUNS: u32 = 40;
/// Long enough to be under way, on either server, when the server dies.
const DOCUMENT: &str = "name: takeover
steps:
  - { id: a, type: jq, with: { program: '[range(300000)] | length' } }
  - { id: b, type: jq, with: { program: '[range(300000)] | length' } }
  - { id: c, type: jq, with: { program: '[range(300000)] | length' } }
";

/// Kills a server under load, each time when both have lived for a lease, and measures. The short form tells times and judges
/// none: the machine may do other things meanwhile.
///
/// # Errors
/// Runs do not end.
pub async fn measure(load: &Load, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
    let (world, count) = (&load.world, count(plan.database, plan.options.short));
    if world.postgres_url().is_none() {
        return Ok(());
    }
    load.publish("takeover", DOCUMENT).await?;
    let mut gaps = Vec::new();
    for number in 0..count {
        // A server takes nobody for dead before the database has answered it for a whole lease.
        tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
        let server = (number % 2) as usize;
        let runs = load.round(vec![case("takeover", RUNS, serde_json::json!({}))], 1_000_000 + number);
        let (ended, measured) = tokio::join!(runs, kill_and_measure(world, server));
        ended?;
        gaps.extend(measured?);
    }
    gaps.sort_by(f64::total_cmp);
    let at = |share: f64| gaps.get(((gaps.len() as f64 * share) as usize).min(gaps.len().saturating_sub(1))).copied();
    outcome.at_least("runs of dead servers", gaps.len() as u64, u64::from(count));
    let (p50, p99) = (at(0.5).unwrap_or_default(), at(0.99).unwrap_or_default());
    outcome.count("gone on after, p50 s", (p50 * 100.0).round() / 100.0);
    outcome.count("gone on after, p99 s", (p99 * 100.0).round() / 100.0);
    if p99 > ALLOWED.as_secs_f64() && !plan.options.short {
        outcome.violation(format!("runs of a dead server went on after {p99:.2} s (p99), not {} s", ALLOWED.as_secs()));
    }
    Ok(())
}

async fn connect(world: &World) -> Result<Client> {
    look_at(world.postgres_url().context("no PostgreSQL")?).await
}

async fn kill_and_measure(world: &Arc<World>, server: usize) -> Result<Vec<f64>> {
    let database = connect(world).await?;
    let pid = i64::from(world.process(server).context("a dead server")?);
    let under_way = "select r.id::text from runs r join lanes l on l.id = r.lane_id join nodes n on n.id = l.node_id \
                     where n.pid = $1 and n.state = 'alive' and r.status = 'running' and r.workflow = 'takeover'";
    let runs = loop {
        let rows = database.query(under_way, &[&pid]).await?;
        if rows.len() >= 4 {
            break rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let world = Arc::clone(world);
    tokio::task::spawn_blocking({
        let world = Arc::clone(&world);
        move || world.kill(server)
    })
    .await??;
    let killed_at: String = database.query_one("select clock_timestamp()::text", &[]).await?.get(0);
    // Only when all of them have gone on does the dead one come back, or it would be it who goes on with them.
    let gone_on = "select extract(epoch from min(j.at) - $2::text::timestamptz)::float8 from journal j \
                   where j.run_id = $1::text::uuid and j.at > $2::text::timestamptz";
    let until = tokio::time::Instant::now() + ALLOWED * 3;
    let mut gaps = Vec::new();
    for run in runs {
        loop {
            let gap: Option<f64> = database.query_one(gone_on, &[&run, &killed_at]).await?.get(0);
            let over = "select status <> 'running' from runs where id = $1::text::uuid";
            let ended: bool = database.query_one(over, &[&run]).await?.get(0);
            match gap {
                Some(gap) => gaps.push(gap),
                // It ended in the moment before the kill.
                None if ended => {}
                None if tokio::time::Instant::now() > until => gaps.push(ALLOWED.as_secs_f64() * 3.0),
                None => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            break;
        }
    }
    tokio::task::spawn_blocking(move || world.start(server)).await??;
    Ok(gaps)
}

/// How often a check measures.
fn count(database: Database, short: bool) -> u32 {
    match (database, short) {
        (Database::Sqlite, _) => 0,
        (Database::Postgres, true) => 1,
        (Database::Postgres, false) => 20,
    }
}
