//! Outside workers: some connections claim tasks, a hundred at a time, and many answer them.
//!
//! The time that counts is that of the runs, so the workers work until they are told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::Deserialize;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use crate::{
    document,
    http::{Connection, Target},
};

/// Connections that claim.
const CLAIMERS: u32 = 4;
/// Tasks of one claim.
const CLAIM_MAX: u32 = 100;

/// Workers at work.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    stop: AtomicBool,
    /// Tasks answered.
    answered: AtomicU64,
    claims: AtomicU64,
}

/// Tasks that were answered by then.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    at: Instant,
    answered: u64,
    claims: u64,
}

/// A claimed task, as far as a worker here looks at it.
#[derive(Debug, Deserialize)]
struct Task {
    id: String,
    token: String,
}

#[derive(Debug, Deserialize)]
struct Claimed {
    tasks: Vec<Task>,
}

impl Workers {
    /// Begins work: `answerers` connections answer what is claimed.
    ///
    /// # Errors
    /// Nobody listens at the target.
    pub async fn begin(target: &Target, answerers: u32) -> Result<Workers> {
        let shared = Arc::new(Shared {
            target: target.clone(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            claims: AtomicU64::new(0),
        });
        let (send, receive) = mpsc::channel((CLAIMERS * CLAIM_MAX) as usize);
        let receive = Arc::new(Mutex::new(receive));
        let mut tasks = JoinSet::new();
        for number in 0..CLAIMERS {
            let connection = Connection::open(target.address).await?;
            tasks.spawn(claim(Arc::clone(&shared), connection, number, send.clone()));
        }
        for _ in 0..answerers {
            let connection = Connection::open(target.address).await?;
            tasks.spawn(answer(Arc::clone(&shared), connection, Arc::clone(&receive)));
        }
        Ok(Workers { shared, tasks })
    }

    /// How much was done by now.
    pub fn count(&self) -> Count {
        Count {
            at: Instant::now(),
            answered: self.shared.answered.load(Ordering::Relaxed),
            claims: self.shared.claims.load(Ordering::Relaxed),
        }
    }

    /// Ends the work.
    ///
    /// # Errors
    /// A worker failed.
    pub async fn end(mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Count {
    /// Tasks answered a second, and tasks per claim, since an earlier count.
    pub fn since(self, earlier: Count) -> (f64, f64) {
        let answered = (self.answered - earlier.answered) as f64;
        let claims = (self.claims - earlier.claims).max(1) as f64;
        (answered / (self.at - earlier.at).max(Duration::from_millis(1)).as_secs_f64(), answered / claims)
    }
}

/// Claims that many tasks that wait, and answers none of them; gives how many were claimed a second, and by one claim.
///
/// # Errors
/// There are fewer, or the server refuses.
pub async fn claim_only(target: &Target, expected: u64) -> Result<(f64, f64)> {
    let (claimed, claims) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks: JoinSet<Result<Instant>> = JoinSet::new();
    let begun = Instant::now();
    for number in 0..CLAIMERS {
        let mut connection = Connection::open(target.address).await?;
        let request = claim_request(target, number);
        let (claimed, claims) = (Arc::clone(&claimed), Arc::clone(&claims));
        tasks.spawn(async move {
            let mut last = begun;
            while claimed.load(Ordering::Relaxed) < expected {
                let answer = connection.send(&request).await?;
                if answer.status != 200 {
                    bail!("a claim was answered with {} {}", answer.status, String::from_utf8_lossy(answer.body));
                }
                let found = serde_json::from_slice::<Claimed>(answer.body)?.tasks.len() as u64;
                let all = claimed.fetch_add(found, Ordering::Relaxed) + found;
                if found > 0 {
                    claims.fetch_add(1, Ordering::Relaxed);
                    last = Instant::now();
                } else if all < expected {
                    bail!("{all} of {expected} tasks were there to be claimed");
                }
            }
            Ok(last)
        });
    }
    // Who comes when all are gone waits in vain, and that is not counted.
    let mut last = begun;
    while let Some(ended) = tasks.join_next().await {
        last = last.max(ended??);
    }
    let (claimed, claims) = (claimed.load(Ordering::Relaxed) as f64, claims.load(Ordering::Relaxed).max(1) as f64);
    Ok((claimed / (last - begun).as_secs_f64(), claimed / claims))
}

fn claim_request(target: &Target, number: u32) -> Vec<u8> {
    let queue = document::QUEUE;
    let body = format!(r#"{{"queues":["{queue}"],"worker":"bench-{number}","max":{CLAIM_MAX},"wait":"1s"}}"#);
    target.request("POST", "/tasks/claim", &body)
}

async fn claim(shared: Arc<Shared>, mut connection: Connection, number: u32, tasks: mpsc::Sender<Task>) -> Result<()> {
    let request = claim_request(&shared.target, number);
    while !shared.stop.load(Ordering::Relaxed) {
        let answer = connection.send(&request).await?;
        if answer.status != 200 {
            bail!("a claim was answered with {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        let claimed: Claimed = serde_json::from_slice(answer.body)?;
        shared.claims.fetch_add(u64::from(!claimed.tasks.is_empty()), Ordering::Relaxed);
        for task in claimed.tasks {
            // The other side is gone only when a worker failed, which `end` reports.
            if tasks.send(task).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn answer(
    shared: Arc<Shared>,
    mut connection: Connection,
    tasks: Arc<Mutex<mpsc::Receiver<Task>>>,
) -> Result<()> {
    loop {
        let next = tasks.lock().await.recv().await;
        // The claimers are gone and everything is answered.
        let Some(Task { id, token }) = next else { return Ok(()) };
        let body = format!(r#"{{"token":"{token}","output":1}}"#);
        let request = shared.target.request("POST", &format!("/tasks/{id}/complete"), &body);
        let answer = connection.send(&request).await?;
        if !(200..300).contains(&answer.status) {
            bail!("an answer to a task was answered with {} {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
}
