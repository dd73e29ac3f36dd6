//! The audit of records: a row beside each change, in its transaction.
//!
//! Invariant: no secret gets into the audit.

use serde_json::{Map, Value as Json, json};
use windlass_resource::{Column, Datum, Record};

use super::write::Write;
use crate::{AuditNote, StoreError, database::Tx};

/// Bytes of a value that the audit keeps as it is.
const VALUE_BYTES_MAX: usize = 4_096;
/// What every change changes.
const NOT_TOLD: &[&str] = &["id", "revision", "created_at", "created_by", "updated_at", "updated_by"];

/// Each field that differs: `{"name": {"from": "a", "to": "b"}}`.
pub(super) fn changes(record: &Record, old: Option<&[Datum]>, new: Option<&[Datum]>) -> Json {
    let mut map = Map::new();
    for (at, column) in record.stored().into_iter().enumerate() {
        let side = |row: Option<&[Datum]>| row.and_then(|row| row.get(at)).cloned().unwrap_or(Datum::Null);
        let (from, to) = (side(old), side(new));
        if from == to || column.internal || NOT_TOLD.contains(&column.name) {
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
    (subject, changes): (Option<String>, Json),
) -> Result<(), StoreError> {
    let note = AuditNote {
        action,
        record: write.record.name,
        record_id: id.as_uuid(),
        subject,
        changes,
        by: write.by.clone(),
        at: write.now,
    };
    note.write(tx, write.writer.tenant).await
}

/// What people call a row: the first of its texts that has a usual name for that.
pub(super) fn subject(record: &Record, row: &[Datum]) -> Option<String> {
    let names = ["name", "title", "slug", "key"].into_iter();
    let column =
        names.filter_map(|name| record.column(name)).find(|column| column.is_shown() && !column.is_secret())?;
    super::row::get(record, row, column.name).as_text().map(str::to_owned)
}
