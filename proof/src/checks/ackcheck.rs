//! `ackcheck`: no answer to a start leaves before what it says is on disk.
//!
//! The server runs under `strace`, which shows each call with its bytes and times. On SQLite an answer must come after
//! an fsync of the log that began after the run's id was written to it; on PostgreSQL after the server said that
//! the transaction is over, on the connection that the id was sent on, in a session that asked for
//! `synchronous_commit=on`.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use futures::FutureExt as _;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Check, Counts, Plan,
    client::Request,
    load::Load,
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "ackcheck",
    about: "no answer to a start leaves before the fsync, or the COMMIT, that it depends on (strace)",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 200, long: 10_000 },
    run: |plan| ackcheck(plan).boxed(),
};

/// What PostgreSQL says when a transaction is over: ready for a query, and in no transaction.
const IDLE: &[u8] = b"Z\0\0\0\x05I";
/// Clients at once.
const CLIENTS: u32 = 8;
/// Bytes of each call that are shown: a page, or the whole of an answer.
const BYTES_SHOWN: usize = 8_192;
const DOCUMENT: &str = "name: ack\nsteps: [{ id: w, type: wait, with: { signal: never } }]\n";

async fn ackcheck(plan: Plan) -> Result<Outcome> {
    if Command::new("strace").arg("--version").output().is_err() {
        bail!("strace is not installed: `make setup` installs it, or `apt-get install strace`");
    }
    let mut outcome = Outcome::default();
    let trace = tempfile::Builder::new().prefix("strace-").tempfile_in({
        std::fs::create_dir_all(&plan.options.folder)?;
        &plan.options.folder
    })?;
    let shown = BYTES_SHOWN.to_string();
    let calls = "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg,read,readv,recvfrom,recvmsg";
    let path = trace.path().canonicalize()?.display().to_string();
    let wrapper = ["strace", "-f", "-ttt", "-T", "-y", "-xx", "-s", &shown, "-e", calls, "-o", &path];
    let setup = Setup { wrapper: wrapper.map(str::to_owned).to_vec(), ..Setup::default() };
    let world = Arc::new(World::begin(&plan, setup).await?);
    let load = Load::new(Arc::clone(&world));
    load.publish("ack", DOCUMENT).await?;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (world, share) = (Arc::clone(&world), plan.count.div_ceil(CLIENTS));
        clients.spawn(async move {
            let mut runs = Vec::new();
            for number in 0..share {
                let start = Request::post("/workflows/ack/runs", &json!({ "input": {} }));
                // Every second one comes with a key: those go another way.
                let start = if number % 2 == 0 { start } else { start.key(&format!("{client}-{number}")) };
                let run = world.client.must(&start).await?;
                runs.push(run["id"].as_str().map(str::to_owned).context("a run without an id")?);
            }
            anyhow::Ok(runs)
        });
    }
    let mut runs = Vec::new();
    while let Some(ended) = clients.join_next().await {
        runs.extend(ended??);
    }
    tokio::task::block_in_place(|| world.verify(&[], &mut outcome))?;
    let events = tokio::task::spawn_blocking({
        let path = trace.path().to_owned();
        move || events(&path)
    });
    let judged = judge(&events.await??, &runs, plan.database)?;
    outcome.at_least("answers", judged.answers, plan.count.into());
    outcome.at_least("judged by their commit", judged.judged, plan.count.into());
    outcome.count("calls", judged.calls);
    outcome.violations(judged.wrong);
    world.end(&outcome);
    Ok(outcome)
}

/// A system call that has ended: which, on what, from when to when (in microseconds), with which bytes.
#[derive(Debug)]
struct Call {
    name: String,
    file: String,
    begin: u64,
    end: u64,
    bytes: Vec<u8>,
}

/// Reads a trace; a call that others interrupted is put together again.
fn events(path: &Path) -> Result<Vec<Call>> {
    let mut open: HashMap<String, (u64, String)> = HashMap::new();
    let mut calls = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let Some((at, text)) = rest.trim_start().split_once(' ') else { continue };
        let Some(at) = micros(at) else { continue };
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            open.insert(process.to_owned(), (at, begun.to_owned()));
        } else if let Some(resumed) = text.strip_prefix("<... ") {
            let Some((begin, begun)) = open.remove(process) else { continue };
            let Some((_, rest)) = resumed.split_once(" resumed>") else { continue };
            calls.extend(call(&format!("{begun}{rest}"), begin, Some(at)));
        } else {
            calls.extend(call(text, at, None));
        }
    }
    Ok(calls)
}

/// `1700000000.123456` in microseconds.
fn micros(text: &str) -> Option<u64> {
    let (seconds, part) = text.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + part.parse::<u64>().ok()?)
}

