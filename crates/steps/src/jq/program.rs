//! A jq program: compiled once, run on one input.
//!
//! Invariant: a program is a function of its input and arguments. It has no clock, no environment and no files: those
//! of jq's functions that would need them do not exist here.

use std::collections::{BTreeMap, HashMap};

use jaq_core::{
    Compiler, Ctx, Vars, data,
    load::{self, Arena, File, Loader},
};
use jaq_json::{Val, read};
use serde::{Deserialize, Serialize};

/// How long a program's text may be.
pub const PROGRAM_BYTES_MAX: usize = 16 << 10;

/// How many outputs of a program are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// One is the output, none is null, more is an error.
    #[default]
    One,
    /// The list of all.
    All,
}

/// What is asked of a helper: see [`super::helper`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// The program's text.
    pub program: String,
    /// JSON texts by the names of the variables that hold them, without `$`.
    pub args: BTreeMap<String, String>,
    /// The input, as JSON text.
    pub input: String,
    /// How many outputs are wanted.
    pub outputs: Outputs,
    /// How large the output may be, as JSON text.
    pub output_bytes_max: usize,
    /// How long it may take.
    pub time_ms_max: u64,
}

/// Why a program has no output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProgramError {
    /// It is no program; lines and columns are within its text.
    #[error("the program does not compile: {0}")]
    Compile(String),
    /// It raised an error.
    #[error("{0}")]
    Raised(String),
    /// It gave several outputs where one was wanted.
    #[error("the program gave more than one output; collect them with [ ], or say `outputs: all`")]
    SeveralOutputs,
    /// It gave what JSON cannot say.
    #[error("the program's output is not JSON: {0}")]
    NotJson(String),
    /// It gave too much.
    #[error("the program's output is larger than {0} bytes")]
    TooLarge(usize),
    /// It ended itself with `halt`.
    #[error("the program called halt, which there is nothing to halt for")]
    Halted,
}

type Filter = jaq_core::Filter<data::JustLut<Val>>;

/// Functions that a pure program cannot have: the clock, the environment, further inputs, the local time zone.
const IMPURE: [&str; 7] = ["now", "env", "input", "inputs", "localtime", "strflocaltime", "mktime_local"];

/// Compiles a program whose variables have these names.
///
/// # Errors
/// The text is no program; the message says where.
pub fn compile<'a>(program: &str, names: impl IntoIterator<Item = &'a str>) -> Result<Filter, ProgramError> {
    if program.len() > PROGRAM_BYTES_MAX {
        return Err(ProgramError::Compile(format!("it is longer than {PROGRAM_BYTES_MAX} bytes")));
    }
    let names: Vec<String> = names.into_iter().map(|name| format!("${name}")).collect();
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions)
        .load(&arena, File { code: program, path: () })
        .map_err(|errors| ProgramError::Compile(load_message(program, &errors)))?;
    Compiler::default()
        .with_funs(functions.filter(|it| !IMPURE.contains(&it.0)))
        .with_global_vars(names.iter().map(String::as_str))
        .compile(modules)
        .map_err(|errors| ProgramError::Compile(compile_message(program, &errors)))
}

fn load_message(program: &str, errors: &load::Errors<&str, ()>) -> String {
    let one = |error: &load::Error<&str>| match error {
        load::Error::Io(errors) => errors.first().map(|(at, what)| (position(program, at), what.clone())),
        load::Error::Lex(errors) => {
            errors.first().map(|(expected, at)| (position(program, at), format!("expected {}", expected.as_str())))
        }
        load::Error::Parse(errors) => errors.first().map(|(expected, at)| {
            let found = if at.is_empty() { "the end" } else { at };
            (position(program, at), format!("expected {}, found `{found}`", expected.as_str()))
        }),
    };
    errors.iter().find_map(|(_, error)| one(error)).map_or_else(
        || "unreadable".to_owned(),
        |((line, column), what)| format!("line {line}, column {column}: {what}"),
    )
}

fn compile_message(program: &str, errors: &jaq_core::compile::Errors<&str, ()>) -> String {
    let first = errors.iter().flat_map(|(_, errors)| errors).next();
    first.map_or_else(
        || "unreadable".to_owned(),
        |(name, kind)| {
            let (line, column) = position(program, name);
            format!("line {line}, column {column}: there is no {} `{name}`", kind.as_str())
        },
    )
}

/// Line and column, from 1, of a part of the program.
fn position(program: &str, part: &str) -> (usize, usize) {
    let start = load::span(program, part).start.min(program.len());
    let before = program.get(..start).unwrap_or(program);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Compiled programs by their text and variables: compiling costs more than most runs.
#[derive(Default)]
pub struct Programs {
    compiled: HashMap<(String, Vec<String>), Filter>,
}

impl Programs {
    const KEPT_MAX: usize = 64;

    /// Runs a program; gives its output as JSON text.
    ///
    /// # Errors
    /// There is no output; the error says why.
    pub fn evaluate(&mut self, evaluation: &Evaluation) -> Result<String, ProgramError> {
        let names: Vec<String> = evaluation.args.keys().cloned().collect();
        let key = (evaluation.program.clone(), names);
        if !self.compiled.contains_key(&key) {
            if self.compiled.len() >= Programs::KEPT_MAX {
                self.compiled.clear();
            }
            let filter = compile(&evaluation.program, key.1.iter().map(String::as_str))?;
            self.compiled.insert(key.clone(), filter);
        }
        let filter = &self.compiled[&key];
        let arguments: Result<Vec<Val>, ProgramError> = evaluation.args.values().map(|it| parse(it)).collect();
        let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new(arguments?));
        let outputs = filter.id.run((context, parse(&evaluation.input)?)).map(|output| {
            output.map_err(|exception| {
                exception.get_err().map_or(ProgramError::Halted, |err| ProgramError::Raised(err.to_string()))
            })
        });
        write(outputs, evaluation)
    }
}

fn parse(json: &str) -> Result<Val, ProgramError> {
    read::parse_single(json.as_bytes()).map_err(|err| ProgramError::NotJson(err.to_string()))
}

fn write(
    outputs: impl Iterator<Item = Result<Val, ProgramError>>,
    evaluation: &Evaluation,
) -> Result<String, ProgramError> {
    let mut texts = Vec::new();
    let mut bytes = 0;
    for output in outputs {
        if evaluation.outputs == Outputs::One && !texts.is_empty() {
            return Err(ProgramError::SeveralOutputs);
        }
        let text = output?.to_string();
        bytes += text.len() + 1;
        if bytes > evaluation.output_bytes_max {
            return Err(ProgramError::TooLarge(evaluation.output_bytes_max));
        }
        texts.push(text);
    }
    let text = match evaluation.outputs {
        Outputs::One => texts.pop().unwrap_or_else(|| "null".to_owned()),
        Outputs::All => format!("[{}]", texts.join(",")),
    };
    // jq knows values that JSON does not: NaN, bytes, keys that are no text.
    serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|err| ProgramError::NotJson(err.to_string()))?;
    Ok(text)
}
