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
/// Bytes of an id, and of its text.
const ID_BYTES: usize = 16;
const TEXT_BYTES: usize = 36;
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
    let judged = tokio::task::spawn_blocking({
        let path = trace.path().to_owned();
        move || judge(&path, &runs, plan.database)
    });
    let judged = judged.await??;
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

/// Reads a trace, call by call; a call that others interrupted is put together again.
fn calls(path: &Path, mut each: impl FnMut(Call)) -> Result<()> {
    let mut open: HashMap<String, (u64, String)> = HashMap::new();
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
            call(&format!("{begun}{rest}"), begin, Some(at)).map(&mut each);
        } else {
            call(text, at, None).map(&mut each);
        }
    }
    Ok(())
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

/// What a trace shows of the runs that somebody was told of: of each call, only what is judged.
#[derive(Default)]
struct Shown {
    /// The runs by their ids, as bytes and as text.
    by_id: HashMap<[u8; 16], usize>,
    by_text: HashMap<String, usize>,
    /// Of each run, when its first answer began to leave.
    answered: Vec<Option<u64>>,
    /// Of each run, where its id went first on its way to the disk, and until when.
    written: Vec<Option<(String, u64)>>,
    /// By file or connection, begin and end of what makes durable what was written to it before.
    durable: HashMap<String, Vec<(u64, u64)>>,
    synchronous: bool,
    calls: usize,
}

impl Shown {
    fn of(path: &Path, runs: &[String], database: Database) -> Result<Shown> {
        let mut shown = Shown { answered: vec![None; runs.len()], written: vec![None; runs.len()], ..Shown::default() };
        for (number, run) in runs.iter().enumerate() {
            shown.by_id.insert(*uuid::Uuid::parse_str(run)?.as_bytes(), number);
            shown.by_text.insert(run.clone(), number);
        }
        calls(path, |call| shown.see(call, database))?;
        // What began later may have ended sooner: of all that began from a moment on, the first end counts.
        for spans in shown.durable.values_mut() {
            spans.sort_unstable();
            let mut first = u64::MAX;
            for (_, end) in spans.iter_mut().rev() {
                first = first.min(*end);
                *end = first;
            }
        }
        Ok(shown)
    }

    fn see(&mut self, call: Call, database: Database) {
        self.calls += 1;
        let Call { name, file, begin, end, bytes } = call;
        let is_log = file.ends_with("-wal");
        match (&*name, database) {
            ("write" | "writev" | "sendto" | "sendmsg", _) if bytes.starts_with(b"HTTP/1.1 20") => {
                self.answers(&bytes, begin);
            }
            ("write" | "writev" | "sendto" | "sendmsg", Database::Postgres) if !bytes.starts_with(b"HTTP/1.1") => {
                self.synchronous |= has(&bytes, b"synchronous_commit=on");
                self.writes(&bytes, (&file, end));
            }
            ("pwrite64", Database::Sqlite) if is_log => self.writes(&bytes, (&file, end)),
            ("fdatasync" | "fsync", Database::Sqlite) if is_log => {
                self.durable.entry(file).or_default().push((begin, end));
            }
            // What was read cannot have been sent before what it answers to.
            ("read" | "readv" | "recvfrom" | "recvmsg", Database::Postgres) if has(&bytes, IDLE) => {
                self.durable.entry(file).or_default().push((end, end));
            }
            _ => {}
        }
    }

    /// Every id in an answer: its text, wherever it stands.
    fn answers(&mut self, bytes: &[u8], begin: u64) {
        for at in bytes.windows(TEXT_BYTES).filter(|it| it[8] == b'-' && it[13] == b'-') {
            if let Some(number) = std::str::from_utf8(at).ok().and_then(|id| self.by_text.get(id)) {
                self.answered[*number].get_or_insert(begin);
            }
        }
    }

    /// Every id in what is written: its bytes, wherever they stand.
    fn writes(&mut self, bytes: &[u8], (file, end): (&str, u64)) {
        // Version 7, variant 2: few other bytes look like that.
        for at in bytes.windows(ID_BYTES).filter(|it| it[6] >> 4 == 7 && it[8] >> 6 == 2) {
            let number = <[u8; ID_BYTES]>::try_from(at).ok().and_then(|id| self.by_id.get(&id));
            if let Some(number) = number {
                self.written[*number].get_or_insert_with(|| (file.to_owned(), end));
            }
        }
    }

