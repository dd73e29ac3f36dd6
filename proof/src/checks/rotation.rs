//! `rotation`: a server dies at each named moment of a rotation of the vault's keys, the master key and the data keys.
//! Whatever was sealed opens when it is back, the rotation is asked for again and comes to its end, and then everything
//! opens with the new keys alone.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use windlass_store::crash_point::OF_ROTATION;
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    client::{Answer, Request},
    options::Database,
    report::Outcome,
    world::{MASTER_KEY, Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "rotation",
    about: "a server dies at each moment of a rotation of the vault's keys, and everything still opens",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 1, long: 5 },
    run: |plan| rotation(plan).boxed(),
};

/// Moments that come only where a server keeps its key in a file of its own.
const OF_A_FILE: [&str; 2] = ["after-key-written", "after-key-aside"];
/// Moments of a rotation of the data keys.
const OF_DATA_KEYS: [&str; 5] =
    ["before-data-keys", "after-data-keys", "before-reseal", "after-reseal", "after-keys-dropped"];
/// Of these there are several in each rotation: one for each batch of rows.
const OF_BATCHES: [&str; 2] = ["before-reseal", "after-reseal"];
/// Credentials: more than a batch of rows.
const CREDENTIALS: usize = 220;
/// How many are tried at once.
const AT_ONCE: usize = 8;
/// How long a server may take to come to its moment, and a rotation to its end.
const WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Uses two secrets as one credential is used; the outside takes them or answers 401.
const DOCUMENT: &str = "name: uses
steps:
  - id: call
    type: http
    with: { url: 'URL/both', headers: { Authorization: '${{ secrets.one }} ${{ secrets.two }}' } }
";

/// Rounds over all moments are the count of this check.
async fn rotation(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = World::prepare(&plan, Setup::default()).await?;
    let mut keys = Keys::of(&plan);
    world.start_with(0, &keys.environment())?;
    let outside = outside()?;
    let credentials = make(&world, &outside).await?;
    let (mut died, mut opened) = (0, 0);
    for round in 0..plan.count {
        for name in OF_ROTATION.iter().filter(|name| plan.database == Database::Sqlite || !OF_A_FILE.contains(name)) {
            let nth = if OF_BATCHES.contains(name) { round % 2 + 1 } else { 1 };
            let data_keys = OF_DATA_KEYS.contains(name);
            if !data_keys {
                keys.draw();
            }
            let crash = [keys.environment(), vec![("WINDLASS_CRASH_POINT", format!("{name}:{nth}"))]].concat();
            tokio::task::block_in_place(|| world.stop(0).and_then(|()| world.start_with(0, &crash)))?;
            let before = accepted(&world).await?;
            if dies(&world, data_keys).await? {
                died += 1;
            } else {
                outcome.violation(format!("{name}: no server came to it for the {nth}. time"));
            }
            tokio::task::block_in_place(|| world.kill(0).and_then(|()| world.start_with(0, &keys.environment())))?;
            opened += opens(&world, &credentials, (name, &mut outcome)).await?;
            end(&world, data_keys, &before).await.with_context(|| format!("after {name}"))?;
            keys.go_over();
            opened += opens(&world, &credentials, (name, &mut outcome)).await?;
        }
    }
    if plan.database == Database::Postgres {
        let refused = tokio::task::block_in_place(|| {
            world.stop(0)?;
            let old = world.start_with(0, &[("WINDLASS_MASTER_KEY", MASTER_KEY.to_owned())]);
            Ok::<_, anyhow::Error>(old.is_err_and(|error| format!("{error:#}").contains("missing or wrong")))
        });
        ensure!(refused?, "the first master key still opens the vault");
        world.start_with(0, &keys.environment())?;
        opened += opens(&world, &credentials, ("the end", &mut outcome)).await?;
    }
    let moments =
        if plan.database == Database::Sqlite { OF_ROTATION.len() } else { OF_ROTATION.len() - OF_A_FILE.len() };
    outcome.at_least("deaths", died, u64::from(plan.count) * moments as u64);
    outcome.at_least("opened", opened, died * 2 * CREDENTIALS as u64);
    world.stop(0)?;
    tokio::task::block_in_place(|| world.verify(&[], &mut outcome))?;
    world.end(&outcome);
    Ok(outcome)
}

/// The master keys that servers are given; on a data directory they look after their own, and there is none here.
struct Keys {
    random: Random,
    held: Vec<String>,
}

impl Keys {
    fn of(plan: &Plan) -> Keys {
        let held = if plan.database == Database::Postgres { vec![MASTER_KEY.to_owned()] } else { Vec::new() };
        Keys { random: Random::new(plan.seed), held }
    }

    /// Another key is to replace the one there is.
    fn draw(&mut self) {
        if !self.held.is_empty() {
            let digits: Vec<String> = (0..4).map(|_| format!("{:016x}", self.random.next_number())).collect();
            self.held.push(digits.concat());
        }
    }

