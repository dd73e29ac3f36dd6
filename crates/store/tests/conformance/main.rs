//! One suite, both databases.

mod commits;
mod harness;
mod state_values;
