//! What runs do to other runs: subflows, undo runs, restarts, events that were there before the wait.
//!
//! Each of these is asked for by a letter, written in the commit of the run that asks, and its answer is a letter or
//! an event too: a crash anywhere leaves a letter that is opened again. Ids are given in advance, so starting twice
//! starts once.

use std::sync::Arc;

use tokio::sync::oneshot;
use windlass_definition::{Class, Error, Value, plan::WhenFull};
use windlass_engine::{
    Event, Start,
    id::{RunId, TenantKey},
    start::{Mode, Origin, Parent, Principal},
};
use windlass_store::{RowChange, RunChange, RunCommit, RunUpdate, UndoStatus};

use crate::{
    core::Core,
    error::RuntimeError,
    inbox::Opened,
    letter::{ChildOrder, Letter, not_started},
    live_run::Source,
    newest::{self, Published},
    plans::CompiledPlan,
    starts::{self, Draft, NewStart, WhenBusy},
    turner::Deliver,
};

const EVENTS_PAGE: i64 = 500;

/// Does what a letter asks of the runtime.
pub(crate) async fn act(core: &Arc<Core>, opened: Opened) -> Result<(), RuntimeError> {
    let Opened { tenant, run, lane, id, letter } = opened;
    let here = Here { tenant, run, lane, id };
    match letter {
        Letter::StartChild(order) => start_child(core, &here, *order).await,
        Letter::UndoChild { parent, path, of, error } => {
            undo_child(core, &here, Parent { run: parent, path, waits: true }, (of, error)).await
        }
        Letter::Restart { of, input } => restart(core, &here, of, input).await,
        Letter::FindEvents { path, event_type, subject, since } => {
            find_events(core, &here, windlass_engine::effect::WaitForEvent { path, event_type, subject, since }).await
        }
        Letter::Undone => undone(core, &here).await,
        // All others are events of the engine: see `Letter::event`.
        _ => Ok(()),
    }
}

/// The run that a letter is addressed to, and the letter's row.
struct Here {
    tenant: TenantKey,
    run: RunId,
    lane: windlass_store::LaneId,
    id: uuid::Uuid,
}

impl Here {
    fn source(&self) -> Source {
        Source::Letter(self.id, self.lane)
    }

    /// The letter has been dealt with.
    fn discard(&self, core: &Arc<Core>, change: RunChange) {
        let mut commit = RunCommit::new(self.tenant, self.run, self.lane);
        commit.change = change;
        commit.rows.push(RowChange::DeleteInbox(self.id));
        let (run, id, held) = (self.run, self.id, Arc::clone(core));
        core.store.submit(
            commit,
            Box::new(move |result| {
                if let Err(error) = result {
                    held.letters.put_back(&[id]);
                    tracing::debug!(%run, %error, "a letter stays in the inbox until the next look");
                }
            }),
        );
    }
}

/// The error that a parent gets for a child that could not be started.
fn refusal(error: &RuntimeError) -> Option<Error> {
    let (class, code) = match error {
        RuntimeError::NotFound { .. } => (Class::NotFound, "workflow"),
        RuntimeError::Invalid { .. } => (Class::Validation, "input"),
        RuntimeError::Document { .. } => (Class::Validation, "document"),
        RuntimeError::Conflict { code, .. } if *code == "concurrency_limit" => (Class::Limit, *code),
        RuntimeError::Conflict { code, .. } => (Class::NotFound, *code),
        RuntimeError::Denied { code, .. } => (Class::Denied, *code),
        RuntimeError::Limit { code, .. } => (Class::Limit, *code),
        // These pass: the letter is opened again.
        _ => return None,
    };
    Some(Error::new(class, code, error.to_string()))
}

async fn start_child(core: &Arc<Core>, here: &Here, order: ChildOrder) -> Result<(), RuntimeError> {
    if core.store.run(here.tenant, here.run).await?.is_some() {
        here.discard(core, RunChange::None);
        return Ok(());
    }
    let parent = Parent { run: order.parent, path: order.path.clone(), waits: order.waits };
    let prepared = prepare_child(core, here, &order, parent.clone()).await;
    match prepared {
        Ok(start) => {
            starts::launch(core, start).await?;
            Ok(())
        }
        Err(error) => refuse(core, here, &parent, error),
    }
}

