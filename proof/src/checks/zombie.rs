//! `zombie`: a server is paused past its lease, another takes its runs over, and the paused one wakes up: it writes
//! nothing any more.
//!
//! The database itself takes note, with every row of a journal, of the session that wrote it and of the process that owns
//! the run's lane at that moment. One pause in ten begins while a transaction of the server waits for its fence.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use rustix::process::Signal;
use tokio_postgres::{Client, types::ToSql};
use windlass_testkit::look_at;

use crate::{
    Check, Counts, Plan,
    load::{
        Load,
        examples::{self, Size},
        expected,
    },
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "zombie",
    about: "a server that was paused past its lease writes nothing when it wakes up",
    databases: &[Database::Postgres],
    counts: |_| Counts { short: 2, long: 2_000 },
    run: |plan| zombie(plan).boxed(),
};

/// One pause in so many begins within a transaction.
const WITHIN_TRANSACTION: u32 = 10;
/// How long what a pause waits for may take; the longest is that others adopt a paused server's lanes: its lease, and then
/// some.
const HAPPENS_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at the database.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Answers between two pauses.
const ANSWERS: u64 = 40;
/// A short lease: a pause lasts as long, and more of them fit into an hour.
const LEASE: &str = "lease_ms=3000";

/// Notes who wrote each row and who owned its lane then.
const NOTES: &str = "
create table proof_writes (run_id uuid, seq bigint, writer text, owner bigint, at timestamptz);
create function proof_note() returns trigger language plpgsql as $$
begin
  insert into proof_writes select new.run_id, new.seq, current_setting('application_name'), n.pid, clock_timestamp()
    from runs r left join lanes l on l.id = r.lane_id left join nodes n on n.id = l.node_id
    where r.tenant_key = new.tenant_key and r.id = new.run_id;
  return null;
end $$;
create trigger proof_note after insert on journal for each row execute function proof_note();
";

