//! The declared schema, read off the migrations: what the live database is compared with and what copies go by.
//!
//! Our migrations write one column, constraint or index a line, and this reader knows no more SQL than that.

use std::sync::LazyLock;

use serde::Serialize;

use crate::{database::Dialect, migrate::MIGRATIONS};

/// A table as the migrations declare it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The names of its own checks and keys, where they have one.
    pub constraints: Vec<String>,
}

impl Table {
    /// Whether its rows are tenants': on PostgreSQL a session sees those of its own alone.
    pub fn is_of_tenants(&self) -> bool {
        self.columns.iter().any(|column| column.name == "tenant_key")
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in the database's own word.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may be null.
    pub null: bool,
}

impl Column {
    fn read(name: &str, kind: &str, rest: &[&str]) -> Column {
        // SQLite's integer primary key is never null either.
        let null = !rest.starts_with(&["not", "null"]) && !rest.starts_with(&["primary", "key"]);
        Column { name: name.to_owned(), kind: kind.to_owned(), null }
    }
}

/// All that is declared for one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// Tables, in the order in which they can be filled.
    pub tables: Vec<Table>,
    /// The names of indexes.
    pub indexes: Vec<String>,
    /// The names of triggers.
    pub triggers: Vec<String>,
}

impl Schema {
    /// What the migrations declare for a database.
    pub fn declared(dialect: Dialect) -> &'static Schema {
        static SQLITE: LazyLock<Schema> = LazyLock::new(|| read(&text(Dialect::Sqlite)));
        static POSTGRES: LazyLock<Schema> = LazyLock::new(|| read(&text(Dialect::Postgres)));
        match dialect {
            Dialect::Sqlite => &SQLITE,
            Dialect::Postgres => &POSTGRES,
        }
    }

    /// The table goes, and one that was made to take its place has it.
    fn replace(&mut self, name: &str) {
        let new = self.tables.iter().position(|table| table.name == format!("{name}_new"));
        let new = new.map(|at| Table { name: name.to_owned(), ..self.tables.remove(at) });
        if let Some(at) = self.tables.iter().position(|table| table.name == name) {
            self.tables.splice(at..=at, new);
        }
    }

    /// A table by its name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// The whole schema as JSON: every table as the migrations declare it, and what the descriptors of records say beside.
pub fn to_json(dialect: Dialect) -> serde_json::Value {
    let Schema { tables, indexes, triggers } = Schema::declared(dialect);
    let records = windlass_resource::print::to_json(windlass_resource::records::ALL);
    serde_json::json!({ "tables": tables, "indexes": indexes, "triggers": triggers, "records": records })
}

/// An entity-relationship diagram of every table, in Mermaid; what refers to what is known of records.
pub fn mermaid() -> String {
    use std::fmt::Write as _;
    let records = windlass_resource::records::ALL;
    let mut text = windlass_resource::print::mermaid(records);
    let core = Schema::declared(Dialect::Postgres).tables.iter();
    for table in core.filter(|table| !records.iter().any(|record| record.name == table.name)) {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "  {} {{", table.name);
        for column in &table.columns {
            let _ = writeln!(text, "    {} {}", column.kind, column.name);
        }
        let _ = writeln!(text, "  }}");
    }
    text
}

/// The statements that make the schema of a database.
pub fn text(dialect: Dialect) -> String {
    MIGRATIONS.iter().map(|migration| migration.sql(dialect)).collect::<Vec<_>>().join("\n")
}

