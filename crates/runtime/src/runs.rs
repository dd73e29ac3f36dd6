//! Starting runs, waiting for them, reading them.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures::{Stream, stream};
use tokio::sync::{broadcast, oneshot, watch};
use uuid::Uuid;
use windlass_definition::source::Format;
use windlass_engine::{
    Entry, Record,
    id::{RunId, TenantKey},
    status::{RunStatus, StepStatus},
};
use windlass_store::{IdempotencyKey, RunRow};

use crate::{
    core::Core,
    error::RuntimeError,
    foreign::Seen,
    live::{LiveEntry, LiveEvent},
    loader, newest,
    plans::CompiledPlan,
    request::{Document, RunFilter, StartRequest, Started, Target},
    runtime::Runtime,
    search,
    starts::{self, Draft, NewStart, WhenBusy},
    turner::{Look, Message},
    views::{Page, RunSummary, RunView, StepView},
};

/// After this it is looked at who turns a run that was started here: it may have been queued, or its lane lost.
const QUICK: Duration = Duration::from_millis(100);
/// Between two looks at whether a lane is still this node's.
const OWNER_LOOK: Duration = Duration::from_secs(1);

/// A run that was started, and the way to its end.
#[derive(Debug)]
pub struct Watched {
    tenant: TenantKey,
    run: RunId,
    ended: Option<oneshot::Receiver<Arc<RunView>>>,
}

impl Runtime {
    /// Starts a run; answers once it is on disk.
    ///
    /// # Errors
    /// There is no such workflow, its input does not match, the idempotency key was used for something else, its
    /// places are taken, or the server takes nothing now.
    pub async fn start(&self, request: StartRequest) -> Result<Started, RuntimeError> {
        match self.prepare(request).await? {
            ControlFlow::Continue(new) => starts::launch(&self.core, new).await,
            ControlFlow::Break(before) => Ok(before),
        }
    }

    /// Starts a run and waits for its end, or for what it answers, for at most that long.
    ///
    /// # Errors
    /// As [`Runtime::start`].
    pub async fn start_and_wait(
        &self,
        request: StartRequest,
        timeout: Duration,
    ) -> Result<(Started, Arc<RunView>), RuntimeError> {
        let (started, watched) = self.start_watched(request).await?;
        Ok((started, self.end_of(watched, timeout).await?))
    }

    /// Starts a run, and watches it from its first moment on; answers once it is on disk.
    ///
    /// # Errors
    /// As [`Runtime::start`].
    pub async fn start_watched(&self, request: StartRequest) -> Result<(Started, Watched), RuntimeError> {
        let tenant = request.tenant;
        let mut new = match self.prepare(request).await? {
            ControlFlow::Continue(new) => new,
            ControlFlow::Break(before) => return Ok((before, Watched { tenant, run: before.run, ended: None })),
        };
        let (watch, ended) = oneshot::channel();
        new.watch = Some(watch);
        let started = starts::launch(&self.core, new).await?;
        // Of a run that was there before, nobody tells.
        let ended = (!started.duplicate).then_some(ended);
        Ok((started, Watched { tenant, run: started.run, ended }))
    }

