//! What people and programs do to a run that is under way: signal, settle, cancel, pause, resume.
//!
//! Each is answered once it is on disk: in the run's journal, or in its inbox when another node owns it.

use windlass_engine::Event;

use crate::{
    error::RuntimeError,
    live_run::Taken,
    request::{CancelOptions, RunRequest, SettleRequest, SignalRequest},
    runtime::Runtime,
    turner::Deliver,
};

const NAME_CHARS_MAX: usize = 200;

impl Runtime {
    /// Sends a signal to a run; answers whether it was there already, by its idempotency key.
    ///
    /// # Errors
    /// There is no such run, it takes no more signals, or the payload does not match the schema of the `wait`.
    pub async fn signal(&self, request: SignalRequest) -> Result<bool, RuntimeError> {
        let SignalRequest { tenant, run, name, payload, idempotency_key } = request;
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(RuntimeError::invalid("/name", format!("has to have 1 to {NAME_CHARS_MAX} characters")));
        }
        let max = self.core.settings.limits.value_bytes_max;
        if crate::payload::size(&payload) > max {
            let detail = format!("the payload has more than {max} bytes (setting `value_bytes_max`)");
            return Err(RuntimeError::Limit { code: "value_too_large", detail });
        }
        let event = Event::Signal { name: name.into(), payload, key: idempotency_key.map(Into::into) };
        Ok(self.core.tell(Deliver::new(tenant, run, event)).await? == Taken::Before)
    }

    /// Cancels a run: it stops, and takes back what it did unless told otherwise. A second cancel changes nothing.
    ///
    /// # Errors
    /// There is no such run, or it has ended or takes back what it did.
    pub async fn cancel(&self, request: RunRequest, options: CancelOptions) -> Result<(), RuntimeError> {
        let RunRequest { tenant, run, by } = request;
        let CancelOptions { reason, undo } = options;
        self.core.tell(Deliver::new(tenant, run, Event::Cancel { by, reason: reason.map(Into::into), undo })).await?;
        Ok(())
    }

    /// Pauses a run: nothing new starts until it is resumed.
    ///
    /// # Errors
    /// There is no such run, or it is not running or waiting.
    pub async fn pause(&self, request: RunRequest) -> Result<(), RuntimeError> {
        let RunRequest { tenant, run, by } = request;
        self.core.tell(Deliver::new(tenant, run, Event::Pause { by })).await?;
        Ok(())
    }

    /// Resumes a paused run.
    ///
    /// # Errors
    /// There is no such run, or it is not paused.
    pub async fn resume(&self, request: RunRequest) -> Result<(), RuntimeError> {
        let RunRequest { tenant, run, by } = request;
        self.core.tell(Deliver::new(tenant, run, Event::Resume { by })).await?;
        Ok(())
    }

    /// Says how an attempt of unknown outcome really ended.
    ///
    /// # Errors
    /// There is no such run, or no step of it at that path waits for this.
    pub async fn settle(&self, request: SettleRequest) -> Result<(), RuntimeError> {
        let SettleRequest { run: RunRequest { tenant, run, by }, path, settlement } = request;
        self.core.tell(Deliver::new(tenant, run, Event::Settle { path: path.into(), settlement, by })).await?;
        Ok(())
    }
}
