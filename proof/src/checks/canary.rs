//! `canary`: secrets that are nothing else are used in every way that the language has, and by requests that fail; people
//! come with passwords, links, a second factor and an identity provider. Then all of these are looked for everywhere but
//! where they were sent: in the database, the log, every answer, and what the system tells everybody about the process.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};
use windlass_runtime::redact::Redactor;
use windlass_testkit::random::Random;

use crate::{
    Check, Counts, Plan,
    api::Api,
    client::{Client, Request},
    inhabited::people,
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "canary",
    about: "secrets are used in every way and looked for everywhere: none in the database, the log, answers or arguments",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 3, long: 300 },
    run: |plan| canary(plan).boxed(),
};

/// Letters that are written in another way in JSON, in addresses and in base64.
const ODD: [&str; 8] = ["\"", "\\", "/", "+", " ", "ä", "?", "%"];

/// What the outside saw.
type Seen = Arc<Mutex<Vec<String>>>;

/// The secrets of one round.
struct Round {
    key: String,
    password: String,
    token: String,
}

impl Round {
    fn draw(random: &mut Random) -> Round {
        let mut one = |word: &str| {
            let odd = *random.pick(&ODD);
            format!("{word}{:08x}{odd}{:08x}", random.below(1 << 31), random.below(1 << 31))
        };
        Round { key: one("ky"), password: one("pw"), token: one("tk").replace(['"', '\\', 'ä', ' '], "-") }
    }

    fn all(&self) -> [&str; 3] {
        [&self.key, &self.password, &self.token]
    }
}

/// Rounds are the count of this check.
async fn canary(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let environment = vec![("WINDLASS_LOG".to_owned(), "trace".to_owned())];
    let world = World::begin(&plan, Setup { environment, ..Setup::default() }).await?;
    let (url, seen) = echo()?;
    let mut random = Random::new(plan.seed);
    let rounds: Vec<Round> = (0..plan.count).map(|_| Round::draw(&mut random)).collect();
    let mut shown = Vec::new();
    for (number, round) in rounds.iter().enumerate() {
        shown.extend(play(&world.client, (number, round), &url).await?);
    }
    let of_people = people(&world.client, "canary").await?;
    let all = rounds.iter().flat_map(Round::all).chain(of_people.iter().map(String::as_str));
    let finder = Redactor::of(all).context("nothing to look for")?;
    let got = seen.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
    let arrived = rounds.iter().flat_map(Round::all).filter(|it| sees(&[it], got.as_bytes())).count();
    outcome.at_least("secrets_that_arrived", arrived as u64, rounds.len() as u64 * 3);

    shown.extend(answers(&world.client).await?);
    let process = world.process(0).context("no server")?;
    for name in ["cmdline", "environ"] {
        let path = PathBuf::from(format!("/proc/{process}/{name}"));
        shown.push((path.display().to_string(), fs::read(&path)?));
    }
    world.stop(0)?;
    shown.push(("the log".to_owned(), fs::read(world.log(0))?));
    match (world.data_dir(), world.postgres()) {
        (Some(folder), _) => files(folder, &mut shown)?,
        (None, postgres) => {
            let dump = postgres.context("no database")?.dump()?;
            shown.push(("the database".to_owned(), unhexed(&dump)));
        }
    }
    // What cannot find a canary would find none: these are no secrets, and stand there.
    for (what, text) in
        [("the log", "secrets.key0"), ("the database", "canary-0-workflow"), ("/workflows", "canary-0-workflow")]
    {
        let there = shown.iter().any(|(name, bytes)| {
            let database = what == "the database" && name.ends_with("windlass.db");
            (name == what || database) && sees(&[text], bytes)
        });
        ensure!(there, "nothing is found in {what}: the check looks at the wrong place");
    }
    let mut bytes = 0;
    for (name, text) in &shown {
        bytes += text.len() as u64;
        if let Some(clean) = finder.bytes(text) {
            outcome.violation(format!("a secret stands in {name}, near {}", near(&clean)));
        }
    }
    outcome.at_least("places", shown.len() as u64, 20);
    outcome.at_least("bytes", bytes, 100_000);
    world.end(&outcome);
    Ok(outcome)
}

fn sees(values: &[&str], bytes: &[u8]) -> bool {
    Redactor::of(values.iter().copied()).is_some_and(|finder| finder.bytes(bytes).is_some())
}

/// What stands around a find, without it.
fn near(clean: &[u8]) -> String {
    let at = clean.windows(3).position(|it| it == b"***").unwrap_or(0);
    String::from_utf8_lossy(&clean[at.saturating_sub(60)..(at + 60).min(clean.len())]).into_owned()
}

