//! Tables: the statements that make them on either database.
//!
//! The text is one column, constraint or index a line.
//! Invariant: on PostgreSQL what a tenant owns has row-level security; the tenant leads every key, index and foreign key of what a tenant owns, but for hashes by which the program
//! finds out which tenant it is about.

mod core;
mod whole;

use std::fmt::Write as _;

use crate::{
    Column, Datum, Deletion, Effect, Kind, OnDelete, Ownership, Record, Shape, Unique, datum::show_decimal, records,
};

pub use core::create_core_table;
pub use whole::{Declared, StoredColumn, declared};

/// Bytes of a name in PostgreSQL.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded database.
    Sqlite,
    /// The server.
    Postgres,
}

impl Dialect {
    /// One of two.
    pub fn pick<T>(self, sqlite: T, postgres: T) -> T {
        match self {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }
}

/// The statements that make a record's table and its indexes.
pub fn create_table(record: &Record, dialect: Dialect) -> String {
    let lines = lines(record, dialect).join(",\n  ");
    let mut text = format!("create table {} (\n  {lines}\n){};\n", record.name, dialect.pick(" strict", ""));
    for (name, statement) in indexes(record, dialect) {
        let _ = writeln!(text, "create {}{name} on {} {};", statement.0, record.name, statement.1);
    }
    // The function stands in the store's migrations.
    if record.ownership == Ownership::Tenant && dialect == Dialect::Postgres {
        let _ = writeln!(text, "select windlass_own_rows('{}');", record.name);
    }
    text
}

/// What stands between the parentheses: columns, keys, checks, foreign keys.
fn lines(record: &Record, dialect: Dialect) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if record.ownership == Ownership::Tenant {
        lines.push("tenant_key integer not null references tenants (key)".to_owned());
    }
    lines.extend(record.stored().iter().map(|column| column_line(record, column, dialect)));
    lines.push(format!("primary key ({})", keyed(record, record.key)));
    lines.extend(checks(record, dialect));
    for (column, to, on_delete) in record.references() {
        lines.push(foreign_key(record, column, (to, on_delete)));
    }
    lines
}

/// The columns that a record's table has.
fn stored_columns(record: &Record, dialect: Dialect) -> Vec<StoredColumn> {
    let tenant = (record.ownership == Ownership::Tenant).then_some(StoredColumn {
        name: "tenant_key",
        kind: "integer",
        null: false,
    });
    let stored = record.stored().into_iter().map(|column| StoredColumn {
        name: column.name,
        kind: column_type(record, column, dialect),
        null: column.is_nullable(),
    });
    tenant.into_iter().chain(stored).collect()
}

/// The statements that make the tables of these records; each stands after those that it refers to.
pub fn create_tables(records: &[&Record], dialect: Dialect) -> String {
    records.iter().map(|record| create_table(record, dialect)).collect::<Vec<_>>().join("\n")
}

fn keyed(record: &Record, columns: &str) -> String {
    match record.ownership {
        Ownership::Tenant => format!("tenant_key, {columns}"),
        Ownership::Global => columns.to_owned(),
    }
}

/// The type of a column.
pub fn type_name(kind: &Kind, dialect: Dialect) -> &'static str {
    match kind {
        Kind::Text { .. } | Kind::Enum { .. } | Kind::State { .. } => "text",
        Kind::Integer { .. } | Kind::Decimal { .. } => dialect.pick("integer", "bigint"),
        Kind::Boolean => dialect.pick("integer", "boolean"),
        Kind::Timestamp => dialect.pick("text", "timestamptz"),
        Kind::Date => dialect.pick("text", "date"),
        Kind::Json { .. } => dialect.pick("text", "jsonb"),
        Kind::Bytes { .. } => dialect.pick("blob", "bytea"),
        Kind::Id | Kind::Reference { .. } => dialect.pick("blob", "uuid"),
    }
}

fn column_type(record: &Record, column: &Column, dialect: Dialect) -> &'static str {
    let kind = type_name(&column.stored_kind(), dialect);
    // What the core counts by has 32 bits in every table of it.
    if column.name == record.key && kind == "bigint" { "integer" } else { kind }
}

fn column_line(record: &Record, column: &Column, dialect: Dialect) -> String {
    let mut line = format!("{} {}", column.name, column_type(record, column, dialect));
    if !column.is_nullable() {
        line.push_str(" not null");
    }
    if let Ok(value) = column.default_datum()
        && let Some(literal) = literal(&value, dialect)
    {
        let _ = write!(line, " default {literal}");
    }
    // Both databases then sort text alike, by its bytes.
    if dialect == Dialect::Postgres && type_name(&column.stored_kind(), dialect) == "text" {
        line.push_str(" collate \"C\"");
    }
    line
}

