//! One suite, both databases.

mod commits;
mod harness;
mod reading;
mod records;
mod state_values;
mod tasks;