/// Tells the parent that there will be no child; an error that may pass is given back.
fn refuse(core: &Arc<Core>, here: &Here, parent: &Parent, error: RuntimeError) -> Result<(), RuntimeError> {
    let Some(why) = refusal(&error) else { return Err(error) };
    let event = Event::ChildEnded { path: parent.path.clone(), child: None, result: not_started(why) };
    core.deliver(Deliver::new(here.tenant, parent.run, event).from(here.source()));
    Ok(())
}

async fn prepare_child(
    core: &Arc<Core>,
    here: &Here,
    order: &ChildOrder,
    parent: Parent,
) -> Result<NewStart, RuntimeError> {
    let Published { version, plan } = newest::find(core, here.tenant, &order.workflow, order.version).await?;
    let draft = Draft {
        tenant: here.tenant,
        run: here.run,
        plan,
        version,
        mode: order.mode,
        by: Principal::Run(order.parent),
        input: order.input.clone(),
        trace: order.trace.clone(),
    };
    let mut start = starts::prepare(core, draft)?;
    start.start.parent = Some(parent);
    start.start.depth = order.depth;
    start.start.priority = order.priority;
    start.lane = here.lane;
    start.source = here.source();
    start.shares_place = shares_place(core, here.tenant, (order.parent, &order.workflow)).await?;
    Ok(start)
}

/// Whether an ancestor is a run of the same workflow: then the child shares its place.
async fn shares_place(core: &Core, tenant: TenantKey, (parent, workflow): (RunId, &str)) -> Result<bool, RuntimeError> {
    let mut next = Some(parent);
    while let Some(run) = next {
        let Some(row) = core.store.run(tenant, run).await? else { return Ok(false) };
        if *row.workflow == *workflow {
            return Ok(true);
        }
        next = row.parent.map(|(parent, _)| parent);
    }
    Ok(false)
}

async fn undo_child(
    core: &Arc<Core>,
    here: &Here,
    parent: Parent,
    (of, error): (RunId, Value),
) -> Result<(), RuntimeError> {
    if core.store.run(here.tenant, here.run).await?.is_some() {
        here.discard(core, RunChange::None);
        return Ok(());
    }
    match starts::undo_of(core, here.tenant, here.run, (of, Some(error))).await {
        Ok(mut start) => {
            start.start.by = Principal::Run(parent.run);
            start.start.parent = Some(parent);
            start.lane = here.lane;
            start.source = here.source();
            starts::launch(core, start).await?;
            Ok(())
        }
        Err(error) => refuse(core, here, &parent, error),
    }
}

/// A fresh run takes the place of one that ended with `restart`. Whoever waits for that one waits for this one from
/// before it begins, so that its end is not missed.
async fn restart(core: &Arc<Core>, here: &Here, of: RunId, input: Value) -> Result<(), RuntimeError> {
    if core.store.run(here.tenant, here.run).await?.is_some() {
        here.discard(core, RunChange::None);
        return Ok(());
    }
    let old: Start = starts::start_of(core, here.tenant, of).await?;
    let mut refused = None;
    if let Some(parent) = old.parent.as_ref().filter(|parent| parent.waits) {
        let event = Event::ChildRestarted { path: parent.path.clone(), child: of, run: here.run };
        match core.tell(Deliver::new(here.tenant, parent.run, event)).await {
            Ok(_) => {}
            Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. }) => {
                let message = format!("nobody waits any more for the run {of} that this one takes the place of");
                refused = Some(Error::new(Class::Cancelled, "parent_gone", message));
            }
            Err(error) => return Err(error),
        }
    }
    if refused.is_none() {
        let launched = match restarted(core, here, &old, input.clone()).await {
            Ok(start) => starts::launch(core, start).await.map(drop),
            Err(error) => Err(error),
        };
        let Err(error) = launched else { return Ok(()) };
        // What passes is tried again, with the letter.
        refused = Some(refusal(&error).ok_or(error)?);
    }
    let Some(why) = refused else { return Ok(()) };
    let start = refused_restart(core, here, &old, (input, why)).await?;
    starts::launch(core, start).await.map(drop)
}

