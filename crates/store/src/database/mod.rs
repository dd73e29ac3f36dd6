//! One way to speak to either database: statements with `$n`, dynamic values, dynamic rows.
//!
//! Ordinary SQL is written once for both; where a dialect differs, the statement asks [`Dialect`]. A record that is
//! only data (a descriptor, no struct) can be read and written through this layer as well.
//!
//! Invariant: on SQLite every write of the process goes through the one writer thread.

mod blind;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod tls;
mod value;
pub(crate) mod vfs;
mod visit;

use futures::future::BoxFuture;
use windlass_engine::id::TenantKey;

pub use value::{Row, Sql, Value};
pub use visit::{Encryption, Visit, visit};

use crate::StoreError;

/// Which database it is, and how it spells what the two spell differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded database.
    Sqlite,
    /// The server.
    Postgres,
}

impl Dialect {
    /// One of two texts.
    pub fn pick<'a>(self, sqlite: &'a str, postgres: &'a str) -> &'a str {
        match self {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    /// `<column>` is one of the UUIDs of parameter `$n`, as a condition to write behind the column.
    pub fn in_uuids(self, n: usize) -> String {
        match self {
            Dialect::Sqlite => format!("in (select unhex(value) from json_each(${n}))"),
            Dialect::Postgres => format!("= any(${n}::uuid[])"),
        }
    }

    /// `<column>` is one of the texts of parameter `$n`.
    pub fn in_texts(self, n: usize) -> String {
        match self {
            Dialect::Sqlite => format!("in (select value from json_each(${n}))"),
            Dialect::Postgres => format!("= any(${n}::text[])"),
        }
    }

    /// `<column>` is one of the integers of parameter `$n`.
    pub fn in_ints(self, n: usize) -> String {
        match self {
            Dialect::Sqlite => format!("in (select value from json_each(${n}))"),
            Dialect::Postgres => format!("= any(${n}::bigint[])"),
        }
    }
}

/// A statement of a write, and how many rows it has to touch.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The text.
    pub sql: Sql,
    /// Its parameters.
    pub params: Vec<Value>,
    /// What has to be true of its row count.
    pub expect: Option<Expect>,
}

/// A row count that a statement must have; else the whole write is rolled back with this conflict.
#[derive(Debug, Clone)]
pub struct Expect {
    /// How many rows.
    pub rows: u64,
    /// What the conflict says.
    pub conflict: Sql,
}

impl Statement {
    /// A statement that may touch any number of rows.
    pub fn new(sql: impl Into<Sql>, params: Vec<Value>) -> Statement {
        Statement { sql: sql.into(), params, expect: None }
    }

