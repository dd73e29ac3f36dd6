//! What the tests share: a temporary PostgreSQL.

mod postgres;

pub use postgres::{Postgres, postgres};
