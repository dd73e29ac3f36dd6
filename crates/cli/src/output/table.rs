//! Tables for people: columns as wide as what is in them.

use serde_json::Value;
use windlass_definition::Timestamp;

use crate::{exit::Failure, output};

/// A table in the making.
#[derive(Debug)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub fn new(heads: &[&'static str]) -> Table {
        Table::with_heads(heads.iter().map(|head| (*head).to_owned()).collect())
    }

    /// A table with heads that are known only now.
    pub fn with_heads(heads: Vec<String>) -> Table {
        Table { heads, rows: Vec::new() }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, without trailing blanks.
    pub fn text(&self) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(console::measure_text_width(cell));
            }
        }
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| {
                let blanks = width.saturating_sub(console::measure_text_width(cell));
                format!("{cell}{}", " ".repeat(blanks))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let heads: Vec<String> = self.heads.iter().map(|head| console::style(head).bold().to_string()).collect();
        let lines = std::iter::once(line(&heads)).chain(self.rows.iter().map(|row| line(row)));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Prints it, or the sentence when it has no rows.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, when_empty: &str) -> Result<(), Failure> {
        if self.rows.is_empty() {
            output::note(when_empty);
            return Ok(());
        }
        output::line(self.text())
    }
}

/// A field of an object as a cell; empty when it is null or missing.
pub fn cell(object: &Value, key: &str) -> String {
    match object.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A point in time as a cell: to the second.
pub fn time_cell(object: &Value, key: &str) -> String {
    let text = cell(object, key);
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{}Z", seconds.trim_end_matches('Z')))
}

/// How long it took from one field to another.
pub fn took_cell(object: &Value, from: &str, to: &str) -> String {
    let at = |key: &str| object.get(key).and_then(Value::as_str).and_then(Timestamp::parse);
    match (at(from), at(to)) {
        (Some(from), Some(to)) => super::tree::span(to.since(from)),
        _ => String::new(),
    }
}

/// A status in its colour.
pub fn status(word: &str) -> String {
    let style = console::Style::new();
    let style = match word {
        "completed" | "approved" => style.green(),
        "failed" | "timed_out" | "rejected" | "expired" => style.red(),
        "running" | "claimed" => style.cyan(),
        "waiting" | "paused" | "queued" | "pending" | "compensating" | "compensated" | "cancelled" => style.yellow(),
        _ => style,
    };
    style.apply_to(word).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["long".into(), "x".into()]);
        table.row(vec!["s".into(), String::new()]);
        assert_eq!(console::strip_ansi_codes(&table.text()), "A     B\nlong  x\ns");
    }
}
