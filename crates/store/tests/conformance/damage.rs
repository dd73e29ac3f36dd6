//! Damaged files of the embedded database: an error that names the place, never another answer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_engine::id::RunId;
use windlass_store::{
    Change, CommitError, Disk, DiskError, Location, Store, StoreError, StoreOptions, admin, put_below,
};

use crate::harness::{TENANT, commit, done, start, started};

const PAGE_BYTES: usize = 4096;
const FRAME_BYTES: usize = 24 + PAGE_BYTES;

fn options(dir: &Path) -> StoreOptions {
    StoreOptions::new(Location::Sqlite { data_dir: dir.to_owned() })
}

/// A database with some runs of twenty rows each, closed in peace.
async fn filled(dir: &Path) -> Vec<RunId> {
    let store = Store::open(options(dir)).await.expect("a store");
    let mut runs = Vec::new();
    for _ in 0..20 {
        let run = started(&store).await;
        done(store.commit(commit(&store, run, 2..=20)).await);
        runs.push(run);
    }
    store.close().await;
    runs
}

/// What a process that is killed leaves: a copy of the files of a store that is open and idle.
async fn killed(dir: &Path) -> (PathBuf, RunId) {
    let store = Store::open(options(&dir.join("live"))).await.expect("a store");
    started(&store).await;
    let last = started(&store).await;
    let copy = dir.join("copy");
    fs::create_dir(&copy).expect("a directory");
    for name in ["master.key", "windlass.db", "windlass.db-wal", "windlass.db-wal-mark"] {
        fs::copy(dir.join("live").join(name), copy.join(name)).expect("a file");
    }
    store.close().await;
    (copy, last)
}

fn flip(file: &Path, byte: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[byte] ^= 4;
    fs::write(file, bytes).expect("a file");
}

async fn refusal(dir: &Path) -> String {
    match Store::open(options(dir)).await {
        Err(StoreError::Damaged(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[tokio::test]
async fn nothing_stays_behind_after_a_clean_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path()).await;
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).expect("a directory").map(|it| it.expect("a file").file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "master.key", "reserve", "windlass.db", "windlass.db-wal-mark"]);
}

/// Whatever page it is: what is read is what was written, or an error that names a page.
#[tokio::test]
async fn a_flipped_bit_in_any_page_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let runs = filled(dir.path()).await;
    let file = dir.path().join("windlass.db");
    let sound = fs::read(&file).expect("a file");
    assert_eq!(admin::check(options(dir.path()), |_| ()).await.expect("a report").problems, Vec::<String>::new());
    let (pages, mut refused) = (fs::read(&file).expect("a file").len() / PAGE_BYTES, 0);
    assert!(pages > 20);
    for page in 0..pages {
        fs::write(&file, &sound).expect("a file");
        flip(&file, page * PAGE_BYTES + (page * 37) % PAGE_BYTES);
        let named = format!("page {} of windlass.db", page + 1);
        eprintln!("{named}");
        let report = admin::check(options(dir.path()), |_| ()).await.expect("a report");
        assert!(report.problems.iter().any(|problem| problem.contains(&named)), "{named}: {:?}", report.problems);
        // What `check` itself writes must not have hidden it.
        fs::write(&file, &sound).expect("a file");
        flip(&file, page * PAGE_BYTES + (page * 37) % PAGE_BYTES);
        let Ok(store) = Store::open(options(dir.path())).await else {
            refused += 1;
            continue;
        };
        for run in &runs {
            match (store.run(TENANT, *run).await, store.journal(TENANT, *run, 1, 100).await) {
                (Ok(Some(_)), Ok(rows)) => assert_eq!(rows.len(), 20, "{named}"),
                (Ok(None), _) => panic!("{named}: a run is gone"),
                (Err(error), _) | (_, Err(error)) => {
                    refused += 1;
                    assert!(matches!(&error, StoreError::Damaged(text) if text.contains(&named)), "{error}");
                }
            }
        }
        store.close().await;
    }
    assert!(refused > 20, "{refused}");
}