    /// It has.
    fn go_over(&mut self) {
        self.held.drain(..self.held.len().saturating_sub(1));
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        if self.held.is_empty() { Vec::new() } else { vec![("WINDLASS_MASTER_KEY", self.held.join(" "))] }
    }
}

fn rotate(data_keys: bool) -> Request {
    Request::post("/vault/rotate", &json!({ "data_keys": data_keys }))
}

fn token(number: usize) -> String {
    format!("token-of-{number}")
}

/// Keeps credentials and secrets, and a workflow that uses them; gives the ids of the credentials.
async fn make(world: &World, outside: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for number in 0..CREDENTIALS {
        let body = json!({
            "name": format!("c{number}"), "credential_type": "bearer",
            "fields": { "test_url": format!("{outside}/{number}") }, "secret_fields": { "token": token(number) },
        });
        let made = world.client.must(&Request::post("/credentials", &body)).await?;
        ids.push(made["id"].as_str().context("no id")?.to_owned());
    }
    for (name, value) in [("one", "Bearer"), ("two", "the-second-of-two")] {
        world.client.must(&Request::post("/secrets", &json!({ "name": name, "value": value }))).await?;
    }
    world.client.must(&Request::put_yaml("/workflows/uses", &DOCUMENT.replace("URL", outside))).await?;
    world.client.must(&Request::post("/workflows/uses/publish", &json!({}))).await?;
    Ok(ids)
}

/// Uses everything; how much of it came to the outside as it was given.
async fn opens(world: &World, credentials: &[String], (at, outcome): (&str, &mut Outcome)) -> Result<u64> {
    let mut opened = 0;
    let asked = (0..credentials.len()).map(|number| uses(world, credentials[number].clone()).boxed());
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    for (number, answer) in answers.into_iter().enumerate() {
        match answer.body["verdict"].as_str() {
            Some("works") => opened += 1,
            _ => outcome.violation(format!("{at}: credential {number} does not open: {}", answer.body)),
        }
    }
    let run = world.client.must(&Request::post("/workflows/uses/runs?wait=60s", &json!({}))).await?;
    if run["status"] != "completed" {
        outcome.violation(format!("{at}: two secrets did not open: {run}"));
    }
    Ok(opened)
}

/// Tries a credential.
async fn uses(world: &World, id: String) -> Result<Answer> {
    world.client.ask(&Request::post(format!("/credentials/{id}/test"), &json!({}))).await
}

/// The ids of the master keys that open the vault.
async fn accepted(world: &World) -> Result<Vec<Value>> {
    let status = world.client.get("/vault").await?;
    let accepted = status["accepted"].as_array().context("a vault without keys")?;
    Ok(accepted.iter().map(|key| key["id"].clone()).collect())
}

/// Asks for the rotation again until it is done.
async fn end(world: &World, data_keys: bool, before: &[Value]) -> Result<()> {
    let until = tokio::time::Instant::now() + WITHIN;
    if data_keys {
        world.client.must(&rotate(true)).await?;
        while world.client.get("/vault").await?["rows_left"] != 0 {
            ensure!(tokio::time::Instant::now() < until, "rows are left that nobody seals anew");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        return Ok(());
    }
    loop {
        let now = accepted(world).await?;
        if now.len() == 1 && !before.contains(&now[0]) {
            return Ok(());
        }
        let rotation = world.client.must(&rotate(false)).await?;
        if tokio::time::Instant::now() > until {
            bail!("the old master key is still accepted: {rotation}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks for a rotation and waits until the server has died of it.
async fn dies(world: &World, data_keys: bool) -> Result<bool> {
    let until = tokio::time::Instant::now() + WITHIN;
    // It dies before it answers, or in the background when it has.
    let _ = world.client.try_ask(0, &rotate(data_keys)).await;
    while tokio::time::Instant::now() < until {
        if world.has_died(0)? {
            return Ok(true);
        }
        // The master key waits for the end of who died before and is not known to be dead.
        if !data_keys {
            let _ = world.client.try_ask(0, &rotate(false)).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(false)
}

/// A server that answers 200 to whoever brings what the path asks for, and 401 to everybody else.
fn outside() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::Builder::new().name("outside".to_owned()).spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut bytes = Vec::new();
            let mut piece = [0; 4_096];
            while !bytes.windows(4).any(|it| it == b"\r\n\r\n") {
                match connection.read(&mut piece) {
                    Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&bytes);
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let wanted = match path.parse() {
                Ok(number) => format!("Bearer {}", token(number)),
                Err(_) => "Bearer the-second-of-two".to_owned(),
            };
            let given = request.lines().find_map(|line| line.strip_prefix("authorization: "));
            let status = if given == Some(&wanted) { "200 OK" } else { "401 Unauthorized" };
            // Whoever does not wait for the answer has no use for it.
            let _ = connection
                .write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes());
        }
    })?;
    Ok(url)
}
