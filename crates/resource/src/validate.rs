//! What callers send, checked against a descriptor: all that is wrong at once.
//!
//! Invariant: what comes out of here fits into its columns; nothing else may be written.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{Access, Column, Datum, Effect, Kind, Record, Transition};

/// Names that are near enough to be meant.
const NEAR: f64 = 0.7;

/// One thing that is wrong with what was sent, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// RFC 6901 pointer into the body; empty for the whole of it.
    pub pointer: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl FieldError {
    /// Something about a field.
    pub fn of(field: &str, message: impl Into<String>) -> FieldError {
        let pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
        FieldError { pointer, message: message.into() }
    }

    fn whole(message: impl Into<String>) -> FieldError {
        FieldError { pointer: String::new(), message: message.into() }
    }
}

/// Columns and what they get.
pub type Values = Vec<(&'static Column, Datum)>;

/// Reads the body of a new row: a value for each of the record's own columns, defaults filled in.
///
/// # Errors
/// Everything that is wrong with it.
pub fn create(record: &Record, body: &Json) -> Result<Values, Vec<FieldError>> {
    create_with(record, body, |column| column.access != Access::ReadOnly)
}

/// Reads a new row that the program writes: it may set what callers may not, but for the state.
///
/// # Errors
/// Everything that is wrong with it.
pub fn create_by_program(record: &Record, body: &Json) -> Result<Values, Vec<FieldError>> {
    let own = |column: &Column| record.columns.iter().any(|other| other.name == column.name);
    create_with(record, body, |column| own(column) && !matches!(column.kind, Kind::State { .. }))
}

fn create_with(record: &Record, body: &Json, may: impl Fn(&Column) -> bool) -> Result<Values, Vec<FieldError>> {
    let mut errors = Vec::new();
    let map = object(body, &mut errors);
    unknown(
        record,
        map,
        &mut errors,
        |column| {
            if may(column) { Ok(()) } else { Err("is set by the program; leave it out") }
        },
    );
    let mut values = Vec::new();
    for column in record.columns {
        let given = map.get(column.name).filter(|_| may(column));
        match given {
            Some(Json::Null) if !column.is_nullable() => errors.push(FieldError::of(column.name, "must not be null")),
            Some(Json::Null) => values.push((column, Datum::Null)),
            Some(json) => match column.kind.read(json) {
                Ok(datum) => values.push((column, datum)),
                Err(message) => errors.push(FieldError::of(column.name, message)),
            },
            None if column.required && !column.generated && may(column) => {
                errors.push(FieldError::of(column.name, "is needed"))
            }
            // A descriptor whose default does not fit is found by the check of descriptors.
            None => values.push((column, column.default_datum().unwrap_or(Datum::Null))),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// Reads the body of a change: the columns that it names, and what they get.
///
/// # Errors
/// Everything that is wrong with it.
pub fn update(record: &Record, body: &Json) -> Result<Values, Vec<FieldError>> {
    let mut errors = Vec::new();
    let map = object(body, &mut errors);
    unknown(record, map, &mut errors, |column| match column.access {
        Access::Editable => Ok(()),
        Access::WriteOnce => Err("never changes once it is set; leave it out"),
        Access::ReadOnly => Err("is set by the program; leave it out"),
    });
    let mut values = Vec::new();
    for column in record.columns.iter().filter(|column| column.access == Access::Editable) {
        if let Some(json) = map.get(column.name) {
            read(column, json, &mut values, &mut errors);
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// Reads the body of a transition: what its effects take.
///
/// # Errors
/// Everything that is wrong with it.
pub fn transition(record: &Record, transition: &Transition, body: &Json) -> Result<Values, Vec<FieldError>> {
    let mut errors = Vec::new();
    let map = object(body, &mut errors);
    let taken = taken(record, transition);
    for name in map.keys() {
        if !taken.iter().any(|(column, _)| column.name == *name) {
            let names: Vec<&str> = taken.iter().map(|(column, _)| column.name).collect();
            errors.push(FieldError::of(name, unknown_message(name, &names, transition.verb)));
        }
    }
    let mut values = Vec::new();
    for (column, needed) in taken {
        match map.get(column.name) {
            Some(Json::Null) | None if needed => errors.push(FieldError::of(column.name, "is needed")),
            None => {}
            Some(json) => read(column, json, &mut values, &mut errors),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// The columns that a transition's body may have, and whether it must.
pub fn taken(record: &Record, transition: &Transition) -> Vec<(&'static Column, bool)> {
    let taken = transition.effects.iter().filter_map(|effect| match effect {
        Effect::Take(name) => Some((*name, false)),
        Effect::Demand(name) => Some((*name, true)),
        _ => None,
    });
    taken.filter_map(|(name, needed)| record.column(name).map(|column| (column, needed))).collect()
}

fn read(column: &'static Column, json: &Json, values: &mut Values, errors: &mut Vec<FieldError>) {
    match json {
        Json::Null if column.is_nullable() => values.push((column, Datum::Null)),
        Json::Null => errors.push(FieldError::of(column.name, "must not be null")),
        json => match column.kind.read(json) {
            Ok(datum) => values.push((column, datum)),
            Err(message) => errors.push(FieldError::of(column.name, message)),
        },
    }
}

fn object<'a>(body: &'a Json, errors: &mut Vec<FieldError>) -> &'a Map<String, Json> {
    static NONE: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
    match body {
        Json::Object(map) => map,
        _ => {
            errors.push(FieldError::whole("must be an object"));
            &NONE
        }
    }
}

/// Refuses fields that the record does not have, and those that the caller may not set.
fn unknown(
    record: &Record,
    map: &Map<String, Json>,
    errors: &mut Vec<FieldError>,
    may: impl Fn(&Column) -> Result<(), &'static str>,
) {
    for name in map.keys() {
        match record.stored().into_iter().find(|column| column.name == *name && !column.internal) {
            Some(column) => {
                if let Err(message) = may(column) {
                    let state = matches!(column.kind, Kind::State { .. });
                    let message = if state { "is changed by the record's transitions alone" } else { message };
                    errors.push(FieldError::of(name, message));
                }
            }
            None => {
                let settable = record.columns.iter().filter(|column| may(column).is_ok());
                let names: Vec<&str> = settable.map(|column| column.name).collect();
                errors.push(FieldError::of(name, unknown_message(name, &names, record.noun)));
            }
        }
    }
}

/// What is said of a name that is none, with the nearest that is one.
pub(crate) fn unknown_message(name: &str, known: &[&str], of: &str) -> String {
    let nearest = known.iter().map(|it| (strsim::jaro_winkler(name, it), *it)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, it)) if likeness >= NEAR => format!("is no field of `{of}`; did you mean `{it}`?"),
        _ if known.is_empty() => format!("is no field of `{of}`, which has none"),
        _ => format!("is no field of `{of}`; there are {}", known.join(", ")),
    }
}
