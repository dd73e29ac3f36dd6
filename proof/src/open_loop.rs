//! A load by the clock: requests are due whether or not earlier ones were answered.
//!
//! Invariant: the time of a request counts from when it was due, not from when a connection was free for it, so a slow
//! server is not asked less and does not look better. A request that found no connection until its client lost patience
//! is counted, and never sent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{task::JoinSet, time::Instant};
use windlass_bench::{
    http::{Answer, Connection},
    load::{COMPLETED, is_right},
};

/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);
/// Before a connection that broke is opened again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// This part of the time is not counted: everything has to get going.
const WARM_UP_SHARE: u32 = 5;

/// When requests are due.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// A connection's next one when its last one is answered: a closed loop, which finds out what a server can do.
    AsAnswered,
    /// So many a second, come what may: an open loop.
    PerSecond(f64),
}

/// What is told of each success.
pub type OnSuccess = Arc<dyn Fn(Answer<'_>) + Send + Sync>;

/// A load.
#[derive(Clone)]
pub struct Load {
    /// To whom.
    pub address: SocketAddr,
    /// The bytes of every request.
    pub request: Arc<[u8]>,
    /// When.
    pub pace: Pace,
    /// Over how many connections, each with one request at a time.
    pub connections: usize,
    /// How long a client waits for a connection.
    pub patience: Duration,
    /// For how long.
    pub length: Duration,
    /// Called for each answer that is a success.
    pub on_success: OnSuccess,
}

/// What became of the requests of a load; without those of the warm-up.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Were due.
    pub due: u64,
    /// Were sent.
    pub sent: u64,
    /// Came back as a run that has completed.
    pub completed: u64,
    /// Came back as a run that goes on.
    pub accepted: u64,
    /// Were refused with 429 or 503.
    pub refused: u64,
    /// Had no answer in time, or a connection that broke.
    pub unanswered: u64,
    /// Had another answer; the first of them, with its status.
    pub wrong: Vec<String>,
    /// Of those that completed, from when they were due, in microseconds.
    pub latencies_us: Vec<u32>,
    /// In which time.
    pub counted: Duration,
}

impl Seen {
    /// Completed runs a second.
    pub fn per_second(&self) -> f64 {
        self.completed as f64 / self.counted.as_secs_f64()
    }

    /// The time within which this share of the completed runs came back, in milliseconds.
    pub fn latency_ms(&mut self, share: f64) -> f64 {
        self.latencies_us.sort_unstable();
        let count = self.latencies_us.len();
        let at = ((count as f64 * share) as usize).min(count.saturating_sub(1));
        self.latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }

    /// Both together.
    #[must_use]
    pub fn with(mut self, other: Seen) -> Seen {
        self.due += other.due;
        self.counted += other.counted;
        self.add(other);
        self
    }

    fn add(&mut self, other: Seen) {
        self.sent += other.sent;
        self.completed += other.completed;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.wrong.extend(other.wrong);
        self.latencies_us.extend(other.latencies_us);
    }
}

struct Shared {
    load: Load,
    begin: Instant,
    next: AtomicU64,
}

/// Carries a load out.
///
/// # Errors
/// Nobody listens there.
pub async fn run(load: Load) -> Result<Seen> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(load.address).await?);
    }
    let shared = Arc::new(Shared { load, begin: Instant::now(), next: AtomicU64::new(0) });
    let mut clients = JoinSet::new();
    for connection in connections {
        clients.spawn(client(Arc::clone(&shared), connection));
    }
    let counted = shared.load.length - shared.warm_up();
    let mut seen = Seen { counted, ..Seen::default() };
    while let Some(ended) = clients.join_next().await {
        seen.add(ended?);
    }
    seen.due = match shared.load.pace {
        Pace::AsAnswered => seen.sent,
        Pace::PerSecond(rate) => (counted.as_secs_f64() * rate) as u64,
    };
    Ok(seen)
}

async fn client(shared: Arc<Shared>, connection: Connection) -> Seen {
    let (mut connection, mut seen) = (Some(connection), Seen::default());
    while let Some(due) = shared.next_due() {
        tokio::time::sleep_until(shared.begin + due).await;
        let Some(open) = connection.as_mut() else {
            tokio::time::sleep(OPEN_AGAIN_AFTER).await;
            connection = Connection::open(shared.load.address).await.ok();
            continue;
        };
        let counts = due >= shared.warm_up();
        seen.sent += u64::from(counts);
        match tokio::time::timeout(ANSWER_WITHIN, open.send(&shared.load.request)).await {
            Ok(Ok(answer)) => {
                if (200..300).contains(&answer.status) {
                    (shared.load.on_success)(answer);
                }
                if counts {
                    seen.answered(answer, shared.begin.elapsed().saturating_sub(due));
                }
            }
            Ok(Err(_)) | Err(_) => {
                seen.unanswered += u64::from(counts);
                connection = Connection::open(shared.load.address).await.ok();
            }
        }
    }
    seen
}

impl Seen {
    fn answered(&mut self, answer: Answer<'_>, took: Duration) {
        match answer.status {
            _ if is_right(answer, COMPLETED) => {
                self.completed += 1;
                self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
            200..=299 => self.accepted += 1,
            429 | 503 => self.refused += 1,
            status if self.wrong.is_empty() => {
                self.wrong.push(format!("{status} {}", String::from_utf8_lossy(answer.body)));
            }
            _ => {}
        }
    }
}

impl Shared {
    fn warm_up(&self) -> Duration {
        self.load.length / WARM_UP_SHARE
    }

    /// When the next request is due, from the begin on; none when it is over.
    fn next_due(&self) -> Option<Duration> {
        let Pace::PerSecond(rate) = self.load.pace else {
            return Some(self.begin.elapsed()).filter(|now| *now < self.load.length);
        };
        loop {
            let nth = self.next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(nth as f64 / rate);
            if due >= self.load.length {
                return None;
            }
            let given_up = self.begin.elapsed().saturating_sub(self.load.patience);
            if due >= given_up {
                return Some(due);
            }
            // Those before it were due before it, too: nobody waits for their answers any more.
            self.next.fetch_max((given_up.as_secs_f64() * rate) as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server that answers one request after the other, each after `pause`.
    async fn slow_server(pause: Duration) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let one_at_a_time = Arc::new(tokio::sync::Mutex::new(()));
            while let Ok((mut stream, _)) = listener.accept().await {
                let turn = Arc::clone(&one_at_a_time);
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        let _turn = turn.lock().await;
                        tokio::time::sleep(pause).await;
                        let body = r#"{"status":"completed"}"#;
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(head.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn what_is_due_counts_from_then_and_what_is_given_up_is_not_sent() {
        let address = slow_server(Duration::from_millis(20)).await;
        let load = Load {
            address,
            request: b"GET / HTTP/1.1\r\n\r\n".as_slice().into(),
            pace: Pace::PerSecond(500.0),
            connections: 2,
            patience: Duration::from_millis(200),
            length: Duration::from_secs(1),
            on_success: Arc::new(|_| {}),
        };
        let mut seen = run(load).await.unwrap();
        // 500 a second were due, and one in 20 ms can be served at most.
        assert_eq!(seen.due, 400);
        assert!((1..=60).contains(&seen.completed), "{seen:?}");
        assert_eq!((seen.completed, seen.refused, seen.unanswered), (seen.sent, 0, 0));
        // They waited for a connection first, nearly as long as clients have patience.
        assert!(seen.latency_ms(0.5) >= 150.0, "{} ms", seen.latency_ms(0.5));
    }
}
