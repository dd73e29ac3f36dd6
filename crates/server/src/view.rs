//! Views that are the API's own: where an answer is not simply what the runtime shows.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use windlass_definition::Timestamp;
use windlass_engine::entry::Record;
use windlass_runtime::LiveEntry;

/// An entry of the journal: what happened, and everything that is known of it in `data`.
#[derive(Debug, Serialize)]
pub struct JournalEntry {
    /// Counts from 1 without gaps.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in a word.
    pub kind: &'static str,
    /// The step's path; empty when it speaks of the run.
    pub path: Arc<str>,
    /// The step's id; empty when it speaks of the run.
    pub step: Arc<str>,
    /// Which attempt; 0 when that means nothing.
    pub attempt: u32,
    /// The record; null when the word says it all.
    #[serde(serialize_with = "contents")]
    pub data: Arc<Record>,
}

impl From<LiveEntry> for JournalEntry {
    fn from(entry: LiveEntry) -> JournalEntry {
        let LiveEntry { seq, at, kind, path, step, attempt, data } = entry;
        JournalEntry { seq, at, kind, path, step, attempt, data }
    }
}

/// A signal's contents, without the run-wide key that says what kind of record it is: `kind` says that already.
fn contents<S: Serializer>(record: &Arc<Record>, serializer: S) -> Result<S::Ok, S::Error> {
    match record.as_ref() {
        Record::Started(start) => start.serialize(serializer),
        Record::Step(step) => step.serialize(serializer),
        Record::Attempt(attempt) => attempt.serialize(serializer),
        Record::Decided(decision) => decision.serialize(serializer),
        Record::Finished(end) => end.serialize(serializer),
        Record::Admitted | Record::Lost | Record::Timer => serializer.serialize_unit(),
        other => Inner(other).serialize(serializer),
    }
}

/// The value inside a record that is written as `{"<kind>": {…}}`.
struct Inner<'a>(&'a Record);

impl Serialize for Inner<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = serde_json::to_value(self.0).map_err(serde::ser::Error::custom)?;
        match written {
            serde_json::Value::Object(map) => map.into_iter().next().map(|(_, inner)| inner).serialize(serializer),
            _ => serializer.serialize_unit(),
        }
    }
}
