//! What signing in is tried with: an identity provider that signs whatever a test wants, a browser, and an app that makes
//! codes.

mod app;
mod browser;
mod provider;

pub use app::Authenticator;
pub use browser::{Browser, Page};
pub use provider::{CLIENT, Fake, SECRET, WRONGS, Wrong};
