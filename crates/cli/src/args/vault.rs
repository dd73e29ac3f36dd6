//! `windlass vault …`: the keys with which secrets are sealed.

use clap::Subcommand;

/// `windlass vault …`
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Say which master keys open the vault
    Status,
    /// Print a new master key: keep it where servers find theirs
    NewKey,
    /// Replace the master key while servers run; to be asked again until it is done
    Rotate {
        /// Replace the data keys of all tenants instead, and seal everything anew in the background
        #[arg(long)]
        data_keys: bool,
    },
    /// Try a credential against what it is for, as far as its type can be tried
    Test {
        /// The credential's id
        id: String,
    },
    /// Give up what is sealed with a master key that is lost; workflows, runs and all else stay
    Forget {
        /// Yes, secrets and credentials lose their values
        #[arg(long)]
        yes: bool,
    },
}