async fn restarted(core: &Arc<Core>, here: &Here, old: &Start, input: Value) -> Result<NewStart, RuntimeError> {
    let newest = match old.version > 0 && old.mode == Mode::Production {
        true => newest::find(core, here.tenant, &old.workflow, None).await.map(Some),
        false => Ok(None),
    };
    let (version, plan) = match newest {
        Ok(Some(newest)) => (newest.version, newest.plan),
        // What is under way when its workflow is deleted goes on with the version that it has.
        Ok(None) | Err(RuntimeError::NotFound { .. }) => (old.version, plan_of(core, here.tenant, old.run).await?),
        Err(error) => return Err(error),
    };
    let (run, mode, by) = (here.run, old.mode, old.by.clone());
    let trace = Some(old.belongs_to().handed_on());
    let draft = Draft { tenant: here.tenant, run, plan, version, mode, by, input, trace };
    let mut new = starts::prepare(core, draft)?;
    // What the caller said about the run stays, where the document says nothing.
    new.start.key = new.start.key.or_else(|| old.key.clone());
    for (name, value) in &old.labels {
        new.start.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    in_place(core, here, old, new).await
}

/// A run that takes the other's place and fails at once, so that everybody sees why.
async fn refused_restart(
    core: &Arc<Core>,
    here: &Here,
    old: &Start,
    (input, why): (Value, Error),
) -> Result<NewStart, RuntimeError> {
    let plan = plan_of(core, here.tenant, old.run).await?;
    let start = Start {
        run: here.run,
        input,
        created_at: core.now(),
        queued: false,
        refused: Some(why),
        limits: core.settings.limits,
        trace: Some(old.belongs_to().handed_on()),
        ..old.clone()
    };
    let lane = here.lane;
    let source = here.source();
    let new = NewStart {
        start,
        plan,
        lane,
        source,
        idempotency: None,
        shares_place: true,
        when_full: None,
        when_busy: WhenBusy::Begin,
        watch: None,
    };
    Ok(NewStart { shares_place: true, ..in_place(core, here, old, new).await? })
}

async fn plan_of(core: &Core, tenant: TenantKey, run: RunId) -> Result<Arc<CompiledPlan>, RuntimeError> {
    let row = core.store.run(tenant, run).await?.ok_or_else(|| RuntimeError::not_found("run", run))?;
    core.plans.find(&core.store, tenant, row.definition_hash).await
}

/// What a run has from the one whose place it takes.
async fn in_place(core: &Core, here: &Here, old: &Start, mut new: NewStart) -> Result<NewStart, RuntimeError> {
    new.start.origin = Origin::Restart { of: old.run };
    new.start.depth = old.depth;
    new.start.priority = old.priority;
    // Nothing connects a run with a parent that does not wait.
    new.start.parent = old.parent.clone().filter(|parent| parent.waits);
    new.shares_place = match &new.start.parent {
        Some(parent) => shares_place(core, here.tenant, (parent.run, &old.workflow)).await?,
        None => false,
    };
    new.lane = here.lane;
    new.source = here.source();
    // It waits for its place if it has to, whatever a new start would do.
    new.when_full = Some(WhenFull::Queue);
    Ok(new)
}

/// Events that came since the run started count for a wait that begins now.
async fn find_events(
    core: &Arc<Core>,
    here: &Here,
    wait: windlass_engine::effect::WaitForEvent,
) -> Result<(), RuntimeError> {
    let mut after = None;
    loop {
        let wanted = (&*wait.event_type, wait.subject.as_deref());
        let page = core.store.events(here.tenant, wanted, (wait.since, after), EVENTS_PAGE).await?;
        for event in &page {
            let value: Value = crate::payload::deep(&event.event).map_err(|error| {
                RuntimeError::Store(windlass_store::StoreError::damaged(format!("event {}: {error}", event.id)))
            })?;
            let key = format!("{} {}", event.source, event.event_id);
            let (reply, answer) = oneshot::channel();
            let taken = Event::CloudEvent { path: wait.path.clone(), key: key.into(), event: value };
            core.deliver(Deliver::new(here.tenant, here.run, taken).answer(reply));
            match answer.await {
                // Taken, or refused because it does not match or the step has ended: the next one.
                Ok(Ok(_) | Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. })) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
        match page.last() {
            Some(last) if page.len() as i64 >= EVENTS_PAGE => after = Some(last.id),
            _ => break,
        }
    }
    here.discard(core, RunChange::None);
    Ok(())
}

/// A linked run has taken back all that was left of this one. Its status stays.
async fn undone(core: &Arc<Core>, here: &Here) -> Result<(), RuntimeError> {
    let update = RunUpdate { undo_status: Some(UndoStatus::Done), ..RunUpdate::default() };
    here.discard(core, RunChange::Update(Box::new(update)));
    Ok(())
}
