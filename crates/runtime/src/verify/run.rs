//! One run: its journal folded anew, beside its row, what else the tables hold of it, and what the outside saw.

use std::{collections::BTreeSet, sync::Arc};

use windlass_definition::{Plan, Timestamp, Value};
use windlass_engine::{
    Entry, Run,
    audit::{self, Audited, Violation as Audit},
    entry::{Record, StepRecord},
    id::RunId,
    run::ActiveStep,
    start::{Mode, Origin},
    status::{RunStatus, StepStatus},
};
use windlass_store::{ApprovalStatus, RunRow, Snapshot, StoreError, admin::verify::Belongings};

use super::{Judge, VerifyError, Violation};
use crate::{
    loader::{self, ENGINE_VERSION, LoadError},
    payload, starts,
};

/// What came of one run.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) ended: bool,
    pub(super) entries: u64,
    pub(super) steps: u64,
    pub(super) last_seq: i64,
    pub(super) violations: Vec<Violation>,
}

impl Judged {
    fn found(&mut self, run: RunId, rule: &str, (expected, found): (impl Into<String>, impl Into<String>)) {
        self.found_at(run, rule, None, (expected, found));
    }

    fn found_at(
        &mut self,
        run: RunId,
        rule: &str,
        seq: Option<i64>,
        (expected, found): (impl Into<String>, impl Into<String>),
    ) {
        let (expected, found) = (expected.into(), found.into());
        self.violations.push(Violation { rule: rule.to_owned(), run: Some(run), seq, expected, found });
    }

    /// A violation unless the two are the same.
    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        run: RunId,
        (rule, what): (&str, &str),
        (expected, found): (T, T),
    ) {
        if expected != found {
            self.found(run, rule, (format!("{what}: {expected:?}, by its journal"), format!("{found:?}")));
        }
    }
}

/// Judges a run.
pub(super) async fn judge(judge: &Judge<'_>, row: &RunRow, belongings: &Belongings) -> Result<Judged, VerifyError> {
    let mut judged = Judged { ended: row.status.is_final(), ..Judged::default() };
    let (store, tenant, id) = (judge.store, row.tenant, row.id);
    let entries = match loader::read_entries(store, tenant, id, 0).await {
        Ok(entries) => entries,
        Err(LoadError::Damaged(found)) => {
            judged.found(id, "journal_sound", ("its journal has no gaps and its checksums hold", found));
            return Ok(judged);
        }
        Err(error) => return Err(StoreError::Unavailable(error.to_string()).into()),
    };
    judged.entries = entries.len() as u64;
    judged.last_seq = entries.last().map_or(0, |entry| entry.seq);
    let plan = match judge.plans.find(store, tenant, row.definition_hash).await {
        Ok(plan) => Arc::clone(&plan.plan),
        Err(error) => {
            judged.found(id, "plan_usable", ("its document is there and compiles", error.to_string()));
            return Ok(judged);
        }
    };
    let snapshot = store.snapshot(tenant, id).await?.filter(|it| it.engine_version == ENGINE_VERSION);
    let folding = Folding { plan: Arc::clone(&plan), entries, snapshot };
    match loader::on_large_stack(move || Ok(folding.fold())).await {
        Ok(Folded { entries, audited, snapshot_holds }) => {
            for Audit { property, detail } in audited.violations {
                judged.found(id, "audit", (property, detail));
            }
            if !snapshot_holds {
                judged.found(id, "snapshot_is_fold", ("its stored state is that of its journal", "another one"));
            }
            if let Some(run) = audited.run {
                of_row(row, (&run, lacks_tasks(&run, &plan, belongings)), &mut judged);
                beside(row, (&run, &plan), belongings, &mut judged);
            }
            of_entries(judge, (id, &plan), &entries, &mut judged);
        }
        Err(error) => judged.found(id, "audit", ("its journal folds", error)),
    }
    Ok(judged)
}

/// What is folded on a thread with a large stack.
struct Folding {
    plan: Arc<Plan>,
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
}

struct Folded {
    entries: Vec<Entry>,
    audited: Audited,
    snapshot_holds: bool,
}

impl Folding {
    fn fold(self) -> Folded {
        let audited = audit::journal(&self.plan, self.entries.clone());
        let snapshot_holds = self.snapshot.as_ref().is_none_or(|snapshot| self.leads_to(snapshot));
        Folded { entries: self.entries, audited, snapshot_holds }
    }

