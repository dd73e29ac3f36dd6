//! The checks of what is promised: builds the harness with the program that it checks, and hands over.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context, bail};

/// Runs a check with these arguments, its name first.
///
/// # Errors
/// It does not build, or what was promised did not hold.
pub fn run(root: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "windlass-proof", "--bins"]).current_dir(root);
    if !build.status().context("failed to run cargo")?.success() {
        bail!("the harness does not build");
    }
    let target = std::env::current_exe()?;
    let mut check = Command::new(target.with_file_name("windlass-proof"));
    let status = check.args(arguments).current_dir(root).status().context("failed to run the harness")?;
    if !status.success() {
        bail!("the check failed");
    }
    Ok(())
}