fn read(sql: &str) -> Schema {
    let mut schema = Schema { tables: Vec::new(), indexes: Vec::new(), triggers: Vec::new() };
    let mut open: Option<Table> = None;
    for line in sql.lines() {
        let words: Vec<&str> = line.trim_end_matches([',', ';']).split_whitespace().collect();
        match (open.as_mut(), words.as_slice()) {
            (None, ["create", "table", name, "("]) => {
                open = Some(Table { name: (*name).to_owned(), columns: Vec::new(), constraints: Vec::new() });
            }
            (None, ["alter", "table", name, "add", "column", column, kind, rest @ ..]) => {
                let table = schema.tables.iter_mut().find(|table| table.name == *name);
                table.expect("a table is made before it is altered").columns.push(Column::read(column, kind, rest));
            }
            (None, ["alter", "table", name, "alter", "column", column, "type", kind, ..]) => {
                let table = schema.tables.iter_mut().find(|table| table.name == *name);
                let columns = table.into_iter().flat_map(|table| &mut table.columns);
                columns.filter(|it| it.name == *column).for_each(|it| (*kind).clone_into(&mut it.kind));
            }
            (None, ["alter", "table", name, "alter", "column", column, "drop", "not", "null"]) => {
                let table = schema.tables.iter_mut().find(|table| table.name == *name);
                let columns = table.into_iter().flat_map(|table| &mut table.columns);
                columns.filter(|it| it.name == *column).for_each(|it| it.null = true);
            }
            // SQLite makes a table anew where it cannot change it: `<name>_new` takes the old one's place and name.
            (None, ["drop", "table", name]) => schema.replace(name),
            (None, ["create", "index", name, ..] | ["create", "unique", "index", name, ..]) => {
                schema.indexes.push((*name).to_owned());
            }
            (None, ["drop", "index", name]) => schema.indexes.retain(|index| index != name),
            (None, ["create", "trigger", name, ..]) => schema.triggers.push((*name).to_owned()),
            (Some(_), [first, ..]) if first.starts_with(')') => schema.tables.extend(open.take()),
            (Some(table), ["constraint", name, ..]) => table.constraints.push((*name).to_owned()),
            (Some(_), ["primary" | "unique" | "foreign" | "check", ..]) => {}
            (Some(table), [name, kind, rest @ ..]) => table.columns.push(Column::read(name, kind, rest)),
            _ => {}
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use windlass_engine::status::{RunStatus, TaskStatus};

    use super::*;
    use crate::{ApprovalStatus, OriginKind, RunMode, UndoStatus};

    #[test]
    fn both_databases_have_the_same_tables_and_columns() {
        let names = |dialect| {
            let schema = Schema::declared(dialect);
            let columns =
                |table: &Table| table.columns.iter().map(|column| (column.name.clone(), column.null)).collect();
            schema.tables.iter().map(|table| (table.name.clone(), columns(table))).collect::<Vec<(_, Vec<_>)>>()
        };
        let (sqlite, postgres) = (names(Dialect::Sqlite), names(Dialect::Postgres));
        assert_eq!(sqlite.len(), postgres.len());
        for ((name, sqlite), (_, postgres)) in sqlite.into_iter().zip(postgres) {
            // The two that differ by design: SQLite's integer key of a run.
            if name != "journal" && name != "runs" {
                assert_eq!(sqlite, postgres, "{name}");
            }
        }
        let indexes = |dialect| Schema::declared(dialect).indexes.iter().collect::<BTreeSet<_>>();
        assert_eq!(indexes(Dialect::Sqlite), indexes(Dialect::Postgres));
    }

    #[test]
    fn status_words_are_those_of_the_types() {
        // Written out as a chain of comparisons: SQLite would build a table of a list's words for every row.
        fn any(column: &str, words: impl Iterator<Item = &'static str>) -> String {
            words.map(|word| format!("{column} = '{word}'")).collect::<Vec<_>>().join(" or ")
        }
        let words = [
            ("runs_status", any("status", RunStatus::ALL.iter().map(|it| it.as_str()))),
            ("tasks_status", any("status", TaskStatus::ALL.iter().map(|it| it.as_str()))),
            ("approvals_status", any("status", ApprovalStatus::ALL.iter().map(|it| it.as_str()))),
            ("runs_undo_status", any("undo_status", UndoStatus::ALL.iter().map(|it| it.as_str()))),
            ("runs_mode", any("mode", RunMode::ALL.iter().map(|it| it.as_str()))),
            ("runs_origin_kind", any("origin_kind", OriginKind::ALL.iter().map(|it| it.as_str()))),
        ];
        let statuses = |column, over: bool| {
            any(column, RunStatus::ALL.iter().filter(move |it| it.is_final() == over).map(|it| it.as_str()))
        };
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let text = text(dialect);
            for (name, any) in &words {
                let check = format!("constraint {name} check ({any})");
                assert!(text.contains(&check), "{dialect:?} lacks: {check}");
            }
            assert!(text.contains(&format!("({}) and new.status <> old.status", statuses("old.status", true))));
            assert!(text.contains(&format!("where {};", statuses("status", false))));
        }
    }
}
