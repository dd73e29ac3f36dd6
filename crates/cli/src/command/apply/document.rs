//! The documents in files and folders, and what is wrong with them, by file and line.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use windlass_definition::{
    diagnostic::{self, Diagnostic, Problem},
    source::{self, Format, Node, Span},
};

use crate::{
    exit::{Exit, Failure},
    input::WorkflowFile,
};

/// Documents that are applied at once, at most.
const DOCUMENTS_MAX: usize = 10_000;
/// What a file of documents ends with.
const ENDINGS: [&str; 4] = ["yaml", "yml", "json", "jsonl"];
/// Folders within each other, at most.
const FOLDERS_MAX: usize = 32;

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub file: String,
    /// Lines of the file before it.
    pub lines_before: usize,
    /// Its text.
    pub text: String,
    /// How it is written.
    pub format: Format,
    /// What it says.
    pub root: Node,
}

impl Document {
    /// Where it begins, for people: `folders.yaml:12`.
    pub fn place(&self) -> String {
        let at = source::Lines::of(&self.text).place(self.root.span.start as usize).0;
        format!("{}:{}", self.file, at + self.lines_before)
    }

    /// What it says, without places.
    pub fn to_json(&self) -> Json {
        self.root.to_value().into_json().ok().and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default()
    }

    /// Where a field's name stands; where the document begins when it has none of that name.
    pub fn field(&self, name: &str) -> Span {
        self.root.entry(name).map_or(Span::at(self.root.span.start as usize), |entry| entry.key_span)
    }
}

/// Everything that is wrong.
#[derive(Debug, Default)]
pub struct Faults(Vec<(String, Diagnostic)>);

impl Faults {
    /// Something is wrong at a place of a document.
    pub fn add(&mut self, document: &Document, problem: Problem) {
        let found = diagnostic::diagnostics(vec![problem], &document.text, Some(&document.root));
        self.add_all((&document.file, document.lines_before), found);
    }

    /// What was found in a text that stands behind so many lines of its file.
    pub fn add_all(&mut self, (file, lines_before): (&str, usize), found: Vec<Diagnostic>) {
        let shifted = found.into_iter().map(|it| Diagnostic { line: it.line + lines_before, ..it });
        self.0.extend(shifted.map(|it| (file.to_owned(), it)));
    }

    /// Nothing, or a failure that says all of it.
    ///
    /// # Errors
    /// Something is wrong.
    pub fn none(&self) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut all: Vec<&(String, Diagnostic)> = self.0.iter().collect();
        all.sort_by_key(|(file, it)| (file, it.line, it.column));
        let shown: Vec<String> = all.into_iter().map(|(file, it)| it.render(file)).collect();
        Err(Failure::new(Exit::Refused, "invalid_document", shown.join("\n")))
    }
}

/// The documents of these files, and of the files in these folders.
///
/// # Errors
/// A file cannot be read, or there are too many documents.
pub fn read_all(paths: &[PathBuf], faults: &mut Faults) -> Result<Vec<Document>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        find(path, &mut files, FOLDERS_MAX)?;
    }
    let mut documents = Vec::new();
    for path in &files {
        let file = WorkflowFile::read(path)?;
        let lines = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("jsonl"));
        let format = if lines { Format::Json } else { file.format };
        let parts = if lines { by_line(&file.text) } else { parts(&file.text, format) };
        for (lines_before, text) in parts {
            read((&file.name, lines_before), (text, format), &mut documents, faults);
            if documents.len() > DOCUMENTS_MAX {
                return Err(Failure::refused(format!("there are more than {DOCUMENTS_MAX} documents: apply fewer")));
            }
        }
    }
    Ok(documents)
}

/// The file, or the files in the folder and those within it, by name.
fn find(path: &Path, files: &mut Vec<PathBuf>, folders_left: usize) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::refused(format!("cannot read {}: {error}", path.display()));
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if folders_left == 0 {
        return Err(Failure::refused(format!("{} lies in too many folders", path.display())));
    }
    let entries = std::fs::read_dir(path).map_err(refused)?;
    let mut inside: Vec<PathBuf> =
        entries.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>().map_err(refused)?;
    inside.sort();
    for path in inside {
        let known = path.extension().is_some_and(|it| ENDINGS.iter().any(|ending| it.eq_ignore_ascii_case(ending)));
        if path.is_dir() || known {
            find(&path, files, folders_left - 1)?;
        }
    }
    Ok(())
}

/// The lines that say something, with how many lines are before each.
fn by_line(text: &str) -> Vec<(usize, &str)> {
    source::without_mark(text).lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect()
}

/// The documents of a YAML file: `---` at the beginning of a line can be nothing but the mark between two.
fn parts(text: &str, format: Format) -> Vec<(usize, &str)> {
    let text = source::without_mark(text);
    if format == Format::Json {
        return vec![(0, text)];
    }
    let (mut parts, mut begin, mut line_of_begin, mut at) = (Vec::new(), 0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_mark =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_mark {
            parts.push((line_of_begin, &text[begin..at]));
            (begin, line_of_begin) = (at + "---".len(), number);
        }
        at += line.len();
    }
    parts.push((line_of_begin, &text[begin..]));
    let says_something = |part: &str| part.lines().any(|it| !it.trim().is_empty() && !it.trim_start().starts_with('#'));
    parts.into_iter().filter(|(_, part)| says_something(part)).collect()
}

fn read(
    (file, lines_before): (&str, usize),
    (text, format): (&str, Format),
    documents: &mut Vec<Document>,
    faults: &mut Faults,
) {
    let parsed = source::parse(text, format);
    let wrong = !parsed.problems.is_empty();
    faults.add_all((file, lines_before), diagnostic::diagnostics(parsed.problems, text, parsed.root.as_ref()));
    let Some(root) = parsed.root.filter(|_| !wrong) else { return };
    let document = |root: Node| Document { file: file.to_owned(), lines_before, text: text.to_owned(), format, root };
    match root.as_list() {
        Some(items) => documents.extend(items.iter().cloned().map(document)),
        None => documents.push(document(root)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_and_keep_their_lines() {
        let text = "# nothing\n---\na: 1\nb: |\n  --- not a mark\n--- {c: 2}\n---\n# nothing\n---\nd: 3\n";
        let found = parts(text, Format::Yaml);
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 5, 8]);
        assert_eq!(found[1].1, " {c: 2}\n");
        assert_eq!(by_line("{}\n\n{\"a\": 1}\n"), [(0, "{}"), (2, "{\"a\": 1}")]);
    }
}
