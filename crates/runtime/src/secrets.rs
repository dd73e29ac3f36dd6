//! Secrets on their way into a step: resolved here, at the last moment, for one attempt.
//!
//! Invariant: what comes out of here goes to the step's code alone. The journal, the run and its views have the
//! expressions, and everything that an attempt gives back is looked through for the values.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map as JsonMap, Value as Json};
use uuid::Uuid;
use windlass_definition::{
    Class, Error, Template, Timestamp, Value,
    expression::Scope,
    plan::{Plan, StepKind},
};
use windlass_engine::{effect::RunStep, id::TenantKey};
use windlass_store::{Found, Kept, KeptCredential, Store, StoreError};

use crate::{core::Core, dispatch::Order, redact::Redactor, step::StepFailure};

/// Makes of a credential what steps see, such as an access token; knows how to try one.
pub trait Credentials: Send + Sync {
    /// The fields as steps see them: those of the credential, and what can be got with it now.
    fn ready<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
    ) -> crate::step::Boxed<'a, Result<JsonMap<String, Json>, Error>>;

    /// Tries it, and says what was seen; what cannot be tried says so.
    fn test<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
    ) -> crate::step::Boxed<'a, CredentialTest>;
}

/// What trying a credential came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialTest {
    /// Whether it works.
    pub verdict: Verdict,
    /// What was tried, and what was seen.
    pub detail: String,
}

/// Whether a credential works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The other side took it.
    Works,
    /// The other side refused it, or was not there.
    Fails,
    /// Nothing was tried that would tell.
    Unknown,
}

impl Verdict {
    /// It in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Works => "works",
            Verdict::Fails => "fails",
            Verdict::Unknown => "unknown",
        }
    }
}

/// What an expression with secrets sees.
struct SecretScope<'a> {
    secrets: Value,
    step: &'a RunStep,
}

impl Scope for SecretScope<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "secrets").then(|| self.secrets.clone())
    }

    fn step(&self, _: &str) -> Option<Value> {
        None
    }

    fn now(&self) -> Timestamp {
        self.step.now
    }

    fn uuid(&self, place: u32) -> Uuid {
        let digest = windlass_store::blobs::sha256(format!("{}/{place}/uuid", self.step.key).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// The template of the `with` that an attempt was evaluated from, if it has secrets in it.
pub(crate) fn template_of<'a>(plan: &'a Plan, step: &RunStep) -> Option<&'a Template> {
    let of_plan = plan.step(step.step);
    let kind = match (&of_plan.undo, step.path.ends_with(":undo")) {
        (Some(undo), true) => &undo.kind,
        _ => &of_plan.kind,
    };
    match kind {
        StepKind::Action { with } if with.uses_secrets() => Some(with),
        _ => None,
    }
}

/// The `with` of an attempt as its code gets it.
pub(crate) async fn reveal(core: &Core, order: &Order) -> Result<Value, StepFailure> {
    let Some(template) = template_of(&order.plan, &order.step) else { return Ok(order.step.with.clone()) };
    revealed(core, order, template).await.map_err(StepFailure::nothing_sent)
}

async fn revealed(core: &Core, order: &Order, template: &Template) -> Result<Value, Error> {
    let names: Vec<Arc<str>> = template.secrets().into_iter().collect();
    let found = core.store.secrets_for(order.tenant, &order.workflow, &names).await.map_err(of_store)?;
    let mut secrets = BTreeMap::new();
    let mut values: Vec<String> = Vec::new();
    for (name, found) in found {
        let value = match found {
            Found::Missing => return Err(missing(&name)),
            Found::Empty => return Err(empty(&name)),
            Found::Kept(Kept::Secret(text)) => {
                values.push(text.to_string());
                Value::from(text.as_str())
            }
            Found::Kept(Kept::Credential(credential)) => {
                values.extend(secret_texts(&credential));
                let fields = match &core.catalogue.credentials {
                    Some(credentials) => credentials.ready(&core.store, order.tenant, &credential).await?,
                    None => fields_of(&credential),
                };
                // What was got with it, such as an access token, is as secret.
                let got = fields.iter().filter(|(name, _)| credential.fields.get(name.as_str()).is_none());
                values.extend(got.filter_map(|(_, value)| value.as_str()).map(str::to_owned));
                serde_json::from_value(Json::Object(fields)).unwrap_or_default()
            }
        };
        secrets.insert(name, value);
    }
    core.known.learn(order.tenant, values.iter().map(String::as_str));
    let scope = SecretScope { secrets: Value::map(secrets), step: &order.step };
    let mut derived: Vec<String> = Vec::new();
    let with = template.reveal(&order.step.with, &scope, &mut |value| derived.push(value.to_text().to_string()));
    core.known.learn(order.tenant, derived.iter().map(String::as_str));
    with
}

/// All fields of a credential, as they are kept.
pub fn fields_of(credential: &KeptCredential) -> JsonMap<String, Json> {
    let mut fields = credential.fields.as_object().cloned().unwrap_or_default();
    let secret: JsonMap<String, Json> = serde_json::from_str(&credential.secret_fields).unwrap_or_default();
    fields.extend(secret);
    fields
}

pub(crate) fn secret_texts(credential: &KeptCredential) -> Vec<String> {
    let secret: JsonMap<String, Json> = serde_json::from_str(&credential.secret_fields).unwrap_or_default();
    secret.values().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// What an attempt gives back, without the values that are known.
pub(crate) fn cleaned(
    redactor: Option<Arc<Redactor>>,
    result: Result<Value, StepFailure>,
) -> Result<Value, StepFailure> {
    let Some(redactor) = redactor else { return result };
    match result {
        Ok(value) => Ok(redactor.value(value)),
        Err(failure) => Err(StepFailure { error: redactor.error(failure.error), ..failure }),
    }
}

fn missing(name: &str) -> Error {
    let message = format!(
        "there is no secret `{name}`, or it belongs to a folder that this workflow is not in: make it with `windlass vault \
         secrets create` or `windlass vault credentials create`"
    );
    Error::new(Class::NotFound, "secret_missing", message)
}

fn empty(name: &str) -> Error {
    let message = format!("secret `{name}` has no value any more, because the vault was forgotten: give it one");
    Error::new(Class::NotFound, "secret_empty", message)
}

fn of_store(error: StoreError) -> Error {
    match error {
        StoreError::Locked(why) => Error::new(Class::Denied, "vault_locked", why),
        StoreError::Damaged(why) => Error::new(Class::Denied, "vault_damaged", why),
        error => Error::new(Class::Connect, "vault_unavailable", error.to_string()).retryable(),
    }
}
