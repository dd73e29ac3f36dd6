//! Tables that are no records: the core's own, whose statements are written by hand.
//!
//! A [`Table`] says of such a table what a [`crate::Record`] says of a record's: which columns it has and what they mean,
//! its keys, indexes and references, and in which few things the two databases differ. [`crate::ddl::create_core_table`]
//! makes the statements of it, and `docs/schema.md` shows it.
//!
//! Invariant: the names are those of the live schema; a test compares what the declarations make with what the
//! migrations made.

use crate::{Column, Dialect, Kind, column::integer};

/// The tenant's key: it leads the keys of what a tenant owns.
pub const TENANT: &str = "tenant_key";

/// The numbers of 32 bits.
const BITS_32: (i64, i64) = (-2_147_483_648, 2_147_483_647);

/// A table of the core.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What a row is, who writes it, and when it goes.
    pub doc: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column],
    /// Its primary key.
    pub key: &'static [&'static str],
    /// What no two rows have alike beside the key.
    pub unique: &'static [UniqueKey],
    /// Its indexes.
    pub indexes: &'static [TableIndex],
    /// The tables that its rows refer to.
    pub references: &'static [Refers],
    /// Columns whose words are checked as a list beside the column. The words of others are a chain of comparisons, for
    /// which SQLite builds no table for every row.
    pub listed: &'static [&'static str],
    /// Texts that sort by their bytes on PostgreSQL too, whichever locale its database has.
    pub by_bytes: &'static [&'static str],
    /// Times that SQLite keeps as a number of microseconds since 1970: of narrow rows that are written often.
    pub instants: &'static [&'static str],
    /// How SQLite keeps its rows.
    pub rows: Rows,
    /// Percent of a page that PostgreSQL fills, so that a changed row finds room beside its old self.
    pub fillfactor: Option<u32>,
    /// How PostgreSQL divides it.
    pub partitions: Option<Partitions>,
    /// Whether every tenant reads what stands under the key 0, the installation's.
    pub reads_installation: bool,
}

/// How SQLite keeps the rows of a table.
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    /// In the order in which they came; the key is an index beside them.
    Appended,
    /// Within the key.
    InKey,
    /// By a number of their own, which SQLite alone has and others refer to; the key is unique beside it.
    Numbered(&'static Column),
    /// By a number of their own, with the number of another row in place of some columns.
    NumberedBy {
        /// Their own number.
        number: &'static Column,
        /// The columns that are left out on SQLite.
        left_out: &'static [&'static str],
        /// What stands in their place, in the key too.
        by: &'static Column,
    },
}

/// How PostgreSQL divides a table.
#[derive(Debug, Clone, Copy)]
pub struct Partitions {
    /// By ranges of this column.
    pub by: &'static str,
    /// The partition that is always there, for what no other takes.
    pub default: &'static str,
}

/// Columns that no two rows have alike.
#[derive(Debug, Clone, Copy)]
pub struct UniqueKey {
    /// What the constraint is called.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [&'static str],
}

/// An index of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableIndex {
    /// Its name.
    pub name: &'static str,
    /// Its columns, each with ` desc` behind it where it is read from the end.
    pub columns: &'static [&'static str],
    /// Whether no two of its rows are alike.
    pub unique: bool,
    /// Which rows it holds on SQLite; all without.
    pub sqlite: Option<&'static str>,
    /// Which rows it holds on PostgreSQL; all without.
    pub postgres: Option<&'static str>,
}

/// Which table a row refers to.
#[derive(Debug, Clone, Copy)]
pub struct Refers {
    /// The columns that refer.
    pub columns: &'static [&'static str],
    /// The table that they lead to.
    pub to: &'static str,
    /// What they are there.
    pub by: &'static [&'static str],
    /// Who sees to it that the other row is there.
    pub kept: Kept,
}

/// Who sees to it that the row that another refers to is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The database, by a foreign key: that row is not deleted while this one is there.
    ByDatabase,
    /// The program: a foreign key would cost a look at the other row for each one written. `db check` looks at them all.
    ByProgram,
}

/// A whole number of 32 bits.
pub const fn number(name: &'static str) -> Column {
    integer(name).range(BITS_32.0, BITS_32.1)
}