    /// Whether the journal leads to that state.
    fn leads_to(&self, snapshot: &Snapshot) -> bool {
        let place = self.entries.partition_point(|entry| entry.seq <= snapshot.seq);
        let folded = Run::replay(&self.plan, self.entries[..place].iter().cloned());
        let stored: Result<Run, _> = payload::deep(&snapshot.state);
        matches!((folded, stored), (Ok(folded), Ok(stored)) if folded == stored && folded.seq() == snapshot.seq)
    }
}

/// The paths that wait for this.
fn waiting<'a>(active: &'a [ActiveStep], word: &str) -> BTreeSet<&'a str> {
    active.iter().filter(|step| step.waits_for == Some(word)).map(|step| &*step.path).collect()
}

/// Whether a task of the run has no row: its worker may have got it a moment ago.
fn lacks_tasks(run: &Run, plan: &Plan, belongings: &Belongings) -> bool {
    let there: BTreeSet<&str> = belongings.tasks.iter().map(|path| &**path).collect();
    waiting(&run.active(plan), "task").iter().any(|path| !there.contains(path))
}

/// The row of the run says what its journal says. One whose task has no row says that it runs, so that it is taken over.
fn of_row(row: &RunRow, (run, lacks_tasks): (&Run, bool), judged: &mut Judged) {
    let (id, info) = (row.id, run.info());
    let over = run.status().is_final();
    let rule = "row_is_fold";
    let status = match run.status() {
        RunStatus::Waiting if lacks_tasks => RunStatus::Running,
        status => status,
    };
    judged.same(id, (rule, "its status"), (status, row.status));
    judged.same(id, (rule, "its id"), (info.run, row.id));
    judged.same(id, (rule, "its workflow"), (&*info.workflow, &*row.workflow));
    judged.same(id, (rule, "its version"), ((info.version > 0).then_some(info.version), row.version));
    let document: String = row.definition_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    judged.same(id, (rule, "its document"), (&*info.plan, &*document));
    judged.same(
        id,
        (rule, "its mode"),
        (info.mode == Mode::Production, row.mode == windlass_store::RunMode::Production),
    );
    judged.same(id, (rule, "its key"), (info.key.as_deref(), row.key.as_deref()));
    judged.same(id, (rule, "its labels"), (&as_json(&info.labels, info.labels.is_empty()), &row.labels));
    let parent = info.parent.as_ref().map(|parent| (parent.run, &*parent.path));
    judged.same(id, (rule, "its parent"), (parent, row.parent.as_ref().map(|(run, path)| (*run, &**path))));
    judged.same(id, (rule, "its trace"), (info.trace.as_ref().map(|trace| trace.id), row.trace));
    judged.same(id, (rule, "its depth"), (i64::from(info.depth), i64::from(row.depth)));
    judged.same(id, (rule, "the time of its start"), (run.started_at(), row.started_at));
    judged.same(id, (rule, "the time of its end"), (run.finished_at(), row.finished_at));
    let undo = over.then(|| run.undo().status.as_str());
    judged.same(id, (rule, "what became of its undo"), (undo, row.undo_status.map(|it| it.as_str())));
    let error = run.error().filter(|_| over);
    let told = row.error.as_ref();
    judged.same(id, (rule, "its error's class"), (error.map(|it| it.class.as_str()), told.map(|it| &*it.class)));
    judged.same(id, (rule, "its error's code"), (error.map(|it| &*it.code), told.map(|it| &*it.code)));
    if let (Some(error), Some(told)) = (error, told)
        && !error.message.starts_with(told.message.trim_end_matches('…'))
    {
        judged.found(id, rule, (format!("its error: {}, by its journal", error.message), told.message.clone()));
    }
}

fn as_json(labels: &impl serde::Serialize, none: bool) -> Option<serde_json::Value> {
    (!none).then(|| serde_json::to_value(labels).unwrap_or_default())
}

