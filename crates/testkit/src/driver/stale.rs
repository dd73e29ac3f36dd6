//! Events that come too late, twice, or to the wrong place: all refused, none changes anything.

use std::sync::Arc;

use windlass_definition::{Timestamp, Value};
use windlass_engine::{
    Event,
    audit::Violation,
    event::{ChildResult, Settlement, Verdict},
    id::RunId,
    status::RunStatus,
};

use super::{Driver, answers::decision, bob};
use crate::world::Attempt;

impl Driver {
    pub(super) fn stale(&mut self) -> Result<(), Violation> {
        let event = match self.random.below(8) {
            0 | 1 => self.late_answer(),
            2 => self.answer_of_the_wrong_attempt(),
            3 => self.lost_again(),
            4 => Some(Event::Admit).filter(|_| self.run.started_at().is_some()),
            5 => Some(Event::Continue),
            6 => self.at_the_wrong_place(),
            _ => Some(match self.run.status() {
                RunStatus::Paused => Event::Pause { by: bob() },
                _ => Event::Resume { by: bob() },
            }),
        };
        event.map_or(Ok(()), |event| self.refused(event))
    }

    fn late_answer(&mut self) -> Option<Event> {
        if self.world.late.is_empty() {
            return None;
        }
        let late = self.random.pick(&self.world.late).clone();
        Some(answer(&late))
    }

    fn answer_of_the_wrong_attempt(&mut self) -> Option<Event> {
        let attempt = self.world.attempts.values().next()?.clone();
        Some(answer(&Attempt { number: attempt.number + 1, ..attempt }))
    }

    fn lost_again(&mut self) -> Option<Event> {
        let late = self.world.late.last()?;
        Some(Event::StepLost { path: late.path.clone(), attempt: late.number })
    }

    /// Something for a step that does not wait for it.
    fn at_the_wrong_place(&mut self) -> Option<Event> {
        let paths: Vec<Arc<str>> = self.history.entries.iter().map(|it| it.path.clone()).collect();
        let path = self.random.pick(&paths).clone();
        let waits_for = self.run.active(&self.plan).into_iter().find(|it| it.path == path).and_then(|it| it.waits_for);
        let stranger = Some(RunId::from_parts(1, [9; 10]));
        Some(match self.random.below(4) {
            0 if waits_for != Some("approval") => decision(path, "bob", Verdict::Approve),
            1 if waits_for != Some("event") => Event::CloudEvent { path, key: "source/0".into(), event: Value::Null },
            2 if waits_for != Some("settlement") => Event::Settle { path, settlement: Settlement::Again, by: bob() },
            _ => Event::ChildEnded { path, child: stranger, result: ChildResult::Completed(Value::Null) },
        })
    }
}

fn answer(attempt: &Attempt) -> Event {
    Event::StepEnded {
        path: attempt.path.clone(),
        attempt: attempt.number,
        started_at: Timestamp::default(),
        result: Ok(Value::from("too late")),
    }
}
