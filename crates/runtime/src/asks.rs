//! What a document asks for beyond its own workflow and runs: what its author is asked for, for a run has no rights of
//! its own.

use std::{collections::BTreeSet, sync::Arc};

use serde::de::DeserializeOwned;
use windlass_definition::{
    Template,
    compile::Compiled,
    plan::StepKind,
    source::Format,
    step_types::{StateOperation, StateScope},
};
use windlass_engine::id::TenantKey;

use crate::{
    error::RuntimeError,
    plans::{self, literal},
    runtime::Runtime,
    workflows::format_of,
};

/// Something that a document asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Secrets or credentials of the tenant.
    Secrets,
    /// To start that workflow.
    Start(Arc<str>),
    /// To start a workflow whose name is worked out when it runs.
    StartAny,
    /// To emit events, which every workflow of the tenant may hear.
    Emit,
    /// To read state that the tenant shares.
    ReadShared,
    /// To change it.
    ChangeShared,
}

fn of(compiled: &Compiled) -> BTreeSet<Ask> {
    let mut asks: BTreeSet<Ask> = plans::starts(&compiled.plan).into_iter().map(Ask::Start).collect();
    if compiled.uses_secrets() {
        asks.insert(Ask::Secrets);
    }
    for step in &compiled.plan.steps {
        asks.extend(of_step(&step.type_name, &step.kind));
        asks.extend(step.undo.as_ref().and_then(|undo| of_step(&undo.type_name, &undo.kind)));
    }
    asks
}

fn of_step(type_name: &str, kind: &StepKind) -> Option<Ask> {
    match (type_name, kind) {
        (_, StepKind::Workflow { with }) => literal(with, "name").is_none().then_some(Ask::StartAny),
        ("emit", _) => Some(Ask::Emit),
        // What is not written out may be anything.
        ("state", StepKind::Action { with }) => match (word(with, "scope"), word(with, "op")) {
            (Some(StateScope::Run | StateScope::Workflow), _) => None,
            (_, Some(StateOperation::Get)) => Some(Ask::ReadShared),
            _ => Some(Ask::ChangeShared),
        },
        _ => None,
    }
}

fn word<T: DeserializeOwned>(with: &Template, name: &str) -> Option<T> {
    serde_json::from_value(serde_json::to_value(literal(with, name)?).ok()?).ok()
}

impl Runtime {
    /// What a document asks for; one that does not compile asks for nothing.
    pub fn asks(&self, source: &str, format: Format) -> BTreeSet<Ask> {
        self.check(source, format).map(|compiled| of(&compiled)).unwrap_or_default()
    }

    /// What the draft of a workflow asks for.
    ///
    /// # Errors
    /// There is no such workflow.
    pub async fn draft_asks(&self, tenant: TenantKey, name: &str) -> Result<BTreeSet<Ask>, RuntimeError> {
        let row = self.core.store.workflow(tenant, name).await?;
        let draft = row.ok_or_else(|| RuntimeError::not_found("workflow", name))?.draft;
        Ok(self.asks(&draft, format_of(&draft)))
    }
}

#[cfg(test)]
mod tests {
    use windlass_definition::{step_type::StepTypes, step_types};

    use super::*;

    fn asked(steps: &str) -> Vec<Ask> {
        let text = format!("name: own\nsteps: [{steps}]\n");
        let types = StepTypes::new(step_types::built_in());
        let compiled = windlass_definition::compile(&text, Format::Yaml, &types);
        of(&compiled.unwrap_or_else(|errors| panic!("{errors:?}"))).into_iter().collect()
    }

    #[test]
    fn a_document_asks_for_what_its_steps_do() {
        let state = |with: &str| format!("{{ id: a, type: state, with: {{ key: k, {with} }} }}");
        for (steps, asks) in [
            ("{ id: a, type: log, with: { message: a } }".to_owned(), vec![]),
            ("{ id: a, type: workflow, with: { name: other } }".to_owned(), vec![Ask::Start("other".into())]),
            ("{ id: a, type: workflow, with: { name: own } }".to_owned(), vec![]),
            ("{ id: a, type: workflow, with: { name: '${{ input.name }}' } }".to_owned(), vec![Ask::StartAny]),
            (state("op: get"), vec![]),
            (state("op: set, value: 1, scope: workflow"), vec![]),
            (state("op: get, scope: tenant"), vec![Ask::ReadShared]),
            (state("op: set, value: 1, scope: tenant"), vec![Ask::ChangeShared]),
            (
                "{ id: a, type: workflow, with: { name: b }, undo: { type: workflow, with: { name: c } } }".to_owned(),
                vec![Ask::Start("b".into()), Ask::Start("c".into())],
            ),
        ] {
            assert_eq!(asked(&steps), asks, "{steps}");
        }
    }
}
