//! The whole schema: records and the tables of the core, in an order in which they can be made and filled.

use std::collections::BTreeSet;

use super::{core, create_core_table, create_table, indexes, lines, stored_columns};
use crate::{Dialect, Kept, Ownership, Record, Table, records, tables};

/// A table, however it is declared.
#[derive(Debug, Clone, Copy)]
pub enum Declared {
    /// By the descriptor of a record.
    Record(&'static Record),
    /// By the declaration of a table of the core.
    Table(&'static Table),
}

/// A column as a database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type, in the database's own word.
    pub kind: &'static str,
    /// Whether it may be null.
    pub null: bool,
}

/// Every table of the product, each after those that it refers to.
pub fn declared() -> Vec<Declared> {
    let records = records::ALL.iter().copied().map(Declared::Record);
    let mut left: Vec<Declared> = records.chain(tables::all().map(Declared::Table)).collect();
    let (mut placed, mut order) = (BTreeSet::new(), Vec::new());
    while !left.is_empty() {
        let is_ready = |it: &Declared| it.needs().iter().all(|name| *name == it.name() || placed.contains(name));
        // A circle cannot be made at all; the check of declarations names it.
        let next = left.iter().position(is_ready).unwrap_or(0);
        let next = left.remove(next);
        placed.insert(next.name());
        order.push(next);
    }
    order
}

impl Declared {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Declared::Record(record) => record.name,
            Declared::Table(table) => table.name,
        }
    }

    /// What it is for.
    pub fn doc(self) -> &'static str {
        match self {
            Declared::Record(record) => record.doc,
            Declared::Table(table) => table.doc,
        }
    }

    /// The tables that have to be there before it.
    pub fn needs(self) -> Vec<&'static str> {
        match self {
            Declared::Record(record) => {
                let tenant = (record.ownership == Ownership::Tenant).then_some("tenants");
                tenant.into_iter().chain(record.references().map(|(_, to, _)| to)).collect()
            }
            Declared::Table(table) => {
                let kept = table.references.iter().filter(|it| it.kept == Kept::ByDatabase);
                kept.map(|reference| reference.to).collect()
            }
        }
    }

    /// Whether its rows are tenants': on PostgreSQL a session sees those of its own alone.
    pub fn is_of_tenants(self) -> bool {
        match self {
            Declared::Record(record) => record.ownership == Ownership::Tenant,
            Declared::Table(table) => table.is_of_tenants(),
        }
    }

    /// The statements that make it, without triggers.
    pub fn create(self, dialect: Dialect) -> String {
        match self {
            Declared::Record(record) => create_table(record, dialect),
            Declared::Table(table) => create_core_table(table, dialect),
        }
    }

    /// The columns that a database has.
    pub fn columns(self, dialect: Dialect) -> Vec<StoredColumn> {
        match self {
            Declared::Record(record) => stored_columns(record, dialect),
            Declared::Table(table) => core::columns(table, dialect),
        }
    }

    /// The names of its checks and keys, where they have one.
    pub fn constraints(self, dialect: Dialect) -> Vec<String> {
        let lines = match self {
            Declared::Record(record) => lines(record, dialect),
            Declared::Table(table) => core::lines(table, dialect),
        };
        let name = |line: &String| line.strip_prefix("constraint ")?.split(' ').next().map(str::to_owned);
        lines.iter().filter_map(name).collect()
    }

    /// The names of its indexes.
    pub fn indexes(self, dialect: Dialect) -> Vec<String> {
        match self {
            Declared::Record(record) => indexes(record, dialect).into_iter().map(|(name, _)| name).collect(),
            Declared::Table(table) => table.indexes.iter().map(|index| index.name.to_owned()).collect(),
        }
    }
}
