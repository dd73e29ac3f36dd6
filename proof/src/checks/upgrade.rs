//! `upgrade`: a database of an older version with open runs is brought to this one, killed in the middle, and all runs
//! finish. `upgrade-dump` makes such a database.
//!
//! Each schema version has left one for each database in `proof/upgrades/` ([`upgrades`]). Then the same is done, again
//! and again, to databases of this version with more runs, whose server was killed while they moved.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use windlass_testkit::{Program, random::Random};

use crate::{
    Check, Counts, Plan,
    load::{
        Load,
        examples::{self, Size},
    },
    options::Database,
    report::Outcome,
    upgrades,
    world::{Setup, World, quietly},
};

/// How long `windlass db migrate` may take.
const WITHIN: Duration = Duration::from_secs(120);
/// It is killed after at most so many milliseconds.
const KILL_MS_MAX: usize = 120;

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "upgrade",
    about: "a database of an older version with open runs is migrated, with kills, and all runs finish",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 3, long: 200 },
    run: |plan| upgrade(plan).boxed(),
};

/// The other half.
pub const MAKE: Check = Check {
    name: "upgrade-dump",
    about: "makes what `upgrade` begins with: a database of this schema version, killed with open runs of every construct",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 1, long: 1 },
    run: |plan| make(plan).boxed(),
};

/// Into `proof/upgrades/`, where none is there yet; with `--short` into the folder of data directories.
async fn make(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = Arc::new(World::begin(&plan, Setup::default()).await?);
    let all = if plan.options.short { world.folder.join("upgrades") } else { upgrades::folder() };
    let folder = upgrades::of_this_version(&all, plan.database);
    ensure!(!folder.exists(), "{} is there: what is kept is never made anew", folder.display());
    let runs = upgrades::make(&Load::new(Arc::clone(&world)), &folder).await?;
    outcome.at_least("runs", runs as u64, 15);
    outcome.count("folder", folder.display().to_string());
    world.end(&outcome);
    Ok(outcome)
}

async fn upgrade(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut random = Random::new(plan.seed);
    let kept = upgrades::kept(plan.database)?;
    for folder in &kept {
        from_kept(&plan, folder, &mut random, &mut outcome).await.with_context(|| folder.display().to_string())?;
    }
    outcome.at_least("kept_databases", kept.len() as u64, 1);
    from_this_version(plan, (random, outcome)).await
}

/// A database that an older version left.
async fn from_kept(plan: &Plan, folder: &Path, random: &mut Random, outcome: &mut Outcome) -> Result<()> {
    let world = Arc::new(World::prepare(plan, Setup::default()).await?);
    upgrades::restore(&world, folder).await?;
    migrate_with_kills(&world, random).await?;
    world.start(0)?;
    let load = Load::new(Arc::clone(&world));
    let helpers = load.helpers();
    let runs = upgrades::finish(&load, folder, outcome).await?;
    helpers.end().await?;
    let least = runs.to_string();
    let arguments = ["--finished", "--minimum-runs", &least, "--minimum-told", &least];
    tokio::task::block_in_place(|| world.verify(&arguments, outcome))?;
    world.end(outcome);
    Ok(())
}

/// Brings a database to this version, killed now and then on the way; gives how often.
async fn migrate_with_kills(world: &World, random: &mut Random) -> Result<u32> {
    let kills = random.between(1, 4);
    for _ in 0..kills {
        let after = Duration::from_millis(random.below(KILL_MS_MAX) as u64);
        let program = migrate(world)?;
        tokio::time::sleep(after).await;
        program.kill()?;
    }
    let status = migrate(world)?.finish(WITHIN)?;
    ensure!(status.success(), "db migrate ended with {status}: {}", fs::read_to_string(log(world))?);
    Ok(u32::try_from(kills)?)
}

async fn from_this_version(plan: Plan, (mut random, mut outcome): (Random, Outcome)) -> Result<Outcome> {
    let world = Arc::new(World::begin(&plan, Setup::default()).await?);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    let (mut killed, mut round) = (0, 0);
    while killed < plan.count {
        let runs = {
            let (load, cases) = (load.clone(), examples::cases(&world.shop_url(), Size::Few));
            tokio::spawn(async move { load.round(cases, round).await })
        };
        // The runs are open: people who approve and work come after the migration.
        world.client.after_answers(random.between(40, 60) as u64).await;
        world.kill(0)?;
        killed += migrate_with_kills(&world, &mut random).await?;
        world.start(0)?;
        let helpers = load.helpers();
        runs.await??;
        helpers.end().await?;
        round += 1;
    }
    load.judge(Ok(()), &mut outcome).await?;
    outcome.at_least("kills_of_the_migration", killed.into(), plan.count.into());
    outcome.at_least("runs", load.accepted().len() as u64, 10);
    outcome.count("rounds", round);
    world.end(&outcome);
    Ok(outcome)
}

fn log(world: &World) -> std::path::PathBuf {
    world.folder.join("migrate.log")
}

fn migrate(world: &World) -> Result<Program> {
    let mut command = Command::new(world.program());
    command.args(["db", "migrate"]);
    match (world.data_dir(), world.postgres_url()) {
        (Some(folder), _) => command.arg("--data-dir").arg(folder),
        (None, url) => command.arg("--database-url").arg(url.context("no database")?),
    };
    Program::start(quietly(&mut command, &log(world))?)
}
