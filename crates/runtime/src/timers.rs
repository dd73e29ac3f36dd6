//! The near timers of one turner: which of its runs wants to be woken, and when.
//!
//! Invariant: a run has at most one entry that counts, the one in [`Timers::armed`]; entries that were replaced by
//! an earlier one are passed over when they come up, and thrown out when they are most of the heap. So the heap grows
//! with the runs in memory, not with timers set and cleared nor with runs that have left.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use windlass_definition::Timestamp;
use windlass_engine::id::RunId;

/// Entries that count no more of which nobody minds.
const DEAD_KEPT: usize = 1_024;

/// A heap of due times.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, RunId)>>,
    armed: HashMap<RunId, Timestamp>,
}

impl Timers {
    /// Wakes the run at that time at the latest; one that is armed earlier stays, and is asked again then.
    pub(crate) fn arm(&mut self, run: RunId, due: Timestamp) {
        if self.armed.get(&run).is_some_and(|armed| *armed <= due) {
            return;
        }
        self.armed.insert(run, due);
        self.heap.push(Reverse((due, run)));
    }

    /// The run wants nothing more.
    pub(crate) fn forget(&mut self, run: RunId) {
        self.armed.remove(&run);
        if self.heap.len() > DEAD_KEPT + 2 * self.armed.len() {
            self.heap.retain(|Reverse((due, run))| self.armed.get(run) == Some(due));
            self.heap.shrink_to(DEAD_KEPT);
            self.armed.shrink_to(DEAD_KEPT.max(2 * self.armed.len()));
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((due, run))) = self.heap.peek() {
            if self.armed.get(run) == Some(due) {
                return Some(*due);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes one run that is due by now.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<RunId> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, run)) = self.heap.pop()?;
        self.armed.remove(&run);
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u64) -> RunId {
        RunId::from_parts(number, [0; 10])
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn the_earliest_time_of_each_run_counts() {
        let mut timers = Timers::default();
        timers.arm(run(1), at(30));
        timers.arm(run(2), at(20));
        timers.arm(run(1), at(10));
        timers.arm(run(1), at(40));
        timers.arm(run(3), at(15));
        timers.forget(run(3));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(50)), Some(run(1)));
        assert_eq!(timers.pop_due(at(50)), Some(run(2)));
        assert_eq!(timers.pop_due(at(50)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn runs_that_left_leave_nothing_behind() {
        let mut timers = Timers::default();
        for number in 0..100_000 {
            timers.arm(run(number), at(1_000_000));
            timers.forget(run(number));
        }
        assert!(timers.heap.len() <= DEAD_KEPT + 1, "{}", timers.heap.len());
        timers.arm(run(7), at(30));
        for number in 100..10_000 {
            timers.arm(run(number), at(20));
            timers.forget(run(number));
        }
        assert_eq!(timers.pop_due(at(50)), Some(run(7)));
        assert_eq!(timers.next(), None);
    }
}