async fn zombie(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let environment = vec![("WINDLASS_SET".into(), LEASE.into())];
    let world = Arc::new(World::begin(&plan, Setup { servers: 2, environment, ..Setup::default() }).await?);
    let database = connect(&world).await?;
    database.batch_execute(NOTES).await?;
    let load = Load::new(Arc::clone(&world));
    load.deploy(Size::Few).await?;
    let helpers = load.helpers();
    let (mut taken_over, mut within, mut round) = (0_u64, 0_u64, 0);
    for number in 0..plan.count {
        let server = (number % 2) as usize;
        let in_transaction =
            number % WITHIN_TRANSACTION == WITHIN_TRANSACTION - 1 || (plan.options.short && number == 1);
        let over = AtomicBool::new(false);
        let pausing = async {
            world.client.after_answers(ANSWERS).await;
            let paused = pause(&world, server, in_transaction).await;
            over.store(true, Ordering::Relaxed);
            paused
        };
        // A server whose runs have all ended is not paused before it gets another one.
        let going_on = async {
            while !over.load(Ordering::Relaxed) {
                load.round(examples::cases(&world.shop_url(), Size::Few), round).await?;
                round += 1;
            }
            Ok(())
        };
        let (went, paused): (Result<()>, Result<i64>) = tokio::join!(going_on, pausing);
        went.with_context(|| format!("pause {number}"))?;
        let lanes = paused.with_context(|| format!("pause {number}"))?;
        taken_over += lanes.unsigned_abs();
        within += u64::from(in_transaction);
        eprintln!("{} of {} pauses, {lanes} lanes were taken over", number + 1, plan.count);
    }
    helpers.end().await?;
    expected::check(&load, &mut outcome).await?;
    outcome.violations(foreign_writes(&world, &database).await?);
    let rows = database.query_one("select count(*) from proof_writes", &[]).await?.get::<_, i64>(0);
    outcome.at_least("rows with their writers", rows.unsigned_abs(), 100);
    // Each pause ends with a takeover.
    outcome.at_least("lanes taken over", taken_over, plan.count.into());
    outcome.at_least("pauses within a transaction", within, 1);
    database
        .batch_execute("drop trigger proof_note on journal; drop function proof_note; drop table proof_writes")
        .await?;
    tokio::task::block_in_place(|| world.verify(&["--finished"], &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}

async fn connect(world: &World) -> Result<Client> {
    look_at(world.postgres_url().context("this check needs PostgreSQL")?).await
}

/// A server's lanes, by its process.
const OWNED: &str = "select count(*) from lanes l join nodes n on n.id = l.node_id where n.pid = $1";
/// Those of them with something to go on with: an open run or a letter. The others wait for the next server that starts.
const NEEDED: &str = "select count(*) from lanes l join nodes n on n.id = l.node_id where n.pid = $1 \
                      and (exists (select 1 from runs r where r.lane_id = l.id \
                      and r.status in ('queued', 'running', 'waiting', 'paused', 'compensating')) \
                      or exists (select 1 from inbox i where i.lane_id = l.id))";

/// Pauses a server, with a transaction open if so asked, until its lanes that are needed are taken over, and wakes it up.
/// How many were. What it had may come to its end in the moment before it stops: then it is paused again.
async fn pause(world: &Arc<World>, server: usize, in_transaction: bool) -> Result<i64> {
    let (database, holder) = (connect(world).await?, connect(world).await?);
    let pid = i64::from(world.process(server).context("a server that is not there")?);
    loop {
        // The answers were anybody's, and nobody takes over what has nothing to go on with.
        until(&database, (NEEDED, &pid), true).await.context("the server got no run")?;
        let before = count(&database, (OWNED, &pid)).await?;
        if in_transaction {
            // Its next commit waits for the fence, in a transaction; in one order, as commits take them, so that nobody
            // waits for each other.
            let hold = "begin; select 1 from lanes l join nodes n on n.id = l.node_id where n.pid = ";
            holder.batch_execute(&format!("{hold}{pid} order by l.id for update of l")).await?;
            let name = format!("server-{server}");
            let waiting = "select count(*) from pg_stat_activity where application_name = $1 \
                           and xact_start is not null and wait_event_type = 'Lock'";
            until(&database, (waiting, &name), true)
                .await
                .context("no transaction of the server waited for its fence")?;
        }
        world.signal(server, Signal::STOP)?;
        if in_transaction {
            holder.batch_execute("commit").await?;
        }
        let adopted = until(&database, (NEEDED, &pid), false).await;
        let taken = before - count(&database, (OWNED, &pid)).await?;
        world.signal(server, Signal::CONT)?;
        adopted.context("nobody took the lanes of a paused server over")?;
        if taken > 0 {
            return Ok(taken);
        }
    }
}

/// What a query counts, and of whom.
type Counted<'a> = (&'a str, &'a (dyn ToSql + Sync));

async fn count(database: &Client, (query, of): Counted<'_>) -> Result<i64> {
    Ok(database.query_one(query, &[of]).await?.get(0))
}

/// Looks until there is any of it, or none.
async fn until(database: &Client, counted: Counted<'_>, any: bool) -> Result<()> {
    let last = tokio::time::Instant::now() + HAPPENS_WITHIN;
    while (count(database, counted).await? > 0) != any {
        ensure!(tokio::time::Instant::now() < last, "not within {} s", HAPPENS_WITHIN.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Rows that a server wrote while another one owned the run.
async fn foreign_writes(world: &World, database: &Client) -> Result<Vec<String>> {
    let names: HashMap<i64, String> = (0..world.servers())
        .filter_map(|server| Some((i64::from(world.process(server)?), format!("server-{server}"))))
        .collect();
    let mut wrong = Vec::new();
    let rows = database.query("select run_id::text, seq, writer, owner, at::text from proof_writes", &[]).await?;
    for row in rows {
        let (run, seq, writer): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
        let owner = row.get::<_, Option<i64>>(3).and_then(|pid| names.get(&pid));
        if owner != Some(&writer) {
            let at: String = row.get(4);
            wrong.push(format!("run {run}: entry {seq} was written by {writer} at {at}, when {owner:?} owned it"));
        }
    }
    Ok(wrong)
}
