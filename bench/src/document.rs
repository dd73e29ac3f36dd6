//! The workflows that are measured.

use serde_json::{Value, json};

/// The steps of a run of `name`, for figures per step.
#[derive(Debug, Clone)]
pub struct Document {
    /// The workflow's name.
    pub name: String,
    /// The document.
    pub json: Value,
    /// How many steps a run has.
    pub steps: u32,
}

/// `steps` bench steps, one after another: the result of each is on disk before the next begins.
pub fn sequence(steps: u32) -> Document {
    repeat(&format!("bench-{steps}"), steps, &json!({ "type": "bench", "with": { "value": 1 } }))
}

/// `steps` transforms, one after another: pure steps, which the server may write down together.
pub fn chain(steps: u32) -> Document {
    let value = json!({ "type": "transform", "with": { "value": "${{ input.value + 1 }}" } });
    repeat(&format!("chain-{steps}"), steps, &value)
}

/// `steps` tasks for outside workers, one after another.
pub fn tasks(steps: u32) -> Document {
    let task = json!({ "type": "task", "with": { "queue": QUEUE, "input": 1, "lease": "60s" } });
    repeat(&format!("tasks-{steps}"), steps, &task)
}

/// The queue of [`tasks`].
pub const QUEUE: &str = "bench";

/// One bench step in a loop of so many rounds, one after another.
pub fn rounds(rounds: u32) -> Document {
    let step = json!({ "id": "step", "type": "bench", "with": { "value": "${{ index }}" } });
    let steps = json!([{ "id": "all", "type": "while", "when": format!("${{{{ index < {rounds} }}}}"), "max": rounds, "do": [step] }]);
    let name = format!("rounds-{rounds}");
    Document { json: json!({ "name": name, "steps": steps }), name, steps: rounds }
}

/// `width` bench steps beside each other.
pub fn fan_out(width: u32) -> Document {
    let step = json!({ "id": "step", "type": "bench", "with": { "value": "${{ item }}" } });
    let steps =
        json!([{ "id": "all", "type": "foreach", "items": "${{ input.items }}", "parallel": 1000, "do": [step] }]);
    let name = format!("fan-out-{width}");
    let json = json!({ "name": name, "steps": steps, "output": "${{ size(steps.all.output) }}" });
    Document { name, json, steps: width }
}

/// `width` tasks for outside workers beside each other.
pub fn crowd_of_tasks(width: u32) -> Document {
    let task = json!({ "id": "task", "type": "task", "with": { "queue": QUEUE, "input": 1, "lease": "10m" } });
    let steps =
        json!([{ "id": "all", "type": "foreach", "items": "${{ input.items }}", "parallel": 1000, "do": [task] }]);
    let name = format!("crowd-of-tasks-{width}");
    Document { json: json!({ "name": name, "steps": steps }), name, steps: width }
}

/// The body of a start of [`fan_out`] and of [`crowd_of_tasks`].
pub fn fan_out_body(width: u32) -> String {
    json!({ "input": { "items": (0..width).collect::<Vec<_>>() } }).to_string()
}

/// The body of every other start.
pub const BODY: &str = r#"{"input":{"value":1}}"#;

fn repeat(name: &str, steps: u32, step: &Value) -> Document {
    let steps_list: Vec<Value> = (1..=steps)
        .map(|number| {
            let mut step = step.clone();
            step["id"] = json!(format!("s{number}"));
            step
        })
        .collect();
    Document { name: name.to_owned(), json: json!({ "name": name, "steps": steps_list }), steps }
}
