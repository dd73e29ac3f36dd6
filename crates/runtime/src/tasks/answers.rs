//! What workers say of their tasks, and how the same answer is known again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;
use windlass_definition::{Timestamp, Value};
use windlass_engine::{Entry, Event, Record, event::Failure, id::RunId};
use windlass_store::{FinishedTask, Holding, LaneId, TaskAnswer, TaskEnd, TaskResult};

use super::{Held, handed::first_token, not_held};
use crate::{
    core::Core,
    error::RuntimeError,
    live_run::{Remember, Source, Taken},
    payload,
    redact::Redactor,
    request::{Proof, TaskRequest},
    runtime::Runtime,
    turner::Deliver,
};

/// Answers of other nodes' tasks that are read at once.
const PAGE_ROWS: i64 = 1_000;
/// An answer of more bytes is known again by a row: looking for it in the journal would read all of it.
const RECORDED_BYTES_MAX: usize = 4_096;

/// What a worker said of a task, as its row keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Completed(Value),
    Failed(Failure),
}

impl Runtime {
    pub(super) async fn answer_task(&self, claim: TaskRequest, answer: Answer) -> Result<(), RuntimeError> {
        let said = Said::of(answer, self.core.known.of_vault(&self.core.store, claim.tenant).await);
        let hash = said.hash;
        let refused = match self.held(&claim).await {
            Ok(held) => match self.end_task(&claim, &held, said).await {
                // The run has an end of this step already, or is over itself.
                Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. }) => {
                    self.core.tasks.forget(claim.task);
                    not_held(claim.task)
                }
                ended => return ended,
            },
            Err(error @ (RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. })) => error,
            Err(error) => return Err(error),
        };
        // A worker that did not hear the first answer says the same again.
        let repeated = self.core.store.was_answered(claim.tenant, claim.task, token_of(&claim), hash).await?
            || self.recorded_answer(&claim).await? == Some(hash);
        if repeated { Ok(()) } else { Err(refused) }
    }

    /// The hash of what a task completed with, if the claim's token leads to the run whose journal says it.
    pub(super) async fn recorded_answer(&self, claim: &TaskRequest) -> Result<Option<[u8; 32]>, RuntimeError> {
        let Some(run) = token_of(claim).map(RunId::new) else { return Ok(None) };
        let is_it = |entry: &Entry| claim.task.is_of(run, &entry.path, entry.attempt);
        let record = self.recorded(claim.tenant, run, "step", is_it).await?;
        let output = record.as_ref().and_then(Record::completed_with);
        Ok(output.map(|output| Said::of(Answer::Completed(output.clone()), None).hash))
    }

    /// Tells the run, or whoever owns it, what the holder of a task says.
    async fn end_task(
        &self,
        claim: &TaskRequest,
        held: &Held,
        Said { answer, output, hash, is_kept_as_sent }: Said,
    ) -> Result<(), RuntimeError> {
        let (tenant, task, token) = (claim.tenant, claim.task, held.token);
        let core = &self.core;
        if core.store.owns(held.lane) {
            let (reply, taken) = oneshot::channel();
            let event = answer.event(Arc::clone(&held.path), held.attempt, core.now());
            let answered = TaskAnswer { token, hash };
            // The token that the worker has leads to the journal.
            let is_led = token == first_token(held.run) && token_of(claim).is_some();
            let remember = match is_led && is_kept_as_sent {
                true => Remember::InJournal(answered),
                false => Remember::InRow(answered),
            };
            let source = Source::Task(task, held.lane, remember);
            core.deliver(Deliver::new(tenant, held.run, event).from(source).answer(reply));
            let stopping = || Err(RuntimeError::unavailable("the server is stopping: ask again"));
            if taken.await.unwrap_or_else(|_| stopping())? == Taken::Before {
                return Err(not_held(task));
            }
        } else {
            let status = match &answer {
                Answer::Completed(_) => TaskEnd::Completed,
                Answer::Failed(_) => TaskEnd::Failed,
            };
            let result = TaskResult { holding: Holding { task, token }, status, output, hash };
            // The store hints at it, and the run is told by the node that owns it.
            let serve = |core: Arc<Core>, all| async move { core.store.finish_tasks(all).await };
            if !core.tasks.ends.ask(core, (tenant, result), |core| &core.tasks.ends, serve).await? {
                return Err(self.nobodys(claim).await?);
            }
        }
        core.tasks.forget(task);
        Ok(())
    }
}

/// What a worker answered, and what is kept of it.
struct Said {
    answer: Answer,
    /// The answer as JSON.
    output: Vec<u8>,
    /// SHA-256 of what the worker said: the same is known again, whatever was redacted in it.
    hash: [u8; 32],
    /// Whether a look at what is kept is enough to know the same answer again.
    is_kept_as_sent: bool,
}

impl Said {
    fn of(answer: Answer, known: Option<Arc<Redactor>>) -> Said {
        let sent = payload::json(&answer);
        let hash = Sha256::digest(&sent).into();
        let is_short = sent.len() <= RECORDED_BYTES_MAX;
        let Some(known) = known else {
            return Said { answer, output: sent, hash, is_kept_as_sent: is_short };
        };
        let answer = answer.redacted(&known);
        let output = payload::json(&answer);
        let is_kept_as_sent = is_short && output == sent;
        Said { answer, output, hash, is_kept_as_sent }
    }
}

/// The token that a worker gives, as far as it is one.
fn token_of(claim: &TaskRequest) -> Option<Uuid> {
    match &claim.proof {
        Proof::Token(token) => token.parse().ok(),
        Proof::Worker(_) | Proof::Holder => None,
    }
}

impl Answer {
    pub(super) fn event(self, path: Arc<str>, attempt: u32, started_at: Timestamp) -> Event {
        let result = match self {
            Answer::Completed(output) => Ok(output),
            Answer::Failed(failure) => Err(failure),
        };
        Event::StepEnded { path, attempt, started_at, result }
    }

    fn redacted(self, known: &Redactor) -> Answer {
        match self {
            Answer::Completed(output) => Answer::Completed(known.value(output)),
            Answer::Failed(failure) => Answer::Failed(Failure { error: known.error(failure.error), ..failure }),
        }
    }
}

fn deliver(core: &Core, ended: &FinishedTask, answer: Answer) {
    core.tasks.forget(ended.id);
    let event = answer.event(ended.path.as_str().into(), u32::try_from(ended.attempt).unwrap_or(0), core.now());
    core.deliver(Deliver::new(ended.tenant, ended.run, event).from(Source::Task(
        ended.id,
        ended.lane,
        Remember::Already,
    )));
}

/// Tells runs what workers answered.
pub(crate) async fn deliver_finished(core: &Arc<Core>, lanes: &[LaneId]) -> Result<(), RuntimeError> {
    loop {
        let page = core.store.finished_tasks(lanes, PAGE_ROWS).await?;
        let mut fresh = 0;
        for ended in &page {
            // One that was told a moment ago is on its way.
            if !core.letters.take(ended.id.uuid()) {
                continue;
            }
            fresh += 1;
            match payload::deep(ended.output.as_deref().unwrap_or_default()) {
                Ok(answer) => deliver(core, ended, answer),
                Err(error) => tracing::error!(task = %ended.id, %error, "a worker's answer cannot be read"),
            }
        }
        if fresh == 0 || (page.len() as i64) < PAGE_ROWS {
            return Ok(());
        }
    }
}
