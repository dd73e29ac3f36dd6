//! What a step type is to the runtime: a description for the language, and an effect on the outside world.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use windlass_definition::{
    Error, Timestamp, Value,
    step_type::{Checker, StepType, StepTypes},
};
use windlass_engine::{
    id::{RunId, TenantKey},
    trace::Trace,
};
use windlass_store::Store;

use crate::{
    error::RuntimeError,
    redact::Known,
    request::{EventRequest, PublishedEvent},
    secrets::{Bound, Credentials, ReadyCredential},
};

/// A boxed future, as the step seam returns it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A step type whose steps have an effect outside their run.
pub trait Step: Send + Sync {
    /// What the language, the editor and the reference have to know of it.
    fn describe(&self) -> StepType;

    /// A check of a `with` when its document is saved, for what the schema cannot say.
    fn checker(&self) -> Option<Checker> {
        None
    }

    /// Whether it takes what it is given nowhere but where [`StepContext::bounds`] lets it go. Of any other a secret that
    /// may go to some hosts alone is kept away.
    fn keeps_bounds(&self) -> bool {
        false
    }

    /// Runs one attempt. `input` is the evaluated `with`. Returning means that the attempt has ended: a step that is
    /// asked to stop through [`StepContext::stop`] ends soon, with its output when the effect happened all the same.
    ///
    /// # Errors
    /// The attempt's failure, in the language's terms; [`StepFailure::sent`] says whether the effect may have happened.
    fn run<'a>(&'a self, context: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>>;

    /// Runs one attempt at once, if it is one that takes no time to speak of and needs to know nothing of where it
    /// runs; `None` for every other, which then comes through [`Step::run`]. It must not wait or block.
    fn run_now(&self, _input: &Value) -> Option<Result<Value, StepFailure>> {
        None
    }
}

/// What an attempt knows of where it runs.
pub struct StepContext {
    /// The tenant on whose behalf it runs.
    pub tenant: TenantKey,
    /// The run.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The step's path in the run.
    pub path: Arc<str>,
    /// The idempotency key: the same over retries, restarts and servers.
    pub key: Arc<str>,
    /// The trace that the run belongs to.
    pub trace: Trace,
    /// Counts from 1.
    pub attempt: u32,
    /// The time recorded for the step when it became ready.
    pub now: Timestamp,
    /// Fires when the attempt is asked to stop.
    pub stop: CancellationToken,
    /// For step types whose effect is on the store itself, such as `state`.
    pub store: Store,
    /// For step types that hand in events, such as `emit`.
    pub events: Arc<dyn Events>,
    /// The credential that the step's `with` names, where its type has such a field.
    pub credential: Option<ReadyCredential>,
    /// Where the secrets of its `with` may go.
    pub bounds: Arc<[Bound]>,
}

/// Takes events in: the runtime does.
pub trait Events: Send + Sync {
    /// Keeps an event, durably, and tells the runs that wait for it; one of the same source and id counts once.
    fn publish(&self, event: EventRequest) -> Boxed<'_, Result<PublishedEvent, RuntimeError>>;
}

/// Between two tries to reach a database that is away.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Asks until there is an answer, or the attempt is to stop: that this server's own database is away for a while is no
/// failure of a step. `is_away` says which errors mean that. What is asked has to be safe to ask again.
///
/// # Errors
/// Any other error of what was asked, or the last one before the stop.
pub async fn until_answered<T, E, F>(
    stop: &CancellationToken,
    ask: impl Fn() -> F,
    is_away: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
{
    let mut pause = PAUSE_MIN;
    loop {
        let error = match ask().await {
            Err(error) if is_away(&error) => error,
            answered => return answered,
        };
        tracing::debug!(%error, "a step asks again");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            () = stop.cancelled() => return Err(error),
        }
    }
}

/// An attempt that failed.
#[derive(Debug)]
pub struct StepFailure {
    /// Why.
    pub error: Error,
    /// Whether the effect may have happened.
    pub sent: Sent,
}

/// Whether a failed attempt may have had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It certainly had none: nothing left this process.
    Nothing,
    /// It may have had it.
    Maybe,
}

impl StepFailure {
    /// A failure that certainly had no effect.
    pub fn nothing_sent(error: Error) -> StepFailure {
        StepFailure { error, sent: Sent::Nothing }
    }

    /// A failure that may have had its effect.
    pub fn maybe_sent(error: Error) -> StepFailure {
        StepFailure { error, sent: Sent::Maybe }
    }
}

/// The step types of this server that have effects, by name.
#[derive(Clone, Default)]
pub struct Catalogue {
    steps: HashMap<&'static str, Arc<dyn Step>>,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) known: Known,
}

impl Catalogue {
    /// These step types; the last of one name wins.
    pub fn new(steps: Vec<Arc<dyn Step>>) -> Catalogue {
        let steps = steps.into_iter().map(|step| (step.describe().name, step)).collect();
        Catalogue { steps, ..Catalogue::default() }
    }

    /// The same, noting the secret values that steps use there: whoever has it too, such as a log, can leave them out.
    #[must_use]
    pub fn with_known(self, known: Known) -> Catalogue {
        Catalogue { known, ..self }
    }

    /// The same, with what makes credentials ready for steps.
    #[must_use]
    pub fn with_credentials(self, credentials: Arc<dyn Credentials>) -> Catalogue {
        Catalogue { credentials: Some(credentials), ..self }
    }

    /// The step type of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Step>> {
        self.steps.get(name)
    }

    /// What the language has to know: these types and the ones that the engine itself runs.
    pub fn step_types(&self, built_in: Vec<StepType>) -> StepTypes {
        let mut types = built_in;
        types.extend(self.steps.values().map(|step| step.describe()));
        let checkers = self.steps.iter().filter_map(|(name, step)| step.checker().map(|checker| (*name, checker)));
        checkers.fold(StepTypes::new(types), |types, (name, checker)| types.with_checker(name, checker))
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.steps.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What is asked answers in this order; an error that is "away" is asked again.
    async fn asks(
        answers: &[Result<u32, &'static str>],
        stop: &CancellationToken,
    ) -> (Result<u32, &'static str>, usize) {
        let left = RefCell::new(answers.iter());
        let next = || std::future::ready(*left.borrow_mut().next().expect("it was asked too often"));
        let answered = until_answered(stop, next, |error| *error == "away").await;
        (answered, answers.len() - left.borrow().len())
    }

    #[tokio::test]
    async fn what_is_away_is_asked_again() {
        let stop = CancellationToken::new();
        assert_eq!(asks(&[Ok(1)], &stop).await, (Ok(1), 1));
        assert_eq!(asks(&[Err("wrong"), Ok(1)], &stop).await, (Err("wrong"), 1));
        let away = [Err("away"); 2];
        assert_eq!(asks(&[&away[..], &[Ok(1)]].concat(), &stop).await, (Ok(1), 3));
        assert_eq!(asks(&[&away[..], &[Err("wrong")]].concat(), &stop).await, (Err("wrong"), 3));
        stop.cancel();
        assert_eq!(asks(&[Ok(1)], &stop).await, (Ok(1), 1), "what is there is taken all the same");
        assert_eq!(asks(&away, &stop).await, (Err("away"), 1));
    }
}