/// Keeps the round's secrets, uses them in a workflow, and gives what was shown of it.
async fn play(client: &Client, (number, round): (usize, &Round), url: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let secret = json!({ "name": format!("key{number}"), "value": round.key });
    let basic = json!({
        "name": format!("login{number}"), "credential_type": "basic_auth",
        "fields": { "username": "ada", "test_url": format!("{url}/test") },
        "secret_fields": { "password": round.password },
    });
    let bearer = json!({
        "name": format!("bearer{number}"), "credential_type": "bearer",
        "fields": { "test_url": format!("{url}/status/401") }, "secret_fields": { "token": round.token },
    });
    let aws = json!({
        "name": format!("cloud{number}"), "credential_type": "aws",
        "fields": { "access_key_id": "AKIDEXAMPLE", "region": "eu-central-1", "sts_endpoint": format!("{url}/test") },
        "secret_fields": { "secret_access_key": round.password, "session_token": round.token },
    });
    let mut shown = Vec::new();
    let mut note = |what: &str, value: &Value| shown.push((what.to_owned(), value.to_string().into_bytes()));
    note("the answer to a secret", &client.must(&Request::post("/secrets", &secret)).await?);
    for body in [&basic, &bearer, &aws] {
        let made = client.must(&Request::post("/credentials", body)).await?;
        let id = made["id"].as_str().context("no id")?;
        note(
            "the answer to a test",
            &client.must(&Request::post(format!("/credentials/{id}/test"), &json!({}))).await?,
        );
        note("the answer to a credential", &made);
    }
    let name = format!("canary-{number}-workflow");
    let document = document(&name, number, url);
    client.must(&Request::put_yaml(format!("/workflows/{name}"), &document.to_string())).await?;
    client.must(&Request::post(format!("/workflows/{name}/publish"), &json!({}))).await?;
    let start = json!({ "input": { "hostile": format!("${{{{ secrets.key{number} }}}}") } });
    let run = client.must(&Request::post(format!("/workflows/{name}/runs?wait=60s"), &start)).await?;
    ensure!(run["status"] == "completed", "the run of round {number}: {run}");
    note("a run", &run);
    let id = run["id"].as_str().context("no id")?;
    for part in ["", "/steps", "/journal"] {
        note("a run's part", &client.get(&format!("/runs/{id}{part}")).await?);
    }
    Ok(shown)
}

/// Every way in which a step can use a secret, and what could show it then: outputs, errors, logs, state.
fn document(name: &str, number: usize, url: &str) -> Value {
    let (key, login, bearer) =
        (format!("secrets.key{number}"), format!("secrets.login{number}"), format!("secrets.bearer{number}"));
    let braces = |expression: &str| format!("${{{{ {expression} }}}}");
    let all = json!({
        "Authorization": braces(&format!("{login}.authorization")), "X-Token": format!("T {}", braces(&format!("{bearer}.token"))),
        "X-Base": braces(&format!("base64({key} + ':' + {login}.password)")), "X-Input": braces("input.hostile"),
    });
    let post = |id: &str, path: &str| {
        json!({ "id": id, "type": "http", "with": {
            "method": "POST", "url": format!("{url}{path}"), "headers": all, "query": { "k": braces(&key) },
            "json": { "key": braces(&key), "text": format!("<{}> {}", braces(&key), braces("input.hostile")) },
        } })
    };
    let failing = |id: &str, with: Value| {
        json!({ "id": format!("{id}_try"), "type": "try", "do": [with], "catch": [{ "do": [
            { "id": format!("{id}_log"), "type": "log", "with": { "message": braces("json(e)") } },
        ] }] })
    };
    let named = |id: &str, credential: &str, path: &str| {
        let service = credential.starts_with("cloud").then_some("s3");
        let with = json!({ "url": format!("{url}{path}"), "credential": credential, "aws_service": service });
        json!({ "id": id, "type": "http", "with": with })
    };
    json!({ "name": name, "steps": [
        post("sends", "/ok"),
        named("names", &format!("login{number}"), "/ok"),
        named("signs", &format!("cloud{number}"), "/ok"),
        failing("named", named("is_named", &format!("bearer{number}"), "/status/401")),
        { "id": "says", "type": "log", "with": { "message": braces("json(steps.sends.output)") } },
        { "id": "keeps", "type": "state", "with": { "op": "set", "key": "said", "value": braces("steps.sends.output") } },
        { "id": "turns", "type": "transform", "with": { "value": braces("steps.sends.output.body") } },
        failing("refused", post("is_refused", "/status/500")),
        failing("gone", json!({ "id": "is_gone", "type": "http", "with": {
            "method": "GET", "url": format!("http://127.0.0.1:1/{}", braces(&format!("{bearer}.token"))),
        } })),
        failing("wrong", json!({ "id": "is_wrong", "type": "http", "with": {
            "method": "GET", "url": format!("{url}/ok"), "headers": { "X": braces(&format!("string(int({key}))")) },
        } })),
    ], "output": braces("steps.turns.output") })
}

/// Every answer that the API gives to somebody who may see everything.
async fn answers(client: &Client) -> Result<Vec<(String, Vec<u8>)>> {
    let api = Api::new(client.get("/openapi.json").await?);
    let mut all = Vec::new();
    for operation in api.operations()?.iter().filter(|it| it.is_api && it.method == "GET" && !it.has_key()) {
        let answer = client.ask(&Request::get(operation.path.clone())).await?;
        all.push((operation.path.clone(), answer.body.to_string().into_bytes()));
    }
    Ok(all)
}

/// Every file below a folder.
fn files(folder: &Path, shown: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, shown)?;
        } else if path.file_name().is_some_and(|name| name != "reserve") && path.is_file() {
            shown.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    Ok(())
}

/// A dump with its bytes also as they are: `\x6162` is `ab`.
fn unhexed(dump: &str) -> Vec<u8> {
    let mut bytes = dump.as_bytes().to_vec();
    for word in dump.split("\\\\x").skip(1) {
        let digits: Vec<u8> = word.bytes().take_while(u8::is_ascii_hexdigit).collect();
        let pairs =
            digits.chunks_exact(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes.extend(pairs);
        bytes.push(b'\n');
    }
    bytes
}

/// A server that answers with what it was sent, under the status that the path names, and remembers it.
fn echo() -> Result<(String, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let request = read(&mut connection);
            let status = request.split("/status/").nth(1).map_or("200", |rest| &rest[..3]).to_owned();
            let body = json!({ "got": request }).to_string();
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let head = format!("HTTP/1.1 {status} It\r\ncontent-type: application/json\r\nconnection: close");
            // Whoever does not wait for the answer has no use for it.
            let _ = connection.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    })?;
    Ok((url, seen))
}

/// A request with as much of its body as its head says.
fn read(connection: &mut std::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 8_192];
    while let Ok(count @ 1..) = connection.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
