//! Requests to servers that may be dead, paused or cut off.
//!
//! Invariant: whoever gets no answer asks again, the next server too, with the same key; nobody waits for ever.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::sync::watch;
use windlass_bench::http::{Connection, Target};

/// Between two tries to reach a server that may be dead, or two looks at something.
pub const TRY_EVERY: Duration = Duration::from_millis(5);
/// How long one try waits: the server may be paused, and another one may answer.
const TRY_WITHIN: Duration = Duration::from_secs(10);
/// Without any answer for so long, something is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// Idle connections that are kept for each server.
const IDLE_MAX: usize = 256;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Request {
    /// To read something.
    pub fn get(path: impl Into<String>) -> Request {
        Request { method: "GET", path: path.into(), headers: Vec::new(), body: String::new() }
    }

    /// To do something.
    pub fn post(path: impl Into<String>, body: &Value) -> Request {
        Request { method: "POST", body: body.to_string(), ..Request::get(path) }
    }

    /// To take something away.
    pub fn delete(path: impl Into<String>) -> Request {
        Request { method: "DELETE", ..Request::get(path) }
    }

    /// To change something.
    pub fn patch(path: impl Into<String>, body: &Value) -> Request {
        Request { method: "PATCH", ..Request::post(path, body) }
    }

    /// To put something in the place of what is there.
    pub fn put(path: impl Into<String>, body: &Value) -> Request {
        Request { method: "PUT", ..Request::post(path, body) }
    }

    /// To store a document, given as YAML.
    pub fn put_yaml(path: impl Into<String>, yaml: &str) -> Request {
        let headers = vec![("content-type", "application/yaml".to_owned())];
        Request { method: "PUT", headers, body: yaml.to_owned(), ..Request::get(path) }
    }

    /// Under an idempotency key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Request {
        self.headers.push(("idempotency-key", key.to_owned()));
        self
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body; null when it is empty, and a text when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A client of several servers on one database.
#[derive(Debug)]
pub struct Client {
    targets: Vec<Target>,
    idle: Vec<Mutex<Vec<Connection>>>,
    next: AtomicUsize,
    /// Answers that were got, of whatever kind.
    answers: watch::Sender<u64>,
}

impl Client {
    /// Of the servers at these addresses.
    pub fn new(addresses: &[SocketAddr], token: &str) -> Client {
        let target = |address: &SocketAddr| Target { address: *address, token: token.to_owned() };
        Client {
            targets: addresses.iter().map(target).collect(),
            idle: addresses.iter().map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            answers: watch::Sender::new(0),
        }
    }

    /// Where a browser finds the first of them.
    pub fn base(&self) -> String {
        self.targets.first().map(|target| format!("http://{}", target.address)).unwrap_or_default()
    }

    /// Of the same servers, for somebody else.
    #[must_use]
    pub fn of(&self, token: &str) -> Client {
        let addresses: Vec<SocketAddr> = self.targets.iter().map(|target| target.address).collect();
        Client::new(&addresses, token)
    }

    /// Answers so far, as they come.
    pub fn answers(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    /// Waits until there were so many more answers.
    pub async fn after_answers(&self, count: u64) {
        let mut answers = self.answers();
        let at = *answers.borrow() + count;
        // The sender is this client's.
        let _ = answers.wait_for(|it| *it >= at).await;
    }

    /// Asks, in turn, until a server answers; one that is dead, or that says it cannot answer now (429, 503), is asked
    /// again.
    ///
    /// # Errors
    /// Nobody answers for two minutes.
    pub async fn ask(&self, request: &Request) -> Result<Answer> {
        let since = Instant::now();
        let mut last;
        loop {
            let server = self.next.fetch_add(1, Ordering::Relaxed) % self.targets.len();
            match self.try_ask(server, request).await {
                Ok(answer) => {
                    self.answers.send_modify(|it| *it += 1);
                    if !matches!(answer.status, 429 | 503) {
                        return Ok(answer);
                    }
                    last = answer.body.to_string();
                }
                Err(error) => last = format!("{error:#}"),
            }
            if since.elapsed() > PATIENCE {
                bail!("{} {}: no answer for {} s: {last}", request.method, request.path, PATIENCE.as_secs());
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// Asks one server, once.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn try_ask(&self, server: usize, request: &Request) -> Result<Answer> {
        let target = &self.targets[server];
        let bytes = target.request_with(request.method, &request.path, &request.headers, &request.body);
        let idle = || self.idle[server].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let asked = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(target.address).await?,
            };
            let answer = connection.send(&bytes).await?;
            let body = match answer.body {
                [] => Value::Null,
                // An export, say, is lines of JSON, or no JSON at all.
                body => serde_json::from_slice(body)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())),
            };
            let answer = Answer { status: answer.status, body };
            let mut idle = idle();
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
            Ok(answer)
        };
        tokio::time::timeout(TRY_WITHIN, asked).await.context("no answer in time")?
    }

    /// Reads something that must be there.
    ///
    /// # Errors
    /// It is not.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.must(&Request::get(path)).await
    }

    /// Asks for something that must succeed.
    ///
    /// # Errors
    /// It does not.
    pub async fn must(&self, request: &Request) -> Result<Value> {
        let answer = self.ask(request).await?;
        if !answer.is_success() {
            bail!("{} {}: {} {}", request.method, request.path, answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// Every item of a list, over all of its pages.
    ///
    /// # Errors
    /// There is no such list.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit=200{after}")).await?;
            items.extend(page["items"].as_array().context("a page without items")?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }
}
