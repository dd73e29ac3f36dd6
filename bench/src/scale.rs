//! Stores as they are after years: so many finished runs are generated, and the real server is measured on them.
//!
//! What must not depend on how many runs there are: from start to ready, pages of lists with each filter, a run and its
//! parts, and what a step costs.

pub mod generate;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;
use windlass_definition::Timestamp;
use windlass_engine::id::RunId;
use windlass_store::{Location, Store, StoreOptions};
use windlass_testkit::look_at;

use crate::{
    databases::{Bench, on_each},
    document,
    http::Connection,
    load::{self, Load, Until},
    options::Scale,
    progress::Progress,
    report::figure,
    server::{Database, Server, start_path},
};

/// How often each page is asked for.
const ASKED: usize = 20;
/// Runs that are opened, spread over all of them.
const OPENED: u64 = 20;
/// Steps of the runs that are started.
const STEPS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(600);

/// Generates stores and measures them; whether everything completed as it should.
///
/// # Errors
/// Something could not be measured.
pub async fn measure(options: &Scale) -> Result<bool> {
    on_each(&options.common, (options.settings(), "-c max_wal_size=4GB"), async |bench| {
        Scaled { options, bench }.measure().await
    })
    .await
}

struct Scaled<'a> {
    options: &'a Scale,
    bench: Bench<'a>,
}