    /// Waits for the end of a watched run, or for what it answers, for at most that long.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn end_of(&self, watched: Watched, timeout: Duration) -> Result<Arc<RunView>, RuntimeError> {
        let Watched { tenant, run, ended } = watched;
        let Some(ended) = ended else { return Box::pin(self.wait(tenant, run, timeout)).await };
        match tokio::time::timeout(timeout.min(QUICK), ended).await {
            Ok(Ok(view)) => Ok(view),
            // Boxed, for most runs end before.
            _ => Box::pin(self.wait(tenant, run, timeout.saturating_sub(QUICK))).await,
        }
    }

    /// What is to be started; or the run that is there, if its key is known and its workflow was deleted since.
    async fn prepare(&self, request: StartRequest) -> Result<ControlFlow<Started, NewStart>, RuntimeError> {
        let core = &self.core;
        if core.is_draining() {
            return Err(RuntimeError::unavailable("the server is stopping: ask another one, or again"));
        }
        let StartRequest { tenant, target, input, mode, by, idempotency_key, key, labels, priority, trace } = request;
        core.store.ready(tenant).await;
        starts::check_priority(priority)?;
        let idempotency = idempotency_key.map(|given| {
            let name = match &target {
                Target::Published { name, version } => (name.clone(), *version),
                Target::Draft { name } => (name.clone(), Some(0)),
                Target::Document(document) => (document.plan.name.to_string(), None),
            };
            // Not the trace: whoever asks again may be another span of it, or in another.
            starts::idempotency(&given, &(name, &input, mode, &key, &labels, priority))
        });
        let (version, plan) = match (self.target(tenant, target).await, &idempotency) {
            // Boxed, for it is rare.
            (Err(missing @ RuntimeError::NotFound { .. }), Some(key)) => {
                return Box::pin(self.started_before(tenant, key, missing)).await.map(ControlFlow::Break);
            }
            (found, _) => found?,
        };
        let run = RunId::new(Uuid::now_v7());
        let mut new = starts::prepare(core, Draft { tenant, run, plan, version, mode, by, input, trace })?;
        starts::tag(&mut new.start, key, labels)?;
        new.start.priority = priority;
        new.when_busy = WhenBusy::Queue;
        new.idempotency = idempotency;
        Ok(ControlFlow::Continue(new))
    }

    /// The version and plan that a start means.
    async fn target(&self, tenant: TenantKey, target: Target) -> Result<(i32, Arc<CompiledPlan>), RuntimeError> {
        let core = &self.core;
        let document = match target {
            Target::Published { name, version } => {
                let found = newest::find(core, tenant, &name, version).await?;
                return Ok((found.version, found.plan));
            }
            Target::Draft { name } => self.draft(tenant, &name).await?,
            Target::Document(document) => document,
        };
        core.store.put_definition(tenant, document.plan.hash.0, document.canonical.as_bytes()).await?;
        Ok((0, core.plans.learn(&document.plan)))
    }

    /// The run that was started under that key before.
    async fn started_before(
        &self,
        tenant: TenantKey,
        key: &IdempotencyKey,
        missing: RuntimeError,
    ) -> Result<Started, RuntimeError> {
        match self.core.store.idempotency_key(tenant, key.key_hash).await? {
            Some((run, body_hash)) if body_hash == key.body_hash => Ok(Started { run, duplicate: true }),
            Some((first, _)) => Err(starts::key_reused(first)),
            None => Err(missing),
        }
    }

    /// Compiles a document that is no workflow of the tenant.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(&self, source: &str, format: Format) -> Result<Document, RuntimeError> {
        let compiled = windlass_definition::compile(source, format, &self.core.step_types)
            .map_err(|diagnostics| RuntimeError::Document { diagnostics })?;
        let canonical = windlass_definition::print::print_json(&compiled.document).into();
        Ok(Document { plan: compiled.plan, canonical })
    }

    /// Ends when nothing of a run is on its way to the disk here: what it waits for then is not this server.
    pub async fn rests(&self, run: RunId) {
        let (held, let_go) = oneshot::channel();
        self.core.send(run, Message::Rests { run, held });
        let _ = let_go.await;
    }

    /// Waits until a run has ended or answered, for at most that long, and shows it as it is then.
    ///
    /// # Errors
    /// There is no such run in this tenant.
    pub async fn wait(&self, tenant: TenantKey, run: RunId, timeout: Duration) -> Result<Arc<RunView>, RuntimeError> {
        let timeout = timeout.min(self.core.settings.wait_max);
        let _unwatch = Unwatch { core: &self.core, run };
        let (reply, ended) = oneshot::channel();
        self.core.send(run, Message::Watch { run, reply });
        let row = self.row(tenant, run).await?;
        if row.status.is_final() {
            return Ok(Arc::new(self.view_of(&row).await?));
        }
        tokio::select! {
            view = ended => if let Ok(view) = view { return Ok(view) },
            () = self.ended_elsewhere(&row) => {}
            () = tokio::time::sleep(timeout) => {}
        }
        Ok(Arc::new(self.run(tenant, run).await?))
    }

    /// Waits until a run has ended that another node turns; for ever where only this one can.
    async fn ended_elsewhere(&self, row: &RunRow) {
        let core = &self.core;
        if !core.store.is_shared() {
            return std::future::pending().await;
        }
        // A queued run goes to whoever has room.
        while row.status != RunStatus::Queued && core.store.owns(row.lane) {
            tokio::time::sleep(OWNER_LOOK).await;
        }
        let mut seen = core.foreign.watch(row.tenant, row.id);
        // The sender lives as long as the receiver.
        let _ = seen.wait_for(|seen| seen.over).await;
    }

    async fn row(&self, tenant: TenantKey, run: RunId) -> Result<RunRow, RuntimeError> {
        self.core.store.run(tenant, run).await?.ok_or_else(|| RuntimeError::not_found("run", run))
    }

    async fn look(&self, tenant: TenantKey, run: RunId) -> Option<Look> {
        let (reply, look) = oneshot::channel();
        self.core.send(run, Message::Look { tenant, run, reply });
        look.await.ok().flatten()
    }

    /// A run.
    ///
    /// # Errors
    /// There is no such run in this tenant.
    pub async fn run(&self, tenant: TenantKey, run: RunId) -> Result<RunView, RuntimeError> {
        let row = self.row(tenant, run).await?;
        self.view_of(&row).await
    }

    /// A run's row, with what its journal's first and last entries say.
    async fn view_of(&self, row: &RunRow) -> Result<RunView, RuntimeError> {
        let (tenant, run) = (row.tenant, row.id);
        let mut view = RunView::of_row(row);
        view.damaged = self.core.damage(run);
        let rows = if row.status.is_final() {
            let ends = self.core.store.journal_first_and_last(tenant, run).await?;
            ends.map_or_else(Vec::new, |(first, last)| vec![first, last])
        } else {
            self.core.store.journal(tenant, run, 1, 1).await?
        };
        for entry in loader::complete(&self.core.store, tenant, rows).await.map_err(|error| error.answer(run))? {
            match entry.record {
                Record::Started(start) => view.began(&start),
                Record::Finished(end) => view.ended(end),
                _ => {}
            }
        }
        // A linked run may have taken back since what this one left.
        if row.undo_status == Some(windlass_store::UndoStatus::Done) {
            view.undo.status = windlass_engine::run::UndoStatus::Done;
            view.undo.left.clear();
        }
        Ok(view)
    }

    /// Runs, the newest first. Those that are searched by words are on some pages fewer than were asked for, or none,
    /// though there are more pages.
    ///
    /// # Errors
    /// The database does not answer, `after` is not from a page before, or `q` cannot be looked for.
    pub async fn runs(&self, tenant: TenantKey, filter: RunFilter) -> Result<Page<RunSummary>, RuntimeError> {
        let limit = filter.limit.clamp(1, self.core.settings.page_max);
        let after = match &filter.after {
            Some(cursor) => {
                Some(cursor.parse().map_err(|_| RuntimeError::invalid("/after", "is no cursor of a page"))?)
            }
            None => None,
        };
        let wanted = windlass_store::RunFilter {
            workflow: filter.workflow,
            statuses: filter.statuses,
            key: filter.key,
            labels: filter.labels.into_iter().collect(),
            parent: filter.parent,
            trace: filter.trace,
            after,
            within: filter.within,
            ..windlass_store::RunFilter::default()
        };
        let Some(q) = &filter.q else {
            let rows = self.core.store.list_runs(tenant, &wanted, limit as i64 + 1).await?;
            return Ok(page_of(rows, limit, None));
        };
        let terms = search::terms(q)?;
        if !search::searched(&self.core, tenant).await? {
            let detail = "runs of this tenant are not searched: the setting `search_runs` is off";
            return Err(RuntimeError::conflict("search_off", detail));
        }
        // Asked first: what is read meanwhile is found before it is promised.
        let searched_until = self.core.store.searched_until(tenant).await?;
        let found = self.core.store.search_runs(tenant, (&wanted, &terms), limit as i64 + 1).await?;
        Ok(Page { searched_until, ..page_of(found.runs, limit, found.looked_until) })
    }

    /// The steps of a run: those that ended in the order of their ends, then those that run or wait now.
    ///
    /// # Errors
    /// There is no such run in this tenant, or `after` is not from a page before.
    pub async fn steps(
        &self,
        tenant: TenantKey,
        run: RunId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<StepView>, RuntimeError> {
        let limit = limit.clamp(1, self.core.settings.page_max);
        let after = match after {
            Some(cursor) => cursor.parse().map_err(|_| RuntimeError::invalid("/after", "is no cursor of a page"))?,
            None => 0,
        };
        let row = self.row(tenant, run).await?;
        let rows = self.core.store.journal_of_kind(tenant, run, "step", (after, limit as i64 + 1)).await?;
        let more = rows.len() > limit;
        let entries = loader::complete(&self.core.store, tenant, rows).await.map_err(|error| error.answer(run))?;
        let mut items: Vec<StepView> = entries.iter().take(limit).filter_map(step_view).collect();
        if more {
            let next = entries.get(limit - 1).map(|entry| entry.seq.to_string());
            return Ok(Page::new(items, next));
        }
        if !row.status.is_final() {
            items.extend(self.active(tenant, &row).await?);
        }
        Ok(Page::new(items, None))
    }

    /// The steps that run or wait now: from memory where the run is here, from its journal where it is not.
    async fn active(&self, tenant: TenantKey, row: &RunRow) -> Result<Vec<StepView>, RuntimeError> {
        if let Some(look) = self.look(tenant, row.id).await {
            return Ok(look.active);
        }
        let folded = loader::fold(&self.core, row).await.map_err(|error| error.answer(row.id))?;
        Ok(folded.run.active(&folded.plan.plan).into_iter().map(StepView::from).collect())
    }

    /// The journal of a run, complete with values that are kept apart.
    ///
    /// # Errors
    /// There is no such run in this tenant.
    pub async fn journal(
        &self,
        tenant: TenantKey,
        run: RunId,
        after: i64,
        limit: usize,
    ) -> Result<Page<LiveEntry>, RuntimeError> {
        let limit = limit.clamp(1, self.core.settings.page_max);
        let rows = self.core.store.journal(tenant, run, after.max(0) + 1, limit as i64).await?;
        if rows.is_empty() {
            self.row(tenant, run).await?;
        }
        let entries = loader::complete(&self.core.store, tenant, rows).await.map_err(|error| error.answer(run))?;
        let next = entries.get(limit - 1).map(|entry| entry.seq.to_string());
        Ok(Page::new(entries.into_iter().map(LiveEntry::from).collect(), next))
    }

    /// What happens to a run, from after that entry of its journal on, until its end.
    pub fn subscribe(
        &self,
        tenant: TenantKey,
        run: RunId,
        after_seq: i64,
    ) -> impl Stream<Item = Result<LiveEvent, RuntimeError>> + Send + use<> {
        let watch = Watch {
            runtime: self.clone(),
            tenant,
            run,
            seq: after_seq,
            backlog: std::collections::VecDeque::new(),
            live: None,
            elsewhere: None,
            ended: false,
        };
        stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) })
    }

    /// The draft of a workflow, compiled.
    pub(crate) async fn draft(&self, tenant: TenantKey, name: &str) -> Result<Document, RuntimeError> {
        let row = self.core.store.workflow(tenant, name).await?;
        let row = row.ok_or_else(|| RuntimeError::not_found("workflow", name))?;
        // A draft is kept as it was written; both forms start differently.
        let format = crate::workflows::format_of(&row.draft);
        self.compile(&row.draft, format)
    }
}

