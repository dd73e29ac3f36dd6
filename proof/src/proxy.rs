//! A TCP proxy before PostgreSQL that cuts connections around their commits.
//!
//! It reads the messages of the server (a type, a length): one that says that a write is done, and then that no
//! transaction is open, means a commit. A cut *after* drops both: the commit is on disk and nobody hears of it. A cut *on
//! the way* sends a client's bytes on and hangs up at once: whether they were carried out, nobody knows. Sessions must not
//! be encrypted (`sslmode=disable`).

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::JoinHandle,
};
use windlass_testkit::random::Random;

/// A proxy that runs.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    to: SocketAddr,
    random: Mutex<Random>,
    cutting: AtomicBool,
    after: AtomicU64,
    on_the_way: AtomicU64,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts one, which cuts nothing yet.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start(to: SocketAddr, seed: u64) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            to,
            random: Mutex::new(Random::new(seed)),
            cutting: AtomicBool::new(false),
            after: AtomicU64::new(0),
            on_the_way: AtomicU64::new(0),
        });
        let listening = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(Arc::clone(&listening), client));
            }
        });
        Ok(Proxy { address, shared, task })
    }

    /// Lets it cut, or not.
    pub fn cut(&self, on: bool) {
        self.shared.cutting.store(on, Ordering::Relaxed);
    }

    /// How many commits were done and not told, and how many connections were cut on the way to one.
    pub fn cuts(&self) -> (u64, u64) {
        (self.shared.after.load(Ordering::Relaxed), self.shared.on_the_way.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Whether to cut now, in so many of a hundred cases.
    fn chance(&self, percent: usize) -> bool {
        self.cutting.load(Ordering::Relaxed)
            && self.random.lock().unwrap_or_else(PoisonError::into_inner).percent(percent)
    }
}

/// Carries one connection until one side ends it or it is cut. What ends it is no error of the proxy's.
async fn carry(shared: Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(shared.to).await else { return };
    // Small messages are not held back.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let cut = Notify::new();
    tokio::select! {
        _ = requests(&shared, from_client, to_server, &cut) => {}
        _ = answers(&shared, from_server, to_client) => {}
        () = cut.notified() => {}
    }
}

async fn requests(
    shared: &Shared,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cut: &Notify,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        if shared.chance(1) {
            shared.on_the_way.fetch_add(1, Ordering::Relaxed);
            cut.notify_one();
        }
    }
}

async fn answers(shared: &Shared, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    // What is held back until the server says whether a transaction is open.
    let mut held: Vec<u8> = Vec::new();
    loop {
        let kind = from.read_u8().await?;
        let bytes = from.read_u32().await?;
        let mut message = vec![kind];
        message.extend(bytes.to_be_bytes());
        message.resize(1 + usize::try_from(bytes).unwrap_or(4).max(4), 0);
        from.read_exact(&mut message[5..]).await?;
        let wrote = kind == b'C' && WRITES.iter().any(|tag| message[5..].starts_with(tag));
        let (ready, open) = (kind == b'Z', message.get(5) != Some(&b'I'));
        let held_before = !held.is_empty();
        if wrote || held_before {
            held.extend(&message);
            if !ready {
                continue;
            }
            if !open && shared.chance(8) {
                shared.after.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            message = std::mem::take(&mut held);
        }
        to.write_all(&message).await?;
    }
}

/// How the server names what writes.
const WRITES: [&[u8]; 4] = [b"COMMIT", b"INSERT", b"UPDATE", b"DELETE"];
