//! One suite, both databases.

mod commits;
mod harness;
