//! Runs made from other runs: the same input again, the same past up to a step, what was left to be undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;
use windlass_definition::{
    Plan, Value,
    plan::{StepIndex, StepKind},
};
use windlass_engine::{
    Entry, Record, Start,
    id::{RunId, TenantKey},
    start::{Limits, Origin},
    status::{RunStatus, StepStatus},
};
use windlass_store::RunRow;

use crate::{
    error::RuntimeError,
    live_run::Source,
    loader::{self, Folded},
    request::{RunRequest, Started},
    runtime::Runtime,
    starts::{self, NewStart, WhenBusy},
};

impl Runtime {
    /// Starts a run with the same plan and input as another.
    ///
    /// # Errors
    /// There is no such run, its workflow is deleted, or its places are taken.
    pub async fn rerun(&self, request: RunRequest) -> Result<Started, RuntimeError> {
        let RunRequest { tenant, run: of, by } = request;
        let row = self.row_to_repeat(tenant, of).await?;
        let info = starts::start_of(&self.core, tenant, of).await?;
        let plan = self.core.plans.find(&self.core.store, tenant, row.definition_hash).await?;
        let start = self.again(info, by, Origin::Rerun { of });
        starts::launch(&self.core, self.new_start(start, plan)).await
    }

    /// Starts a run with the same past as another, up to the step at that path, which runs anew.
    ///
    /// # Errors
    /// There is no such run or step, its workflow is deleted, the step did not run, or something before it was undone.
    pub async fn fork(&self, request: RunRequest, at: &str) -> Result<Started, RuntimeError> {
        let RunRequest { tenant, run: of, by } = request;
        let row = self.row_to_repeat(tenant, of).await?;
        let Folded { run, plan, .. } = loader::fold(&self.core, &row).await.map_err(|error| error.answer(of))?;
        let entries = loader::read_entries(&self.core.store, tenant, of, 0).await.map_err(|error| error.answer(of))?;
        let recorded = past(&plan.plan, &entries, at)?;
        let origin = Origin::Fork { of, at: at.into(), recorded };
        let start = self.again(run.info().clone(), by, origin);
        starts::launch(&self.core, self.new_start(start, plan)).await
    }

    /// Starts a linked run that takes back what a run left.
    ///
    /// # Errors
    /// There is no such run, it has not ended, or nothing of it is left to be taken back.
    pub async fn undo(&self, request: RunRequest) -> Result<Started, RuntimeError> {
        let RunRequest { tenant, run: of, by } = request;
        let row = self.core.store.run(tenant, of).await?.ok_or_else(|| RuntimeError::not_found("run", of))?;
        if row.undo_status == Some(windlass_store::UndoStatus::Done) && row.status != RunStatus::Completed {
            return Err(RuntimeError::conflict("nothing_to_undo", format!("all that run {of} did is taken back")));
        }
        let run = RunId::new(Uuid::now_v7());
        let mut new = starts::undo_of(&self.core, tenant, run, (of, None)).await?;
        if matches!(&new.start.origin, Origin::Undo { items, .. } if items.is_empty()) {
            return Err(RuntimeError::conflict("nothing_to_undo", format!("run {of} left nothing to be taken back")));
        }
        new.start.by = by;
        new.lane = self.core.store.lane_for(run);
        starts::launch(&self.core, new).await
    }

    /// A run that is to begin once more: that is a start, and a deleted workflow has none.
    async fn row_to_repeat(&self, tenant: TenantKey, of: RunId) -> Result<RunRow, RuntimeError> {
        let store = &self.core.store;
        let row = store.run(tenant, of).await?.ok_or_else(|| RuntimeError::not_found("run", of))?;
        match store.is_workflow_deleted(tenant, &row.workflow).await? {
            true => Err(RuntimeError::not_found("workflow", &row.workflow)),
            false => Ok(row),
        }
    }

    fn again(&self, info: Start, by: windlass_engine::start::Principal, origin: Origin) -> Start {
        let limits: Limits = self.core.settings.limits;
        Start {
            run: RunId::new(Uuid::now_v7()),
            by,
            created_at: self.core.now(),
            trace: None,
            parent: None,
            depth: 0,
            origin,
            queued: false,
            refused: None,
            limits,
            ..info
        }
    }

    fn new_start(&self, start: Start, plan: Arc<crate::plans::CompiledPlan>) -> NewStart {
        NewStart {
            lane: self.core.store.lane_for(start.run),
            start,
            plan,
            source: Source::Direct,
            idempotency: None,
            shares_place: false,
            when_full: None,
            when_busy: WhenBusy::Queue,
            watch: None,
        }
    }
}

