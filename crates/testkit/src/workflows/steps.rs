//! Steps that hold no blocks: waiting, doing and pure ones, with their common fields.

use serde_json::{Value as Json, json};

use super::{
    DEPTH_MAX, Fields, Sight, Writer,
    control::{PATTERNS, fields},
};

/// What a step without blocks may be.
#[derive(Clone, Copy)]
enum Leaf {
    Act,
    Task,
    Workflow,
    Transform,
    Delay,
    Wait,
    Event,
    Approval,
    State,
    Log,
    Respond,
    Fail,
    Jump,
    Join,
    Restart,
}

impl Writer<'_> {
    /// A step; `incoming` is how many paths lead to it.
    pub(super) fn step(&mut self, id: &str, sight: &Sight, depth: u32, incoming: usize) -> Fields {
        let holds = depth < DEPTH_MAX && self.budget > 0 && self.random.percent(30);
        let mut step = if holds { self.control(id, sight, depth) } else { self.leaf(id, sight, incoming) };
        step.insert("id".into(), json!(id));
        if self.random.percent(12) {
            step.insert("if".into(), self.condition(sight));
        }
        if incoming >= 2 && step["type"] != "parallel" && step["type"] != "join" && self.random.percent(50) {
            step.insert("join".into(), self.join_mode(incoming));
        }
        step
    }

    fn leaf(&mut self, id: &str, sight: &Sight, incoming: usize) -> Fields {
        let in_loop = usize::from(!sight.loops.is_empty());
        let joins = usize::from(incoming >= 2);
        let restarts = usize::from(self.restarts);
        let kinds = [
            (Leaf::Act, 34),
            (Leaf::Task, 7),
            (Leaf::Workflow, 7),
            (Leaf::Transform, 10),
            (Leaf::Delay, 7),
            (Leaf::Wait, 6),
            (Leaf::Event, 4),
            (Leaf::Approval, 5),
            (Leaf::State, 6),
            (Leaf::Log, 2),
            (Leaf::Respond, 1),
            (Leaf::Fail, 4),
            (Leaf::Jump, 6 * in_loop),
            (Leaf::Join, 8 * joins),
            (Leaf::Restart, 4 * restarts),
        ];
        let kind = kinds[self.random.weighted(&kinds.map(|(_, weight)| weight))].0;
        let mut step = self.leaf_of(kind, sight, incoming);
        match kind {
            Leaf::Act | Leaf::Task | Leaf::Workflow => self.doing(&mut step, id, sight),
            Leaf::Delay | Leaf::Wait | Leaf::Event | Leaf::Approval if self.random.percent(35) => {
                step.insert("timeout".into(), self.span(&["1s", "30s", "10m"]));
            }
            _ => {}
        }
        if !matches!(kind, Leaf::Jump) && self.random.percent(12) {
            step.insert("on_error".into(), json!("continue"));
        }
        if !matches!(kind, Leaf::Jump) && self.random.percent(8) {
            let test = if self.random.percent(70) { json!({ "output": { "n": 4 } }) } else { json!({ "error": {} }) };
            step.insert("test".into(), test);
        }
        step
    }

    fn leaf_of(&mut self, kind: Leaf, sight: &Sight, incoming: usize) -> Fields {
        fields(match kind {
            Leaf::Act => json!({ "type": "act", "with": { "value": self.value(sight) } }),
            Leaf::Task => json!({ "type": "task", "with": { "queue": "desk", "input": self.value(sight) } }),
            Leaf::Workflow => self.workflow(sight),
            Leaf::Transform => json!({ "type": "transform", "with": { "value": self.value(sight) } }),
            Leaf::Delay => json!({ "type": "delay", "with": { "for": self.span(&["1s", "10s", "5m"]) } }),
            Leaf::Wait => json!({ "type": "wait", "with": { "signal": self.random.pick(&["go", "stop"]) } }),
            Leaf::Event => self.event(),
            Leaf::Approval => self.approval(),
            Leaf::State => self.state(sight),
            Leaf::Log => json!({ "type": "log", "with": { "message": "here" } }),
            Leaf::Respond => json!({ "type": "respond", "with": { "body": self.value(sight) } }),
            Leaf::Fail => self.fail(sight),
            Leaf::Jump => json!({ "type": self.random.pick(&["break", "next"]) }),
            Leaf::Join => json!({ "type": "join", "mode": self.join_mode(incoming) }),
            Leaf::Restart => json!({ "type": "restart", "with": { "input": { "n": 1 } } }),
        })
    }

    fn workflow(&mut self, sight: &Sight) -> Json {
        let waits = self.random.percent(80);
        json!({ "type": "workflow", "with": { "name": "other", "input": { "of": self.value(sight) }, "wait": waits } })
    }

    fn event(&mut self) -> Json {
        let mut with = fields(json!({ "type": self.random.pick(&["ping", "pong"]) }));
        if self.random.percent(50) {
            with.insert("when".into(), json!("event.data.n > 2"));
        }
        json!({ "type": "event", "with": with })
    }

    fn approval(&mut self) -> Json {
        let mut with = fields(json!({ "to": ["bob", "cat", "dan"], "title": "May it?" }));
        if self.random.percent(40) {
            with.insert("quorum".into(), json!({ "of": 3, "need": self.random.between(1, 3) }));
        }
        if self.random.percent(40) {
            with.insert("expires".into(), self.span(&["20s", "1h"]));
        }
        for key in ["on_reject", "on_expire"] {
            if self.random.percent(30) {
                with.insert(key.into(), json!("continue"));
            }
        }
        json!({ "type": "approval", "with": with })
    }

    fn state(&mut self, sight: &Sight) -> Json {
        let with = match self.random.below(6) {
            0 => json!({ "op": "set", "key": "a", "value": self.value(sight) }),
            1 => json!({ "op": "increment", "key": "b" }),
            2 => json!({ "op": "update", "key": "c", "value": { "of": self.value(sight) } }),
            3 => json!({ "op": "delete", "key": "a" }),
            4 => json!({ "op": "compare_and_set", "key": "b", "expected": 1, "value": 7 }),
            _ => json!({ "op": "get", "key": self.random.pick(&["a", "b", "c"]) }),
        };
        json!({ "type": "state", "with": with })
    }

    fn fail(&mut self, sight: &Sight) -> Json {
        let with = if sight.error && self.random.percent(50) {
            json!({ "error": "${{ e }}" })
        } else {
            json!({ "message": "on purpose", "code": self.random.pick(&["broken", "late"]) })
        };
        json!({ "type": "fail", "with": with })
    }

    /// The fields of doing steps.
    fn doing(&mut self, step: &mut Fields, id: &str, sight: &Sight) {
        if self.random.percent(30) {
            step.insert("timeout".into(), self.span(&["3s", "20s", "5m"]));
        }
        if self.random.percent(45) {
            let retry = self.retry();
            step.insert("retry".into(), retry);
        }
        if self.random.percent(35) {
            let undo = self.undo(id, sight);
            step.insert("undo".into(), undo);
        }
        if self.random.percent(12) {
            step.insert("at_most_once".into(), json!(true));
        }
        if self.random.percent(5) {
            step.insert("lock".into(), json!("door"));
        }
        if self.random.percent(5) {
            step.insert("rate".into(), json!({ "limit": 2, "per": "1m", "key": "${{ input.n }}" }));
        }
    }

    fn retry(&mut self) -> Json {
        let mut retry = Fields::new();
        if self.random.percent(80) {
            retry.insert("attempts".into(), json!(self.random.between(1, 4)));
        }
        if self.random.percent(50) {
            retry.insert("backoff".into(), json!(self.random.pick(&["fixed", "linear", "exponential"])));
        }
        if self.random.percent(50) {
            retry.insert("delay".into(), self.span(&["1s", "5s", "50s"]));
        }
        if self.random.percent(30) {
            retry.insert("jitter".into(), json!(false));
        }
        if self.random.percent(40) {
            let mut on: Vec<&str> = PATTERNS.iter().copied().filter(|_| self.random.percent(30)).collect();
            if on.is_empty() {
                on.push("timeout");
            }
            retry.insert("on".into(), json!(on));
        }
        if self.random.percent(20) {
            retry.insert("within".into(), self.span(&["10s", "2m"]));
        }
        Json::Object(retry)
    }

    fn undo(&mut self, id: &str, sight: &Sight) -> Json {
        let of = format!("${{{{ steps.{id}.output }}}}");
        let sees = self.value(&sight.with_error());
        let mut undo = fields(if self.random.percent(80) {
            json!({ "type": "act", "with": { "of": of, "sees": sees } })
        } else {
            json!({ "type": "workflow", "with": { "name": "back", "input": { "of": of } } })
        });
        if self.random.percent(30) {
            undo.insert("after".into(), json!(self.random.pick(&["started", "completed"])));
        }
        if self.random.percent(50) {
            undo.insert("retry".into(), json!({ "attempts": self.random.between(1, 3) }));
        }
        if self.random.percent(20) {
            undo.insert("timeout".into(), self.span(&["5s", "1m"]));
        }
        Json::Object(undo)
    }
}
