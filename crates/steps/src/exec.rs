//! `exec`: a program on the host. There is no such step type unless the server's settings allow it.
//!
//! Invariant: no shell reads anything here; the program and each argument reach the kernel as they are. The program
//! runs in a process group of its own, and when the step ends, for whatever reason, nothing of that group is left.

mod process;

use std::{collections::BTreeMap, ffi::OsString, io, path::PathBuf, process::Stdio, time::Duration};

use process::{Broken, Finished, Group, finish};
use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use windlass_definition::{
    Class, Error, Value,
    step_type::{Family, StepType},
};
use windlass_runtime::step::{Boxed, Step, StepContext, StepFailure};

use crate::schema;

/// How much of the standard output is kept unless the step says otherwise.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How much any step may keep.
const OUTPUT_BYTES_LIMIT: usize = 16 << 20;
/// How long a program that is asked to stop has before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

const DOCUMENTATION: &str = "\
Runs a program on the host of the server: off unless the server is started with `--allow-exec`.

There is no shell: `program` is found on the `PATH` or given as a path, and every item of `args` is one argument. The \
program sees the environment variables that the server's settings pass on, those in `env`, and `WINDLASS_RUN_ID`, \
`WINDLASS_STEP_PATH` and `WINDLASS_STEP_KEY`. An exit code other than 0 fails the step as `script/exit_<code>`. When \
the step is asked to stop, the program and all that it started get SIGTERM, and 10 seconds later SIGKILL.";

/// What `exec` may do.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// The server's environment variables that programs see.
    pub env_passed: Vec<String>,
    /// The programs that may run, as documents name them; none means any.
    pub programs: Option<Vec<String>>,
}

impl Default for ExecOptions {
    fn default() -> ExecOptions {
        let passed = ["PATH", "HOME", "LANG", "TZ"];
        ExecOptions { env_passed: passed.map(str::to_owned).to_vec(), programs: None }
    }
}

/// The step type.
#[derive(Debug, Clone)]
pub struct Exec {
    options: ExecOptions,
}

impl Exec {
    /// The step type with these settings.
    pub fn new(options: ExecOptions) -> Exec {
        Exec { options }
    }
}

/// The `with` of `exec`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExecWith {
    /// The program: a name on the `PATH`, or a path.
    program: String,
    /// Its arguments, one each.
    #[serde(default)]
    args: Vec<Argument>,
    /// Environment variables beside those that the settings pass on.
    #[serde(default)]
    env: BTreeMap<String, Argument>,
    /// The directory it runs in; the server's own when absent.
    cwd: Option<PathBuf>,
    /// What it reads on its standard input: text as it is, anything else as JSON.
    #[serde(default)]
    stdin: serde_json::Value,
    /// How much it may write; 1 MiB when absent. More fails the step; of the standard error, the rest is dropped.
    #[schemars(range(min = 1, max = 16_777_216))]
    max_bytes: Option<usize>,
}

/// One argument or variable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Argument {
    /// `true` or `false`.
    Bool(bool),
    /// As JSON writes it.
    Number(serde_json::Number),
    /// As it is.
    Text(String),
}

impl Argument {
    fn text(&self) -> String {
        match self {
            Argument::Bool(value) => value.to_string(),
            Argument::Number(value) => value.to_string(),
            Argument::Text(value) => value.clone(),
        }
    }
}

/// The output of `exec`.
#[derive(Debug, Serialize, JsonSchema)]
struct ExecOutput {
    /// 0: any other code fails the step.
    exit_code: i32,
    /// What it wrote, as text.
    stdout: String,
    /// What it wrote on its standard error, as text.
    stderr: String,
    /// What it wrote, when that is a JSON object or list; else null.
    json: serde_json::Value,
}

impl Step for Exec {
    fn describe(&self) -> StepType {
        StepType {
            name: "exec",
            documentation: DOCUMENTATION,
            family: Family::Doing,
            with_schema: schema::input_schema::<ExecWith>(),
            output_schema: schema::output_schema::<ExecOutput>(),
            secret_fields: &["/env/*", "/stdin"],
            program_fields: &["/program"],
            credential_fields: &[],
            hidden: false,
        }
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            let with: ExecWith = schema::read_with("exec", &input)?;
            let bytes_max = with.max_bytes.unwrap_or(OUTPUT_BYTES_MAX);
            if bytes_max > OUTPUT_BYTES_LIMIT {
                return Err(schema::invalid("bad_max_bytes", &format!("`max_bytes` is at most {OUTPUT_BYTES_LIMIT}")));
            }
            let mut child = self.command(context, &with)?.spawn().map_err(|err| not_started(&with.program, &err))?;
            let group = Group::of(&child);
            let finished = finish(&mut child, &with.stdin, bytes_max, &group);
            tokio::pin!(finished);
            let result = tokio::select! {
                result = &mut finished => result,
                () = context.stop.cancelled() => {
                    group.signal(Signal::TERM);
                    tokio::time::timeout(STOP_GRACE, finished).await.unwrap_or(Err(Broken::Stopped))
                }
            };
            outcome(&with.program, result)
        })
    }
}

