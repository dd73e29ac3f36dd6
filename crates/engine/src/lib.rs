//! The pure state machine: a plan, a run's state, an event and a time in; journal entries and effects out.
//!
//! Invariant: nothing here reads a clock, a file, the network or a random source, and nothing depends on the order of
//! a hash map. The state of a run is the fold of its journal: [`Run::replay`] gives the state that the live run had.

pub mod audit;
pub mod effect;
pub mod entry;
pub mod event;
mod frame;
pub mod id;
mod machine;
pub mod planted;
pub mod run;
pub mod start;
pub mod status;
pub mod trace;

pub use effect::Effect;
pub use entry::{Entry, Record};
pub use event::{Event, Reject};
pub use machine::apply_state;
pub use run::{Run, Transition};
pub use start::Start;
