//! The audit of records: a row beside each change, in its transaction.
//!
//! Rows go in unchained; chaining and signing is done behind them. Invariant: no secret gets into the audit.

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;
use windlass_resource::{Column, Datum, Record, records::audit::AUDIT_ENTRIES};

use super::write::{Write, search_text};
use crate::{StoreError, database::Tx};

/// Bytes of a value that the audit keeps as it is.
const VALUE_BYTES_MAX: usize = 4_096;
/// Characters of what a request says of itself.
const HEADER_CHARS_MAX: usize = 200;
/// What every change changes.
const NOT_TOLD: &[&str] = &["id", "revision", "created_at", "created_by", "updated_at", "updated_by", "search_text"];

/// Each field that differs: `{"name": {"from": "a", "to": "b"}}`.
pub(super) fn changes(record: &Record, old: Option<&[Datum]>, new: Option<&[Datum]>) -> Json {
    let mut map = Map::new();
    for (at, column) in record.stored().into_iter().enumerate() {
        let side = |row: Option<&[Datum]>| row.and_then(|row| row.get(at)).cloned().unwrap_or(Datum::Null);
        let (from, to) = (side(old), side(new));
        if from == to || NOT_TOLD.contains(&column.name) {
            continue;
        }
        let mut change = Map::new();
        if !from.is_null() {
            change.insert("from".to_owned(), told(column, &from));
        }
        if !to.is_null() {
            change.insert("to".to_owned(), told(column, &to));
        }
        map.insert(column.name.to_owned(), Json::Object(change));
    }
    Json::Object(map)
}

fn told(column: &Column, value: &Datum) -> Json {
    if column.is_secret() {
        return Json::from("***");
    }
    let shown = column.kind.show(value);
    let bytes = shown.to_string().len();
    if bytes > VALUE_BYTES_MAX { json!(format!("({bytes} bytes)")) } else { shown }
}

/// Writes an entry.
pub(super) async fn note(
    tx: &mut Tx,
    write: &Write,
    (action, id): (&'static str, Datum),
    changes: Json,
) -> Result<(), StoreError> {
    let header = |text: &Option<String>| match text {
        Some(text) if !text.is_empty() => Datum::Text(text.chars().take(HEADER_CHARS_MAX).collect()),
        _ => Datum::Null,
    };
    let mut row = vec![Datum::Null; AUDIT_ENTRIES.stored().len()];
    let mut values = vec![
        ("id", Datum::Uuid(Uuid::now_v7())),
        ("action", Datum::Text(action.to_owned())),
        ("record", Datum::Text(write.record.name.to_owned())),
        ("record_id", id),
        ("changes", Datum::Json(changes.to_string())),
        ("request_id", header(&write.by.request_id)),
        ("user_agent", header(&write.by.user_agent)),
        ("created_at", Datum::Time(write.now)),
        ("created_by", Datum::Text(write.by.who.clone())),
    ];
    for (name, value) in &values {
        if let Some(at) = AUDIT_ENTRIES.position(name) {
            row[at] = value.clone();
        }
    }
    values.push(("search_text", Datum::Text(search_text(&AUDIT_ENTRIES, &row))));
    let statement = write.writer.insert(&AUDIT_ENTRIES, &values);
    tx.execute(statement.sql, super::row::values(statement.params)).await.map(|_| ())
}
