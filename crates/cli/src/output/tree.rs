//! The tree of a run's steps, built from the events of its journal, drawn again and again.
//!
//! Invariant: what is drawn follows from the events alone, in their order; time comes in as an argument.

use std::{collections::HashMap, time::Duration};

use console::{Style, style};
use serde_json::Value;
use windlass_definition::Timestamp;

/// Finished items of one loop that are drawn one by one; the rest are counted.
const ITEMS_DRAWN: usize = 3;
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠛"];
const NOTE_CHARS_MAX: usize = 100;

/// Where a step stands, as far as the tree knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Running,
    Waiting,
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

impl Mark {
    fn of(status: &str) -> Mark {
        match status {
            "completed" => Mark::Completed,
            "failed" | "timed_out" => Mark::Failed,
            "skipped" => Mark::Skipped,
            "cancelled" => Mark::Cancelled,
            "waiting" | "pending" => Mark::Waiting,
            _ => Mark::Running,
        }
    }

    fn is_final(self) -> bool {
        !matches!(self, Mark::Running | Mark::Waiting)
    }

    fn icon(self, tick: usize) -> String {
        match self {
            Mark::Running => style(SPINNER[tick % SPINNER.len()]).cyan().to_string(),
            Mark::Waiting => style("◌").yellow().to_string(),
            Mark::Completed => style("✓").green().to_string(),
            Mark::Failed => style("✗").red().to_string(),
            Mark::Skipped => style("–").dim().to_string(),
            Mark::Cancelled => style("⊘").yellow().to_string(),
        }
    }
}

#[derive(Debug)]
struct Node {
    label: String,
    type_name: String,
    mark: Mark,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    attempt: u64,
    note: String,
    children: Vec<usize>,
}

