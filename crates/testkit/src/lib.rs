//! What the tests of the other crates share: a temporary PostgreSQL, programs that are started, watched and killed,
//! random workflows, a world around the engine that answers at random, and the properties that hold whatever happens.

mod answer;
pub mod driver;
pub mod library;
mod postgres;
mod program;
pub mod random;
pub mod scene;
#[cfg(feature = "sign-on")]
pub mod sign_on;
pub mod sim;
pub mod workflows;
pub mod world;

pub use postgres::{OwnPostgres, Postgres, look_at, postgres, postgres_in};
pub use program::{Program, TICKS_PER_SECOND, cpu_of, free_address, poll, ready};
