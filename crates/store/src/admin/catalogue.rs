//! What a database knows of its own schema, as lines that can be compared.
//!
//! Each line says what it is about: `check of runs runs_mode (mode = 'production' or mode = 'test')`. Left out is where a
//! column stands among the others, and what comes and goes while servers run: PostgreSQL's partitions of weeks. Left out too
//! is `migrations`, which a database has from the program that migrates it, and not from the schema.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::{
    StoreError,
    admin::schema,
    database::{Dialect, sqlite::refused},
};

const SQLITE: &[&str] = &[
    "select 'table of ' || name || ': ' || case when strict then 'strict' else '' end || \
     case when wr then ' without rowid' else '' end from pragma_table_list \
     where schema = 'main' and type = 'table' and name not like 'sqlite_%' and name <> 'migrations'",
    "select 'column of ' || t.name || ' ' || c.name || ' ' || lower(c.type) || ' notnull=' || c.\"notnull\" || ' pk=' || c.pk \
     || coalesce(' default ' || c.dflt_value, '') from sqlite_schema t join pragma_table_xinfo(t.name) c \
     where t.type = 'table' and t.name not like 'sqlite_%' and t.name <> 'migrations'",
    "select case i.origin when 'c' then 'index' when 'u' then 'unique' else 'key' end || ' of ' || t.name || ' ' \
     || case when i.origin = 'c' then i.name else '' end || case when i.\"unique\" then ' unique' else '' end || ' (' \
     || (select group_concat(x.part, ', ') from (select coalesce(c.name, '<expression>') || ' ' || c.coll \
     || case when c.desc then ' desc' else '' end as part from pragma_index_xinfo(i.name) c \
     where c.key order by c.seqno) x) || ')' from sqlite_schema t join pragma_index_list(t.name) i \
     where t.type = 'table' and t.name not like 'sqlite_%' and t.name <> 'migrations'",
    "select 'reference of ' || t.name || ' ' || (select group_concat(x.\"from\" || ' to ' || x.\"to\", ', ') from \
     (select f.\"from\", f.\"to\" from pragma_foreign_key_list(t.name) f where f.id = k.id order by f.seq) x) || ' in ' \
     || k.\"table\" || ' on delete ' || k.on_delete || ' on update ' || k.on_update \
     from sqlite_schema t join pragma_foreign_key_list(t.name) k on k.seq = 0 \
     where t.type = 'table' and t.name not like 'sqlite_%' and t.name <> 'migrations'",
    "select type || ' statement of ' || tbl_name || ': ' || sql from sqlite_schema \
     where type in ('index', 'trigger') and sql is not null",
    "select 'checks of ' || name || ': ' || sql from sqlite_schema \
     where type = 'table' and name not like 'sqlite_%' and name <> 'migrations'",
];

const POSTGRES: &[&str] = &[
    "select 'table of ' || c.relname || ': ' || c.relkind::text || coalesce(' ' || array_to_string(c.reloptions, ','), '') \
     || coalesce(' by ' || pg_get_partkeydef(c.oid), '') || coalesce(' ' || pg_get_expr(c.relpartbound, c.oid), '') \
     || case when c.relrowsecurity then ' own rows' else '' end || case when c.relforcerowsecurity then ' forced' else '' end \
     from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') \
     and c.relname !~ '^journal_w' and c.relname <> 'migrations'",
    "select 'column of ' || c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) \
     || case when a.attnotnull then ' not null' else '' end || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') \
     || coalesce(' collate ' || l.collname, '') from pg_class c join pg_attribute a on a.attrelid = c.oid \
     left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum left join pg_collation l on l.oid = a.attcollation \
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 \
     and not a.attisdropped and c.relname !~ '^journal_w' and c.relname <> 'migrations'",
    "select 'constraint of ' || c.relname || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid) \
     from pg_constraint k join pg_class c on c.oid = k.conrelid \
     where c.relnamespace = current_schema()::regnamespace and c.relname !~ '^journal_w' and c.relname <> 'migrations'",
    "select 'index of ' || tablename || ' ' || indexdef from pg_indexes where schemaname = current_schema() \
     and tablename !~ '^journal_w' and tablename <> 'migrations'",
    "select 'trigger of ' || c.relname || ' ' || pg_get_triggerdef(t.oid) from pg_trigger t \
     join pg_class c on c.oid = t.tgrelid where not t.tgisinternal and c.relnamespace = current_schema()::regnamespace",
    "select 'policy of ' || tablename || ' ' || policyname || ' ' || permissive || ' ' || array_to_string(roles, ',') || ' ' \
     || cmd || coalesce(' using ' || qual, '') || coalesce(' check ' || with_check, '') from pg_policies \
     where schemaname = current_schema() and tablename !~ '^journal_w'",
    "select 'function ' || pg_get_functiondef(oid) from pg_proc \
     where pronamespace = current_schema()::regnamespace and proname like 'windlass\\_%'",
];

/// The queries whose rows, one text each, make up the catalogue of a database once [`lines`] has read them.
pub fn queries(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
    }
}

/// The catalogue, of what [`queries`] gave. SQLite tells of checks in the statement that made a table alone: they are taken
/// out of it, wherever they stand there.
pub fn lines(told: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for line in told {
        match line.strip_prefix("checks of ").and_then(|rest| rest.split_once(": ")) {
            Some((table, sql)) => {
                lines.extend(checks(sql).into_iter().map(|check| format!("check of {table} {check}")))
            }
            None => _ = lines.insert(words(&line)),
        }
    }
    lines
}

/// The catalogue of an empty SQLite database that the declarations make.
pub fn declared_sqlite() -> Result<BTreeSet<String>, StoreError> {
    let connection = Connection::open_in_memory().map_err(refused)?;
    connection.execute_batch(&schema::text(Dialect::Sqlite)).map_err(refused)?;
    let mut told = Vec::new();
    for sql in SQLITE {
        let mut statement = connection.prepare(sql).map_err(refused)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(refused)?;
        for row in rows {
            told.push(row.map_err(refused)?);
        }
    }
    Ok(lines(told))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The checks within the statement that made a table: the name, if it has one, and the condition with its parentheses.
fn checks(sql: &str) -> Vec<String> {
    let sql = words(sql);
    let mut found = Vec::new();
    for (at, word) in sql.match_indices(" check (") {
        let condition = &sql[at + word.len() - 1..];
        let mut open = 0;
        let end = condition.char_indices().find(|(_, char)| {
            open += i32::from(*char == '(') - i32::from(*char == ')');
            open == 0
        });
        let mut before = sql[..at].rsplit(' ');
        let name = before.next().filter(|_| before.next() == Some("constraint")).unwrap_or_default();
        found.push(format!("{name} {}", &condition[..end.map_or(condition.len(), |(at, _)| at + 1)]));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_wherever_they_stand() {
        for (sql, found) in [
            ("create table a (b text)", vec![]),
            ("create table a (b text check (b in ('x', 'y')))", vec![" (b in ('x', 'y'))"]),
            (
                "CREATE TABLE \"a\" (\n  b text,\n  constraint a_b check (length(b) >= 1), c text constraint a_c check (c > 0)\n) strict",
                vec!["a_b (length(b) >= 1)", "a_c (c > 0)"],
            ),
        ] {
            assert_eq!(checks(sql), found, "{sql}");
        }
    }
}
