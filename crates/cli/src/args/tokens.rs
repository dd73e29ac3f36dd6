//! `windlass tokens …`: by what programs use a server.

use clap::{Args, Subcommand};

/// `windlass tokens …`: the database is the one of `--data-dir` or `--database-url`, else `./windlass-data`.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// List the API tokens of a tenant
    List(OfTenant),
    /// Make an API token and print it, this once; on PostgreSQL while servers run
    Add {
        /// What people call it
        name: String,
        /// What it may do, such as `runs.start`; may be given more than once; everything when left out
        #[arg(long = "scope", value_name = "PERMISSION")]
        scopes: Vec<String>,
        /// Days after which it ends; never when left out
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: Option<u32>,
        /// Whose
        #[command(flatten)]
        of: OfTenant,
    },
    /// Revoke an API token; servers that know it take it for 10 more seconds
    Revoke {
        /// Its id
        id: uuid::Uuid,
        /// Whose
        #[command(flatten)]
        of: OfTenant,
    },
}

/// Which tenant.
#[derive(Debug, Clone, Args)]
pub struct OfTenant {
    /// The slug of the tenant
    #[arg(long, default_value = "default", value_name = "SLUG")]
    pub tenant: String,
}
