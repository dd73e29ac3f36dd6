//! The database's clock, as this process knows it.
//!
//! Invariants: it never goes backwards, and on PostgreSQL it never shows more than the server's own clock would, so
//! that nothing that waits for a time comes early. There it is what the server said when it was asked last, which had
//! passed when the answer came, plus what this machine has counted since, less what two clocks may drift apart by. On
//! SQLite the database has no clock but this machine's.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use windlass_definition::time::Timestamp;

/// A kernel turns its clock by at most 500 millionths to correct it; the two machines may do so in opposite directions.
const DRIFT_MILLIONTHS_MAX: i64 = 1_000;

/// Where the time comes from.
enum Source {
    /// This machine's clock.
    Machine,
    /// The server's, as it was heard last.
    Server(Mutex<Heard>),
}

/// What the server said, and when that was here.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    said_us: i64,
}

impl Heard {
    /// What the server's clock shows at least at that moment.
    fn at_least_us(self, moment: Instant) -> i64 {
        let passed = micros(moment.saturating_duration_since(self.at));
        self.said_us.saturating_add(passed).saturating_sub(passed / (1_000_000 / DRIFT_MILLIONTHS_MAX))
    }
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

    /// A server's clock, of which this process has just heard that it showed `now`.
    pub(crate) fn server(now: Timestamp) -> Clock {
        let heard = Heard { at: Instant::now(), said_us: now.micros() };
        Clock { source: Source::Server(Mutex::new(heard)), latest_us: AtomicI64::new(0) }
    }

    /// The server's answer `now` came at that moment.
    pub(crate) fn adjust(&self, now: Timestamp, answered: Instant) {
        if let Source::Server(heard) = &self.source {
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard { at: answered, said_us: now.micros() };
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> Timestamp {
        let us = match &self.source {
            Source::Machine => micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Source::Server(heard) => heard.lock().unwrap_or_else(PoisonError::into_inner).at_least_us(moment),
        };
        let before = self.latest_us.fetch_max(us, Ordering::Relaxed);
        Timestamp::from_micros(us.max(before))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_never_turns_it_back() {
        let clock = Clock::server(Timestamp::from_micros(1_000_000_000));
        let before = clock.now();
        clock.adjust(Timestamp::from_micros(1), Instant::now());
        assert!(clock.now() >= before);
    }

    /// A server whose clock runs too fast or too slow, answers that take long in one direction or the other: not a
    /// microsecond early, and never further behind than the way back and the drift explain.
    #[test]
    fn it_never_shows_more_than_the_servers_clock() {
        let began = Instant::now();
        let after = |us: i64| began + Duration::from_micros(us.unsigned_abs());
        for drift in [-500, 0, 500] {
            let server = |us: i64| 1_790_000_000_000_000 + us + us * drift / 1_000_000;
            for (there_us, back_us) in [(10, 10), (0, 400_000), (400_000, 0), (5_000, 70_000)] {
                let clock = Clock {
                    source: Source::Server(Mutex::new(Heard { at: began, said_us: server(0) })),
                    latest_us: AtomicI64::new(0),
                };
                for round in 1..=20 {
                    let said_at = round * 1_000_000 + there_us;
                    let answered = said_at + back_us;
                    clock.adjust(Timestamp::from_micros(server(said_at)), after(answered));
                    for us in [answered, answered + 1, answered + 333_333, answered + 599_999] {
                        let (shown, true_us) = (clock.at(after(us)).micros(), server(us));
                        assert!(shown <= true_us, "{} us early", shown - true_us);
                        assert!(true_us - shown <= back_us + 1_500, "{} us late", true_us - shown);
                    }
                }
            }
        }
    }
}
