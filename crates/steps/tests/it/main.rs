//! The step types, run as the runtime runs them.

mod away;
mod common;
mod credentials;
mod egress;
mod emit;
mod exec;
mod http;
mod http_credential;
mod jq;
mod reference;
mod state;
mod tls;
