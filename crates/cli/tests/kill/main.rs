//! `kill -9` at any moment, then start again: nothing is lost and nothing is done twice.
//!
//! The real program serves a database and is killed again and again while runs of every example are under way. The
//! moments are drawn from a seed, in answers that clients have got: "after the 137th answer from now". In the end every
//! run has ended as it should, every accepted start exists once, and the ledger of the demo shop, which nobody kills,
//! shows the effects of each run once and no others.
//!
//! `WINDLASS_KILLS=500` makes the long form of it, `WINDLASS_KILL_SEED` draws other moments.

mod actors;
mod checks;
mod examples;
mod files;
mod killer;
mod random;
mod world;

use examples::Form;
use killer::Kills;
use world::{Database, World};

/// How many kills somebody asked for; else the short form.
fn kills(short: u32) -> Kills {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap_or_else(|_| panic!("{name}")));
    let asked = number("WINDLASS_KILLS").and_then(|it| u32::try_from(it).ok());
    Kills {
        count: asked.unwrap_or(short),
        form: if asked.is_some() { Form::Long } else { Form::Short },
        seed: number("WINDLASS_KILL_SEED").unwrap_or(20_261_121),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_sqlite_may_be_killed_at_any_moment() {
    let world = World::begin(Database::Sqlite).await;
    killer::kill_and_check(world, kills(12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_postgres_may_be_killed_at_any_moment() {
    let postgres = windlass_testkit::postgres().await;
    let world = World::begin(Database::Postgres(postgres.url.clone())).await;
    // Each costs the lease of the dead node.
    killer::kill_and_check(world, Kills { count: kills(2).count.min(25), ..kills(2) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_a_file_may_be_killed_at_any_moment() {
    files::kill_and_resume(kills(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_in_peace_from_the_moment_it_is_ready() {
    let world = World::begin(Database::Sqlite).await;
    for _ in 0..5 {
        world.stop();
        world.start();
    }
}
