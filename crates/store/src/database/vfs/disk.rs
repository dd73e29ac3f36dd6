//! What checks put below SQLite to lose, tear or refuse its writes. Nothing is there otherwise.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

/// What is about to be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// These bytes are to be written there.
    Write {
        /// From which byte of the file on.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// The file is to end there.
    Truncate {
        /// At which byte.
        length: u64,
    },
    /// All that was written is to be on disk.
    Sync,
    /// The file is to go away.
    Delete,
}

/// Why a disk does not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// It is full.
    Full,
    /// It fails.
    Failed,
}

/// A disk that is watched, or worse.
pub trait Disk: Send + Sync {
    /// Is told of a change before it is made, and may refuse it.
    ///
    /// # Errors
    /// It is not to be made.
    fn before(&self, file: &Path, change: Change<'_>) -> Result<(), DiskError>;

    /// Is told of a change that was made.
    fn after(&self, file: &Path, change: Change<'_>);
}

static DISK: OnceLock<Arc<dyn Disk>> = OnceLock::new();

/// Puts a disk below every SQLite database that this process opens from now on. For checks: only the first one counts.
///
/// A global, because SQLite keeps its file systems in one as well.
pub fn put_below(disk: Arc<dyn Disk>) {
    // The first one counts.
    let _ = DISK.set(disk);
}

/// Makes a change unless the disk refuses it, and tells the disk.
pub(super) fn change<T>(
    file: &Path,
    change: Change<'_>,
    make: impl FnOnce() -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    let Some(disk) = DISK.get() else { return make() };
    disk.before(file, change)?;
    let made = make()?;
    disk.after(file, change);
    Ok(made)
}
