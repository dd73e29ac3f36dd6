//! The model of the database: what is in it, what one commit changes, and what the fence refuses.
//!
//! It stands for both databases behind the committer: a batch is applied whole or not at all, under the lane's epoch.
//! It refuses what the real schema refuses, and tells it, because nothing that is right ever asks for it.

use std::{collections::BTreeMap, sync::Arc};

use windlass_definition::{Plan, Timestamp, Value};
use windlass_engine::{
    Entry, Event, Run, Start,
    effect::OpenApproval,
    event::Failure,
    id::{ApprovalId, RunId, TaskId},
    planted::{Bug, planted},
    start::Mode,
    status::RunStatus,
};

/// Everything that is on disk.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The database's clock. It never goes back, and it alone decides.
    pub now: Timestamp,
    pub nodes: BTreeMap<u32, NodeRow>,
    pub lanes: Vec<LaneRow>,
    pub runs: BTreeMap<RunId, RunRow>,
    pub timers: BTreeMap<RunId, (usize, Timestamp)>,
    pub inbox: BTreeMap<u64, LetterRow>,
    pub keys: BTreeMap<u64, (u64, RunId)>,
    pub tasks: BTreeMap<TaskId, TaskRow>,
    pub approvals: BTreeMap<ApprovalId, (RunId, OpenApproval)>,
    pub waits: BTreeMap<(RunId, Arc<str>), Arc<str>>,
    pub queue: BTreeMap<RunId, usize>,
    pub events: Vec<(Arc<str>, Timestamp, Value)>,
    /// What the schema refused and nobody may ask for.
    pub refused: Option<String>,
    pub fenced: u64,
    pub duplicates: u64,
}

#[derive(Debug)]
pub(super) struct NodeRow {
    pub lease_until: Timestamp,
    pub dead: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LaneRow {
    pub node: u32,
    pub epoch: u32,
}

#[derive(Debug)]
pub(super) struct RunRow {
    pub lane: usize,
    pub plan: Arc<Plan>,
    pub status: RunStatus,
    pub journal: Vec<Row>,
    pub snapshot: Option<(i64, Vec<u8>)>,
    pub undone: bool,
}

/// A row of the journal.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub entry: Entry,
    pub payload: Arc<[u8]>,
    pub checksum: u64,
}

/// A row of the inbox.
#[derive(Debug, Clone)]
pub(super) struct LetterRow {
    pub id: u64,
    pub lane: usize,
    pub run: RunId,
    pub name: String,
    pub letter: Letter,
    /// When it was written.
    pub at: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) enum Letter {
    /// Something that happened to the run.
    Event(Event),
    StartChild(Box<ChildOrder>),
    UndoChild {
        parent: RunId,
        path: Arc<str>,
        of: RunId,
        error: Value,
    },
    Restart {
        of: RunId,
        input: Value,
    },
    FindEvents {
        path: Arc<str>,
        event_type: Arc<str>,
        since: Timestamp,
    },
    Undone,
}

#[derive(Debug, Clone)]
pub(super) struct ChildOrder {
    pub parent: RunId,
    pub path: Arc<str>,
    pub workflow: Arc<str>,
    pub input: Value,
    pub waits: bool,
    pub depth: u32,
    pub mode: Mode,
}

#[derive(Debug, Clone)]
pub(super) struct TaskRow {
    pub run: RunId,
    pub lane: usize,
    pub path: Arc<str>,
    pub attempt: u32,
    pub claimed: bool,
    pub unwanted: bool,
    pub answer: Option<Result<Value, Failure>>,
}

/// What one transition writes.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub run: RunId,
    pub lane: usize,
    pub entries: Vec<Entry>,
    pub birth: Option<Birth>,
    pub status: Option<RunStatus>,
    pub timer: Option<Option<Timestamp>>,
    pub rows: Vec<Change>,
}

