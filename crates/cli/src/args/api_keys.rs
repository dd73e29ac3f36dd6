//! `windlass api-keys create`: the other commands of API keys are those of their record.

use clap::{Args, Subcommand};

/// `windlass api-keys …`
#[derive(Debug, Subcommand)]
pub enum ApiKeysCommand {
    /// Make an API key and print it, this once
    Create(ApiKeyArgs),
}

/// What `windlass api-keys create` takes.
#[derive(Debug, Args)]
pub struct ApiKeyArgs {
    /// What people call it
    pub name: String,
    /// What it may do, such as `runs.start`; may be given more than once; everything that you may do when left out
    #[arg(long = "scope", value_name = "PERMISSION")]
    pub scopes: Vec<String>,
    /// The identity provider that provisions people with it, by SCIM: it is that provider's key then, and may do nothing else
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Days after which it ends; never when left out
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: Option<u32>,
    /// Requests that it may send in a minute, over all servers; without bound when left out
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests_per_minute: Option<u32>,
    /// The slug of the tenant, straight on a database; a server makes keys of the tenant that you are signed in to
    #[arg(long, value_name = "SLUG")]
    pub tenant: Option<String>,
}
