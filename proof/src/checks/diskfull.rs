//! `diskfull`: the disk fills up again and again. Writes are refused with 503, reads go on, and everything goes on by
//! itself when there is space.
//!
//! The disk is full for SQLite's files alone, below the server (`disk`).

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::FutureExt as _;
use serde_json::json;

use crate::{
    Check, Counts, Plan,
    client::{Request, TRY_EVERY},
    disk::VARIABLE,
    load::{
        Load,
        examples::{self, Size},
        expected,
    },
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// How long it may take until starts are refused, or accepted again.
const WITHIN: Duration = Duration::from_secs(30);

/// The workflow that shows whether starts are accepted.
const PROBE: &str = "probe";

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "diskfull",
    about: "a full disk: 503, reads work, and it goes on alone",
    databases: &[Database::Sqlite],
    counts: |_| Counts { short: 4, long: 300 },
    run: |plan| diskfull(plan).boxed(),
};

async fn diskfull(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = World::prepare(&plan, Setup::default()).await?;
    let switch = world.folder.join("disk-is-full");
    world.start_with(0, &[(VARIABLE, format!("full {}", switch.display()))])?;
    let world = Arc::new(world);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    load.publish(PROBE, &format!("name: {PROBE}\nsteps: [{{ id: a, type: transform, with: {{ value: 1 }} }}]\n"))
        .await?;
    let mut helpers = load.helpers();
    let process = world.process(0);
    let (mut refused, mut read, mut times, mut round) = (0, 0, 0, 0);
    while times < plan.count {
        let runs = {
            let (load, cases) = (load.clone(), examples::cases(&world.shop_url(), Size::Few));
            tokio::spawn(async move { load.round(cases, round).await })
        };
        while times < plan.count && !(runs.is_finished() && times > 0) {
            fs::write(&switch, b"")?;
            refused += until_starts_are(&world, false, times).await?;
            read += reads_work(&world).await?;
            fs::remove_file(&switch)?;
            until_starts_are(&world, true, times).await?;
            times += 1;
            eprintln!("the disk was full {times} of {} times", plan.count);
        }
        runs.await??;
        if let Some(ended) = helpers.try_join_next() {
            ended??;
        }
        round += 1;
    }
    helpers.shutdown().await;
    if world.process(0) != process {
        outcome.violation("the server was started anew");
    }
    expected::check(&load, &mut outcome).await?;
    tokio::task::block_in_place(|| world.verify(&["--finished"], &mut outcome))?;
    outcome.at_least("times_full", times.into(), plan.count.into());
    outcome.at_least("starts_refused_with_503", refused, plan.count.into());
    outcome.at_least("reads_while_full", read, plan.count.into());
    outcome.at_least("runs", load.accepted().len() as u64, 10);
    world.end(&outcome);
    Ok(outcome)
}

/// Tries to start a run until the answer is 503, or until it is a yes; how often it was 503.
async fn until_starts_are(world: &World, accepted: bool, times: u32) -> Result<u64> {
    let (since, mut refused, mut nth) = (Instant::now(), 0, 0);
    loop {
        nth += 1;
        let key = format!("full-{times}-{accepted}-{nth}");
        let start = Request::post(format!("/workflows/{PROBE}/runs"), &json!({ "input": {} })).key(&key);
        let answer = world.client.try_ask(0, &start).await.context("a server on a full disk gave no answer")?;
        match answer.status {
            503 => refused += 1,
            200..=299 => {}
            _ => bail!("a start on a full disk was answered with {answer:?}"),
        }
        if answer.is_success() == accepted {
            return Ok(refused);
        }
        if since.elapsed() > WITHIN {
            bail!("after {} s the answer is still {answer:?}\n{}", WITHIN.as_secs(), world.end_of_log(0));
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

async fn reads_work(world: &World) -> Result<u64> {
    let mut count = 0;
    for path in ["/runs?limit=10", "/workflows", "/approvals"] {
        let answer = world.client.try_ask(0, &Request::get(path)).await?;
        if !answer.is_success() {
            bail!("{path} on a full disk: {answer:?}");
        }
        count += 1;
    }
    Ok(count)
}
