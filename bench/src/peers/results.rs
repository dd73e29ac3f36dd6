//! A file of results: a line of JSON per measurement, appended as soon as it is known.
//!
//! Invariant: of two lines about the same thing the later one counts, so a measurement is repeated by appending.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::report::{Context, Figures};

/// What a line says about a peer before it is measured.
pub const BEGUN: &str = "begun";
/// What a line says about a peer when all of it was measured.
pub const ENDED: &str = "ended";
/// What a line says about a peer that could not be measured to its end.
pub const FAILED: &str = "failed";

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Of whom; `machine` for the limits.
    pub peer: String,
    /// Where it keeps its state.
    pub database: String,
    /// The figures by name, and the commit, machine and settings.
    #[serde(flatten)]
    pub figures: Map<String, Value>,
}

impl Line {
    /// A figure, if it was measured.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64()
    }

    /// A text, if there is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.figures.get(name)?.as_str()
    }
}

/// A file of results.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    context: Map<String, Value>,
}

impl Results {
    /// A file to which lines are appended, with that context on each.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(path: &Path, context: &Context) -> Result<Results> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let Value::Object(context) = serde_json::to_value(context)? else { unreachable!("a struct is an object") };
        Ok(Results { path: path.to_owned(), context })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&self, what: &str, (peer, database): (&str, &str), figures: Figures) -> Result<()> {
        let mut all: Map<String, Value> = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.extend(self.context.clone());
        let (what, peer, database) = (what.to_owned(), peer.to_owned(), database.to_owned());
        let mut json = serde_json::to_string(&Line { what, peer, database, figures: all })?;
        json.push('\n');
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(json.as_bytes()));
        written.with_context(|| format!("failed to write {}", self.path.display()))
    }

    /// Whether the file already has that, measured on the same commit with the same settings.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn has(&self, what: &str, (peer, database): (&str, &str)) -> Result<bool> {
        let same = |line: &Line| self.context.iter().all(|(name, value)| line.figures.get(name) == Some(value));
        let wanted = |line: &&Line| line.what == what && line.peer == peer && line.database == database;
        Ok(read(&self.path)?.iter().filter(wanted).any(same))
    }
}

/// The lines of a file in the order in which their subjects first appear, each as it was last measured. What a peer
/// failed at counts no more once it has ended.
///
/// # Errors
/// The file cannot be read, or a line of it is no measurement.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    latest(&text).with_context(|| format!("{} is wrong", path.display()))
}

fn latest(text: &str) -> Result<Vec<Line>> {
    let mut lines: Vec<Option<Line>> = Vec::new();
    let mut known: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for (number, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line: Line = serde_json::from_str(text).with_context(|| format!("line {}", number + 1))?;
        let key = |what: &str| (line.peer.clone(), line.database.clone(), what.to_owned());
        let contrary = match line.what.as_str() {
            ENDED => Some(FAILED),
            FAILED => Some(ENDED),
            _ => None,
        };
        if let Some(at) = contrary.and_then(|what| known.remove(&key(what))) {
            lines[at] = None;
        }
        let at = *known.entry(key(&line.what)).or_insert(lines.len());
        if at == lines.len() { lines.push(Some(line)) } else { lines[at] = Some(line) }
    }
    Ok(lines.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::machine::Machine;

    fn context(commit: &str) -> Context {
        Context { commit: commit.to_owned(), machine: Machine::here(), settings: json!({ "seconds": 1 }) }
    }

    #[test]
    fn what_was_measured_again_takes_the_place_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.jsonl");
        let results = Results::open(&path, &context("a")).unwrap();
        let dbos = ("dbos", "sqlite");
        results.add("start", dbos, vec![("empty_ms", json!(5))]).unwrap();
        results.add(FAILED, dbos, vec![("why", json!("it hung"))]).unwrap();
        results.add("start", ("dbos", "postgres"), vec![("empty_ms", json!(6))]).unwrap();
        results.add("start", dbos, vec![("empty_ms", json!(7))]).unwrap();
        let told = || -> Vec<String> {
            let tell = |line: &Line| format!("{} {} {:?}", line.what, line.database, line.number("empty_ms"));
            read(&path).unwrap().iter().map(tell).collect()
        };
        assert_eq!(told(), ["start sqlite Some(7.0)", "failed sqlite None", "start postgres Some(6.0)"]);
        results.add(ENDED, dbos, vec![]).unwrap();
        assert_eq!(told(), ["start sqlite Some(7.0)", "start postgres Some(6.0)", "ended sqlite None"]);
        assert!(results.has(ENDED, dbos).unwrap());
        assert!(!results.has(ENDED, ("dbos", "postgres")).unwrap());
        assert!(!Results::open(&path, &context("b")).unwrap().has(ENDED, dbos).unwrap(), "another commit");
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        let error = latest("\n{\"what\":\"a\",\"peer\":\"b\",\"database\":\"c\"}\n{}\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3");
        assert!(read(Path::new("/nowhere/results.jsonl")).unwrap().is_empty());
    }
}
