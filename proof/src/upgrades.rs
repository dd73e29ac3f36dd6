//! Databases of older versions with open runs of every construct: how they are made and kept, and how their runs are
//! brought to their ends.
//!
//! They stand in `proof/upgrades/<schema version>/<database>/`. Nothing in them depends on when they are opened again:
//! no run has a time after which it fails.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windlass_runtime::verify::ledger::Told;
use windlass_store::SCHEMA_VERSION;

use crate::{
    client::{Request, TRY_EVERY},
    load::{
        Load,
        actors::{self, is_final},
        examples::case,
    },
    options::Database,
    report::Outcome,
    world::World,
};

/// How long runs may take until they rest.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// Files are made once and kept for good.
const LEVEL: i32 = 19;
/// What opens the vault of a kept database; it guards nothing.
const MASTER_KEY: &str = "master.key";
/// What SQLite keeps a database in; not the lock, nor the reserve.
const SQLITE_FILES: [&str; 3] = ["windlass.db", "windlass.db-wal", "windlass.db-wal-mark"];
const POSTGRES_FILE: &str = "database.sql";
const RUNS_FILE: &str = "runs.json";
const TOLD_FILE: &str = "told.jsonl";

/// A run that is left open, and how it comes to its end.
struct Open {
    /// Its document without the name.
    document: &'static str,
    name: &'static str,
    input: fn() -> Value,
    /// What it is told before the server is killed.
    before: &'static [&'static str],
    /// What it needs afterwards; approvals and tasks are seen to by others.
    needs: &'static [&'static str],
    status: &'static str,
    /// Its output, as JSON.
    output: &'static str,
}

const fn open(name: &'static str, document: &'static str, output: &'static str) -> Open {
    let input = || json!({});
    Open { document, name, input, before: &[], needs: &[], status: "completed", output }
}

/// What is left open. Children come before those who start them.
const OPEN: &[Open] = &[
    open("ended", "steps: [{ id: a, type: transform, with: { value: 1 } }]", "1"),
    Open { needs: &["signal go 7"], ..open("waits", "steps: [{ id: w, type: wait, with: { signal: go } }]", "7") },
    open(
        "asks",
        "steps: [{ id: ok, type: approval, with: { title: 'May I?' } }]\noutput: ${{ steps.ok.output.decision }}",
        "\"approved\"",
    ),
    Open {
        before: &["signal go 5"],
        ..open(
            "keeps",
            "steps: [{ id: ok_first, type: approval, with: { title: 'May I?' } }, { id: w2, type: wait, with: { signal: go } }]",
            "5",
        )
    },
    open(
        "offers",
        "steps: [{ id: t, type: task, with: { queue: words, input: { text: to be or not } } }]\noutput: ${{ steps.t.output.words }}",
        "4",
    ),
    open(
        "sleeps",
        "steps: [{ id: d, type: delay, with: { for: 60s } }, { id: a, type: transform, with: { value: 3 } }]",
        "3",
    ),
    open("calls", "steps: [{ id: c, type: workflow, with: { name: asks } }]", "\"approved\""),
    open(
        "each",
        "steps: [{ id: e, type: foreach, items: [1, 2, 3], parallel: 2, do: [{ id: ok, type: approval, with: { title: 'Item?' } }] }]\n\
         output: ${{ size(steps.e.output) }}",
        "3",
    ),
    open(
        "branches",
        "steps: [{ id: p, type: parallel, branches: { x: [{ id: ok, type: approval, with: { title: 'X?' } }], \
         y: [{ id: d, type: delay, with: { for: 60s } }] } }]\noutput: both",
        "\"both\"",
    ),
    open(
        "rounds",
        "steps: [{ id: r, type: while, when: index < 2, max: 9, do: [{ id: ok, type: approval, with: { title: 'Once more?' } }] }]\n\
         output: over",
        "\"over\"",
    ),
    Open {
        needs: &["signal go null"],
        ..open(
            "tries",
            "steps: [{ id: t, type: try, do: [{ id: w, type: wait, with: { signal: go } }, { id: no, type: fail, with: { code: no, message: no } }], \
             catch: [{ on: [user], do: [{ id: c, type: transform, with: { value: caught } }] }], \
             finally: [{ id: f, type: log, with: { message: over } }] }]\noutput: ${{ steps.t.output }}",
            "\"caught\"",
        )
    },
    Open {
        needs: &["signal go null"],
        status: "compensated",
        ..open(
            "saga",
            "steps: [{ id: book, type: state, with: { op: increment, scope: tenant, key: booked }, \
             undo: { type: state, with: { op: increment, scope: tenant, key: booked, by: -1 } } }, \
             { id: w, type: wait, with: { signal: go } }, { id: no, type: fail, with: { code: no, message: no } }]",
            "null",
        )
    },
    open(
        "limited",
        "concurrency: { limit: 1 }\nsteps: [{ id: ok, type: approval, with: { title: 'First?' } }]\noutput: ${{ steps.ok.output.decision }}",
        "\"approved\"",
    ),
    // A second one, which is queued.
    open("limited", "", "\"approved\""),
    Open {
        before: &["pause"],
        needs: &["resume", "signal go 1"],
        ..open("paused", "steps: [{ id: w, type: wait, with: { signal: go } }]", "1")
    },
    Open {
        needs: &["event order.placed"],
        ..open("listens", "steps: [{ id: e, type: event, with: { type: order.placed } }]\noutput: heard", "\"heard\"")
    },
    open(
        "chosen",
        "steps: [{ id: i, type: if, when: '${{ true }}', then: [{ id: s, type: switch, on: '${{ 1 + 1 }}', cases: \
         [{ is: 2, do: [{ id: ok, type: approval, with: { title: 'B?' } }] }] }] }]\noutput: b",
        "\"b\"",
    ),
    Open {
        input: || json!({ "text": "x".repeat(100_000) }),
        needs: &["signal go null"],
        ..open(
            "large",
            "steps: [{ id: w, type: wait, with: { signal: go } }]\noutput: ${{ size(input.text) }}",
            "100000",
        )
    },
    open(
        "graph",
        "steps: [{ id: a, type: transform, with: { value: 1 } }, { id: b, type: approval, with: { title: 'B?' }, needs: [a] }, \
         { id: c, type: delay, with: { for: 60s }, needs: [a] }, { id: d, type: join, needs: [b, c] }]\noutput: joined",
        "\"joined\"",
    ),
    Open {
        status: "failed",
        ..open(
            "retries",
            "steps: [{ id: h, type: http, with: { url: 'http://127.0.0.1:1/' }, \
             retry: { attempts: 2, delay: 60s, on: [connect], jitter: false } }]",
            "null",
        )
    },
];