impl Commit {
    pub fn new(run: RunId, lane: usize) -> Commit {
        Commit { run, lane, entries: Vec::new(), birth: None, status: None, timer: None, rows: Vec::new() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Birth {
    pub plan: Arc<Plan>,
    pub status: RunStatus,
    /// The idempotency key and the body that came under it.
    pub key: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    PutLetter(Box<LetterRow>),
    DropLetter(u64),
    OpenTask(TaskId, Box<TaskRow>),
    CloseTask(TaskId),
    OpenApproval(Box<OpenApproval>),
    CloseApproval(ApprovalId),
    PutWait(Arc<str>, Arc<str>),
    DropWait(Arc<str>),
    PutSnapshot(i64, Vec<u8>),
    Enqueue,
    Dequeue,
    Undone,
}

/// A commit with the rows of its journal as they are written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub commit: Commit,
    pub rows: Vec<Row>,
}

/// What goes to the database at once.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub node: u32,
    pub lane: usize,
    pub epoch: u32,
    pub written: Vec<Written>,
    /// The commit that cannot be written while the others can: a page that it needs is damaged, or it finds no room.
    pub bad: Option<usize>,
}

/// What became of one commit of a batch that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    Done,
    /// The idempotency key belongs to that run.
    Duplicate {
        run: RunId,
        same_body: bool,
    },
    /// It cannot be written, or does not follow what is there: the state that made it was given up.
    Refused,
}

/// The lane belongs to somebody else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fenced;

impl Store {
    /// The epoch under which a node owns a lane.
    pub fn epoch(&self, node: u32, lane: usize) -> Option<u32> {
        self.lanes.get(lane).filter(|it| it.node == node).map(|it| it.epoch)
    }

    /// One transaction.
    pub fn apply(&mut self, batch: &Batch) -> Result<Vec<Outcome>, Fenced> {
        if self.epoch(batch.node, batch.lane) != Some(batch.epoch) && !planted(Bug::FenceOpen) {
            self.fenced += 1;
            return Err(Fenced);
        }
        let one = |(at, written)| if batch.bad == Some(at) { Outcome::Refused } else { self.one(written) };
        Ok(batch.written.iter().enumerate().map(one).collect())
    }

    fn refuse(&mut self, what: String) {
        self.refused.get_or_insert(what);
    }

    fn one(&mut self, written: &Written) -> Outcome {
        let Written { commit, rows } = written;
        let run = commit.run;
        if let Some(birth) = &commit.birth
            && let Some(outcome) = self.born(commit, birth)
        {
            return outcome;
        }
        if let (Some(first), Some(row)) = (rows.first(), self.runs.get(&run)) {
            let next = row.journal.len() as i64 + 1;
            if first.entry.seq < next {
                self.refuse(format!("run {run}: entry {} is written again as {:?}", first.entry.seq, first.entry));
                return Outcome::Refused;
            }
            if first.entry.seq > next {
                return Outcome::Refused;
            }
        }
        if !rows.is_empty() && !self.runs.contains_key(&run) {
            // What came after a start that lost its key.
            return Outcome::Refused;
        }
        let now = self.now;
        if let Some(row) = rows.iter().find(|row| row.entry.at > now) {
            self.refuse(format!("run {run}: it is {now}, and an entry is of the future: {:?}", row.entry));
        }
        if let Some(row) = self.runs.get_mut(&run) {
            row.journal.extend(rows.iter().cloned());
            if let Some(status) = commit.status {
                if row.status.is_final() && commit.birth.is_none() {
                    let was = row.status;
                    self.refuse(format!("run {run}: its final status {was} changes to {status}"));
                } else {
                    row.status = status;
                }
            }
        }
        match commit.timer {
            Some(Some(due)) => drop(self.timers.insert(run, (commit.lane, due))),
            Some(None) => drop(self.timers.remove(&run)),
            None => {}
        }
        for change in &commit.rows {
            self.change(commit, change);
        }
        Outcome::Done
    }

