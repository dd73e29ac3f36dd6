//! What a record is: one descriptor, and everything that follows from it.
//!
//! A [`Record`] says which columns a thing has, who may see and change them, which states it passes through and what
//! becomes of it when it is deleted. From it come the tables of both databases ([`ddl`]), the checks of what is sent
//! ([`validate`]), lists ([`list`]), statements ([`statement`]), JSON Schema and OpenAPI ([`schema`], [`openapi`]) and
//! the reference ([`print`]). `docs/records.md` shows how to declare one.
//!
//! Invariants: nothing here does I/O or reads a clock; a descriptor that cannot be meant is found by [`check`], with
//! everything that is wrong with it at once.

pub mod check;
mod column;
pub mod credential;
mod cursor;
mod datum;
pub mod ddl;
pub mod host;
pub mod list;
pub mod openapi;
pub mod permission;
pub mod print;
mod record;
pub mod records;
pub mod schema;
mod state;
pub mod statement;
mod table;
pub mod tables;
pub mod validate;

pub use column::{
    Access, Column, DefaultValue, Fold, Kind, OnDelete, Pattern, Secrecy, Shape, boolean, bytes, date, decimal,
    enumeration, id, integer, json, patterns, reference, state, text, timestamp,
};
pub use datum::Datum;
pub use ddl::Dialect;
pub use record::{Area, DELETED_DAYS, Deletion, Index, Operation, Ownership, Record, Retention, Unique, Writing};
pub use state::{Effect, Guard, Transition, transition};
pub use table::{
    Kept, Partitions, Refers, Rows, Table, TableIndex, UniqueKey, foreign_key, index, number, refers, unique_key,
};
pub use validate::FieldError;
