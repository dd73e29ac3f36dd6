//! The database's clock, as this process knows it.
//!
//! Invariant: it never goes backwards. On PostgreSQL it is the monotonic clock plus an offset that the node measures
//! with every renewal of its lease; on SQLite the database has no clock but this machine's.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use windlass_definition::time::Timestamp;

/// Where the time comes from.
enum Source {
    /// This machine's clock.
    Machine,
    /// The server's: what it was when this process looked, and what has passed since.
    Server { began: Instant, began_us: AtomicI64 },
}

/// A clock that never goes backwards.
pub(crate) struct Clock {
    source: Source,
    latest_us: AtomicI64,
}

impl Clock {
    /// This machine's clock.
    pub(crate) fn machine() -> Clock {
        Clock { source: Source::Machine, latest_us: AtomicI64::new(0) }
    }

    /// A server's clock that shows `now`.
    pub(crate) fn server(now: Timestamp) -> Clock {
        let source = Source::Server { began: Instant::now(), began_us: AtomicI64::new(now.micros()) };
        Clock { source, latest_us: AtomicI64::new(0) }
    }

    /// The server said `now`, half of `round_trip_us` ago.
    pub(crate) fn adjust(&self, now: Timestamp, round_trip_us: i64) {
        if let Source::Server { began, began_us } = &self.source {
            let passed = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
            began_us.store(now.micros().saturating_add(round_trip_us / 2).saturating_sub(passed), Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let us = match &self.source {
            Source::Machine => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
            }
            Source::Server { began, began_us } => {
                let passed = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
                began_us.load(Ordering::Relaxed).saturating_add(passed)
            }
        };
        let before = self.latest_us.fetch_max(us, Ordering::Relaxed);
        Timestamp::from_micros(us.max(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_never_turns_it_back() {
        let clock = Clock::server(Timestamp::from_micros(1_000_000_000));
        let before = clock.now();
        clock.adjust(Timestamp::from_micros(1), 0);
        assert!(clock.now() >= before);
    }
}
