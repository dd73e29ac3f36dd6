//! Following a run to its end: its events in, a tree or plain lines out.

use std::{io::IsTerminal, time::Duration};

use console::Term;
use futures::StreamExt;
use serde_json::Value;
use windlass_definition::Timestamp;

use crate::{
    client::{Call, Client, ServerEvent},
    exit::{Exit, Failure},
    output::tree::Tree,
};

/// Between two drawings of the tree.
const FRAME: Duration = Duration::from_millis(100);
/// After so many drawings without an event, it is quiet.
const QUIET_FRAMES: u32 = 3;
/// Between two tries to reach a server that went away.
const RETRY: Duration = Duration::from_millis(500);
/// How long a server may be away.
const RETRIES_MAX: u32 = 120;

/// How a run is shown while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A tree on a terminal, plain lines elsewhere.
    People,
    /// Nothing.
    Nothing,
}

/// Why following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The run has ended.
    Finished,
    /// The person interrupted; the run is as it was.
    Interrupted,
}

/// A run that is followed.
pub struct Follow<'a> {
    /// The way to it.
    pub client: &'a Client,
    /// Its id.
    pub run: &'a str,
    /// What to call it.
    pub name: &'a str,
    /// How it is shown.
    pub show: Show,
    /// What to type to give it what it waits for, such as `--data-dir x`; empty for none.
    pub place: &'a str,
}

impl Follow<'_> {
    /// Follows the run to its end, or until Ctrl-C.
    ///
    /// # Errors
    /// The server went away for good, or has no such run.
    pub async fn to_end(&self) -> Result<Ended, Failure> {
        let mut screen = Screen::new(self.show);
        let mut tree = Tree::default();
        let mut last_id = 0i64;
        let mut retries = 0;
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            let call = Call::get(format!("/runs/{}/events?after={last_id}", self.run));
            let mut events = match self.client.events(call).await {
                Ok(events) => events,
                Err(failure) if failure.exit == Exit::Unreachable && retries < RETRIES_MAX && last_id > 0 => {
                    retries += 1;
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let mut frames = tokio::time::interval(FRAME);
            let mut quiet_frames = 0;
            loop {
                tokio::select! {
                    _ = &mut interrupted => {
                        screen.draw(&tree, self.name);
                        return Ok(Ended::Interrupted);
                    }
                    _ = frames.tick() => {
                        quiet_frames += 1;
                        if quiet_frames == QUIET_FRAMES && self.show == Show::People {
                            self.say_what_it_waits_for(&mut tree, &mut screen).await;
                        }
                        screen.draw(&tree, self.name);
                    }
                    event = events.next() => match event {
                        Some(Ok(event)) => {
                            (retries, quiet_frames) = (0, 0);
                            last_id = event.id.parse().unwrap_or(last_id);
                            let finished = event.event == "finished";
                            self.take(&mut tree, &mut screen, &event);
                            if finished {
                                screen.draw(&tree, self.name);
                                return Ok(Ended::Finished);
                            }
                        }
                        Some(Err(_)) | None => break,
                    },
                }
            }
            // The stream ended before the run did, or had nothing left to tell: ask which.
            if self.has_finished().await? {
                screen.draw(&tree, self.name);
                return Ok(Ended::Finished);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn has_finished(&self) -> Result<bool, Failure> {
        match self.client.send(Call::get(format!("/runs/{}", self.run))).await {
            Ok(answer) => Ok(!answer.read::<Value>()?["finished_at"].is_null()),
            Err(failure) if failure.exit == Exit::Unreachable => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn take(&self, tree: &mut Tree, screen: &mut Screen, event: &ServerEvent) {
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let changed = tree.apply(&event.event, &data);
        if let Some(line) = changed.and_then(|path| tree.plain(&path)) {
            screen.line(&line);
        }
    }

    /// What the open steps wait for, and how to give it to them. Events tell what begins and ends; what only waits is
    /// asked for once it is quiet.
    async fn say_what_it_waits_for(&self, tree: &mut Tree, screen: &mut Screen) {
        let Ok(answer) = self.client.send(Call::get(format!("/runs/{}", self.run))).await else { return };
        let run: Value = answer.read().unwrap_or_default();
        run["status"].as_str().unwrap_or_default().clone_into(&mut tree.status);
        let Ok(answer) = self.client.send(Call::get(format!("/runs/{}/steps?limit=1000", self.run))).await else {
            return;
        };
        let steps: Value = answer.read().unwrap_or_default();
        for step in steps["items"].as_array().into_iter().flatten().filter(|step| step["finished_at"].is_null()) {
            tree.open_step(step);
            if let Some(hint) = self.hint(step) {
                screen.hint(hint);
            }
        }
    }

    fn hint(&self, step: &Value) -> Option<String> {
        let place = if self.place.is_empty() { String::new() } else { format!(" {}", self.place) };
        match step["type"].as_str()? {
            "wait" => {
                let name = step["input"]["signal"].as_str().or(step["input"]["name"].as_str()).unwrap_or("NAME");
                Some(format!("give it: windlass runs signal {} {name} --payload JSON{place}", self.run))
            }
            "approval" => {
                Some(format!("decide: windlass approvals list{place}, then windlass approvals approve ID{place}"))
            }
            "task" => Some(format!("a worker answers it; see: windlass tasks list{place}")),
            _ => None,
        }
    }
}

/// Where the tree is drawn: a terminal, or a log of plain lines.
struct Screen {
    term: Option<Term>,
    plain: bool,
    drawn: usize,
    tick: usize,
    hints: Vec<String>,
}

impl Screen {
    fn new(show: Show) -> Screen {
        let is_terminal = std::io::stderr().is_terminal();
        let people = show == Show::People;
        Screen {
            term: (people && is_terminal).then(Term::buffered_stderr),
            plain: people && !is_terminal,
            drawn: 0,
            tick: 0,
            hints: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) {
        if self.plain {
            crate::output::note(line);
        }
    }

    fn hint(&mut self, hint: String) {
        if self.hints.contains(&hint) {
            return;
        }
        self.line(&hint);
        self.hints.push(hint);
    }

    /// Draws the tree over the one that was drawn before.
    fn draw(&mut self, tree: &Tree, name: &str) {
        let Some(term) = &self.term else { return };
        self.tick += 1;
        let now = Timestamp::from(chrono::Utc::now());
        let (height, width) = term.size();
        let mut lines = vec![tree.headline(name, now)];
        lines.extend(tree.draw(self.tick, now, usize::from(height).saturating_sub(4 + self.hints.len()).max(3)));
        if tree.status == "waiting" {
            lines.extend(self.hints.iter().map(|hint| console::style(hint).dim().to_string()));
        }
        // Drawing is for show: a terminal that went away stops nothing.
        let _ = term.clear_last_lines(self.drawn);
        for line in &lines {
            let _ = term.write_line(&console::truncate_str(line, usize::from(width).max(20), "…"));
        }
        let _ = term.flush();
        self.drawn = lines.len();
    }
}
