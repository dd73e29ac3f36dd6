//! Keeping history within its bounds: finished runs go by count, by days and by bytes, and their space comes back.
//!
//! A workflow's newest version says how much is kept, and the newest run where nothing is published: runs of plain
//! files and of drafts are swept too. What neither says, the settings do. The store works in small turns, and between
//! two of them the engine goes first.

use std::{sync::Arc, time::Duration};

use windlass_engine::id::TenantKey;
use windlass_store::{ArchivePolicy, Retain, RunFilter, Store};

use crate::{
    core::Core,
    error::RuntimeError,
    metrics::add,
    newest,
    settings::{RetainDefaults, Settings},
};

/// Between two turns, so that a sweep never takes a tenth of the writer's time.
const PAUSE: Duration = Duration::from_millis(20);
const PAGE_ROWS: i64 = 500;
/// Turns at the objects of files in one sweep: with many, one look at all of them takes several sweeps.
const FILE_TURNS_MAX: u32 = 20;
const DAY: Duration = Duration::from_secs(86_400);

/// Sweeps until everything stops.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        tokio::time::sleep(core.settings.sweep).await;
        if let Err(error) = tick(&core).await {
            tracing::warn!(%error, "history was not swept to the end; the next sweep goes on");
        }
        if let Err(error) = keep_vault(&core.store).await {
            tracing::warn!(%error, "the vault was not looked after; the next sweep goes on");
        }
    }
}

/// Finds keys that were added, and seals rows anew until none waits for it.
pub(crate) async fn keep_vault(store: &Store) -> Result<(), RuntimeError> {
    while store.keep_vault().await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// One sweep over all workflows of all tenants.
pub(crate) async fn tick(core: &Core) -> Result<(), RuntimeError> {
    for tenant in core.store.tenants().await? {
        sweep_tenant(core, tenant.key).await?;
    }
    core.store.flush_state_reads().await?;
    while core.store.expire_state().await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    while core.store.expire_rates().await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    while core.store.expire_attempts().await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    while !core.store.sweep().await?.is_idle() {
        tokio::time::sleep(PAUSE).await;
    }
    sweep_files(core).await;
    Ok(())
}

/// Removes from the storage what nothing refers to; a storage that does not answer is asked again at the next sweep.
async fn sweep_files(core: &Core) {
    for _ in 0..FILE_TURNS_MAX {
        match core.store.sweep_files().await {
            Ok(turn) if turn.seen == 0 => return,
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                tracing::warn!(%error, "files that nothing refers to were not removed; the next sweep goes on");
                return;
            }
        }
    }
}

/// What the settings say now: those that the server began with, and over them those in the database, the tenant's last.
async fn settings(core: &Core, tenant: TenantKey) -> Result<Settings, RuntimeError> {
    Ok(core.settings.now(&core.store.setting_values(tenant).await?))
}

async fn sweep_tenant(core: &Core, tenant: TenantKey) -> Result<(), RuntimeError> {
    crate::workflows::note_references(core, tenant).await?;
    let settings = settings(core, tenant).await?;
    let mut after = String::new();
    loop {
        let page = core.store.run_workflows(tenant, &after, PAGE_ROWS).await?;
        for workflow in &page {
            let keep = keep(core, (tenant, workflow), settings.retain).await?;
            sweep_workflow(core, tenant, (workflow, &keep)).await?;
        }
        match page.last() {
            Some(last) if page.len() as i64 >= PAGE_ROWS => after.clone_from(last),
            _ => break,
        }
    }
    while core.store.sweep_records(tenant).await? > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    archive_audit(core, tenant, settings.audit_days).await?;
    let days = [settings.events_days, core.store.rules_of(tenant).retention_days].into_iter().flatten().min();
    if let Some(days) = days {
        let before = core.now().micros() - i64::from(days) * 86_400_000_000;
        while core.store.expire_events(tenant, windlass_definition::Timestamp::from_micros(before)).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Old parts of the audit go to files; one that cannot be written, or is not sound, stops nothing else.
async fn archive_audit(core: &Core, tenant: TenantKey, days: Option<u32>) -> Result<(), RuntimeError> {
    let Some(days) = days else { return Ok(()) };
    let Some(dir) = core.settings.audit_archive.clone() else {
        tracing::warn!(
            "the audit is kept: `audit_days` is set, and no directory for its archives (the setting `audit_archive`)"
        );
        return Ok(());
    };
    let policy = ArchivePolicy { days, dir };
    loop {
        match core.store.archive_audit(tenant, &policy).await {
            Ok(None) => return Ok(()),
            Ok(Some(archive)) => {
                tracing::info!(file = %archive.file.display(), entries = archive.entries, "archived a part of the audit");
            }
            Err(error) => {
                tracing::error!(%error, "a part of the audit was not archived, and nothing of it was deleted");
                return Ok(());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is kept of a workflow's finished runs.
async fn keep(
    core: &Core,
    (tenant, workflow): (TenantKey, &str),
    defaults: RetainDefaults,
) -> Result<Retain, RuntimeError> {
    let newest = RunFilter { workflow: Some(workflow.to_owned()), ..RunFilter::default() };
    let plan = match newest::find(core, tenant, workflow, None).await {
        Ok(published) => Some(published.plan),
        Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => {
            match core.store.list_runs(tenant, &newest, 1).await?.first() {
                Some(run) => core.plans.find(&core.store, tenant, run.definition_hash).await.ok(),
                None => None,
            }
        }
        Err(RuntimeError::Store(error)) => return Err(error.into()),
        // A version that does not compile any more says nothing.
        Err(_) => None,
    };
    let says = plan.map(|plan| plan.plan.retain).unwrap_or_default();
    let days = [says.days.or(defaults.days), core.store.rules_of(tenant).retention_days].into_iter().flatten().min();
    Ok(Retain {
        runs: says.runs.or(defaults.runs).map(|runs| i64::try_from(runs).unwrap_or(i64::MAX)),
        age: days.map(|days| DAY * days),
        bytes: defaults.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    })
}

async fn sweep_workflow(core: &Core, tenant: TenantKey, (name, keep): (&str, &Retain)) -> Result<(), RuntimeError> {
    if *keep == Retain::default() {
        return Ok(());
    }
    loop {
        let gone = core.store.retain(tenant, name, keep).await?;
        if gone == 0 {
            return Ok(());
        }
        add(&core.metrics.runs_removed, gone);
        tokio::time::sleep(PAUSE).await;
    }
}
