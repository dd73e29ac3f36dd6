//! People and programs that come: invitations, links, API keys. What they become is records.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::permission::{
    self, EVERYTHING, KeysWrite, Myself, Named, PeopleImpersonate, PeopleProvision, PeopleWrite, Permission as _,
    UsersWrite,
};
use windlass_store::{CameWith, Holds, Joining, NewApiKey, NewInvitation, NewSession};

use super::sign_in::{self, Deliver, SignedIn};
use crate::{
    app::App,
    auth::{Asked, Authorized},
    extract::{self, Body, NoBody, PathOf, PathParts},
    openapi::schema,
    problem::{FieldError, Problem},
    reply::{self, Reply},
    token::{self, SecretKind, TokenHash},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const INVITATION_DAYS_MAX: u32 = 30;
const REASON_CHARS_MAX: usize = 500;
/// How long somebody acts in another's name when nobody says.
const IMPERSONATION: Duration = Duration::from_secs(3_600);
const KEY_DAYS_MAX: u32 = 3_650;
const REQUESTS_PER_MINUTE_MAX: u32 = 1_000_000;

/// Every permission there is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Permissions {
    /// By name.
    #[schema(value_type = Vec<schema::Json>)]
    pub items: &'static [Named],
}

/// Every permission that roles and keys may name.
#[utoipa::path(get, path = "/permissions", tag = "people", responses((status = 200, body = Permissions)))]
pub async fn list_permissions(_: Authorized<Myself>) -> Reply {
    reply::ok(&Permissions { items: permission::all() })
}

/// Whom to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteBody {
    /// The address.
    email: String,
    /// The name of the role that it gets.
    role: String,
    /// Days for which the link works: what `invitation_days` says when left out, 30 at most.
    days: Option<u32>,
}

/// An invitation, with its link: shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct Invited {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// Who.
    pub email: String,
    /// With which role.
    pub role: String,
    /// What to hand over: it works once.
    #[schema(format = Password)]
    pub link: String,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Invite somebody with a role.
#[utoipa::path(post, path = "/invitations", tag = "people", request_body = InviteBody,
    responses((status = 201, body = Invited)))]
pub async fn invite(
    caller: Authorized<PeopleWrite>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<InviteBody>,
) -> Reply {
    let days = match body.days {
        Some(count) => days(count, INVITATION_DAYS_MAX)?,
        None => app.bounds(caller.tenant()).await?.people.invitation,
    };
    let role = app.store().role_by_name(caller.tenant(), &body.role).await?;
    let Some((role, permissions)) = role else {
        return Err(field("/role", format!("there is no role `{}`: `GET /api/v1/roles` lists them", body.role)));
    };
    if let Some(lacking) = caller.identity().holds.lacks(&permissions) {
        return Err(field("/role", format!("it allows `{lacking}`, which you may not do yourself")));
    }
    let email = body.email.trim().to_lowercase();
    let right = windlass_resource::patterns::EMAIL.compiled().is_some_and(|pattern| pattern.is_match(&email));
    if !right || email.chars().count() > 254 {
        return Err(field("/email", "must be an e-mail address of at most 254 characters".to_owned()));
    }
    let link = token::secret(SecretKind::Invitation)?;
    let expires_at = app.store().now().after(days);
    let new = NewInvitation { email: email.clone(), role, hash: *TokenHash::of(&link).as_bytes(), expires_at };
    let id = app.store().add_invitation(caller.tenant(), new, caller.signed(&asked)).await?;
    reply::json(StatusCode::CREATED, &Invited { id, email, role: body.role, link, expires_at })
}

/// Who joins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptBody {
    /// The link of the invitation.
    link: String,
    /// What people call somebody new.
    name: Option<String>,
    /// The password: a new one for somebody new, his own of somebody who is a user already.
    password: String,
    /// A code of the second factor, of a user who has one; or a recovery code.
    code: Option<String>,
    /// How the session is handed over.
    #[serde(default)]
    deliver: Deliver,
}

/// Accept an invitation, and be signed in.
#[utoipa::path(post, path = "/invitations/accept", tag = "people", request_body = AcceptBody,
    responses((status = 200, body = SignedIn)))]
