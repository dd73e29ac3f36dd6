//! What a process leaves that is killed between two writes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::Connection;

use super::{
    disk::{Change, Disk, DiskError, put_below},
    page,
};
use crate::database::sqlite::{Files, open_writer};

/// A disk that lets somebody move the log into the database, once, when the last frame of a transaction has its header in
/// the log and not yet its page; and that keeps the files as a process leaves them that is killed then.
struct Between {
    checkpointer: Mutex<Option<Connection>>,
    /// The header of a frame that ends a transaction was written.
    ends: AtomicBool,
    live: PathBuf,
    left: PathBuf,
}

impl Disk for Between {
    fn change(
        &self,
        file: &Path,
        change: Change<'_>,
        make: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let is_log = file.as_os_str().as_encoded_bytes().ends_with(b"-wal");
        if let (true, Change::Write { bytes, .. }) = (is_log, change) {
            if bytes.len() == page::BYTES && self.ends.load(Ordering::Relaxed) {
                let checkpointer = self.checkpointer.lock().expect("nobody panicked").take();
                if let Some(checkpointer) = checkpointer {
                    let moved = checkpointer.query_row("pragma wal_checkpoint(passive)", [], |row| row.get(0));
                    assert_eq!(moved, Ok(0), "it is not kept from its work");
                    for name in ["windlass.db", "windlass.db-wal", "windlass.db-wal-mark"] {
                        fs::copy(self.live.join(name), self.left.join(name)).expect("a copy");
                    }
                }
            }
            self.ends.store(bytes.len() != page::BYTES && bytes[4..8] != [0; 4], Ordering::Relaxed);
        }
        make()
    }
}

#[test]
fn the_sync_of_a_checkpoint_marks_no_half_written_transaction() {
    let dir = tempfile::tempdir().expect("a directory");
    let (live, left) = (dir.path().join("live"), dir.path().join("left"));
    for folder in [&live, &left] {
        fs::create_dir(folder).expect("a directory");
    }
    let between = Between {
        checkpointer: Mutex::default(),
        ends: AtomicBool::new(false),
        live: live.clone(),
        left: left.clone(),
    };
    let between = Arc::new(between);
    put_below(Arc::clone(&between) as Arc<dyn Disk>);

    let files = Files { dir: live };
    let open = |files: &Files| open_writer(files).expect("a database that is not called damaged");
    let (writer, checkpointer) = (open(&files), open(&files));
    writer.execute_batch("create table told (what integer) strict; insert into told values (1);").expect("a commit");
    *between.checkpointer.lock().expect("nobody panicked") = Some(checkpointer);
    writer.execute("insert into told values (2)", []).expect("a commit");
    assert!(left.join("windlass.db-wal").exists(), "the copy was made");

    let told = open(&Files { dir: left }).query_row("select sum(what) from told", [], |row| row.get(0));
    assert_eq!(told, Ok(1));
}
