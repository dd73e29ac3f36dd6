//! CloudEvents: taken in once, kept, and given to the steps that wait for one.

use std::sync::Arc;

use uuid::Uuid;
use windlass_engine::Event;
use windlass_store::Received;

use crate::{
    core::Core,
    error::RuntimeError,
    request::{EventRequest, PublishedEvent},
    runtime::Runtime,
    step::{Boxed, Events},
    turner::Deliver,
};

const NAME_CHARS_MAX: usize = 200;

impl Runtime {
    /// Takes an event in, durably; an event of the same source and id is the same event. Answers how many runs took
    /// it. A run that begins to wait later finds it too, if it came since the run started.
    ///
    /// # Errors
    /// The event is not complete or too large.
    pub async fn publish_event(&self, request: EventRequest) -> Result<PublishedEvent, RuntimeError> {
        self.core.publish_event(request).await
    }
}

/// The way in for steps that hand in events.
pub(crate) struct Intake(pub(crate) Arc<Core>);

impl Events for Intake {
    fn publish(&self, event: EventRequest) -> Boxed<'_, Result<PublishedEvent, RuntimeError>> {
        Box::pin(self.0.publish_event(event))
    }
}

impl Core {
    async fn publish_event(self: &Arc<Core>, request: EventRequest) -> Result<PublishedEvent, RuntimeError> {
        let EventRequest { tenant, source, id, event_type, subject, event } = request;
        for (name, value) in [("/source", &source), ("/id", &id), ("/type", &event_type)] {
            if value.is_empty() || value.chars().count() > NAME_CHARS_MAX {
                return Err(RuntimeError::invalid(name, format!("has to have 1 to {NAME_CHARS_MAX} characters")));
            }
        }
        let max = self.settings.limits.value_bytes_max;
        if crate::payload::size(&event) > max {
            let detail = format!("the event has more than {max} bytes (setting `value_bytes_max`)");
            return Err(RuntimeError::Limit { code: "value_too_large", detail });
        }
        let key = format!("{source} {id}");
        let new = windlass_store::EventRow {
            id: Uuid::now_v7(),
            source,
            event_id: id,
            event_type: event_type.clone(),
            subject: subject.clone(),
            event: crate::payload::json(&event),
            at: self.now(),
        };
        let duplicate = self.store.put_event(tenant, new).await? == Received::Duplicate;
        // One that was here already is told again: the telling may have been lost, and nobody takes it twice.
        let waits = self.store.event_waits(tenant, &event_type, subject.as_deref()).await?;
        let mut taken = 0;
        for wait in waits {
            let told = Event::CloudEvent { path: wait.path.into(), key: key.as_str().into(), event: event.clone() };
            match self.tell(Deliver::new(tenant, wait.run, told)).await {
                Ok(_) => taken += 1,
                Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(PublishedEvent { duplicate, taken })
    }
}
