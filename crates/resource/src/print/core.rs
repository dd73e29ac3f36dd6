//! The core's tables for people and programs, and a diagram of everything.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{edges, entity, kind_word};
use crate::{
    Column, Dialect, Kept, Table,
    ddl::{Declared, bounds},
    tables,
};

/// An entity-relationship diagram of these tables, in Mermaid. What leads to a table that is not among them, and to the
/// tenant, is left out.
pub fn mermaid_of(declared: &[Declared]) -> String {
    let mut text = String::from("erDiagram\n");
    for it in declared {
        match it {
            Declared::Record(record) => entity(&mut text, record),
            Declared::Table(table) => core_entity(&mut text, table),
        }
    }
    for it in declared {
        match it {
            Declared::Record(record) => edges(&mut text, record),
            Declared::Table(table) => core_edges(&mut text, table, declared),
        }
    }
    text
}

fn core_entity(text: &mut String, table: &Table) {
    let _ = writeln!(text, "  {} {{", table.name);
    for column in table.columns {
        let key = match column.name {
            name if table.key.contains(&name) => " PK",
            name if table.references.iter().any(|it| it.columns.contains(&name)) => " FK",
            _ => "",
        };
        let _ = writeln!(text, "    {} {}{key}", table.type_name(column, Dialect::Postgres), column.name);
    }
    let _ = writeln!(text, "  }}");
}

fn core_edges(text: &mut String, table: &Table, declared: &[Declared]) {
    for reference in table.references.iter().filter(|it| it.columns != ["tenant_key"]) {
        if !declared.iter().any(|it| it.name() == reference.to) {
            continue;
        }
        let may_be_none = reference.columns.iter().any(|name| table.column(name).is_some_and(Column::is_nullable));
        let one = if may_be_none { "|o" } else { "||" };
        // A dotted line is a reference that the program keeps.
        let line = match reference.kept {
            Kept::ByDatabase => "--",
            Kept::ByProgram => "..",
        };
        let column = reference.columns.last().copied().unwrap_or_default();
        let _ = writeln!(text, "  {} {one}{line}o{{ {} : {column}", reference.to, table.name);
    }
}

/// Everything that is declared about the core's tables, as JSON.
pub fn core_json() -> Json {
    tables::AREAS.iter().flat_map(|area| area.tables.iter().map(|table| one_json(area.name, table))).collect()
}

fn one_json(area: &str, table: &Table) -> Json {
    let column = |column: &Column| {
        json!({
            "name": column.name, "kind": kind_word(&column.kind), "doc": column.doc, "null": column.is_nullable(),
            "words": column.words(), "sqlite": table.type_name(column, Dialect::Sqlite),
            "postgres": table.type_name(column, Dialect::Postgres),
        })
    };
    json!({
        "table": table.name,
        "area": area,
        "doc": table.doc,
        "of_tenants": table.is_of_tenants(),
        "columns": table.columns.iter().map(column).collect::<Vec<_>>(),
        "key": table.key,
        "unique": table.unique.iter().map(|it| it.columns).collect::<Vec<_>>(),
        "indexes": table.indexes.iter().map(|it| json!({
            "name": it.name, "columns": it.columns, "unique": it.unique, "sqlite": it.sqlite, "postgres": it.postgres,
        })).collect::<Vec<_>>(),
        "references": table.references.iter().map(|it| json!({
            "columns": it.columns, "to": it.to, "by": it.by, "foreign_key": it.kept == Kept::ByDatabase,
        })).collect::<Vec<_>>(),
    })
}

/// The reference of the core's tables, in Markdown: what follows the reference of records.
pub fn core_markdown() -> String {
    let mut text = String::from(
        "\n# Tables of the core\n\nWritten from the declarations in `crates/resource/src/tables`. The program alone writes \
         these tables, with statements of its own. In the diagrams a dotted line is a reference that the program keeps, \
         without a foreign key; what leads to tables of other areas stands below each table. Times are to the \
         microsecond.\n",
    );
    for area in tables::AREAS {
        let declared: Vec<Declared> = area.tables.iter().map(|table| Declared::Table(table)).collect();
        let _ = write!(text, "\n## `{}`\n\n{}\n\n```mermaid\n{}```\n", area.name, area.doc, mermaid_of(&declared));
        area.tables.iter().for_each(|table| section(&mut text, table));
    }
    text
}

fn section(text: &mut String, table: &Table) {
    let _ =
        write!(text, "\n### `{}`\n\n{}\n\n| column | kind | | meaning |\n|---|---|---|---|\n", table.name, table.doc);
    for column in table.columns {
        let kind = match column.words() {
            Some(_) => format!("{}: {}", kind_word(&column.kind), bounds(&column.kind)),
            None => kind_word(&column.kind).to_owned(),
        };
        let null = if column.is_nullable() { "may be null" } else { "" };
        let _ = writeln!(text, "| `{}` | {kind} | {null} | {} |", column.name, column.doc);
    }
    let _ = write!(text, "\nKey: `{}`.", table.key.join(", "));
    for unique in table.unique {
        let _ = write!(text, " Unique: `{}`.", unique.columns.join(", "));
    }
    for reference in table.references {
        let _ = write!(text, " `{}` leads to `{}`.", reference.columns.join(", "), reference.to);
    }
    let _ = writeln!(text);
    for (at, index) in table.indexes.iter().enumerate() {
        let lead = if at == 0 { "\n" } else { "" };
        let rows = match (index.sqlite, index.postgres) {
            (Some(_), Some(condition)) => format!(" where `{condition}`"),
            _ => String::new(),
        };
        let word = if index.unique { "unique index" } else { "index" };
        let _ = writeln!(text, "{lead}- {word} `{}` on `{}`{rows}", index.name, index.columns.join(", "));
    }
}
