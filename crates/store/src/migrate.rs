//! Migrations: numbered, forward only, checksummed, under a lock, one list for both databases.

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::{
    StoreError,
    database::{Dialect, Value, postgres::Session, sqlite::refused},
};

/// A step from one version of the schema to the next.
pub(crate) struct Migration {
    pub version: i64,
    pub name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

pub(crate) static MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "core",
        sqlite: include_str!("../migrations/sqlite/0001_core.sql"),
        postgres: include_str!("../migrations/postgres/0001_core.sql"),
    },
    Migration {
        version: 2,
        name: "answers and rates",
        sqlite: include_str!("../migrations/sqlite/0002_answers_and_rates.sql"),
        postgres: include_str!("../migrations/postgres/0002_answers_and_rates.sql"),
    },
    Migration {
        version: 3,
        name: "run backlog",
        sqlite: include_str!("../migrations/sqlite/0003_run_backlog.sql"),
        postgres: include_str!("../migrations/postgres/0003_run_backlog.sql"),
    },
    Migration {
        version: 4,
        name: "indexes by their first columns",
        sqlite: include_str!("../migrations/sqlite/0004_indexes_by_their_first_columns.sql"),
        postgres: include_str!("../migrations/postgres/0004_indexes_by_their_first_columns.sql"),
    },
    Migration {
        version: 5,
        name: "large stores",
        sqlite: include_str!("../migrations/sqlite/0005_large_stores.sql"),
        postgres: include_str!("../migrations/postgres/0005_large_stores.sql"),
    },
    Migration {
        version: 6,
        name: "records",
        sqlite: include_str!("../migrations/sqlite/0006_records.sql"),
        postgres: include_str!("../migrations/postgres/0006_records.sql"),
    },
    Migration {
        version: 7,
        name: "ready tasks",
        sqlite: include_str!("../migrations/sqlite/0007_ready_tasks.sql"),
        postgres: include_str!("../migrations/postgres/0007_ready_tasks.sql"),
    },
    Migration {
        version: 8,
        name: "vault keys",
        sqlite: include_str!("../migrations/sqlite/0008_vault_keys.sql"),
        postgres: include_str!("../migrations/postgres/0008_vault_keys.sql"),
    },
    Migration {
        version: 9,
        name: "tenants",
        sqlite: include_str!("../migrations/sqlite/0009_tenants.sql"),
        postgres: include_str!("../migrations/postgres/0009_tenants.sql"),
    },
    Migration {
        version: 10,
        name: "secrets and credentials",
        sqlite: include_str!("../migrations/sqlite/0010_secrets_and_credentials.sql"),
        postgres: include_str!("../migrations/postgres/0010_secrets_and_credentials.sql"),
    },
    Migration {
        version: 11,
        name: "keys of nodes",
        sqlite: include_str!("../migrations/sqlite/0011_keys_of_nodes.sql"),
        postgres: include_str!("../migrations/postgres/0011_keys_of_nodes.sql"),
    },
    Migration {
        version: 12,
        name: "audit",
        sqlite: include_str!("../migrations/sqlite/0012_audit.sql"),
        postgres: include_str!("../migrations/postgres/0012_audit.sql"),
    },
    Migration {
        version: 13,
        name: "state store",
        sqlite: include_str!("../migrations/sqlite/0013_state_store.sql"),
        postgres: include_str!("../migrations/postgres/0013_state_store.sql"),
    },
    Migration {
        version: 14,
        name: "rate limit rules",
        sqlite: include_str!("../migrations/sqlite/0014_rate_limit_rules.sql"),
        postgres: include_str!("../migrations/postgres/0014_rate_limit_rules.sql"),
    },
    Migration {
        version: 15,
        name: "setting values",
        sqlite: include_str!("../migrations/sqlite/0015_setting_values.sql"),
        postgres: include_str!("../migrations/postgres/0015_setting_values.sql"),
    },
    Migration {
        version: 16,
        name: "files",
        sqlite: include_str!("../migrations/sqlite/0016_files.sql"),
        postgres: include_str!("../migrations/postgres/0016_files.sql"),
    },
    Migration {
        version: 17,
        name: "people",
        sqlite: include_str!("../migrations/sqlite/0017_people.sql"),
        postgres: include_str!("../migrations/postgres/0017_people.sql"),
    },
    Migration {
        version: 18,
        name: "failures of a workflow",
        sqlite: include_str!("../migrations/sqlite/0018_failures_of_a_workflow.sql"),
        postgres: include_str!("../migrations/postgres/0018_failures_of_a_workflow.sql"),
    },
    Migration {
        version: 19,
        name: "impersonation",
        sqlite: include_str!("../migrations/sqlite/0019_impersonation.sql"),
        postgres: include_str!("../migrations/postgres/0019_impersonation.sql"),
    },
    Migration {
        version: 20,
        name: "row-level security",
        sqlite: include_str!("../migrations/sqlite/0020_row_level_security.sql"),
        postgres: include_str!("../migrations/postgres/0020_row_level_security.sql"),
    },
    Migration {
        version: 21,
        name: "identity providers",
        sqlite: include_str!("../migrations/sqlite/0021_identity_providers.sql"),
        postgres: include_str!("../migrations/postgres/0021_identity_providers.sql"),
    },
    Migration {
        version: 22,
        name: "second factors",
        sqlite: include_str!("../migrations/sqlite/0022_second_factors.sql"),
        postgres: include_str!("../migrations/postgres/0022_second_factors.sql"),
    },
    Migration {
        version: 23,
        name: "setting kinds",
        sqlite: include_str!("../migrations/sqlite/0023_setting_kinds.sql"),
        postgres: include_str!("../migrations/postgres/0023_setting_kinds.sql"),
    },
    Migration {
        version: 24,
        name: "applications",
        sqlite: include_str!("../migrations/sqlite/0024_applications.sql"),
        postgres: include_str!("../migrations/postgres/0024_applications.sql"),
    },
    Migration {
        version: 25,
        name: "deleted workflows",
        sqlite: include_str!("../migrations/sqlite/0025_deleted_workflows.sql"),
        postgres: include_str!("../migrations/postgres/0025_deleted_workflows.sql"),
    },
    Migration {
        version: 26,
        name: "described state",
        sqlite: include_str!("../migrations/sqlite/0026_described_state.sql"),
        postgres: include_str!("../migrations/postgres/0026_described_state.sql"),
    },
    Migration {
        version: 27,
        name: "search",
        sqlite: include_str!("../migrations/sqlite/0027_search.sql"),
        postgres: include_str!("../migrations/postgres/0027_search.sql"),
    },
    Migration {
        version: 28,
        name: "delegations",
        sqlite: include_str!("../migrations/sqlite/0028_delegations.sql"),
        postgres: include_str!("../migrations/postgres/0028_delegations.sql"),
    },
    Migration {
        version: 29,
        name: "roles in places",
        sqlite: include_str!("../migrations/sqlite/0029_roles_in_places.sql"),
        postgres: include_str!("../migrations/postgres/0029_roles_in_places.sql"),
    },
    Migration {
        version: 30,
        name: "groups and provisioning",
        sqlite: include_str!("../migrations/sqlite/0030_groups_and_provisioning.sql"),
        postgres: include_str!("../migrations/postgres/0030_groups_and_provisioning.sql"),
    },
    Migration {
        version: 31,
        name: "templates and traces",
        sqlite: include_str!("../migrations/sqlite/0031_templates_and_traces.sql"),
        postgres: include_str!("../migrations/postgres/0031_templates_and_traces.sql"),
    },
    Migration {
        version: 32,
        name: "sharing",
        sqlite: include_str!("../migrations/sqlite/0032_sharing.sql"),
        postgres: include_str!("../migrations/postgres/0032_sharing.sql"),
    },
    Migration {
        version: 33,
        name: "bounds over all servers",
        sqlite: include_str!("../migrations/sqlite/0033_bounds_over_all_servers.sql"),
        postgres: include_str!("../migrations/postgres/0033_bounds_over_all_servers.sql"),
    },
];

