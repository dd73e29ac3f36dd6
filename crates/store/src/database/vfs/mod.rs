//! What lies between SQLite and the disk: a checksum on every page, and a place to harm a disk from in checks.
//!
//! SQLite takes what the disk gives it. Here a page that is not what was written is an error that names it, never an
//! answer. `docs/adr/0007-page-checksums.md` says how, and what it costs.
//!
//! - [`page`]: the last eight bytes of a page of the database are the checksum of the others and of its number.
//! - [`log`]: pages in the write-ahead log are compared with what this process wrote or read at its start; a mark beside
//!   the log says how far it was on disk, so that a log that breaks off earlier is found before SQLite reads it.
//! - [`disk`]: what checks put below to lose, tear or refuse writes.
//! - [`shim`]: the functions that SQLite calls; the one place with `unsafe` code.
//!
//! Invariant: every connection of the store is opened by [`connect`]; who writes with any other destroys the checksums.

pub(crate) mod disk;
pub(crate) mod log;
pub(crate) mod page;
mod shim;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, fs::File, io::Read as _, path::Path};

use rusqlite::{Connection, OpenFlags};

use crate::{
    StoreError,
    database::sqlite::{APPLICATION_ID, Files},
};

pub(crate) use shim::DAMAGED;

thread_local! {
    /// What was found damaged last. SQLite passes on a code alone, and it does so on this thread.
    static FOUND: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn found(what: String) {
    FOUND.with_borrow_mut(|found| *found = Some(what));
}

/// What the shim refused last on this thread, in words.
pub(crate) fn take_found() -> Option<String> {
    FOUND.with_borrow_mut(Option::take)
}

/// Opens a connection whose pages are checked.
///
/// # Errors
/// SQLite refuses.
pub(crate) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags_and_vfs(path, flags, shim::name()?)?;
    shim::reserve(&connection)?;
    Ok(connection)
}

/// Refuses files that are not what SQLite should be shown: another program's, or damaged in a way that SQLite would take
/// for an empty database or for the end of the log.
///
/// # Errors
/// See above; the text says what to do.
pub(crate) fn inspect(files: &Files) -> Result<(), StoreError> {
    log::inspect(&files.log(), &files.mark()).map_err(StoreError::Damaged)?;
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes(&files.log()) > 0 || bytes(&files.journal()) > 0 {
        // The first page may be half written: SQLite puts it right from there, and then it is checked as all others.
        return Ok(());
    }
    let mut first = [0; page::BYTES];
    let length = match File::open(files.database()).and_then(|mut file| read_up_to(&mut file, &mut first)) {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(files.problem(error)),
    };
    if length == 0 || (length == page::BYTES && page::is_whole(1, &first)) {
        return Ok(());
    }
    // One flipped bit leaves two of these three as they were.
    let is_sqlite = first.starts_with(b"SQLite format 3\0");
    let is_ours = first[68..72] == APPLICATION_ID.to_be_bytes();
    let is_reserved = usize::from(first[20]) == page::RESERVED_BYTES;
    match (is_sqlite, is_ours, is_reserved) {
        (false, false, _) | (false, _, false) => Err(files.problem("windlass.db is not a database")),
        (true, false, false) => Err(files.problem("windlass.db is another program's database")),
        _ => Err(StoreError::Damaged(page::problem(1))),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}