/// A value of our own as SQL; `None` for null.
fn literal(value: &Datum, dialect: Dialect) -> Option<String> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    Some(match value {
        Datum::Null => return None,
        Datum::Bool(value) => dialect.pick(i64::from(*value).to_string(), value.to_string()),
        Datum::Int(number) => number.to_string(),
        Datum::Text(text) | Datum::Json(text) => quoted(text),
        Datum::Time(at) => quoted(&at.to_string()),
        Datum::Uuid(uuid) => dialect.pick(format!("x'{}'", uuid.simple()), quoted(&uuid.to_string())),
        Datum::Bytes(_) => return None,
    })
}

/// That a column holds one of these words, written out as a chain: SQLite would build a table of a list's words for every
/// row.
fn words_chain(name: &str, words: &[&str]) -> String {
    words.iter().map(|word| format!("{name} = '{word}'")).collect::<Vec<_>>().join(" or ")
}

/// What a column may hold, as far as a database can say it.
fn checks(record: &Record, dialect: Dialect) -> Vec<String> {
    let mut lines = Vec::new();
    for column in record.stored() {
        let name = column.name;
        let conditions = match column.stored_kind() {
            Kind::Text { chars_min, chars_max, .. } => between(
                &format!("length({name})"),
                &[
                    (chars_min > 0).then(|| (">=", chars_min.to_string())),
                    (chars_max < u32::MAX).then(|| ("<=", chars_max.to_string())),
                ],
            ),
            Kind::Integer { min, max } | Kind::Decimal { min, max, .. } => between(
                name,
                &[(min > i64::MIN).then(|| (">=", min.to_string())), (max < i64::MAX).then(|| ("<=", max.to_string()))],
            ),
            Kind::Boolean if dialect == Dialect::Sqlite => vec![format!("{name} = 0 or {name} = 1")],
            Kind::Enum { values } | Kind::State { values } => vec![words_chain(name, values)],
            Kind::Json { shape, .. } => json_type(shape, dialect)
                .map(|(function, word)| format!("{function}({name}) = '{word}'"))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        if !conditions.is_empty() {
            lines.push(format!("constraint {}_{name}_check check ({})", record.name, conditions.join(" and ")));
        }
    }
    for (state, column) in entered_with(record) {
        let condition = format!("{} <> '{state}' or {column} is not null", record.state().map_or("", |it| it.name));
        lines.push(format!("constraint {}_{state}_{column} check ({condition})", record.name));
    }
    lines
}

/// States that are only entered by transitions that all set a column, which nothing else changes: there it is not null.
fn entered_with(record: &Record) -> Vec<(&'static str, &'static str)> {
    let Some(state) = record.state() else { return Vec::new() };
    let mut found = Vec::new();
    for word in state.words().unwrap_or_default().iter().skip(1) {
        let into: Vec<_> = record.transitions.iter().filter(|it| it.to == *word).collect();
        let sets = |effect: &Effect| matches!(effect, Effect::Stamp(_) | Effect::Sign(_) | Effect::Demand(_));
        let Some(first) = into.first() else { continue };
        for effect in first.effects.iter().filter(|effect| sets(effect)) {
            let name = effect.column();
            let all = into.iter().all(|it| it.effects.iter().any(|other| sets(other) && other.column() == name));
            let read_only =
                record.column(name).is_some_and(|it| it.access == crate::Access::ReadOnly && it.is_nullable());
            if all && read_only {
                found.push((*word, name));
            }
        }
    }
    found
}

fn between(of: &str, bounds: &[Option<(&str, String)>]) -> Vec<String> {
    bounds.iter().flatten().map(|(sign, bound)| format!("{of} {sign} {bound}")).collect()
}

fn json_type(shape: Shape, dialect: Dialect) -> Option<(&'static str, &'static str)> {
    let function = dialect.pick("json_type", "jsonb_typeof");
    match shape {
        Shape::Any => None,
        Shape::Object => Some((function, "object")),
        Shape::List | Shape::Texts => Some((function, "array")),
    }
}

fn foreign_key(record: &Record, column: &Column, (to, on_delete): (&str, OnDelete)) -> String {
    // To let go of a row the program sets the column to null first: a database would clear the tenant's key too.
    let rule = match on_delete {
        OnDelete::Cascade => "cascade",
        OnDelete::Restrict | OnDelete::SetNull => "restrict",
    };
    // What is the installation's has no tenant in its key.
    let owner = records::find(to).filter(|target| target.ownership == Ownership::Global).unwrap_or(record);
    let columns = keyed(owner, column.name);
    let target = keyed(owner, "id");
    format!(
        "constraint {}_{}_fkey foreign key ({columns}) references {to} ({target}) on delete {rule}",
        record.name, column.name
    )
}

/// The indexes of a record: the name, and the words before and after it.
fn indexes(record: &Record, dialect: Dialect) -> Vec<(String, (&'static str, String))> {
    let live = if record.deletion == Deletion::Soft { " where deleted_at is null" } else { "" };
    let mut all = Vec::new();
    if record.key != "id" {
        all.push((format!("{}_id_key", record.name), ("unique index ", format!("({})", keyed(record, "id")))));
    }
    if let Some(column) = record.found_by {
        all.push((format!("{}_{column}_key", record.name), ("unique index ", format!("({column})"))));
    }
    for Unique(columns) in record.unique {
        let last = columns.len().saturating_sub(1);
        let part = |(at, name): (usize, &&str)| {
            if at == last { (*name).to_owned() } else { unique_part(record, name, dialect) }
        };
        let parts: Vec<String> = columns.iter().enumerate().map(part).collect();
        let name = unique_name(record, columns);
        all.push((name, ("unique index ", format!("({}){live}", keyed(record, &parts.join(", "))))));
    }
    if record.deletion == Deletion::Soft {
        let columns = keyed(record, "deleted_at");
        let words = ("index ", format!("({columns}) where deleted_at is not null"));
        all.push((format!("{}_deleted", record.name), words));
    }
    for columns in looked_for(record) {
        let name = format!("{}_by_{}", record.name, columns.join("_"));
        all.push((name, ("index ", format!("({})", keyed(record, &columns.join(", "))))));
    }
    all
}

/// The name of a unique index. One that would be too long for PostgreSQL leaves out what the names of references end with.
pub(crate) fn unique_name(record: &Record, columns: &[&str]) -> String {
    let name = |columns: &[&str]| format!("{}_{}_key", record.name, columns.join("_"));
    let whole = name(columns);
    if whole.len() <= NAME_BYTES_MAX {
        return whole;
    }
    let short: Vec<&str> = columns.iter().map(|column| column.strip_suffix("_id").unwrap_or(column)).collect();
    name(&short)
}

/// The columns of the indexes that are not unique: those that are declared, and a reference's that no other serves.
fn looked_for(record: &Record) -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&'static str>> = record.indexes.iter().map(|index| index.0.to_vec()).collect();
    for (column, _, _) in record.references() {
        // A unique index holds an expression for what may be null, and no deleted rows.
        let by_unique = record.deletion == Deletion::Hard
            && !column.is_nullable()
            && record.unique.iter().any(|unique| unique.0.first() == Some(&column.name));
        if !by_unique && !all.iter().any(|columns| columns.first() == Some(&column.name)) {
            all.push(vec![column.name]);
        }
    }
    all
}

/// A column within which another is unique: null counts as a value there.
fn unique_part(record: &Record, name: &str, dialect: Dialect) -> String {
    let Some(column) = record.column(name).filter(|column| column.is_nullable()) else { return name.to_owned() };
    let none = match column.kind {
        Kind::Id | Kind::Reference { .. } => literal(&Datum::Uuid(uuid::Uuid::nil()), dialect),
        Kind::Integer { min, .. } | Kind::Decimal { min, .. } => Some(min.saturating_sub(1).to_string()),
        Kind::Timestamp => Some(dialect.pick("''", "'-infinity'::timestamptz").to_owned()),
        Kind::Date => Some(dialect.pick("''", "'-infinity'::date").to_owned()),
        _ => Some("''".to_owned()),
    };
    let cast = if dialect == Dialect::Postgres && type_name(&column.kind, dialect) == "uuid" { "::uuid" } else { "" };
    format!("coalesce({name}, {}{cast})", none.unwrap_or_default())
}

/// A column's bounds in words, for people.
pub(crate) fn bounds(kind: &Kind) -> String {
    let from_to = |min: String, max: String, none: (bool, bool)| match none {
        (true, true) => String::new(),
        (true, false) => format!("≤ {max}"),
        (false, true) => format!("≥ {min}"),
        (false, false) => format!("{min} to {max}"),
    };
    match *kind {
        Kind::Text { chars_min, chars_max, pattern, fold } => {
            let mut words = vec![format!("{chars_min} to {chars_max} characters")];
            words.extend(pattern.map(|pattern| pattern.meaning.to_owned()));
            words.extend((fold == crate::Fold::Lower).then(|| "kept in lower case".to_owned()));
            words.join("; ")
        }
        Kind::Integer { min, max } => from_to(min.to_string(), max.to_string(), (min == i64::MIN, max == i64::MAX)),
        Kind::Decimal { scale, min, max } => {
            let bounds =
                from_to(show_decimal(min, scale), show_decimal(max, scale), (min == i64::MIN, max == i64::MAX));
            format!("{scale} decimals {bounds}").trim_end().to_owned()
        }
        Kind::Json { shape, bytes_max } => format!("{}, ≤ {bytes_max} bytes", shape.form()),
        Kind::Bytes { bytes_max } => format!("≤ {bytes_max} bytes"),
        Kind::Enum { values } | Kind::State { values } => {
            values.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Reference { to, on_delete } => {
            let rule = match on_delete {
                OnDelete::Restrict => "which is not deleted while this is there",
                OnDelete::Cascade => "with which it is deleted",
                OnDelete::SetNull => "or null once that is deleted",
            };
            format!("of `{to}`, {rule}")
        }
        Kind::Boolean | Kind::Timestamp | Kind::Date | Kind::Id => String::new(),
    }
}
