//! The workflow language: what a document means, checked once and compiled into a [`plan::Plan`].
//!
//! Invariant: nothing in this crate reads a clock, a file, the network or a random source. Everything here is a
//! function of its arguments, so that saving, previewing, running and replaying a document agree.

pub mod compile;
pub mod diagnostic;
pub mod document;
pub mod duration;
pub mod error;
pub mod expression;
pub mod input;
pub mod plan;
pub mod print;
pub mod rename;
pub mod schema;
pub mod source;
pub mod step_type;
pub mod step_types;
pub mod template;
pub mod time;
pub mod value;

pub use compile::{Compiled, compile, compile_kept};
pub use error::{Class, Error};
pub use expression::Expression;
pub use plan::Plan;
pub use rename::rename;
pub use template::Template;
pub use time::Timestamp;
pub use value::Value;
