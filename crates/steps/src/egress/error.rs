//! Why a request got no response, and what that means for a step.

use std::error::Error as StdError;

use windlass_definition::{Class, Error};
use windlass_runtime::step::{Sent, StepFailure};

use windlass_store::StoreError;

use super::address::Refused;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The TLS set-up of the client failed.
    #[error("failed to set up the HTTP client")]
    Setup(#[source] Box<dyn StdError + Send + Sync>),
    /// What the tenant may reach could not be read.
    #[error("it is not known now what the tenant may reach (setting `private_networks`)")]
    Settings(#[source] StoreError),
    /// Neither http nor https.
    #[error("`{0}` is not an http or https URL")]
    Scheme(String),
    /// The address is not public.
    #[error(
        "{host} may not be reached: {refused}; the setting `private_networks` may name it, for the installation (--allow-private-network) and for the tenant"
    )]
    Refused {
        /// The host as the URL names it.
        host: String,
        /// The address and what it is.
        refused: Refused,
    },
    /// A secret would go where it may not.
    #[error("secret `{secret}` may go to {hosts} alone (its `hosts`), and not to {host}")]
    SecretElsewhere {
        /// Where it would go.
        host: String,
        /// The name of the secret.
        secret: String,
        /// Where it may go.
        hosts: String,
    },
    /// No connection was made.
    #[error("could not connect to {host}: {reason}")]
    Connect {
        /// The host as the URL names it.
        host: String,
        /// Why, without addresses of inner parts.
        reason: String,
    },
    /// The connection broke after the request had begun.
    #[error("lost the connection to {host}: {reason}")]
    Lost {
        /// The host as the URL names it.
        host: String,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("{host} did not answer in time")]
    Timeout {
        /// The host as the URL names it.
        host: String,
    },
    /// More redirects than are followed.
    #[error("more than {0} redirects")]
    TooManyRedirects(usize),
    /// A redirect to what is no URL.
    #[error("a redirect to `{0}`, which is no URL")]
    BadRedirect(String),
    /// The body is larger than allowed.
    #[error("the response is larger than {0} bytes; raise `max_bytes` to read more")]
    ResponseTooLarge(usize),
}

/// A failed request: why, and whether it may have had its effect.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct EgressFailure {
    /// Why.
    pub error: EgressError,
    /// Whether the effect may have happened.
    pub sent: Sent,
}

impl From<EgressError> for EgressFailure {
    /// One before anything was sent.
    fn from(error: EgressError) -> EgressFailure {
        EgressFailure { error, sent: Sent::Nothing }
    }
}

impl From<EgressFailure> for StepFailure {
    fn from(failure: EgressFailure) -> StepFailure {
        let message = failure.error.to_string();
        let error = match &failure.error {
            EgressError::Setup(_) => Error::new(Class::Connect, "client_setup", message),
            EgressError::Settings(_) => Error::new(Class::Connect, "settings_unavailable", message).retryable(),
            EgressError::Scheme(_) => Error::new(Class::Validation, "bad_url", message),
            EgressError::Refused { .. } => Error::new(Class::Denied, "private_address", message),
            EgressError::SecretElsewhere { .. } => Error::new(Class::Denied, "secret_host", message),
            EgressError::Connect { .. } => Error::new(Class::Connect, "connect_failed", message).retryable(),
            EgressError::Lost { .. } => Error::new(Class::Connect, "connection_lost", message).retryable(),
            EgressError::Timeout { .. } => Error::new(Class::Timeout, "request_timeout", message).retryable(),
            EgressError::TooManyRedirects(_) => Error::new(Class::Limit, "too_many_redirects", message),
            EgressError::BadRedirect(_) => Error::new(Class::Http, "bad_redirect", message),
            EgressError::ResponseTooLarge(_) => Error::new(Class::Limit, "response_too_large", message),
        };
        StepFailure { error, sent: failure.sent }
    }
}

/// What went wrong, in our terms.
pub(super) fn translate(error: reqwest::Error, host: String) -> EgressError {
    if let Some(refused) = sources(&error).find_map(|it| it.downcast_ref::<Refused>()) {
        return EgressError::Refused { host, refused: refused.clone() };
    }
    if error.is_timeout() && !error.is_connect() {
        return EgressError::Timeout { host };
    }
    // The innermost cause is the one that says something: "Connection refused (os error 111)".
    let reason = sources(&error).last().map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_connect() { EgressError::Connect { host, reason } } else { EgressError::Lost { host, reason } }
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}