pub async fn accept(State(app): State<App>, asked: Asked, headers: HeaderMap, Body(body): Body<AcceptBody>) -> Reply {
    app.attempts().attempt(asked.address, None).await?;
    let hash = *TokenHash::of(&body.link).as_bytes();
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such invitation that is still open");
    let email = app.store().invited(hash).await?.ok_or_else(unknown)?;
    let by = |email: &str| asked.named(format!("person:{email}"), Holds::These(std::sync::Arc::default()));
    let (joining, known) = match app.store().account_by_email(&email).await? {
        Some(_) => {
            let account = sign_in::by_password(&app, &asked, (&email, &body.password)).await?;
            let joining = Joining { name: account.name.clone(), password_hash: None, by: by(&email) };
            (joining, Some(sign_in::pass_second_factor(&app, &asked, (account, body.code.as_deref())).await?))
        }
        None => {
            let name = body.name.map(|name| name.trim().to_owned()).unwrap_or_default();
            if name.is_empty() || name.chars().count() > 200 {
                return Err(field("/name", "must have 1 to 200 characters".to_owned()));
            }
            let chars_min = app.bounds(TenantKey::DEFAULT).await?.people.password_chars_min;
            app.passwords().check_new(&body.password, &email, chars_min).await?;
            let password_hash = Some(app.passwords().hash(&body.password).await?);
            (Joining { name, password_hash, by: by(&email) }, None)
        }
    };
    let joined = app.store().accept_invitation(hash, joining).await?;
    let person = match known {
        Some(person) => person,
        None => {
            let account = app.store().account(joined.user).await?.ok_or_else(unknown)?;
            sign_in::pass_second_factor(&app, &asked, (account, None)).await?
        }
    };
    let all = app.store().memberships(joined.user).await?;
    let place = all.into_iter().find(|it| it.tenant == joined.tenant).ok_or_else(unknown)?;
    sign_in::begin(&app, (&asked, &headers), (&person, &place), ("invitation", body.deliver)).await
}

/// The id of a user in an address.
pub struct UserPath(pub Uuid);

impl PathParts for UserPath {
    fn read(parts: &[&str]) -> Result<UserPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "user").map(UserPath)
    }
}

/// A link that signs in once.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkMade {
    /// The link: shown this once.
    #[schema(format = Password)]
    pub link: String,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Make a link that signs a user in, once, within an hour (`sign_in_link_minutes`): for whoever lost the password.
#[utoipa::path(post, path = "/users/{id}/link", tag = "people", params(("id" = String, Path)),
    responses((status = 201, body = LinkMade)))]
pub async fn make_link(
    caller: Authorized<UsersWrite>,
    State(app): State<App>,
    PathOf(UserPath(user)): PathOf<UserPath>,
    asked: Asked,
    _: NoBody,
) -> Reply {
    app.store().account(user).await?.ok_or_else(|| Problem::not_found("user"))?;
    let link = token::secret(SecretKind::Link)?;
    let lasts = app.bounds(caller.tenant()).await?.people.sign_in_link;
    let expires_at = app.store().now().after(lasts);
    app.store().add_link(user, *TokenHash::of(&link).as_bytes(), (expires_at, caller.signed(&asked))).await?;
    reply::json(StatusCode::CREATED, &LinkMade { link, expires_at })
}

/// The id of a member in an address.
pub struct MemberPath(Uuid);

impl PathParts for MemberPath {
    fn read(parts: &[&str]) -> Result<MemberPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "member").map(MemberPath)
    }
}

/// Why somebody acts in another's name, and how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImpersonateBody {
    /// Why, in 1 to 500 characters: the member sees it, and it stands in the audit.
    reason: String,
    /// Minutes after which it ends: 60 when left out, at most 480 or what `impersonation_minutes_max` says; and with the
    /// caller's own session at the latest.
    minutes: Option<u32>,
}

/// A session in another's name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Impersonation {
    /// Its id.
    #[schema(value_type = String)]
    pub session: Uuid,
    /// In whose name.
    pub email: String,
    /// The session's token: shown this once.
    #[schema(format = Password)]
    pub token: String,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Act in the name of a member, who may do nothing that the caller may not. Whatever is done bears both names.
