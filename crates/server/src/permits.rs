//! Permits of a rate that this server has drawn from the database, where they are counted for all servers at once.
//!
//! A server draws some at a time and forgets what it has not used within a moment, so that a busy rate costs one write
//! for many requests. One that wasted some draws no more than it used the next time, and one that needs more soon draws
//! twice as many. Invariant: at most a twentieth of a rate is drawn at once.

use std::time::{Duration, Instant};

use windlass_store::Rate;

/// This part of a rate is drawn at once, at most.
const DRAWN_SHARE: u32 = 20;
/// How long permits that were drawn may be used.
const FRESH: Duration = Duration::from_secs(1);

/// What this server has of a rate.
#[derive(Debug)]
pub struct Permits {
    left: u32,
    /// How many were drawn the last time; 0 at first.
    drawn: u32,
    fresh_until: Instant,
    /// There is nothing to draw until then.
    refused_until: Option<Instant>,
}

impl Permits {
    /// None yet.
    pub fn new(now: Instant) -> Permits {
        Permits { left: 0, drawn: 0, fresh_until: now, refused_until: None }
    }

    /// How many there are.
    pub fn left(&self, now: Instant) -> u32 {
        if self.fresh_until > now { self.left } else { 0 }
    }

    /// Takes one; else how long there will be none; `None` when the database has to be asked.
    pub fn take(&mut self, now: Instant) -> Option<Result<(), Duration>> {
        if let Some(until) = self.refused_until.filter(|until| *until > now) {
            return Some(Err(until - now));
        }
        if self.left(now) == 0 {
            return None;
        }
        self.left -= 1;
        Some(Ok(()))
    }

    /// How many to draw.
    pub fn wanted(&self, now: Instant, rate: Rate) -> u32 {
        let most = (rate.limit / DRAWN_SHARE).max(1);
        match self.drawn {
            0 => most,
            drawn if self.fresh_until > now => drawn.saturating_mul(2).min(most),
            drawn => drawn.saturating_sub(self.left).clamp(1, most),
        }
    }

    /// Adds what was drawn, or notes that there is nothing.
    pub fn draw(&mut self, drawn: windlass_store::Permits, (now, rate): (Instant, Rate)) {
        if drawn.granted == 0 {
            let wait = drawn.next_at.map_or(Duration::ZERO, |next| next.since(drawn.at));
            self.refused_until = Some(now + wait);
            return;
        }
        self.left = self.left(now) + drawn.granted;
        self.drawn = drawn.granted;
        self.fresh_until = now + FRESH.min(rate.per / DRAWN_SHARE);
        self.refused_until = None;
    }

    /// Gives one back that was not used.
    pub fn give_back(&mut self) {
        self.left += 1;
    }
}

#[cfg(test)]
mod tests {
    use windlass_definition::Timestamp;

    use super::*;

    fn drawn(granted: u32, seconds: Option<i64>) -> windlass_store::Permits {
        let at = |seconds| Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000);
        windlass_store::Permits { granted, at: at(0), next_at: seconds.map(at) }
    }

    #[test]
    fn what_was_wasted_is_not_drawn_again() {
        let (begin, rate) = (Instant::now(), Rate { limit: 200, per: Duration::from_secs(60) });
        let mut permits = Permits::new(begin);
        // After so many milliseconds so many are used, and one more finds none: so many are drawn.
        for (at_ms, used, wanted) in [
            (0, 0, Some(10)),
            (100, 3, None),
            // Seven were wasted.
            (2_000, 0, Some(3)),
            (2_100, 3, Some(6)),
            (2_200, 6, Some(10)),
            (2_300, 10, Some(10)),
            (2_400, 1, None),
            // Nine were wasted; from there on one each two seconds wastes none.
            (9_000, 0, Some(1)),
            (9_000, 1, None),
            (11_000, 0, Some(1)),
            (11_000, 1, None),
            (13_000, 0, Some(1)),
        ] {
            let now = begin + Duration::from_millis(at_ms);
            for _ in 0..used {
                assert_eq!(permits.take(now), Some(Ok(())), "at {at_ms} ms");
            }
            if let Some(wanted) = wanted {
                assert_eq!((permits.take(now), permits.wanted(now, rate)), (None, wanted), "at {at_ms} ms");
                permits.draw(drawn(wanted, None), (now, rate));
            }
        }
        let now = begin + Duration::from_secs(20);
        permits.draw(drawn(0, Some(5)), (now, rate));
        assert_eq!(permits.take(now + Duration::from_secs(2)), Some(Err(Duration::from_secs(3))));
        assert_eq!(permits.take(now + Duration::from_secs(5)), None);
    }
}
