//! `bitflip`: one bit after another is flipped in the files of a database, its log among them. Every answer is the one
//! that the sound database gives, or an error that says what is damaged.
//!
//! The API is asked in this process, through the router that serves: ten thousand starts of a server would take hours.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};
use windlass_cli::{
    client::{Call, Local},
    exit::Failure,
    place::{Allowed, Database as Place, Told},
};
use windlass_testkit::random::Random;

use crate::{Check, Counts, Plan, options::Database, report::Outcome};

/// What is copied for each flip.
const FILES: [&str; 3] = ["windlass.db", "windlass.db-wal", "windlass.db-wal-mark"];

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "bitflip",
    about: "flipped bits in the database's files: no wrong answer",
    databases: &[Database::Sqlite],
    counts: |_| Counts { short: 40, long: 10_000 },
    run: |plan| bitflip(plan).boxed(),
};

/// A document whose runs end with an output, or wait for a signal.
const DOCUMENT: &str = "\
name: flip
input: { type: object, properties: { n: { type: integer }, wait: { type: boolean } } }
steps:
  - { id: a, type: transform, with: { value: { n: \"${{ input.n }}\", text: \"some text that fills a page in time\" } } }
  - { id: go, type: wait, if: \"input.wait\", with: { signal: go }, timeout: 1h }
  - { id: b, type: transform, with: { value: \"${{ steps.a.output }}\" } }
output: ${{ steps.b.output }}
";

/// The files of a database, and what it answers.
struct Base {
    folder: PathBuf,
    truth: Vec<(String, Value)>,
}

#[derive(Default)]
struct Tally {
    refused_to_open: u64,
    right: u64,
    errors: u64,
}

async fn bitflip(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    fs::create_dir_all(&plan.options.folder)?;
    let temporary = tempfile::tempdir_in(plan.options.folder.canonicalize()?)?;
    let runs = if plan.options.short { 40 } else { 200 };
    let bases = [
        base(temporary.path(), Left::Stopped, runs).await.context("a database that was stopped")?,
        base(temporary.path(), Left::Killed, runs).await.context("a database that was killed")?,
    ];
    let mut random = Random::new(plan.seed);
    let (mut tally, mut flips) = (Tally::default(), 0);
    while flips < plan.count && outcome.passed() {
        let base = random.pick(&bases);
        // SQLite knows files by their names, and this process had the last ones open.
        let work = temporary.path().join(format!("flip-{flips}"));
        let flip = Flip::draw(base, &mut random)?;
        judge(base, &work, &flip, &mut tally, &mut outcome).await.with_context(|| format!("{flip:?}"))?;
        fs::remove_dir_all(&work)?;
        flips += 1;
        if flips % 500 == 0 {
            eprintln!("{flips} of {} flips", plan.count);
        }
    }
    outcome.at_least("flips", flips.into(), plan.count.into());
    outcome.at_least("right_answers", tally.right, plan.count.into());
    outcome.at_least(
        "errors_that_say_what_is_damaged",
        tally.errors + tally.refused_to_open,
        u64::from(plan.count) / 20,
    );
    outcome.count("refused_to_open", tally.refused_to_open);
    Ok(outcome)
}

/// How a database was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// In peace: there is no log.
    Stopped,
    /// By `kill -9`: its newest commits are in the log alone.
    Killed,
}

async fn open(folder: &Path) -> Result<Local, Failure> {
    Local::open(&Place::directory(folder), Allowed::default(), Told::default()).await
}

async fn base(parent: &Path, left: Left, runs: u32) -> Result<Base> {
    let folder = parent.join(if left == Left::Stopped { "stopped" } else { "killed" });
    let live = parent.join("live");
    let api = open(&live).await.map_err(failed)?;
    let yaml = Call { method: "PUT".parse()?, ..Call::get("/workflows/flip") };
    must(&api, Call { body: Some(("application/yaml", DOCUMENT.into())), ..yaml }).await?;
    must(&api, Call::post("/workflows/flip/publish").json(&json!({}))).await?;
    let mut paths = vec!["/workflows".to_owned(), "/workflows/flip".to_owned(), "/runs?limit=200".to_owned()];
    for n in 0..runs {
        let waits = n % 10 == 9;
        let start = json!({ "input": { "n": n, "wait": waits }, "key": format!("flip-{n}") });
        let wait = if waits { "" } else { "?wait=30s" };
        let run = must(&api, Call::post(format!("/workflows/flip/runs{wait}")).json(&start)).await?;
        let run = run["id"].as_str().context("a run without an id")?;
        paths.extend(["", "/steps", "/journal"].map(|rest| format!("/runs/{run}{rest}")));
    }
    // A waiting run has come to its wait when this is all that the journals will ever hold.
    let mut truth = Vec::new();
    for path in paths {
        truth.push((path.clone(), settled(&api, &path).await?));
    }
    fs::create_dir(&folder)?;
    if left == Left::Stopped {
        api.close().await;
        copy(&live, &folder)?;
    } else {
        copy(&live, &folder)?;
        api.close().await;
    }
    fs::remove_dir_all(&live)?;
    Ok(Base { folder, truth })
}

/// An answer that does not change any more.
async fn settled(api: &Local, path: &str) -> Result<Value> {
    let mut last = must(api, Call::get(path)).await?;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let next = must(api, Call::get(path)).await?;
        if next == last {
            return Ok(next);
        }
        last = next;
    }
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{failure:?}")
}

async fn must(api: &Local, call: Call) -> Result<Value> {
    let answer = api.send(call).await.map_err(failed)?;
    ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // Without its key the database would not open; nothing is flipped in that.
    for name in FILES.iter().chain(&["master.key"]).filter(|name| from.join(name).exists()) {
        fs::copy(from.join(name), to.join(name)).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

/// Which bit, and when.
#[derive(Debug)]
struct Flip {
    file: &'static str,
    byte: u64,
    bit: u8,
    /// While the database is open, instead of before.
    open: bool,
}

impl Flip {
    fn draw(base: &Base, random: &mut Random) -> Result<Flip> {
        let there: Vec<&'static str> =
            FILES.into_iter().filter(|it| fs::metadata(base.folder.join(it)).is_ok_and(|it| it.len() > 0)).collect();
        // The mark is so small that every tenth flip there is more than its share.
        let file = if random.percent(10) { *random.pick(&there) } else { *random.pick(&there[..there.len() - 1]) };
        let length = usize::try_from(fs::metadata(base.folder.join(file))?.len())?;
        let (byte, bit) = (random.below(length) as u64, u8::try_from(random.below(8))?);
        Ok(Flip { file, byte, bit, open: random.percent(30) })
    }

    fn carry_out(&self, folder: &Path) -> Result<()> {
        let file = File::options().read(true).write(true).open(folder.join(self.file))?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.byte)?;
        Ok(file.write_all_at(&[byte[0] ^ (1 << self.bit)], self.byte)?)
    }
}

async fn judge(base: &Base, work: &Path, flip: &Flip, tally: &mut Tally, outcome: &mut Outcome) -> Result<()> {
    fs::create_dir(work)?;
    copy(&base.folder, work)?;
    if !flip.open {
        flip.carry_out(work)?;
    }
    let api = match open(work).await {
        Ok(api) => api,
        Err(failure) => {
            if !says_so(&format!("{failure:?}")) {
                outcome.violation(format!("{flip:?}: it did not open, and did not say why: {failure:?}"));
            }
            tally.refused_to_open += 1;
            return Ok(());
        }
    };
    if flip.open && work.join(flip.file).metadata().is_ok_and(|it| it.len() > flip.byte) {
        flip.carry_out(work)?;
    }
    for (path, truth) in &base.truth {
        let answer = api.send(Call::get(path)).await.map_err(failed)?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        match answer.status.as_u16() {
            200 if body == *truth => tally.right += 1,
            500.. if says_so(&body.to_string()) => tally.errors += 1,
            status => outcome.violation(format!("{flip:?}: {path} was answered with {status}: {body}, not {truth}")),
        }
    }
    api.close().await;
    Ok(())
}

/// Whether an error says that something is damaged.
fn says_so(text: &str) -> bool {
    ["not what was written", "damaged", "windlass.db is "].iter().any(|it| text.contains(it))
}
