//! The statements that make a table of the core.

use std::fmt::Write as _;

use super::{StoredColumn, literal, words_chain};
use crate::{Column, Dialect, Kept, Kind, Rows, Table};

/// The statements that make a table of the core and its indexes.
pub fn create_core_table(table: &Table, dialect: Dialect) -> String {
    let mut text = format!(
        "create table {} (\n  {}\n){};\n",
        table.name,
        lines(table, dialect).join(",\n  "),
        tail(table, dialect)
    );
    // What is a string takes whatever is written to it.
    let partition = table.partitions.filter(|_| dialect == Dialect::Postgres);
    if let Some(partition) = partition {
        let _ = writeln!(text, "create table {} partition of {} default;", partition.default, table.name);
    }
    for index in table.indexes {
        let word = if index.unique { "unique index" } else { "index" };
        let rows = dialect.pick(index.sqlite, index.postgres).map(|it| format!(" where {it}")).unwrap_or_default();
        let _ = writeln!(text, "create {word} {} on {} ({}){rows};", index.name, table.name, index.columns.join(", "));
    }
    if dialect == Dialect::Postgres && table.is_of_tenants() {
        for name in [Some(table.name), partition.map(|it| it.default)].into_iter().flatten() {
            let _ = writeln!(text, "select windlass_own_rows('{name}');");
        }
    }
    if dialect == Dialect::Postgres && table.reads_installation {
        let _ = writeln!(text, "create policy of_installation on {} for select using (tenant_key = 0);", table.name);
    }
    text
}

/// What stands between the parentheses: columns, keys, checks, foreign keys.
pub(super) fn lines(table: &Table, dialect: Dialect) -> Vec<String> {
    let mut lines: Vec<String> =
        table.stored(dialect).into_iter().map(|column| column_line(table, column, dialect)).collect();
    let key = table.stored_key(dialect).join(", ");
    let is_numbered = number(table, dialect).is_some();
    lines.push(format!("{} ({key})", if is_numbered { "unique" } else { "primary key" }));
    for unique in table.unique {
        lines.push(format!("constraint {} unique ({})", unique.name, unique.columns.join(", ")));
    }
    for column in table.columns.iter().filter(|column| !table.listed.contains(&column.name)) {
        if let Some(words) = column.words() {
            lines.push(format!(
                "constraint {}_{} check ({})",
                table.name,
                column.name,
                words_chain(column.name, words)
            ));
        }
    }
    for reference in table.references.iter().filter(|reference| reference.kept == Kept::ByDatabase) {
        let (columns, by) = (reference.columns.join(", "), reference.by.join(", "));
        lines.push(format!("foreign key ({columns}) references {} ({by})", reference.to));
    }
    lines
}

/// The columns that a database has.
pub(super) fn columns(table: &Table, dialect: Dialect) -> Vec<StoredColumn> {
    let number = number(table, dialect);
    let stored = |column: &'static Column| StoredColumn {
        name: column.name,
        kind: table.type_name(column, dialect),
        null: column.is_nullable() && number != Some(column.name),
    };
    table.stored(dialect).into_iter().map(stored).collect()
}

/// The column by which SQLite numbers the rows.
fn number(table: &Table, dialect: Dialect) -> Option<&'static str> {
    match table.rows {
        Rows::Numbered(column) | Rows::NumberedBy { number: column, .. } if dialect == Dialect::Sqlite => {
            Some(column.name)
        }
        _ => None,
    }
}

fn column_line(table: &Table, column: &Column, dialect: Dialect) -> String {
    let mut line = format!("{} {}", column.name, table.type_name(column, dialect));
    if number(table, dialect) == Some(column.name) {
        line.push_str(" primary key");
        return line;
    }
    if !column.is_nullable() {
        line.push_str(" not null");
    }
    if let Ok(value) = column.default_datum()
        && let Some(literal) = literal(&value, dialect)
    {
        let _ = write!(line, " default {literal}");
    }
    if dialect == Dialect::Postgres && table.by_bytes.contains(&column.name) {
        line.push_str(" collate \"C\"");
    }
    if table.listed.contains(&column.name)
        && let Some(list) = list(column, dialect)
    {
        let _ = write!(line, " check ({} in ({list}))", column.name);
    }
    line
}

/// The values of a column whose words are checked as a list; none where the type says it.
fn list(column: &Column, dialect: Dialect) -> Option<String> {
    match column.kind {
        Kind::Boolean => dialect.pick(Some("0, 1".to_owned()), None),
        _ => column.words().map(|words| words.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(", ")),
    }
}

/// What stands behind the parentheses.
fn tail(table: &Table, dialect: Dialect) -> String {
    match (dialect, table.rows) {
        (Dialect::Sqlite, Rows::InKey) => " strict, without rowid".to_owned(),
        (Dialect::Sqlite, _) => " strict".to_owned(),
        (Dialect::Postgres, _) => {
            let partitions = table.partitions.map(|it| format!(" partition by range ({})", it.by));
            let filled = table.fillfactor.map(|percent| format!(" with (fillfactor = {percent})"));
            partitions.into_iter().chain(filled).collect()
        }
    }
}
