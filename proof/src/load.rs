//! Runs of every construct of the language, with the clients, people and workers that they need.
//!
//! Invariant: a [`Load`] writes into the ledger what it was told before it believes it.

pub mod actors;
pub mod examples;
pub mod expected;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};
use windlass_runtime::verify::ledger::Told;

use crate::{
    client::Request,
    load::examples::{Case, Size},
    report::Outcome,
    world::World,
};

/// A run that the server has accepted, and how it ended.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The key it was started with.
    pub key: String,
    /// Its id.
    pub run: String,
    /// What it is.
    pub case: Case,
    /// How it ended, as it was told first.
    pub ended: Value,
}

/// People and workers at a [`Load`].
pub struct Helpers(JoinSet<Result<()>>);

impl Helpers {
    /// Lets them go.
    ///
    /// # Errors
    /// One of them had got an answer that it must not get.
    pub async fn end(mut self) -> Result<()> {
        let failed = self.0.try_join_next();
        self.0.shutdown().await;
        failed.map_or(Ok(()), |ended| ended?)
    }
}

/// A load on a world.
#[derive(Clone)]
pub struct Load {
    /// Where.
    pub world: Arc<World>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    /// Why a helper failed: without it nothing comes to its end.
    lost_helper: watch::Sender<Option<String>>,
}

impl Load {
    /// On that world; nothing happens yet.
    pub fn new(world: Arc<World>) -> Load {
        Load { world, accepted: Arc::default(), lost_helper: watch::Sender::new(None) }
    }

    /// Stores and publishes the documents of these cases.
    ///
    /// # Errors
    /// One of them is refused.
    pub async fn deploy(&self, size: Size) -> Result<()> {
        for file in examples::files(size) {
            let name = file.rsplit('/').next().unwrap_or(file);
            self.publish(name, &examples::text(file)?).await.context(file)?;
        }
        Ok(())
    }

    /// Stores and publishes a document.
    ///
    /// # Errors
    /// It is refused.
    pub async fn publish(&self, name: &str, yaml: &str) -> Result<()> {
        let path = format!("/workflows/{name}");
        self.world.client.must(&Request::put_yaml(&path, yaml)).await?;
        self.world.client.must(&Request::post(format!("{path}/publish"), &json!({}))).await?;
        Ok(())
    }

    /// Runs these cases to their ends, all at once; `round` makes their keys.
    ///
    /// # Errors
    /// A client or a helper got an answer that it must not get.
    pub async fn round(&self, cases: Vec<Case>, round: u32) -> Result<()> {
        let mut runs = JoinSet::new();
        for (number, case) in cases.into_iter().enumerate() {
            for nth in 0..case.runs {
                let key = format!("{}-{number}-{round}-{nth}", case.workflow);
                runs.spawn(actors::run_to_end(self.clone(), case.clone(), key));
            }
        }
        let all = async {
            while let Some(ended) = runs.join_next().await {
                ended??;
            }
            Ok(())
        };
        let mut lost_helper = self.lost_helper.subscribe();
        tokio::select! {
            ended = all => ended,
            Ok(why) = lost_helper.wait_for(Option::is_some) => bail!("a helper failed: {}", why.as_deref().unwrap_or_default()),
        }
    }

    /// Those who decide and those who work, until they are dropped. A round ends when one of them fails.
    pub fn helpers(&self) -> Helpers {
        let mut helpers = JoinSet::new();
        helpers.spawn(self.helper(actors::decide(self.clone())));
        helpers.spawn(self.helper(actors::work(self.clone())));
        Helpers(helpers)
    }

    fn helper<F: Future<Output = Result<()>>>(&self, help: F) -> impl Future<Output = Result<()>> + use<F> {
        let lost_helper = self.lost_helper.clone();
        async move {
            let ended = help.await;
            if let Err(error) = &ended {
                lost_helper.send_replace(Some(format!("{error:#}")));
            }
            ended
        }
    }

    /// Judges what is left: each run by what it should have come to, the database by `windlass verify`. A load that did
    /// not come to its end is a violation itself, and shows how the server's log ends.
    ///
    /// # Errors
    /// The server, the shop or `windlass verify` does not answer.
    pub async fn judge(&self, went: Result<()>, outcome: &mut Outcome) -> Result<()> {
        if let Err(error) = went {
            outcome.violation(format!("{error:#}"));
            eprintln!("{}", self.world.end_of_log(0));
            return Ok(());
        }
        expected::check(self, outcome).await?;
        tokio::task::block_in_place(|| self.world.verify(&["--finished"], outcome))
    }

    /// All runs that have ended.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn told(&self, told: Told) -> Result<()> {
        self.world.ledger.record(&told).await
    }

    fn enter(&self, accepted: Accepted) {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).push(accepted);
    }
}
