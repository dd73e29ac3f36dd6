//! Which version of a workflow a start means, remembered between starts.
//!
//! Who publishes or deletes here forgets what is remembered. It is asked again after `newest_version_age` all the same: other
//! nodes publish and delete too, and whoever did it here may have gone away before it came to that. Where nodes share a
//! database, a deletion is answered only after that time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
pub(crate) struct Newest(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    published: HashMap<Key, (Instant, Published)>,
    /// Counts what was forgotten: what was asked for before that is not remembered after it.
    forgotten: u64,
}

impl Newest {
    /// A new version is there, or the workflow is gone.
    pub(crate) fn forget(&self, tenant: TenantKey, name: &str) {
        let mut known = self.known();
        known.forgotten += 1;
        known.published.retain(|(of, workflow, _), _| *of != tenant || workflow != name);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until no node starts by what it remembered of a workflow before it was deleted.
pub(crate) async fn forgotten_everywhere(core: &Core) {
    if core.store.database().dialect() == Dialect::Postgres {
        tokio::time::sleep(core.settings.newest_version_age).await;
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
    let forgotten = {
        let known = core.newest.known();
        if let Some((at, found)) = known.published.get(&key)
            && at.elapsed() < core.settings.newest_version_age
        {
            return Ok(found.clone());
        }
        known.forgotten
    };
    let asked = Instant::now();
    let found = match core.store.workflow_version(tenant, name, version).await? {
        Some(row) => row,
        None => return Err(missing(core, tenant, name, version).await?),
    };
    let plan = core.plans.find(&core.store, tenant, found.definition_hash).await?;
    let published = Published { version: found.version, plan };
    let mut known = core.newest.known();
    if known.forgotten == forgotten {
        if known.published.len() >= KNOWN_MAX {
            known.published.clear();
        }
        known.published.insert(key, (asked, published.clone()));
    }
    drop(known);
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
