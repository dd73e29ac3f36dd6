//! `windlass settings …`

use clap::{Args, Subcommand};

/// `windlass settings …`
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// List the settings with their values and where these come from
    List {
        /// Of which tenant
        #[command(flatten)]
        of: OfTenant,
    },
    /// Print a setting
    Get {
        /// Its name
        name: String,
        /// Of which tenant
        #[command(flatten)]
        of: OfTenant,
    },
    /// Choose a value, for the tenant or for the whole installation
    Set {
        /// The setting's name
        name: String,
        /// The value: a number, `on` or `off`, a text, or the words of a list
        #[arg(required = true)]
        value: Vec<String>,
        /// For every tenant and the servers themselves; straight on the database, or on the machine that holds it
        #[arg(long, conflicts_with = "tenant")]
        installation: bool,
        /// Of which tenant
        #[command(flatten)]
        of: OfTenant,
    },
    /// Take a choice back
    Unset {
        /// The setting's name
        name: String,
        /// The choice for the whole installation
        #[arg(long, conflicts_with = "tenant")]
        installation: bool,
        /// Of which tenant
        #[command(flatten)]
        of: OfTenant,
    },
}

/// Of which tenant.
#[derive(Debug, Args)]
pub struct OfTenant {
    /// The slug of the tenant, for whoever administers the installation; your own when left out
    #[arg(long, value_name = "SLUG")]
    pub tenant: Option<String>,
}
