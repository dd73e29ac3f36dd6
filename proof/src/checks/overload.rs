//! `overload`: ten times as many requests as the server was measured to take, by the clock, on a server with 512 MiB and
//! two tenants. It goes on doing at least 80 % of what it could do, refuses the rest, loses nothing that it accepted,
//! and the tenant that asks for little waits at most 1.5 times as long as when the server was merely busy.
//!
//! The short form judges no time: rates and waits are told, for the machine may do other things meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use crate::{
    Check, Counts, Plan,
    open_loop::{Pace, Seen},
    options::Database,
    report::Outcome,
    tenants::{Phase, Tenants},
    world::{Setup, World},
};

/// Connections with which it is found out what the server can do.
const BEST_CONNECTIONS: usize = 256;
/// How many times as many requests are due then.
const TIMES: f64 = 10.0;
/// How long a request waits at the door: less than usual, so that fewer connections than a machine has files are too
/// many.
const REQUEST_WAIT: Duration = Duration::from_millis(250);
/// Under overload the noisy tenant has a connection for each run of so much time.
const CONNECTIONS_FOR: Duration = Duration::from_millis(500);
const CONNECTIONS_MAX: usize = 4_000;
/// How long it is found out what the server can do, at most.
const BEST_FOR_MAX: Duration = Duration::from_secs(60);
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// What it has to do under overload, in percent of its best.
const GOODPUT_PERCENT_MIN: u64 = 80;
/// What the quiet tenant's p99 may be under overload, as a share of what it was when the server did its best.
const QUIET_SHARE_MAX: f64 = 1.5;

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "overload",
    about: "ten times too many requests, two tenants, 512 MiB",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 5, long: 600 },
    run: |plan| overload(plan).boxed(),
};

/// Seconds of overload are the count of this check.
async fn overload(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let limit = Limit::make();
    let wrapper = limit.as_ref().map_or_else(Vec::new, Limit::wrapper);
    let environment = vec![("WINDLASS_SET".to_owned(), format!("request_wait_ms={}", REQUEST_WAIT.as_millis()))];
    let world = Arc::new(World::prepare(&plan, Setup { wrapper, environment, ..Setup::default() }).await?);
    let tenants = Tenants::make(&world).await?;
    let length = Duration::from_secs(plan.count.into());
    let shorter = length.min(BEST_FOR_MAX);
    let calm = tenants.phase(shorter, (Pace::PerSecond(1.0), 1)).await?;
    let best = tenants.phase(shorter, (Pace::AsAnswered, BEST_CONNECTIONS)).await?;
    let rate = best.noisy.per_second();
    let connections = (rate * CONNECTIONS_FOR.as_secs_f64()) as usize;
    let connections = connections.clamp(BEST_CONNECTIONS, CONNECTIONS_MAX).min(connections_max());
    let mut over = tenants.phase(length, (Pace::PerSecond(rate * TIMES), connections)).await?;
    // Once more: a machine that does other things as well is not always as fast.
    let again = tenants.phase(shorter, (Pace::AsAnswered, BEST_CONNECTIONS)).await?;
    let peak = peak_bytes(world.process(0).context("the server has died")?)?;
    tenants.finish().await?;
    // Two lines for each run whose end was told.
    outcome.at_least(
        "told",
        world.ledger.count(),
        2 * (best.noisy.completed + over.noisy.completed + again.noisy.completed),
    );
    tokio::task::block_in_place(|| world.verify(&["--finished"], &mut outcome))?;

    outcome.at_least("runs_per_second_at_its_best", rate as u64, 10);
    outcome.count("runs_per_second_under_overload", over.noisy.per_second() as u64);
    outcome.count("runs_per_second_afterwards", again.noisy.per_second() as u64);
    let goodput = over.noisy.per_second() * 200.0 / (rate + again.noisy.per_second()).max(1.0);
    let goodput_min = if plan.options.short { 0 } else { GOODPUT_PERCENT_MIN };
    outcome.at_least("goodput_percent", goodput as u64, goodput_min);
    outcome.count("connections", connections);
    outcome.count("noisy", told(&mut over.noisy));
    // In the short form a machine that does other things may have got faster meanwhile, and need not refuse any.
    outcome.at_least("refused_with_429_or_503", over.noisy.refused, u64::from(!plan.options.short));
    judge_answers(&over, &mut outcome);
    let busy = Phase { quiet: best.quiet.with(again.quiet), ..best };
    judge_quiet(&plan, &mut [calm, busy, over].map(|phase| phase.quiet), &mut outcome);
    outcome.count("memory_peak_mib", peak >> 20);
    outcome.count("memory_limit", if limit.is_some() { "a control group" } else { "none: only the peak is judged" });
    if peak > MEMORY_BYTES_MAX {
        outcome.violation(format!("it took {} MiB at its highest", peak >> 20));
    }
    world.end(&outcome);
    Ok(outcome)
}

fn told(seen: &mut Seen) -> serde_json::Value {
    json!({
        "due": seen.due,
        "sent": seen.sent,
        "completed": seen.completed,
        "accepted": seen.accepted,
        "refused": seen.refused,
        "unanswered": seen.unanswered,
        "p50_ms": seen.latency_ms(0.5),
        "p99_ms": seen.latency_ms(0.99),
    })
}

/// Every request was answered, with a success or a refusal; whoever looks after the server could see it all the time.
fn judge_answers(over: &Phase, outcome: &mut Outcome) {
    for (who, seen) in [("noisy", &over.noisy), ("quiet", &over.quiet)] {
        outcome.violations(seen.wrong.iter().map(|wrong| format!("the {who} tenant was told: {wrong}")));
        if seen.unanswered > 0 {
            outcome.violation(format!("{} requests of the {who} tenant had no answer", seen.unanswered));
        }
    }
    if over.quiet.refused > 0 {
        outcome.violation(format!("{} requests of the quiet tenant were refused", over.quiet.refused));
    }
    outcome.at_least("looks", over.looks.count, 10);
    outcome.count("slowest_look_ms", over.looks.slowest.as_millis() as u64);
    outcome.violations(over.looks.failures.iter().map(|failure| format!("under overload: {failure}")));
}

/// What the quiet tenant noticed: when all was calm, when the server did its best, and under overload.
fn judge_quiet(plan: &Plan, phases: &mut [Seen; 3], outcome: &mut Outcome) {
    let p50s: Vec<f64> = phases.iter_mut().map(|seen| seen.latency_ms(0.5)).collect();
    let p99s: Vec<f64> = phases.iter_mut().map(|seen| seen.latency_ms(0.99)).collect();
    let [_, busy, over] = phases;
    outcome.at_least("quiet_requests", busy.completed.min(over.completed), 50);
    outcome.count("quiet_p50_ms", p50s);
    let (before, after) = (p99s[1], p99s[2]);
    outcome.count("quiet_p99_share", (after * 100.0 / before).round() / 100.0);
    let bound = before * QUIET_SHARE_MAX;
    if after > bound && !plan.options.short {
        outcome.violation(format!(
            "the quiet tenant's p99 rose from {before:.1} to {after:.1} ms; {bound:.1} are allowed"
        ));
    }
    outcome.count("quiet_p99_ms", p99s);
}

/// How many connections this process and the server may have open, by their limit of files.
fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files).unwrap_or(usize::MAX) * 3 / 4
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
