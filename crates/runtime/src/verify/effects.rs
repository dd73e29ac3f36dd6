//! What the outside world saw: how often each idempotency key was asked for, and in which order keys came.
//!
//! Of each effect 32 bytes are kept. Invariant: a key that no journal speaks of is found at the end.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};

use super::Violation;

/// Keys that no journal speaks of and that are named one by one.
const UNCLAIMED_MAX: usize = 100;

/// One effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its place among the effects, from 1.
    pub(crate) place: u32,
    /// How often it was asked for.
    pub(crate) asked: u32,
    claimed: bool,
}

/// All effects.
#[derive(Debug, Default)]
pub struct Effects {
    by_key: Mutex<HashMap<[u8; 16], Seen>>,
    last_place: u32,
    twice: Vec<String>,
}

/// A key as it is kept.
fn short(key: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    std::array::from_fn(|at| hash[at])
}

impl Effects {
    /// Takes note of an effect, in the order in which they happened.
    pub fn happened(&mut self, key: &str) {
        self.last_place += 1;
        let seen = Seen { place: self.last_place, asked: 1, claimed: false };
        let before = self.by_key.get_mut().unwrap_or_else(PoisonError::into_inner).insert(short(key), seen);
        if before.is_some() {
            self.twice.push(key.to_owned());
        }
    }

    /// Takes note of a key that was asked for again, without a second effect.
    pub fn repeated(&mut self, key: &str, times: u32) {
        if let Some(seen) = self.by_key.get_mut().unwrap_or_else(PoisonError::into_inner).get_mut(&short(key)) {
            seen.asked += times;
        }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<[u8; 16], Seen>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.keys().len() as u64
    }

    /// The effect of that key, which a journal speaks of.
    pub(crate) fn claim(&self, key: &str) -> Option<Seen> {
        let mut keys = self.keys();
        let seen = keys.get_mut(&short(key))?;
        seen.claimed = true;
        Some(*seen)
    }

    /// Effects that happened twice under one key, and those that no journal speaks of.
    pub(crate) fn unclaimed(&self, mut each: impl FnMut(Violation)) {
        let violation = |rule: &str, expected: &str, found: String| Violation {
            rule: rule.to_owned(),
            run: None,
            seq: None,
            expected: expected.to_owned(),
            found,
        };
        for key in &self.twice {
            each(violation("effect_once", "an effect happens once under a key", key.clone()));
        }
        let mut places: Vec<u32> = self.keys().values().filter(|it| !it.claimed).map(|it| it.place).collect();
        places.sort_unstable();
        let (total, expected) = (places.len(), "a journal speaks of each effect");
        for place in places.iter().take(UNCLAIMED_MAX) {
            each(violation("effect_has_journal", expected, format!("effect {place} of the ledger, {total} in all")));
        }
    }
}
