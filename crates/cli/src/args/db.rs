//! `windlass db …`: looking after the database.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `windlass db …`: the database is the one of `--data-dir` or `--database-url`, else `./windlass-data`.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Make the database and its tables
    Init,
    /// Bring the tables to this program's version
    Migrate,
    /// Say which version the database has and what is pending
    Status,
    /// Compare the live tables with the declared ones and name each difference
    Validate,
    /// Count rows and bytes
    Stats,
    /// Write a consistent copy; on PostgreSQL while servers run
    Backup {
        /// The file to write
        to: PathBuf,
    },
    /// Read a copy into an empty database
    Restore {
        /// The file to read
        from: PathBuf,
    },
    /// Copy everything into another, empty database, SQLite or PostgreSQL
    Move(DbPlace),
    /// Print the declared tables: SQL, JSON with --json, or a diagram
    Schema {
        /// For which database
        #[arg(long, value_parser = ["sqlite", "postgres"])]
        dialect: Option<String>,
        /// Print an entity-relationship diagram in Mermaid
        #[arg(long)]
        mermaid: bool,
    },
    /// Read every journal and check its order and checksums
    Check {
        /// Read all files too, and compare them with their checksums
        #[arg(long)]
        files: bool,
    },
    /// Copy the bytes of all files, which no backup holds, to another storage; what lies there already is left
    CopyFiles {
        /// A directory, or `s3://bucket/prefix`
        to: String,
    },
    /// Delete everything
    Reset {
        /// Yes, everything
        #[arg(long)]
        yes: bool,
    },
}

/// Where `windlass db move` copies to.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct DbPlace {
    /// A data directory, for SQLite
    #[arg(long, value_name = "DIR")]
    pub to_data_dir: Option<PathBuf>,
    /// A PostgreSQL database
    #[arg(long, value_name = "URL")]
    pub to_database_url: Option<String>,
}
