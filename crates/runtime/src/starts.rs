//! Making runs: what every start has in common, whoever asks for it.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;
use windlass_definition::{
    Error, Plan, Template, Timestamp, Value, expression::Scope, input::validate_input, plan::WhenFull,
};
use windlass_engine::{
    Start,
    entry::Record,
    id::{RunId, TenantKey},
    start::{Mode, Origin, Principal},
    trace::Trace,
};
use windlass_store::{IdempotencyKey, LaneId};

use crate::{
    backlog::{Seat, Taken},
    core::Core,
    error::{FieldError, RuntimeError},
    live_run::{Birth, Reply, Source},
    loader,
    plans::CompiledPlan,
    request::Started,
    slots::{self, Place},
    turner::{Message, StartRun},
    views::RunView,
};

/// Priorities of runs lie between this and its negative.
const PRIORITY_MAX: i32 = 1_000;
/// Characters of a run's key, and of a label's name or value.
const LABEL_CHARS_MAX: usize = 200;
const LABELS_MAX: usize = 64;

/// What a run is to be, before its input is checked.
pub(crate) struct Draft {
    pub(crate) tenant: TenantKey,
    pub(crate) run: RunId,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) version: i32,
    pub(crate) mode: Mode,
    pub(crate) by: Principal,
    pub(crate) input: Value,
    /// The trace that it joins.
    pub(crate) trace: Option<Trace>,
}

/// A run that is ready to be started.
pub(crate) struct NewStart {
    pub(crate) start: Start,
    pub(crate) plan: Arc<CompiledPlan>,
    pub(crate) lane: LaneId,
    pub(crate) source: Source,
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// It counts as part of a run that holds a place.
    pub(crate) shares_place: bool,
    /// Instead of what the document says.
    pub(crate) when_full: Option<WhenFull>,
    /// What becomes of it when this node has no room.
    pub(crate) when_busy: WhenBusy,
    pub(crate) watch: Option<oneshot::Sender<Arc<RunView>>>,
}

/// What becomes of a start when this node has as many active runs as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenBusy {
    /// It waits in the database until some node has room.
    Queue,
    /// It begins all the same: it belongs to a run that was accepted, and shares its lane.
    Begin,
}

/// What `key`, `labels` and the key of `concurrency` can see.
struct StartScope<'a> {
    start: &'a Start,
    plan: &'a Plan,
}

