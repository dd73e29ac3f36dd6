//! The machine that figures are from, and who else used it meanwhile.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What stands beside every figure.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// The processor's name.
    pub processor: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let line_of = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let kib = line_of("/proc/meminfo", "MemTotal").trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0);
        Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: line_of("/proc/cpuinfo", "model name"),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_mib: kib / 1024,
        }
    }
}

/// The commit that is checked out, with `+` when something was changed since.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|it| it.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|it| !it.is_empty());
    if changed { format!("{commit}+") } else { commit }
}

/// Processor time of the whole machine, to tell ours from that of others.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    at: Instant,
    busy: Duration,
    postgres: Duration,
}

/// Cores in use over a stretch of time.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// By everybody.
    pub busy: f64,
    /// By PostgreSQL.
    pub postgres: f64,
    /// How long the stretch was, in seconds.
    pub seconds: f64,
}

impl Usage {
    /// As of now.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn now() -> Result<Usage> {
        let stat = fs::read_to_string("/proc/stat").context("no /proc/stat")?;
        let first = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> = first.split_whitespace().skip(1).take(8).filter_map(|it| it.parse().ok()).collect();
        // Idle and waiting for the disk, the fourth and fifth, are not busy.
        let ticks: u64 = fields.iter().enumerate().filter(|(at, _)| !(3..=4).contains(at)).map(|(_, it)| it).sum();
        let busy = Duration::from_millis(ticks * 1_000 / windlass_testkit::TICKS_PER_SECOND);
        Ok(Usage { at: Instant::now(), busy, postgres: postgres_cpu() })
    }

    /// What was used since then.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn since(self) -> Result<Cores> {
        let now = Usage::now()?;
        let seconds = (now.at - self.at).as_secs_f64();
        let cores = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() / seconds;
        Ok(Cores { busy: cores(now.busy, self.busy), postgres: cores(now.postgres, self.postgres), seconds })
    }
}

/// The processor time of all PostgreSQL processes that run now.
fn postgres_cpu() -> Duration {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let is_postgres = |id: &u32| {
        fs::read_to_string(Path::new("/proc").join(id.to_string()).join("comm")).is_ok_and(|it| it == "postgres\n")
    };
    ids.filter(is_postgres).filter_map(|id| windlass_testkit::cpu_of(id).ok()).sum()
}