    fn born(&mut self, commit: &Commit, birth: &Birth) -> Option<Outcome> {
        let run = commit.run;
        if let Some((key, body)) = birth.key
            && !planted(Bug::KeyStartsAgain)
        {
            if let Some((first, winner)) = self.keys.get(&key) {
                self.duplicates += 1;
                let same_body = *first == body || planted(Bug::KeyOfOtherBody);
                return Some(Outcome::Duplicate { run: *winner, same_body });
            }
            self.keys.insert(key, (body, run));
        }
        // A child whose letter was opened twice: the second start is refused by the primary key.
        if self.runs.contains_key(&run) {
            return Some(Outcome::Refused);
        }
        let row = RunRow {
            lane: commit.lane,
            plan: birth.plan.clone(),
            status: birth.status,
            journal: Vec::new(),
            snapshot: None,
            undone: false,
        };
        self.runs.insert(run, row);
        None
    }

    fn change(&mut self, commit: &Commit, change: &Change) {
        match change {
            Change::PutLetter(row) => self.put_letter((**row).clone()),
            Change::DropLetter(id) => drop(self.inbox.remove(id)),
            Change::OpenTask(id, row) => {
                if self.tasks.insert(*id, (**row).clone()).is_some() {
                    self.refuse(format!("run {}: its task {id} is there already", commit.run));
                }
            }
            Change::CloseTask(id) => drop(self.tasks.remove(id)),
            Change::OpenApproval(approval) => {
                self.approvals.insert(approval.approval, (commit.run, (**approval).clone()));
            }
            Change::CloseApproval(id) => drop(self.approvals.remove(id)),
            Change::PutWait(path, event_type) => {
                self.waits.insert((commit.run, path.clone()), event_type.clone());
            }
            Change::DropWait(path) => drop(self.waits.remove(&(commit.run, path.clone()))),
            Change::PutSnapshot(seq, state) => {
                if let Some(row) = self.runs.get_mut(&commit.run) {
                    row.snapshot = Some((*seq, state.clone()));
                }
            }
            Change::Enqueue => drop(self.queue.insert(commit.run, commit.lane)),
            Change::Dequeue => drop(self.queue.remove(&commit.run)),
            Change::Undone => {
                if let Some(row) = self.runs.get_mut(&commit.run) {
                    row.undone = true;
                }
            }
        }
    }

    /// The same name to the same run is the same letter.
    pub fn put_letter(&mut self, row: LetterRow) {
        if !self.inbox.values().any(|it| it.run == row.run && it.name == row.name) {
            self.inbox.insert(row.id, row);
        }
    }

    /// The state that a run's journal leads to, read as a node reads it: from bytes, after its snapshot.
    pub fn fold(&self, run: RunId) -> Result<(Run, i64), String> {
        let Some(row) = self.runs.get(&run) else { return Err("there is no such run".into()) };
        let decoded = |row: &Row| {
            let record = serde_json::from_slice(&row.payload).map_err(|error| error.to_string())?;
            Ok::<_, String>(Entry { record, ..row.entry.clone() })
        };
        let from = row.snapshot.as_ref().map_or(0, |(seq, _)| *seq);
        let skip = from as usize + usize::from(from > 0 && planted(Bug::SnapshotTooOld));
        let entries: Vec<Entry> = row.journal.iter().skip(skip).map(decoded).collect::<Result<_, _>>()?;
        let folded = match &row.snapshot {
            Some((_, state)) => {
                let base: Run = serde_json::from_slice(state).map_err(|error| error.to_string())?;
                base.replay_onto(&row.plan, entries)
            }
            None => Run::replay(&row.plan, entries),
        };
        folded.map(|run| (run, from)).map_err(|error| error.to_string())
    }

    /// What a run was started with.
    pub fn start_of(&self, run: RunId) -> Option<&Start> {
        match &self.runs.get(&run)?.journal.first()?.entry.record {
            windlass_engine::Record::Started(start) => Some(start),
            _ => None,
        }
    }
}

/// The checksum of a row, which covers the one before.
pub(super) fn checksum(before: u64, seq: i64, payload: &[u8]) -> u64 {
    let seed = before ^ (seq as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    payload.chunks(8).fold(seed, |sum, chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mix(sum, u64::from_le_bytes(bytes) ^ chunk.len() as u64)
    })
}

/// Takes a number into a sum.
pub(super) fn mix(sum: u64, number: u64) -> u64 {
    (sum.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95)
}
