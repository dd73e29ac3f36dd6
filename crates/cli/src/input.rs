//! What people hand to commands: files, and JSON in three ways.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;
use windlass_definition::source::Format;

use crate::exit::Failure;

/// Bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A workflow file.
#[derive(Debug)]
pub struct WorkflowFile {
    /// What to call it in messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// How it is written.
    pub format: Format,
}

impl WorkflowFile {
    /// Reads a file, or standard input when it is `-`.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn read(path: &Path) -> Result<WorkflowFile, Failure> {
        let name = path.display().to_string();
        let text = if name == "-" { read_stdin()? } else { read_file(path)? };
        // YAML reads nearly all JSON, but only the JSON reader refuses what is no JSON.
        let is_json = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("json"))
            || (name == "-" && text.trim_start().starts_with('{'));
        let format = if is_json { Format::Json } else { Format::Yaml };
        let name = if name == "-" { "standard input".to_owned() } else { name };
        Ok(WorkflowFile { name, text, format })
    }

    /// The media type by which it is sent.
    pub fn media_type(&self) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
        }
    }
}

/// Reads the text in `@file`, or on standard input.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn text(source: &str) -> Result<String, Failure> {
    match source.strip_prefix('@') {
        Some(file) => read_file(&PathBuf::from(file)),
        None => read_stdin(),
    }
}

/// Reads `JSON`, `@file` or `-`, and gives it back as it was written, once it is known to be JSON.
///
/// # Errors
/// It is no JSON, or the file cannot be read.
pub fn json(text: &str, option: &str) -> Result<Value, Failure> {
    let (source, text) = match text.strip_prefix('@') {
        Some(file) => (file.to_owned(), read_file(&PathBuf::from(file))?),
        None if text == "-" => ("standard input".to_owned(), read_stdin()?),
        None => (option.to_owned(), text.to_owned()),
    };
    let refused = |detail: String| Failure::refused(format!("{source} is refused: {detail}"));
    // As strict as the API is: no key twice, no NUL, bounded depth.
    if let Err(problem) = windlass_server::json::read::<windlass_server::json::Json>(text.as_bytes()) {
        return Err(refused(problem.detail().to_owned()));
    }
    serde_json::from_str(&text).map_err(|error| refused(error.to_string()))
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let refused = |reason: String| Failure::refused(format!("cannot read {}: {reason}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| refused(error.to_string()))?;
    if file.metadata().is_ok_and(|it| it.is_dir()) {
        return Err(refused("it is a directory".into()));
    }
    read_text(file).map_err(refused)
}

fn read_stdin() -> Result<String, Failure> {
    read_text(std::io::stdin().lock())
        .map_err(|reason| Failure::refused(format!("cannot read standard input: {reason}")))
}

fn read_text(reader: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is over {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}
