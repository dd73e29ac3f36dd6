//! `windlass run FILE`, killed and taken up again with `--resume` until it ends.
//!
//! The moments are bytes: the process is killed when its data directory has grown by so many, drawn from the seed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use windlass_testkit::{Program, poll};

use crate::{
    actors::Accepted,
    checks::effects_once,
    examples::{self, Case, Expected, order},
    killer::Kills,
    random::Random,
    world::{PROGRAM, client, effects, quietly, shop},
};

/// How long a process may take to end or to write something.
const PATIENCE: Duration = Duration::from_secs(60);
/// A process is killed when it has written at most so many pages of 4 KiB.
const PAGES_MAX: u64 = 24;
/// Exit code of a command that was refused.
const REFUSED: i32 = 2;

/// Every example that needs no server and no other person.
fn cases(shop: &str) -> Vec<(&'static str, Case)> {
    let case = |workflow, input| Case { workflow, input, expected: Expected::Completed, runs: 1 };
    vec![
        ("order-saga", Case { expected: Expected::Shipped, ..case("order-saga", order(shop, 42, &[2, 1, 7])) }),
        ("order-saga", Case { expected: Expected::Undone, ..case("order-saga", order(shop, 42, &[101])) }),
        ("log-fanout", case("log-fanout", json!({ "url": format!("{shop}/access.log") }))),
        ("try-catch", case("try-catch", json!({}))),
        ("shared-counter", case("shared-counter", json!({}))),
        ("parallel-race", case("parallel-race", json!({}))),
        ("wfinstances/bacass-dirt02-001", case("bacass-dirt02-001", json!({ "ms_per_second": 0.1 }))),
    ]
}

/// Kills and resumes a run of each, `kills.count` times or until it has ended.
pub async fn kill_and_resume(kills: Kills) {
    let folder = tempfile::tempdir().unwrap();
    let (_shop, address) = shop(folder.path());
    let url = format!("http://{address}");
    let mut random = Random::new(kills.seed);
    let mut orders = Vec::new();
    for (number, (file, case)) in cases(&url).into_iter().enumerate() {
        let data = folder.path().join(format!("data-{number}"));
        let run = FileRun { file, case, data };
        let random = Random::new(random.up_to(u64::MAX));
        let ended = tokio::task::spawn_blocking(move || run.carry_through(random, kills.count)).await.expect("a run");
        orders.push(ended);
    }
    effects_once(&effects(&client(), address).await, &orders);
}

/// A run of a file in a data directory of its own.
struct FileRun {
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
    fn carry_through(self, mut random: Random, kills: u32) -> Accepted {
        let mut begun = false;
        for _ in 0..kills {
            let process = self.killed_after(random.up_to(PAGES_MAX) * 4096, begun);
            match process {
                Process::Ended(Some(REFUSED)) if begun => begun = false,
                Process::Ended(Some(REFUSED)) => panic!("{}: refused: {}", self.file, self.said()),
                // It was through before it could be killed: taking it up again shows how it ended.
                Process::Ended(_) => {
                    begun = true;
                    break;
                }
                // Whether the start was accepted is not known: the next try says so.
                Process::Killed => begun = true,
            }
        }
        self.ended(begun)
    }

    /// The command that begins the run or takes it up again.
    fn command(&self, resume: bool) -> Command {
        let mut command = Command::new(PROGRAM);
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
    fn killed_after(&self, bytes: u64, resume: bool) -> Process {
        let until = bytes_in(&self.data) + bytes;
        let mut command = self.command(resume);
        let mut program = Program::start(quietly(&mut command, &self.log())).unwrap();
        let ended = poll("bytes or an end", PATIENCE, || {
            if let Some(status) = program.ended()? {
                return Ok(Some(Process::Ended(status.code())));
            }
            Ok((bytes_in(&self.data) >= until).then_some(Process::Killed))
        });
        program.kill().unwrap();
        ended.unwrap()
    }

    /// Lets it end, and looks at what it says: the run that is there, and no other.
    fn ended(self, resume: bool) -> Accepted {
        let mut output = self.finish(resume);
        if resume && output.status.code() == Some(REFUSED) {
            output = self.finish(false);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let view: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{}: {text} {}", self.file, String::from_utf8_lossy(&output.stderr)));
        let undone = self.case.expected == Expected::Undone;
        assert_eq!(view["status"], if undone { "compensated" } else { "completed" }, "{}: {view:#}", self.file);
        assert_eq!(output.status.code(), Some(i32::from(undone)), "{}", self.file);
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{}: {runs:#?}", self.file);
        assert_eq!(runs[0]["id"], view["run_id"], "{}", self.file);
        let run = view["run_id"].as_str().expect("a run").to_owned();
        Accepted { key: self.file.to_owned(), run, case: self.case, ended: view }
    }

    fn finish(&self, resume: bool) -> Output {
        self.command(resume).stdin(Stdio::null()).output().unwrap()
    }

    fn runs(&self) -> Vec<Value> {
        let mut command = Command::new(PROGRAM);
        let name = self.case.workflow;
        command.args(["runs", "list", "--json", "--workflow", name, "--data-dir"]).arg(&self.data);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let page: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        page["items"].as_array().expect("a page").clone()
    }
}

/// The size of the files of a folder, which may not be there.
fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
}