impl Scope for StartScope<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "input" => Some(self.start.input.clone()),
            "vars" => Some(self.plan.vars.clone()),
            "run" => Some(Value::map([
                ("id", Value::from(self.start.run.to_string())),
                ("trace_id", Value::from(self.start.trace_id().to_string())),
                ("workflow", Value::String(self.start.workflow.clone())),
                ("version", Value::Int(self.start.version.into())),
                ("mode", Value::from(self.start.mode.as_str())),
            ])),
            _ => None,
        }
    }

    fn step(&self, _id: &str) -> Option<Value> {
        None
    }

    fn now(&self) -> Timestamp {
        self.start.created_at
    }

    fn uuid(&self, place: u32) -> Uuid {
        let digest = Sha256::digest(format!("{}/start/{place}", self.start.run));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// Checks the input and works out key and labels.
///
/// # Errors
/// The input does not match, or an expression of `key` or `labels` fails on it.
pub(crate) fn prepare(core: &Core, draft: Draft) -> Result<NewStart, RuntimeError> {
    let Draft { tenant, run, plan, version, mode, by, input, trace } = draft;
    let input = validate_input(&plan.plan, input).map_err(|errors| RuntimeError::Invalid {
        fields: errors.into_iter().map(|it| FieldError::new(format!("/input{}", it.pointer), it.message)).collect(),
    })?;
    let limits = core.settings.limits;
    let bytes = crate::payload::size(&input);
    if bytes > limits.value_bytes_max {
        let max = limits.value_bytes_max;
        let detail = format!("the input has about {bytes} bytes, more than {max} (setting `value_bytes_max`)");
        return Err(RuntimeError::Limit { code: "value_too_large", detail });
    }
    let mut start = Start {
        run,
        tenant,
        workflow: plan.plan.name.clone(),
        version,
        plan: plan.plan.hash.to_string().into(),
        mode,
        input,
        by,
        created_at: core.now(),
        key: None,
        labels: BTreeMap::new(),
        priority: 0,
        trace,
        parent: None,
        depth: 0,
        origin: Origin::Fresh,
        queued: false,
        refused: None,
        limits,
    };
    start.key = match &plan.plan.key {
        Some(template) => Some(text_of(template, &start, &plan.plan, "/key")?),
        None => None,
    };
    let mut labels = BTreeMap::new();
    for (name, template) in &plan.plan.labels {
        labels.insert(name.clone(), text_of(template, &start, &plan.plan, "/labels")?);
    }
    start.labels = labels;
    Ok(NewStart {
        lane: core.store.lane_for(run),
        start,
        plan,
        source: Source::Direct,
        idempotency: None,
        shares_place: false,
        when_full: None,
        when_busy: WhenBusy::Begin,
        watch: None,
    })
}

fn text_of(template: &Template, start: &Start, plan: &Plan, pointer: &str) -> Result<Arc<str>, RuntimeError> {
    let value = template.evaluate(&StartScope { start, plan });
    let text = value.map_err(|error: Error| RuntimeError::invalid(pointer, error.to_string()))?.to_text();
    check_label(pointer, &text)?;
    Ok(text.into())
}

/// Bounds a priority that somebody gave.
pub(crate) fn check_priority(priority: i32) -> Result<(), RuntimeError> {
    if (-PRIORITY_MAX..=PRIORITY_MAX).contains(&priority) {
        return Ok(());
    }
    Err(RuntimeError::invalid("/priority", format!("is not from -{PRIORITY_MAX} to {PRIORITY_MAX}")))
}

/// Bounds a key or label that somebody gave.
pub(crate) fn check_label(pointer: &str, text: &str) -> Result<(), RuntimeError> {
    if text.chars().count() > LABEL_CHARS_MAX {
        return Err(RuntimeError::invalid(pointer, format!("has more than {LABEL_CHARS_MAX} characters")));
    }
    if text.contains('\0') {
        return Err(RuntimeError::invalid(pointer, "contains a NUL character"));
    }
    Ok(())
}

/// Adds what the caller says about key and labels.
pub(crate) fn tag(
    start: &mut Start,
    key: Option<String>,
    labels: BTreeMap<String, String>,
) -> Result<(), RuntimeError> {
    if let Some(key) = key {
        check_label("/key", &key)?;
        start.key = Some(key.into());
    }
    for (name, value) in labels {
        check_label("/labels", &name)?;
        check_label("/labels", &value)?;
        start.labels.insert(name.into(), value.into());
    }
    if start.labels.len() > LABELS_MAX {
        return Err(RuntimeError::invalid("/labels", format!("has more than {LABELS_MAX} labels")));
    }
    Ok(())
}

/// The place that a run of that plan takes; `None` when its workflow does not count places.
pub(crate) fn place_of(start: &Start, plan: &Plan) -> Result<Option<Place>, RuntimeError> {
    let Some(concurrency) = &plan.concurrency else { return Ok(None) };
    let key = match &concurrency.key {
        Some(template) => text_of(template, start, plan, "/concurrency/key")?,
        None => "".into(),
    };
    let place = Place { tenant: start.tenant, workflow: start.workflow.clone(), key, limit: concurrency.limit };
    Ok(Some(place))
}

/// Starts a run: takes its place and its seat if it needs them, and answers once it is on disk.
pub(crate) async fn launch(core: &Arc<Core>, mut new: NewStart) -> Result<Started, RuntimeError> {
    let place = if new.shares_place { None } else { place_of(&new.start, &new.plan.plan)? };
    // Boxed: most runs need no place, and what they await stays small.
    if let Some(place) = place {
        return Box::pin(launch_at(core, new, place)).await;
    }
    let (birth, seat) = seat(core, &mut new).await?;
    send(core, new, birth, seat).await
}

/// Starts a run in that place, or has it wait for the place.
async fn launch_at(core: &Arc<Core>, mut new: NewStart, place: Place) -> Result<Started, RuntimeError> {
    let when_full = new.when_full.or(new.plan.plan.concurrency.as_ref().map(|it| it.when_full));
    let taken = slots::take(core, &place, new.start.run).await?;
    let (mut birth, mut sits) = (Birth::default(), None);
    let queue = match (taken, when_full.unwrap_or(WhenFull::Queue)) {
        (true, _) => {
            match seat(core, &mut new).await {
                Ok(seated) => (birth, sits) = seated,
                Err(error) => {
                    slots::leave(core, &place, new.start.run).await;
                    return Err(error);
                }
            }
            None
        }
        (false, WhenFull::Reject) => return Err(place.full()),
        (false, when) => {
            if when == WhenFull::Replace {
                slots::make_room(core, &place).await?;
            }
            Some(place.queued(new.start.priority, core.now()))
        }
    };
    let (run, queued) = (new.start.run, queue.is_some());
    new.start.queued |= queued;
    birth.queue = queue;
    let answer = send(core, new, birth, sits).await;
    match &answer {
        Ok(started) if started.run == run => {}
        // What was not started holds no place; what may have been started keeps it until that is known.
        Ok(_) | Err(RuntimeError::Conflict { .. } | RuntimeError::Invalid { .. }) if !queued => {
            slots::leave(core, &place, run).await;
        }
        _ => {}
    }
    if queued {
        slots::admit(core, &place).await;
    }
    answer
}

/// A seat for a run that begins now, or what puts it into the queue.
///
/// # Errors
/// There is no seat, and the queue is full.
async fn seat(core: &Core, new: &mut NewStart) -> Result<(Birth, Option<Seat>), RuntimeError> {
    let tenant = new.start.tenant;
    if new.when_busy == WhenBusy::Begin {
        return Ok((Birth::default(), Some(core.backlog.force(tenant, &core.bounds()))));
    }
    let taken = match core.backlog.take(tenant, &core.bounds()) {
        // Boxed: most find a seat, or have to wait for one.
        Taken::Ask => Box::pin(core.ask_for_seat(tenant)).await,
        taken => taken,
    };
    if let Taken::Seat(seat) = taken {
        return Ok((Birth::default(), Some(seat)));
    }
    core.backlog.admits(tenant, &core.bounds())?;
    new.start.queued = true;
    Ok((Birth { backlog: true, ..Birth::default() }, None))
}

async fn send(core: &Arc<Core>, new: NewStart, mut birth: Birth, seat: Option<Seat>) -> Result<Started, RuntimeError> {
    let NewStart { start, plan, lane, source, idempotency, watch, .. } = new;
    birth.idempotency = idempotency;
    let (tenant, run, backlogged) = (start.tenant, start.run, birth.backlog);
    let (reply, answer) = oneshot::channel();
    let order = StartRun { start, plan, lane, birth, source, reply: Some(Reply::Start(reply)), watch, seat };
    core.send(run, Message::Start(Box::new(order)));
    let answer = answer.await.map_err(|_| RuntimeError::unavailable("the server is stopping: ask again"))?;
    if backlogged && answer.as_ref().is_ok_and(|started| started.run == run) {
        core.backlogged(tenant);
    }
    answer
}

/// What a run was started with: the first entry of its journal.
pub(crate) async fn start_of(core: &Core, tenant: TenantKey, run: RunId) -> Result<Start, RuntimeError> {
    let rows = core.store.journal(tenant, run, 1, 1).await?;
    let entries = loader::complete(&core.store, tenant, rows).await.map_err(|error| error.answer(run))?;
    match entries.into_iter().next().map(|entry| entry.record) {
        Some(Record::Started(start)) => Ok(*start),
        Some(_) => Err(RuntimeError::Damaged { run, detail: "its journal does not begin with a start".to_owned() }),
        None => Err(RuntimeError::not_found("run", run)),
    }
}

/// A run that takes back what another one left.
///
/// # Errors
/// The other one has not ended.
pub(crate) async fn undo_of(
    core: &Arc<Core>,
    tenant: TenantKey,
    run: RunId,
    (of, error): (RunId, Option<Value>),
) -> Result<NewStart, RuntimeError> {
    let row = core.store.run(tenant, of).await?.ok_or_else(|| RuntimeError::not_found("run", of))?;
    if !row.status.is_final() {
        return Err(RuntimeError::conflict("run_not_ended", format!("run {of} is {}: cancel it first", row.status)));
    }
    let folded = loader::fold(core, &row).await.map_err(|error| error.answer(of))?;
    let info = folded.run.info().clone();
    let items = folded.run.undo_left();
    let error = error.unwrap_or_else(|| match folded.run.error() {
        Some(error) => error.to_value(),
        None => Value::Null,
    });
    let start = Start {
        run,
        by: Principal::System,
        created_at: core.now(),
        trace: Some(info.belongs_to().handed_on()),
        parent: None,
        origin: Origin::Undo { of, items, error },
        queued: false,
        refused: None,
        limits: core.settings.limits,
        ..info
    };
    Ok(NewStart {
        lane: row.lane,
        start,
        plan: folded.plan,
        source: Source::Direct,
        idempotency: None,
        shares_place: true,
        when_full: None,
        when_busy: WhenBusy::Begin,
        watch: None,
    })
}

/// The refusal of a key that was used for another request.
pub(crate) fn key_reused(first: RunId) -> RuntimeError {
    let detail = format!("this idempotency key was used for run {first} with another request");
    RuntimeError::conflict("idempotency_key_reused", detail)
}

/// SHA-256 of a caller's key and of what he asked for under it.
pub(crate) fn idempotency(key: &str, body: &impl serde::Serialize) -> IdempotencyKey {
    IdempotencyKey {
        key_hash: Sha256::digest(key.as_bytes()).into(),
        body_hash: Sha256::digest(crate::payload::json(body)).into(),
    }
}