impl Exec {
    fn command(&self, context: &StepContext, with: &ExecWith) -> Result<Command, StepFailure> {
        if self.options.programs.as_ref().is_some_and(|allowed| !allowed.contains(&with.program)) {
            let message = format!("the server's settings do not allow the program `{}`", with.program);
            return Err(StepFailure::nothing_sent(Error::new(Class::Denied, "program_not_allowed", message)));
        }
        let mut command = Command::new(&with.program);
        command.args(with.args.iter().map(Argument::text)).env_clear();
        for name in &self.options.env_passed {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(with.env.iter().map(|(name, value)| (name, value.text())));
        command
            .env("WINDLASS_RUN_ID", context.run.to_string())
            .env("WINDLASS_STEP_PATH", OsString::from(&*context.path))
            .env("WINDLASS_STEP_KEY", OsString::from(&*context.key));
        if let Some(cwd) = &with.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }
}

fn not_started(program: &str, err: &io::Error) -> StepFailure {
    let error = match err.kind() {
        io::ErrorKind::NotFound => Error::new(
            Class::NotFound,
            "program_not_found",
            format!("there is no program `{program}`, or no such `cwd`"),
        ),
        io::ErrorKind::PermissionDenied => {
            Error::new(Class::Denied, "program_not_executable", format!("`{program}` may not be executed"))
        }
        _ => Error::new(Class::Script, "not_started", format!("failed to start `{program}`: {err}")).retryable(),
    };
    StepFailure::nothing_sent(error)
}

fn outcome(program: &str, result: Result<Finished, Broken>) -> Result<Value, StepFailure> {
    let finished = match result {
        Ok(finished) => finished,
        Err(Broken::Stopped) => {
            let message = format!("`{program}` was asked to stop, and killed");
            return Err(StepFailure::maybe_sent(Error::new(Class::Cancelled, "stopped", message)));
        }
        Err(Broken::TooMuchOutput(bytes_max)) => {
            let message = format!("`{program}` wrote more than {bytes_max} bytes; raise `max_bytes` to read more");
            return Err(StepFailure::maybe_sent(Error::new(Class::Limit, "output_too_large", message)));
        }
        Err(Broken::Io(err)) => {
            let message = format!("failed to follow `{program}`: {err}");
            return Err(StepFailure::maybe_sent(Error::new(Class::Script, "not_followed", message)));
        }
    };
    let stdout = String::from_utf8_lossy(&finished.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&finished.stderr).into_owned();
    if !finished.status.success() {
        return Err(StepFailure::maybe_sent(failed(program, finished.status, &stdout, &stderr)));
    }
    let json = serde_json::from_str::<Value>(&stdout).unwrap_or_default();
    let json = if matches!(json, Value::Map(_) | Value::List(_)) { json } else { Value::Null };
    let output = ExecOutput { exit_code: 0, stdout, stderr, json: serde_json::Value::Null };
    Ok(schema::to_output(&output).with_entry("json", json))
}

fn failed(program: &str, status: std::process::ExitStatus, stdout: &str, stderr: &str) -> Error {
    use std::os::unix::process::ExitStatusExt;
    let (code, what) = match (status.code(), status.signal()) {
        (Some(code), _) => (format!("exit_{code}"), format!("ended with exit code {code}")),
        (None, Some(signal)) => (format!("signal_{signal}"), format!("was ended by signal {signal}")),
        (None, None) => ("exit_unknown".to_owned(), "ended in an unknown way".to_owned()),
    };
    let message = match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("`{program}` {what}: {}", line.chars().take(200).collect::<String>()),
        None => format!("`{program}` {what}"),
    };
    Error::new(Class::Script, code, message)
        .with_detail("exit_code", status.code().map_or(Value::Null, |code| Value::from(i64::from(code))))
        .with_detail("stdout", tail(stdout))
        .with_detail("stderr", tail(stderr))
}

/// The last part of an output: where programs say what went wrong.
fn tail(text: &str) -> String {
    const CHARS_MAX: usize = 2_048;
    let skipped = text.chars().count().saturating_sub(CHARS_MAX);
    text.chars().skip(skipped).collect()
}