#[utoipa::path(post, path = "/members/{id}/impersonate", tag = "people", params(("id" = String, Path)),
    request_body = ImpersonateBody, responses((status = 201, body = Impersonation)))]
pub async fn impersonate(
    caller: Authorized<PeopleImpersonate>,
    State(app): State<App>,
    PathOf(MemberPath(member)): PathOf<MemberPath>,
    asked: Asked,
    Body(body): Body<ImpersonateBody>,
) -> Reply {
    let found = app.store().active_member(caller.tenant(), member).await?;
    let (user, allowed) = found.ok_or_else(|| Problem::not_found("member"))?;
    let account = app.store().account(user).await?.ok_or_else(|| Problem::not_found("member"))?;
    let own = match caller.identity().with.as_deref() {
        Some(CameWith::Session { id, user, .. }) => {
            app.store().sessions_of(*user).await?.into_iter().find(|it| it.id == *id && it.active)
        }
        _ => None,
    };
    let Some(own) = own else {
        return Err(Problem::conflict("no_session", "a person acts in another's name, and this is none"));
    };
    if caller.identity().member() == Some(member) {
        return Err(Problem::conflict("oneself", "that is you"));
    }
    if let Some(lacking) = caller.identity().lacks(&allowed) {
        let detail = format!("the member may do `{lacking}`, which you may not do yourself");
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(field("/reason", format!("must have 1 to {REASON_CHARS_MAX} characters")));
    }
    let most = app.bounds(caller.tenant()).await?.people.impersonation;
    let lasts = match body.minutes {
        Some(minutes) => MINUTE.saturating_mul(minutes),
        None => IMPERSONATION.min(most),
    };
    if lasts.is_zero() || lasts > most {
        return Err(field("/minutes", format!("must be 1 to {}", most.as_secs() / 60)));
    }
    let token = token::secret(SecretKind::Session)?;
    let expires_at = app.store().now().after(lasts).min(own.expires_at);
    let new = NewSession {
        user,
        hash: *TokenHash::of(&token).as_bytes(),
        method: own.method,
        acting: Some((own.id, reason)),
        address: asked.address.map(|address| address.to_string()),
        expires_at,
    };
    let session = app.store().add_session(caller.tenant(), new, caller.signed(&asked)).await?;
    reply::json(StatusCode::CREATED, &Impersonation { session, email: account.email, token, expires_at })
}

/// What key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// What people call it.
    name: String,
    /// What it may do; `*` is everything that its maker may. Of a provider's key: `people.provision`, or nothing.
    #[serde(default)]
    scopes: Vec<String>,
    /// The name of the identity provider that provisions people with it, by SCIM. Such a key is the provider's and nobody
    /// else's, and whoever makes it may do everything in the tenant.
    provider: Option<String>,
    /// Days after which it ends; never when left out.
    days: Option<u32>,
    /// Requests that it may send in a minute, over all servers.
    requests_per_minute: Option<u32>,
}

/// An API key, with its text: shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyMade {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// How it begins.
    pub prefix: String,
    /// The key itself.
    #[schema(format = Password)]
    pub key: String,
    /// Until when.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
}

/// Make an API key. It never does more than its maker may; one for an identity provider provisions people and groups.
#[utoipa::path(post, path = "/api-keys", tag = "people", request_body = KeyBody,
    responses((status = 201, body = KeyMade)))]
