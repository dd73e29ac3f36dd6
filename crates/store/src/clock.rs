//! The database's clock, as this process knows it.
//!
//! Invariants: it never goes backwards, and on PostgreSQL it never shows more than the server's own clock would, so
//! that nothing that waits for a time comes early. There it is what the server once said, which had passed when the
//! answer came, plus what this machine has counted since, less what two clocks may drift apart by. Of all answers the
//! one counts that puts the clock furthest: an answer that took long would turn it back, and the next quick one forward
//! again, and whoever waited in between would have waited too little. Only when an answer shows that the server's clock
//! was set back is what was said before forgotten. On SQLite the database has no clock but this machine's.

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
        self.said_us.saturating_add(passed).saturating_sub(drift_us(passed))
    }

    /// Whether what `other` says, who was asked at that moment, tells no more than is known from this: it took longer.
    /// An answer that cannot be, given this one, tells that the server's clock was set back.
    fn knows_more_than(self, other: Heard, asked: Instant) -> bool {
        let took = micros(other.at.saturating_duration_since(asked));
        let at_most_us = other.said_us.saturating_add(took).saturating_add(drift_us(took));
        (other.said_us..=at_most_us).contains(&self.at_least_us(other.at))
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

    /// A server's clock, whose answer `now` came at that moment.
    pub(crate) fn server(now: Timestamp, answered: Instant) -> Clock {
        let heard = Heard { at: answered, said_us: now.micros() };
        Clock { source: Source::Server(Mutex::new(heard)), latest_us: AtomicI64::new(0) }
    }

    /// The server was asked at one moment, and its answer `now` came at another.
    pub(crate) fn adjust(&self, now: Timestamp, asked: Instant, answered: Instant) {
        if let Source::Server(heard) = &self.source {
            let new = Heard { at: answered, said_us: now.micros() };
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if !heard.knows_more_than(new, asked) {
                *heard = new;
            }
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

/// What two clocks may drift apart by in that time.
fn drift_us(passed_us: i64) -> i64 {
    passed_us / (1_000_000 / DRIFT_MILLIONTHS_MAX)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED_US: i64 = 1_790_000_000_000_000;

    /// A server whose clock showed `STARTED_US` at `began`, and gains or loses so many millionths.
    struct Server {
        began: Instant,
        drift: i64,
    }

    impl Server {
        fn shows_us(&self, us: i64) -> i64 {
            STARTED_US + us + us * self.drift / 1_000_000
        }

        fn after(&self, us: i64) -> Instant {
            self.began + Duration::from_micros(us.unsigned_abs())
        }

        fn first_heard(&self) -> Clock {
            Clock::server(Timestamp::from_micros(STARTED_US), self.began)
        }

        /// Asks at that time; the answer is `set_back_us` less than it would have been.
        fn asked(&self, clock: &Clock, at_us: i64, (there_us, back_us): (i64, i64), set_back_us: i64) {
            let said = self.shows_us(at_us + there_us) - set_back_us;
            clock.adjust(Timestamp::from_micros(said), self.after(at_us), self.after(at_us + there_us + back_us));
        }
    }

    #[test]
    fn a_correction_never_turns_it_back() {
        let server = Server { began: Instant::now(), drift: 0 };
        let clock = server.first_heard();
        let before = clock.at(server.after(1_000_000));
        server.asked(&clock, 1_000_000, (10, 10), 600_000);
        assert_eq!(clock.at(server.after(1_100_000)), before, "it stands still");
        assert_eq!(
            clock.at(server.after(1_700_020)).micros(),
            STARTED_US + 1_099_310,
            "until the server is there again"
        );
    }

    /// A server whose clock runs too fast or too slow, answers that take long in one direction or the other: not a
    /// microsecond early, and never further behind than the way back and the drift explain.
    #[test]
    fn it_never_shows_more_than_the_servers_clock() {
        for drift in [-500, 0, 500] {
            let server = Server { began: Instant::now(), drift };
            for (there_us, back_us) in [(10, 10), (0, 400_000), (400_000, 0), (5_000, 70_000)] {
                let clock = server.first_heard();
                for round in 1..=20 {
                    server.asked(&clock, round * 1_000_000, (there_us, back_us), 0);
                    let answered = round * 1_000_000 + there_us + back_us;
                    for us in [answered, answered + 1, answered + 333_333, answered + 599_999] {
                        let (shown, true_us) = (clock.at(server.after(us)).micros(), server.shows_us(us));
                        assert!(shown <= true_us, "{} us early", shown - true_us);
                        assert!(true_us - shown <= back_us + 1_500, "{} us late", true_us - shown);
                    }
                }
            }
        }
    }

    /// Some answers come at once, others after a third of a second: whoever waits by this clock has waited that long.
    #[test]
    fn an_answer_that_took_long_shortens_no_wait() {
        let server = Server { began: Instant::now(), drift: 0 };
        let clock = server.first_heard();
        let mut shown = Vec::new();
        for round in 0..20 {
            let back_us = if round % 3 == 0 { 333_333 } else { 200 };
            server.asked(&clock, round * 1_000_000, (100, back_us), 0);
            shown.push(clock.at(server.after(round * 1_000_000 + 500_000)).micros());
        }
        for (one, next) in shown.iter().zip(&shown[1..]) {
            let passed = next - one;
            assert!(
                (998_000..=1_002_000).contains(&passed),
                "a second of the machine's was {passed} us of this clock's"
            );
        }
    }

    /// What was said before a clock was set back is not believed any more, however good that answer was.
    #[test]
    fn a_clock_that_was_set_back_is_seen() {
        let server = Server { began: Instant::now(), drift: 0 };
        for back_us in [200, 90_000] {
            let clock = server.first_heard();
            server.asked(&clock, 1_000_000, (100, back_us), 100_000);
            let (at, set_back) = (server.after(2_000_000), STARTED_US + 2_000_000 - 100_000);
            let shown = clock.at(at).micros();
            assert!(shown <= set_back, "{} us early with an answer that took {back_us} us", shown - set_back);
        }
    }
}
