//! The write-ahead log: what this process knows of its pages, and the mark beside it.
//!
//! SQLite checks the log's checksums only when it opens it after a crash, and takes the first wrong one for its end: a
//! flipped bit would take back commits that somebody was told of. So the shim keeps a checksum of every page in the log
//! (of what it wrote, or of what SQLite read and checked at its start) and compares on every read; and the mark says how
//! far the log is on disk. Whoever wrote a transaction writes its end into the mark, once it has synced the log itself:
//! the sync of somebody else, of a checkpoint, may come between two writes of a transaction, and says nothing of it. The
//! mark itself is not synced: after a power cut it may say too little, never too much.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    disk::{self, Change, DiskError},
    page,
};

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: usize = 24;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + page::BYTES;
const MARK_BYTES: usize = 24;

type Salts = [u8; 8];

/// A piece of the log, by where it is and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Header,
    FrameHeader(usize),
    FramePage(usize),
    Frame(usize),
    Other,
}

fn piece(offset: u64, length: usize) -> Piece {
    let Some(offset) = offset.checked_sub(HEADER_BYTES) else {
        return if offset == 0 && length as u64 == HEADER_BYTES { Piece::Header } else { Piece::Other };
    };
    let Ok(frame) = usize::try_from(offset / FRAME_BYTES as u64) else { return Piece::Other };
    match (usize::try_from(offset % FRAME_BYTES as u64), length) {
        (Ok(0), FRAME_HEADER_BYTES) => Piece::FrameHeader(frame),
        (Ok(0), FRAME_BYTES) => Piece::Frame(frame),
        (Ok(FRAME_HEADER_BYTES), page::BYTES) => Piece::FramePage(frame),
        _ => Piece::Other,
    }
}

/// A checksum that is never 0, which stands for "not known".
fn sum(page: &[u8]) -> u64 {
    xxh3_64(page).max(1)
}

/// What this process knows of a log; all its connections share it.
pub(super) struct Log {
    pages: RwLock<Vec<u64>>,
    mark: Mutex<Mark>,
}

/// The log as one connection has it open.
pub(super) struct OpenLog {
    log: Arc<Log>,
    /// The frame with which this connection ended a transaction since it last synced the log, counted from 1; 0 without.
    ended: AtomicU32,
}

struct Mark {
    path: PathBuf,
    /// Opened for the first sync.
    file: Option<File>,
    /// Of the log that is there now.
    salts: Salts,
}

static LOGS: Mutex<Option<HashMap<PathBuf, Weak<Log>>>> = Mutex::new(None);

impl Log {
    /// Of that file.
    pub(super) fn of(path: &Path) -> Arc<Log> {
        let mut logs = LOGS.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = logs.get_or_insert_default();
        if let Some(log) = logs.get(path).and_then(Weak::upgrade) {
            return log;
        }
        let mut mark = path.as_os_str().to_owned();
        mark.push("-mark");
        let mark = Mark { path: mark.into(), file: None, salts: Salts::default() };
        let log = Arc::new(Log { pages: RwLock::default(), mark: Mutex::new(mark) });
        logs.retain(|_, log| log.strong_count() > 0);
        logs.insert(path.to_owned(), Arc::downgrade(&log));
        log
    }

    fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was read is what was written; learns what SQLite is about to check by itself.
    pub(super) fn is_whole(&self, offset: u64, bytes: &[u8]) -> bool {
        match piece(offset, bytes.len()) {
            Piece::FramePage(frame) => self.known(frame).is_none_or(|known| known == sum(bytes)),
            Piece::Frame(frame) => {
                let sum = sum(&bytes[FRAME_HEADER_BYTES..]);
                match self.known(frame) {
                    Some(known) => known == sum,
                    None => {
                        self.learn(frame, sum);
                        true
                    }
                }
            }
            Piece::Header => {
                let mut mark = self.mark();
                if mark.salts == Salts::default() {
                    mark.salts.copy_from_slice(&bytes[16..24]);
                }
                true
            }
            Piece::FrameHeader(_) | Piece::Other => true,
        }
    }

    fn known(&self, frame: usize) -> Option<u64> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        pages.get(frame).copied().filter(|sum| *sum != 0)
    }

    fn learn(&self, frame: usize, sum: u64) {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        if pages.len() <= frame {
            pages.resize(frame + 1, 0);
        }
        pages[frame] = sum;
    }

    fn forget_from(&self, offset: u64) {
        let first = offset.saturating_sub(HEADER_BYTES) / FRAME_BYTES as u64;
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        pages.truncate(usize::try_from(first).unwrap_or(usize::MAX));
    }

    /// The log is about to end there: the mark must not say more, even after a power cut.
    pub(super) fn ends_at(&self, length: u64) -> Result<(), DiskError> {
        self.forget_from(length);
        self.mark().clear()
    }
}

impl OpenLog {
    /// Of that file.
    pub(super) fn of(path: &Path) -> OpenLog {
        OpenLog { log: Log::of(path), ended: AtomicU32::new(0) }
    }

    /// What all connections know of it.
    pub(super) fn shared(&self) -> &Log {
        &self.log
    }

    /// Notes what this connection wrote.
    pub(super) fn wrote(&self, offset: u64, bytes: &[u8]) {
        match piece(offset, bytes.len()) {
            Piece::Header => self.log.mark().salts.copy_from_slice(&bytes[16..24]),
            Piece::FrameHeader(frame) if bytes[4..8] != [0; 4] => {
                self.ended.store(u32::try_from(frame + 1).unwrap_or(u32::MAX), Ordering::Relaxed);
            }
            Piece::FrameHeader(_) => {}
            Piece::FramePage(frame) => self.log.learn(frame, sum(bytes)),
            // SQLite writes in no other pieces; what it did write would be unknown from here on.
            Piece::Frame(_) | Piece::Other => self.log.forget_from(offset),
        }
    }

