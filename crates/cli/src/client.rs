//! How commands reach the API: over HTTP, over the socket of a process that holds the data directory, or in process.
//!
//! Invariant: all three speak the same API, route by route, so every command works against a server and straight on a
//! database.

mod answer;
mod local;
mod remote;
mod sse;

pub use axum::body::Bytes;
use futures::stream::BoxStream;
use http::Method;

pub use answer::Answer;
pub use local::Local;
pub use remote::{Remote, fetch};
pub use sse::ServerEvent;

use crate::{
    exit::Failure,
    place::{self, Place},
    session,
};

/// A request to the API.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query below `/api/v1`.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Media type and bytes.
    pub body: Option<(&'static str, Vec<u8>)>,
}

impl Call {
    /// Reads something.
    pub fn get(path: impl Into<String>) -> Call {
        Call { method: Method::GET, path: path.into(), headers: Vec::new(), body: None }
    }

    /// Does something.
    pub fn post(path: impl Into<String>) -> Call {
        Call { method: Method::POST, ..Call::get(path) }
    }

    /// Changes something.
    pub fn patch(path: impl Into<String>) -> Call {
        Call { method: Method::PATCH, ..Call::get(path) }
    }

    /// Ends something.
    pub fn delete(path: impl Into<String>) -> Call {
        Call { method: Method::DELETE, ..Call::get(path) }
    }

    /// The same call with a JSON body.
    #[must_use]
    pub fn json(self, body: &impl serde::Serialize) -> Call {
        // Bodies are made of JSON values: they always have a JSON form.
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        Call { body: Some(("application/json", bytes)), ..self }
    }

    /// The same call with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }
}

/// A file that is sent as it is read.
pub struct SentFile {
    /// Its bytes.
    pub pieces: BoxStream<'static, std::io::Result<Bytes>>,
    /// How many there are, where that is known.
    pub bytes: Option<u64>,
}

/// The pieces of a body as they come.
pub type Pieces = BoxStream<'static, Result<Bytes, Failure>>;

/// A way to the API.
pub enum Client {
    /// Another process.
    Remote(Remote),
    /// This one.
    Local(Local),
}

impl Client {
    /// The way to that place.
    ///
    /// # Errors
    /// The database cannot be opened, or the address is none.
    pub async fn open(place: &Place) -> Result<Client, Failure> {
        match place {
            Place::Server { url, token } => {
                let token = token.clone().or_else(|| session::of(url));
                Ok(Client::Remote(Remote::new(url, token)?))
            }
            Place::Database(database) => {
                if let Some(remote) = Remote::holder_of(database).await {
                    return Ok(Client::Remote(remote));
                }
                let (allowed, told) = place::by_environment()?;
                Ok(Client::Local(Local::open(database, allowed, told).await?))
            }
        }
    }

    /// Sends it and takes the whole answer; an answer that is a problem is a failure.
    ///
    /// # Errors
    /// The problem, or that nobody answers.
    pub async fn send(&self, call: Call) -> Result<Answer, Failure> {
        self.try_send(call).await?.or_problem()
    }

    /// Sends it and takes the whole answer, whatever it is.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn try_send(&self, call: Call) -> Result<Answer, Failure> {
        match self {
            Client::Remote(remote) => remote.send(call).await,
            Client::Local(local) => local.send(call).await,
        }
    }

    /// Sends it with that file as its body, as it is read, and takes the whole answer; a problem is a failure.
    ///
    /// # Errors
    /// The problem, or that nobody answers.
    pub async fn send_file(&self, call: Call, file: SentFile) -> Result<Answer, Failure> {
        let answer = match self {
            Client::Remote(remote) => remote.send_file(call, file).await,
            Client::Local(local) => local.send_file(call, file).await,
        };
        answer?.or_problem()
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// The problem, or that nobody answers.
    pub async fn events(&self, call: Call) -> Result<BoxStream<'static, Result<ServerEvent, Failure>>, Failure> {
        let call = call.header("accept", "text/event-stream");
        let pieces = match self {
            Client::Remote(remote) => remote.stream(call).await?,
            Client::Local(local) => local.stream(call).await?,
        };
        Ok(sse::parse(pieces))
    }

    /// Sends it and takes the answer as it comes; an answer that is a problem is a failure.
    ///
    /// # Errors
    /// The problem, or that nobody answers.
    pub async fn pieces(&self, call: Call) -> Result<Pieces, Failure> {
        match self {
            Client::Remote(remote) => remote.stream(call).await,
            Client::Local(local) => local.stream(call).await,
        }
    }

    /// Leaves; what is open in process is brought to rest.
    pub async fn close(self) {
        match self {
            Client::Remote(_) => {}
            Client::Local(local) => local.close().await,
        }
    }
}

/// A part of a path, with everything escaped that is not plain.
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => escaped.push(char::from(byte)),
            b'.' if text != "." && text != ".." => escaped.push('.'),
            byte => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

/// A query string of the parameters that are there, with its `?`.
pub fn query(parameters: &[(&str, Option<String>)]) -> String {
    let pairs: Vec<String> = parameters
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", escape(value))))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_escaped() {
        for (text, escaped) in [("order-1", "order-1"), ("a/b?c", "a%2Fb%3Fc"), ("..", "%2E%2E"), ("ä", "%C3%A4")] {
            assert_eq!(escape(text), escaped);
        }
        assert_eq!(query(&[("a", None), ("b", Some("1 2".into()))]), "?b=1%202");
        assert_eq!(query(&[("a", None)]), "");
    }
}
