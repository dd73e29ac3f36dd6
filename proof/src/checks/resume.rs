//! `resume`: `windlass run FILE`, killed at random moments and taken up again with `--resume` until it ends.
//!
//! The moments are bytes: the process is killed when its data directory has grown by so many, drawn from the seed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};
use windlass_testkit::{Program, poll, random::Random};

use crate::{
    Check, Counts, Plan,
    load::{
        Accepted,
        examples::{self, Case, Expected, case, order},
        expected::effects_once,
    },
    options::Database,
    report::Outcome,
    world::{self, effects, quietly, shop},
};

/// How long a process may take to end or to write something.
const PATIENCE: Duration = Duration::from_secs(60);
/// A process is killed when it has written at most so many pages of 4 KiB.
const PAGES_MAX: usize = 24;
/// Exit code of a command that was refused.
const REFUSED: i32 = 2;

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "resume",
    about: "kill -9 of `windlass run FILE` at random moments; --resume goes on",
    databases: &[Database::Sqlite],
    counts: |_| Counts { short: 2, long: 25 },
    run: |plan| resume(plan).boxed(),
};

/// Every example that needs no server and no other person.
fn cases(shop: &str) -> Vec<(&'static str, Case)> {
    vec![
        ("order-saga", Case { expected: Expected::Shipped, ..case("order-saga", 1, order(shop, 42, &[2, 1, 7])) }),
        ("order-saga", Case { expected: Expected::Undone, ..case("order-saga", 1, order(shop, 42, &[101])) }),
        ("log-fanout", case("log-fanout", 1, json!({ "url": format!("{shop}/access.log") }))),
        ("try-catch", case("try-catch", 1, json!({}))),
        ("shared-counter", case("shared-counter", 1, json!({}))),
        ("parallel-race", case("parallel-race", 1, json!({}))),
        ("wfinstances/bacass-dirt02-001", case("bacass-dirt02-001", 1, json!({ "ms_per_second": 0.1 }))),
    ]
}

/// Kills and resumes a run of each, `count` times or until it has ended.
async fn resume(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    fs::create_dir_all(&plan.options.folder)?;
    let temporary = tempfile::tempdir_in(plan.options.folder.canonicalize()?)?;
    let program = world::program(&plan.options)?;
    let (_shop, address) = shop(&program, temporary.path())?;
    let url = format!("http://{address}");
    let mut random = Random::new(plan.seed);
    let (mut orders, mut killed) = (Vec::new(), 0);
    for (number, (file, case)) in cases(&url).into_iter().enumerate() {
        let data = temporary.path().join(format!("data-{number}"));
        let run = FileRun { program: program.clone(), file, case, data };
        let random = Random::new(random.next_number());
        match tokio::task::spawn_blocking(move || run.carry_through(random, plan.count)).await? {
            Ok((accepted, kills)) => {
                orders.push(accepted);
                killed += kills;
            }
            Err(error) => outcome.violation(format!("{file}: {error:#}")),
        }
    }
    outcome.violations(effects_once(&effects(address).await?, &orders));
    outcome.at_least("runs", orders.len() as u64, 7);
    outcome.at_least("kills", killed, 5);
    if plan.options.keep || !outcome.passed() {
        eprintln!("what is left is in {}", temporary.keep().display());
    }
    Ok(outcome)
}

/// A run of a file in a data directory of its own.
struct FileRun {
    program: PathBuf,
    file: &'static str,
    case: Case,
    data: PathBuf,
}

/// How a process ended.
enum Process {
    Killed,
    Ended(Option<i32>),
}

impl FileRun {
    /// Its end, and how often it was killed.
    fn carry_through(self, mut random: Random, kills: u32) -> Result<(Accepted, u64)> {
        let (mut begun, mut killed) = (false, 0);
        for _ in 0..kills {
            let process = self.killed_after(random.between(1, PAGES_MAX) as u64 * 4096, begun)?;
            match process {
                Process::Ended(Some(REFUSED)) if begun => begun = false,
                Process::Ended(Some(REFUSED)) => bail!("refused: {}", self.said()),
                // It was through before it could be killed: taking it up again shows how it ended.
                Process::Ended(_) => {
                    begun = true;
                    break;
                }
                // Whether the start was accepted is not known: the next try says so.
                Process::Killed => {
                    begun = true;
                    killed += 1;
                }
            }
        }
        Ok((self.ended(begun)?, killed))
    }

    /// The command that begins the run or takes it up again.
    fn command(&self, resume: bool) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").arg(examples::path(self.file)).args(["--json", "--allow-private-network", "--data-dir"]);
        command.arg(&self.data);
        if resume {
            command.arg("--resume")
        } else {
            command.arg("--input").arg(self.case.input.to_string())
        };
        command
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Runs it until its data directory has grown by so many bytes, and kills it then.
    fn killed_after(&self, bytes: u64, resume: bool) -> Result<Process> {
        let until = bytes_in(&self.data) + bytes;
        let mut command = self.command(resume);
        let mut program = Program::start(quietly(&mut command, &self.log())?)?;
        let ended = poll("bytes or an end", PATIENCE, || {
            if let Some(status) = program.ended()? {
                return Ok(Some(Process::Ended(status.code())));
            }
            Ok((bytes_in(&self.data) >= until).then_some(Process::Killed))
        });
        program.kill()?;
        ended
    }

    /// Lets it end, and looks at what it says: the run that is there, and no other.
    fn ended(self, resume: bool) -> Result<Accepted> {
        let mut output = self.finish(resume)?;
        if resume && output.status.code() == Some(REFUSED) {
            output = self.finish(false)?;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let view: Value = serde_json::from_str(&text)
            .with_context(|| format!("{text} {}", String::from_utf8_lossy(&output.stderr)))?;
        let undone = self.case.expected == Expected::Undone;
        ensure!(view["status"] == if undone { "compensated" } else { "completed" }, "{view:#}");
        ensure!(output.status.code() == Some(i32::from(undone)), "it ended with {}", output.status);
        let runs = self.runs()?;
        ensure!(runs.len() == 1 && runs[0]["id"] == view["run_id"], "other runs than {}: {runs:#?}", view["run_id"]);
        let run = view["run_id"].as_str().context("a view without a run")?.to_owned();
        Ok(Accepted { key: self.file.to_owned(), run, case: self.case, ended: view })
    }

    fn finish(&self, resume: bool) -> Result<Output> {
        Ok(self.command(resume).stdin(Stdio::null()).output()?)
    }

    fn runs(&self) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.program);
        let name = self.case.workflow;
        command.args(["runs", "list", "--json", "--workflow", name, "--data-dir"]).arg(&self.data);
        let output = command.stdin(Stdio::null()).output()?;
        let page: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(page["items"].as_array().context("no page of runs")?.clone())
    }
}

/// The size of the files of a folder, which may not be there.
fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
}
