//! What signing in with an identity provider is tried with: a provider that signs whatever a test wants, and a browser.

mod browser;
mod provider;

pub use browser::{Browser, Page};
pub use provider::{CLIENT, Fake, SECRET, WRONGS, Wrong};
