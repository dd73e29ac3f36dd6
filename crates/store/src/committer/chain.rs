//! The checksum chain of a journal: each row's checksum covers the row before it.
//!
//! Invariant: the first row is seeded by the run's id, so a row cannot stand in another run's journal unnoticed.

use std::collections::HashMap;

use windlass_engine::id::RunId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::committer::commit::{CommitError, JournalRow, RunCommit};

/// How many runs' ends of journal are kept in memory; the others are read again when they are needed.
const CHAINS_MAX: usize = 200_000;

/// The end of a run's journal, as far as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// SQLite's integer key of the run.
    pub run_key: i64,
    /// The last row's place.
    pub seq: i64,
    /// The last row's checksum.
    pub checksum: i64,
    /// The bytes of all payloads.
    pub bytes: i64,
    /// Whether the run has its final status.
    pub ended: bool,
}

impl Chain {
    /// The chain of a run without a journal.
    pub(crate) fn start(run: RunId, run_key: i64) -> Chain {
        Chain { run_key, seq: 0, checksum: seed(run), bytes: 0, ended: false }
    }

    /// The chain with these rows added, or why they do not fit.
    pub(crate) fn extend(
        &mut self,
        commit: &RunCommit,
        mut each: impl FnMut(&JournalRow, i64),
    ) -> Result<(), CommitError> {
        if let Some(first) = commit.entries.first()
            && first.seq != self.seq + 1
        {
            let text =
                format!("run {}: the journal ends at {}, the commit begins at {}", commit.run, self.seq, first.seq);
            return Err(CommitError::Conflict(text));
        }
        if commit.entries.iter().zip(self.seq + 1..).any(|(entry, seq)| entry.seq != seq) {
            return Err(CommitError::Conflict(format!("run {}: the commit's rows leave a gap", commit.run)));
        }
        for entry in &commit.entries {
            self.seq = entry.seq;
            self.checksum = row_checksum(self.checksum, &Fields::of(entry));
            self.bytes += i64::try_from(entry.payload.len()).unwrap_or(i64::MAX);
            each(entry, self.checksum);
        }
        Ok(())
    }
}

/// The fields that a row's checksum covers.
pub(crate) struct Fields<'a> {
    pub seq: i64,
    pub kind: &'a str,
    pub opens: bool,
    pub path: &'a str,
    pub step: &'a str,
    pub attempt: i32,
    pub at_us: i64,
    pub payload: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(row: &'a JournalRow) -> Fields<'a> {
        Fields {
            seq: row.seq,
            kind: row.kind,
            opens: row.opens,
            path: &row.path,
            step: &row.step,
            attempt: row.attempt,
            at_us: row.at.micros(),
            payload: &row.payload,
        }
    }
}

/// What the first row of a run's journal is chained to.
pub(crate) fn seed(run: RunId) -> i64 {
    xxh3_64(run.uuid().as_bytes()).cast_signed()
}

/// The checksum of a row that follows one with checksum `previous`.
pub(crate) fn row_checksum(previous: i64, row: &Fields<'_>) -> i64 {
    let mut hash = Xxh3::with_seed(previous.cast_unsigned());
    hash.update(&row.seq.to_le_bytes());
    hash.update(&row.at_us.to_le_bytes());
    hash.update(&row.attempt.to_le_bytes());
    hash.update(&[u8::from(row.opens)]);
    // Lengths go in, so that no two rows have the same bytes by moving a border.
    for part in [row.kind.as_bytes(), row.path.as_bytes(), row.step.as_bytes(), row.payload] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest().cast_signed()
}

/// The checksum of bytes that stand alone.
pub(crate) fn bytes_checksum(bytes: &[u8]) -> i64 {
    xxh3_64(bytes).cast_signed()
}

/// The chains of the runs that are open here, with what a rollback has to put back.
#[derive(Default)]
pub(crate) struct Chains {
    known: HashMap<RunId, Chain>,
    before: Vec<(RunId, Option<Chain>)>,
}

impl Chains {
    pub(crate) fn get(&self, run: RunId) -> Option<Chain> {
        self.known.get(&run).copied()
    }

    /// Remembers what was read from the database: no rollback takes that back.
    pub(crate) fn learn(&mut self, run: RunId, chain: Chain) {
        self.known.insert(run, chain);
    }

    /// Forgets a run: its start was not the first under its key.
    pub(crate) fn forget(&mut self, run: RunId) {
        self.known.remove(&run);
    }

    /// Changes a chain within the batch.
    pub(crate) fn set(&mut self, run: RunId, chain: Chain) {
        let before = self.known.insert(run, chain);
        self.before.push((run, before));
    }

    /// How much a rollback to here would leave.
    pub(crate) fn mark(&self) -> usize {
        self.before.len()
    }

    /// Puts back what changed since that mark.
    pub(crate) fn rollback(&mut self, mark: usize) {
        for (run, before) in self.before.drain(mark..).rev() {
            match before {
                Some(chain) => self.known.insert(run, chain),
                None => self.known.remove(&run),
            };
        }
    }

    /// The batch is on disk. Runs that ended are forgotten, and all of them when there are too many.
    pub(crate) fn commit(&mut self) {
        for (run, _) in self.before.drain(..) {
            if self.known.get(&run).is_some_and(|chain| chain.ended) {
                self.known.remove(&run);
            }
        }
        if self.known.len() > CHAINS_MAX {
            self.known.clear();
        }
    }

    /// Forgets everything: the database may hold something else.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.before.clear();
    }
}
