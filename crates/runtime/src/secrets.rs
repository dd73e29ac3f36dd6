//! Secrets on their way into a step: resolved here, at the last moment, for one attempt.
//!
//! Invariant: what comes out of here goes to the step's code alone. The journal, the run and its views have the
//! expressions, and everything that an attempt gives back is looked through for the values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde_json::{Map as JsonMap, Value as Json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_definition::{
    Class, Error, Template, Timestamp, Value,
    expression::Scope,
    plan::{Plan, StepKind},
};
use windlass_engine::{effect::RunStep, id::TenantKey};
use windlass_store::{Found, Hosts, Kept, KeptCredential, Store, StoreError};

use crate::{
    core::Core,
    dispatch::Order,
    plans::literal,
    redact::Redactor,
    step::{StepFailure, until_answered},
};

/// Makes of a credential what steps see, such as an access token; knows how to try one.
pub trait Credentials: Send + Sync {
    /// The fields as steps see them: those of the credential, and what can be got with it now. An attempt that is to
    /// stop waits no longer for a database that is away.
    fn ready<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
        stop: &'a CancellationToken,
    ) -> crate::step::Boxed<'a, Result<JsonMap<String, Json>, Error>>;

    /// Tries it, and says what was seen; what cannot be tried says so.
    fn test<'a>(
        &'a self,
        store: &'a Store,
        tenant: TenantKey,
        credential: &'a KeptCredential,
    ) -> crate::step::Boxed<'a, CredentialTest>;
}

/// A secret that may go to some hosts alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its name.
    pub secret: Arc<str>,
    /// To which.
    pub hosts: Hosts,
}

impl Bound {
    /// That of a secret; `None` when it may go anywhere.
    pub fn of(secret: &str, hosts: &Hosts) -> Option<Bound> {
        (!hosts.is_all()).then(|| Bound { secret: secret.into(), hosts: hosts.clone() })
    }
}

/// A credential that a step names, as its code uses it.
pub struct ReadyCredential {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub credential_type: String,
    /// Its fields, and what was got with it: `authorization`, `access_token`.
    pub fields: JsonMap<String, Json>,
}

impl fmt::Debug for ReadyCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCredential").field("name", &self.name).finish_non_exhaustive()
    }
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

/// The template of the `with` that an attempt was evaluated from.
fn template_of<'a>(plan: &'a Plan, step: &RunStep) -> Option<&'a Template> {
    let of_plan = plan.step(step.step);
    let kind = match (&of_plan.undo, step.path.ends_with(":undo")) {
        (Some(undo), true) => &undo.kind,
        _ => &of_plan.kind,
    };
    match kind {
        StepKind::Action { with } => Some(with),
        _ => None,
    }
}

/// What an attempt is given that its record does not have.
pub(crate) struct Revealed {
    /// Its `with`, with the values of secrets.
    pub(crate) with: Value,
    /// The credential that it names.
    pub(crate) credential: Option<ReadyCredential>,
    /// Where its secrets may go.
    pub(crate) bounds: Arc<[Bound]>,
}

/// What the code of an attempt gets.
pub(crate) async fn reveal(core: &Core, order: &Order) -> Result<Revealed, StepFailure> {
    let template = template_of(&order.plan, &order.step);
    // A `with` that comes from elsewhere, such as the run's input, names no credential: its author may not have been allowed to.
    let named = template.and_then(|template| credential_of(core, template, &order.step));
    match template.filter(|template| named.is_some() || template.uses_secrets()) {
        None => Ok(Revealed { with: order.step.with.clone(), credential: None, bounds: Arc::default() }),
        Some(template) => revealed(core, order, (template, named)).await.map_err(StepFailure::nothing_sent),
    }
}

/// The name of the credential that a document wrote into a `with`.
fn credential_of(core: &Core, template: &Template, step: &RunStep) -> Option<Arc<str>> {
    let fields = core.step_types.get(&step.type_name)?.credential_fields;
    fields.iter().find_map(|field| literal(template, field.name)?.as_str().map(Arc::from))
}