/// Takes a watcher back whom nobody may ever tell, because another node turns the run.
struct Unwatch<'a> {
    core: &'a Core,
    run: RunId,
}

impl Drop for Unwatch<'_> {
    fn drop(&mut self) {
        self.core.send(self.run, Message::Unwatch { run: self.run });
    }
}

/// A reader of a run's events: the journal first, then what is announced; the journal again after a gap.
struct Watch {
    runtime: Runtime,
    tenant: TenantKey,
    run: RunId,
    seq: i64,
    backlog: std::collections::VecDeque<LiveEntry>,
    live: Option<broadcast::Receiver<LiveEvent>>,
    /// For a run that another node turns.
    elsewhere: Option<watch::Receiver<Seen>>,
    ended: bool,
}

/// Between two looks at the journal of a run that nothing is heard of: another node may have taken it over.
const QUIET: Duration = Duration::from_secs(1);

impl Watch {
    async fn next(&mut self) -> Option<Result<LiveEvent, RuntimeError>> {
        loop {
            if let Some(entry) = self.backlog.pop_front() {
                self.seq = entry.seq;
                self.ended = matches!(*entry.data, Record::Finished(_));
                return Some(Ok(LiveEvent::Entry(entry)));
            }
            if self.ended {
                return None;
            }
            // Announcements are taken before the journal is read, so that nothing falls between the two.
            let Some(live) = &mut self.live else {
                self.live = Some(self.runtime.core.watchers.watch(self.run));
                if let Err(error) = self.read().await {
                    self.ended = true;
                    return Some(Err(error));
                }
                continue;
            };
            let told = tokio::select! {
                told = live.recv() => Some(told),
                () = grown(&mut self.elsewhere, self.seq) => None,
                () = tokio::time::sleep(QUIET) => None,
            };
            match told {
                Some(Ok(LiveEvent::Entry(entry))) if entry.seq == self.seq + 1 => self.backlog.push_back(entry),
                Some(Ok(LiveEvent::Entry(entry))) if entry.seq <= self.seq => {}
                Some(Ok(LiveEvent::Entry(_)) | Err(broadcast::error::RecvError::Lagged(_))) | None => {
                    if let Err(error) = self.read().await {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                Some(Ok(event)) => return Some(Ok(event)),
                Some(Err(broadcast::error::RecvError::Closed)) => self.live = None,
            }
        }
    }

    async fn read(&mut self) -> Result<(), RuntimeError> {
        let page = self.runtime.core.settings.page_max;
        let entries = self.runtime.journal(self.tenant, self.run, self.seq, page).await?.items;
        if entries.is_empty() {
            let row = self.runtime.row(self.tenant, self.run).await?;
            self.ended = row.status.is_final();
            let core = &self.runtime.core;
            if core.store.is_shared() && (row.status == RunStatus::Queued || !core.store.owns(row.lane)) {
                self.elsewhere.get_or_insert_with(|| core.foreign.watch(self.tenant, self.run));
            } else {
                self.elsewhere = None;
            }
        }
        self.backlog.extend(entries);
        Ok(())
    }
}

/// Waits until a run that another node turns has more in its journal than that, or has ended.
async fn grown(elsewhere: &mut Option<watch::Receiver<Seen>>, seq: i64) {
    let Some(seen) = elsewhere else { return std::future::pending().await };
    // The sender lives as long as the receiver.
    let _ = seen.wait_for(|seen| seen.over || seen.seq > seq).await;
}

fn step_view(entry: &Entry) -> Option<StepView> {
    let Record::Step(step) = &entry.record else { return None };
    Some(StepView {
        path: entry.path.clone(),
        step: entry.step.clone(),
        type_name: step.type_name.clone(),
        status: step.status,
        attempt: entry.attempt,
        input: step.input.clone(),
        output: step.output.clone(),
        error: step.error.clone(),
        started_at: step.started_at,
        finished_at: (step.status != StepStatus::Skipped).then_some(entry.at),
        skipped_by: step.skipped_by.map(|by| match by {
            windlass_engine::entry::SkippedBy::If => "if",
            windlass_engine::entry::SkippedBy::Path => "path",
        }),
        waits_for: None,
    })
}

/// A page of rows, of which one more than `limit` says that there are more; those that were made before `looked_until`
/// are on the next one, however few this one has.
fn page_of(mut rows: Vec<RunRow>, limit: usize, looked_until: Option<RunId>) -> Page<RunSummary> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = if more { rows.last().map(|row| row.id) } else { looked_until };
    Page::new(rows.into_iter().map(summary).collect(), last.map(|run| run.to_string()))
}

fn summary(row: RunRow) -> RunSummary {
    let view = RunView::of_row(&row);
    RunSummary {
        id: view.id,
        workflow: view.workflow,
        version: view.version,
        status: view.status,
        mode: view.mode,
        error: view.error,
        created_at: view.created_at,
        started_at: view.started_at,
        finished_at: view.finished_at,
        priority: view.priority,
        trace_id: view.trace_id,
        parent_run_id: view.parent_run_id,
        key: view.key,
        labels: view.labels,
    }
}
