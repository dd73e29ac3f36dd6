//! The measurements on one database, in an order in which none spoils the next.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    databases::Bench,
    document::{self, Document},
    load::{self, Load, Measured, Until},
    machine::Usage,
    options::{Case, Options},
    progress::Progress,
    report::{Figures, figure},
    server::{Server, long_start_path, start_path},
    workers::{self, Workers},
};

/// Runs of a measurement of latency.
const ALONE_RUNS: u32 = 400;
/// Runs of a fan-out, and how wide it is.
const FAN_OUT_RUNS: u32 = 20;
const FAN_OUT_WIDTH: u32 = 1_000;
/// The same of a fan-out that does not fit into memory at once.
const FAN_OUT_LARGE_RUNS: u32 = 3;
const FAN_OUT_LARGE_WIDTH: u32 = 100_000;
/// Lengths of runs that must cost the same a step, the steps of all runs of one length, and clients.
const ROUNDS: [u32; 4] = [10, 100, 1_000, 10_000];
const ROUNDS_TOTAL: u32 = 80_000;
/// Of the longest runs each has one: all have as many at once, to the end, so that batches are as large.
const ROUNDS_CLIENTS: u32 = 8;
/// Runs whose tasks are claimed, the tasks of each, and how long it may take until all of them are offered.
const CLAIMS_RUNS: u32 = 50;
const CLAIMS_WIDTH: u32 = 1_000;
const CLAIMS_READY_WITHIN: Duration = Duration::from_secs(60);
/// Steps of a run where several steps are meant.
const STEPS: u32 = 10;
/// Longer than any measurement takes.
const PATIENCE: Duration = Duration::from_secs(2 * 3_600);
/// Starts, of which the median is told.
const STARTS: usize = 7;

/// Measurements on one database.
pub struct Session<'a> {
    /// What is wanted.
    pub options: &'a Options,
    /// Where.
    pub bench: Bench<'a>,
    /// Rows a second that the database takes from one who does nothing else.
    pub limit_rows_per_second: f64,
}

