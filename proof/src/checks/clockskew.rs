//! `clockskew`: several servers whose clocks are an hour off and jump. No delay and no timeout ends early by the
//! database's clock, none twice, and none is forgotten; leases hold.
//!
//! Schedules do not exist yet; delays, timeouts and leases are what clocks decide so far.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use serde_json::json;
use tokio::task::JoinSet;
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    load::{Load, actors, examples::case},
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

const SERVERS: usize = 5;
/// A jump of the clocks, forth or back.
const JUMP_S: usize = 3_600;
/// Runs at once.
const AT_ONCE: u32 = 100;
/// A wait that ends so much too late was forgotten.
const LATE_MAX: Duration = Duration::from_secs(30);

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "clockskew",
    about: "servers whose clocks are an hour off and jump: no wait ends early or twice",
    databases: &[Database::Postgres],
    counts: |_| Counts { short: 60, long: 100_000 },
    run: |plan| clockskew(plan).boxed(),
};

/// Three waits, one of them a timeout, of one second each.
const DOCUMENT: &str = "\
name: naps
steps:
  - { id: first, type: delay, with: { for: 1s } }
  - id: told
    type: try
    do: [{ id: never, type: wait, with: { signal: never }, timeout: 1s }]
    catch: [{ on: [timeout], do: [{ id: gave_up, type: transform, with: { value: 1 } }] }]
  - { id: last, type: delay, with: { for: 1s } }
";
const WAITS: u32 = 3;

async fn clockskew(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let library = library()?;
    let world = Arc::new(World::prepare(&plan, Setup { servers: SERVERS, ..Setup::default() }).await?);
    let mut random = Random::new(plan.seed);
    for server in 0..SERVERS {
        jump(&world, server, &mut random)?;
        let environment = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock_of(&world, server).display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        world.start_with(server, &environment)?;
    }
    let load = Load::new(Arc::clone(&world));
    load.publish("naps", DOCUMENT).await?;
    let (mut runs, mut waits, mut jumps) = (JoinSet::new(), 0, 0);
    let mut started = 0;
    while waits < plan.count && outcome.passed() {
        while runs.len() < AT_ONCE as usize && started * WAITS < plan.count {
            runs.spawn(nap(load.clone(), started));
            started += 1;
        }
        let Some(ended) = runs.join_next().await else { break };
        outcome.violations(ended??);
        waits += WAITS;
        if waits % 30 == 0 {
            jump(&world, random.below(SERVERS), &mut random)?;
            jumps += 1;
        }
    }
    tokio::task::block_in_place(|| world.verify(&["--finished"], &mut outcome))?;
    outcome.at_least("waits", waits.into(), plan.count.into());
    outcome.at_least("jumps", jumps, 1);
    outcome.count("servers", SERVERS);
    outcome.count("schedules", "they do not exist yet");
    world.end(&outcome);
    Ok(outcome)
}

/// What stands in front of a server's clock.
fn library() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.flatten().map(|it| it.path());
    let mut libraries = folders.map(|it| it.join("faketime/libfaketime.so.1")).filter(|it| it.exists());
    libraries.next().context("libfaketime is not installed: run `make setup`, which installs it")
}

fn clock_of(world: &World, server: usize) -> PathBuf {
    world.folder.join(format!("clock-{server}"))
}

/// Sets a server's clock forth or back, up to an hour from the true time.
fn jump(world: &World, server: usize, random: &mut Random) -> Result<()> {
    let seconds = random.below(2 * JUMP_S + 1).cast_signed() - JUMP_S.cast_signed();
    let clock = clock_of(world, server);
    // At once, so that no server reads half of it.
    let next = clock.with_extension("next");
    fs::write(&next, format!("{seconds:+}s\n"))?;
    Ok(fs::rename(next, clock)?)
}

/// One run; what was wrong with it.
async fn nap(load: Load, number: u32) -> Result<Vec<String>> {
    let (since, key) = (Instant::now(), format!("nap-{number}"));
    let run = actors::start(&load, &case("naps", 1, json!({})), &key).await?;
    let view = actors::end(&load, &run).await?;
    let took = since.elapsed();
    let mut wrong = Vec::new();
    let least = Duration::from_secs(WAITS.into());
    if view["status"] != "completed" {
        wrong.push(format!("{key}: {view}"));
    }
    // This process's clock is right, and measures more than the waits: the requests too.
    if took < least {
        wrong.push(format!("{key}: three waits of a second took {} ms", took.as_millis()));
    }
    if took > least + LATE_MAX {
        wrong.push(format!("{key}: three waits of a second took {} s", took.as_secs()));
    }
    let steps = load.world.client.list(&format!("/runs/{run}/steps")).await?;
    for step in ["first", "last", "gave_up"] {
        let ended = |it: &&serde_json::Value| {
            let path = it["path"].as_str().unwrap_or_default();
            path.rsplit(['/', '.']).next() == Some(step) && it["status"] == "completed"
        };
        let count = steps.iter().filter(ended).count();
        if count != 1 {
            wrong.push(format!("{key}: {step} ended {count} times: {steps:?}"));
        }
    }
    Ok(wrong)
}
