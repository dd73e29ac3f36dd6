//! `crash`: `kill -9` of a server at random moments, under runs of every construct; nothing is lost or done twice.
//!
//! On PostgreSQL there are two servers, and while one is dead the other goes on: how soon is measured.

use std::sync::Arc;

use anyhow::Result;
use futures::FutureExt as _;

use crate::{
    Check, Counts, Plan,
    kills::Killer,
    load::{
        Load,
        examples::{self, Size},
        expected,
    },
    options::Database,
    report::Outcome,
    takeover,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "crash",
    about: "kill -9 of a server at random moments under runs of every construct",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |database| match database {
        Database::Sqlite => Counts { short: 12, long: 2_000 },
        Database::Postgres => Counts { short: 3, long: 2_000 },
    },
    run: |plan| crash(plan).boxed(),
};

async fn crash(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let servers = if plan.database == Database::Postgres { 2 } else { 1 };
    let world = Arc::new(World::begin(&plan, Setup { servers, ..Setup::default() }).await?);
    let size = if plan.options.short { Size::Few } else { Size::Many };
    let load = Load::new(Arc::clone(&world));
    load.deploy(size).await?;
    world.make_the_shop_moody().await?;
    let helpers = load.helpers();
    let killer = Killer::begin(Arc::clone(&world), plan.seed, plan.count);
    let mut round = 0;
    let mut went = Ok(());
    while went.is_ok() && (round == 0 || !killer.is_done()) {
        killer.next_round();
        went = load.round(examples::cases(&world.shop_url(), size), round).await;
        round += 1;
        eprintln!("round {round}: killed {} of {} times", killer.killed(), plan.count);
    }
    let killed = killer.end().await;
    if let Err(error) = went.and(helpers.end().await) {
        outcome.violation(format!("{error:#}"));
        (0..world.servers()).for_each(|server| eprintln!("{}", world.end_of_log(server)));
    } else {
        expected::check(&load, &mut outcome).await?;
        takeover::measure(&load, &plan, &mut outcome).await?;
    }
    outcome.at_least("kills", killed?.into(), plan.count.into());
    outcome.count("rounds", round);
    outcome.at_least("runs", load.accepted().len() as u64, 20);
    outcome.count("told", world.ledger.count());
    let arguments = ["--finished", "--minimum-runs", "20", "--minimum-effects", "20"];
    tokio::task::block_in_place(|| world.verify(&arguments, &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}
