//! The step types of Windlass that have an effect outside their run, one file each.
//!
//! Each type is a `with` struct, an output struct and a `run`; what the language, the editor and the reference know of
//! it is made from those. [`catalogue`] is all of them.

pub mod bench;
mod catalogue;
pub mod credentials;
pub mod egress;
pub mod emit;
pub mod exec;
pub mod http;
pub mod jq;
pub mod reference;
mod schema;
pub mod state;

pub use catalogue::{Options, catalogue};
