//! What is wrong with a document, where, and what would be right.
//!
//! Checks record a [`Problem`] by its place in bytes; [`diagnostics`] turns all of them at once into what people and
//! programs are shown.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::source::{KeysStandFor, Lines, Node, Span};

/// Diagnostics shown of one document; the last one says how many more there are.
pub const DIAGNOSTICS_MAX: usize = 100;
const EXCERPT_CHARS_MAX: usize = 160;
/// Longer names than these are no slips of the pen, and comparing them would take long.
const COMPARED_BYTES_MAX: usize = 200;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is taken.
    Warning,
}

/// What is wrong, by its place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What was expected, or what to do.
    pub note: Option<String>,
    /// The nearest right name.
    pub suggestion: Option<String>,
    /// What a key at that place stands for.
    pub keys: KeysStandFor,
    /// What stood there first, when the problem is that something stands twice.
    pub first: Option<Span>,
}

impl Problem {
    /// An error at that place.
    pub fn new(span: Span, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            span,
            message: message.into(),
            note: None,
            suggestion: None,
            keys: KeysStandFor::Values,
            first: None,
        }
    }

    /// An error about a whole map, shown where it begins.
    pub fn of_map(head: Span, message: impl Into<String>) -> Problem {
        Problem { keys: KeysStandFor::Maps, ..Problem::new(head, message) }
    }

    /// The same, with the place of what stood there first.
    #[must_use]
    pub fn first(mut self, first: Span) -> Problem {
        self.first = Some(first);
        self
    }

    /// The same, with what was expected or what to do.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Problem {
        self.note = Some(note.into());
        self
    }

    /// The same, with the nearest right name when there is one.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<String>) -> Problem {
        self.suggestion = suggestion;
        self
    }

    /// The same, as a warning.
    #[must_use]
    pub fn warning(mut self) -> Problem {
        self.severity = Severity::Warning;
        self
    }
}

/// What is wrong with a document, as people and programs are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The characters of the line that it is about; at least 1.
    pub length: usize,
    /// JSON pointer of the part of the document that it is about.
    pub pointer: String,
    /// What was expected, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The nearest right name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The source line, or the part of a long line around the place.
    pub excerpt: String,
    /// The characters of the excerpt before the place.
    pub indent: usize,
}

/// All problems of a text in the order of their places, without repetitions, at most [`DIAGNOSTICS_MAX`] and one that
/// counts the rest.
pub fn diagnostics(mut problems: Vec<Problem>, text: &str, root: Option<&Node>) -> Vec<Diagnostic> {
    problems.sort_by(|a, b| (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message)));
    problems.dedup_by(|a, b| a.span == b.span && a.message == b.message);
    let lines = Lines::of(text);
    let more = problems.len().saturating_sub(DIAGNOSTICS_MAX);
    if more > 0 {
        let first_left_out = &problems[DIAGNOSTICS_MAX];
        let severity = first_left_out.severity;
        let plural = if more == 1 { "" } else { "s" };
        let rest = Problem::new(first_left_out.span, format!("and {more} more problem{plural} from here on"));
        problems[DIAGNOSTICS_MAX] = Problem { severity, ..rest };
        problems.truncate(DIAGNOSTICS_MAX + 1);
    }
    problems.into_iter().map(|problem| diagnostic(problem, &lines, root)).collect()
}

fn diagnostic(problem: Problem, lines: &Lines<'_>, root: Option<&Node>) -> Diagnostic {
    let Problem { severity, span, message, note, suggestion, keys, first } = problem;
    let (line, column) = lines.place(span.start as usize);
    let text = lines.line(line);
    let start = lines.in_line(line, span.start as usize);
    let end = lines.in_line(line, span.end as usize).max(start);
    let length = text[start..end].chars().count().max(1);
    let (excerpt, indent) = excerpt(text, start);
    let first = first.map(|it| format!("the first is in line {}", lines.place(it.start as usize).0));
    let note = match (note, first) {
        (Some(note), Some(first)) => Some(format!("{note}; {first}")),
        (note, first) => note.or(first).or_else(|| suggestion.as_ref().map(|it| format!("did you mean `{it}`?"))),
    };
    let pointer = root.map_or(String::new(), |root| root.pointer_at(span.start, keys));
    Diagnostic { severity, message, line, column, length, pointer, note, suggestion, excerpt, indent }
}

/// The line, or of a long one the part around a byte; and the characters before that byte.
fn excerpt(line: &str, at: usize) -> (String, usize) {
    let show = |it: char| if it.is_control() { ' ' } else { it };
    if line.len() <= EXCERPT_CHARS_MAX {
        return (line.chars().map(show).collect(), line[..at].chars().count());
    }
    let before: Vec<char> = line[..at].chars().rev().take(EXCERPT_CHARS_MAX / 2).collect();
    let from: usize = at - before.iter().map(|it| it.len_utf8()).sum::<usize>();
    let mut text = String::new();
    let mut indent = before.len();
    if from > 0 {
        text.push('…');
        indent += 1;
    }
    let mut rest = line[from..].chars();
    text.extend(rest.by_ref().take(EXCERPT_CHARS_MAX).map(show));
    if rest.next().is_some() {
        text.push('…');
    }
    (text, indent)
}

impl Diagnostic {
    /// The diagnostic as people read it on a terminal:
    ///
    /// ```text
    /// error: unknown step type `htpp`
    ///   --> order.yaml:12:11
    ///    |
    /// 12 |     type: htpp
    ///    |           ^^^^ did you mean `http`?
    /// ```
    pub fn render(&self, file: &str) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let line = self.line.to_string();
        let gutter = " ".repeat(line.len());
        let shown = self.excerpt.chars().count().saturating_sub(self.indent).max(1);
        let carets = "^".repeat(self.length.min(shown));
        let indent = " ".repeat(self.indent);
        let note = self.note.as_ref().map_or(String::new(), |note| format!(" {note}"));
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{severity}: {}", self.message);
        let _ = writeln!(out, "{gutter}--> {file}:{}:{}", self.line, self.column);
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{line} | {}", self.excerpt);
        let _ = writeln!(out, "{gutter} | {indent}{carets}{note}");
        out
    }
}

/// Every diagnostic as people read it, an empty line between them.
pub fn render(diagnostics: &[Diagnostic], file: &str) -> String {
    let shown: Vec<String> = diagnostics.iter().map(|it| it.render(file)).collect();
    shown.join("\n")
}

/// The name nearest to one that was written, when it is near enough to be meant.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    if written.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let written_lower = written.to_lowercase();
    let scored = names.into_iter().filter_map(|name| {
        let (short, long) = if written.len() < name.len() { (written, name) } else { (name, written) };
        let begun = short.len() >= 3 && long.starts_with(short);
        let (written_chars, name_chars) = (written.chars().count(), name.chars().count());
        let allowed = written_chars.max(name_chars) / 3;
        // The distance is at least what the lengths differ by, and far cheaper to see.
        if !begun && written_chars.abs_diff(name_chars) > allowed {
            return None;
        }
        let distance = strsim::damerau_levenshtein(&written_lower, &name.to_lowercase());
        (distance <= allowed || begun).then_some((distance, name))
    });
    scored.min().map(|(_, name)| name.to_owned())
}
