//! The functions that SQLite calls: the system's own file access, with checks before and after.
//!
//! This is the one place of the store with `unsafe` code: SQLite's interface for file systems is a table of C functions,
//! and no crate offers to wrap the system's own one (those there are replace it, locks and shared memory included, or
//! need a C parser to build). What is relied on:
//!
//! - SQLite passes to each function a file that [`open`] made, until [`close`]; it allocates `szOsFile` bytes for it,
//!   aligned to eight, which hold a [`Shim`] and behind it the system's own file.
//! - Buffers are as long as the length beside them.
//! - The system's file system is never unregistered, so a pointer to it stays good.
#![expect(unsafe_code, reason = "SQLite's file systems are tables of C functions; see above")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
    sync::OnceLock,
};

use rusqlite::{
    Connection,
    ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs},
};

use super::{
    disk::{self, Change, DiskError},
    found,
    log::{Log, OpenLog},
    page,
};

/// The code of an error that [`super::take_found`] explains.
pub(crate) const DAMAGED: c_int = ffi::SQLITE_IOERR_DATA;

const NAME: &CStr = c"windlass";

/// A file as SQLite holds it; the system's own file lies behind it.
#[repr(C)]
struct Shim {
    base: sqlite3_file,
    about: *mut About,
}

const _: () = assert!(size_of::<Shim>().is_multiple_of(8), "the system's file behind it has to be aligned");

/// What is known of an open file.
struct About {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Database,
    Log(OpenLog),
    Other,
}

/// The name of the file system, which is registered on first use.
pub(super) fn name() -> rusqlite::Result<&'static CStr> {
    static CODE: OnceLock<c_int> = OnceLock::new();
    match *CODE.get_or_init(register) {
        ffi::SQLITE_OK => Ok(NAME),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

fn register() -> c_int {
    // SAFETY: a null name asks for the default. What is registered is leaked, as SQLite keeps the pointer for good.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        let Some(theirs) = system.as_ref() else { return ffi::SQLITE_ERROR };
        let Ok(shim_bytes) = c_int::try_from(size_of::<Shim>()) else { return ffi::SQLITE_ERROR };
        let mut ours = *theirs;
        ours.iVersion = theirs.iVersion.min(2);
        ours.szOsFile = theirs.szOsFile + shim_bytes;
        ours.pNext = ptr::null_mut();
        ours.zName = NAME.as_ptr();
        ours.pAppData = system.cast();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        ours.xAccess = Some(access);
        ours.xFullPathname = Some(full_pathname);
        ours.xRandomness = Some(randomness);
        ours.xSleep = Some(sleep);
        ours.xCurrentTime = Some(current_time);
        ours.xGetLastError = Some(last_error);
        ours.xCurrentTimeInt64 = theirs.xCurrentTimeInt64.map(|_| current_time_int64 as _);
        // Nothing is loaded at run time.
        (ours.xDlOpen, ours.xDlError, ours.xDlSym, ours.xDlClose) = (None, None, None, None);
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 0)
    }
}

/// Has the last bytes of each page of a new database left to us.
pub(super) fn reserve(connection: &Connection) -> rusqlite::Result<()> {
    let Ok(mut bytes) = c_int::try_from(page::RESERVED_BYTES) else { return Ok(()) };
    // SAFETY: the handle is the connection's, which is borrowed; the argument is an int, as this operation wants.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast(),
        )
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)) }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // The second version has shared memory, which the log needs; the third would let SQLite map pages past us.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn code(result: Result<(), DiskError>, failed: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(DiskError::Failed) => failed,
    }
}

/// Lets `change` see a code of SQLite that is not success as a failure, and keeps the code.
fn made(result: c_int, kept: &mut c_int) -> Result<(), DiskError> {
    *kept = result;
    if result == ffi::SQLITE_OK { Ok(()) } else { Err(DiskError::Failed) }
}

fn length(bytes: c_int) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// The number of the page that lies there, if exactly one does.
fn page_at(offset: i64, bytes: usize) -> Option<u64> {
    let offset = u64::try_from(offset).ok()?;
    let whole = bytes == page::BYTES && offset.is_multiple_of(page::BYTES as u64);
    whole.then_some(offset / page::BYTES as u64 + 1)
}

/// The system's own file, behind ours.
///
/// # Safety
/// `file` is one that `open` made or is making.
unsafe fn inner(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite allocated room for both.
    unsafe { file.cast::<Shim>().add(1).cast() }
}

