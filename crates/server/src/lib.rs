//! The HTTP API of Windlass: routes over the runtime's facade.
//!
//! Invariants: no route is open without a token but those of `routes::public`; the tenant of a request comes from its
//! token alone; every answer that is not a success is a problem document, but for what RFC 6749 and RFC 7644 prescribe; a 2xx
//! answer leaves after the commit that it speaks of.

pub mod admission;
pub mod app;
pub mod auth;
mod edge;
pub mod extract;
pub mod features;
mod figures;
pub mod json;
pub mod listen;
pub mod mcp;
pub mod metrics;
pub mod oauth;
pub mod oidc;
pub mod openapi;
pub mod page;
mod permits;
pub mod problem;
pub mod rate_limits;
pub mod refusal;
pub mod reply;
pub mod routes;
pub mod scim;
pub mod settings;
pub mod token;
pub mod view;

pub use admission::Limits;
pub use app::App;
pub use auth::{Gate, Identity, Tokens};
pub use routes::{Service, document};
