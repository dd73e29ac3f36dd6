//! Rows of records: from the database to a descriptor's values, and on to JSON.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use windlass_resource::{Datum, Dialect as ResourceDialect, Kind, Record};

use crate::{
    StoreError,
    database::{Dialect, Row, Value},
};

impl From<Dialect> for ResourceDialect {
    fn from(dialect: Dialect) -> ResourceDialect {
        match dialect {
            Dialect::Sqlite => ResourceDialect::Sqlite,
            Dialect::Postgres => ResourceDialect::Postgres,
        }
    }
}

impl From<Datum> for Value {
    fn from(datum: Datum) -> Value {
        match datum {
            Datum::Null => Value::Null,
            Datum::Bool(value) => Value::Bool(value),
            Datum::Int(number) => Value::Int(number),
            Datum::Text(text) => Value::Text(Arc::from(text)),
            Datum::Bytes(bytes) => Value::Bytes(bytes),
            Datum::Uuid(uuid) => Value::Uuid(uuid),
            Datum::Time(at) => Value::Time(at),
            Datum::Json(text) => Value::Json(Arc::from(text)),
        }
    }
}

/// Parameters as the database layer takes them.
pub(super) fn values(params: Vec<Datum>) -> Vec<Value> {
    params.into_iter().map(Value::from).collect()
}

/// A row of [`Record::stored`].
pub(super) fn read(record: &Record, row: &Row) -> Result<Vec<Datum>, StoreError> {
    let columns = record.stored();
    columns.iter().enumerate().map(|(at, column)| datum(&column.stored_kind(), row, at)).collect()
}

fn datum(kind: &Kind, row: &Row, at: usize) -> Result<Datum, StoreError> {
    if row.is_null(at) {
        return Ok(Datum::Null);
    }
    Ok(match kind {
        Kind::Text { .. } | Kind::Enum { .. } | Kind::State { .. } | Kind::Date => Datum::Text(row.string(at)?),
        Kind::Integer { .. } | Kind::Decimal { .. } => Datum::Int(row.int(at)?),
        Kind::Boolean => Datum::Bool(row.bool(at)?),
        Kind::Timestamp => Datum::Time(row.time(at)?),
        Kind::Json { .. } => Datum::Json(row.string(at)?),
        Kind::Bytes { .. } => Datum::Bytes(row.bytes(at)?),
        Kind::Id | Kind::Reference { .. } => Datum::Uuid(row.uuid(at)?),
    })
}

/// A row as answers show it: without secrets and what is the program's alone.
pub fn show(record: &Record, row: &[Datum]) -> Json {
    let columns = record.stored().into_iter().zip(row).filter(|(column, _)| column.is_shown());
    let fields = columns.map(|(column, value)| (column.name.to_owned(), column.kind.show(value)));
    Json::Object(fields.collect::<Map<_, _>>())
}

/// A value of a row by its column's name; null where there is no such column.
pub(super) fn get<'a>(record: &Record, row: &'a [Datum], name: &str) -> &'a Datum {
    record.position(name).and_then(|at| row.get(at)).unwrap_or(&Datum::Null)
}

pub(super) fn is_deleted(record: &Record, row: &[Datum]) -> bool {
    !get(record, row, "deleted_at").is_null()
}

pub(super) fn revision(record: &Record, row: &[Datum]) -> Option<i64> {
    get(record, row, "revision").as_int()
}
