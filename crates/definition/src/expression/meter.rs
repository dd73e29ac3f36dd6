//! What an evaluation may cost: one unit per node, per element, and per 64 bytes that a function touches.

use crate::Value;

use super::failure::{Failure, Outcome};

/// Bytes that cost one unit.
const BYTES_PER_UNIT: usize = 64;

/// Counts down.
#[derive(Debug)]
pub(crate) struct Meter {
    left: u64,
    limit: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Meter {
        Meter { left: limit, limit }
    }

    /// Takes off that many units.
    pub(crate) fn charge(&mut self, units: u64) -> Outcome<()> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Failure::cost_limit(self.limit))
            }
        }
    }

    /// Takes off for that many elements.
    pub(crate) fn elements(&mut self, count: usize) -> Outcome<()> {
        self.charge(count as u64)
    }

    /// Takes off for that many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Outcome<()> {
        self.charge((count / BYTES_PER_UNIT) as u64)
    }

    /// Takes off for a whole value, all that is in it, that many times.
    pub(crate) fn whole(&mut self, value: &Value, times: u64) -> Outcome<()> {
        self.charge(times)?;
        match value {
            Value::String(text) => self.charge((text.len() / BYTES_PER_UNIT) as u64 * times),
            Value::Bytes(bytes) => self.charge((bytes.len() / BYTES_PER_UNIT) as u64 * times),
            Value::List(items) => items.iter().try_for_each(|item| self.whole(item, times)),
            Value::Map(map) => map.values().try_for_each(|item| self.whole(item, times)),
            _ => Ok(()),
        }
    }
}