/// The tree of a run.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    by_path: HashMap<String, usize>,
    /// The run's status, as last heard.
    pub status: String,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl Tree {
    /// Takes in an event of the run; gives back the path of a step that changed, if one did.
    pub fn apply(&mut self, event: &str, data: &Value) -> Option<String> {
        let path = text(data, "path");
        let at = Timestamp::parse(text(data, "at"));
        match event {
            "started" => self.started = at,
            "finished" => {
                self.ended = at;
                text(&data["data"], "status").clone_into(&mut self.status);
            }
            "status" => text(data, "status").clone_into(&mut self.status),
            "step_started" => {
                let node = self.node(path);
                text(data, "type").clone_into(&mut node.type_name);
                node.mark = Mark::Running;
                node.started = at;
                node.attempt = data["attempt"].as_u64().unwrap_or(1);
                node.note.clear();
                return Some(path.to_owned());
            }
            "attempt" => {
                let node = self.node(path);
                node.mark = Mark::Waiting;
                node.note = format!("tries again: {}", error_text(&data["data"]["error"]));
                return Some(path.to_owned());
            }
            "lost" if !path.is_empty() => "lost with its server; tries again".clone_into(&mut self.node(path).note),
            "step" => {
                self.ended_step(path, at, data);
                return Some(path.to_owned());
            }
            "log" => {
                let line = text(&data["line"], "message").to_owned();
                self.node(path).note = shorten(&line);
            }
            _ => {}
        }
        None
    }

    fn ended_step(&mut self, path: &str, at: Option<Timestamp>, entry: &Value) {
        let record = &entry["data"];
        let node = self.node(path);
        text(record, "type").clone_into(&mut node.type_name);
        node.mark = Mark::of(text(record, "status"));
        node.started = Timestamp::parse(text(record, "started_at")).or(node.started).or(at);
        node.ended = at;
        node.attempt = entry["attempt"].as_u64().unwrap_or(0);
        node.note = match (&record["error"], text(record, "skipped_by")) {
            (Value::Null, "if") => "its `if` is false".to_owned(),
            (Value::Null, "path") => "no path leads here".to_owned(),
            (Value::Null, _) => String::new(),
            (error, _) => error_text(error),
        };
    }

    /// Takes in an open step of the steps list: what it waits for.
    pub fn open_step(&mut self, step: &Value) {
        let path = text(step, "path").to_owned();
        let started = Timestamp::parse(text(step, "started_at"));
        let node = self.node(&path);
        if node.mark.is_final() {
            return;
        }
        text(step, "type").clone_into(&mut node.type_name);
        node.mark = Mark::of(text(step, "status"));
        node.started = node.started.or(started);
        if let Some(waits_for) = step["waits_for"].as_str() {
            node.note = format!("waits for {waits_for}");
        }
    }

    /// The step at that path; it and what holds it are made when they are not known yet.
    fn node(&mut self, path: &str) -> &mut Node {
        let index = self.index(path);
        &mut self.nodes[index]
    }

    fn index(&mut self, path: &str) -> usize {
        if let Some(index) = self.by_path.get(path) {
            return *index;
        }
        let (parent, label) = split(path);
        let index = self.nodes.len();
        self.nodes.push(Node {
            label: label.to_owned(),
            type_name: String::new(),
            mark: Mark::Running,
            started: None,
            ended: None,
            attempt: 0,
            note: String::new(),
            children: Vec::new(),
        });
        self.by_path.insert(path.to_owned(), index);
        match parent {
            None => self.roots.push(index),
            Some(parent) => {
                let parent = self.index(parent);
                self.nodes[parent].children.push(index);
            }
        }
        index
    }

    /// The lines of the tree as of `now`, at most `lines_max` of them.
    pub fn draw(&self, tick: usize, now: Timestamp, lines_max: usize) -> Vec<String> {
        let mut lines = Vec::new();
        self.draw_children(&self.roots, "", (tick, now), &mut lines);
        if lines.len() > lines_max {
            let hidden = lines.len() - lines_max + 1;
            lines.drain(..hidden);
            lines.insert(0, style(format!("… {hidden} lines above")).dim().to_string());
        }
        lines
    }

    fn draw_children(&self, children: &[usize], indent: &str, clock: (usize, Timestamp), lines: &mut Vec<String>) {
        let shown = self.shown(children);
        let hidden = children.len() - shown.len();
        if hidden > 0 {
            lines.push(format!("{indent}├─ {}", style(format!("… {hidden} more done")).dim()));
        }
        for (place, index) in shown.iter().enumerate() {
            let last = place + 1 == shown.len();
            let node = &self.nodes[*index];
            let branch = if last { "└─ " } else { "├─ " };
            lines.push(format!("{indent}{branch}{}", self.row(*index, clock)));
            let below = if last { "   " } else { "│  " };
            self.draw_children(&node.children, &format!("{indent}{below}"), clock, lines);
        }
    }

    /// Of a loop's items: all that are open or failed, and the last few that are done.
    fn shown(&self, children: &[usize]) -> Vec<usize> {
        let is_item = |index: &usize| self.nodes[*index].label.starts_with('[');
        if !children.iter().all(is_item) {
            return children.to_vec();
        }
        // In the loop's order, not in that of their ends.
        let mut children = children.to_vec();
        children.sort_by_key(|index| self.nodes[*index].label.trim_matches(['[', ']']).parse::<u64>().unwrap_or(0));
        let dull = |index: &usize| self.settled(*index) && !self.has_failed(*index);
        let dull_count = children.iter().filter(|index| dull(index)).count();
        let mut hide = dull_count.saturating_sub(ITEMS_DRAWN);
        let keep = |index: &&usize| {
            let hidden = hide > 0 && dull(index);
            hide -= usize::from(hidden);
            !hidden
        };
        children.iter().filter(keep).copied().collect()
    }

    fn settled(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let item = node.label.starts_with('[');
        (item || node.mark.is_final()) && node.children.iter().all(|child| self.settled(*child))
    }

    fn has_failed(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        node.mark == Mark::Failed || node.children.iter().any(|child| self.has_failed(*child))
    }

    fn row(&self, index: usize, (tick, now): (usize, Timestamp)) -> String {
        let node = &self.nodes[index];
        if node.label.starts_with('[') && node.type_name.is_empty() {
            return style(&node.label).dim().to_string();
        }
        let mut row = format!("{} {}", node.mark.icon(tick), style(&node.label).bold());
        if !node.type_name.is_empty() {
            row.push_str(&format!(" {}", style(&node.type_name).dim()));
        }
        if node.mark != Mark::Skipped
            && let Some(started) = node.started
        {
            let took = node.ended.unwrap_or(now).since(started);
            row.push_str(&format!(" {}", style(span(took)).dim()));
        }
        if node.attempt > 1 {
            row.push_str(&format!(" {}", style(format!("attempt {}", node.attempt)).yellow()));
        }
        let items = node.children.iter().filter(|child| self.nodes[**child].label.starts_with('[')).count();
        if items > 0 {
            let done = node.children.iter().filter(|child| self.settled(**child)).count();
            row.push_str(&format!(" {}", style(format!("{done}/{items}")).dim()));
        }
        if !node.note.is_empty() {
            let tone = if node.mark == Mark::Failed { Style::new().red() } else { Style::new().dim() };
            row.push_str(&format!("  {}", tone.apply_to(&node.note)));
        }
        row
    }

    /// One plain line about a step, for output that is no terminal.
    pub fn plain(&self, path: &str) -> Option<String> {
        let node = &self.nodes[*self.by_path.get(path)?];
        let word = match node.mark {
            Mark::Running => "started",
            Mark::Waiting => "waits",
            Mark::Completed => "completed",
            Mark::Failed => "failed",
            Mark::Skipped => "skipped",
            Mark::Cancelled => "cancelled",
        };
        let took = match (node.started, node.ended) {
            (Some(started), Some(ended)) if node.mark != Mark::Skipped => format!(" ({})", span(ended.since(started))),
            _ => String::new(),
        };
        let note = if node.note.is_empty() { String::new() } else { format!(": {}", node.note) };
        Some(format!("{word:<9} {path}{took}{note}"))
    }

    /// The run's own line.
    pub fn headline(&self, name: &str, now: Timestamp) -> String {
        let took = self.started.map(|started| span(self.ended.unwrap_or(now).since(started))).unwrap_or_default();
        format!("{} {} {}", style(name).bold(), super::table::status(&self.status), style(took).dim())
    }
}

