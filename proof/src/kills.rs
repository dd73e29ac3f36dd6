//! `kill -9` at random moments, and a start after each.
//!
//! The moments are drawn from the seed, in answers that clients have got: "after the 137th answer from now". Between
//! two rounds of runs at most [`ROUND_KILLS_MAX`] kills fall, because an attempt that is lost more often than that
//! fails, as the language says it must.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use windlass_testkit::random::Random;

use crate::world::World;

/// A server is killed after at most so many answers.
const ANSWERS_MAX: usize = 150;
/// Kills of one round.
const ROUND_KILLS_MAX: usize = 10;

/// Someone who kills.
pub struct Killer {
    shared: Arc<Shared>,
    task: JoinHandle<Result<()>>,
}

struct Shared {
    world: Arc<World>,
    count: u32,
    killed: AtomicU32,
    /// How often it may kill until the next round.
    left: Semaphore,
    stop: watch::Sender<bool>,
}

impl Killer {
    /// Kills servers of that world so often, as soon as a round lets it.
    pub fn begin(world: Arc<World>, seed: u64, count: u32) -> Killer {
        let (killed, left, stop) = (AtomicU32::new(0), Semaphore::new(0), watch::Sender::new(false));
        let shared = Arc::new(Shared { world, count, killed, left, stop });
        Killer { task: tokio::spawn(kill(Arc::clone(&shared), seed)), shared }
    }

    /// Lets it kill for one more round.
    pub fn next_round(&self) {
        self.shared.left.forget_permits(ROUND_KILLS_MAX);
        self.shared.left.add_permits(ROUND_KILLS_MAX);
    }

    /// How often it has killed.
    pub fn killed(&self) -> u32 {
        self.shared.killed.load(Ordering::Relaxed)
    }

    /// Whether there is nothing left to do, or it could not go on.
    pub fn is_done(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops, with every server alive, and says how often it has killed.
    ///
    /// # Errors
    /// A server did not start again.
    pub async fn end(self) -> Result<u32> {
        self.shared.stop.send_replace(true);
        self.task.await??;
        Ok(self.shared.killed.load(Ordering::Relaxed))
    }
}

async fn kill(shared: Arc<Shared>, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut stop = shared.stop.subscribe();
    while shared.killed.load(Ordering::Relaxed) < shared.count {
        let (answers, server) = (random.between(1, ANSWERS_MAX) as u64, random.below(shared.world.servers()));
        let moment = async {
            if let Ok(permit) = shared.left.acquire().await {
                permit.forget();
            }
            shared.world.client.after_answers(answers).await;
        };
        tokio::select! {
            () = moment => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        let world = Arc::clone(&shared.world);
        tokio::task::spawn_blocking(move || world.kill(server).and_then(|()| world.start(server))).await??;
        shared.killed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
