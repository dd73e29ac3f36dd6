//! `hostile`: bad documents and hostile requests, by the thousand. Each is a 4xx that says where it is wrong and costs the
//! server little; the server lives, and nothing is written.
//!
//! The documents are the corpus of the language's tests, and good examples with something broken in them, drawn from the
//! seed. A document that is still good after that is not sent.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};
use windlass_bench::http::Connection;
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    options::Database,
    report::Outcome,
    world::{Setup, TOKEN, World},
};

/// Processor time of the server that one input may cost. A build without optimisation gets twenty times that.
const CPU_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 50 });

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "hostile",
    about: "bad documents and hostile requests: a 4xx with its place, little time, nothing written",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 2_000, long: 20_000 },
    run: |plan| hostile(plan).boxed(),
};

/// What is sent, and what it is called in a violation.
struct Input {
    name: String,
    method: &'static str,
    path: String,
    media_type: &'static str,
    body: Vec<u8>,
}

async fn hostile(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let world = World::begin(&plan, Setup::default()).await?;
    let process = world.process(0).context("no server")?;
    let before = everything(&world).await?;
    let (corpus, examples) = (corpus()?, examples()?);
    let mut random = Random::new(plan.seed);
    let mut connection = Connection::open(world.address(0)).await?;
    let (mut inputs, mut good, mut places, mut documents) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut slowest = (Duration::ZERO, String::new());
    let mut corpus = corpus.into_iter();
    while inputs < plan.count.into() && outcome.passed() {
        let input = match corpus.next() {
            Some(input) => input,
            None if random.percent(50) => broken(&examples, &mut random),
            None => request(&mut random),
        };
        let is_document = input.method == "PUT";
        if is_document && is_good(&mut connection, &world, &input).await? {
            good += 1;
            continue;
        }
        let cpu = cpu_of(process)?;
        let (status, body) = send(&mut connection, &world, &input).await.with_context(|| input.name.clone())?;
        let took = cpu_of(process)?.saturating_sub(cpu);
        inputs += 1;
        documents += u64::from(is_document);
        let said: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if !(400..500).contains(&status) {
            outcome.violation(format!("{}: {status} {said}", input.name));
        }
        let place = said["errors"].as_array().is_some_and(|it| it.iter().any(|it| it["pointer"].is_string()));
        places += u64::from(place);
        if !place && said["detail"].as_str().unwrap_or_default().is_empty() {
            outcome.violation(format!("{}: nobody is told what is wrong: {said}", input.name));
        }
        if is_document && status == 422 && !place {
            outcome.violation(format!("{}: nobody is told where: {said}", input.name));
        }
        if took > slowest.0 {
            slowest = (took, input.name.clone());
        }
        if took > CPU_MAX {
            outcome.violation(format!("{}: it took {} ms of the server's time", input.name, took.as_millis()));
        }
    }
    if world.process(0) != Some(process) || everything(&world).await? != before {
        outcome.violation("something was written, or the server is another one");
    }
    world.stop(0)?;
    outcome.at_least("inputs", inputs, plan.count.into());
    outcome.at_least("documents", documents, u64::from(plan.count) / 4);
    outcome.at_least("answers_with_a_place", places, u64::from(plan.count) / 4);
    outcome.count("drawn_but_good", good);
    outcome.count("slowest_cpu_ms", u64::try_from(slowest.0.as_millis()).unwrap_or(u64::MAX));
    outcome.count("slowest", slowest.1);
    world.end(&outcome);
    Ok(outcome)
}

/// What the server holds.
async fn everything(world: &World) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for path in ["/workflows", "/runs", "/approvals", "/tasks"] {
        all.extend(world.client.list(path).await.with_context(|| path.to_owned())?);
    }
    Ok(all)
}

/// The processor time of a process, to the nanosecond: of its threads, those that ended aside.
fn cpu_of(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        // A thread may end in between.
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

async fn send(connection: &mut Connection, world: &World, input: &Input) -> Result<(u16, Vec<u8>)> {
    let address = world.address(0);
    let mut bytes = format!(
        "{} /api/v1{} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n",
        input.method,
        input.path,
        input.body.len()
    )
    .into_bytes();
    if !input.media_type.is_empty() {
        bytes.extend(format!("content-type: {}\r\n", input.media_type).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&input.body);
    if let Ok(answer) = connection.send(&bytes).await {
        return Ok((answer.status, answer.body.to_vec()));
    }
    // After a refusal in the middle of a body the server ends the connection.
    *connection = Connection::open(address).await.context("the server is gone")?;
    let answer = connection.send(&bytes).await?;
    Ok((answer.status, answer.body.to_vec()))
}

async fn is_good(connection: &mut Connection, world: &World, input: &Input) -> Result<bool> {
    let check = Input {
        name: input.name.clone(),
        method: "POST",
        path: "/workflows/check".to_owned(),
        media_type: input.media_type,
        body: input.body.clone(),
    };
    let (status, body) = send(connection, world, &check).await?;
    let said: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(status == 200 && said["valid"] == true)
}

fn document(name: String, text: Vec<u8>) -> Input {
    let lossy = String::from_utf8_lossy(&text).into_owned();
    let called = lossy.lines().find_map(|line| line.strip_prefix("name:")).unwrap_or("order").trim();
    let plain = called.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
    let path = format!("/workflows/{}", if plain && !called.is_empty() { called } else { "order" });
    Input { name, method: "PUT", path, media_type: "application/yaml", body: text }
}

fn texts(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.flatten().map(|it| it.path()).collect();
    paths.retain(|it| it.extension().is_some_and(|it| it == "yaml"));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| Ok((name(path), fs::read(path)?))).collect()
}

/// The documents of the language's tests.
fn corpus() -> Result<Vec<Input>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/definition/tests/documents/bad");
    let all: Vec<Input> = texts(&folder)?.into_iter().map(|(name, text)| document(name, text)).collect();
    ensure!(all.len() > 400, "the corpus has {} documents", all.len());
    Ok(all)
}