#[tokio::test]
async fn a_log_that_breaks_off_too_early_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (copy, last) = killed(dir.path()).await;
    let log = copy.join("windlass.db-wal");
    let sound = fs::read(&log).expect("a log");
    let frames = (sound.len() - 32) / FRAME_BYTES;
    assert!(frames > 4);
    for (frame, byte) in [(frames, 24 + 17), (frames, 0), (frames, 18), (frames / 2, 4_000), (1, 9)] {
        flip(&log, 32 + (frame - 1) * FRAME_BYTES + byte);
        let text = refusal(&copy).await;
        assert!(text.contains(&format!("frame {frame} of windlass.db-wal")), "{text}");
        fs::write(&log, &sound).expect("a log");
    }
    for (bytes, reason) in [(32, "frame 1 "), (20, "the header"), (0, "the header")] {
        fs::write(&log, &sound[..bytes]).expect("a log");
        let text = refusal(&copy).await;
        assert!(text.contains(reason), "{text}");
    }
    flip_header_and_remove(&copy, &sound).await;

    // Somebody decides to lose the last commit.
    fs::write(&log, &sound[..sound.len() - 1]).expect("a log");
    fs::remove_file(copy.join("windlass.db-wal-mark")).expect("a mark");
    let store = Store::open(options(&copy)).await.expect("a store");
    assert_eq!(store.run(TENANT, last).await.expect("a read"), None);
    done(store.commit(start(&store, last, None)).await);
    store.close().await;
}

async fn flip_header_and_remove(copy: &Path, sound: &[u8]) {
    let log = copy.join("windlass.db-wal");
    fs::write(&log, sound).expect("a log");
    flip(&log, 17);
    assert!(refusal(copy).await.contains("the header"));
    fs::remove_file(&log).expect("a log");
    assert!(refusal(copy).await.contains("missing"));
}

/// A log is read again and again while the server runs: that too is compared with what was written.
#[tokio::test]
async fn a_bit_that_flips_in_the_log_of_a_live_store_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(options(dir.path())).await.expect("a store");
    let run = started(&store).await;
    done(store.commit(commit(&store, run, 2..=20)).await);
    let log = dir.path().join("windlass.db-wal");
    let frames = (fs::metadata(&log).expect("a log").len() as usize - 32) / FRAME_BYTES;
    {
        use std::os::unix::fs::FileExt;
        let file = fs::File::options().read(true).write(true).open(&log).expect("a log");
        for frame in 0..frames {
            let offset = (32 + frame * FRAME_BYTES + 24 + 100) as u64;
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).expect("a byte");
            file.write_all_at(&[byte[0] ^ 1], offset).expect("a byte");
        }
    }
    // The readers have not read these pages yet.
    let error = store.journal(TENANT, run, 1, 100).await.expect_err("damage");
    assert!(matches!(&error, StoreError::Damaged(text) if text.contains("windlass.db-wal")), "{error}");
    drop(store);
}

/// A disk that is full, for the files of one directory, while that directory holds a file `full`.
struct Full(PathBuf);

impl Disk for Full {
    fn change(
        &self,
        file: &Path,
        change: Change<'_>,
        make: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let is_full = file.starts_with(&self.0) && self.0.join("full").exists();
        if is_full && matches!(change, Change::Write { .. }) { Err(DiskError::Full) } else { make() }
    }
}

/// The reserve is there from the start, is given back when the disk is full, and is set aside again when writing has gone
/// well for a while.
#[tokio::test]
async fn the_reserve_is_given_back_on_a_full_disk_and_set_aside_again() {
    let dir = tempfile::tempdir().expect("a directory");
    put_below(Arc::new(Full(dir.path().to_owned())));
    let store = Store::open(options(dir.path())).await.expect("a store");
    let (reserve, switch) = (dir.path().join("reserve"), dir.path().join("full"));
    let bytes = || fs::metadata(&reserve).map(|file| file.len()).unwrap_or(0);
    let whole = bytes();
    assert!(whole >= 1 << 20, "{whole}");
    let run = started(&store).await;
    fs::write(&switch, b"").expect("a file");
    let outcome = store.commit(commit(&store, run, 2..=2)).await;
    assert!(matches!(&outcome, Err(CommitError::Failed(StoreError::Unavailable(_)))), "{outcome:?}");
    assert!(!reserve.exists());
    fs::remove_file(&switch).expect("a file");
    // At first what became free is left to those who need it.
    done(store.commit(commit(&store, run, 2..=2)).await);
    assert!(!reserve.exists());
    let again = async {
        for seq in 3.. {
            done(store.commit(commit(&store, run, seq..=seq)).await);
            if bytes() == whole {
                return;
            }
            // Each commit is a look; a few a second are enough.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), again).await.expect("the reserve comes back");
    store.close().await;
}
