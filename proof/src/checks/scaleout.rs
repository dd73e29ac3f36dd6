//! `scaleout`: one server becomes five and one again, under load; some are asked to stop, some are killed.
//!
//! Every client, person and worker asks all servers in turn, so that most of what they say reaches a run through a
//! server that does not turn it. Seats are few, so that runs are queued and taken by whoever has room. For each run
//! that was under way on a killed server the time to its next journal entry is measured, by the database's clock.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tokio_postgres::Client;
use windlass_testkit::{look_at, random::Random};

use crate::{
    Check, Counts, Plan,
    load::{
        Load,
        examples::{self, Case, Expected, Size},
        expected,
    },
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "scaleout",
    about: "1 → 5 → 1 servers under load, some stopped and some killed",
    databases: &[Database::Postgres],
    counts: |_| Counts { short: 1, long: 50 },
    run: |plan| scaleout(plan).boxed(),
};

/// How many servers there are at most.
const SERVERS: usize = 5;
/// The lease of every server.
const LEASE: Duration = Duration::from_secs(3);
/// A dead server's runs go on within the lease and this.
const GRACE: Duration = Duration::from_secs(2);
/// Bounds that make runs queue.
const SETTINGS: &str = "lease_ms=3000,runs_active_max=12";
/// Answers between two changes.
const ANSWERS: std::ops::RangeInclusive<usize> = 100..=400;
/// Without a next entry for so long, a run is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// For so long a server that is about to be killed is waited for to have runs.
const BUSY_WITHIN: Duration = Duration::from_secs(10);

/// Runs that are under way for a while, whenever a server is killed.
const SLEEPER: &str = "
name: sleeper
steps:
  - id: nap
    type: foreach
    items: [1, 2, 3, 4]
    do: [{ id: one, type: bench, with: { value: 1, sleep_ms: 400 } }]
";