/// `name(3</path>, "\x41…"…) = 12 <0.000123>`, successful ones only.
fn call(text: &str, begin: u64, resumed: Option<u64>) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    let (arguments, result) = arguments.rsplit_once(" = ")?;
    let (result, took) = result.split_once(" <").unwrap_or((result, "0.0"));
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let end = resumed.unwrap_or(begin + micros(took.trim_end_matches('>'))?);
    let file = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(file, _)| file);
    let bytes = arguments.split('"').skip(1).step_by(2).flat_map(unescaped).collect();
    // Names of files are written like bytes; those of sockets are not.
    let file =
        if file.starts_with("\\x") { String::from_utf8_lossy(&unescaped(file)).into_owned() } else { file.to_owned() };
    Some(Call { name: name.to_owned(), file, begin, end, bytes })
}

/// `\x41\x42` as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).filter_map(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok()).collect()
}

/// What came of a trace.
#[derive(Debug, Default)]
struct Judged {
    answers: u64,
    judged: u64,
    calls: usize,
    wrong: Vec<String>,
}

fn judge(calls: &[Call], runs: &[String], database: Database) -> Result<Judged> {
    let mut judged = Judged { calls: calls.len(), ..Judged::default() };
    if database == Database::Postgres && !calls.iter().any(|call| has(&call.bytes, b"synchronous_commit=on")) {
        judged.wrong.push("no session asked for synchronous_commit=on".to_owned());
    }
    let is_log = |call: &&Call| call.file.ends_with("-wal");
    let syncs: Vec<&Call> =
        calls.iter().filter(|it| matches!(&*it.name, "fdatasync" | "fsync")).filter(is_log).collect();
    for run in runs {
        let id = uuid::Uuid::parse_str(run)?;
        let sends = |call: &&Call| matches!(&*call.name, "write" | "writev" | "sendto" | "sendmsg");
        let answer = calls
            .iter()
            .filter(sends)
            .find(|it| it.bytes.starts_with(b"HTTP/1.1 20") && has(&it.bytes, run.as_bytes()));
        let Some(answer) = answer else { continue };
        judged.answers += 1;
        // Where the id first went on its way to the disk.
        let written = match database {
            Database::Sqlite => {
                calls.iter().filter(|it| it.name == "pwrite64").filter(is_log).find(|it| has(&it.bytes, id.as_bytes()))
            }
            Database::Postgres => calls
                .iter()
                .filter(sends)
                .find(|it| !it.bytes.starts_with(b"HTTP/1.1") && has(&it.bytes, id.as_bytes())),
        };
        let Some(written) = written else {
            judged.wrong.push(format!("run {run}: it was answered, and its id was never written"));
            continue;
        };
        let durable = match database {
            Database::Sqlite => syncs.iter().find(|it| it.begin >= written.end).map(|it| it.end),
            Database::Postgres => calls
                .iter()
                .filter(|it| matches!(&*it.name, "read" | "readv" | "recvfrom" | "recvmsg") && it.file == written.file)
                .find(|it| it.end >= written.end && has(&it.bytes, IDLE))
                .map(|it| it.end),
        };
        match durable {
            Some(durable) if durable <= answer.begin => judged.judged += 1,
            Some(durable) => judged
                .wrong
                .push(format!("run {run}: the answer left {} us before it was on disk", durable - answer.begin)),
            None => judged.wrong.push(format!("run {run}: it was answered and never made durable")),
        }
    }
    Ok(judged)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|it| it == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace of one start: written at 1, synced from 2 to 3, answered at the given time.
    fn trace(answered: &str) -> Judged {
        let id = "01a1fe0b-24ee-76b7-9e42-ef821b4ef74a";
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let uuid = hex(uuid::Uuid::parse_str(id).unwrap().as_bytes());
        let answer = hex(format!("HTTP/1.1 201 Created\r\n\r\n{{\"id\":\"{id}\"}}").as_bytes());
        let text = format!(
            "7 1.000000 pwrite64(9</d/windlass.db-wal>, \"{uuid}\", 16, 0) = 16 <0.000010>\n\
             7 2.000000 fdatasync(9</d/windlass.db-wal> <unfinished ...>\n\
             8 {answered} sendto(5<TCP:[1]>, \"{answer}\", 70, 0, NULL, 0) = 70 <0.000010>\n\
             7 3.000000 <... fdatasync resumed>) = 0 <1.000000>\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        judge(&events(file.path()).unwrap(), &[id.to_owned()], Database::Sqlite).unwrap()
    }

    #[test]
    fn an_answer_before_its_fsync_is_found() {
        let good = trace("3.000001");
        assert_eq!((good.answers, good.judged, good.wrong.len()), (1, 1, 0), "{good:?}");
        for early in ["2.500000", "1.500000"] {
            let bad = trace(early);
            assert_eq!((bad.answers, bad.judged, bad.wrong.len()), (1, 0, 1), "{bad:?}");
        }
    }
}