/// The version of the schema that this program works with.
pub const SCHEMA_VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// What opening may do to a database of an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Bring it to this program's version.
    Apply,
    /// Refuse it; an empty one too.
    Refuse,
}

impl Migration {
    /// Its text for one database.
    pub(crate) fn sql(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }

    fn checksum(&self, dialect: Dialect) -> String {
        hex::encode(Sha256::digest(self.sql(dialect)))
    }
}

const MAKE_TABLE: &str = "create table if not exists migrations (version bigint not null primary key, \
                          name text not null, checksum text not null, applied_at text not null)";
const LIST: &str = "select version, checksum from migrations order by version";
const RECORD: &str = "insert into migrations (version, name, checksum, applied_at) values ($1, $2, $3, $4)";
/// Any number will do, as long as everybody takes the same one.
const POSTGRES_LOCK: i64 = 0x57_4c_4d_49;

/// Refuses what this program cannot work with, and gives what is to be applied.
fn pending(applied: &[(i64, String)], dialect: Dialect, migrate: Migrate) -> Result<&'static [Migration], StoreError> {
    let found = applied.last().map_or(0, |(version, _)| *version);
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { found, known: SCHEMA_VERSION });
    }
    for (version, checksum) in applied {
        let ours = MIGRATIONS.iter().find(|migration| migration.version == *version);
        if ours.is_none_or(|migration| migration.checksum(dialect) != *checksum) {
            let text = format!("migration {version} is not the one that this program knows");
            return Err(StoreError::damaged(text));
        }
    }
    let first = MIGRATIONS.iter().position(|migration| migration.version > found).unwrap_or(MIGRATIONS.len());
    if first < MIGRATIONS.len() && migrate == Migrate::Refuse {
        return Err(StoreError::Older { found, known: SCHEMA_VERSION });
    }
    Ok(&MIGRATIONS[first..])
}

