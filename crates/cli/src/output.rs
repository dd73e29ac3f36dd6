//! What commands print: JSON for programs, tables and sentences for people.

pub mod table;
pub mod tree;

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Writes a line to standard output; a reader that has left ends the program quietly.
///
/// # Errors
/// Standard output cannot be written.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// Writes one JSON document to standard output.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::internal(error.to_string()))?;
    line(text)
}

/// Writes a line to standard error; who does not read it misses nothing.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// JSON for people: indented.
pub fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
