//! What can go wrong in the store, in the words that its users act on.

use std::{error::Error, path::PathBuf, sync::Arc};

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused a statement, or went away; `code` is its own code (a SQLSTATE, or SQLite's).
    #[error("failed to {doing}: {cause}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database's own code.
        code: String,
        /// What the driver said.
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// The database cannot be reached, is read-only or full for now: try again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Somebody else changed it first, or it is not in a state that allows this.
    #[error("{0}")]
    Conflict(String),
    /// What is stored is not what was written.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The database was made by a newer version of this program.
    #[error("the database has schema version {found}, this program knows {known}: use a newer version of windlass")]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest one that this program has.
        known: i64,
    },
    /// The database was made by an older version, and migrating was not allowed.
    #[error("the database has schema version {found}, this program needs {known}: run `windlass db migrate`")]
    Older {
        /// The database's version.
        found: i64,
        /// The one that this program needs.
        known: i64,
    },
    /// Another process has the data directory.
    #[error("the data directory {path} is in use by {holder}: stop it, or use another --data-dir")]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Process id and host of who has it.
        holder: String,
    },
    /// The location cannot hold a database: a wrong URL, not a directory, not a database, not writable.
    #[error("cannot open {location}: {reason}")]
    Location {
        /// The path, or the URL without its password.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The vault does not open, or something is asked of it while it is closed: what to do about it.
    #[error("{0}")]
    Locked(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A given value passes a limit or cannot be meant.
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// Something stored does not read back.
    pub fn damaged(what: impl Into<String>) -> StoreError {
        StoreError::Damaged(what.into())
    }

    /// Somebody was faster, or the state does not allow it.
    pub fn conflict(what: impl Into<String>) -> StoreError {
        StoreError::Conflict(what.into())
    }

    /// The database cannot be asked now: it may answer later, or when it is asked again.
    pub fn is_away(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }

    /// The same error, saying what was being done.
    #[must_use]
    pub fn doing(self, doing: &'static str) -> StoreError {
        match self {
            StoreError::Database { code, cause, .. } => StoreError::Database { doing, code, cause },
            other => other,
        }
    }

    /// The database's own code, if it was the database that refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            StoreError::Database { code, .. } => Some(code),
            _ => None,
        }
    }
}
