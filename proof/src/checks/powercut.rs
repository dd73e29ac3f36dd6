//! `powercut`: the power goes at random moments; what was not synced is dropped, torn or out of order, and the server is
//! started on what is left. No accepted run is lost.
//!
//! The disk is a simulated one, below SQLite in the server's own process (`disk`): everything else is the real server.

use std::sync::Arc;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    disk::{CUT, VARIABLE},
    load::{
        Load,
        examples::{self, Size},
    },
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// A server that finds nothing to write loses its power after so long.
const LATEST_MS: u64 = 2_000;
/// How long one may take to lose it.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(120);
/// Cuts of one round: an attempt that is lost more often fails, as the language says it must.
const ROUND_CUTS_MAX: u32 = 10;

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "powercut",
    about: "power cuts: unsynced writes are dropped, torn or out of order",
    databases: &[Database::Sqlite],
    counts: |_| Counts { short: 8, long: 1_000 },
    run: |plan| powercut(plan).boxed(),
};

async fn powercut(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = Arc::new(World::prepare(&plan, Setup::default()).await?);
    world.start(0)?;
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    world.make_the_shop_moody().await?;
    world.stop(0)?;
    let helpers = load.helpers();
    let mut random = Random::new(plan.seed);
    let (mut cuts, mut round) = (0, 0);
    let mut went = Ok(());
    while went.is_ok() && cuts < plan.count {
        let runs = {
            let (load, cases) = (load.clone(), examples::cases(&world.shop_url(), Size::Few));
            tokio::spawn(async move { load.round(cases, round).await })
        };
        let mut here = 0;
        while here < ROUND_CUTS_MAX && cuts < plan.count && !runs.is_finished() {
            cut(&world, &mut random).await?;
            (cuts, here) = (cuts + 1, here + 1);
        }
        world.start(0)?;
        went = runs.await?;
        if cuts < plan.count {
            world.stop(0)?;
        }
        round += 1;
        eprintln!("round {round}: {cuts} of {} power cuts", plan.count);
    }
    load.judge(went.and(helpers.end().await), &mut outcome).await?;
    outcome.at_least("power_cuts", cuts.into(), plan.count.into());
    outcome.count("rounds", round);
    outcome.at_least("runs", load.accepted().len() as u64, 10);
    outcome.count("told", world.ledger.count());
    world.end(&outcome);
    Ok(outcome)
}

/// Starts a server and waits until its power is gone.
async fn cut(world: &Arc<World>, random: &mut Random) -> Result<()> {
    // Some while it starts, most while it works, some while it empties its log.
    let changes = match random.weighted(&[2, 5, 3]) {
        0 => random.between(0, 40),
        1 => random.between(40, 800),
        _ => random.between(800, 6_000),
    };
    let disk = format!("power {} {changes} {LATEST_MS}", random.next_number());
    let world = Arc::clone(world);
    let status = tokio::task::spawn_blocking(move || {
        world.launch(0, &[(VARIABLE, disk)])?;
        world.finish(0, WITHIN)
    });
    let status = status.await??;
    ensure!(status.code() == Some(CUT), "a server that was started after a power cut ended with {status}");
    Ok(())
}
