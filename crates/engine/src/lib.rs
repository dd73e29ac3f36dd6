//! The pure state machine: a plan, a run's state, an event and a time in; journal entries and effects out.
//!
//! Invariant: nothing here reads a clock, a file, the network or a random source, and nothing depends on the order of
//! a hash map. The state of a run is the fold of its journal.

pub mod id;
pub mod status;
