//! Two tenants of one server: a noisy one, which asks for as much as it is told to, and a quiet one, which asks for
//! little; and an operator, who looks at the server meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use windlass_bench::{
    http::{self, Answer, Connection, Target},
    load::{COMPLETED, is_right},
};
use windlass_runtime::verify::ledger::Told;

use crate::{
    client::{Client, Request},
    open_loop::{self, Load, OnSuccess, Pace, Seen},
    world::{TOKEN, World},
};

/// Three steps, each of whose results is on disk before the next one begins.
const DOCUMENT: &str = "name: probe
steps:
  - { id: a, type: bench, with: { value: 1 } }
  - { id: b, type: bench, with: { value: 2 } }
  - { id: c, type: bench, with: { value: 3 } }
";
/// How a run of it is started.
const START: &str = "/workflows/probe/runs?wait=30s";
/// How long a client of the noisy tenant waits for a connection.
const NOISY_PATIENCE: Duration = Duration::from_secs(1);
/// Requests a second of the quiet tenant.
const QUIET_PER_SECOND: f64 = 50.0;
/// Enough that none of its requests ever waits for one.
const QUIET_CONNECTIONS: usize = 64;
const QUIET_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks of the operator.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A look that has no answer by then has none.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// How long the last runs have to end.
const END_WITHIN: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub struct Tenants {
    world: Arc<World>,
    noisy: Target,
    quiet: Target,
}

/// What was seen in a while.
pub struct Phase {
    /// By the noisy tenant.
    pub noisy: Seen,
    /// By the quiet one.
    pub quiet: Seen,
    /// By the operator.
    pub looks: Looks,
}

/// What the operator saw.
#[derive(Debug, Default)]
pub struct Looks {
    /// How often it looked.
    pub count: u64,
    /// How long the longest look took.
    pub slowest: Duration,
    /// What it could not see.
    pub failures: Vec<String>,
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

impl Tenants {
    /// Makes them in a world that has not begun, and starts its server.
    ///
    /// # Errors
    /// The program does not make them, or the server does not start.
    pub async fn make(world: &Arc<World>) -> Result<Tenants> {
        world.command_line(&["db", "init"])?;
        world.command_line(&["tenants", "create", "--slug", "quiet", "--name", "quiet"])?;
        let made = world.command_line(&["api-keys", "create", "load", "--tenant", "quiet", "--scope", "*"])?;
        let token = made["key"].as_str().context("no key was made")?.to_owned();
        world.start(0)?;
        let address = world.address(0);
        let target = |token: &str| Target { address, token: token.to_owned() };
        for token in [TOKEN, &token] {
            let client = Client::new(&[address], token);
            client.must(&Request::put_yaml("/workflows/probe", DOCUMENT)).await?;
            client.must(&Request::post("/workflows/probe/publish", &json!({}))).await?;
        }
        Ok(Tenants { world: Arc::clone(world), noisy: target(TOKEN), quiet: target(&token) })
    }

    /// Both ask for so long, the noisy one at that pace over so many connections.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn phase(&self, length: Duration, (pace, connections): (Pace, usize)) -> Result<Phase> {
        let load = |target: &Target, pace, connections, patience| Load {
            address: target.address,
            request: target.request("POST", START, r#"{"input":{}}"#).into(),
            pace,
            connections,
            patience,
            length,
            on_success: self.note(),
        };
        let noisy = load(&self.noisy, pace, connections, NOISY_PATIENCE);
        let quiet = load(&self.quiet, Pace::PerSecond(QUIET_PER_SECOND), QUIET_CONNECTIONS, QUIET_PATIENCE);
        // On a thread of its own: what is measured is the server, not how busy the noisy tenant's clients are.
        let quiet = tokio::task::spawn_blocking(move || -> Result<Seen> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(open_loop::run(quiet))
        });
        let (noisy, quiet, looks) = tokio::join!(open_loop::run(noisy), quiet, self.look(length));
        Ok(Phase { noisy: noisy?, quiet: quiet??, looks: looks? })
    }

    /// Puts what clients were told into the ledger.
    fn note(&self) -> OnSuccess {
        let world = Arc::clone(&self.world);
        Arc::new(move |answer: Answer<'_>| {
            // The verdict asks for as many lines as there were answers: one that cannot be written is missed there.
            let Ok(Accepted { id: run }) = serde_json::from_slice(answer.body) else { return };
            let start = Told::Start { run: run.clone(), workflow: "probe".to_owned(), key: None };
            let _ = world.ledger.note(&start);
            if is_right(answer, COMPLETED) {
                let _ = world.ledger.note(&Told::Final { run, status: "completed".to_owned() });
            }
        })
    }

    /// Looks at the server again and again: is it ready, what are its figures, how is a run of the noisy tenant?
    async fn look(&self, length: Duration) -> Result<Looks> {
        let begin = Instant::now();
        let client = Client::new(&[self.noisy.address], TOKEN);
        let run = client.must(&Request::post(START, &json!({ "input": {} }))).await?;
        let run = run["id"].as_str().context("a run without an id")?.to_owned();
        let authorization = format!("authorization: Bearer {TOKEN}\r\n");
        let paths = [
            ("/livez".to_owned(), ""),
            ("/readyz".to_owned(), ""),
            ("/metrics".to_owned(), authorization.as_str()),
            (format!("/api/v1/runs/{run}"), &authorization),
            (format!("/api/v1/runs/{run}/journal"), &authorization),
        ];
        let mut looks = Looks::default();
        while begin.elapsed() < length {
            for (path, headers) in &paths {
                let since = Instant::now();
                let request = http::request(("GET", path), self.noisy.address, headers, "");
                let answered = tokio::time::timeout(LOOK_WITHIN, ask(self.noisy.address, &request)).await;
                looks.count += 1;
                looks.slowest = looks.slowest.max(since.elapsed());
                match answered {
                    Ok(Ok(200)) => {}
                    Ok(Ok(status)) => looks.failures.push(format!("{path}: {status}")),
                    Ok(Err(error)) => looks.failures.push(format!("{path}: {error:#}")),
                    Err(_) => looks.failures.push(format!("{path}: no answer within {} s", LOOK_WITHIN.as_secs())),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(looks)
    }

    /// Waits until every run has ended, and the ledger is on disk.
    ///
    /// # Errors
    /// A run goes on.
    pub async fn finish(&self) -> Result<()> {
        self.world.ledger.flush().await?;
        let since = Instant::now();
        for target in [&self.noisy, &self.quiet] {
            let client = Client::new(&[target.address], &target.token);
            for status in ["queued", "running"] {
                while !client.list(&format!("/runs?status={status}")).await?.is_empty() {
                    ensure!(since.elapsed() < END_WITHIN, "runs are still {status} after {} s", END_WITHIN.as_secs());
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
        Ok(())
    }
}

async fn ask(address: std::net::SocketAddr, request: &[u8]) -> Result<u16> {
    let mut connection = Connection::open(address).await?;
    Ok(connection.send(request).await?.status)
}
