//! Signing in with a browser: this program listens on the machine's own address until the browser brings a ticket.
//!
//! The ticket is worth nothing without the verifier, which never leaves this process until the session is asked for.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::exit::{Exit, Failure};

/// How long somebody has to sign in.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a browser has to say what it wants.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the first line of what it says.
const LINE_BYTES_MAX: u64 = 8 << 10;
const SAID: &str = "You are signed in: go back to the terminal.\n";

/// Where a browser brings a ticket.
pub struct Loopback {
    listener: TcpListener,
    /// What the ticket is worth something with.
    pub verifier: String,
}

impl Loopback {
    /// Listens on a free port.
    ///
    /// # Errors
    /// There is none, or no random bits.
    pub async fn open() -> Result<Loopback, Failure> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| Failure::internal(format!("no random bits: {error}")))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Loopback { listener, verifier: URL_SAFE_NO_PAD.encode(bytes) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn port(&self) -> Result<u16, Failure> {
        Ok(self.listener.local_addr()?.port())
    }

    /// What tells the server of the verifier without showing it.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }

    /// Waits for the ticket.
    ///
    /// # Errors
    /// Nobody brought one in time.
    pub async fn ticket(&self) -> Result<String, Failure> {
        let waiting = async {
            loop {
                let (stream, _) = self.listener.accept().await?;
                // Whatever else asks here, such as for an icon, is told that there is nothing.
                let came = tokio::time::timeout(REQUEST_TIME_MAX, answer(stream)).await;
                if let Ok(Ok(Some(ticket))) = came {
                    return Ok(ticket);
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(came) => came,
            Err(_) => {
                let message = format!("nobody has signed in within {} minutes", PATIENCE.as_secs() / 60);
                Err(Failure::new(Exit::Refused, "sign_in", message))
            }
        }
    }
}

async fn answer(stream: TcpStream) -> Result<Option<String>, std::io::Error> {
    let mut reader = BufReader::new(stream.take(LINE_BYTES_MAX));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let ticket = ticket_of(&line);
    let (status, text) =
        if ticket.is_some() { ("200 OK", SAID) } else { ("404 Not Found", "There is nothing here.\n") };
    let head = "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\n";
    let answer = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{text}", text.len());
    let mut stream = reader.into_inner().into_inner();
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(ticket)
}

/// The ticket in the first line of a request.
fn ticket_of(line: &str) -> Option<String> {
    let ticket = line.strip_prefix("GET /?ticket=")?.split(' ').next()?;
    let right = !ticket.is_empty() && ticket.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'));
    right.then(|| ticket.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_what_a_browser_brings() {
        for (line, ticket) in [
            ("GET /?ticket=abc-_1 HTTP/1.1\r\n", Some("abc-_1")),
            ("GET /favicon.ico HTTP/1.1\r\n", None),
            ("GET /?ticket= HTTP/1.1\r\n", None),
            ("GET /?ticket=a&b=c HTTP/1.1\r\n", None),
            ("POST /?ticket=a HTTP/1.1\r\n", None),
            ("", None),
        ] {
            assert_eq!(ticket_of(line).as_deref(), ticket, "{line}");
        }
    }
}
