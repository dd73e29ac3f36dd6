//! The check of the core's tables.

use std::collections::BTreeSet;

use super::{Findings, check_doc};
use crate::{Column, Table, ddl::NAME_BYTES_MAX, records, tables};

/// Everything that is wrong with these tables, each as a sentence that begins with the table and column.
pub fn check_tables(all: impl Iterator<Item = &'static Table>) -> Vec<String> {
    let mut found = Findings::default();
    let mut names = BTreeSet::new();
    for table in all {
        if !names.insert(table.name) || records::find(table.name).is_some() {
            found.say(table.name, "there are two tables of this name");
        }
        check_table(table, &mut found);
    }
    found.0
}

fn check_table(table: &Table, found: &mut Findings) {
    check_doc(table.name, table.doc, found);
    let mut names = BTreeSet::new();
    for column in table.columns {
        let place = format!("{}.{}", table.name, column.name);
        check_doc(&place, column.doc, found);
        if !names.insert(column.name) {
            found.say(&place, "there are two columns of this name");
        }
        if let Err(wrong) = column.default_datum() {
            found.say(&place, format!("the default {wrong}"));
        }
    }
    for name in table.key {
        if table.column(name).is_none_or(Column::is_nullable) {
            found.say(table.name, format!("`{name}` is no key"));
        }
    }
    let mut indexes = BTreeSet::new();
    for index in table.indexes {
        if index.name.len() > NAME_BYTES_MAX {
            found.say(table.name, format!("the name `{}` is too long", index.name));
        }
        if !indexes.insert(index.name) {
            found.say(table.name, format!("there are two indexes `{}`", index.name));
        }
        there(table, index.columns.iter().map(|name| name.trim_end_matches(" desc")), found);
    }
    for columns in table.unique.iter().map(|unique| unique.columns) {
        there(table, columns.iter().copied(), found);
    }
    for columns in [table.listed, table.by_bytes, table.instants] {
        there(table, columns.iter().copied(), found);
    }
    for reference in table.references {
        there(table, reference.columns.iter().copied(), found);
        let columns: Option<Vec<&str>> = match (tables::find(reference.to), records::find(reference.to)) {
            (Some(to), _) => Some(to.columns.iter().map(|column| column.name).collect()),
            (None, Some(to)) => Some(to.stored().iter().map(|column| column.name).chain(["tenant_key"]).collect()),
            (None, None) => None,
        };
        match columns {
            None => found.say(table.name, format!("there is no table `{}`", reference.to)),
            Some(columns) => {
                for name in reference.by.iter().filter(|name| !columns.contains(name)) {
                    found.say(table.name, format!("there is no `{name}` in `{}`", reference.to));
                }
            }
        }
    }
}

fn there(table: &Table, names: impl Iterator<Item = &'static str>, found: &mut Findings) {
    for name in names.filter(|name| table.column(name).is_none()) {
        found.say(table.name, format!("there is no column `{name}`"));
    }
}
