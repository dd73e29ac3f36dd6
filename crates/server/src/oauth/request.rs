//! What an application asks a person for, in the address that it sends a browser to (RFC 6749, section 4.1.1).
//!
//! Invariant: before the redirect address is known to be the application's own, nothing is sent there.

use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use windlass_store::Application;

use super::scopes;
use crate::{app::App, problem::Problem};

const STATE_CHARS_MAX: usize = 1_000;
/// Characters of a SHA-256 in base64url.
const CHALLENGE_CHARS: usize = 43;

/// What an application asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct AuthorizationRequest {
    /// `code`.
    pub response_type: Option<String>,
    /// The id of the application.
    pub client_id: Option<String>,
    /// Where the browser is sent back to: exactly one of the application's.
    pub redirect_uri: Option<String>,
    /// What for, with spaces between permissions; all that it may ask for when left out.
    pub scope: Option<String>,
    /// Comes back as it is.
    pub state: Option<String>,
    /// SHA-256, in base64url, of what the application shows with the code.
    pub code_challenge: Option<String>,
    /// `S256`.
    pub code_challenge_method: Option<String>,
}

/// A request that a person can answer.
#[derive(Debug)]
pub struct Asking {
    /// Who asks.
    pub application: Application,
    /// For what.
    pub scopes: Vec<String>,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What the code is bound to.
    pub challenge: String,
    state: Option<String>,
    issuer: String,
}

/// A request that nobody can answer.
#[derive(Debug)]
pub enum Wrong {
    /// Whoever sent the browser is not known: the browser is told.
    Here(Problem),
    /// The application is told: the address to send the browser to.
    There(String),
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Problem {
        match wrong {
            Wrong::Here(problem) => problem,
            Wrong::There(address) => {
                let query = address.split_once('?').map_or("", |(_, query)| query);
                let said = url::form_urlencoded::parse(query.as_bytes());
                let why =
                    said.into_iter().find(|(name, _)| name == "error_description").map(|(_, why)| why.into_owned());
                Problem::bad_request("invalid_request", why.unwrap_or_default())
            }
        }
    }
}

impl AuthorizationRequest {
    /// Reads a request; `issuer` is how this server calls itself in the answer.
    ///
    /// # Errors
    /// What is wrong, and who is told.
    pub async fn read(&self, app: &App, issuer: String) -> Result<Asking, Wrong> {
        let unknown = || {
            let detail = "there is no such application that people can let in: `client_id` is the application's id";
            Wrong::Here(Problem::bad_request("unknown_application", detail))
        };
        let id = self.client_id.as_deref().and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(unknown)?;
        let found = app.store().application(id).await.map_err(|error| Wrong::Here(error.into()))?;
        let application = found.ok_or_else(unknown)?;
        let address = self.redirect_uri.clone().filter(|it| application.redirect_uris.contains(it));
        let redirect_uri = address.ok_or_else(|| {
            let detail = "`redirect_uri` is not, to the letter, one of those that the application has registered";
            Wrong::Here(Problem::bad_request("unknown_redirect_uri", detail))
        })?;
        let (challenge, state) = (self.code_challenge.clone().unwrap_or_default(), self.state.clone());
        let mut asking = Asking { application, scopes: Vec::new(), redirect_uri, challenge, state, issuer };
        match self.wrong(&asking) {
            Some((error, why)) => return Err(Wrong::There(asking.refusal(error, why))),
            None => asking.scopes = self.scopes(&asking.application),
        }
        Ok(asking)
    }

    fn scopes(&self, application: &Application) -> Vec<String> {
        self.scope.as_deref().map_or_else(|| application.scopes.clone(), scopes)
    }

    fn wrong(&self, asking: &Asking) -> Option<(&'static str, &'static str)> {
        let is_text = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        let Asking { application, challenge, .. } = asking;
        let asked_for = self.scopes(application);
        Some(match () {
            () if self.state.as_ref().is_some_and(|it| it.len() > STATE_CHARS_MAX) => {
                ("invalid_request", "`state` has more than 1,000 characters")
            }
            () if self.response_type.as_deref() != Some("code") => {
                ("unsupported_response_type", "`response_type` has to be `code`")
            }
            () if self.code_challenge_method.as_deref() != Some("S256") => {
                ("invalid_request", "`code_challenge_method` has to be `S256`")
            }
            () if challenge.len() != CHALLENGE_CHARS || !challenge.bytes().all(is_text) => {
                ("invalid_request", "`code_challenge` has to be a SHA-256 in base64url")
            }
            () if asked_for.is_empty() || asked_for.iter().any(|it| !application.scopes.contains(it)) => (
                "invalid_scope",
                "the application may ask for permissions that are registered for it, and for at least one",
            ),
            () => return None,
        })
    }
}

impl Asking {
    /// Where the browser goes with a code.
    pub fn answer(&self, code: &str) -> String {
        self.address(&[("code", code)])
    }

    /// Where it goes without one.
    pub fn refusal(&self, error: &str, why: &str) -> String {
        self.address(&[("error", error), ("error_description", why)])
    }

    /// Whether a consent that was given before is enough: the application can be no other than it says, by its secret or
    /// because nobody else is at that address.
    pub fn is_sure(&self) -> bool {
        self.application.confidential || self.redirect_uri.starts_with("https://")
    }

    fn address(&self, pairs: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(pairs);
        // What is too long is not sent back.
        if let Some(state) = self.state.as_ref().filter(|it| it.len() <= STATE_CHARS_MAX) {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &self.issuer);
        let sign = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{sign}{}", self.redirect_uri, query.finish())
    }
}
