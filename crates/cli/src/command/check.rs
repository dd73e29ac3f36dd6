//! `windlass check`: everything that is wrong with workflow files.

use std::path::PathBuf;

use serde_json::json;
use windlass_definition::{
    diagnostic::{self, Severity},
    step_type::StepTypes,
};

use super::Context;
use crate::{
    exit::{Exit, Failure, Outcome},
    input::WorkflowFile,
    output, place,
};

/// The step types of this program, `exec` included: whether a server allows it is the server's to say.
///
/// # Errors
/// The HTTP client cannot be set up.
pub fn step_types() -> Result<StepTypes, Failure> {
    place::step_types(place::Allowed { exec: true, ..place::Allowed::default() })
}

/// Checks the files, all of them.
///
/// # Errors
/// A file cannot be read.
pub fn run(files: &[PathBuf], context: &Context) -> Outcome {
    let types = step_types()?;
    let mut reports = Vec::new();
    let mut exit = Exit::Done;
    for path in files {
        let file = WorkflowFile::read(path)?;
        let (valid, diagnostics) = match windlass_definition::compile(&file.text, file.format, &types) {
            Ok(compiled) => (true, compiled.warnings),
            Err(diagnostics) => (false, diagnostics),
        };
        if !valid {
            exit = Exit::Refused;
        }
        if context.json() {
            reports.push(json!({ "file": file.name, "valid": valid, "diagnostics": diagnostics }));
            continue;
        }
        if !diagnostics.is_empty() {
            output::note(diagnostic::render(&diagnostics, &file.name));
        }
        let errors = diagnostics.iter().filter(|it| it.severity == Severity::Error).count();
        match (valid, errors) {
            (true, _) => output::line(format!("{}: ok", file.name))?,
            (false, 1) => output::note(format!("{}: 1 error", file.name)),
            (false, count) => output::note(format!("{}: {count} errors", file.name)),
        }
    }
    if context.json() {
        output::json(&json!({ "valid": exit == Exit::Done, "files": reports }))?;
    }
    Ok(exit)
}
