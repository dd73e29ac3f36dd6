//! What a browser, or a program, carries from one request of a sign-in to the next: sealed, so that it can neither be read
//! nor made, and for a short time.

use std::time::Duration;

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_store::Store;

use crate::problem::Problem;

/// Characters of a note at most.
const NOTE_CHARS_MAX: usize = 3_500;

/// What a note is for, and for how long it holds.
#[derive(Debug, Clone, Copy)]
pub struct Purpose {
    name: &'static str,
    lasts: Duration,
}

/// A browser has gone to a provider.
pub const FLOW: Purpose = Purpose { name: "sign-in flow", lasts: Duration::from_secs(600) };
/// Somebody may have a session: long enough to type a code.
pub const TICKET: Purpose = Purpose { name: "sign-in ticket", lasts: Duration::from_secs(300) };

impl Purpose {
    /// How long such a note holds.
    pub fn lasts(self) -> Duration {
        self.lasts
    }

    /// Seals a note.
    ///
    /// # Errors
    /// The vault is closed.
    pub fn seal<T: Serialize>(self, store: &Store, note: T) -> Result<String, Problem> {
        let kept = Kept { until: store.now().after(self.lasts).micros(), note };
        let plain = serde_json::to_vec(&kept).unwrap_or_default();
        Ok(URL_SAFE_NO_PAD.encode(store.seal_note(self.name, &plain)?))
    }

    /// Opens a note that is still good.
    ///
    /// # Errors
    /// It is none of ours, or too old; or the vault is closed.
    pub fn open<T: DeserializeOwned>(self, store: &Store, text: &str) -> Result<T, Problem> {
        let lost = || {
            let detail = "this sign-in was not begun here, or took too long: begin again";
            Problem::new(StatusCode::BAD_REQUEST, "sign_in_lost", detail)
        };
        if text.len() > NOTE_CHARS_MAX {
            return Err(lost());
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| lost())?;
        let plain = store.open_note(self.name, &sealed)?.ok_or_else(lost)?;
        let kept: Kept<T> = serde_json::from_slice(&plain).map_err(|_| lost())?;
        if Timestamp::from_micros(kept.until) <= store.now() { Err(lost()) } else { Ok(kept.note) }
    }
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    until: i64,
    note: T,
}

/// A sign-in that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct Flow {
    /// In which tenant.
    pub tenant: i32,
    /// With which provider.
    pub provider: Uuid,
    /// Comes back in the address.
    pub state: String,
    /// Comes back in the token.
    pub nonce: String,
    /// Proves that whoever brings the code began.
    pub verifier: String,
    /// The session in which somebody said that it is he.
    pub said_in: Option<Uuid>,
    /// Where it ends.
    pub way: Way,
}

/// Where a sign-in ends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Way {
    /// In the browser, with a cookie, at that path of ours.
    Browser(String),
    /// At a program that listens on this port of the browser's machine and has what the challenge is of.
    Program(u16, String),
}

/// What a session is given for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// In which tenant.
    pub tenant: i32,
    /// Who.
    pub user: Uuid,
    /// SHA-256 of what the program has, in base64url; none for a browser.
    pub challenge: Option<String>,
}

/// The challenge of a verifier, as PKCE's S256 has it.
pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}
