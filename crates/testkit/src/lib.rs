//! What the tests of the other crates share: a temporary PostgreSQL, programs that are started, watched and killed, and
//! random workflows.

mod postgres;
mod program;
pub mod random;
pub mod workflows;

pub use postgres::{Postgres, postgres};
pub use program::{Program, TICKS_PER_SECOND, cpu_of, free_address, poll, ready};
