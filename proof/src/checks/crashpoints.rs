//! `crashpoints`: a process that dies at each named moment, at its first, second and third time, and again on its way
//! back; whatever was accepted goes on.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use serde_json::json;
use windlass_store::crash_point::NAMES;
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    load::{
        Load,
        examples::{Case, Expected, Size, case, order},
        expected,
    },
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "crashpoints",
    about: "a process dies at each named moment, also on its way back, and everything goes on",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 1, long: 3 },
    run: |plan| crashpoints(plan).boxed(),
};

/// Moments that come only where another node owns a run.
const BETWEEN_NODES: [&str; 2] = ["before-letter-stored", "after-letter-stored"];
/// Moments that a process comes to once.
const ONCE: [&str; 2] = ["before-take-over", "after-take-over"];
/// Answers before the server dies, so that there is something to come back to.
const ANSWERS: u64 = 25;
/// Moments of a short form on PostgreSQL, where each costs the lease of a dead node.
const FEW: usize = 1;
/// Timers, some of which are due when a server has come back.
const NAPS: &str = "name: naps
steps:
  - { id: a, type: delay, with: { for: 700ms } }
  - { id: b, type: delay, with: { for: 700ms } }
  - { id: c, type: delay, with: { for: 700ms } }
  - { id: d, type: delay, with: { for: 700ms } }
";
/// How long a server may take to come to a moment.
const WITHIN: Duration = Duration::from_secs(60);
/// In how many rounds of runs it may come to it: a letter between nodes is there only while a dead one has its lease.
const TRIES: u32 = 3;
/// How long it gets to come to it on its way back; not every moment comes then.
fn again_within(world: &World) -> Duration {
    // On PostgreSQL it takes its own runs over when the lease of its past life is over.
    Duration::from_secs(if world.postgres_url().is_some() { 15 } else { 2 })
}
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

async fn crashpoints(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    // One server: on PostgreSQL its own past life is the other node.
    let world = Arc::new(World::begin(&plan, Setup::default()).await?);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    load.publish("naps", NAPS).await?;
    let helpers = load.helpers();
    let mut moments: Vec<(&str, u32)> = Vec::new();
    for name in NAMES.iter().filter(|name| plan.database == Database::Postgres || !BETWEEN_NODES.contains(name)) {
        let times = if ONCE.contains(name) { 1 } else { plan.count };
        moments.extend((1..=times).map(|nth| (*name, nth)));
    }
    if plan.database == Database::Postgres && plan.options.short {
        moments = Random::new(plan.seed).shuffled(moments);
        moments.truncate(FEW);
    }
    let (mut died, mut died_again, mut round) = (0_u64, 0_u64, 0);
    'moments: for (place, (name, nth)) in moments.iter().enumerate() {
        let mut times = 0;
        for _ in 0..TRIES {
            let runs = load.round(cases(&world), round);
            round += 1;
            let (went, ends) = tokio::join!(runs, die(&world, name, *nth));
            times = ends.with_context(|| format!("{name}:{nth}"))?;
            if let Err(error) = went {
                outcome.violation(format!("{name}:{nth}: {error:#}"));
                break 'moments;
            }
            if times > 0 {
                break;
            }
        }
        died += u64::from(times > 0);
        died_again += u64::from(times > 1);
        if times == 0 {
            outcome.violation(format!("nothing came to the moment {name} for the {nth}. time"));
        }
        eprintln!("{} of {}: {name}:{nth}, died {times} times", place + 1, moments.len());
    }
    helpers.end().await?;
    expected::check(&load, &mut outcome).await?;
    outcome.at_least("died", died, moments.len() as u64);
    outcome.at_least("died on the way back", died_again, 1);
    outcome.count("runs", load.accepted().len());
    tokio::task::block_in_place(|| world.verify(&["--finished"], &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}

/// A few runs that come to every moment: effects, timers, people, children, letters.
fn cases(world: &World) -> Vec<Case> {
    vec![
        Case { expected: Expected::Shipped, ..case("order-saga", 2, order(&world.shop_url(), 42, &[2, 1])) },
        Case { expected: Expected::Shipped, ..case("order-saga", 1, order(&world.shop_url(), 4_200, &[1])) },
        Case { expected: Expected::Undone, ..case("order-saga", 1, order(&world.shop_url(), 42, &[101])) },
        Case { signals: &["ready"], ..case("signal", 2, json!({})) },
        case("parallel-race", 1, json!({})),
        case("naps", 2, json!({})),
        case("subflow-tree", 1, json!({ "branches": 3, "leaves": 4 })),
        case("python-task", 1, json!({})),
    ]
}

/// Lets the first server die at that moment, once more on its way back, and then live. How often it died.
async fn die(world: &Arc<World>, name: &str, nth: u32) -> Result<u32> {
    let chosen = |nth: u32| [("WINDLASS_CRASH_POINT", format!("{name}:{nth}"))];
    world.client.after_answers(ANSWERS).await;
    tokio::task::block_in_place(|| world.kill(0))?;
    world.launch(0, &chosen(nth))?;
    let mut times = 0;
    if dies(world, WITHIN).await? {
        world.launch(0, &chosen(1))?;
        times = if dies(world, again_within(world)).await? { 2 } else { 1 };
    }
    tokio::task::block_in_place(|| world.kill(0).and_then(|()| world.start(0)))?;
    Ok(times)
}

/// Waits until the first server has died.
async fn dies(world: &World, within: Duration) -> Result<bool> {
    let until = tokio::time::Instant::now() + within;
    while tokio::time::Instant::now() < until {
        if world.has_died(0)? {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(false)
}