impl Session<'_> {
    /// Measures everything that is wanted.
    ///
    /// # Errors
    /// The server cannot be started, or breaks.
    pub async fn measure(mut self) -> Result<()> {
        let server = self.bench.recipe.start()?;
        let first_ready = server.ready_after;
        let (idle_bytes, _) = server.process.memory_bytes()?;
        if self.options.wants(Case::Alone) {
            self.alone(&server).await?;
        }
        for (case, what, document) in [
            (Case::Steps1, "runs of 1 step", document::sequence(1)),
            (Case::Steps10, "runs of 10 steps", document::sequence(STEPS)),
            (Case::Steps100, "runs of 100 steps", document::sequence(100)),
            (Case::Chain, "runs of 10 transforms", document::chain(STEPS)),
        ] {
            if self.options.wants(case) {
                self.crowd(&server, what, &document).await?;
            }
        }
        if self.options.wants(Case::Rounds) {
            self.rounds(&server).await?;
        }
        if self.options.wants(Case::FanOut) {
            self.fan_out(&server, "fan-out of 1,000 steps", (FAN_OUT_WIDTH, FAN_OUT_RUNS)).await?;
        }
        if self.options.wants(Case::FanOutLarge) {
            self.fan_out(&server, "fan-out of 100,000 steps", (FAN_OUT_LARGE_WIDTH, FAN_OUT_LARGE_RUNS)).await?;
        }
        if self.options.wants(Case::Workers) {
            self.workers(&server).await?;
        }
        if self.options.wants(Case::Memory) {
            let (loaded_bytes, peak_bytes) = server.process.memory_bytes()?;
            let mib = |bytes: u64| figure(bytes as f64 / f64::from(1 << 20));
            self.bench.add(
                "memory",
                vec![("idle_mib", mib(idle_bytes)), ("loaded_mib", mib(loaded_bytes)), ("peak_mib", mib(peak_bytes))],
            )?;
        }
        server.stop()?;
        if self.options.wants(Case::Start) {
            self.starts(first_ready)?;
        }
        if self.options.wants(Case::Claims) { self.claims().await } else { Ok(()) }
    }

    fn load(&self, server: &Server, what: &str, document: &Document) -> Load {
        Load {
            what: format!("{}: {what}", self.bench.recipe.database.name()),
            address: server.target.address,
            request: server.target.request("POST", &start_path(&document.name), document::BODY).into(),
            expected: load::COMPLETED.into(),
            clients: self.options.clients,
            until: Until::Elapsed(self.options.time()),
            patience: PATIENCE,
        }
    }

    /// One run after another on a server that does nothing else.
    async fn alone(&mut self, server: &Server) -> Result<()> {
        let document = document::sequence(STEPS);
        server.deploy(&document).await?;
        let what = "one run of 10 steps, alone";
        let load = Load { clients: 1, until: Until::Counted(ALONE_RUNS), ..self.load(server, what, &document) };
        let usage = Usage::now()?;
        let measured = load::run(load).await?;
        let cores = usage.since()?;
        let figures = vec![
            ("runs", json!(measured.latencies_us.len())),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("p99_ms", figure(measured.latency_ms(0.99))),
            ("max_ms", figure(measured.latency_ms(1.0))),
            ("busy_cores", figure(cores.busy)),
            ("failures", json!(measured.failures)),
        ];
        self.bench.add(what, figures)
    }

    /// Many clients, each of which waits for its run and starts the next.
    async fn crowd(&mut self, server: &Server, what: &str, document: &Document) -> Result<()> {
        server.deploy(document).await?;
        let watch = Watch::begin(server)?;
        let measured = load::run(self.load(server, what, document)).await?;
        let steps = measured.requests * u64::from(document.steps);
        let steps_per_second = measured.per_second() * f64::from(document.steps);
        let figures = self.under_load(&measured, steps_per_second, watch.end(server, steps)?);
        self.bench.add(what, figures)
    }

    fn under_load(&self, measured: &Measured, steps_per_second: f64, watched: Watched) -> Figures {
        vec![
            ("runs_per_s", figure(measured.per_second())),
            ("steps_per_s", figure(steps_per_second)),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("p99_ms", figure(measured.latency_ms(0.99))),
            ("of_limit", figure(steps_per_second / self.limit_rows_per_second)),
            ("cpu_s_per_1000_steps", figure(watched.server_cpu_per_1000)),
            ("postgres_cpu_s_per_1000_steps", figure(watched.postgres_cpu_per_1000)),
            ("postgres_cores", figure(watched.postgres_cores)),
            ("other_cores", figure(watched.other_cores)),
            ("failures", json!(measured.failures)),
        ]
    }

    /// Runs of several lengths, as many of each as have the same number of steps in all.
    async fn rounds(&mut self, server: &Server) -> Result<()> {
        for rounds in ROUNDS {
            let document = document::rounds(rounds);
            server.deploy(&document).await?;
            let what = format!("runs of {rounds} rounds");
            let runs = ROUNDS_TOTAL / rounds;
            let load = Load {
                request: server.target.request("POST", &long_start_path(&document.name), document::BODY).into(),
                clients: ROUNDS_CLIENTS,
                until: Until::All(runs),
                ..self.load(server, &what, &document)
            };
            let watch = Watch::begin(server)?;
            let measured = load::run(load).await?;
            let steps = measured.requests * u64::from(rounds);
            let watched = watch.end(server, steps)?;
            let steps_per_second = measured.per_second() * f64::from(rounds);
            let figures = self.under_load(&measured, steps_per_second, watched);
            self.bench.add(&what, figures)?;
        }
        Ok(())
    }

    async fn fan_out(&mut self, server: &Server, what: &str, (width, runs): (u32, u32)) -> Result<()> {
        let document = document::fan_out(width);
        server.deploy(&document).await?;
        let body = document::fan_out_body(width);
        let load = Load {
            request: server.target.request("POST", &long_start_path(&document.name), &body).into(),
            clients: 1,
            until: Until::Counted(runs),
            ..self.load(server, what, &document)
        };
        let measured = load::run(load).await?;
        let (_, peak_bytes) = server.process.memory_bytes()?;
        let steps_per_second = measured.per_second() * f64::from(width);
        let figures = vec![
            ("runs", json!(measured.latencies_us.len())),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("max_ms", figure(measured.latency_ms(1.0))),
            ("steps_per_s", figure(steps_per_second)),
            ("of_limit", figure(steps_per_second / self.limit_rows_per_second)),
            ("peak_mib", figure(peak_bytes as f64 / f64::from(1 << 20))),
            ("failures", json!(measured.failures)),
        ];
        self.bench.add(what, figures)
    }

    async fn workers(&mut self, server: &Server) -> Result<()> {
        let document = document::tasks(STEPS);
        server.deploy(&document).await?;
        let what = "runs of 10 tasks, outside workers";
        let workers = Workers::begin(&server.target, self.options.clients).await?;
        let watch = Watch::begin(server)?;
        let before = workers.count();
        let measured = load::run(self.load(server, what, &document)).await?;
        let (answers_per_second, tasks_per_claim) = workers.count().since(before);
        let watched = watch.end(server, measured.requests * u64::from(STEPS))?;
        workers.end().await?;
        let steps_per_second = measured.per_second() * f64::from(STEPS);
        let mut figures = self.under_load(&measured, steps_per_second, watched);
        figures.push(("answers_per_s", figure(answers_per_second)));
        figures.push(("tasks_per_claim", figure(tasks_per_claim)));
        self.bench.add(what, figures)
    }

    /// Claims alone, of tasks that are there. The runs stay open, so this comes last.
    async fn claims(&mut self) -> Result<()> {
        let server = self.bench.recipe.start()?;
        let document = document::crowd_of_tasks(CLAIMS_WIDTH);
        server.deploy(&document).await?;
        let what = "claims by workers";
        Progress::say(&format!("{}: {what}", self.bench.recipe.database.name()));
        let (start, body) = (format!("/workflows/{}/runs", document.name), document::fan_out_body(CLAIMS_WIDTH));
        for _ in 0..CLAIMS_RUNS {
            server.target.ask("POST", &start, &body).await?;
        }
        let tasks = u64::from(CLAIMS_RUNS) * u64::from(CLAIMS_WIDTH);
        let waiting = format!("/runs?workflow={}&status=waiting&limit={CLAIMS_RUNS}", document.name);
        let begun = Instant::now();
        while rows(&server.target.ask("GET", &waiting, "").await?)? < CLAIMS_RUNS as usize {
            if begun.elapsed() > CLAIMS_READY_WITHIN {
                bail!("the tasks of {CLAIMS_RUNS} runs were not all offered within {CLAIMS_READY_WITHIN:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let watch = Watch::begin(&server)?;
        let (claims_per_second, tasks_per_claim) = workers::claim_only(&server.target, tasks).await?;
        let watched = watch.end(&server, tasks)?;
        let figures = vec![
            ("tasks", json!(tasks)),
            ("claimed_per_s", figure(claims_per_second)),
            ("tasks_per_claim", figure(tasks_per_claim)),
            ("cpu_s_per_1000_tasks", figure(watched.server_cpu_per_1000)),
            ("postgres_cpu_s_per_1000_tasks", figure(watched.postgres_cpu_per_1000)),
            ("postgres_cores", figure(watched.postgres_cores)),
            ("other_cores", figure(watched.other_cores)),
        ];
        self.bench.add(what, figures)?;
        server.stop()
    }

    /// Starts on the database that the measurements left behind.
    fn starts(&mut self, first: Duration) -> Result<()> {
        Progress::say("starts");
        let mut taken = Vec::new();
        for _ in 0..STARTS {
            let server = self.bench.recipe.start()?;
            taken.push(server.ready_after.as_secs_f64() * 1e3);
            server.stop()?;
        }
        taken.sort_by(f64::total_cmp);
        let figures = vec![
            ("empty_ms", figure(first.as_secs_f64() * 1e3)),
            ("existing_ms", figure(taken[STARTS / 2])),
            ("worst_ms", figure(taken[STARTS - 1])),
        ];
        self.bench.add("start to ready", figures)
    }
}

/// How many rows a page of a list has.
fn rows(page: &[u8]) -> Result<usize> {
    let page: serde_json::Value = serde_json::from_slice(page)?;
    Ok(page["items"].as_array().map_or(0, Vec::len))
}

/// Processor time over a measurement.
struct Watch {
    usage: Usage,
    server: Duration,
    generator: Duration,
}

/// What a watch saw.
struct Watched {
    server_cpu_per_1000: f64,
    postgres_cpu_per_1000: f64,
    postgres_cores: f64,
    /// Cores used by processes that are not ours: above 0.3, the figures beside it are of a busy machine.
    other_cores: f64,
}

impl Watch {
    fn begin(server: &Server) -> Result<Watch> {
        let generator = windlass_testkit::cpu_of(std::process::id())?;
        Ok(Watch { usage: Usage::now()?, server: server.process.cpu()?, generator })
    }

    fn end(self, server: &Server, steps: u64) -> Result<Watched> {
        let cores = self.usage.since()?;
        let server = (server.process.cpu()? - self.server).as_secs_f64();
        let generator = (windlass_testkit::cpu_of(std::process::id())? - self.generator).as_secs_f64();
        let ours = (server + generator) / cores.seconds + cores.postgres;
        Ok(Watched {
            server_cpu_per_1000: server * 1_000.0 / steps.max(1) as f64,
            postgres_cpu_per_1000: cores.postgres * cores.seconds * 1_000.0 / steps.max(1) as f64,
            postgres_cores: cores.postgres,
            other_cores: (cores.busy - ours).max(0.0),
        })
    }
}
