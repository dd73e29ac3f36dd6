//! One suite, both databases.

mod admin;
mod commits;
mod damage;
mod harness;
mod owning;
mod reading;
mod records;
mod sqlite;
mod state_values;
mod tasks;
mod tls;
