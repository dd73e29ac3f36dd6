//! The real binary: what it prints, how it ends, and that nothing is lost when it is killed.

mod apply;
mod data;
mod exits;
mod mcp;
mod pages;
mod people;
mod reference;
mod roles;
mod server;
mod settings;
mod support;
mod templates;
mod tour;
mod traces;
mod tutorial;
mod vault;
mod verify;
