//! The declared schema and the one that migrations made: the same, on both databases, in everything a database tells of
//! itself.

use std::collections::BTreeSet;

use rusqlite::Connection;
use tokio_postgres::{Config, NoTls};
use windlass_store::{
    Dialect, Store,
    admin::{catalogue, schema},
};

use crate::harness::Fixture;

crate::on_every_store!(the_printed_schema_makes_what_migrations_make, no_table_is_left_without_a_declaration,);

/// The catalogue of a database that migrations made.
async fn migrated(store: &Store) -> BTreeSet<String> {
    let mut told = Vec::new();
    for sql in catalogue::queries(store.database().dialect()) {
        let rows = store.database().across_tenants().query((*sql).to_owned(), vec![]).await.unwrap();
        told.extend(rows.iter().map(|row| row.string(0).unwrap()));
    }
    catalogue::lines(told)
}

/// The catalogue of an empty database in which the printed schema, and nothing else, was run.
async fn printed(dialect: Dialect, sql: &str) -> BTreeSet<String> {
    match dialect {
        Dialect::Sqlite => {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(sql).unwrap();
            let mut told = Vec::new();
            for query in catalogue::queries(dialect) {
                let mut statement = connection.prepare(query).unwrap();
                let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
                told.extend(rows.map(Result::unwrap));
            }
            catalogue::lines(told)
        }
        Dialect::Postgres => {
            let server = windlass_testkit::postgres().await;
            let (client, connection) = server.url.parse::<Config>().unwrap().connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(sql).await.unwrap();
            let mut told: Vec<String> = Vec::new();
            for query in catalogue::queries(dialect) {
                told.extend(client.query(*query, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
            }
            catalogue::lines(told)
        }
    }
}

/// What one catalogue has and the other has not, each on a line.
fn differences(migrated: &BTreeSet<String>, printed: &BTreeSet<String>) -> Vec<String> {
    let only = |who: &'static str, lines: &BTreeSet<String>, others: &BTreeSet<String>| {
        lines.difference(others).map(|line| format!("only {who}: {line}")).collect::<Vec<_>>()
    };
    [only("by migrations", migrated, printed), only("by declaration", printed, migrated)].concat()
}

async fn the_printed_schema_makes_what_migrations_make(fixture: Fixture) {
    let dialect = fixture.store.database().dialect();
    let migrated = migrated(&fixture.store).await;
    assert!(migrated.len() > 1_000, "{}", migrated.len());
    let text = schema::text(dialect);
    for word in ["_new", "drop ", "insert into", "alter table"] {
        let of_functions = word == "alter table" && dialect == Dialect::Postgres;
        assert!(of_functions || !text.contains(word), "the printed schema has `{word}`");
    }
    let found = differences(&migrated, &printed(dialect, &text).await);
    assert!(found.is_empty(), "the declarations and the migrations differ:\n{}", found.join("\n"));
    // A comparison that finds nothing is none: each of these is seen, by its name.
    for (there, instead, expect) in [
        ("create index runs_by_parent on runs", "create index runs_by_nobody on runs", "runs_by_parent"),
        ("mode = 'test'", "mode = 'trial'", "runs_mode"),
        (") on delete cascade", ") on delete restrict", "group_members"),
        ("attempt integer not null", "attempt integer", "journal"),
        (
            "create trigger audit_heads_kept before delete",
            "create trigger audit_heads_kept before insert",
            "audit_heads_kept",
        ),
        ("unique (tenant_key, source, event_id)", "unique (tenant_key, event_id, source)", "events"),
        ("vault_keys text not null default ''", "vault_keys text not null default '-'", "nodes"),
    ] {
        let changed = text.replacen(there, instead, 1);
        assert_ne!(changed, text, "there is no `{there}`");
        let found = differences(&migrated, &printed(dialect, &changed).await).join("\n");
        assert!(found.contains(expect), "`{instead}` is not seen: {found}");
    }
}

async fn no_table_is_left_without_a_declaration(fixture: Fixture) {
    let dialect = fixture.store.database().dialect();
    let declared = schema::Schema::declared(dialect);
    let names: BTreeSet<&str> = declared.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names.len(), declared.tables.len());
    let mut live = BTreeSet::new();
    for line in migrated(&fixture.store).await {
        if let Some((name, _)) = line.strip_prefix("table of ").and_then(|rest| rest.split_once(": ")) {
            live.insert(name.to_owned());
        }
    }
    // PostgreSQL's partition is of the journal's own declaration.
    live.remove("journal_other");
    assert_eq!(live.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for declared in windlass_resource::ddl::declared() {
        assert!(declared.doc().ends_with('.'), "{} says nothing of itself", declared.name());
        let windlass_resource::ddl::Declared::Table(table) = declared else { continue };
        for column in table.columns {
            assert!(column.doc.ends_with('.'), "{}.{} says nothing of itself", table.name, column.name);
        }
    }
}
