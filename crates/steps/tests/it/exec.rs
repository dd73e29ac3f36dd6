//! `exec`: programs, their ends, and that nothing of them is left.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_definition::Value as Plain;
use windlass_runtime::step::{Sent, Step};
use windlass_steps::exec::{Exec, ExecOptions};

use crate::common::{answer, run, scene};

fn step() -> Exec {
    Exec::new(ExecOptions::default())
}

#[tokio::test]
async fn a_program_runs() {
    let with = json!({ "program": "cat", "stdin": { "a": 1 } });
    let output = json!({ "exit_code": 0, "stdout": "{\"a\":1}", "stderr": "", "json": { "a": 1 } });
    assert_eq!(answer(&step(), with).await, output);
}

#[tokio::test]
async fn arguments_and_variables_are_not_read_by_a_shell() {
    let with = json!({ "program": "printf", "args": ["%s|", "$HOME", "; rm -rf /", 7, true] });
    assert_eq!(run(&step(), with).await.unwrap()["stdout"], json!("$HOME|; rm -rf /|7|true|"));
    let with = json!({ "program": "env", "env": { "GIVEN": "1" } });
    let stdout = run(&step(), with).await.unwrap()["stdout"].as_str().unwrap().to_owned();
    assert!(stdout.contains("GIVEN=1") && stdout.contains("WINDLASS_STEP_KEY=00000000/step"), "{stdout}");
    assert!(!stdout.contains("CARGO_MANIFEST_DIR"), "{stdout}");
}

#[tokio::test]
async fn ends_that_are_failures() {
    let sh = |script: &str| json!({ "program": "sh", "args": ["-c", script] });
    for (with, error) in [
        (sh("exit 3"), "script/exit_3"),
        (sh("kill -9 $$"), "script/signal_9"),
        (json!({ "program": "no-such-program" }), "not_found/program_not_found"),
        (json!({ "program": "/etc/passwd" }), "denied/program_not_executable"),
        (json!({ "program": "cat", "cwd": "/no/such/place" }), "not_found/program_not_found"),
        (json!({ "program": "yes", "max_bytes": 1000 }), "limit/output_too_large"),
        (json!({ "program": "cat", "max_bytes": 1_000_000_000 }), "validation/bad_max_bytes"),
        (json!({ "program": "cat", "shell": true }), "validation/bad_with"),
    ] {
        assert_eq!(answer(&step(), with.clone()).await, json!({ "error": error }), "{with}");
    }
}

#[tokio::test]
async fn a_failure_says_what_the_program_said() {
    let with = json!({ "program": "sh", "args": ["-c", "echo out; echo reason >&2; exit 2"] });
    let failure = run(&step(), with).await.unwrap_err();
    assert_eq!(&*failure.error.message, "`sh` ended with exit code 2: reason");
    assert_eq!(failure.error.details.to_serde(), json!({ "exit_code": 2, "stdout": "out\n", "stderr": "reason\n" }));
    assert_eq!(failure.sent, Sent::Maybe);
}

#[tokio::test]
async fn only_programs_that_the_settings_name() {
    let step = Exec::new(ExecOptions { programs: Some(vec!["true".into()]), ..ExecOptions::default() });
    assert_eq!(answer(&step, json!({ "program": "true" })).await["exit_code"], json!(0));
    let refused = json!({ "error": "denied/program_not_allowed" });
    assert_eq!(answer(&step, json!({ "program": "/bin/true" })).await, refused);
}

#[tokio::test]
async fn what_it_started_ends_with_it() {
    // The grandchild holds the pipes; the step must neither wait for it nor leave it behind.
    let with = json!({ "program": "sh", "args": ["-c", "sleep 600 & echo $!"] });
    let output = run(&step(), with).await.unwrap();
    gone(output["stdout"].as_str().unwrap().trim()).await;
}

#[tokio::test]
async fn a_stop_ends_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let script = format!("sleep 600 & echo $! > {0}.part; mv {0}.part {0}; wait", file.display());
    let scene = scene().await;
    let context = &scene.context;
    let stop = context.stop.clone();
    let started = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (step, with) = (step(), Plain::from(json!({ "program": "sh", "args": ["-c", script] })));
    let (result, ()) = tokio::join!(step.run(context, with), started);
    assert_eq!(&*result.unwrap_err().error.code, "signal_15");
    gone(std::fs::read_to_string(&file).unwrap().trim()).await;
}

/// Waits until a process is gone; a zombie is.
async fn gone(pid: &str) {
    assert!(pid.parse::<u32>().is_ok(), "{pid:?} is no process id");
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => return,
        }
    }
}

#[tokio::test]
async fn json_is_null_unless_it_is_a_map_or_a_list() {
    for (text, expected) in [("[1]", json!([1])), ("7", Value::Null), ("text", Value::Null), ("", Value::Null)] {
        let output = run(&step(), json!({ "program": "printf", "args": ["%s", text] })).await.unwrap();
        assert_eq!(output["json"], expected, "{text}");
    }
}
