//! `unknown-commit`: the connection to PostgreSQL is cut after COMMIT was sent, again and again. No run and no transition
//! is there twice, and none is lost.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;

use crate::{
    Check, Counts, Plan,
    load::{
        Load,
        examples::{self, Size},
    },
    options::Database,
    proxy::Proxy,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "unknown-commit",
    about: "connections to PostgreSQL are cut after COMMIT was sent",
    databases: &[Database::Postgres],
    counts: |_| Counts { short: 25, long: 10_000 },
    run: |plan| unknown_commit(plan).boxed(),
};

async fn unknown_commit(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let postgres = windlass_testkit::postgres().await;
    let (host, name) = postgres.url.rsplit_once('/').context("a URL without a database")?;
    let to = host.rsplit('@').next().unwrap_or_default().parse()?;
    let proxy = Proxy::start(to, plan.seed).await?;
    let url = format!("postgres://windlass@{}/{name}?sslmode=disable", proxy.address);
    let world = Arc::new(World::begin(&plan, Setup { url_of_servers: Some(url), ..Setup::default() }).await?);
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    let helpers = load.helpers();
    let mut round = 0;
    let cuts = || proxy.cuts().0 + proxy.cuts().1;
    let (cuts_min, after_min) = (u64::from(plan.count), u64::from(plan.count) / 3);
    let mut went = Ok(());
    while went.is_ok() && (cuts() < cuts_min || proxy.cuts().0 < after_min) {
        proxy.cut(true);
        went = load.round(examples::cases(&world.shop_url(), Size::Few), round).await;
        round += 1;
        eprintln!("round {round}: {} of {} commits were cut off", cuts(), plan.count);
    }
    proxy.cut(false);
    load.judge(went.and(helpers.end().await), &mut outcome).await?;
    let (after, on_the_way) = proxy.cuts();
    outcome.at_least("commits_done_and_not_told", after, after_min);
    outcome.count("cut_on_the_way", on_the_way);
    outcome.at_least("cuts", after + on_the_way, cuts_min);
    outcome.count("rounds", round);
    outcome.at_least("runs", load.accepted().len() as u64, 10);
    world.end(&outcome);
    Ok(outcome)
}