/// Brings a SQLite database to this program's version; the lock on the data directory is held. Gives how many steps.
pub(crate) fn sqlite(connection: &mut Connection, migrate: Migrate) -> Result<usize, StoreError> {
    let there = connection
        .query_row("select 1 from sqlite_schema where name = 'migrations'", [], |_| Ok(()))
        .optional()
        .map_err(refused)?;
    let applied = if there.is_some() { sqlite_applied(connection)? } else { Vec::new() };
    let pending = pending(&applied, Dialect::Sqlite, migrate)?;
    // A table that is made anew takes the old one's name: what refers to it must not look meanwhile.
    connection.pragma_update(None, "foreign_keys", false).map_err(refused)?;
    for migration in pending {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let transaction = transaction.map_err(refused)?;
        transaction.execute_batch(MAKE_TABLE).map_err(refused)?;
        transaction.execute_batch(migration.sqlite).map_err(|error| refused(error).doing("migrate"))?;
        let row = record(migration, Dialect::Sqlite);
        transaction.execute(&RECORD.replace('$', "?"), rusqlite::params_from_iter(row)).map_err(refused)?;
        transaction.commit().map_err(refused)?;
    }
    connection.pragma_update(None, "foreign_keys", true).map_err(refused)?;
    Ok(pending.len())
}

fn sqlite_applied(connection: &Connection) -> Result<Vec<(i64, String)>, StoreError> {
    let mut list = connection.prepare(LIST).map_err(refused)?;
    let rows = list.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(refused)?;
    rows.collect::<Result<_, _>>().map_err(refused)
}

fn record(migration: &Migration, dialect: Dialect) -> [Value; 4] {
    let now = crate::clock::Clock::machine().now();
    let checksum = migration.checksum(dialect);
    [migration.version.into(), migration.name.into(), checksum.into(), now.to_string().into()]
}

/// Brings a PostgreSQL database to this program's version, one process at a time. Gives how many steps.
pub(crate) async fn postgres(session: &Session, migrate: Migrate) -> Result<usize, StoreError> {
    session.batch("set lock_timeout = '60s'; set statement_timeout = 0").await?;
    session.run("select pg_advisory_lock($1::bigint)", &[POSTGRES_LOCK.into()]).await?;
    let done = postgres_locked(session, migrate).await;
    let unlocked = session.run("select pg_advisory_unlock($1::bigint)", &[POSTGRES_LOCK.into()]).await;
    session.batch("reset lock_timeout; reset statement_timeout").await?;
    done.and_then(|count| unlocked.map(|_| count))
}

async fn postgres_locked(session: &Session, migrate: Migrate) -> Result<usize, StoreError> {
    let there = session.run("select to_regclass('migrations') is not null", &[]).await?;
    let there = there.rows.first().map(|row| row.bool(0)).transpose()?.unwrap_or(false);
    let mut applied = Vec::new();
    if there {
        for row in session.run(LIST, &[]).await?.rows {
            applied.push((row.int(0)?, row.string(1)?));
        }
    }
    let pending = pending(&applied, Dialect::Postgres, migrate)?;
    for migration in pending {
        session.batch("begin").await?;
        let done = postgres_one(session, migration).await;
        session.batch(if done.is_ok() { "commit" } else { "rollback" }).await?;
        done?;
    }
    Ok(pending.len())
}

async fn postgres_one(session: &Session, migration: &Migration) -> Result<(), StoreError> {
    session.batch(MAKE_TABLE).await?;
    session.batch(migration.postgres).await.map_err(|error| error.doing("migrate"))?;
    session.run(RECORD, &record(migration, Dialect::Postgres)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbered_from_one() {
        for (at, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, at as i64 + 1, "{}", migration.name);
        }
    }

    #[test]
    fn what_this_program_cannot_work_with_is_refused() {
        let newer = [(SCHEMA_VERSION + 1, String::new())];
        assert!(matches!(pending(&newer, Dialect::Sqlite, Migrate::Apply), Err(StoreError::Newer { .. })));
        assert!(matches!(pending(&[], Dialect::Sqlite, Migrate::Refuse), Err(StoreError::Older { .. })));
        let changed = [(1, "00".to_owned())];
        assert!(matches!(pending(&changed, Dialect::Sqlite, Migrate::Apply), Err(StoreError::Damaged(_))));
    }
}
