//! What the tests share: a temporary PostgreSQL, and programs that are started, watched and killed.

mod postgres;
mod program;

pub use postgres::{Postgres, postgres};
pub use program::{Program, TICKS_PER_SECOND, cpu_of, free_address, poll, ready};
