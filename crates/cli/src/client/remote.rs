//! The API of another process: over TCP with a token, or over the socket in a data directory.

use std::{path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt};
use reqwest::RequestBuilder;

use super::{Answer, Call, Pieces, SentFile};
use crate::{
    exit::{Exit, Failure},
    place::Database,
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The API of another process.
pub struct Remote {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Remote {
    /// The server at that address.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(url: &str, token: Option<String>) -> Result<Remote, Failure> {
        let base = url.trim_end_matches('/').trim_end_matches("/api/v1").to_owned();
        let parsed = reqwest::Url::parse(&base).ok().filter(|it| matches!(it.scheme(), "http" | "https"));
        if parsed.is_none() {
            return Err(Failure::refused(format!("`{url}` is no address of a server, such as http://127.0.0.1:7400")));
        }
        // The environment's proxies are for browsers: a server on this machine must not be looked for there.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIME_MAX).build();
        let http = http.map_err(|error| Failure::internal(format!("cannot make a client: {error}")))?;
        Ok(Remote { http, base, token })
    }

    /// The process that holds that data directory, if it listens on the socket there.
    pub async fn holder_of(database: &Database) -> Option<Remote> {
        let socket = database.socket()?;
        tokio::net::UnixStream::connect(&socket).await.ok()?;
        Remote::on_socket(&socket).ok()
    }

    fn on_socket(socket: &Path) -> Result<Remote, Failure> {
        let http = reqwest::Client::builder().unix_socket(socket).build();
        let http = http.map_err(|error| Failure::internal(format!("cannot make a client: {error}")))?;
        Ok(Remote { http, base: "http://localhost".to_owned(), token: None })
    }

    /// Sends it and takes the whole answer.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn send(&self, call: Call) -> Result<Answer, Failure> {
        let response = self.request(call).send().await.map_err(|error| self.unreachable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(Answer { status, headers, body })
    }

    /// Sends it with that file as its body.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn send_file(&self, call: Call, file: SentFile) -> Result<Answer, Failure> {
        let mut request = self.request(call).body(reqwest::Body::wrap_stream(file.pieces));
        if let Some(bytes) = file.bytes {
            request = request.header("content-length", bytes);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(Answer { status, headers, body })
    }

    /// Sends it and takes the answer piece by piece.
    ///
    /// # Errors
    /// Nobody answers, or the answer is a problem.
    pub async fn stream(&self, call: Call) -> Result<Pieces, Failure> {
        let response = self.request(call).send().await.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.unwrap_or_default();
            Answer { status, headers, body }.or_problem()?;
            return Err(Failure::internal("the server answered with something else"));
        }
        let cut = |error| Failure::new(Exit::Unreachable, "cut", format!("the server's answer was cut: {error}"));
        Ok(response.bytes_stream().map_err(cut).boxed())
    }

    fn request(&self, call: Call) -> RequestBuilder {
        let mut request = self.http.request(call.method, format!("{}/api/v1{}", self.base, call.path));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if let Some((media_type, bytes)) = call.body {
            request = request.header("content-type", media_type).body(bytes);
        }
        request
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let message = format!(
            "no server answers at {}: {cause}\n  start one with `windlass serve`, name another with --url, or act \
             straight on its data with --data-dir",
            self.base
        );
        Failure::new(Exit::Unreachable, "unreachable", message)
    }
}

/// Reads something that is not the API.
///
/// # Errors
/// Nobody answers there with success.
pub async fn fetch(url: &str) -> Result<axum::body::Bytes, Failure> {
    let unreachable = |error: reqwest::Error| Failure::new(Exit::Unreachable, "unreachable", format!("{url}: {error}"));
    let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIME_MAX).build().map_err(unreachable)?;
    let answer = http.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
    answer.bytes().await.map_err(unreachable)
}
