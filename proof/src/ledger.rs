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
type Line = (Vec<u8>, Option<oneshot::Sender<()>>);

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
        self.write(line(told)?).await?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a line that nobody waits for: for loads during which nobody dies. [`Ledger::flush`] waits for all of them.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, told: &Told) -> Result<()> {
        self.lines.send((line(told)?, None)).context("the ledger cannot be written")?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until every line is on disk.
    ///
    /// # Errors
    /// One cannot be written.
    pub async fn flush(&self) -> Result<()> {
        self.write(Vec::new()).await
    }

    async fn write(&self, line: Vec<u8>) -> Result<()> {
        let (done, written) = oneshot::channel();
        self.lines.send((line, Some(done))).context("the ledger cannot be written")?;
        written.await.context("the ledger cannot be written")
    }

    /// How many lines it has.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

fn line(told: &Told) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes what waits, again and again, until the ledger is dropped or the disk refuses.
fn write(mut file: File, lines: &mpsc::Receiver<Line>) {
    while let Ok((mut bytes, done)) = lines.recv() {
        let mut waiting: Vec<_> = done.into_iter().collect();
        for _ in 1..GROUP_MAX {
            let Ok((line, done)) = lines.try_recv() else { break };
            bytes.extend(line);
            waiting.extend(done);
        }
        let synced = |file: &File| if waiting.is_empty() { Ok(()) } else { file.sync_data() };
        if file.write_all(&bytes).and_then(|()| synced(&file)).is_err() {
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
        ledger.note(&told).unwrap();
        ledger.flush().await.unwrap();
        assert_eq!((ledger.count(), std::fs::read_to_string(&path).unwrap()), (2, text.repeat(2)));
        assert!(Ledger::create(&path).is_err(), "an old ledger is never written over");
    }
}