/// The functions of the system's own file.
///
/// # Safety
/// `file` is one that `open` made.
unsafe fn methods(file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
    // SAFETY: an open file has its methods, which are static in SQLite.
    unsafe { &*(*inner(file)).pMethods }
}

/// What is known of a file.
///
/// # Safety
/// `file` is one that `open` made, and is not closed while the answer is used.
unsafe fn about<'a>(file: *mut sqlite3_file) -> &'a About {
    // SAFETY: `open` put it there and `close` takes it away.
    unsafe { &*(*file.cast::<Shim>()).about }
}

/// Calls a function of the system's own file; a function that is missing is an error.
macro_rules! pass {
    ($file:expr, $method:ident($($argument:expr),*)) => {
        match methods($file).$method {
            Some(function) => function(inner($file), $($argument),*),
            None => ffi::SQLITE_IOERR,
        }
    };
}

/// Defines functions that only pass on to the system's own file.
macro_rules! passed_on {
    ($($name:ident => $method:ident($($argument:ident: $kind:ty),*);)*) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $kind),*) -> c_int {
            // SAFETY: see the module.
            unsafe { pass!(file, $method($($argument),*)) }
        })*
    };
}

passed_on! {
    file_size => xFileSize(size: *mut i64);
    lock => xLock(level: c_int);
    unlock => xUnlock(level: c_int);
    check_reserved_lock => xCheckReservedLock(out: *mut c_int);
    file_control => xFileControl(operation: c_int, argument: *mut c_void);
    sector_size => xSectorSize();
    shm_map => xShmMap(region: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock => xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap => xShmUnmap(remove: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: see the module.
    unsafe {
        if let Some(function) = methods(file).xShmBarrier {
            function(inner(file));
        }
    }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see the module. A part of a page could not be checked, so none is offered.
    unsafe { pass!(file, xDeviceCharacteristics()) & !ffi::SQLITE_IOCAP_SUBPAGE_READ }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: see the module. A file without methods is not closed, which is what the first line makes it.
    unsafe {
        (*file).pMethods = ptr::null();
        let system = (*vfs).pAppData.cast::<sqlite3_vfs>();
        let Some(theirs) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = theirs(system, name, inner(file), flags, out_flags);
        if code != ffi::SQLITE_OK {
            // It is ours to close what they opened in part.
            if let Some(methods) = (*inner(file)).pMethods.as_ref()
                && let Some(close) = methods.xClose
            {
                close(inner(file));
            }
            return code;
        }
        let path = if name.is_null() { PathBuf::new() } else { path_of(name) };
        let kind = match flags {
            flags if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => Kind::Database,
            flags if flags & ffi::SQLITE_OPEN_WAL != 0 => Kind::Log(OpenLog::of(&path)),
            _ => Kind::Other,
        };
        (*file.cast::<Shim>()).about = Box::into_raw(Box::new(About { path, kind }));
        (*file).pMethods = &raw const METHODS;
        code
    }
}

/// # Safety
/// `name` is a text that ends with a zero.
unsafe fn path_of(name: *const c_char) -> PathBuf {
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) };
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned()
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see the module; SQLite closes a file once.
    unsafe {
        let code = pass!(file, xClose());
        drop(Box::from_raw((*file.cast::<Shim>()).about));
        (*file).pMethods = ptr::null();
        code
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: see the module; the buffer has `amount` bytes, all of them set once reading succeeded.
    unsafe {
        let code = pass!(file, xRead(buffer, amount, offset));
        if code != ffi::SQLITE_OK {
            return code;
        }
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length(amount));
        let whole = match &about(file).kind {
            Kind::Database => check_database(offset, bytes),
            Kind::Log(log) => check_log(log.shared(), offset, bytes),
            Kind::Other => true,
        };
        if whole { ffi::SQLITE_OK } else { DAMAGED }
    }
}

/// Whether what was read of the database is what was written; says what is not.
fn check_database(offset: i64, bytes: &[u8]) -> bool {
    /// SQLite looks at the header before it knows how large a page is; it reads the whole page before it believes it.
    const HEADER_BYTES: usize = 100;
    let number = match (page_at(offset, bytes.len()), <&[u8; page::BYTES]>::try_from(bytes)) {
        (Some(number), Ok(bytes)) if page::is_whole(number, bytes) => return true,
        (Some(number), _) => number,
        (None, _) if bytes.len() <= HEADER_BYTES => return true,
        // SQLite asks for other sizes when the header says that pages have them.
        (None, _) => 1,
    };
    found(page::problem(number));
    false
}

