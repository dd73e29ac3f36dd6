//! One suite, both databases.

mod admin;
mod allowances;
mod audit;
mod backlog;
mod commits;
mod damage;
mod declared;
mod distribution;
mod files;
mod harness;
mod library;
mod owning;
mod reading;
mod records;
mod row_security;
mod search;
mod sockets;
mod sqlite;
mod state_values;
mod tasks;
mod tls;
mod vault;
mod workflows;
