//! `windlass grant` and `windlass revoke`: roles at the command line.

use clap::Args;

/// Which role, whose, and where it holds.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Whose: the e-mail address of a member
    pub email: String,
    /// Which role, such as `viewer`, `operator`, `builder`
    #[arg(long)]
    pub role: String,
    /// In this folder and those below it alone: its name, or its id
    #[arg(long, value_name = "FOLDER", conflicts_with = "workflow")]
    pub folder: Option<String>,
    /// On this workflow alone
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
}