    /// When what was written to a file until then was durable.
    fn durable(&self, (file, end): &(String, u64)) -> Option<u64> {
        let spans = self.durable.get(file)?;
        spans.get(spans.partition_point(|(begin, _)| begin < end)).map(|(_, end)| *end)
    }
}

fn judge(path: &Path, runs: &[String], database: Database) -> Result<Judged> {
    let shown = Shown::of(path, runs, database)?;
    let mut judged = Judged { calls: shown.calls, ..Judged::default() };
    if database == Database::Postgres && !shown.synchronous {
        judged.wrong.push("no session asked for synchronous_commit=on".to_owned());
    }
    for (number, run) in runs.iter().enumerate() {
        let Some(answered) = shown.answered[number] else { continue };
        judged.answers += 1;
        let Some(written) = &shown.written[number] else {
            judged.wrong.push(format!("run {run}: it was answered, and its id was never written"));
            continue;
        };
        match shown.durable(written) {
            Some(durable) if durable <= answered => judged.judged += 1,
            Some(durable) => {
                judged.wrong.push(format!("run {run}: the answer left {} us before it was on disk", durable - answered))
            }
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

    const ID: &str = "01a1fe0b-24ee-76b7-9e42-ef821b4ef74a";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn uuid() -> String {
        hex(uuid::Uuid::parse_str(ID).unwrap().as_bytes())
    }

    fn answer() -> String {
        hex(format!("HTTP/1.1 201 Created\r\n\r\n{{\"id\":\"{ID}\"}}").as_bytes())
    }

    fn judged(text: &str, database: Database) -> Judged {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        judge(file.path(), &[ID.to_owned()], database).unwrap()
    }

    /// A trace of one start: written at 1, synced from 2 to 3, answered at the given time.
    fn trace(answered: &str) -> Judged {
        let (uuid, answer) = (uuid(), answer());
        let text = format!(
            "7 0.500000 fdatasync(9</d/windlass.db-wal>) = 0 <0.000010>\n\
             7 1.000000 pwrite64(9</d/windlass.db-wal>, \"\\x00{uuid}\", 17, 0) = 17 <0.000010>\n\
             7 2.000000 fdatasync(9</d/windlass.db-wal> <unfinished ...>\n\
             8 {answered} sendto(5<TCP:[1]>, \"{answer}\", 70, 0, NULL, 0) = 70 <0.000010>\n\
             7 3.000000 <... fdatasync resumed>) = 0 <1.000000>\n\
             7 9.000000 fdatasync(9</d/windlass.db-wal>) = 0 <0.000010>\n"
        );
        judged(&text, Database::Sqlite)
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

    /// The same on PostgreSQL: another connection's end says nothing, nor does one from before.
    #[test]
    fn an_answer_before_its_transaction_is_over_is_found() {
        let (uuid, idle, asks) = (uuid(), hex(IDLE), hex(b"set synchronous_commit=on"));
        for (answered, judged_by) in [("4.000001", 1), ("3.500000", 0)] {
            let answer = answer();
            let text = format!(
                "7 0.500000 sendto(9<TCP:[2]>, \"{asks}\", 25, 0, NULL, 0) = 25 <0.000010>\n\
                 7 0.600000 recvfrom(9<TCP:[2]>, \"{idle}\", 25, 0, NULL, 0) = 6 <0.000010>\n\
                 7 1.000000 sendto(9<TCP:[2]>, \"{uuid}\", 16, 0, NULL, 0) = 16 <0.000010>\n\
                 7 3.000000 recvfrom(8<TCP:[3]>, \"{idle}\", 25, 0, NULL, 0) = 6 <0.000010>\n\
                 7 4.000000 recvfrom(9<TCP:[2]>, \"{idle}\", 25, 0, NULL, 0) = 6 <0.000000>\n\
                 8 {answered} sendto(5<TCP:[1]>, \"{answer}\", 70, 0, NULL, 0) = 70 <0.000010>\n"
            );
            let found = judged(&text, Database::Postgres);
            assert_eq!(
                (found.answers, found.judged, found.wrong.len()),
                (1, judged_by, usize::from(judged_by == 0)),
                "{found:?}"
            );
        }
    }
}
