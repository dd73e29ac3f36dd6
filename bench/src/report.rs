//! What was measured: a line of JSON for programs as soon as it is known, and a table for people at the end.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    machine::Machine,
    peers::{MACHINE, subject::WINDLASS},
};

/// What stands on every line beside its figures.
#[derive(Debug, Clone, Serialize)]
pub struct Context {
    /// The commit that was measured.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// How.
    pub settings: Value,
}

/// Figures by name, in the order in which people read them.
pub type Figures = Vec<(&'static str, Value)>;

/// A figure that was measured, rounded to what it can be trusted for.
pub fn figure(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        2
    } else {
        4
    };
    let scale = 10_f64.powi(digits);
    let rounded = (value * scale).round() / scale;
    if digits == 0 { json!(rounded as i64) } else { json!(rounded) }
}

/// All lines so far.
#[derive(Debug)]
pub struct Report {
    context: Context,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    what: String,
    database: &'static str,
    figures: Figures,
}

/// A line as it is printed: flat, what it is about first, the context last.
#[derive(Serialize)]
struct Printed<'a> {
    what: &'a str,
    peer: &'a str,
    database: &'a str,
    #[serde(flatten, serialize_with = "in_order")]
    figures: &'a Figures,
    #[serde(flatten)]
    context: &'a Context,
}

impl Line {
    fn with<'a>(&'a self, context: &'a Context) -> Printed<'a> {
        let peer = if self.what.starts_with("limit:") { MACHINE } else { WINDLASS };
        Printed { what: &self.what, peer, database: self.database, figures: &self.figures, context }
    }
}

fn in_order<S: Serializer>(figures: &Figures, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(figures.iter().map(|(name, value)| (name, value)))
}

impl Report {
    /// Nothing measured yet.
    pub fn new(context: Context) -> Report {
        Report { context, lines: Vec::new() }
    }

    /// Prints a line of JSON and keeps it for the table.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn add(&mut self, what: &str, database: &'static str, figures: Figures) -> io::Result<()> {
        let line = Line { what: what.to_owned(), database, figures };
        let json = serde_json::to_string(&line.with(&self.context)).map_err(io::Error::other)?;
        writeln!(io::stdout(), "{json}")?;
        self.lines.push(line);
        Ok(())
    }

    /// Whether a line says that something failed.
    pub fn has_failures(&self) -> bool {
        let failed = |line: &Line| line.figures.iter().any(|(name, value)| *name == "failures" && *value != json!(0));
        self.lines.iter().any(failed)
    }

    /// A table of everything, with a new head wherever the figures are others.
    pub fn table(&self) -> String {
        let Machine { cores, kernel, processor, .. } = &self.context.machine;
        let mut table = format!("commit {}, {cores} cores of {processor}, Linux {kernel}\n", self.context.commit);
        let _ = writeln!(table, "settings {}", self.context.settings);
        let mut head: Vec<&str> = Vec::new();
        for line in &self.lines {
            let names: Vec<&str> = line.figures.iter().map(|(name, _)| *name).collect();
            if names != head {
                let _ = write!(table, "\n{:<34} {:<9}", "", "");
                names.iter().for_each(|name| {
                    let _ = write!(table, " {name:>width$}", width = width(name));
                });
                table.push('\n');
                head = names;
            }
            let _ = write!(table, "{:<34} {:<9}", line.what, line.database);
            for (name, value) in &line.figures {
                let text = match value {
                    Value::Null => "-".to_owned(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let _ = write!(table, " {text:>width$}", width = width(name));
            }
            table.push('\n');
        }
        table
    }
}

fn width(name: &str) -> usize {
    name.len().max(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_no_more_than_they_know() {
        for (value, expected) in [
            (12_345.678, json!(12_346)),
            (12.345_6, json!(12.35)),
            (0.123_456, json!(0.1235)),
            (0.0, json!(0.0)),
            (f64::NAN, Value::Null),
        ] {
            assert_eq!(figure(value), expected);
        }
    }
}
