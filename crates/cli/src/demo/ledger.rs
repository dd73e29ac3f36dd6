//! The shop's ledger: which effects really happened, by idempotency key.
//!
//! Invariant: an effect is on disk before anyone is told of it, and each key has at most one. A key that comes again
//! gets the first answer; it is counted, and nothing happens.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::Path,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happened once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Effect {
    /// The idempotency key it was asked for under.
    pub key: String,
    /// What kind: `charge`, `hold`.
    pub kind: String,
    /// What was asked for.
    pub body: Value,
    /// What was answered.
    pub answer: Value,
    /// When.
    pub at: String,
    /// How often it was asked for; 1 unless the key came again.
    #[serde(default = "once", skip_deserializing)]
    pub seen: u64,
}

fn once() -> u64 {
    1
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// It happened.
    Effect(Effect),
    /// It was asked for again, and nothing happened.
    Repeat {
        /// Under this key.
        key: String,
    },
}

/// What became of a request to the ledger.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// It happened now; this is the answer.
    Now(Value),
    /// It had happened before; this was the answer.
    Before(Value),
    /// The key was used for something else.
    KeyReused,
}

/// Counts over the whole ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Effects that happened.
    pub effects: u64,
    /// Requests whose key had come before.
    pub repeats: u64,
    /// Effects by kind.
    pub by_kind: BTreeMap<String, u64>,
}

/// The ledger, open for appending.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    effects: Vec<Effect>,
    by_key: HashMap<String, usize>,
}

impl Ledger {
    /// Opens a ledger, making it when there is none. A last line that was not finished is cut off: nobody was told of it.
    ///
    /// # Errors
    /// The file cannot be read or written, or is no ledger.
    pub fn open(path: &Path) -> io::Result<Ledger> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut ledger = Ledger { file, effects: Vec::new(), by_key: HashMap::new() };
        let whole_bytes = ledger.load()?;
        ledger.file.set_len(whole_bytes)?;
        ledger.file.sync_all()?;
        Ok(ledger)
    }

    /// Reads the file; gives how many bytes of it are whole lines.
    fn load(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(self.file.try_clone()?);
        let (mut whole_bytes, mut text) = (0, Vec::new());
        loop {
            text.clear();
            let count = reader.read_until(b'\n', &mut text)?;
            if count == 0 || !text.ends_with(b"\n") {
                return Ok(whole_bytes);
            }
            let line = serde_json::from_slice(&text).map_err(|err| {
                io::Error::new(io::ErrorKind::InvalidData, format!("not a ledger: byte {whole_bytes}: {err}"))
            })?;
            self.remember(line);
            whole_bytes += count as u64;
        }
    }

    fn remember(&mut self, line: Line) {
        match line {
            Line::Effect(effect) => {
                self.by_key.insert(effect.key.clone(), self.effects.len());
                self.effects.push(effect);
            }
            Line::Repeat { key } => {
                if let Some(at) = self.by_key.get(&key) {
                    self.effects[*at].seen += 1;
                }
            }
        }
    }

    /// Records an effect under its key unless that has one; `answer` makes the answer from the effect's number.
    ///
    /// # Errors
    /// The disk refused; nothing happened.
    pub fn record(&mut self, wanted: Wanted, answer: impl FnOnce(usize) -> Value) -> io::Result<Recorded> {
        if let Some(at) = self.by_key.get(&wanted.key) {
            let first = &self.effects[*at];
            if first.kind != wanted.kind || first.body != wanted.body {
                return Ok(Recorded::KeyReused);
            }
            let answer = first.answer.clone();
            let line = Line::Repeat { key: wanted.key };
            self.append(&line)?;
            self.remember(line);
            return Ok(Recorded::Before(answer));
        }
        let answer = answer(self.effects.len() + 1);
        let Wanted { key, kind, body, at } = wanted;
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let line = Line::Effect(Effect { key, kind: kind.to_owned(), body, answer: answer.clone(), at, seen: 1 });
        self.append(&line)?;
        self.file.sync_data()?;
        self.remember(line);
        Ok(Recorded::Now(answer))
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }

    /// Every effect, in the order in which they happened.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Counts over the whole ledger.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for effect in &self.effects {
            counts.effects += 1;
            counts.repeats += effect.seen - 1;
            *counts.by_kind.entry(effect.kind.clone()).or_default() += 1;
        }
        counts
    }
}

/// An effect that somebody asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The idempotency key.
    pub key: String,
    /// What kind.
    pub kind: &'static str,
    /// What is asked for.
    pub body: Value,
    /// When.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(key: &str, amount: i64) -> Wanted {
        Wanted { key: key.into(), kind: "charge", body: json!({ "amount": amount }), at: DateTime::UNIX_EPOCH }
    }

    fn record(ledger: &mut Ledger, key: &str, amount: i64) -> Recorded {
        ledger.record(wanted(key, amount), |number| json!(format!("ch_{number}"))).unwrap()
    }

    #[test]
    fn a_key_happens_once_also_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(record(&mut ledger, "a", 1), Recorded::Now(json!("ch_1")));
        assert_eq!(record(&mut ledger, "b", 2), Recorded::Now(json!("ch_2")));
        assert_eq!(record(&mut ledger, "a", 1), Recorded::Before(json!("ch_1")));
        assert_eq!(record(&mut ledger, "a", 7), Recorded::KeyReused);

        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(record(&mut ledger, "a", 1), Recorded::Before(json!("ch_1")));
        let counts = ledger.counts();
        assert_eq!((counts.effects, counts.repeats), (2, 2));
        assert_eq!(ledger.effects()[0].seen, 3);
    }

    #[test]
    fn an_unfinished_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        record(&mut Ledger::open(&path).unwrap(), "a", 1);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"effect\":{\"key\":\"b\"").unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.counts().effects, 1);
        assert_eq!(record(&mut ledger, "b", 1), Recorded::Now(json!("ch_2")));
        assert_eq!(Ledger::open(&path).unwrap().counts().effects, 2);
    }

    #[test]
    fn another_file_is_not_a_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        std::fs::write(&path, "hello\n").unwrap();
        assert!(Ledger::open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello\n");
    }
}