fn examples() -> Result<Vec<(String, Vec<u8>)>> {
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"))
}

/// A good document with something broken in it.
fn broken(examples: &[(String, Vec<u8>)], random: &mut Random) -> Input {
    let (name, text) = random.pick(examples);
    let mut text = text.clone();
    let mut how = Vec::new();
    for _ in 0..random.between(1, 3) {
        let at = random.below(text.len().max(1)).min(text.len());
        let end = (at + random.between(1, 40)).min(text.len());
        let kind = random.below(9);
        match kind {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => {
                drop(text.splice(
                    at..at,
                    random.pick(&[&b"\0"[..], b"\xff", b"\t", b"{{{{", b"]", b": :", b"&a *a"]).to_vec(),
                ))
            }
            3 => drop(text.splice(at..at, b"${{ ".repeat(random.between(1, 300)))),
            4 => drop(text.splice(at..at, b"[".repeat(random.between(1, 3_000)))),
            5 => {
                let piece = text[at..end].to_vec();
                text.extend(piece);
            }
            6 => text.reverse(),
            7 => drop(text.splice(at..at, b"(".repeat(random.between(1, 3_000)))),
            _ => text.iter_mut().skip(at).step_by(17).take(3).for_each(|byte| *byte = byte.wrapping_add(1)),
        }
        how.push(format!("{kind}@{at}"));
    }
    document(format!("{name} {}", how.join(" ")), text)
}

const JSON: &str = "application/json";
const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// A request that is never right.
fn request(random: &mut Random) -> Input {
    let ids = [UNKNOWN, "x", "0", "%00", "%ff", "..%2f..%2fetc", "a%20or%201=1", "%27;drop%20table%20runs;--"];
    let id = *random.pick(&ids);
    let bodies: [Vec<u8>; 12] = [
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"{\"a\":1,\"a\":2}".to_vec(),
        b"{\"input\":{\"a\":\"\\u0000\"}}".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[".repeat(random.between(1, 50_000)),
        b"{\"input\":".repeat(random.between(2, 20_000)),
        b"1e999".to_vec(),
        b"9".repeat(random.between(400, 100_000)),
        json!({ "nothing": "x".repeat(random.between(1, 10_000)) }).to_string().into_bytes(),
        (0..random.between(1, 400)).map(|_| random.next_number().to_le_bytes()[0]).collect(),
    ];
    let body = random.pick(&bodies).clone();
    let media_type = *random.pick(&[
        JSON,
        JSON,
        JSON,
        "text/plain",
        "",
        "application/yaml",
        "a/b;c=\"d",
        "application/cloudevents+json",
    ]);
    let long = "a".repeat(random.between(201, 4_000));
    let (method, path) = match random.below(14) {
        0 => ("POST", format!("/workflows/{id}/runs")),
        1 => ("POST", format!("/workflows/nope/runs?wait={id}")),
        2 => ("GET", format!("/runs/{id}")),
        3 => ("GET", format!("/runs?limit={}", random.pick(&["0", "-1", "1001", "x", "99999999999999999999"]))),
        4 => ("GET", format!("/runs?after=x{id}&limit=1")),
        5 => ("POST", format!("/runs/{id}/signals/{id}")),
        6 => ("POST", format!("/runs/{id}/cancel")),
        7 => ("POST", format!("/approvals/{id}/approve")),
        8 => ("POST", format!("/tasks/{id}/complete")),
        9 => ("GET", format!("/runs/{id}/journal?after={id}")),
        10 => ("DELETE", format!("/runs/{id}")),
        11 => ("GET", format!("/{long}")),
        12 => ("POST", format!("/workflows/{long}/publish")),
        _ => ("GET", format!("/runs?nope={id}")),
    };
    let shown = body.len().min(24);
    let name =
        format!("{method} {path:.80} {media_type} {} bytes {:?}", body.len(), String::from_utf8_lossy(&body[..shown]));
    Input { name, method, path, media_type, body }
}