impl Scaled<'_> {
    async fn measure(mut self) -> Result<()> {
        let server = self.bench.recipe.start()?;
        for document in generate::documents() {
            server.deploy(&document).await?;
        }
        self.work(&server, "10-step runs, empty store").await?;
        server.stop()?;
        let now = self.generate().await?;
        self.starts()?;
        let server = self.bench.recipe.start()?;
        self.pages(&server, now).await?;
        self.opened(&server, now).await?;
        self.work(&server, "10-step runs, full store").await?;
        let (memory, _) = server.process.memory_bytes()?;
        self.bench.add(
            "server, full store",
            vec![("memory_mib", mib(memory)), ("disk_mib", mib(self.disk_bytes().await?))],
        )?;
        server.stop()
    }

    /// Fills the store, and gives the time before which all its runs lie.
    async fn generate(&mut self) -> Result<Timestamp> {
        let location = match &self.bench.recipe.database {
            Database::Sqlite(folder) => Location::Sqlite { data_dir: folder.clone() },
            Database::Postgres(url) => Location::Postgres { url: url.clone() },
        };
        let store = Store::open(StoreOptions::new(location)).await?;
        let (now, begun) = (store.now(), Instant::now());
        generate::fill(&store, self.options.runs, now).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        generate::read(&store, self.options.runs, now).await?;
        let reading = begun.elapsed().as_secs_f64();
        // A large log takes its time to be emptied.
        ensure!(store.close_within(PATIENCE).await, "the generated store was not closed");
        if let Database::Postgres(url) = &self.bench.recipe.database {
            // What autovacuum does to a table that grew over a month.
            Progress::say("vacuum and analyze");
            look_at(url).await?.batch_execute("vacuum analyze").await?;
        }
        let disk = self.disk_bytes().await?;
        let runs = self.options.runs;
        let figures = vec![
            ("runs", json!(runs)),
            ("runs_per_s", figure(runs as f64 / seconds)),
            ("read_for_searches_per_s", figure(runs as f64 / reading)),
            ("disk_mib", mib(disk)),
            ("bytes_per_run", figure(disk as f64 / runs.max(1) as f64)),
        ];
        self.bench.add("generated", figures)?;
        Ok(now)
    }

    async fn disk_bytes(&self) -> Result<u64> {
        match &self.bench.recipe.database {
            Database::Sqlite(folder) => {
                let sizes = fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
                sizes.sum::<Result<u64>>()
            }
            Database::Postgres(url) => {
                let row = look_at(url).await?.query_one("select pg_database_size(current_database())", &[]).await?;
                Ok(row.get::<_, i64>(0).unsigned_abs())
            }
        }
    }

    fn starts(&mut self) -> Result<()> {
        let mut taken = Vec::new();
        for _ in 0..3 {
            let server = self.bench.recipe.start()?;
            taken.push(server.ready_after.as_secs_f64() * 1e3);
            server.stop()?;
        }
        // The first one finds nothing of the store in memory that generating it did not leave there.
        let figures = vec![("first_ms", figure(taken[0])), ("later_ms", figure(taken[1].min(taken[2])))];
        self.bench.add("start to ready, full store", figures)
    }

    async fn work(&mut self, server: &Server, what: &str) -> Result<()> {
        let document = document::sequence(STEPS);
        server.deploy(&document).await?;
        let cpu = server.process.cpu()?;
        let load = Load {
            what: format!("{}: {what}", self.bench.recipe.database.name()),
            address: server.target.address,
            request: server.target.request("POST", &start_path(&document.name), document::BODY).into(),
            expected: load::COMPLETED.into(),
            clients: self.options.clients,
            until: Until::Elapsed(Duration::from_secs(self.options.seconds)),
            patience: PATIENCE,
        };
        let measured = load::run(load).await?;
        let cpu = (server.process.cpu()? - cpu).as_secs_f64();
        let steps = measured.requests * u64::from(STEPS);
        let figures = vec![
            ("runs_per_s", figure(measured.per_second())),
            ("steps_per_s", figure(measured.per_second() * f64::from(STEPS))),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("p99_ms", figure(measured.latency_ms(0.99))),
            ("cpu_s_per_1000_steps", figure(cpu * 1_000.0 / steps.max(1) as f64)),
            ("failures", json!(measured.failures)),
        ];
        self.bench.add(what, figures)
    }

    /// Pages of lists: what people look at, and what has nothing to show, which is where a list without its index reads
    /// everything.
    async fn pages(&mut self, server: &Server, now: Timestamp) -> Result<()> {
        let runs = self.options.runs;
        let cursor = |share: f64| {
            let at = generate::created_at(now, (runs as f64 * share) as u64, runs);
            RunId::from_parts(at.micros().max(0).unsigned_abs() / 1_000, [0; 10])
        };
        let (middle, early) = (cursor(0.5), cursor(0.02));
        let (busy, rare) = (generate::workflow_name(0), generate::RARE);
        let order = runs / 20 * 10;
        for (what, query) in [
            ("all, first", String::new()),
            ("all, 500 rows", "limit=500".to_owned()),
            ("all, in the middle", format!("after={middle}")),
            ("failed", "status=failed".to_owned()),
            ("failed, near the end", format!("status=failed&after={early}")),
            ("cancelled", "status=cancelled".to_owned()),
            ("completed", "status=completed".to_owned()),
            ("running (none)", "status=running".to_owned()),
            ("waiting (none)", "status=waiting".to_owned()),
            ("timed out (none)", "status=timed_out".to_owned()),
            ("all but completed", "status=queued,running,waiting,paused,compensating,failed,cancelled".to_owned()),
            ("one workflow", format!("workflow={busy}")),
            ("one workflow, failed", format!("workflow={busy}&status=failed")),
            ("a rare workflow", format!("workflow={rare}")),
            ("a rare workflow, failed (none)", format!("workflow={rare}&status=failed")),
            ("no such workflow", "workflow=nothing".to_owned()),
            ("a key", format!("key=A-{order:09}")),
            ("no such key", "key=nothing".to_owned()),
            ("a label", format!("label=customer:c-{}", order % 50_000)),
            ("no such label", "label=customer:nobody".to_owned()),
            ("no such parent", format!("parent={middle}")),
        ] {
            let path = if query.is_empty() { "/runs".to_owned() } else { format!("/runs?{query}") };
            self.page(server, &format!("list: {what}"), vec![path; ASKED]).await?;
        }
        // An order is in one run; an amount in one of 900; that a card was declined, and the letter of all orders, in many.
        for (what, query) in [
            ("one order", format!("q={order:09}")),
            ("a customer", format!("q=c-{}", order % 50_000)),
            ("an amount", "q=451".to_owned()),
            ("an amount and an order", format!("q=451+{order:09}")),
            ("an amount, declined", "q=451+declined".to_owned()),
            ("declined", "q=declined".to_owned()),
            ("declined, one workflow", format!("q=declined&workflow={busy}")),
            ("declined, a rare workflow (none)", format!("q=declined&workflow={rare}")),
            ("declined, completed (none)", "q=declined&status=completed".to_owned()),
            ("the beginning of a word", "q=declin*".to_owned()),
            ("what all have", "q=a".to_owned()),
            ("no such word", "q=nothing".to_owned()),
        ] {
            self.page(server, &format!("search: {what}"), vec![format!("/runs?{query}"); ASKED]).await?;
        }
        Ok(())
    }

    /// A run and its parts, of runs that lie anywhere.
    async fn opened(&mut self, server: &Server, now: Timestamp) -> Result<()> {
        let runs = self.options.runs;
        let mut ids = Vec::new();
        for place in 1..=OPENED {
            let at = generate::created_at(now, runs * place / OPENED, runs);
            let cursor = RunId::from_parts(at.micros().max(0).unsigned_abs() / 1_000, [0; 10]);
            let page = server.target.ask("GET", &format!("/runs?limit=1&after={cursor}"), "").await?;
            let page: serde_json::Value = serde_json::from_slice(&page)?;
            ids.extend(page["items"][0]["id"].as_str().map(str::to_owned));
        }
        ensure!(!ids.is_empty(), "no run is there to be opened");
        for (what, rest) in [("a run", ""), ("its steps", "/steps"), ("its journal", "/journal")] {
            let paths = ids.iter().map(|id| format!("/runs/{id}{rest}")).collect();
            self.page(server, &format!("open: {what}"), paths).await?;
        }
        Ok(())
    }

    async fn page(&mut self, server: &Server, what: &str, paths: Vec<String>) -> Result<()> {
        let mut connection = Connection::open(server.target.address).await?;
        let (mut taken, mut failures, mut bytes) = (Vec::new(), 0, 0);
        for path in paths {
            let request = server.target.request("GET", &path, "");
            let begun = Instant::now();
            let answer = connection.send(&request).await?;
            taken.push(begun.elapsed().as_secs_f64() * 1e3);
            bytes = answer.body.len();
            if answer.status != 200 {
                failures += 1;
                eprintln!("bench: {path}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
            }
        }
        let first = taken[0];
        taken.sort_by(f64::total_cmp);
        let figures = vec![
            ("first_ms", figure(first)),
            ("p50_ms", figure(taken[taken.len() / 2])),
            ("max_ms", figure(taken[taken.len() - 1])),
            ("bytes", json!(bytes)),
            ("failures", json!(failures)),
        ];
        self.bench.add(what, figures)
    }
}

fn mib(bytes: u64) -> serde_json::Value {
    figure(bytes as f64 / f64::from(1 << 20))
}