    /// A write or a sync of this connection failed: its transaction is none.
    pub(super) fn failed(&self) {
        self.ended.store(0, Ordering::Relaxed);
    }

    /// This connection has synced the log: writes into the mark where the transaction ends that it wrote before.
    pub(super) fn synced(&self) -> Result<(), DiskError> {
        match self.ended.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            frame => self.log.mark().write(frame),
        }
    }
}

impl Mark {
    fn write(&mut self, frame: u32) -> Result<(), DiskError> {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.salts);
        bytes[8..12].copy_from_slice(&frame.to_le_bytes());
        let checksum = xxh3_64(&bytes[..16]);
        bytes[16..].copy_from_slice(&checksum.to_le_bytes());
        let (path, file) = (&self.path, &mut self.file);
        disk::change(path, Change::Write { offset: 0, bytes: &bytes }, || {
            opened(path, file)?.write_all_at(&bytes, 0).map_err(|_| DiskError::Failed)
        })
    }

    fn clear(&mut self) -> Result<(), DiskError> {
        let (path, file) = (&self.path, &mut self.file);
        if file.is_none() && !path.exists() {
            return Ok(());
        }
        let zeros = [0; MARK_BYTES];
        disk::change(path, Change::Write { offset: 0, bytes: &zeros }, || {
            opened(path, file)?.write_all_at(&zeros, 0).map_err(|_| DiskError::Failed)
        })?;
        disk::change(path, Change::Sync, || opened(path, file)?.sync_data().map_err(|_| DiskError::Failed))
    }
}

fn opened<'a>(mark: &Path, file: &'a mut Option<File>) -> Result<&'a File, DiskError> {
    if file.is_none() {
        let mut options = OpenOptions::new();
        let made = options.write(true).create(true).truncate(false).open(mark);
        *file = Some(made.map_err(|_| DiskError::Failed)?);
    }
    file.as_ref().ok_or(DiskError::Failed)
}

/// The mark, if it holds one.
fn read_mark(path: &Path) -> Option<(Salts, u32)> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() == MARK_BYTES)?;
    let whole = xxh3_64(&bytes[..16]).to_le_bytes() == bytes[16..];
    let (salts, frame) = (bytes[..8].try_into().ok()?, u32::from_le_bytes(bytes[8..12].try_into().ok()?));
    (whole && frame > 0).then_some((salts, frame))
}

/// Refuses a log that ends earlier than the mark says it was on disk.
///
/// # Errors
/// What is damaged, and what to do.
pub(super) fn inspect(log: &Path, mark: &Path) -> Result<(), String> {
    let Some((salts, marked)) = read_mark(mark) else { return Ok(()) };
    let problem = |what: String| {
        format!(
            "{what}; commits would be lost. Restore a backup with `windlass db restore`. To go on without these commits, \
             delete {}",
            mark.display()
        )
    };
    let read = File::open(log).and_then(|file| last_commit(&file, salts));
    match read {
        Ok(Walked::Other) => Ok(()),
        Ok(Walked::To { commit, broken }) if commit < marked => {
            Err(problem(format!("frame {broken} of windlass.db-wal is not what was written, of {marked} on disk")))
        }
        Ok(Walked::To { .. }) => Ok(()),
        Ok(Walked::NoHeader) => Err(problem("the header of windlass.db-wal is not what was written".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(problem(format!("windlass.db-wal is missing, with {marked} frames")))
        }
        Err(error) => Err(format!("windlass.db-wal cannot be read: {error}")),
    }
}

enum Walked {
    /// The log is a later one than the mark's.
    Other,
    /// It has no header that can be believed.
    NoHeader,
    /// The last frame that ends a transaction, and the first that cannot be believed; both counted from 1.
    To { commit: u32, broken: u32 },
}

/// Walks the log as SQLite does after a crash.
fn last_commit(file: &File, salts: Salts) -> io::Result<Walked> {
    let mut header = [0; HEADER_BYTES as usize];
    if file.metadata()?.len() < HEADER_BYTES {
        return Ok(Walked::NoHeader);
    }
    file.read_exact_at(&mut header, 0)?;
    // The lowest bit of the magic number says how the words of checksums are ordered.
    let big_endian = header[3] & 1 == 1;
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes);
    let mut sums = checksum((0, 0), &header[..24], big_endian);
    if word(&header[..4]) & !1 != 0x377f_0682 || sums != (word(&header[24..28]), word(&header[28..32])) {
        return Ok(Walked::NoHeader);
    }
    if header[16..24] != salts {
        return Ok(Walked::Other);
    }
    let (mut commit, mut frame) = (0, 1);
    let mut bytes = vec![0; FRAME_BYTES];
    let mut offset = HEADER_BYTES;
    while file.read_exact_at(&mut bytes, offset).is_ok() {
        let (head, page) = bytes.split_at(FRAME_HEADER_BYTES);
        sums = checksum(checksum(sums, &head[..8], big_endian), page, big_endian);
        if head[8..16] != salts || sums != (word(&head[16..20]), word(&head[20..24])) {
            break;
        }
        if head[4..8] != [0; 4] {
            commit = frame;
        }
        frame += 1;
        offset += FRAME_BYTES as u64;
    }
    Ok(Walked::To { commit, broken: frame })
}

/// SQLite's checksum of the log, over words of 32 bits.
fn checksum(from: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    bytes.chunks_exact(8).fold(from, |(s0, s1), pair| {
        let s0 = s0.wrapping_add(word(&pair[..4])).wrapping_add(s1);
        (s0, s1.wrapping_add(word(&pair[4..])).wrapping_add(s0))
    })
}
