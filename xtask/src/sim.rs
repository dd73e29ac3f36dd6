//! The simulator: builds it, with or without planted bugs, and hands over.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context, bail};

/// Whether bugs are planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bugs {
    /// The product as it is.
    None,
    /// Each of them in turn.
    Planted,
}

/// Plays seeds with these arguments.
///
/// # Errors
/// It does not build, or something did not hold.
pub fn run(root: &Path, bugs: Bugs, arguments: &[OsString]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut play = Command::new(cargo);
    play.args(["run", "--quiet", "--package", "windlass-testkit", "--bin", "windlass-sim"]).current_dir(root);
    if bugs == Bugs::Planted {
        play.args(["--features", "mutants"]);
    }
    play.args(["--", "--commit", &commit(root)]);
    if bugs == Bugs::Planted {
        play.arg("--mutants");
    }
    if !play.args(arguments).status().context("failed to run cargo")?.success() {
        bail!("the check failed");
    }
    Ok(())
}

/// The commit that is checked out, if git knows.
fn commit(root: &Path) -> String {
    let asked = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root).output();
    let said =
        asked.ok().filter(|it| it.status.success()).map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    said.unwrap_or_else(|| "unknown".to_owned())
}
