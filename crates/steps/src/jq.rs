//! `jq`: a jq program over a value. The language is jaq's, which is jq's with few differences.
//!
//! Invariant: program text comes from the document as it is; values reach it as `input` and `args` only.

pub mod helper;
mod pool;
pub mod program;

use std::{collections::BTreeMap, fmt, sync::Arc, thread};

pub use pool::HelperCommand;
use pool::{Pool, PoolError};
use program::{Evaluation, Outputs, ProgramError};
use schemars::JsonSchema;
use serde::Deserialize;
use windlass_definition::{
    Class, Error, Value,
    step_type::{Checker, Family, Misfit, StepType},
};
use windlass_runtime::step::{Boxed, Step, StepContext, StepFailure};

use crate::schema;

const DOCUMENTATION: &str = "\
Runs a jq program over `input`; each of `args` is a variable, `$name`.

`program` is never interpolated. It has no clock, no environment, no files and no further inputs, so the same input \
gives the same output; pass what it needs in `args`. It runs in a process of its own, for 5 seconds at most, in 512 \
MiB. One output is the step's output, none is null; several need `outputs: all`, which gives the list. A program that \
raises an error fails the step as `script/jq_error`.";

/// How `jq` programs are run.
#[derive(Debug, Clone)]
pub struct JqOptions {
    /// What runs them: by default this same program with the argument `jq-helper`.
    pub helper: Option<HelperCommand>,
    /// How many run at once; by default one for each processor.
    pub helpers_max: Option<usize>,
    /// How long one may take.
    pub time_ms_max: u64,
    /// How large an output may be, as JSON text.
    pub output_bytes_max: usize,
}

impl Default for JqOptions {
    fn default() -> JqOptions {
        JqOptions { helper: None, helpers_max: None, time_ms_max: 5_000, output_bytes_max: 16 << 20 }
    }
}

/// The step type.
#[derive(Clone)]
pub struct Jq {
    pool: Arc<Pool>,
    options: JqOptions,
}

impl fmt::Debug for Jq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jq").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Jq {
    /// The step type with these settings.
    pub fn new(options: JqOptions) -> Jq {
        let command = options.helper.clone().unwrap_or_else(|| HelperCommand {
            // The link stays right when the file is replaced by an upgrade while this process runs.
            program: "/proc/self/exe".into(),
            args: vec![helper::ARGUMENT.into()],
        });
        let processors = || thread::available_parallelism().map_or(2, usize::from);
        let pool = Pool::new(command, options.helpers_max.unwrap_or_else(processors));
        Jq { pool: Arc::new(pool), options }
    }
}

/// The `with` of `jq`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JqWith {
    /// The program.
    #[schemars(length(max = 16_384))]
    program: String,
    /// What it works on: `.` in the program.
    #[serde(default)]
    input: serde_json::Value,
    /// Variables by name: `limit` is `$limit` in the program.
    #[serde(default)]
    args: BTreeMap<String, serde_json::Value>,
    /// How many outputs are wanted.
    #[serde(default)]
    outputs: Outputs,
}

impl Step for Jq {
    fn describe(&self) -> StepType {
        StepType {
            name: "jq",
            documentation: DOCUMENTATION,
            family: Family::Doing,
            with_schema: schema::input_schema::<JqWith>(),
            output_schema: schema::any_output("What the program gives."),
            secret_fields: &[],
            program_fields: &["/program"],
            credential_fields: &[],
            hidden: false,
        }
    }

    fn checker(&self) -> Option<Checker> {
        Some(check_with)
    }

    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move {
            let with: JqWith = schema::read_with("jq", &input)?;
            let evaluation = Evaluation {
                program: with.program,
                args: with.args.into_iter().map(|(name, value)| (name, value.to_string())).collect(),
                input: with.input.to_string(),
                outputs: with.outputs,
                output_bytes_max: self.options.output_bytes_max,
                time_ms_max: self.options.time_ms_max,
            };
            let answer = tokio::select! {
                answer = self.pool.evaluate(&evaluation) => answer,
                () = context.stop.cancelled() => {
                    let error = Error::new(Class::Cancelled, "stopped", "the step was asked to stop");
                    return Err(StepFailure::nothing_sent(error));
                }
            };
            let text = match answer {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => return Err(StepFailure::nothing_sent(program_failure(&error))),
                Err(error) => return Err(StepFailure::nothing_sent(pool_failure(&error))),
            };
            serde_json::from_str(&text)
                .map_err(|err| StepFailure::nothing_sent(Error::new(Class::Script, "jq_not_json", err.to_string())))
        })
    }
}

fn check_with(with: &Value) -> Result<(), Misfit> {
    let Some(program) = with.get("program").and_then(Value::as_str) else { return Ok(()) };
    let names: Vec<String> = match with.get("args") {
        None => Vec::new(),
        Some(Value::Map(args)) => args.keys().map(|it| it.as_text().into_owned()).collect(),
        // The names are known only when the step runs.
        Some(_) => return Ok(()),
    };
    check(program, names.iter().map(String::as_str)).map_err(|err| {
        let message = match err {
            ProgramError::Compile(message) => message,
            other => other.to_string(),
        };
        Misfit { field: "program", message }
    })
}

/// Checks a program when its document is saved: the message says where it is wrong.
///
/// # Errors
/// The text is no program.
pub fn check<'a>(program: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), ProgramError> {
    // The parser recurses: a bounded text on a stack of its own cannot use that up.
    const STACK_BYTES: usize = 256 << 20;
    let names: Vec<&str> = names.into_iter().collect();
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let compiled = thread.spawn_scoped(scope, || program::compile(program, names).map(|_| ()));
        let unchecked = || Err(ProgramError::Compile("it could not be checked".to_owned()));
        compiled.map_or_else(|_| unchecked(), |it| it.join().unwrap_or_else(|_| unchecked()))
    })
}

fn program_failure(error: &ProgramError) -> Error {
    let message = error.to_string();
    match error {
        ProgramError::Compile(_) => Error::new(Class::Validation, "jq_compile", message),
        ProgramError::Raised(_) => Error::new(Class::Script, "jq_error", message),
        ProgramError::SeveralOutputs => Error::new(Class::Script, "jq_several_outputs", message),
        ProgramError::NotJson(_) => Error::new(Class::Script, "jq_not_json", message),
        ProgramError::TooLarge(_) => Error::new(Class::Limit, "jq_output_too_large", message),
        ProgramError::Halted => Error::new(Class::Script, "jq_halt", message),
    }
}

fn pool_failure(error: &PoolError) -> Error {
    let message = error.to_string();
    match error {
        PoolError::OutOfTime(_) => Error::new(Class::Limit, "jq_time", message),
        PoolError::Died => Error::new(Class::Limit, "jq_memory", message),
        PoolError::NotStarted(_) => Error::new(Class::Script, "jq_not_started", message).retryable(),
        PoolError::TooLarge => Error::new(Class::Limit, "jq_input_too_large", message),
    }
}
