//! The rounds: runs of every example, and a server that dies meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    actors::{self, Book},
    checks,
    examples::{self, FILES, Form, LARGE_FILE},
    random::Random,
    world::World,
};

/// The server is killed after at most so many answers.
const ANSWERS_MAX: u64 = 150;

/// Kills of one round: an attempt that is lost more often than that fails, as the language says it must.
const ROUND_KILLS_MAX: usize = 10;

/// How often and when.
#[derive(Debug, Clone, Copy)]
pub struct Kills {
    /// How often.
    pub count: u32,
    /// How much is under way meanwhile.
    pub form: Form,
    /// From where moments are drawn.
    pub seed: u64,
}

/// Kills and starts until it was often enough and every run has ended; then looks at what came of it.
pub async fn kill_and_check(world: World, kills: Kills) {
    eprintln!("{kills:?}");
    let world = Arc::new(world);
    deploy(&world, kills.form).await;
    world.make_the_shop_moody().await;
    let book = Arc::new(Book::default());
    let killed = Arc::new(AtomicU32::new(0));
    let mut helpers = JoinSet::new();
    helpers.spawn(actors::approve(Arc::clone(&world)));
    helpers.spawn(actors::work(Arc::clone(&world)));
    let left = Arc::new(Semaphore::new(0));
    helpers.spawn(kill(Arc::clone(&world), kills, (Arc::clone(&killed), Arc::clone(&left))));
    let mut round = 0;
    while round == 0 || killed.load(Ordering::Relaxed) < kills.count {
        left.forget_permits(ROUND_KILLS_MAX);
        left.add_permits(ROUND_KILLS_MAX);
        run_all(&world, &book, kills.form, round).await;
        // A helper that failed has said why; the others go on for ever.
        while let Some(ended) = helpers.try_join_next() {
            ended.expect("a helper");
        }
        round += 1;
        eprintln!("round {round}: killed {} of {} times", killed.load(Ordering::Relaxed), kills.count);
    }
    helpers.shutdown().await;
    checks::check(&world, &book.all()).await;
}

async fn deploy(world: &World, form: Form) {
    let large = (form == Form::Long).then_some(LARGE_FILE);
    for file in FILES.into_iter().chain(large) {
        let name = file.rsplit('/').next().unwrap_or(file);
        let path = format!("/workflows/{name}");
        let answer = world.ask(Method::PUT, &path, Some(Value::String(examples::text(file))), None).await;
        assert!((200..300).contains(&answer.status), "{file}: {answer:?}");
        world.post(&format!("{path}/publish"), json!({}), None).await;
    }
}

/// Starts a round of runs and waits for the end of each.
async fn run_all(world: &Arc<World>, book: &Arc<Book>, form: Form, round: u32) {
    let mut runs = JoinSet::new();
    for (number, case) in examples::cases(&world.shop_url(), form).into_iter().enumerate() {
        for nth in 0..case.runs {
            let key = format!("{}-{number}-{round}-{nth}", case.workflow);
            runs.spawn(actors::run_to_end(Arc::clone(world), Arc::clone(book), case.clone(), key));
        }
    }
    while let Some(ended) = runs.join_next().await {
        ended.expect("a run");
    }
}

/// Kills and starts again, as often as the round has left. The moment is a number of answers: at once after one, or many
/// later.
async fn kill(world: Arc<World>, kills: Kills, (killed, left): (Arc<AtomicU32>, Arc<Semaphore>)) {
    let mut random = Random::new(kills.seed);
    while killed.load(Ordering::Relaxed) < kills.count {
        left.acquire().await.expect("it is never closed").forget();
        world.after_answers(random.up_to(ANSWERS_MAX)).await;
        let world = Arc::clone(&world);
        let restarted = tokio::task::spawn_blocking(move || {
            world.kill();
            world.start();
        });
        restarted.await.expect("a server that starts again");
        killed.fetch_add(1, Ordering::Relaxed);
    }
}
