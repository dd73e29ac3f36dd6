//! `overload`: ten times as many clients as the server can serve, who never wait, on a server with 512 MiB. It does at
//! least 80 % of what it does at its best, what it accepted is not lost, and it stays within its memory.
//!
//! There is one tenant yet, so "a quiet tenant" is a quiet client among the loud ones: its latency is told, not judged.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use serde_json::json;
use tokio::task::JoinSet;
use windlass_runtime::verify::ledger::Told;

use crate::{
    Check, Counts, Plan,
    client::Request,
    load::Load,
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// Clients at its best.
const CLIENTS: usize = 16;
/// How many times more there are then.
const TIMES: usize = 10;
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// What it has to do under overload, in percent of its best.
const GOODPUT_PERCENT_MIN: u64 = 80;
/// Between two requests of the quiet client.
const QUIET: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "overload",
    about: "ten times too many clients on a server with 512 MiB",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 4, long: 600 },
    run: |plan| overload(plan).boxed(),
};

/// Seconds of each phase are the count of this check.
async fn overload(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let limit = Limit::make();
    let wrapper = limit.as_ref().map_or_else(Vec::new, Limit::wrapper);
    let world = Arc::new(World::begin(&plan, Setup { wrapper, ..Setup::default() }).await?);
    let load = Load::new(Arc::clone(&world));
    load.publish("probe", "name: probe\nsteps: [{ id: a, type: transform, with: { value: 1 } }]\n").await?;
    let phase = Duration::from_secs(plan.count.into());
    let best = Phase::run(&load, CLIENTS, phase.min(Duration::from_secs(30)), "best").await?;
    let over = Phase::run(&load, CLIENTS * TIMES, phase, "over").await?;
    let peak = peak_bytes(world.process(0).context("no server")?)?;
    tokio::task::block_in_place(|| world.verify(&[], &mut outcome))?;
    let share = over.per_second * 100 / best.per_second.max(1);
    outcome.at_least("runs_per_second_at_its_best", best.per_second, 10);
    outcome.count("runs_per_second_under_overload", over.per_second);
    outcome.at_least("goodput_percent", share, GOODPUT_PERCENT_MIN);
    outcome.count("refused_with_429_or_503", over.refused);
    outcome.count("quiet_client_p99_ms", json!([best.quiet_ms, over.quiet_ms]));
    outcome.count("memory_peak_mib", peak >> 20);
    outcome.count("memory_limit", if limit.is_some() { "a control group" } else { "none: only the peak is judged" });
    if peak > MEMORY_BYTES_MAX {
        outcome.violation(format!("it took {} MiB at its highest", peak >> 20));
    }
    world.end(&outcome);
    Ok(outcome)
}

/// What clients got in a while.
struct Phase {
    per_second: u64,
    refused: u64,
    quiet_ms: u64,
}

#[derive(Default)]
struct Counted {
    good: AtomicU64,
    refused: AtomicU64,
}

impl Phase {
    async fn run(load: &Load, clients: usize, phase: Duration, name: &'static str) -> Result<Phase> {
        let counted = Arc::new(Counted::default());
        let until = Instant::now() + phase;
        let mut all = JoinSet::new();
        for client in 0..clients {
            all.spawn(loud(load.clone(), Arc::clone(&counted), until, format!("{name}-{client}")));
        }
        let mut latencies = quiet(load, until, name).await?;
        while let Some(ended) = all.join_next().await {
            ended??;
        }
        latencies.sort();
        let p99 = latencies.get(latencies.len() * 99 / 100).or(latencies.last()).copied().unwrap_or_default();
        Ok(Phase {
            per_second: counted.good.load(Ordering::Relaxed) / phase.as_secs().max(1),
            refused: counted.refused.load(Ordering::Relaxed),
            quiet_ms: u64::try_from(p99.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// Starts one run after the other, at once after each answer.
async fn loud(load: Load, counted: Arc<Counted>, until: Instant, name: String) -> Result<()> {
    let mut nth = 0;
    while Instant::now() < until {
        nth += 1;
        match one(&load, &format!("{name}-{nth}")).await? {
            true => counted.good.fetch_add(1, Ordering::Relaxed),
            false => counted.refused.fetch_add(1, Ordering::Relaxed),
        };
    }
    Ok(())
}

/// Starts a run and waits for its end; whether it was accepted.
async fn one(load: &Load, key: &str) -> Result<bool> {
    let start = Request::post("/workflows/probe/runs?wait=30s", &json!({ "input": {} })).key(key);
    // Without an answer in time nothing was promised.
    let Ok(answer) = load.world.client.try_ask(0, &start).await else { return Ok(false) };
    match answer.status {
        200..=299 => {
            let run = answer.body["id"].as_str().context("a run without an id")?.to_owned();
            let told = Told::Start { run, workflow: "probe".to_owned(), key: Some(key.to_owned()) };
            load.world.ledger.record(&told).await?;
            Ok(true)
        }
        429 | 503 => Ok(false),
        _ => anyhow::bail!("{key}: {answer:?}"),
    }
}

async fn quiet(load: &Load, until: Instant, name: &str) -> Result<Vec<Duration>> {
    let (mut latencies, mut nth) = (Vec::new(), 0);
    while Instant::now() < until {
        nth += 1;
        let since = Instant::now();
        one(load, &format!("{name}-quiet-{nth}")).await?;
        latencies.push(since.elapsed());
        tokio::time::sleep(QUIET).await;
    }
    Ok(latencies)
}

/// The most memory that a process ever had.
fn peak_bytes(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1024)
}

/// A control group with so much memory, where this user may make one.
struct Limit {
    group: PathBuf,
}

impl Limit {
    fn make() -> Option<Limit> {
        let (first, second) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        let (parent, file) = if first.exists() { (first, "memory.limit_in_bytes") } else { (second, "memory.max") };
        let group = parent.join(format!("windlass-proof-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let limit = Limit { group };
        fs::write(limit.group.join(file), MEMORY_BYTES_MAX.to_string()).ok()?;
        Some(limit)
    }

    /// Puts what it starts into the group.
    fn wrapper(&self) -> Vec<String> {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.group.display());
        vec!["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // Its server has ended by now; a group that stays is empty.
        let _ = fs::remove_dir(&self.group);
    }
}