/// A run as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    run: String,
    workflow: String,
    needs: Vec<String>,
    status: String,
    output: Value,
}

/// Where the databases are kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("upgrades")
}

/// The database of this version in that folder.
pub fn of_this_version(folder: &Path, database: Database) -> PathBuf {
    folder.join(SCHEMA_VERSION.to_string()).join(database.name())
}

/// The kept databases, the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn kept(database: Database) -> Result<Vec<PathBuf>> {
    let mut versions: Vec<(i64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder()).context("proof/upgrades")?.flatten() {
        let path = entry.path().join(database.name());
        if let Some(version) = entry.file_name().to_str().and_then(|it| it.parse().ok()).filter(|_| path.exists()) {
            versions.push((version, path));
        }
    }
    versions.sort();
    Ok(versions.into_iter().map(|(_, path)| path).collect())
}

/// Opens runs of every construct on a world, kills its server when they rest, and keeps what is left in that folder;
/// gives how many runs there are.
///
/// # Errors
/// A run does not come to rest, or something cannot be written.
pub async fn make(load: &Load, folder: &Path) -> Result<usize> {
    let (world, mut kept) = (&load.world, Vec::new());
    for (number, open) in OPEN.iter().enumerate() {
        if !open.document.is_empty() {
            load.publish(open.name, &format!("name: {}\n{}\n", open.name, open.document)).await.context(open.name)?;
        }
        let run = actors::start(load, &case(open.name, 1, (open.input)()), &format!("{}-{number}", open.name)).await?;
        for told in open.before {
            tell(load, &run, told).await?;
        }
        kept.push(Kept {
            run,
            workflow: open.name.to_owned(),
            needs: open.needs.iter().map(|it| (*it).to_owned()).collect(),
            status: open.status.to_owned(),
            output: serde_json::from_str(open.output)?,
        });
    }
    for it in &kept {
        until_it_rests(load, &it.run).await.with_context(|| it.workflow.clone())?;
    }
    world.kill(0)?;
    fs::create_dir_all(folder)?;
    match (world.data_dir(), world.postgres()) {
        (Some(data), _) => {
            for name in SQLITE_FILES {
                keep(folder, name, &fs::read(data.join(name)).with_context(|| name.to_owned())?)?;
            }
            keep(folder, MASTER_KEY, &fs::read(data.join(MASTER_KEY)).with_context(|| MASTER_KEY.to_owned())?)?;
        }
        (None, postgres) => keep(folder, POSTGRES_FILE, postgres.context("no database")?.dump()?.as_bytes())?,
    }
    fs::copy(&world.ledger.path, folder.join(TOLD_FILE))?;
    fs::write(folder.join(RUNS_FILE), format!("{}\n", serde_json::to_string_pretty(&kept)?))?;
    Ok(kept.len())
}

