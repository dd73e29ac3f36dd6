//! Delegations: a tenant lets people of another one act in it. Those that it gave are records; here is how they are
//! offered, accepted, and come by.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_resource::permission::{PeopleDelegate, PeopleRead, PeopleWrite, Permission};
use windlass_store::{CameWith, NewDelegation, NewSession, OfferedDelegation, ReceivedDelegation, Tenant};

use super::{people::field, sign_in::no_content};
use crate::{
    app::App,
    auth::{Asked, Authorized},
    extract::{self, Body, BodyOrDefault, NoBody, PathOf, PathParts},
    problem::Problem,
    reply::{self, Reply},
    token::{self, SecretKind, TokenHash},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// How long a delegation lasts when nobody says, and at most.
const DAYS: u32 = 30;
const DAYS_MAX: u32 = 366;
/// How long a session lasts that came by one, when nobody says, and at most.
const MINUTES: u32 = 60;
const MINUTES_MAX: u32 = 480;
const REASON_CHARS_MAX: usize = 500;

/// What to let people of another tenant do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegateBody {
    /// The name of the role with which they act.
    role: String,
    /// Why, in 1 to 500 characters: both tenants see it.
    reason: String,
    /// Days after which it ends: 30 when left out, 366 at most.
    days: Option<u32>,
}

/// A delegation, with its link: shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct Offered {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// With which role.
    pub role: String,
    /// What to hand over to an administrator of the other tenant: it works once.
    #[schema(format = Password)]
    pub link: String,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Offer a delegation: whoever accepts its link for his tenant, that tenant's people may act in this one.
#[utoipa::path(post, path = "/delegations", tag = "people", request_body = DelegateBody,
    responses((status = 201, body = Offered)))]
pub async fn delegate(
    caller: Authorized<PeopleWrite>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<DelegateBody>,
) -> Reply {
    let days = body.days.unwrap_or(DAYS);
    if days == 0 || days > DAYS_MAX {
        return Err(field("/days", format!("must be 1 to {DAYS_MAX}")));
    }
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(field("/reason", format!("must have 1 to {REASON_CHARS_MAX} characters")));
    }
    let Some((role, permissions)) = app.store().role_by_name(caller.tenant(), &body.role).await? else {
        return Err(field("/role", format!("there is no role `{}`: `GET /api/v1/roles` lists them", body.role)));
    };
    if let Some(lacking) = caller.identity().holds.lacks(&permissions) {
        return Err(field("/role", format!("it allows `{lacking}`, which you may not do yourself")));
    }
    let link = token::secret(SecretKind::Delegation)?;
    let expires_at = app.store().now().after(DAY.saturating_mul(days));
    let new = NewDelegation { role, reason, hash: *TokenHash::of(&link).as_bytes(), expires_at };
    let id = app.store().add_delegation(caller.tenant(), new, caller.signed(&asked)).await?;
    reply::json(StatusCode::CREATED, &Offered { id, role: body.role, link, expires_at })
}

/// A delegation to the caller's tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Received {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// The tenant that lets people of this one act in it, by its name in commands.
    pub tenant: String,
    /// The name of the role that they have there.
    pub role: String,
    /// What they may do there.
    pub permissions: Vec<String>,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schema(value_type = Option<String>)]
    pub accepted_at: Option<Timestamp>,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

impl From<ReceivedDelegation> for Received {
    fn from(it: ReceivedDelegation) -> Received {
        let ReceivedDelegation { offered, permissions, reason, accepted_at, expires_at } = it;
        let OfferedDelegation { id, slug, role, .. } = offered;
        Received { id, tenant: slug, role, permissions, reason, accepted_at, expires_at }
    }
}

/// All delegations to the caller's tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllReceived {
    /// In the order in which they were offered.
    pub items: Vec<Received>,
}

/// The link of a delegation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptDelegationBody {
    /// What the other tenant handed over.
    link: String,
}

/// Accept a delegation for the caller's tenant: its people who may (`people.delegate`) act in the other one then.
#[utoipa::path(post, path = "/received-delegations", tag = "people", request_body = AcceptDelegationBody,
    responses((status = 201, body = Received)))]
pub async fn accept_delegation(
    caller: Authorized<PeopleWrite>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<AcceptDelegationBody>,
) -> Reply {
    app.attempts().attempt(asked.address, None).await?;
    let offered = app.store().offered_delegation(*TokenHash::of(&body.link).as_bytes()).await?;
    let offered = offered.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such delegation that is still open")
    })?;
    if offered.tenant == caller.tenant() {
        return Err(Problem::conflict("oneself", "that is a delegation of this tenant: another one accepts it"));
    }
    let home = home(&app, &caller).await?;
    let received = app.store().accept_delegation(&offered, &home, caller.signed(&asked)).await?;
    reply::json(StatusCode::CREATED, &Received::from(received))
}

