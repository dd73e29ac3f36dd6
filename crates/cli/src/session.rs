//! Sessions that `windlass login` keeps for later commands: one file for each server, which its owner alone may read.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use sha2::{Digest, Sha256};

use crate::exit::Failure;

/// Where sessions are kept: `WINDLASS_CONFIG_DIR`, or `windlass` where programs of this user keep such things.
fn folder() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    of("WINDLASS_CONFIG_DIR")
        .or_else(|| of("XDG_CONFIG_HOME").map(|dir| dir.join("windlass")))
        .or_else(|| of("HOME").map(|dir| dir.join(".config/windlass")))
}

fn file(url: &str) -> Option<PathBuf> {
    let name = hex::encode(Sha256::digest(url.trim_end_matches('/').as_bytes()));
    Some(folder()?.join(format!("session-{}", &name[..16])))
}

/// The session that is kept for that server.
pub fn of(url: &str) -> Option<String> {
    let text = fs::read_to_string(file(url)?).ok()?;
    Some(text.trim().to_owned()).filter(|it| !it.is_empty())
}

/// Keeps the session for that server.
///
/// # Errors
/// The file cannot be written.
pub fn keep(url: &str, token: &str) -> Result<(), Failure> {
    let file = file(url)
        .ok_or_else(|| Failure::refused("there is no HOME to keep the session in: set WINDLASS_CONFIG_DIR"))?;
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    // Made anew, so that nobody who had the old file open reads the new session.
    let _ = fs::remove_file(&file);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?.write_all(token.as_bytes())?;
    Ok(())
}

/// Forgets the session that is kept for that server, once it is over.
///
/// # Errors
/// The file cannot be removed.
pub fn forget(url: &str) -> Result<(), Failure> {
    match file(url).map(fs::remove_file) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