async fn scaleout(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let environment =
        [("WINDLASS_SET", SETTINGS), ("WINDLASS_GRACE_SECONDS", "1")].map(|(name, value)| (name.into(), value.into()));
    let setup = Setup { servers: SERVERS, environment: environment.into(), ..Setup::default() };
    let world = Arc::new(World::prepare(&plan, setup).await?);
    change(&world, Change::Start(0)).await?;
    let load = Load::new(Arc::clone(&world));
    let size = if plan.options.short { Size::Few } else { Size::Many };
    load.deploy(size).await?;
    load.publish("sleeper", SLEEPER).await?;
    world.make_the_shop_moody().await?;
    let helpers = load.helpers();
    let stop = watch::Sender::new(false);
    let working = work(&load, size, stop.subscribe());
    let went = cycles(&world, &plan, &mut outcome).await;
    stop.send_replace(true);
    let rounds = working.await?;
    let helped = helpers.end().await;
    if let Err(error) = went.and(helped).and(rounds.as_ref().map(|_| ()).map_err(|error| anyhow::anyhow!("{error:#}")))
    {
        outcome.violation(format!("{error:#}"));
        (0..world.servers()).for_each(|server| eprintln!("{}", world.end_of_log(server)));
    } else {
        expected::check(&load, &mut outcome).await?;
    }
    outcome.count("rounds", rounds.unwrap_or(0));
    outcome.at_least("runs", load.accepted().len() as u64, 40);
    outcome.count("told", world.ledger.count());
    let arguments = ["--finished", "--minimum-runs", "40", "--minimum-effects", "20"];
    tokio::task::block_in_place(|| world.verify(&arguments, &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}

/// Runs of every construct, again and again until it is enough; gives the rounds.
fn work(load: &Load, size: Size, stop: watch::Receiver<bool>) -> JoinHandle<Result<u32>> {
    let load = load.clone();
    tokio::spawn(async move {
        let mut round = 0;
        loop {
            let mut cases = examples::cases(&load.world.shop_url(), size);
            let sleeper =
                Case { workflow: "sleeper", input: json!({}), expected: Expected::Completed, runs: 40, signals: &[] };
            cases.push(sleeper);
            load.round(cases, round).await?;
            round += 1;
            if *stop.borrow() {
                return Ok(round);
            }
        }
    })
}

/// What happens to a server.
#[derive(Debug, Clone, Copy)]
enum Change {
    Start(usize),
    Stop(usize),
    Kill(usize),
}

async fn change(world: &Arc<World>, change: Change) -> Result<()> {
    let world = Arc::clone(world);
    let done = tokio::task::spawn_blocking(move || match change {
        Change::Start(server) => world.start(server),
        Change::Stop(server) => world.stop(server),
        Change::Kill(server) => world.kill(server),
    });
    done.await?
}

/// What was measured of the runs of killed servers.
#[derive(Debug, Default)]
struct Measured {
    runs: u64,
    milliseconds: Vec<f64>,
}

async fn cycles(world: &Arc<World>, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
    let mut random = Random::new(plan.seed);
    let database = look_at(world.postgres_url().context("a PostgreSQL")?).await?;
    let mut measured = Measured::default();
    let (mut stopped, mut killed) = (0, 0);
    for cycle in 0..plan.count {
        for server in 1..SERVERS {
            pause(world, &mut random).await;
            change(world, Change::Start(server)).await?;
        }
        // The one that stays is another one each time: it is the last that the list has.
        let mut servers: Vec<usize> = (0..SERVERS).collect();
        for at in (1..SERVERS).rev() {
            servers.swap(at, random.below(at + 1));
        }
        for (at, server) in servers[1..].iter().enumerate() {
            pause(world, &mut random).await;
            if at % 2 == 0 {
                kill(world, *server, (&database, &mut measured)).await?;
                killed += 1;
            } else {
                change(world, Change::Stop(*server)).await?;
                stopped += 1;
            }
        }
        // The next cycle begins with server 0 alone.
        if servers[0] != 0 {
            change(world, Change::Start(0)).await?;
            change(world, Change::Stop(servers[0])).await?;
            stopped += 1;
        }
        eprintln!("cycle {}: {killed} killed, {stopped} stopped, {} runs taken over", cycle + 1, measured.runs);
    }
    report(plan, outcome, (measured, killed, stopped));
    let admitted = database.query_one("select count(*) from journal where kind = 'admitted'", &[]).await?;
    outcome.at_least("queued_and_admitted", admitted.get::<_, i64>(0).unsigned_abs(), 1);
    Ok(())
}

async fn pause(world: &World, random: &mut Random) {
    world.client.after_answers(random.between(*ANSWERS.start(), *ANSWERS.end()) as u64).await;
}

const UNDER_WAY: &str = "from runs r join lanes l on l.id = r.lane_id join nodes n on n.id = l.node_id \
                         where n.pid = {pid} and n.state = 'alive' and r.status in ('running', 'compensating')";
// Rows that a session of the dead server still writes have times before this statement.
const ORPHANS: &str = "create temp table orphans as select r.tenant_key, r.id, clock_timestamp() as since ";
const GONE_ON: &str = "select (extract(epoch from next.at - o.since) * 1000)::float8 from orphans o left join lateral ( \
                       select min(j.at) as at from journal j where j.tenant_key = o.tenant_key and j.run_id = o.id \
                       and j.at > o.since) next on true";

/// Kills a server and waits until others have gone on with each of its runs.
async fn kill(world: &Arc<World>, server: usize, (database, measured): (&Client, &mut Measured)) -> Result<()> {
    let process = world.process(server).context("a server that runs")?;
    let under_way = UNDER_WAY.replace("{pid}", &process.to_string());
    let since = std::time::Instant::now();
    while database.query_one(&format!("select count(*) {under_way}"), &[]).await?.get::<_, i64>(0) == 0
        && since.elapsed() < BUSY_WITHIN
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    change(world, Change::Kill(server)).await?;
    database.batch_execute(&format!("{ORPHANS}{under_way}")).await?;
    let since = std::time::Instant::now();
    let found = loop {
        let rows = database.query(GONE_ON, &[]).await?;
        let found: Vec<Option<f64>> = rows.iter().map(|row| row.get(0)).collect();
        if found.iter().all(Option::is_some) || since.elapsed() > PATIENCE {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    database.batch_execute("drop table orphans").await?;
    measured.runs += found.len() as u64;
    measured.milliseconds.extend(found.iter().map(|it| it.unwrap_or(f64::INFINITY)));
    Ok(())
}

/// The short form tells times and judges none: the machine may do other things meanwhile.
fn report(plan: &Plan, outcome: &mut Outcome, (measured, killed, stopped): (Measured, u64, u64)) {
    let Measured { runs, mut milliseconds } = measured;
    let cycles = u64::from(plan.count);
    milliseconds.sort_by(f64::total_cmp);
    outcome.at_least("killed", killed, 2 * cycles);
    outcome.at_least("stopped", stopped, 2 * cycles);
    outcome.at_least("runs_taken_over", runs, cycles);
    let at = |part: f64| milliseconds.get(((milliseconds.len() as f64 - 1.0) * part).round() as usize).copied();
    let (half, p99, most) = (at(0.5).unwrap_or(0.0), at(0.99).unwrap_or(0.0), at(1.0).unwrap_or(0.0));
    outcome.count("lease_ms", LEASE.as_millis() as u64);
    outcome.count("gone_on_ms_p50", half.round());
    outcome.count("gone_on_ms_p99", p99.round());
    outcome.count("gone_on_ms_max", most.round());
    if p99 > (LEASE + GRACE).as_millis() as f64 && !plan.options.short {
        outcome.violation(format!("a killed server's runs went on after {p99:.0} ms (p99), not within lease + 2 s"));
    }
    let lost = milliseconds.iter().filter(|it| it.is_infinite()).count();
    if lost > 0 {
        outcome.violation(format!("{lost} runs of killed servers did not go on within {} s", PATIENCE.as_secs()));
    }
}