fn check_log(log: &Log, offset: i64, bytes: &[u8]) -> bool {
    let Ok(offset) = u64::try_from(offset) else { return true };
    let whole = log.is_whole(offset, bytes);
    if !whole {
        found(format!("a page in windlass.db-wal, at byte {offset}, is not what was written"));
    }
    whole
}

unsafe extern "C" fn write(file: *mut sqlite3_file, buffer: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: see the module; the buffer has `amount` bytes.
    unsafe {
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length(amount));
        let about = about(file);
        let sealed = match (&about.kind, page_at(offset, bytes.len()), <&[u8; page::BYTES]>::try_from(bytes)) {
            (Kind::Database, Some(number), Ok(content)) => Some(page::sealed(number, content)),
            _ => None,
        };
        let bytes = sealed.as_ref().map_or(bytes, <[u8; page::BYTES]>::as_slice);
        let place = u64::try_from(offset).unwrap_or(0);
        let mut kept = ffi::SQLITE_IOERR_WRITE;
        let written = disk::change(&about.path, Change::Write { offset: place, bytes }, || {
            made(pass!(file, xWrite(bytes.as_ptr().cast(), amount, offset)), &mut kept)
        });
        match (&written, &about.kind) {
            (Ok(()), Kind::Log(log)) => log.wrote(place, bytes),
            (Err(_), Kind::Log(log)) => log.failed(),
            _ => {}
        }
        code(written, kept)
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let about = about(file);
        let end = u64::try_from(size).unwrap_or(0);
        let mut kept = ffi::SQLITE_IOERR_TRUNCATE;
        let told = if let Kind::Log(log) = &about.kind { log.shared().ends_at(end) } else { Ok(()) };
        let truncated = told.and_then(|()| {
            disk::change(&about.path, Change::Truncate { length: end }, || {
                made(pass!(file, xTruncate(size)), &mut kept)
            })
        });
        code(truncated, kept)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let about = about(file);
        let mut kept = ffi::SQLITE_IOERR_FSYNC;
        let synced = disk::change(&about.path, Change::Sync, || made(pass!(file, xSync(flags)), &mut kept));
        let marked = match (&synced, &about.kind) {
            (Ok(()), Kind::Log(log)) => log.synced(),
            (Err(_), Kind::Log(log)) => {
                log.failed();
                Ok(())
            }
            _ => Ok(()),
        };
        if marked.is_err() {
            // What was committed is on disk; without a mark only less can be said about damage.
            tracing::warn!("windlass.db-wal-mark could not be written");
        }
        code(synced, kept)
    }
}

/// Calls a function of the system's file system; a function that is missing is an error.
macro_rules! pass_vfs {
    ($vfs:expr, $function:ident($($argument:expr),*)) => {{
        let system = (*$vfs).pAppData.cast::<sqlite3_vfs>();
        match (*system).$function {
            Some(function) => function(system, $($argument),*),
            None => ffi::SQLITE_ERROR,
        }
    }};
}

/// Defines functions that only pass on to the system's file system.
macro_rules! passed_on_vfs {
    ($($name:ident => $function:ident($($argument:ident: $kind:ty),*);)*) => {
        $(unsafe extern "C" fn $name(vfs: *mut sqlite3_vfs, $($argument: $kind),*) -> c_int {
            // SAFETY: see the module.
            unsafe { pass_vfs!(vfs, $function($($argument),*)) }
        })*
    };
}

passed_on_vfs! {
    access => xAccess(name: *const c_char, flags: c_int, out: *mut c_int);
    full_pathname => xFullPathname(name: *const c_char, bytes: c_int, out: *mut c_char);
    randomness => xRandomness(bytes: c_int, out: *mut c_char);
    sleep => xSleep(microseconds: c_int);
    current_time => xCurrentTime(out: *mut f64);
    current_time_int64 => xCurrentTimeInt64(out: *mut i64);
    last_error => xGetLastError(bytes: c_int, out: *mut c_char);
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let path = path_of(name);
        let mut kept = ffi::SQLITE_IOERR_DELETE;
        let is_log = path.as_os_str().as_bytes().ends_with(b"-wal");
        let told = if is_log { Log::of(&path).ends_at(0) } else { Ok(()) };
        let deleted = told.and_then(|()| {
            disk::change(&path, Change::Delete, || made(pass_vfs!(vfs, xDelete(name, sync_directory)), &mut kept))
        });
        code(deleted, kept)
    }
}
