//! Who listens on every address of this machine, notes who should not have come, and answers who may.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;

/// How long a head may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The listener.
pub struct Listener {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// What it noted, and where it sends those that may come.
#[derive(Default)]
struct State {
    strangers: Vec<String>,
    redirects: Vec<String>,
}

impl Listener {
    /// Listens on all addresses, IPv6 too where there is such a thing.
    ///
    /// # Errors
    /// There is no such port on both.
    pub fn begin(allowed: IpAddr) -> Result<Listener> {
        let state = Arc::<Mutex<State>>::default();
        let first = TcpListener::bind("0.0.0.0:0")?;
        let port = first.local_addr()?.port();
        let second = match TcpListener::bind(("::1", port)) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => None,
            Err(error) => return Err(error.into()),
        };
        for listener in [Some(first), second].into_iter().flatten() {
            let state = Arc::clone(&state);
            std::thread::Builder::new().name("listener".to_owned()).spawn(move || {
                for connection in listener.incoming().flatten() {
                    // Answers are short: one after the other is quick enough.
                    serve(connection, allowed, &state);
                }
            })?;
        }
        Ok(Listener { port, state })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where `/<status>/<number>` redirects to, by number.
    pub fn redirect_to(&self, targets: Vec<String>) {
        lock(&self.state).redirects = targets;
    }

    /// Who came to an address that is not allowed, and what they said.
    pub fn strangers(&self) -> Vec<String> {
        lock(&self.state).strangers.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut connection: TcpStream, allowed: IpAddr, state: &Mutex<State>) {
    let Ok(address) = connection.local_addr().map(|it: SocketAddr| it.ip().to_canonical()) else { return };
    if address != allowed {
        // It is noted before it is answered: whoever has an answer is counted.
        let number = {
            let mut state = lock(state);
            state.strangers.push(format!("{address}"));
            state.strangers.len() - 1
        };
        let head = head(&mut connection);
        lock(state).strangers[number] = format!("{address}: {head:?}");
        answer(&mut connection, "200 OK", "", "you should not be here");
        return;
    }
    let head = head(&mut connection);
    let words: Vec<&str> = head.split(' ').nth(1).unwrap_or_default().split('/').collect();
    match words[..] {
        ["", "echo"] => {
            answer(&mut connection, "200 OK", "", &head.to_lowercase().replacen("get /echo", "GET /echo", 1))
        }
        ["", status, number] if status.starts_with('3') => {
            let target = number.parse::<usize>().ok().and_then(|it| lock(state).redirects.get(it).cloned());
            // A header has one line, and no control characters; what else is in there is left to the reader.
            let target = target.unwrap_or_default().replace(|it: char| it.is_control(), "");
            answer(&mut connection, &format!("{status} There"), &format!("location: {target}\r\n"), "");
        }
        _ => answer(&mut connection, "404 Not Found", "", "nothing is here"),
    }
}

fn head(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    // Whoever says nothing has come all the same.
    let _ = connection.set_read_timeout(Some(HEAD_WITHIN));
    while let Ok(count @ 1..) = connection.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
        if bytes.windows(4).any(|it| it == b"\r\n\r\n") || bytes.len() > HEAD_BYTES_MAX || bytes[0] == 0x16 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn answer(connection: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain\r\n{headers}");
    // Whoever does not wait for the answer has no use for it.
    let _ = connection.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes());
}
