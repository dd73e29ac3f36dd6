//! Which version of a workflow a start means, remembered between starts.
//!
//! On SQLite this process is the only one that publishes, so what is remembered is right until it publishes. Where
//! nodes share a database it is asked again after `newest_version_age`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use windlass_engine::id::TenantKey;
use windlass_store::Dialect;

use crate::{core::Core, error::RuntimeError, plans::CompiledPlan};

const KNOWN_MAX: usize = 4_096;

/// A published version, ready to start.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) version: i32,
    pub(crate) plan: Arc<CompiledPlan>,
}

type Key = (TenantKey, String, Option<i32>);

/// What was asked lately.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    known: Mutex<HashMap<Key, (Instant, Published)>>,
}

impl Newest {
    /// A new version is there, or the workflow is gone.
    pub(crate) fn forget(&self, tenant: TenantKey, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, workflow, _), _| *of != tenant || workflow != name);
    }
}

/// That version of a workflow, or its newest one.
///
/// # Errors
/// There is no such workflow or version, or nothing of it is published.
pub(crate) async fn find(
    core: &Core,
    tenant: TenantKey,
    name: &str,
    version: Option<i32>,
) -> Result<Published, RuntimeError> {
    let key = (tenant, name.to_owned(), version);
    if let Some((at, found)) = core.newest.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        let alone = core.store.database().dialect() == Dialect::Sqlite;
        if alone || version.is_some() || at.elapsed() < core.settings.newest_version_age {
            return Ok(found.clone());
        }
    }
    let asked = Instant::now();
    let found = match core.store.workflow_version(tenant, name, version).await? {
        Some(row) => row,
        None => return Err(missing(core, tenant, name, version).await?),
    };
    let plan = core.plans.find(&core.store, tenant, found.definition_hash).await?;
    let published = Published { version: found.version, plan };
    let mut known = core.newest.known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(key, (asked, published.clone()));
    Ok(published)
}

/// What exactly is not there.
async fn missing(
    core: &Core,
    tenant: TenantKey,
    name: &str,
    version: Option<i32>,
) -> Result<RuntimeError, RuntimeError> {
    let workflow = core.store.workflow(tenant, name).await?;
    Ok(match (workflow, version) {
        (None, _) => RuntimeError::not_found("workflow", name),
        (Some(_), Some(version)) => RuntimeError::not_found("version", format!("{version} of workflow {name}")),
        (Some(_), None) => RuntimeError::conflict(
            "not_published",
            format!("workflow `{name}` has no published version: publish it, or start it with mode `test`"),
        ),
    })
}
