//! The journal and the records, on SQLite and PostgreSQL.

/// A database that this process has open.
#[derive(Debug, Clone)]
pub struct Store {}
