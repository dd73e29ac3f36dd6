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
    /// Makes a change, by calling `make`, or refuses it.
    ///
    /// # Errors
    /// It was not made.
    fn change(
        &self,
        file: &Path,
        change: Change<'_>,
        make: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<(), DiskError>;
}

static DISK: OnceLock<Arc<dyn Disk>> = OnceLock::new();

/// Puts a disk below every SQLite database that this process opens from now on. For checks: only the first one counts.
///
/// A global, because SQLite keeps its file systems in one as well.
pub fn put_below(disk: Arc<dyn Disk>) {
    // The first one counts.
    let _ = DISK.set(disk);
}

/// Makes a change, through the disk if there is one.
pub(super) fn change(
    file: &Path,
    change: Change<'_>,
    mut make: impl FnMut() -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    match DISK.get() {
        None => make(),
        Some(disk) => disk.change(file, change, &mut make),
    }
}
