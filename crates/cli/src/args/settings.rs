//! `windlass settings …`

use clap::Subcommand;

/// `windlass settings …`
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// List the settings with their values and where these come from
    List,
    /// Print a setting
    Get {
        /// Its name
        name: String,
    },
    /// Choose a value, for the tenant or for the whole installation
    Set {
        /// The setting's name
        name: String,
        /// The value: a number, `on` or `off`, a text, or the words of a list
        #[arg(required = true)]
        value: Vec<String>,
        /// For every tenant and the servers themselves; straight on the database, or on the machine that holds it
        #[arg(long)]
        installation: bool,
    },
    /// Take a choice back
    Unset {
        /// The setting's name
        name: String,
        /// The choice for the whole installation
        #[arg(long)]
        installation: bool,
    },
}
