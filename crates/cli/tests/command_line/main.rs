//! The real binary: what it prints, how it ends, and that nothing is lost when it is killed.

mod apply;
mod data;
mod exits;
mod files;
mod mcp;
mod people;
mod reference;
mod roles;
mod server;
mod settings;
mod support;
mod tour;
mod tutorial;
mod vault;
mod verify;