/// What stands beside the run's row is what its state asks for.
fn beside(row: &RunRow, (run, plan): (&Run, &Plan), belongings: &Belongings, judged: &mut Judged) {
    let id = row.id;
    let rests = matches!(run.status(), RunStatus::Waiting | RunStatus::Paused);
    let timer: Vec<Timestamp> = run.next_timer().filter(|_| rests).into_iter().collect();
    judged.same(id, ("timer_is_fold", "its timer"), (&timer, &belongings.timers));
    let over = run.status().is_final();
    let active = if over { Vec::new() } else { run.active(plan) };
    let waits = |word: &str| waiting(&active, word);
    let pending = belongings.approvals.iter().filter(|(_, status)| *status == ApprovalStatus::Pending);
    let pending: BTreeSet<&str> = pending.map(|(path, _)| &**path).collect();
    judged.same(id, ("approvals_are_fold", "its pending approvals"), (waits("approval"), pending));
    let tasks: BTreeSet<&str> = belongings.tasks.iter().map(|path| &**path).collect();
    // Of a run that is taken over, the tasks without rows are offered again.
    let offered = match row.status {
        status if RunStatus::TAKEN_OVER.contains(&status) => waits("task").intersection(&tasks).copied().collect(),
        _ => waits("task"),
    };
    judged.same(id, ("tasks_are_fold", "its open tasks"), (offered, tasks));
    let events: BTreeSet<&str> = belongings.event_waits.iter().map(|path| &**path).collect();
    judged.same(id, ("event_waits_are_fold", "its waits for events"), (waits("event"), events));
    // A run that was paused in a queue keeps its row there.
    let queued = run.started_at().is_none() && !over;
    judged.same(id, ("queue_is_fold", "whether it is queued"), (queued, belongings.queued));
    let running: BTreeSet<&str> = active.iter().map(|step| &*step.path).collect();
    for path in belongings.active_steps.iter().filter(|path| !running.contains(&***path)) {
        judged.found(id, "active_steps_are_fold", ("a step that is shown as running runs, by its journal", &**path));
    }
    // A fork, an undo or a restart may share the place of the run that it comes from.
    let own = matches!(run.info().origin, Origin::Fresh) && run.info().parent.is_none();
    if own
        && !over
        && run.status() != RunStatus::Queued
        && let Ok(Some(place)) = starts::place_of(run.info(), plan)
        && !belongings.places.iter().any(|it| *it.workflow == *place.workflow && *it.key == *place.key)
    {
        judged.found(id, "place_is_held", ("an open run of a workflow with `concurrency` holds a place", "none"));
    }
}

/// The journal by itself, and the effects that it speaks of.
fn of_entries(judge: &Judge<'_>, (id, plan): (RunId, &Plan), entries: &[Entry], judged: &mut Judged) {
    let mut last_undo = 0;
    for entry in entries {
        let seen = if entry.path.is_empty() { None } else { judge.effects.claim(&format!("{id}/{}", entry.path)) };
        let Record::Step(record) = &entry.record else { continue };
        judged.steps += 1;
        let seq = Some(entry.seq);
        if seen.is_none() && judge.asked_outside(record) {
            let expected = format!("the effect of `{}` was seen outside", entry.path);
            judged.found_at(id, "effect_of_success", seq, (expected, "never"));
        }
        let Some(seen) = seen else { continue };
        let of = entry.path.strip_suffix(":undo");
        let step = of.unwrap_or(&entry.path).rsplit('.').next().and_then(|id| plan.by_id.get(id));
        if of.is_none() && step.is_some_and(|step| plan.step(*step).at_most_once) && seen.asked > 1 {
            let expected = format!("`{}` is asked for at most once", entry.path);
            judged.found_at(id, "at_most_once", seq, (expected, format!("{} times", seen.asked)));
        }
        if let Some(of) = of {
            let done = judge.effects.claim(&format!("{id}/{of}")).map_or(0, |seen| seen.place);
            if seen.place < done.max(last_undo) {
                let expected = "what is taken back was seen outside in the order of the journal";
                judged.found_at(id, "undo_in_order", seq, (expected, format!("effect {} of the ledger", seen.place)));
            }
            last_undo = seen.place;
        }
    }
}

impl Judge<'_> {
    /// Whether that is the record of a success which the outside world's ledger has to show.
    fn asked_outside(&self, record: &StepRecord) -> bool {
        let Some(at) = &self.options.effects_at else { return false };
        let text = |name: &str| record.input.get(name).and_then(Value::as_str).unwrap_or_default();
        let changes = !matches!(text("method").to_ascii_uppercase().as_str(), "" | "GET" | "HEAD");
        *record.type_name == *"http"
            && record.status == StepStatus::Completed
            && changes
            && text("url").starts_with(at.as_str())
    }
}
