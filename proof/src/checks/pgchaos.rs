//! `pgchaos`: PostgreSQL is ended at once and started again, and its backends are killed one by one, under load. Nothing
//! is lost, and nothing stands still for 30 seconds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use tokio_postgres::NoTls;
use windlass_testkit::{OwnPostgres, random::Random};

use crate::{
    Check, Counts, Plan,
    load::{
        Load,
        examples::{self, Size},
    },
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// Backends that are killed for each restart.
const BACKENDS_PER_RESTART: u64 = 20;
/// Nothing may stand still for longer.
const STILL_MAX: Duration = Duration::from_secs(30);
/// Between two harms: connections have to be there to be killed.
const ANSWERS_MAX: usize = 20;

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "pgchaos",
    about: "PostgreSQL is restarted at once, and its backends are killed",
    databases: &[Database::Postgres],
    counts: |_| Counts { short: 1, long: 1_000 },
    run: |plan| pgchaos(plan).boxed(),
};

async fn pgchaos(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let postgres = Arc::new(tokio::task::spawn_blocking(|| OwnPostgres::start("")).await??);
    let url = postgres.url();
    let setup = Setup { url_of_servers: Some(url.clone()), ..Setup::default() };
    let world = Arc::new(World::begin(&plan, setup).await?);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    let helpers = load.helpers();
    let mut random = Random::new(plan.seed);
    let (mut restarts, mut killed, mut round, mut still) = (0, 0_u64, 0, Duration::ZERO);
    let mut went = Ok(());
    while went.is_ok() && restarts < plan.count {
        let runs = {
            let (load, cases) = (load.clone(), examples::cases(&world.shop_url(), Size::Few));
            tokio::spawn(async move { load.round(cases, round).await })
        };
        let begun_at = restarts;
        while restarts < plan.count && !(runs.is_finished() && restarts > begun_at) {
            for _ in 0..BACKENDS_PER_RESTART {
                killed += kill_one(&url, &mut random).await?;
                still = still.max(wait(world.client.after_answers(random.between(1, ANSWERS_MAX) as u64)).await);
            }
            let again = Arc::clone(&postgres);
            tokio::task::spawn_blocking(move || again.restart_immediately()).await??;
            restarts += 1;
            still = still.max(wait(world.client.after_answers(1)).await);
        }
        went = runs.await?;
        round += 1;
        eprintln!("round {round}: {restarts} of {} restarts", plan.count);
    }
    if still >= STILL_MAX {
        outcome.violation(format!("nobody got an answer for {} s", STILL_MAX.as_secs()));
    }
    load.judge(went.and(helpers.end().await), &mut outcome).await?;
    outcome.at_least("restarts", restarts.into(), plan.count.into());
    outcome.at_least("backends_killed", killed, u64::from(plan.count));
    outcome.count("longest_without_an_answer_ms", u64::try_from(still.as_millis()).unwrap_or(u64::MAX));
    outcome.at_least("runs", load.accepted().len() as u64, 10);
    world.end(&outcome);
    Ok(outcome)
}

/// Waits until clients got so many answers; how long that took.
async fn wait(answers: impl Future<Output = ()>) -> Duration {
    let since = Instant::now();
    // That nobody did in time shows in how long it took.
    let _ = tokio::time::timeout(STILL_MAX, answers).await;
    since.elapsed()
}

/// Kills a backend of the server's; how many there were to kill.
async fn kill_one(url: &str, random: &mut Random) -> Result<u64> {
    const KILL: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                        where backend_type = 'client backend' and pid <> pg_backend_pid() \
                        order by md5(pid::text || $1) limit 1";
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("PostgreSQL does not answer")?;
    let driver = tokio::spawn(connection);
    let salt = random.next_number().to_string();
    let rows = client.query(KILL, &[&salt]).await?;
    drop(client);
    driver.await??;
    Ok(rows.len() as u64)
}
