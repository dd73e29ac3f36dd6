//! The ledger of the load: what servers have answered, on disk before the load believes it.
//!
//! Invariant: `record` returns after the line is on disk. Lines that wait for the disk together share one fsync.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use windlass_runtime::verify::ledger::Told;

/// Lines that share one fsync at most.
const GROUP_MAX: usize = 1_024;

/// A line, and who waits for it.
type Line = (Vec<u8>, oneshot::Sender<()>);

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    /// Its file.
    pub path: PathBuf,
    lines: mpsc::SyncSender<Line>,
    count: AtomicU64,
}

impl Ledger {
    /// Makes a new one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> Result<Ledger> {
        let file = File::create_new(path).with_context(|| path.display().to_string())?;
        let (lines, receiver) = mpsc::sync_channel(GROUP_MAX);
        std::thread::Builder::new().name("ledger".to_owned()).spawn(move || write(file, &receiver))?;
        Ok(Ledger { path: path.to_owned(), lines, count: AtomicU64::new(0) })
    }

    /// Puts a line on disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn record(&self, told: &Told) -> Result<()> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        let (done, written) = oneshot::channel();
        self.lines.send((line, done)).context("the ledger cannot be written")?;
        written.await.context("the ledger cannot be written")?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many lines it has.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Writes what waits, again and again, until the ledger is dropped or the disk refuses.
fn write(mut file: File, lines: &mpsc::Receiver<Line>) {
    while let Ok((mut bytes, done)) = lines.recv() {
        let mut waiting = vec![done];
        while let Some((line, done)) = (waiting.len() < GROUP_MAX).then(|| lines.try_recv().ok()).flatten() {
            bytes.extend(line);
            waiting.push(done);
        }
        if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
            // Whoever waits is told by the channel that closes.
            return;
        }
        for done in waiting {
            // A client that was stopped waits no more.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_recorded_stands_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::create(&path).unwrap();
        let told = Told::Final { run: "r".to_owned(), status: "completed".to_owned() };
        ledger.record(&told).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"told\":\"final\",\"run\":\"r\",\"status\":\"completed\"}\n");
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), told);
        assert_eq!(ledger.count(), 1);
        assert!(Ledger::create(&path).is_err(), "an old ledger is never written over");
    }
}
