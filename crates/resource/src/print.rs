//! The whole schema for people and programs: a diagram, JSON, and the reference page.

mod core;

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::{
    Access, Column, Deletion, Dialect, Kind, OnDelete, Operation, Ownership, Record, Retention, Secrecy,
    ddl::{bounds, type_name},
    openapi, schema,
};

pub use core::{core_json, core_markdown, mermaid_of};

/// An entity-relationship diagram of these records, in Mermaid.
pub fn mermaid(records: &[&Record]) -> String {
    let mut text = String::from("erDiagram\n");
    records.iter().for_each(|record| entity(&mut text, record));
    records.iter().for_each(|record| edges(&mut text, record));
    text
}

fn entity(text: &mut String, record: &Record) {
    let _ = writeln!(text, "  {} {{", record.name);
    for column in record.stored() {
        let key = match column.kind {
            _ if column.name == "id" => " PK",
            Kind::Reference { .. } => " FK",
            _ => "",
        };
        let _ = writeln!(text, "    {} {}{key}", type_name(&column.kind, Dialect::Postgres), column.name);
    }
    let _ = writeln!(text, "  }}");
}

fn edges(text: &mut String, record: &Record) {
    for (column, to, _) in record.references() {
        let one = if column.is_nullable() { "|o" } else { "||" };
        let _ = writeln!(text, "  {to} {one}--o{{ {} : {}", record.name, column.name);
    }
}

/// Everything that is declared about these records, as JSON.
pub fn to_json(records: &[&Record]) -> Json {
    records.iter().map(|record| one_json(record)).collect()
}

