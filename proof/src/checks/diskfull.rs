//! `diskfull`: the disk fills up again and again. Writes are refused with 503, reads go on, and everything goes on by
//! itself when there is space.
//!
//! Twice: on a disk that is full for SQLite's files alone, below the server (`disk`); and, where this user may mount one, on
//! a real small one in memory that something else fills to the last byte, for everything that the server keeps.

use std::{
    ffi::CStr,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::FutureExt as _;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
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

/// How long it may take until starts are accepted again.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take until they are refused: a log that grew before has room for up to 64 MB, without one more byte on the
/// disk.
const REFUSED_WITHIN: Duration = Duration::from_secs(180);

/// How often a full disk may be told of: a checkpoint that finds room works, and the next one fails anew.
const TOLD_MAX: usize = 10;
/// What a small disk is told: room for what all rounds write.
const SMALL_DISK: &CStr = c"size=256m";

/// The workflow that shows whether starts are accepted.
const PROBE: &str = "probe";

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "diskfull",
    about: "a full disk: 503, reads work, and it goes on alone",
    databases: &[Database::Sqlite],
    // More often than a run may fail by itself before it is given up.
    counts: |_| Counts { short: 8, long: 300 },
    run: |plan| diskfull(plan).boxed(),
};

async fn diskfull(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    filled(&plan, Kind::Simulated, &mut outcome).await?;
    let is_small = filled(&plan, Kind::Small, &mut outcome).await?;
    outcome.count("small_disk", if is_small { "mounted" } else { "none: this user may not mount one" });
    Ok(outcome)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Full for SQLite's files.
    Simulated,
    /// Full for everybody.
    Small,
}

/// Fills the disk of a server under load as often as the plan says; `false` where there can be no such disk.
async fn filled(plan: &Plan, kind: Kind, outcome: &mut Outcome) -> Result<bool> {
    let world = World::prepare(plan, Setup::default()).await?;
    let disk = match kind {
        Kind::Simulated => Disk::Simulated { switch: world.folder.join("disk-is-full") },
        Kind::Small => match SmallDisk::mount(world.data_dir().context("this check needs SQLite")?)? {
            Some(disk) => Disk::Small(disk),
            None => return Ok(false),
        },
    };
    world.start_with(0, &disk.environment())?;
    let world = Arc::new(world);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    load.publish(PROBE, &format!("name: {PROBE}\nsteps: [{{ id: a, type: transform, with: {{ value: 1 }} }}]\n"))
        .await?;
    let helpers = load.helpers();
    let process = world.process(0);
    let (mut refused, mut read, mut times, mut round) = (0, 0, 0, 0);
    while times < plan.count {
        let runs = {
            let (load, cases) = (load.clone(), examples::cases(&world.shop_url(), Size::Few));
            tokio::spawn(async move { load.round(cases, round).await })
        };
        while times < plan.count && !(runs.is_finished() && times > 0) {
            disk.fill()?;
            refused += until_starts_are(&world, false, times).await?;
            read += reads_work(&world).await?;
            disk.free()?;
            until_starts_are(&world, true, times).await?;
            times += 1;
            eprintln!("{kind:?}: the disk was full {times} of {} times", plan.count);
        }
        runs.await??;
        round += 1;
    }
    helpers.end().await?;
    if world.process(0) != process {
        outcome.violation("the server was started anew");
    }
    let told = world.times_said(0, "a checkpoint failed");
    if told > times as usize * TOLD_MAX {
        outcome.violation(format!("a full disk was told of {told} times in {times} fillings"));
    }
    expected::check(&load, outcome).await?;
    tokio::task::block_in_place(|| world.verify(&["--finished"], outcome))?;
    let counted = |what: &str| format!("{what}{}", if kind == Kind::Small { "_on_a_small_disk" } else { "" });
    outcome.at_least(&counted("times_full"), times.into(), plan.count.into());
    outcome.at_least(&counted("starts_refused_with_503"), refused, plan.count.into());
    outcome.at_least(&counted("reads_while_full"), read, plan.count.into());
    outcome.at_least(&counted("runs"), load.accepted().len() as u64, 10);
    world.end(outcome);
    Ok(true)
}

/// A disk that can be full.
enum Disk {
    /// While this file is there.
    Simulated {
        switch: PathBuf,
    },
    Small(SmallDisk),
}

impl Disk {
    fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Disk::Simulated { switch } => vec![(VARIABLE, format!("full {}", switch.display()))],
            Disk::Small(_) => Vec::new(),
        }
    }

    fn fill(&self) -> Result<()> {
        match self {
            Disk::Simulated { switch } => Ok(fs::write(switch, b"")?),
            Disk::Small(disk) => disk.fill(),
        }
    }

    fn free(&self) -> Result<()> {
        match self {
            Disk::Simulated { switch } => Ok(fs::remove_file(switch)?),
            Disk::Small(disk) => Ok(fs::remove_file(disk.filler())?),
        }
    }
}

/// A small disk in memory, in the place of a folder.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where this user may not mount one.
    fn mount(folder: &Path) -> Result<Option<SmallDisk>> {
        fs::create_dir_all(folder)?;
        match mount("tmpfs", folder, "tmpfs", MountFlags::empty(), SMALL_DISK) {
            Ok(()) => Ok(Some(SmallDisk { folder: folder.to_owned() })),
            Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => Ok(None),
            Err(error) => Err(error).context("a small disk"),
        }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes what is left, to the last byte.
    fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        for chunk in [vec![0; 1 << 16], vec![0; 1]] {
            while filler.write(&chunk).is_ok_and(|written| written > 0) {}
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still be about to end: it goes when nobody has it open.
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

/// Tries to start a run until the answer is 503, or until it is a yes; how often it was 503.
async fn until_starts_are(world: &World, accepted: bool, times: u32) -> Result<u64> {
    let within = if accepted { ACCEPTED_WITHIN } else { REFUSED_WITHIN };
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
        if since.elapsed() > within {
            bail!("after {} s the answer is still {answer:?}\n{}", within.as_secs(), world.end_of_log(0));
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