/// The outputs that stand in for running steps again: of those that completed and do not come after the fork.
fn past(plan: &Plan, entries: &[Entry], at: &str) -> Result<BTreeMap<Arc<str>, Value>, RuntimeError> {
    let ids: Vec<&str> = at.split('.').collect();
    let step = ids.last().map(|id| id.split('[').next().unwrap_or_default()).unwrap_or_default();
    let Some(index) = plan.by_id.get(step).copied() else {
        return Err(RuntimeError::not_found("step", at));
    };
    if !entries.iter().any(|entry| *entry.path == *at || entry.path.starts_with(&format!("{at}["))) {
        return Err(RuntimeError::not_found("step of the run", at));
    }
    let anew = anew(plan, index);
    let mut recorded = BTreeMap::new();
    let mut undone = BTreeSet::new();
    for entry in entries {
        let Record::Step(record) = &entry.record else { continue };
        if let Some(of) = entry.path.strip_suffix(":undo") {
            undone.insert(of.to_owned());
            continue;
        }
        let Some(position) = plan.by_id.get(&entry.step) else { continue };
        let keeps = record.status == StepStatus::Completed && stands_alone(&plan.step(*position).kind);
        if keeps && !anew.contains(position) && !later_round(plan, &entry.path, at) {
            recorded.insert(entry.path.clone(), record.output.clone());
        }
    }
    match recorded.keys().find(|path| undone.contains(path.as_ref())) {
        Some(path) => Err(RuntimeError::conflict(
            "step_undone",
            format!("`{path}` comes before `{at}` and was undone: fork at `{path}` or before it"),
        )),
        None => Ok(recorded),
    }
}

/// Whether a step's result is something that happened, not something that follows from others.
fn stands_alone(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::Action { .. }
            | StepKind::Task { .. }
            | StepKind::Workflow { .. }
            | StepKind::Approval { .. }
            | StepKind::Wait { .. }
            | StepKind::Event { .. }
            | StepKind::Delay { .. }
    )
}

/// The steps that run anew: the one that is named, all that come after it in its block, the same for the control
/// steps around it, and everything inside any of these but the path that leads to it.
fn anew(plan: &Plan, at: StepIndex) -> BTreeSet<StepIndex> {
    let mut anew = BTreeSet::new();
    let mut around = BTreeSet::new();
    let mut next = Some(at);
    while let Some(index) = next {
        let block = plan.block(plan.step(index).block);
        let mut todo = vec![plan.step(index).position];
        let mut seen = BTreeSet::new();
        while let Some(position) = todo.pop() {
            if !seen.insert(position) {
                continue;
            }
            todo.extend(block.edges.iter().filter(|edge| edge.from == position).map(|edge| edge.to));
        }
        let after = seen.into_iter().map(|position| block.steps[position as usize]);
        anew.extend(after.filter(|step| *step != index || index == at));
        around.insert(index);
        next = block.owner;
    }
    // Steps inside a step that runs anew run anew too.
    for index in 0..plan.steps.len() {
        let index = StepIndex(u32::try_from(index).unwrap_or(u32::MAX));
        let mut owner = plan.block(plan.step(index).block).owner;
        while let Some(outer) = owner {
            if anew.contains(&outer) {
                anew.insert(index);
                break;
            }
            owner = plan.block(plan.step(outer).block).owner;
        }
    }
    anew
}

/// Whether a path lies in a later round of a `while` that the fork goes back into: that round sees the one before.
fn later_round(plan: &Plan, path: &str, at: &str) -> bool {
    for (mine, theirs) in path.split('.').zip(at.split('.')) {
        let ((id, round), (their_id, their_round)) = (place(mine), place(theirs));
        if id != their_id {
            return false;
        }
        let is_while = plan.by_id.get(id).is_some_and(|it| matches!(plan.step(*it).kind, StepKind::While { .. }));
        match (round, their_round) {
            (Some(round), Some(their_round)) if round != their_round => return is_while && round > their_round,
            _ => {}
        }
    }
    false
}

/// `reserve[3]` is the id and the round.
fn place(part: &str) -> (&str, Option<u64>) {
    match part.split_once('[') {
        Some((id, rest)) => (id, rest.trim_end_matches(']').parse().ok()),
        None => (part, None),
    }
}