/// The delegations to the caller's tenant that hold now.
#[utoipa::path(get, path = "/received-delegations", tag = "people", responses((status = 200, body = AllReceived)))]
pub async fn list_received(caller: Authorized<PeopleRead>, State(app): State<App>) -> Reply {
    let all = app.store().received_delegations(caller.tenant()).await?;
    reply::ok(&AllReceived { items: all.into_iter().map(Received::from).collect() })
}

/// The id of a delegation in an address.
pub struct DelegationPath(Uuid);

impl PathParts for DelegationPath {
    fn read(parts: &[&str]) -> Result<DelegationPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "delegation").map(DelegationPath)
    }
}

/// How long to act there.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnterBody {
    /// Minutes after which it ends: 60 when left out, 480 at most; and with the delegation and the caller's own session at the latest.
    minutes: Option<u32>,
}

/// A session in the other tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entered {
    /// Its id.
    #[schema(value_type = String)]
    pub session: Uuid,
    /// The tenant, by its name in commands.
    pub tenant: String,
    /// The session's token: shown this once.
    #[schema(format = Password)]
    pub token: String,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Act in the tenant of a delegation: begins a session there, in the caller's own name.
#[utoipa::path(post, path = "/received-delegations/{id}/enter", tag = "people", params(("id" = String, Path)),
    request_body = Option<EnterBody>, responses((status = 201, body = Entered)))]
pub async fn enter_delegation(
    caller: Authorized<PeopleDelegate>,
    State(app): State<App>,
    PathOf(DelegationPath(id)): PathOf<DelegationPath>,
    asked: Asked,
    BodyOrDefault(body): BodyOrDefault<EnterBody>,
) -> Reply {
    let given = given(&app, &caller, id).await?;
    let own = match caller.identity().with.as_deref() {
        Some(CameWith::Session { id, user, acting: None, .. }) => {
            app.store().sessions_of(*user).await?.into_iter().find(|it| it.id == *id && it.active).zip(Some(*user))
        }
        _ => None,
    };
    let Some((own, user)) = own else {
        return Err(Problem::conflict(
            "no_session",
            "a person acts in another tenant, in his own name, and this is none",
        ));
    };
    let minutes = body.minutes.unwrap_or(MINUTES);
    if minutes == 0 || minutes > MINUTES_MAX {
        return Err(field("/minutes", format!("must be 1 to {MINUTES_MAX}")));
    }
    let token = token::secret(SecretKind::Session)?;
    let expires_at = app.store().now().after(MINUTE.saturating_mul(minutes)).min(own.expires_at).min(given.expires_at);
    let new = NewSession {
        user,
        hash: *TokenHash::of(&token).as_bytes(),
        method: own.method,
        acting: None,
        address: asked.address.map(|address| address.to_string()),
        expires_at,
    };
    let home = home(&app, &caller).await?;
    let session = app.store().enter((&home, &given.offered), (new, own.id), caller.signed(&asked)).await?;
    reply::json(StatusCode::CREATED, &Entered { session, tenant: given.offered.slug, token, expires_at })
}

/// Give a delegation back: nobody of this tenant comes by it any more, and whoever did is out at once.
#[utoipa::path(delete, path = "/received-delegations/{id}", tag = "people", params(("id" = String, Path)),
    responses((status = 204, description = "It is over")))]
pub async fn return_delegation(
    caller: Authorized<PeopleWrite>,
    State(app): State<App>,
    PathOf(DelegationPath(id)): PathOf<DelegationPath>,
    asked: Asked,
    _: NoBody,
) -> Reply {
    let (given, home) = (given(&app, &caller, id).await?, home(&app, &caller).await?);
    app.store().return_delegation(&home, &given.offered, caller.signed(&asked)).await?;
    Ok(no_content())
}

async fn given<P: Permission>(app: &App, caller: &Authorized<P>, id: Uuid) -> Result<ReceivedDelegation, Problem> {
    let all = app.store().received_delegations(caller.tenant()).await?;
    all.into_iter().find(|it| it.offered.id == id).ok_or_else(|| Problem::not_found("delegation"))
}

async fn home<P: Permission>(app: &App, caller: &Authorized<P>) -> Result<Tenant, Problem> {
    app.store().tenant_by_key(caller.tenant()).await?.ok_or_else(|| Problem::not_found("tenant"))
}