fn one_json(record: &Record) -> Json {
    let columns: Vec<Json> = record.stored().into_iter().map(column_json).collect();
    let transitions: Vec<Json> = record
        .transitions
        .iter()
        .map(|it| {
            json!({
                "verb": it.verb, "from": it.from, "to": it.to, "doc": it.doc,
                "guards": it.guards.iter().map(|guard| guard.words()).collect::<Vec<_>>(),
                "effects": it.effects.iter().map(|effect| effect.words()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let operations: Vec<Json> = record
        .operations()
        .into_iter()
        .map(|it| {
            json!({"verb": it.verb(), "method": openapi::method(it).to_uppercase(), "path": openapi::path(record, it),
                   "permission": record.permission(it)})
        })
        .collect();
    json!({
        "record": record.name,
        "noun": record.noun,
        "area": record.area.name,
        "doc": record.doc,
        "global": record.ownership == Ownership::Global,
        "soft_delete": record.deletion == Deletion::Soft,
        "retention_days": match record.retention { Retention::Kept => None, Retention::Days(days) => Some(days) },
        "columns": columns,
        "unique": record.unique.iter().map(|it| it.0).collect::<Vec<_>>(),
        "indexes": record.indexes.iter().map(|it| it.0).collect::<Vec<_>>(),
        "transitions": transitions,
        "operations": operations,
        "form": schema::form(record),
    })
}

fn column_json(column: &Column) -> Json {
    let kind = kind_word(&column.kind);
    let reference = match column.kind {
        Kind::Reference { to, on_delete } => json!({"to": to, "on_delete": match on_delete {
            OnDelete::Restrict => "restrict",
            OnDelete::Cascade => "cascade",
            OnDelete::SetNull => "set_null",
        }}),
        _ => Json::Null,
    };
    json!({
        "name": column.name, "kind": kind, "doc": column.doc, "null": column.is_nullable(),
        "bounds": bounds(&column.kind), "reference": reference, "access": access(column),
        "secret": column.is_secret(), "searchable": column.searchable, "deprecated": column.deprecated,
        "sqlite": type_name(&column.kind, Dialect::Sqlite), "postgres": type_name(&column.kind, Dialect::Postgres),
    })
}

fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text { .. } => "text",
        Kind::Integer { .. } => "integer",
        Kind::Decimal { .. } => "decimal",
        Kind::Boolean => "boolean",
        Kind::Timestamp => "timestamp",
        Kind::Date => "date",
        Kind::Json { .. } => "json",
        Kind::Bytes { .. } => "bytes",
        Kind::Id => "id",
        Kind::Reference { .. } => "reference",
        Kind::Enum { .. } => "enum",
        Kind::State { .. } => "state",
    }
}

fn access(column: &Column) -> &'static str {
    match column.access {
        _ if column.internal => "internal",
        Access::Editable => "editable",
        Access::WriteOnce => "write_once",
        Access::ReadOnly => "read_only",
    }
}

/// The reference page of these records, in Markdown.
pub fn markdown(records: &[&Record]) -> String {
    let mut text = String::from(
        "# Records\n\nWritten from the descriptors in `crates/resource/src/records`; a test compares the two. Do not \
         edit. `docs/records.md` shows how to declare one.\n\nEvery table that a tenant owns has `tenant_key` first in \
         its keys. `windlass db schema` prints the statements that make the tables.\n",
    );
    let mut area = "";
    for record in records {
        if record.area.name != area {
            area = record.area.name;
            let of_area: Vec<&Record> = records.iter().copied().filter(|other| other.area.name == area).collect();
            let _ = write!(text, "\n## `{area}`\n\n{}\n\n```mermaid\n{}```\n", record.area.doc, mermaid(&of_area));
        }
        section(&mut text, record);
    }
    text
}

fn section(text: &mut String, record: &Record) {
    let _ = write!(text, "\n### `{}`\n\n{}\n\n", record.name, record.doc);
    let _ = writeln!(text, "| column | kind | | meaning |\n|---|---|---|---|");
    for column in record.stored().into_iter().filter(|column| !column.internal) {
        let _ =
            writeln!(text, "| `{}` | {} | {} | {} |", column.name, kind_cell(column), flags(column), meaning(column));
    }
    let _ = writeln!(text);
    for unique in record.unique {
        let names: Vec<String> = unique.0.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "- No two have the same {}.", names.join(" and "));
    }
    if record.deletion == Deletion::Soft {
        let restorable = record.operations().iter().any(|it| matches!(it, Operation::Restore));
        let becomes = if restorable { "can be restored for" } else { "is hidden, and cleared away after" };
        let _ = writeln!(text, "- A deleted one {becomes} {} days.", crate::record::DELETED_DAYS);
    }
    if let Retention::Days(days) = record.retention {
        let _ = writeln!(text, "- It is kept for {days} days.");
    }
    for transition in record.transitions {
        let mut more: Vec<String> = transition.guards.iter().map(|guard| guard.words()).collect();
        more.extend(transition.effects.iter().map(|effect| effect.words()));
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
        let from = transition.from.join(", ");
        let _ = writeln!(text, "- `{}`: {from} → {}. {}{more}", transition.verb, transition.to, transition.doc);
    }
    let _ = writeln!(text, "\n| route | permission | |\n|---|---|---|");
    for operation in record.operations() {
        let (method, path) = (openapi::method(operation).to_uppercase(), openapi::path(record, operation));
        let permission = record.permission(operation);
        let _ = writeln!(text, "| `{method} {path}` | `{permission}` | {} |", openapi::summary(record, operation));
    }
    for example in record.examples {
        let _ = write!(text, "\n```json\n{example}\n```\n");
    }
}

fn kind_cell(column: &Column) -> String {
    let bounds = bounds(&column.kind);
    let word = kind_word(&column.kind);
    if bounds.is_empty() || column.access == Access::ReadOnly && column.words().is_none() {
        word.to_owned()
    } else {
        format!("{word}: {bounds}")
    }
}

fn flags(column: &Column) -> String {
    let mut words = Vec::new();
    words.extend((column.required && column.access != Access::ReadOnly).then_some("required"));
    words.extend((column.access == Access::WriteOnce).then_some("never changes"));
    words.extend((column.access == Access::ReadOnly).then_some("set by the program"));
    words.extend(match column.secrecy {
        Secrecy::Shown => None,
        Secrecy::Sealed => Some("sealed, never shown"),
        Secrecy::Hashed => Some("only its hash is kept, never shown"),
    });
    words.extend(column.searchable.then_some("searched"));
    words.join(", ")
}

fn meaning(column: &Column) -> String {
    match column.deprecated {
        None => column.doc.to_owned(),
        Some(instead) => format!("{} Deprecated: {instead}", column.doc),
    }
}