/// The path of what holds a step, and the rest: `reserve[3].hold` is `hold` in `reserve[3]`, which is `[3]` in `reserve`.
fn split(path: &str) -> (Option<&str>, &str) {
    if path.ends_with(']')
        && let Some(at) = path.rfind('[')
    {
        return (Some(&path[..at]), &path[at..]);
    }
    match path.rfind('.') {
        Some(at) => (Some(&path[..at]), &path[at + 1..]),
        None => (None, path),
    }
}

/// A span of time as people say it.
pub fn span(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..10 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        10..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", span.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn error_text(error: &Value) -> String {
    shorten(&format!("{}/{}: {}", text(error, "class"), text(error, "code"), text(error, "message")))
}

fn shorten(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.chars().count() <= NOTE_CHARS_MAX {
        return line.to_owned();
    }
    line.chars().take(NOTE_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000)
    }

    fn step(path: &str, status: &str, ms: (i64, i64)) -> Value {
        json!({ "seq": 1, "at": at(ms.1), "kind": "step", "path": path, "attempt": 1,
            "data": { "type": "t", "status": status, "started_at": at(ms.0) } })
    }

    fn check(events: &[(&str, Value)], expect: &str) {
        console::set_colors_enabled(false);
        let mut tree = Tree::default();
        for (event, data) in events {
            tree.apply(event, data);
        }
        assert_eq!(tree.draw(0, at(1_000), 20).join("\n"), expect);
    }

    #[test]
    fn steps_hang_where_their_paths_say() {
        check(
            &[
                ("step_started", json!({ "path": "charge", "type": "http", "attempt": 1, "at": at(0) })),
                ("step", step("charge", "completed", (0, 120))),
                ("step", step("reserve[1].hold", "skipped", (200, 300))),
                ("step", step("reserve[0].hold", "completed", (200, 300))),
                ("step_started", json!({ "path": "ship", "type": "task", "attempt": 2, "at": at(500) })),
            ],
            "├─ ✓ charge t 120 ms\n├─ ⠋ reserve 2/2\n│  ├─ [0]\n│  │  └─ ✓ hold t 100 ms\n│  └─ [1]\n│     └─ – hold t\n\
             └─ ⠋ ship task 500 ms attempt 2",
        );
    }

    #[test]
    fn done_items_are_counted_and_failed_ones_stay() {
        let mut events: Vec<(&str, Value)> = Vec::new();
        for item in 0..8 {
            let status = if item == 1 { "failed" } else { "completed" };
            events.push(("step", step(&format!("each[{item}].x"), status, (0, 20))));
        }
        check(
            &events,
            "└─ ⠋ each 8/8\n   ├─ … 4 more done\n   ├─ [1]\n   │  └─ ✗ x t 20 ms\n   ├─ [5]\n   │  └─ ✓ x t 20 ms\n   ├─ [6]\n   \
             │  └─ ✓ x t 20 ms\n   └─ [7]\n      └─ ✓ x t 20 ms",
        );
    }

    #[test]
    fn spans_read_well() {
        for (ms, text) in
            [(3, "3.0 ms"), (999, "999 ms"), (1_500, "1.5 s"), (61_000, "1 min 1 s"), (7_200_000, "2 h 0 min")]
        {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
