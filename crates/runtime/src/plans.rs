//! Compiled plans in memory, by their content hash: runs pin a hash, and a plan never changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use windlass_definition::{
    Plan, Template, Value,
    plan::{PlanHash, StepKind},
    step_type::StepTypes,
};
use windlass_engine::id::TenantKey;
use windlass_store::{Store, StoreError};

use crate::error::{FieldError, RuntimeError};

/// Plans kept; the ones that no run uses go first.
const PLANS_MAX: usize = 1_024;

/// A plan, and what the runtime looks up in it again and again.
#[derive(Debug)]
pub(crate) struct CompiledPlan {
    pub(crate) plan: Arc<Plan>,
    /// The schemas of the signals that its `wait` steps name literally.
    signals: BTreeMap<Arc<str>, Value>,
}

impl CompiledPlan {
    pub(crate) fn new(plan: Arc<Plan>) -> CompiledPlan {
        let signals = plan.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Wait { with } => signal_schema(with),
            _ => None,
        });
        CompiledPlan { signals: signals.collect(), plan }
    }

    /// Checks a signal against the schema of the `wait` that it is for.
    pub(crate) fn check_signal(&self, name: &str, payload: &Value) -> Result<(), RuntimeError> {
        match self.signals.get(name) {
            Some(schema) => check(schema, payload, ""),
            None => Ok(()),
        }
    }
}

/// Checks a value that somebody sent against a schema; `pointer` says where it stood.
pub(crate) fn check(schema: &Value, value: &Value, pointer: &str) -> Result<(), RuntimeError> {
    let errors = windlass_definition::input::check(schema, value);
    if errors.is_empty() {
        return Ok(());
    }
    let field =
        |it: windlass_definition::input::InputError| FieldError::new(format!("{pointer}{}", it.pointer), it.message);
    Err(RuntimeError::Invalid { fields: errors.into_iter().map(field).collect() })
}

fn signal_schema(with: &Template) -> Option<(Arc<str>, Value)> {
    Some((literal(with, "signal")?.as_str()?.into(), literal(with, "schema")?))
}

/// What a field says that is no expression.
pub(crate) fn literal(with: &Template, name: &str) -> Option<Value> {
    match with {
        Template::Literal(value) => value.get(name).cloned(),
        Template::Map(entries) => entries.iter().find(|(key, _)| &**key == name).and_then(|(_, it)| match it {
            Template::Literal(value) => Some(value.clone()),
            _ => None,
        }),
        _ => None,
    }
}

/// The workflows that a plan starts as children, and to undo, as far as it names them literally; itself not.
pub(crate) fn starts(plan: &Plan) -> BTreeSet<Arc<str>> {
    let kinds = plan.steps.iter().flat_map(|step| [Some(&step.kind), step.undo.as_ref().map(|undo| &undo.kind)]);
    let names = kinds.flatten().filter_map(|kind| match kind {
        StepKind::Workflow { with } => literal(with, "name")?.as_str().map(Arc::from),
        _ => None,
    });
    names.filter(|name: &Arc<str>| *name != plan.name).collect()
}

/// The plans of this process.
#[derive(Debug)]
pub(crate) struct Plans {
    types: Arc<StepTypes>,
    known: Mutex<HashMap<PlanHash, Arc<CompiledPlan>>>,
}

impl Plans {
    pub(crate) fn new(types: Arc<StepTypes>) -> Plans {
        Plans { types, known: Mutex::default() }
    }

    /// Remembers a plan that was just compiled.
    pub(crate) fn learn(&self, plan: &Arc<Plan>) -> Arc<CompiledPlan> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PLANS_MAX {
            known.retain(|_, plan| Arc::strong_count(plan) > 1);
        }
        let fresh = || Arc::new(CompiledPlan::new(Arc::clone(plan)));
        Arc::clone(known.entry(plan.hash).or_insert_with(fresh))
    }

    fn get(&self, hash: PlanHash) -> Option<Arc<CompiledPlan>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned()
    }

    /// The plan of that hash, compiled from its stored document when it is not in memory.
    ///
    /// # Errors
    /// There is no such document, or it no longer compiles: a step type is missing on this server.
    pub(crate) async fn find(
        &self,
        store: &Store,
        tenant: TenantKey,
        hash: [u8; 32],
    ) -> Result<Arc<CompiledPlan>, RuntimeError> {
        if let Some(plan) = self.get(PlanHash(hash)) {
            return Ok(plan);
        }
        let found = store.definition(tenant, hash).await?;
        let document = found.ok_or_else(|| RuntimeError::not_found("plan", PlanHash(hash)))?;
        let document = String::from_utf8(document)
            .map_err(|_| StoreError::damaged(format!("document {} is no text", PlanHash(hash))))?;
        let types = Arc::clone(&self.types);
        let compiled = tokio::task::spawn_blocking(move || windlass_definition::compile_kept(&document, &types));
        let compiled = compiled.await.map_err(|error| RuntimeError::unavailable(error.to_string()))?;
        let compiled = compiled.map_err(|diagnostics| RuntimeError::Document { diagnostics })?;
        Ok(self.learn(&compiled.plan))
    }
}