/// Columns that no two rows have alike, by the name of the constraint.
pub const fn unique_key(name: &'static str, columns: &'static [&'static str]) -> UniqueKey {
    UniqueKey { name, columns }
}

/// An index by its name, over all rows.
pub const fn index(name: &'static str, columns: &'static [&'static str]) -> TableIndex {
    TableIndex { name, columns, unique: false, sqlite: None, postgres: None }
}

/// A reference that the database keeps.
pub const fn foreign_key(columns: &'static [&'static str], to: &'static str, by: &'static [&'static str]) -> Refers {
    Refers { columns, to, by, kept: Kept::ByDatabase }
}

/// A reference that the program keeps.
pub const fn refers(columns: &'static [&'static str], to: &'static str, by: &'static [&'static str]) -> Refers {
    Refers { columns, to, by, kept: Kept::ByProgram }
}

impl TableIndex {
    /// It holds these rows alone.
    #[must_use]
    pub const fn only(mut self, condition: &'static str) -> TableIndex {
        self.sqlite = Some(condition);
        self.postgres = Some(condition);
        self
    }

    /// It holds these rows alone, in the words of each database.
    #[must_use]
    pub const fn only_each(mut self, sqlite: &'static str, postgres: &'static str) -> TableIndex {
        self.sqlite = Some(sqlite);
        self.postgres = Some(postgres);
        self
    }

    /// PostgreSQL takes it for statements that name this column alone, which is never null. An index that ends in the
    /// table's own key could be asked for rows by that key too, passing over the columns before it; the planner cannot
    /// tell the two apart while the table is empty, and keeps the plan. SQLite prefers the key by itself.
    #[must_use]
    pub const fn for_those_who_name(mut self, condition: &'static str) -> TableIndex {
        self.postgres = Some(condition);
        self
    }

    /// No two of its rows are alike.
    #[must_use]
    pub const fn unique(mut self) -> TableIndex {
        self.unique = true;
        self
    }
}

impl Table {
    /// A table by its name.
    pub const fn of(name: &'static str) -> Table {
        Table {
            name,
            doc: "",
            columns: &[],
            key: &[],
            unique: &[],
            indexes: &[],
            references: &[],
            listed: &[],
            by_bytes: &[],
            instants: &[],
            rows: Rows::Appended,
            fillfactor: None,
            partitions: None,
            reads_installation: false,
        }
    }

    /// What a row is, who writes it, and when it goes.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Table {
        self.doc = doc;
        self
    }

    /// Its columns, in order.
    #[must_use]
    pub const fn columns(mut self, columns: &'static [Column]) -> Table {
        self.columns = columns;
        self
    }

    /// Its primary key.
    #[must_use]
    pub const fn key(mut self, key: &'static [&'static str]) -> Table {
        self.key = key;
        self
    }

    /// What no two rows have alike beside the key.
    #[must_use]
    pub const fn unique(mut self, unique: &'static [UniqueKey]) -> Table {
        self.unique = unique;
        self
    }

    /// Its indexes.
    #[must_use]
    pub const fn indexes(mut self, indexes: &'static [TableIndex]) -> Table {
        self.indexes = indexes;
        self
    }

    /// The tables that its rows refer to.
    #[must_use]
    pub const fn references(mut self, references: &'static [Refers]) -> Table {
        self.references = references;
        self
    }

    /// The words of these columns are checked as a list beside them.
    #[must_use]
    pub const fn listed(mut self, columns: &'static [&'static str]) -> Table {
        self.listed = columns;
        self
    }

    /// These texts sort by their bytes on PostgreSQL too.
    #[must_use]
    pub const fn by_bytes(mut self, columns: &'static [&'static str]) -> Table {
        self.by_bytes = columns;
        self
    }

    /// SQLite keeps these times as a number of microseconds since 1970.
    #[must_use]
    pub const fn instants(mut self, columns: &'static [&'static str]) -> Table {
        self.instants = columns;
        self
    }

    /// How SQLite keeps its rows.
    #[must_use]
    pub const fn rows(mut self, rows: Rows) -> Table {
        self.rows = rows;
        self
    }

    /// PostgreSQL fills its pages to so many percent.
    #[must_use]
    pub const fn fillfactor(mut self, percent: u32) -> Table {
        self.fillfactor = Some(percent);
        self
    }

    /// PostgreSQL divides it by ranges of a column; what no partition takes is in this one.
    #[must_use]
    pub const fn partitioned(mut self, by: &'static str, default: &'static str) -> Table {
        self.partitions = Some(Partitions { by, default });
        self
    }

    /// Every tenant reads what stands under the key 0.
    #[must_use]
    pub const fn reads_installation(mut self) -> Table {
        self.reads_installation = true;
        self
    }

    /// Whether its rows are tenants': on PostgreSQL a session sees those of its own alone.
    pub fn is_of_tenants(&self) -> bool {
        self.columns.iter().any(|column| column.name == TENANT)
    }

    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that a database has, in order.
    pub fn stored(&self, dialect: Dialect) -> Vec<&'static Column> {
        let (number, by) = match (dialect, self.rows) {
            (Dialect::Sqlite, Rows::Numbered(number)) => (Some(number), None),
            (Dialect::Sqlite, Rows::NumberedBy { number, by, .. }) => (Some(number), Some(by)),
            _ => (None, None),
        };
        let left_out = self.left_out(dialect);
        let rest = self.columns.iter().filter(|column| !left_out.contains(&column.name));
        number.into_iter().chain(by).chain(rest).collect()
    }

    /// The primary key that a database has.
    pub fn stored_key(&self, dialect: Dialect) -> Vec<&'static str> {
        let left_out = self.left_out(dialect);
        let by = match self.rows {
            Rows::NumberedBy { by, .. } if dialect == Dialect::Sqlite => Some(by.name),
            _ => None,
        };
        by.into_iter().chain(self.key.iter().copied().filter(|name| !left_out.contains(name))).collect()
    }

    fn left_out(&self, dialect: Dialect) -> &'static [&'static str] {
        match self.rows {
            Rows::NumberedBy { left_out, .. } if dialect == Dialect::Sqlite => left_out,
            _ => &[],
        }
    }

    /// The type of one of its columns.
    pub fn type_name(&self, column: &Column, dialect: Dialect) -> &'static str {
        match column.kind {
            Kind::Integer { min, max } if min >= BITS_32.0 && max <= BITS_32.1 => "integer",
            Kind::Timestamp if dialect == Dialect::Sqlite && self.instants.contains(&column.name) => "integer",
            kind => crate::ddl::type_name(&kind, dialect),
        }
    }
}
