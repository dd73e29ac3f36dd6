//! What turns the engine: dispatch, timers, recovery, limits.

pub mod step;
