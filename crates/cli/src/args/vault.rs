//! `windlass vault …`: the keys with which secrets are sealed.

use clap::Subcommand;

/// `windlass vault …`
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Say which master keys open the vault
    Status,
    /// Print a new master key: keep it where servers find theirs
    NewKey,
    /// Give up what is sealed with a master key that is lost; workflows, runs and all else stay
    Forget {
        /// Yes, secrets and credentials lose their values
        #[arg(long)]
        yes: bool,
    },
}
