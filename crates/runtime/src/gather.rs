//! Requests of one kind that wait are carried out together: one batch at a time, and whatever came meanwhile is the next.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use windlass_store::StoreError;

use crate::core::Core;

/// Requests of one batch.
const BATCH_MAX: usize = 1_000;

/// What waits.
pub(crate) struct Gather<Q, A> {
    waiting: Mutex<Waiting<Q, A>>,
}

struct Waiting<Q, A> {
    requests: Vec<(Q, Reply<A>)>,
    /// Whether somebody carries them out.
    served: bool,
}

type Reply<A> = oneshot::Sender<Result<A, StoreError>>;

impl<Q, A> Default for Gather<Q, A> {
    fn default() -> Gather<Q, A> {
        Gather { waiting: Mutex::new(Waiting { requests: Vec::new(), served: false }) }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<Q, A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<(Vec<Q>, Vec<Reply<A>>)> {
        let mut waiting = self.waiting();
        if waiting.requests.is_empty() {
            waiting.served = false;
            return None;
        }
        let count = waiting.requests.len().min(BATCH_MAX);
        Some(waiting.requests.drain(..count).unzip())
    }

    /// Asks, and waits for the answer. `which` finds this gathering in the core; `serve` answers a batch in its order.
    pub(crate) async fn ask<F>(
        &self,
        core: &Arc<Core>,
        request: Q,
        which: fn(&Core) -> &Gather<Q, A>,
        serve: fn(Arc<Core>, Vec<Q>) -> F,
    ) -> Result<A, StoreError>
    where
        F: Future<Output = Result<Vec<A>, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let served = {
            let mut waiting = self.waiting();
            waiting.requests.push((request, reply));
            std::mem::replace(&mut waiting.served, true)
        };
        if !served {
            let core = Arc::clone(core);
            Arc::clone(&core).spawn(async move {
                while let Some((requests, replies)) = which(&core).take() {
                    match serve(Arc::clone(&core), requests).await {
                        // Who asked may have gone away, which changes nothing.
                        Ok(answers) => {
                            replies.into_iter().zip(answers).for_each(|(it, answer)| drop(it.send(Ok(answer))))
                        }
                        Err(error) => replies.into_iter().for_each(|it| drop(it.send(Err(error.clone())))),
                    }
                }
            });
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}
