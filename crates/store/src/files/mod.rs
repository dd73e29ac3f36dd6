//! Files: bytes beside the database, in a directory or a bucket, and the rows that say what they are.
//!
//! A row of `file_objects` comes before the bytes, and the row of the version behind them, in the transaction that makes
//! or changes the file. So whatever lies in the storage is known to the database before it lies there, and what no
//! version refers to a day later is swept ([`sweep`]).
//!
//! Invariants: no file is in memory as a whole; a byte leaves only once the checksum of its chunk was found right.

mod links;
mod objects;
mod read;
mod sniff;
mod sweep;
mod upload;
mod whole;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;
use windlass_engine::id::TenantKey;

use crate::{
    RecordError, StoreError,
    store::{Store, StoreOptions},
};
use objects::Objects;

pub use links::SharedFile;
pub use read::{FileChunks, FileContent};
pub use sniff::{Sniffed, is_active, sniff};
pub use upload::{FileBody, Upload, UploadTo};
pub use whole::{FileTotals, FilesReport, OnFiles};

/// How long one upload may take, however many bytes come.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(6 * 3_600);
/// What no version refers to so long after it was begun is swept.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3_600);
/// How long a transfer waits for its place.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a file could not be taken, given or found.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The rows refuse.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It has more bytes than a file may have.
    #[error("a file has {bytes_max} bytes at most (setting `file_bytes_max`)")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The tenant has no room for it.
    #[error(
        "the tenant's files may have {bytes_max} bytes together (its `max_file_bytes`), and have {bytes_used} already"
    )]
    Quota {
        /// The bound.
        bytes_max: u64,
        /// What is there.
        bytes_used: u64,
    },
    /// What was sent ended before its end.
    #[error("the file ended before its end: {0}")]
    Cut(String),
    /// No storage was named.
    #[error(
        "this server has no place for files: name one with the setting `files`, a directory or `s3://bucket/prefix`"
    )]
    NoStorage,
    /// All places for transfers are taken.
    #[error("all {0} transfers of this server are under way (setting `file_transfers_max`): try again")]
    Busy(usize),
    /// The storage does not do what it is asked.
    #[error("the storage of files does not answer as it should: {0}")]
    Storage(String),
    /// What lies there is not what was written.
    #[error("the file is damaged: {0}")]
    Damaged(String),
}

impl Store {
    /// Opens the storage of files, if one was named, in place of waiting for the first of them. A bucket is not asked for anything.
    ///
    /// # Errors
    /// There is no such place, or it cannot be used.
    pub async fn open_file_storage(&self) -> Result<(), FileError> {
        self.inner.files.begin().await
    }
}

impl From<StoreError> for FileError {
    fn from(error: StoreError) -> FileError {
        FileError::Record(error.into())
    }
}

/// The files of an open store.
pub(crate) struct Files {
    place: Option<String>,
    bytes_max: u64,
    transfers_max: usize,
    transfers: Arc<Semaphore>,
    objects: OnceCell<Objects>,
    /// Where the next turn of the sweep begins.
    swept: Mutex<(TenantKey, Uuid)>,
}

impl Files {
    pub(crate) fn of(options: &StoreOptions) -> Files {
        Files {
            place: options.files.clone(),
            bytes_max: options.file_bytes_max,
            transfers_max: options.file_transfers_max,
            transfers: Arc::new(Semaphore::new(options.file_transfers_max)),
            objects: OnceCell::new(),
            swept: Mutex::new((TenantKey(0), Uuid::nil())),
        }
    }

    /// The storage; it is opened when it is first needed.
    async fn objects(&self) -> Result<&Objects, FileError> {
        let place = self.place.as_deref().ok_or(FileError::NoStorage)?;
        self.objects.get_or_try_init(|| async { Objects::open(place) }).await
    }

    /// Opens the storage, if one was named.
    async fn begin(&self) -> Result<(), FileError> {
        match &self.place {
            Some(_) => self.objects().await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// A place among the transfers, until it is dropped.
    async fn enter(&self) -> Result<OwnedSemaphorePermit, FileError> {
        let busy = || FileError::Busy(self.transfers_max);
        let place = tokio::time::timeout(PLACE_WAIT_MAX, Arc::clone(&self.transfers).acquire_owned()).await;
        place.map_err(|_| busy())?.map_err(|_| busy())
    }
}
