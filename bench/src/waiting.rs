//! Runs that wait for something outside: what they cost while nothing comes, and how soon they go on when it does.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    databases::{Bench, on_each},
    document::Document,
    http::Connection,
    load::{self, Load, Until},
    options::Waiting,
    progress::Progress,
    report::figure,
    server::Server,
};

/// How long the server may take to send all of them back to its database.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Signals whose way is measured.
const SIGNALS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Starts runs that wait and measures the server while they do; whether everything went as it should.
///
/// # Errors
/// Something could not be measured.
pub async fn measure(options: &Waiting) -> Result<bool> {
    on_each(&options.common, (options.settings(), ""), async |bench| Session { options, bench }.measure().await).await
}

/// The ways to wait: for a signal, for a time, for people.
fn documents() -> Vec<Document> {
    let step = |name: &str, step: Value| Document {
        name: name.to_owned(),
        json: json!({ "name": name, "steps": [step] }),
        steps: 1,
    };
    vec![
        step("waits-for-signal", json!({ "id": "go", "type": "wait", "with": { "signal": "go" } })),
        step("waits-for-time", json!({ "id": "nap", "type": "delay", "with": { "for": "30d" } })),
        step(
            "waits-for-people",
            json!({ "id": "ask", "type": "approval", "with": { "to": ["a@example.com"], "title": "May it?" } }),
        ),
    ]
}

struct Session<'a> {
    options: &'a Waiting,
    bench: Bench<'a>,
}

impl Session<'_> {
    async fn measure(mut self) -> Result<()> {
        let server = self.bench.recipe.start()?;
        let (idle, _) = server.process.memory_bytes()?;
        let documents = documents();
        let begun = Instant::now();
        for document in &documents {
            server.deploy(document).await?;
            self.start(&server, document, self.options.runs / documents.len() as u32).await?;
        }
        let started = begun.elapsed();
        let settled = settle(&server).await?;
        let (memory, peak) = server.process.memory_bytes()?;
        let cores = self.idle_cores(&server)?;
        let figures = vec![
            ("runs", json!(self.options.runs)),
            ("started_per_s", figure(f64::from(self.options.runs) / started.as_secs_f64())),
            ("settled_s", figure(settled.as_secs_f64())),
            ("before_mib", mib(idle)),
            ("memory_mib", mib(memory)),
            ("peak_mib", mib(peak)),
            ("idle_cores", figure(cores)),
        ];
        self.bench.add("waiting runs", figures)?;
        server.stop()?;
        let server = self.bench.recipe.start()?;
        let ready_ms = server.ready_after.as_secs_f64() * 1e3;
        let (at_once, _) = server.process.memory_bytes()?;
        let cores = self.idle_cores(&server)?;
        let (memory, peak) = server.process.memory_bytes()?;
        let figures = vec![
            ("ready_ms", figure(ready_ms)),
            ("at_once_mib", mib(at_once)),
            ("memory_mib", mib(memory)),
            ("peak_mib", mib(peak)),
            ("idle_cores", figure(cores)),
        ];
        self.bench.add("waiting runs, after a restart", figures)?;
        self.signals(&server).await?;
        server.stop()
    }

    async fn start(&self, server: &Server, document: &Document, runs: u32) -> Result<()> {
        let load = Load {
            what: format!("{}: {} runs of {}", self.bench.recipe.database.name(), runs, document.name),
            address: server.target.address,
            request: server.target.request("POST", &format!("/workflows/{}/runs", document.name), "{}").into(),
            expected: br#""status":"#.as_slice().into(),
            clients: 64,
            // A loop by number has a quarter more for its warm-up: all together are as many as are wanted.
            until: Until::Counted(runs / 5 * 4),
            patience: PATIENCE,
        };
        let measured = load::run(load).await?;
        ensure!(measured.failures == 0, "{} starts were not answered as they should be", measured.failures);
        Ok(())
    }

    /// The cores that the server uses while nobody asks it anything.
    fn idle_cores(&self, server: &Server) -> Result<f64> {
        Progress::say("idle");
        let (cpu, begun) = (server.process.cpu()?, Instant::now());
        std::thread::sleep(Duration::from_secs(self.options.seconds));
        Ok((server.process.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64())
    }

    /// From a signal to a waiting run until the run has completed.
    async fn signals(&mut self, server: &Server) -> Result<()> {
        let page = server.target.ask("GET", &format!("/runs?workflow=waits-for-signal&limit={SIGNALS}"), "").await?;
        let page: Value = serde_json::from_slice(&page)?;
        let ids: Vec<&str> =
            page["items"].as_array().into_iter().flatten().filter_map(|it| it["id"].as_str()).collect();
        let mut connection = Connection::open(server.target.address).await?;
        let mut taken = Vec::new();
        for id in &ids {
            let begun = Instant::now();
            let signal = server.target.request("POST", &format!("/runs/{id}/signals/go"), "{}");
            let status = connection.send(&signal).await?.status;
            ensure!(status == 202, "a signal was answered with {status}");
            let look = server.target.request("GET", &format!("/runs/{id}"), "");
            while !load::is_right(connection.send(&look).await?, load::COMPLETED) {
                ensure!(begun.elapsed() < SETTLE_MAX, "run {id} did not go on after its signal");
            }
            taken.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        ensure!(!taken.is_empty(), "no run waits for a signal");
        taken.sort_by(f64::total_cmp);
        let figures = vec![
            ("signals", json!(taken.len())),
            ("p50_ms", figure(taken[taken.len() / 2])),
            ("max_ms", figure(taken[taken.len() - 1])),
        ];
        self.bench.add("signal to a waiting run until it completed", figures)
    }
}

/// Waits until no run is in the server's memory any more.
async fn settle(server: &Server) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let counters = server.target.counters().await?;
        let in_memory = counters.lines().find_map(|line| line.strip_prefix("windlass_runs_in_memory "));
        match in_memory.map(str::trim) {
            Some("0") => return Ok(begun.elapsed()),
            _ if begun.elapsed() > SETTLE_MAX => bail!("still in memory after {SETTLE_MAX:?}: {in_memory:?} runs"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn mib(bytes: u64) -> Value {
    figure(bytes as f64 / f64::from(1 << 20))
}
