//! What the journal's payload column holds: a record as JSON, its large values kept apart as blobs.
//!
//! An ordinary payload is `{"<kind>": …}`. One with large values is `{"apart": {"<place>": {hash, bytes, preview}},
//! "record": {…}}`, with null in the record where they were: no value of a user can be taken for that.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use windlass_definition::Value;
use windlass_engine::{
    entry::Record,
    event::{ChildResult, Settlement},
};

/// Characters of a large value that the journal itself shows.
const PREVIEW_CHARS: usize = 200;

/// A value that is kept apart from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// SHA-256 of the value's JSON.
    pub(crate) hash: [u8; 32],
    /// Bytes of the value's JSON.
    pub(crate) raw_bytes: usize,
    /// It, compressed.
    pub(crate) compressed: Vec<u8>,
}

/// Where a value was, and what the journal says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Apart {
    /// SHA-256 of the value's JSON, in hexadecimal.
    pub(crate) hash: String,
    /// Bytes of the value's JSON.
    pub(crate) bytes: usize,
    /// Its first characters.
    pub(crate) preview: String,
}

#[derive(Serialize)]
struct SplitOut<'a> {
    apart: &'a BTreeMap<String, Apart>,
    record: &'a Record,
}

#[derive(Deserialize)]
struct SplitIn {
    apart: BTreeMap<String, Apart>,
    record: Record,
}

/// A record that was read, and the values that it still lacks.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) record: Record,
    pub(crate) apart: BTreeMap<String, Apart>,
}

/// Writes a record; values of at least `apart_from` bytes go to `blobs`.
pub(crate) fn encode(record: &Record, apart_from: usize, blobs: &mut Vec<Blob>) -> Vec<u8> {
    let bytes = json(record);
    if bytes.len() < apart_from {
        return bytes;
    }
    let mut record = record.clone();
    let mut apart = BTreeMap::new();
    for (place, value) in values(&mut record) {
        let bytes = json(value);
        if bytes.len() < apart_from {
            continue;
        }
        // What cannot be compressed stays where it is.
        let Ok(compressed) = windlass_store::blobs::compress(&bytes) else { continue };
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let preview = String::from_utf8_lossy(&bytes[..bytes.len().min(PREVIEW_CHARS * 4)]);
        let preview = preview.chars().take(PREVIEW_CHARS).collect();
        apart.insert(place.to_owned(), Apart { hash: hex::encode(hash), bytes: bytes.len(), preview });
        blobs.push(Blob { hash, raw_bytes: bytes.len(), compressed });
        *value = Value::Null;
    }
    if apart.is_empty() { bytes } else { json(&SplitOut { apart: &apart, record: &record }) }
}

/// Reads a record; what was kept apart is null until [`fill`] puts it in.
pub(crate) fn decode(payload: &[u8]) -> Result<Decoded, serde_json::Error> {
    // Records are many and split ones are few: the first byte of the first key tells them apart.
    if payload.starts_with(br#"{"apart""#) {
        let SplitIn { apart, record } = deep(payload)?;
        return Ok(Decoded { record, apart });
    }
    Ok(Decoded { record: deep(payload)?, apart: BTreeMap::new() })
}

/// Puts the values in that were kept apart; `find` gives the bytes of a hash.
pub(crate) fn fill<E: From<serde_json::Error>>(
    decoded: Decoded,
    mut find: impl FnMut(&str) -> Result<Arc<[u8]>, E>,
) -> Result<Record, E> {
    let Decoded { mut record, apart } = decoded;
    if !apart.is_empty() {
        for (place, value) in values(&mut record) {
            if let Some(it) = apart.get(place) {
                *value = deep(&find(&it.hash)?)?;
            }
        }
    }
    Ok(record)
}

/// Reads JSON however deep it is: what was written by us reads back. Only threads with a large stack come here.
pub(crate) fn deep<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.disable_recursion_limit();
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// JSON of something that always has a JSON form.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Everything written here has text keys and no failing serialiser of its own.
    serde_json::to_vec(value).unwrap_or_default()
}

/// About how many bytes a value has as JSON; no more than a look at it.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::List(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Map(map) => 2 + map.iter().map(|(key, value)| key.as_text().len() + size(value) + 4).sum::<usize>(),
        _ => 8,
    }
}

/// The values of a record that may be large, with the names of their places.
fn values(record: &mut Record) -> Vec<(&'static str, &mut Value)> {
    match record {
        Record::Started(start) => vec![("input", &mut start.input)],
        Record::Step(step) => {
            let error = step.error.as_mut().map(|error| ("error", &mut error.details));
            [("input", &mut step.input), ("output", &mut step.output)].into_iter().chain(error).collect()
        }
        Record::Attempt(attempt) => vec![("error", &mut attempt.error.details)],
        Record::Signal { payload, .. } => vec![("payload", payload)],
        Record::Decided(decision) => vec![("form", &mut decision.form)],
        Record::Child { result: ChildResult::Completed(output), .. } => vec![("output", output)],
        Record::Child { result: ChildResult::Failed(_, error), .. } => vec![("error", &mut error.details)],
        Record::Event { event, .. } => vec![("event", event)],
        Record::Settled { settlement: Settlement::Completed(output), .. } => vec![("output", output)],
        Record::Compensating { error } => vec![("error", &mut error.details)],
        Record::Finished(end) => {
            let error = end.error.as_mut().map(|error| ("error", &mut error.details));
            std::iter::once(("output", &mut end.output)).chain(error).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use windlass_engine::{entry::StepRecord, status::StepStatus};

    use super::*;

    fn step(output: Value) -> Record {
        Record::Step(StepRecord {
            type_name: "bench".into(),
            status: StepStatus::Completed,
            started_at: None,
            input: Value::Null,
            output,
            error: None,
            skipped_by: None,
            unknown: false,
        })
    }

    fn read_back(payload: &[u8], blobs: &[Blob]) -> Record {
        let find = |hash: &str| -> Result<Arc<[u8]>, serde_json::Error> {
            let blob = blobs.iter().find(|blob| hex::encode(blob.hash) == hash).unwrap();
            let raw_bytes = i64::try_from(blob.raw_bytes).unwrap();
            Ok(windlass_store::blobs::decompress(&blob.compressed, raw_bytes).unwrap().into())
        };
        fill(decode(payload).unwrap(), find).unwrap()
    }

    #[test]
    fn small_values_stay_and_large_ones_go_apart() {
        let small = step(Value::string("x"));
        let large = step(Value::string("y".repeat(5_000)));
        for (record, apart) in [(small, 0), (large, 1), (Record::Lost, 0), (Record::Timer, 0)] {
            let mut blobs = Vec::new();
            let payload = encode(&record, 1_000, &mut blobs);
            assert_eq!(blobs.len(), apart);
            assert!(payload.len() < 1_000);
            assert_eq!(read_back(&payload, &blobs), record);
        }
    }

    #[test]
    fn what_is_deeper_than_parsers_like_reads_back() {
        let deep_value = (0..1_000).fold(Value::Null, |inner, _| Value::list([inner]));
        let payload = encode(&step(deep_value.clone()), 1 << 20, &mut Vec::new());
        assert_eq!(read_back(&payload, &[]), step(deep_value));
    }
}
