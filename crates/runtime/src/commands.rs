//! What people and programs do to a run that is under way: signal, settle, cancel, pause, resume.
//!
//! Each is answered once it is on disk: in the run's journal, or in its inbox when another node owns it. Who did not
//! hear the answer asks again and gets the same one, also when the run has ended since: the journal knows.

use std::sync::Arc;

use windlass_engine::{
    Entry, Event, Record, Reject,
    id::{RunId, TenantKey},
};

use crate::{
    error::RuntimeError,
    live_run::Taken,
    loader,
    request::{CancelOptions, RunRequest, SettleRequest, SignalRequest},
    runtime::Runtime,
    turner::Deliver,
};

const NAME_CHARS_MAX: usize = 200;
const PAGE_ROWS: i64 = 1_000;

/// Whether the run takes no more of this: then the journal knows if it is a repetition.
fn is_over(answer: &Result<Taken, RuntimeError>) -> bool {
    matches!(answer, Err(RuntimeError::Conflict { code: "run_not_open", .. }))
}

impl Runtime {
    /// Sends a signal to a run; answers whether it was there already, by its idempotency key.
    ///
    /// # Errors
    /// There is no such run, it takes no more signals, or the payload does not match the schema of the `wait`.
    pub async fn signal(&self, request: SignalRequest) -> Result<bool, RuntimeError> {
        let SignalRequest { tenant, run, name, payload, by, idempotency_key } = request;
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(RuntimeError::invalid("/name", format!("has to have 1 to {NAME_CHARS_MAX} characters")));
        }
        let max = self.core.settings.limits.value_bytes_max;
        if crate::payload::size(&payload) > max {
            let detail = format!("the payload has more than {max} bytes (setting `value_bytes_max`)");
            return Err(RuntimeError::Limit { code: "value_too_large", detail });
        }
        let (name, key): (Arc<str>, Option<Arc<str>>) = (name.into(), idempotency_key.map(Into::into));
        let event = Event::Signal { name: name.clone(), payload: payload.clone(), key: key.clone(), by: Some(by) };
        let answer = self.core.tell(Deliver::new(tenant, run, event)).await;
        let (Some(key), true) = (key, is_over(&answer)) else { return answer.map(|it| it == Taken::Before) };
        // The run that knew its keys is gone; its journal still has them.
        let same_key = |entry: &Entry| matches!(&entry.record, Record::Signal { key: Some(it), .. } if *it == key);
        match self.recorded(tenant, run, "signal", same_key).await? {
            None => answer.map(|it| it == Taken::Before),
            Some(Record::Signal { name: first_name, payload: first, .. })
                if (&first_name, &first) == (&name, &payload) =>
            {
                Ok(true)
            }
            Some(_) => Err(Reject::KeyReused.into()),
        }
    }

    /// The first entry of that kind in a run's journal that is the one.
    pub(crate) async fn recorded(
        &self,
        tenant: TenantKey,
        run: RunId,
        kind: &str,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Record>, RuntimeError> {
        let mut after = 0;
        loop {
            let rows = self.core.store.journal_of_kind(tenant, run, kind, (after, PAGE_ROWS)).await?;
            let (full, last) = (rows.len() as i64 >= PAGE_ROWS, rows.last().map(|row| row.seq));
            let entries = loader::complete(&self.core.store, tenant, rows).await.map_err(|error| error.answer(run))?;
            let found = entries.into_iter().find(&is_it).map(|entry| entry.record);
            match last {
                Some(last) if found.is_none() && full => after = last,
                _ => return Ok(found),
            }
        }
    }

    /// Cancels a run: it stops, and takes back what it did unless told otherwise. A second cancel changes nothing: it
    /// is a success, also when the run has ended since, unless it says otherwise about taking back.
    ///
    /// # Errors
    /// There is no such run, or it has ended or takes back what it did, and not because it was cancelled.
    pub async fn cancel(&self, request: RunRequest, options: CancelOptions) -> Result<(), RuntimeError> {
        let RunRequest { tenant, run, by } = request;
        let CancelOptions { reason, undo } = options;
        let event = Event::Cancel { by, reason: reason.map(Into::into), undo };
        let answer = self.core.tell(Deliver::new(tenant, run, event)).await;
        if !is_over(&answer) && !matches!(answer, Ok(Taken::Before)) {
            return answer.map(drop);
        }
        match self.recorded(tenant, run, "cancelled", |_| true).await? {
            Some(Record::Cancelled { undo: first, .. }) if first == undo => Ok(()),
            Some(_) => Err(RuntimeError::conflict(
                "cancelled_otherwise",
                format!("run {run} was cancelled before, and that cancel said otherwise about `undo`"),
            )),
            None => answer.map(drop),
        }
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
