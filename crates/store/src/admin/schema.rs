//! The declared schema: what the live database is compared with, what copies go by, and what `db schema` prints.
//!
//! Records and the tables of the core are declared in `windlass_resource`; triggers and functions are written here.
//! Migrations are how a database comes there: a test compares what they made with what the declarations make.

mod triggers;

use std::sync::LazyLock;

use serde::Serialize;
use windlass_resource::{ddl, print};

use crate::database::Dialect;

pub(crate) use triggers::function_names;
use triggers::{FUNCTIONS, TRIGGERS};

/// A table as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns: those of the core in the order of the live table, those of records as their descriptors stand.
    pub columns: Vec<Column>,
    /// The names of its own checks and keys, where they have one.
    pub constraints: Vec<String>,
    /// Whether its rows are tenants': on PostgreSQL a session sees those of its own alone.
    pub of_tenants: bool,
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
    /// What is declared for a database.
    pub fn declared(dialect: Dialect) -> &'static Schema {
        static SQLITE: LazyLock<Schema> = LazyLock::new(|| whole(Dialect::Sqlite));
        static POSTGRES: LazyLock<Schema> = LazyLock::new(|| whole(Dialect::Postgres));
        match dialect {
            Dialect::Sqlite => &SQLITE,
            Dialect::Postgres => &POSTGRES,
        }
    }

    /// A table by its name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

fn whole(dialect: Dialect) -> Schema {
    let declared = ddl::declared();
    let column = |it: ddl::StoredColumn| Column { name: it.name.to_owned(), kind: it.kind.to_owned(), null: it.null };
    let table = |it: &ddl::Declared| Table {
        name: it.name().to_owned(),
        columns: it.columns(dialect.into()).into_iter().map(column).collect(),
        constraints: it.constraints(dialect.into()),
        of_tenants: it.is_of_tenants(),
    };
    let triggers = TRIGGERS.iter().filter(|it| it.sql(dialect).is_some());
    Schema {
        tables: declared.iter().map(table).collect(),
        indexes: declared.iter().flat_map(|it| it.indexes(dialect.into())).collect(),
        triggers: triggers.map(|it| it.name.to_owned()).collect(),
    }
}

/// The whole schema as JSON: every table as a database has it, and beside it what records and the core's tables declare.
pub fn to_json(dialect: Dialect) -> serde_json::Value {
    let Schema { tables, indexes, triggers } = Schema::declared(dialect);
    let records = print::to_json(windlass_resource::records::ALL);
    let docs: serde_json::Map<_, _> = TRIGGERS.iter().map(|it| (it.name.to_owned(), it.doc.into())).collect();
    serde_json::json!({
        "tables": tables, "indexes": indexes, "triggers": triggers, "trigger_docs": docs,
        "records": records, "core": print::core_json(),
    })
}

/// An entity-relationship diagram of every table, in Mermaid.
pub fn mermaid() -> String {
    print::mermaid_of(&ddl::declared())
}

/// The statements that make the schema of an empty database: functions, tables, triggers. What migrations write into
/// tables is not among them, nor `migrations` itself, in which they note that they were applied.
pub fn text(dialect: Dialect) -> String {
    let functions = FUNCTIONS.iter().filter(|_| dialect == Dialect::Postgres).map(|(_, sql)| format!("{sql}\n"));
    let tables = ddl::declared().into_iter().map(|it| it.create(dialect.into()));
    let triggers = TRIGGERS.iter().filter_map(|it| it.sql(dialect)).map(|sql| format!("{sql}\n"));
    functions.chain(tables).chain(triggers).collect::<Vec<_>>().join("\n")
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