    /// The same, refusing unless it touches that many rows.
    #[must_use]
    pub fn expect(mut self, rows: u64, conflict: impl Into<Sql>) -> Statement {
        self.expect = Some(Expect { rows, conflict: conflict.into() });
        self
    }
}

/// What a statement did.
#[derive(Debug, Clone)]
pub struct Written {
    /// How many rows it touched.
    pub count: u64,
    /// What it returned.
    pub rows: Vec<Row>,
}

/// A write transaction that a script runs in.
pub enum Tx {
    /// On the writer thread's connection.
    Sqlite(sqlite::SqliteTx),
    /// On a session of the pool.
    Postgres(postgres::PostgresTx),
}

impl Tx {
    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match self {
            Tx::Sqlite(_) => Dialect::Sqlite,
            Tx::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement and gives what it returned and touched.
    pub async fn run(&mut self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Written, StoreError> {
        match self {
            Tx::Sqlite(tx) => tx.run(&sql.into(), &params),
            Tx::Postgres(tx) => tx.run(&sql.into(), &params).await,
        }
    }

    /// The rows of a query.
    pub async fn query(&mut self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.run(sql, params).await.map(|written| written.rows)
    }

    /// How many rows a statement touched.
    pub async fn execute(&mut self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<u64, StoreError> {
        self.run(sql, params).await.map(|written| written.count)
    }
}

impl Tx {
    /// From here on it touches the rows of this tenant instead: for what is found first, and belongs to somebody then.
    pub async fn enter(&mut self, tenant: TenantKey) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(_) => Ok(()),
            Tx::Postgres(_) => self.execute(postgres::ENTER_LOCAL, vec![tenant.0.to_string().into()]).await.map(|_| ()),
        }
    }
}

/// A script: what a write transaction does when later statements depend on what earlier ones found.
pub(crate) type Script<T> = Box<dyn for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send>;

/// A database that is open. A cheap handle.
#[derive(Clone)]
pub enum Database {
    /// The embedded one.
    Sqlite(sqlite::Sqlite),
    /// The server.
    Postgres(postgres::Postgres),
}

/// Whose rows a statement may touch. PostgreSQL shows it no others, whatever it says (`docs/adr/0019-row-level-security.md`);
/// SQLite has its conditions alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This tenant's.
    Tenant(TenantKey),
    /// Those of all tenants.
    All,
}

impl Database {
    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
        }
    }

    /// For what acts in a tenant: its rows, and what belongs to none.
    pub fn of(&self, tenant: TenantKey) -> Scoped<'_> {
        Scoped { database: self, scope: Scope::Tenant(tenant) }
    }

    /// For what belongs to no tenant, and for what crosses them: sweeps, sealing, look-ups by a secret's hash. No caller
    /// chooses which rows that are.
    pub fn across_tenants(&self) -> Scoped<'_> {
        Scoped { database: self, scope: Scope::All }
    }

    /// Writes statements of several tenants in one transaction, each within its own; for gathered calls.
    pub async fn write_each(&self, statements: Vec<(TenantKey, Statement)>) -> Result<Vec<Written>, StoreError> {
        let Some((first, _)) = statements.first() else { return Ok(Vec::new()) };
        let scoped = self.of(*first);
        let mut now = *first;
        let mut flight = Vec::with_capacity(statements.len());
        let mut entering = Vec::new();
        for (tenant, statement) in statements {
            if now != tenant && self.dialect() == Dialect::Postgres {
                entering.push(flight.len());
                flight.push(Statement::new(postgres::ENTER_LOCAL, vec![tenant.0.to_string().into()]));
            }
            now = tenant;
            flight.push(statement);
        }
        let written = scoped.write(flight).await?;
        let given = written.into_iter().enumerate().filter(|(at, _)| entering.binary_search(at).is_err());
        Ok(given.map(|(_, written)| written).collect())
    }
}

/// A database, and whose rows are asked for.
#[derive(Clone, Copy)]
pub struct Scoped<'a> {
    database: &'a Database,
    scope: Scope,
}

// What speaks to PostgreSQL is boxed: it has five kilobytes, which every future that may ask the database would have
// too, six times over in that of a request.
impl Scoped<'_> {
    /// Which database it is.
    pub fn dialect(self) -> Dialect {
        self.database.dialect()
    }

    /// Reads: the rows of one query.
    pub async fn query(self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self.database {
            Database::Sqlite(sqlite) => sqlite.query(sql.into(), params).await,
            Database::Postgres(postgres) => Box::pin(postgres.query(self.scope, &sql.into(), &params)).await,
        }
    }

    /// Reads: the first row of a query, if there is one.
    pub async fn query_opt(self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Writes one statement, durably, and gives what it touched and returned.
    pub async fn execute(self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Written, StoreError> {
        let mut written = self.write(vec![Statement::new(sql, params)]).await?;
        written.pop().ok_or(StoreError::Closed)
    }

    /// Writes these statements in one transaction, durably; none of them if one fails or its count is not as expected.
    pub async fn write(self, statements: Vec<Statement>) -> Result<Vec<Written>, StoreError> {
        match self.database {
            Database::Postgres(postgres) => Box::pin(postgres.write(self.scope, statements)).await,
            Database::Sqlite(_) => {
                self.transact(move |tx| {
                    Box::pin(async move {
                        let mut all = Vec::with_capacity(statements.len());
                        for statement in statements {
                            let written = tx.run(statement.sql, statement.params).await?;
                            check(&written, statement.expect.as_ref())?;
                            all.push(written);
                        }
                        Ok(all)
                    })
                })
                .await
            }
        }
    }

    /// Runs a script in one write transaction: durable if it gives `Ok`, without any trace if it gives `Err`.
    ///
    /// On SQLite it runs on the writer thread, so it must wait for nothing but its own statements.
    pub async fn transact<T, F>(self, script: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        match self.database {
            Database::Sqlite(sqlite) => sqlite.transact(Box::new(script)).await,
            Database::Postgres(postgres) => Box::pin(postgres.transact(self.scope, Box::new(script))).await,
        }
    }
}

/// Refuses a row count that is not the expected one.
fn check(written: &Written, expect: Option<&Expect>) -> Result<(), StoreError> {
    match expect {
        Some(expect) if expect.rows != written.count => Err(StoreError::conflict(expect.conflict.clone())),
        _ => Ok(()),
    }
}
