//! Disks that lose power or are full, below a real server on SQLite.
//!
//! The server's environment says which: [`VARIABLE`] holds `power <seed> <changes> <milliseconds>` or `full <file>`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use windlass_store::{Change, Disk, DiskError, put_below};
use windlass_testkit::random::Random;

/// Where a server finds its disk.
pub const VARIABLE: &str = "PROOF_DISK";
/// The exit code of a server whose power was cut.
pub const CUT: i32 = 77;

/// Puts a disk below this process if the environment says so.
///
/// # Panics
/// The environment says something else: a check that did no harm would pass.
pub fn put_below_by_environment() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let words: Vec<&str> = text.split(' ').collect();
    let number = |word: &str| word.parse::<u64>().expect("a number in PROOF_DISK");
    match words[..] {
        ["power", seed, changes, milliseconds] => {
            let power = Arc::new(Power::new(number(seed), number(changes)));
            put_below(Arc::clone(&power) as Arc<dyn Disk>);
            let latest = Duration::from_millis(number(milliseconds));
            std::thread::spawn(move || {
                std::thread::sleep(latest);
                power.cut(&mut power.state());
            });
        }
        ["full", switch] => put_below(Arc::new(Full { switch: switch.into() })),
        _ => panic!("{VARIABLE} is `{text}`"),
    }
}

/// A disk that is full while a file is there.
struct Full {
    switch: PathBuf,
}

impl Disk for Full {
    fn change(
        &self,
        _: &Path,
        change: Change<'_>,
        make: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        if matches!(change, Change::Write { .. }) && self.switch.exists() { Err(DiskError::Full) } else { make() }
    }
}

/// A disk whose power is cut: what was not synced is dropped, torn or out of order.
pub struct Power {
    state: Mutex<State>,
}

struct State {
    random: Random,
    changes_left: u64,
    files: BTreeMap<PathBuf, File>,
}

/// A file as a disk has it.
#[derive(Default)]
struct File {
    /// What is there for sure.
    durable: Vec<u8>,
    /// What was done since, in its order.
    since: Vec<Done>,
}

#[derive(Clone)]
enum Done {
    Written { offset: u64, bytes: Vec<u8> },
    Truncated { length: u64 },
    Deleted,
}

impl Power {
    /// Cut after so many changes.
    pub fn new(seed: u64, changes: u64) -> Power {
        Power { state: Mutex::new(State { random: Random::new(seed), changes_left: changes, files: BTreeMap::new() }) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts on the real disk what a power cut would have left, and ends the process.
    fn cut(&self, state: &mut State) {
        for (path, left) in state.leave() {
            // In the file's place, not into it: this process may still read, and answer, before it is gone.
            let next = path.with_extension("cut");
            let done = match left {
                Some(bytes) => fs::write(&next, bytes).and_then(|()| fs::rename(&next, &path)),
                None => fs::remove_file(&path).or(Ok(())),
            };
            if let Err(error) = done {
                eprintln!("the power cut could not be made: {}: {error}", path.display());
                std::process::abort();
            }
        }
        // Nobody waits for the lock that is held here: nothing more is written.
        std::process::exit(CUT);
    }
}

impl Disk for Power {
    fn change(
        &self,
        file: &Path,
        change: Change<'_>,
        make: &mut dyn FnMut() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.changes_left == 0 {
            self.cut(&mut state);
        }
        state.changes_left -= 1;
        let known = state.files.entry(file.to_owned()).or_insert_with(|| File {
            // Whatever was there before this process is long on disk.
            durable: fs::read(file).unwrap_or_default(),
            since: Vec::new(),
        });
        known.note(change);
        make()
    }
}

impl File {
    fn note(&mut self, change: Change<'_>) {
        match change {
            Change::Write { offset, bytes } => self.since.push(Done::Written { offset, bytes: bytes.to_vec() }),
            Change::Truncate { length } => self.since.push(Done::Truncated { length }),
            Change::Delete => self.since.push(Done::Deleted),
            Change::Sync => {
                let mut there = Some(std::mem::take(&mut self.durable));
                std::mem::take(&mut self.since).iter().for_each(|done| done.apply(&mut there));
                self.durable = there.unwrap_or_default();
            }
        }
    }
}

impl Done {
    fn apply(&self, there: &mut Option<Vec<u8>>) {
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match self {
            Done::Deleted => *there = None,
            Done::Truncated { length } => there.get_or_insert_default().resize(place(*length), 0),
            Done::Written { offset, bytes } => {
                let there = there.get_or_insert_default();
                let (from, to) = (place(*offset), place(*offset) + bytes.len());
                if there.len() < to {
                    there.resize(to, 0);
                }
                there[from..to].copy_from_slice(bytes);
            }
        }
    }
}

impl State {
    /// What each file holds when the power comes back; nothing for one that is gone.
    fn leave(&mut self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        // A disk tears where its sectors end; some keep almost all, some almost nothing.
        let sector = *self.random.pick(&[512, 4096]);
        let kept = *self.random.pick(&[0, 20, 50, 80, 97, 100]);
        let in_order = self.random.percent(50);
        let files = std::mem::take(&mut self.files);
        let mut all = Vec::new();
        for (path, file) in files {
            let pieces: Vec<Done> = file.since.iter().flat_map(|done| done.torn(sector)).collect();
            let pieces = if in_order { pieces } else { self.random.shuffled(pieces) };
            // A file that was deleted is gone, or it is there as it was.
            let mut there = Some(file.durable);
            pieces.iter().filter(|_| self.random.percent(kept)).for_each(|done| done.apply(&mut there));
            all.push((path, there));
        }
        all
    }
}

impl Done {
    /// The pieces that reach the disk apart from each other.
    fn torn(&self, sector: u64) -> Vec<Done> {
        let Done::Written { offset, bytes } = self else { return vec![self.clone()] };
        let (mut pieces, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let from = offset + at as u64;
            let room = usize::try_from(sector - from % sector).unwrap_or(usize::MAX);
            let end = (at + room).min(bytes.len());
            pieces.push(Done::Written { offset: from, bytes: bytes[at..end].to_vec() });
            at = end;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, bytes: &[u8]) -> Change<'_> {
        Change::Write { offset, bytes }
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_may_not() {
        let (mut lost, mut torn) = (0, 0);
        for seed in 0..200 {
            let mut state = State { random: Random::new(seed), changes_left: 0, files: BTreeMap::new() };
            let mut file = File::default();
            file.note(write(0, &[1; 4096]));
            file.note(Change::Sync);
            file.note(write(4096, &[2; 4096]));
            state.files.insert("f".into(), file);
            let left = state.leave().remove(0).1.expect("a file");
            assert_eq!(left[..4096], [1; 4096]);
            let second = left.get(4096..).unwrap_or_default();
            let kept = second.iter().filter(|byte| **byte == 2).count();
            lost += usize::from(kept == 0);
            torn += usize::from(kept > 0 && kept < 4096);
        }
        assert!(lost > 20 && torn > 20, "{lost} {torn}");
    }

    #[test]
    fn writes_are_torn_where_sectors_end() {
        let done = Done::Written { offset: 500, bytes: vec![1; 600] };
        let lengths: Vec<usize> = done
            .torn(512)
            .iter()
            .map(|piece| if let Done::Written { bytes, .. } = piece { bytes.len() } else { 0 })
            .collect();
        assert_eq!(lengths, [12, 512, 76]);
    }
}
