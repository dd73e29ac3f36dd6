//! A closed loop: so many clients, each of which sends its next request when the last one is answered.
//!
//! Invariant: the first fifth of the time, or of the requests, is not counted, unless all are to be; a request counts when its answer was
//! the right one and came within the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    http::{Answer, Connection},
    progress::Progress,
};

/// How long a loop goes on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So long.
    Elapsed(Duration),
    /// Until so many were counted.
    Counted(u32),
    /// So many in all, and each of them counts: where they are so few that those of a warm-up would stand out.
    All(u32),
}

/// A closed loop.
#[derive(Debug, Clone)]
pub struct Load {
    /// What it is, for whoever watches.
    pub what: String,
    /// To whom.
    pub address: std::net::SocketAddr,
    /// The bytes of every request.
    pub request: Arc<[u8]>,
    /// What the body of the right answer has in it.
    pub expected: Arc<[u8]>,
    /// How many at once.
    pub clients: u32,
    /// How long.
    pub until: Until,
    /// From the begin on, how long answers are waited for at most; a client whose answer has not come then, ends.
    pub patience: Duration,
}

/// What the answer to a start of our own server has in it when the run has completed.
pub const COMPLETED: &[u8] = br#""status":"completed""#;

/// What a loop measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// From sending to the whole answer, of each request that counts, in microseconds, ascending.
    pub latencies_us: Vec<u32>,
    /// The time in which they were counted.
    pub elapsed: Duration,
    /// Requests, those of the warm-up too.
    pub requests: u64,
    /// Of those, how many had another answer than the right one.
    pub failures: u64,
}

impl Measured {
    /// Requests a second.
    pub fn per_second(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency under which that share of the requests is, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        let count = self.latencies_us.len();
        let at = ((count as f64 * share) as usize).min(count.saturating_sub(1));
        self.latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }
}

/// What the clients of a loop share.
struct Shared {
    load: Load,
    begin: Instant,
    sent: AtomicU64,
    failures: AtomicU64,
}

/// Runs the loop.
///
/// # Errors
/// A connection cannot be opened or breaks.
pub async fn run(load: Load) -> Result<Measured> {
    let mut connections = Vec::new();
    for _ in 0..load.clients {
        connections.push(Connection::open(load.address).await?);
    }
    let progress = Progress::begin(&load.what, load.until);
    let shared = Arc::new(Shared { load, begin: Instant::now(), sent: AtomicU64::new(0), failures: AtomicU64::new(0) });
    let mut clients = JoinSet::new();
    for connection in connections {
        clients.spawn(client(Arc::clone(&shared), connection));
    }
    let mut counted = Vec::new();
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(ended) => counted.extend(ended??),
                None => break,
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => progress.show(shared.sent.load(Ordering::Relaxed)),
        }
    }
    progress.end();
    Ok(shared.measured(counted))
}

/// A request that was answered as it should be: when it was sent and when it was answered.
struct Done {
    number: u64,
    sent: Instant,
    answered: Instant,
}

async fn client(shared: Arc<Shared>, mut connection: Connection) -> Result<Vec<Done>> {
    let mut done = Vec::new();
    loop {
        let number = shared.sent.fetch_add(1, Ordering::Relaxed);
        if shared.is_over(number) {
            shared.sent.fetch_sub(1, Ordering::Relaxed);
            return Ok(done);
        }
        let sent = Instant::now();
        let patience = shared.load.patience.saturating_sub(shared.begin.elapsed());
        let answer = match tokio::time::timeout(patience, connection.send(&shared.load.request)).await {
            Ok(answer) => answer?,
            Err(_) => return Ok(done),
        };
        let answered = Instant::now();
        if is_right(answer, &shared.load.expected) {
            done.push(Done { number, sent, answered });
        } else if shared.failures.fetch_add(1, Ordering::Relaxed) == 0 {
            eprintln!("\nbench: not completed: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
    }
}

/// Whether the answer says success and has that in its body.
pub fn is_right(answer: Answer<'_>, expected: &[u8]) -> bool {
    (200..300).contains(&answer.status) && answer.body.windows(expected.len()).any(|it| it == expected)
}

impl Shared {
    fn is_over(&self, number: u64) -> bool {
        match self.load.until {
            Until::Elapsed(time) => self.begin.elapsed() >= time,
            Until::Counted(count) => number >= u64::from(count) + u64::from(count) / 4,
            Until::All(count) => number >= u64::from(count),
        }
    }

    fn measured(&self, done: Vec<Done>) -> Measured {
        let begin = self.begin;
        let (warm, end) = match self.load.until {
            Until::Elapsed(time) => (begin + time / 5, begin + time),
            Until::Counted(count) => {
                let counts = |it: &&Done| it.number >= u64::from(count) / 4;
                let warm = done.iter().filter(counts).map(|it| it.sent).min().unwrap_or(begin);
                (warm, done.iter().map(|it| it.answered).max().unwrap_or(begin))
            }
            Until::All(_) => (begin, done.iter().map(|it| it.answered).max().unwrap_or(begin)),
        };
        // By time, the answer decides; by count, the request does, so that exactly so many are counted.
        let by_time = matches!(self.load.until, Until::Elapsed(_));
        let counts = |it: &&Done| it.answered <= end && (if by_time { it.answered } else { it.sent }) >= warm;
        let latency = |it: &Done| u32::try_from((it.answered - it.sent).as_micros()).unwrap_or(u32::MAX);
        let mut latencies_us: Vec<u32> = done.iter().filter(counts).map(latency).collect();
        latencies_us.sort_unstable();
        Measured {
            latencies_us,
            elapsed: end - warm,
            requests: self.sent.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