async fn revealed(
    core: &Core,
    order: &Order,
    (template, named): (&Template, Option<Arc<str>>),
) -> Result<Revealed, Error> {
    let in_expressions = template.secrets();
    let names: BTreeSet<Arc<str>> = in_expressions.iter().chain(&named).cloned().collect();
    let names: Vec<Arc<str>> = names.into_iter().collect();
    let find = || core.store.secrets_for(order.tenant, &order.workflow, &names);
    let found = until_answered(&order.stop, find, StoreError::is_away).await.map_err(of_store)?;
    let (mut secrets, mut credential, mut bounds) = (BTreeMap::new(), None, Vec::new());
    let mut values: Vec<String> = Vec::new();
    for (name, found) in found {
        let is_named = named.as_ref() == Some(&name);
        let value = match found {
            Found::Missing => return Err(missing(&name)),
            Found::OutOfReach => return Err(out_of_reach(&name)),
            Found::Empty => return Err(empty(&name)),
            Found::Kept(Kept::Secret(_)) if is_named => return Err(no_credential(&name)),
            Found::Kept(Kept::Secret(kept)) => {
                bounds.extend(Bound::of(&name, &kept.hosts));
                values.push(kept.value.to_string());
                Value::from(kept.value.as_str())
            }
            Found::Kept(Kept::Credential(kept)) => {
                bounds.extend(Bound::of(&name, &kept.hosts));
                // Known before anything is asked for with them: what is asked may fail and say so.
                core.known.learn(order.tenant, kept.secret_texts().iter().map(|text| text.as_str()));
                let fields = match &core.catalogue.credentials {
                    Some(credentials) => credentials.ready(&core.store, order.tenant, &kept, &order.stop).await?,
                    None => fields_of(&kept),
                };
                // What was got with it, such as an access token, is as secret.
                let got = fields.iter().filter(|(name, _)| kept.fields.get(name.as_str()).is_none());
                values.extend(got.filter_map(|(_, value)| value.as_str()).map(str::to_owned));
                if is_named {
                    let (name, credential_type) = (Arc::clone(&name), kept.credential_type);
                    credential = Some(ReadyCredential { name, credential_type, fields: fields.clone() });
                }
                serde_json::from_value(Json::Object(fields)).unwrap_or_default()
            }
        };
        if in_expressions.contains(&name) {
            secrets.insert(name, value);
        }
    }
    core.known.learn(order.tenant, values.iter().map(String::as_str));
    let scope = SecretScope { secrets: Value::map(secrets), step: &order.step };
    let mut derived: Vec<String> = Vec::new();
    let with = template.reveal(&order.step.with, &scope, &mut |value| derived.push(value.to_text().to_string()));
    core.known.learn(order.tenant, derived.iter().map(String::as_str));
    Ok(Revealed { with: with?, credential, bounds: bounds.into() })
}

/// All fields of a credential, as they are kept.
pub fn fields_of(credential: &KeptCredential) -> JsonMap<String, Json> {
    let mut fields = credential.fields.as_object().cloned().unwrap_or_default();
    let secret: JsonMap<String, Json> = serde_json::from_str(&credential.secret_fields).unwrap_or_default();
    fields.extend(secret);
    fields
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
        "there is no secret `{name}`: make it with `windlass vault secrets create` or `windlass vault credentials create`"
    );
    Error::new(Class::NotFound, "secret_missing", message)
}

fn out_of_reach(name: &str) -> Error {
    let message = format!(
        "secret `{name}` is for other workflows: share it with this one or its folder (`windlass vault secret-shares \
         create`, `windlass vault credential-shares create`), or look at its `folder_id`"
    );
    Error::new(Class::NotFound, "secret_missing", message)
}

fn no_credential(name: &str) -> Error {
    let message = format!(
        "`{name}` is a secret and no credential: make one of another name with `windlass vault credentials create`, or use \
         `${{{{ secrets.{name} }}}}` where its value belongs"
    );
    Error::new(Class::Validation, "credential_type", message)
}

/// What is told of a step whose secrets may go to some hosts alone, and which says nothing of where it takes them.
pub(crate) fn goes_anywhere(type_name: &str, bound: &Bound) -> Error {
    let Bound { secret, hosts } = bound;
    let message = format!(
        "secret `{secret}` may go to {hosts} alone (its `hosts`), and where a step of type `{type_name}` takes it cannot be known"
    );
    Error::new(Class::Denied, "secret_host", message)
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
