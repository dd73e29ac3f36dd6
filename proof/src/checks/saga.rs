//! `saga`: sagas that fail at a random step while servers are killed; what was done is undone exactly in reverse, once.
//!
//! The shop's ledger decides: it is on disk before the shop answers, and nobody kills the shop.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use serde_json::{Value, json};
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    kills::Killer,
    load::{Accepted, Load, examples::case},
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "saga",
    about: "sagas that fail at a random step under kills are undone in reverse, once",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |database| match database {
        Database::Sqlite => Counts { short: 90, long: 10_000 },
        Database::Postgres => Counts { short: 30, long: 10_000 },
    },
    run: |plan| saga(plan).boxed(),
};

/// Steps of a saga; one of them fails.
const STEPS: usize = 6;
/// Sagas at once.
const ROUND: u32 = 30;

/// The document: `STEPS` holds one after another, of which the shop refuses the one that `fail_at` names.
fn document() -> String {
    let mut text = "name: saga\ndefaults:\n  http: { timeout: 30s, retry: { attempts: 8, delay: 50ms, max_delay: 1s, on: [timeout, connect, '5xx'] } }\nsteps:\n".to_owned();
    for step in 1..=STEPS {
        text.push_str(&format!(
            "  - id: s{step}\n    type: http\n    with: {{ method: POST, url: '${{{{ input.shop }}}}/holds', \
             json: {{ sku: 's{step}', quantity: '${{{{ input.fail_at == {step} ? 101 : 1 }}}}' }} }}\n    \
             undo: {{ type: http, with: {{ method: POST, url: '${{{{ input.shop }}}}/releases', \
             json: {{ hold: '${{{{ steps.s{step}.output.body.id }}}}' }} }} }}\n"
        ));
    }
    text
}

async fn saga(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let servers = if plan.database == Database::Postgres { 2 } else { 1 };
    let world = Arc::new(World::begin(&plan, Setup { servers, ..Setup::default() }).await?);
    let load = Load::new(Arc::clone(&world));
    load.publish("saga", &document()).await?;
    world.make_the_shop_moody().await?;
    // On PostgreSQL each kill costs the lease of the dead node.
    let kills = if plan.database == Database::Postgres && plan.options.short { 1 } else { u32::MAX };
    let killer = Killer::begin(Arc::clone(&world), plan.seed, kills);
    let mut random = Random::new(plan.seed ^ 1);
    for round in 0..plan.count.div_ceil(ROUND) {
        killer.next_round();
        let fail_at: Vec<usize> = (0..ROUND).map(|_| random.between(1, STEPS)).collect();
        let cases =
            fail_at.into_iter().map(|step| case("saga", 1, json!({ "shop": world.shop_url(), "fail_at": step })));
        load.round(cases.collect(), round).await?;
        eprintln!("{} of {} sagas, killed {} times", (round + 1) * ROUND, plan.count, killer.killed());
    }
    let killed = killer.end().await?;
    let accepted = load.accepted();
    outcome.violations(undone_in_reverse(&world.effects().await?, &accepted)?);
    outcome.at_least("sagas", accepted.len() as u64, plan.count.into());
    outcome.at_least("kills", killed.into(), 1);
    tokio::task::block_in_place(|| world.verify(&["--finished"], &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}

/// The effects of each saga are its steps up to the one that fails, and then the same ones taken back in reverse.
fn undone_in_reverse(effects: &[Value], sagas: &[Accepted]) -> Result<Vec<String>> {
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for effect in effects {
        let (run, path) = effect["key"].as_str().and_then(|key| key.split_once('/')).context("a key")?;
        seen.entry(run).or_default().push(path);
    }
    let mut wrong = Vec::new();
    for saga in sagas {
        let fail_at = saga.case.input["fail_at"].as_u64().context("fail_at")? as usize;
        let done = (1..fail_at).map(|step| format!("s{step}"));
        let undone = (1..fail_at).rev().map(|step| format!("s{step}:undo"));
        let expected: Vec<String> = done.chain(undone).collect();
        let found = seen.remove(saga.run.as_str()).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}: the shop saw {found:?}, not {expected:?}", saga.run));
        }
        if saga.ended["status"] != if fail_at == 1 { "failed" } else { "compensated" } {
            wrong.push(format!("{}: it failed at step {fail_at} and is {}", saga.run, saga.ended["status"]));
        }
    }
    wrong.extend(seen.keys().map(|run| format!("the shop saw effects of {run}, of which nobody was told")));
    Ok(wrong)
}
