//! `upgrade`: a database of an older version with open runs is brought to this one, killed in the middle, and all runs
//! finish.
//!
//! Databases of released versions are kept in `proof/upgrades/<schema version>/`, as a server that was killed left them.
//! No version is released yet, so none is kept there: the check then makes one with this program, kills its server, and
//! goes the same way. It says which it was.

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

async fn upgrade(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("upgrades");
    let stored = fs::read_dir(kept).map_or(0, Iterator::count);
    ensure!(stored == 0, "databases of released versions are kept now: teach this check to open them");
    let world = Arc::new(World::begin(&plan, Setup::default()).await?);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    let mut random = Random::new(plan.seed);
    let (mut killed, mut round) = (0, 0);
    while killed < plan.count {
        let runs = {
            let (load, cases) = (load.clone(), examples::cases(&world.shop_url(), Size::Few));
            tokio::spawn(async move { load.round(cases, round).await })
        };
        // The runs are open: people who approve and work come after the migration.
        world.client.after_answers(random.between(40, 60) as u64).await;
        world.kill(0)?;
        for _ in 0..random.between(1, 4) {
            let after = Duration::from_millis(random.below(KILL_MS_MAX) as u64);
            let program = migrate(&world)?;
            tokio::time::sleep(after).await;
            program.kill()?;
            killed += 1;
        }
        let status = migrate(&world)?.finish(WITHIN)?;
        ensure!(status.success(), "db migrate ended with {status}: {}", fs::read_to_string(log(&world))?);
        world.start(0)?;
        let mut helpers = load.helpers();
        runs.await??;
        if let Some(ended) = helpers.try_join_next() {
            ended??;
        }
        helpers.shutdown().await;
        round += 1;
    }
    load.judge(Ok(()), &mut outcome).await?;
    outcome.at_least("kills_of_the_migration", killed.into(), plan.count.into());
    outcome.at_least("runs", load.accepted().len() as u64, 10);
    outcome.count("rounds", round);
    outcome.count("from", "a database of this version: no older one is released");
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
