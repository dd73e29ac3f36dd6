//! The step types, run as the runtime runs them.

mod common;
mod egress;
mod emit;
mod exec;
mod http;
mod jq;
mod reference;
mod state;
mod tls;