/// Puts a kept database where the world's servers look for it, and what clients were told into its ledger.
///
/// # Errors
/// A file is not there, or not what it was.
pub async fn restore(world: &World, folder: &Path) -> Result<()> {
    match (world.data_dir(), world.postgres_url()) {
        (Some(data), _) => {
            fs::create_dir_all(data)?;
            for name in SQLITE_FILES {
                fs::write(data.join(name), take(folder, name)?)?;
            }
            // Those before version 8 had no vault.
            if let Ok(key) = take(folder, MASTER_KEY) {
                fs::write(data.join(MASTER_KEY), key)?;
            }
        }
        (None, url) => {
            let (client, connection) =
                tokio_postgres::connect(url.context("no database")?, tokio_postgres::NoTls).await?;
            let driver = tokio::spawn(connection);
            let sql = String::from_utf8(take(folder, POSTGRES_FILE)?)?;
            client.batch_execute(&sql).await.context("the dump is refused")?;
            drop(client);
            driver.await??;
        }
    }
    for line in fs::read_to_string(folder.join(TOLD_FILE))?.lines() {
        world.ledger.record(&serde_json::from_str::<Told>(line)?).await?;
    }
    Ok(())
}

/// Gives each run of a kept database what it needs, waits for its end, and says what is not as it was to be; gives how
/// many there are. Somebody decides and works meanwhile.
///
/// # Errors
/// A server says what it must not say.
pub async fn finish(load: &Load, folder: &Path, outcome: &mut Outcome) -> Result<usize> {
    let kept: Vec<Kept> = serde_json::from_str(&fs::read_to_string(folder.join(RUNS_FILE))?)?;
    for it in &kept {
        for told in &it.needs {
            tell(load, &it.run, told).await.with_context(|| it.workflow.clone())?;
        }
    }
    for it in &kept {
        let view = actors::end(load, &it.run).await.with_context(|| it.workflow.clone())?;
        if view["status"] != *it.status || view["output"] != it.output {
            outcome.violation(format!("{}: it should be {} with {}: {view}", it.workflow, it.status, it.output));
        }
    }
    // `calls` starts it, which a program before schema 25 did not note.
    let refused = load.world.client.ask(&Request::delete("/workflows/asks")).await?;
    if refused.status != 409 || refused.body["code"] != "in_use" {
        outcome.violation(format!("a workflow that another one starts was deleted: {}", refused.body));
    }
    Ok(kept.len())
}

/// `signal NAME JSON`, `event TYPE`, `pause`, `resume`.
async fn tell(load: &Load, run: &str, told: &str) -> Result<()> {
    let client = &load.world.client;
    let mut words = told.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("signal"), Some(name), Some(payload)) => {
            let (path, key) = (format!("/runs/{run}/signals/{name}"), format!("{run}-{told}"));
            let payload: Value = serde_json::from_str(payload)?;
            client.must(&Request::post(path, &payload).key(&key)).await?;
            let (run, name) = (run.to_owned(), name.to_owned());
            load.world.ledger.record(&Told::Signal { run, name, key: Some(key) }).await
        }
        (Some("event"), Some(event_type), None) => {
            let event = json!({ "specversion": "1.0", "id": run, "source": "proof", "type": event_type });
            client.must(&Request::post("/events", &event)).await.map(drop)
        }
        (Some(word @ ("pause" | "resume")), None, None) => {
            client.must(&Request::post(format!("/runs/{run}/{word}"), &json!({}))).await.map(drop)
        }
        _ => bail!("`{told}` is nothing that a run can be told"),
    }
}

async fn until_it_rests(load: &Load, run: &str) -> Result<()> {
    let since = Instant::now();
    loop {
        let view = load.world.client.get(&format!("/runs/{run}")).await?;
        let rests = matches!(view["status"].as_str(), Some("waiting" | "paused" | "queued"));
        if rests || is_final(&view["status"]) {
            return Ok(());
        }
        ensure!(since.elapsed() < REST_WITHIN, "it does not rest: {view}");
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Keeps a file, compressed.
fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(fs::write(folder.join(format!("{name}.zst")), zstd::bulk::compress(bytes, LEVEL)?)?)
}

fn take(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(format!("{name}.zst"));
    let kept = fs::read(&path).with_context(|| path.display().to_string())?;
    zstd::stream::decode_all(&*kept).with_context(|| path.display().to_string())
}
