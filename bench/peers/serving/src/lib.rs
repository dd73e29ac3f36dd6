//! Answers the bench's requests for a peer that is a library.
//!
//! `POST /steps/10` runs a workflow of ten steps and answers `{"result":10}`, `POST /fan-out/1000` likewise,
//! `GET /effects` tells how many steps were executed, `GET /ready` that the peer is ready. Nothing else is understood.

use std::{
    env,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What comes of a workflow: how many steps it had, counted by the steps themselves.
pub type Outcome = Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;
/// Runs a workflow of so many steps and waits for its result.
pub type Run = Arc<dyn Fn(u32) -> Outcome + Send + Sync>;

static EFFECTS: AtomicU64 = AtomicU64::new(0);

/// Every step says that it was executed.
pub fn effect() {
    EFFECTS.fetch_add(1, Ordering::Relaxed);
}

/// A variable that the bench sets.
///
/// # Panics
/// It is not set.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: the bench starts this program"))
}

/// Serves until the process is ended: `steps` one after another, `fan_out` beside each other.
///
/// # Panics
/// The port is taken.
pub async fn serve(steps: Run, fan_out: Run) {
    let port: u16 = variable("PORT").parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(converse(stream, Arc::clone(&steps), Arc::clone(&fan_out)));
    }
}

async fn converse(mut stream: TcpStream, steps: Run, fan_out: Run) {
    let _ = stream.set_nodelay(true);
    let mut received = Vec::with_capacity(1024);
    while let Some(path) = request(&mut stream, &mut received).await {
        let mut parts = path.trim_start_matches('/').split('/');
        let (what, number) = (parts.next().unwrap_or_default(), parts.next().and_then(|it| it.parse().ok()));
        let outcome = match (what, number) {
            ("ready", None) => Ok(0),
            ("effects", None) => Ok(EFFECTS.load(Ordering::Relaxed)),
            ("steps", Some(number)) => steps(number).await,
            ("fan-out", Some(number)) => fan_out(number).await,
            _ => Err("no such path".to_owned()),
        };
        let (status, body) = match outcome {
            Ok(result) => ("200 OK", format!("{{\"result\":{result}}}")),
            Err(error) => ("500 Failed", error),
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The path of the next request; `None` when there is no more.
async fn request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<String> {
    received.clear();
    loop {
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
        let Some(end) = received.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&received[..end]).ok()?.to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        while received.len() < end + 4 + length.unwrap_or(0) {
            if stream.read_buf(received).await.ok()? == 0 {
                return None;
            }
        }
        return head.split(' ').nth(1).map(str::to_owned);
    }
}