pub async fn make_key(
    caller: Authorized<KeysWrite>,
    State(app): State<App>,
    asked: Asked,
    Body(mut body): Body<KeyBody>,
) -> Reply {
    let identity = caller.identity();
    let provider = provider_of(&app, &caller, &mut body).await?;
    let owned = identity.member().is_some();
    let all = owned || matches!(identity.holds, Holds::Everything);
    for (at, scope) in body.scopes.iter().enumerate() {
        let known = permission::all().iter().any(|it| it.name == scope) || scope == EVERYTHING;
        let may = if scope == EVERYTHING { all } else { !identity.reach(scope).is_nowhere() };
        if !known || !may {
            let why = if known { "is more than you may do yourself" } else { "is no permission" };
            return Err(field(&format!("/scopes/{at}"), format!("`{scope}` {why}")));
        }
    }
    if body.scopes.is_empty() || body.scopes.len() > permission::all().len() {
        return Err(field("/scopes", "must name at least one permission, and none twice".to_owned()));
    }
    if body.name.trim().is_empty() || body.name.chars().count() > 200 {
        return Err(field("/name", "must have 1 to 200 characters".to_owned()));
    }
    if body.requests_per_minute.is_some_and(|rate| rate == 0 || rate > REQUESTS_PER_MINUTE_MAX) {
        return Err(field("/requests_per_minute", format!("must be 1 to {REQUESTS_PER_MINUTE_MAX}")));
    }
    let expires_at = match body.days {
        Some(count) => Some(app.store().now().after(days(count, KEY_DAYS_MAX)?)),
        None => None,
    };
    let key = token::secret(SecretKind::Key)?;
    let id = token::id_of(&key).map_or_else(Uuid::now_v7, |id| id.uuid());
    let (name, prefix) = (body.name, token::prefix(&key));
    let new = NewApiKey {
        id,
        name: name.clone(),
        prefix: prefix.clone(),
        hash: *TokenHash::of(&key).as_bytes(),
        scopes: body.scopes,
        member: identity.member().filter(|_| provider.is_none()),
        provider,
        per_minute: body.requests_per_minute,
        expires_at,
    };
    app.store().create_api_key(caller.actor(asked), new).await?;
    reply::json(StatusCode::CREATED, &KeyMade { id, name, prefix, key, expires_at })
}

/// The identity provider that a key is for. It may provision people, and nothing else; and nothing else may do that.
async fn provider_of(app: &App, caller: &Authorized<KeysWrite>, body: &mut KeyBody) -> Result<Option<Uuid>, Problem> {
    let of_providers = |scope: &String| scope == PeopleProvision::NAME;
    let Some(name) = &body.provider else {
        return match body.scopes.iter().position(of_providers) {
            Some(at) => {
                Err(field(&format!("/scopes/{at}"), "is for keys of an identity provider: give `provider`".to_owned()))
            }
            None => Ok(None),
        };
    };
    let found = app.store().provider_id(caller.tenant(), name).await?;
    let provider = found.ok_or_else(|| field("/provider", "there is no such identity provider".to_owned()))?;
    if let Some(why) = app.store().not_a_keeper(caller.tenant(), caller.identity().holds.clone()).await? {
        return Err(field("/provider", format!("whoever has its key puts people into groups as he likes: {why}")));
    }
    if body.scopes.is_empty() {
        body.scopes.push(PeopleProvision::NAME.to_owned());
    }
    match body.scopes.iter().position(|scope| !of_providers(scope)) {
        Some(at) => {
            let detail = format!("a provider's key may do `{}` alone", PeopleProvision::NAME);
            Err(field(&format!("/scopes/{at}"), detail))
        }
        None => Ok(Some(provider)),
    }
}

/// Delete a user: its memberships, sessions, keys and identities end at once, in all tenants, and its address is free.
#[utoipa::path(delete, path = "/users/{id}", tag = "people", params(("id" = String, Path)),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete_user(
    caller: Authorized<UsersWrite>,
    State(app): State<App>,
    PathOf(UserPath(user)): PathOf<UserPath>,
    asked: Asked,
    _: NoBody,
) -> Reply {
    if matches!(caller.identity().with.as_deref(), Some(CameWith::Session { user: own, .. }) if *own == user) {
        return Err(Problem::conflict("oneself", "that is you: somebody else deletes you"));
    }
    app.store().delete_user(user, caller.signed(&asked)).await?;
    Ok(sign_in::no_content())
}

fn days(count: u32, most: u32) -> Result<Duration, Problem> {
    match count {
        1.. if count <= most => Ok(DAY * count),
        _ => Err(field("/days", format!("must be 1 to {most}"))),
    }
}

pub(super) fn field(pointer: &str, message: String) -> Problem {
    let error = FieldError { pointer: pointer.to_owned(), message, ..FieldError::default() };
    Problem::invalid("invalid_input", "the body is refused").with_errors(vec![error])
}
