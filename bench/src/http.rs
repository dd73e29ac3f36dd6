//! A small HTTP/1.1 client: one keep-alive connection, one request at a time, bytes in and bytes out.
//!
//! The generator shares its cores with the server that it measures, so a request is built once and sent as it is, and
//! of an answer only the status and the body are read. An answer in chunks, such as an export, is put together first.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// No answer is longer than this.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What ends a line and a chunk.
const LINE_END: &[u8] = b"\r\n";
/// Headers of an answer.
const HEADERS_MAX: usize = 64;

/// Where requests go, and with which token.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// Its API token.
    pub token: String,
}

impl Target {
    /// The bytes of a request with a JSON body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        self.request_with(method, path, &[], body)
    }

    /// The same with more headers; the body is JSON unless one of them says what it is.
    pub fn request_with(&self, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> Vec<u8> {
        let mut lines = format!("authorization: Bearer {}\r\n", self.token);
        if headers.iter().all(|(name, _)| *name != "content-type") {
            lines.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            lines.extend([name, ": ", value.as_str(), "\r\n"]);
        }
        // What stands beside the API says so itself.
        let root = if path.starts_with("/scim/") { "" } else { "/api/v1" };
        request((method, &format!("{root}{path}")), self.address, &lines, body)
    }

    /// The server's counters, as text.
    ///
    /// # Errors
    /// Nobody answers, or not with success.
    pub async fn counters(&self) -> Result<String> {
        let mut connection = Connection::open(self.address).await?;
        let token = format!("authorization: Bearer {}\r\n", self.token);
        let answer = connection.send(&request(("GET", "/metrics"), self.address, &token, "")).await?;
        if answer.status != 200 {
            bail!("GET /metrics: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        Ok(String::from_utf8_lossy(answer.body).into_owned())
    }

    /// Sends one request on a connection of its own and takes the body of its answer.
    ///
    /// # Errors
    /// Nobody answers, or not with success.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.send(&self.request(method, path, body)).await?;
        if !(200..300).contains(&answer.status) {
            bail!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        Ok(answer.body.to_vec())
    }
}

/// The bytes of a request by that method to that path; each of the headers ends its line.
pub fn request((method, path): (&str, &str), address: SocketAddr, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// What the server said.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

/// A connection to the server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, received: Vec::with_capacity(4096) })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The connection broke, or what came is no answer.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        let mut head: Option<Head> = None;
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server closed the connection");
            }
            if head.is_none() {
                head = Head::read(&self.received)?;
            }
            if let Some(head) = &mut head {
                head.put_chunks_together(&mut self.received)?;
            }
            match &head {
                Some(Head { status, begin, end: End::At(end) }) if self.received.len() >= *end => {
                    return Ok(Answer { status: *status, body: &self.received[*begin..*end] });
                }
                _ if self.received.len() > ANSWER_BYTES_MAX => bail!("the answer is over {ANSWER_BYTES_MAX} bytes"),
                _ => {}
            }
        }
    }
}

/// What stands before a body.
struct Head {
    status: u16,
    /// Where the body begins.
    begin: usize,
    end: End,
}

/// Where a body ends.
enum End {
    /// There.
    At(usize),
    /// Behind its last chunk; up to here chunks have been put together, without their sizes.
    InChunks(usize),
}

impl Head {
    /// Reads it; `None` while it is not all there.
    fn read(received: &[u8]) -> Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(begin) = response.parse(received)? else { return Ok(None) };
        let status = response.code.context("an answer without a status")?;
        let named = |name: &str| response.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
        let end = match (named("transfer-encoding"), named("content-length")) {
            (Some(_), _) => End::InChunks(begin),
            (None, Some(header)) => End::At(begin + std::str::from_utf8(header.value)?.parse::<usize>()?),
            (None, None) => End::At(begin),
        };
        Ok(Some(Head { status, begin, end }))
    }

    /// Takes the sizes of the chunks that are there out of what was received.
    fn put_chunks_together(&mut self, received: &mut Vec<u8>) -> Result<()> {
        while let End::InChunks(at) = self.end {
            let size = httparse::parse_chunk_size(&received[at..]).map_err(|_| anyhow!("a chunk without a size"))?;
            let httparse::Status::Complete((line, size)) = size else { return Ok(()) };
            let size = usize::try_from(size)?;
            if received.len() < at + line + size + LINE_END.len() {
                return Ok(());
            }
            received.drain(at + line + size..at + line + size + LINE_END.len());
            received.drain(at..at + line);
            self.end = if size == 0 { End::At(at) } else { End::InChunks(at + size) };
        }
        Ok(())
    }
}
