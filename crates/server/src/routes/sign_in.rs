//! Signing in and out, and who one is.

use std::time::Duration;

use axum::{
    body::Body as HttpBody,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{permission::Myself, records::people::USERS};
use windlass_store::{Account, By, CameWith, EndSessions, Holds, Membership, NewSession, OwnedSession};

use crate::{
    app::App,
    auth::{self, Asked, Authorized, COOKIE, second_factor},
    extract::{self, Body, NoBody, PathOf, PathParts},
    problem::Problem,
    reply::{self, Reply},
    token::{self, SecretKind, TokenHash},
};

/// Characters of an address by which somebody signs in.
const EMAIL_CHARS_MAX: usize = 254;

/// How a session is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Deliver {
    /// In the answer, for programs: `Authorization: Bearer <token>`.
    #[default]
    Token,
    /// As a cookie that scripts cannot read, for browsers.
    Cookie,
}

/// How somebody signs in: with address and password, or with a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    /// The address.
    email: Option<String>,
    /// The password.
    password: Option<String>,
    /// The link, which works once.
    link: Option<String>,
    /// A code of the second factor, of an account that has one; or a recovery code.
    code: Option<String>,
    /// The slug of the tenant; the first one that it is a member of when left out.
    tenant: Option<String>,
    /// How the session is handed over.
    #[serde(default)]
    deliver: Deliver,
}

/// Somebody is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedIn {
    /// By what it signed in.
    pub email: String,
    /// What people call it.
    pub name: String,
    /// The slug of the tenant.
    pub tenant: String,
    /// The session's token, unless it is a cookie: shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub token: Option<String>,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// Sign in with address and password, or with a link that works once.
#[utoipa::path(post, path = "/sign-in", tag = "people", request_body = SignInBody,
    responses((status = 200, body = SignedIn)))]
pub async fn sign_in(State(app): State<App>, asked: Asked, headers: HeaderMap, Body(body): Body<SignInBody>) -> Reply {
    let code = body.code.as_deref();
    let (person, method) = match (body.email, body.password, body.link) {
        (Some(email), Some(password), None) => {
            let account = by_password(&app, &asked, (&email, &password)).await?;
            (pass_second_factor(&app, &asked, (account, code)).await?, "password")
        }
        (None, None, Some(link)) => (by_link(&app, &asked, (&link, code)).await?, "link"),
        _ => return Err(Problem::invalid("invalid_body", "send `email` and `password`, or `link` alone")),
    };
    let place = place(&app, person.0.id, body.tenant.as_deref()).await?;
    if method == "password" && !app.bounds(place.tenant).await?.people.password_sign_in {
        let detail = format!(
            "the tenant `{}` lets nobody in by a password (its setting `password_sign_in`): use a sign-in link, or an \
             identity provider",
            place.slug
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "password_sign_in_off", detail));
    }
    begin(&app, (&asked, &headers), (&person, &place), (method, body.deliver)).await
}

/// Whoever had a session in this browser has another one now.
async fn end_old(app: &App, (asked, headers): (&Asked, &HeaderMap), account: &Account) -> Result<(), Problem> {
    if let Some(old) = auth::cookie(headers)
        && let Some(caller) = app.store().caller_of_session(*TokenHash::of(old).as_bytes()).await?
        && let CameWith::Session { id, .. } = caller.with
    {
        app.store().end_session(caller.tenant, id, signed(asked, account)).await?;
    }
    Ok(())
}

fn signed(asked: &Asked, account: &Account) -> By {
    asked.named(format!("person:{}", account.email), Holds::These(std::sync::Arc::default()))
}

/// Begins a session and hands it over.
pub(super) async fn begin(
    app: &App,
    asked: (&Asked, &HeaderMap),
    (person, place): (&Proven, &Membership),
    (method, deliver): (&'static str, Deliver),
) -> Reply {
    let begun = open(app, asked, (person, place), method).await?;
    let (cookie, expires_at) = ((deliver == Deliver::Cookie).then(|| session_cookie(&begun)), begun.expires_at);
    let token = (deliver == Deliver::Token).then_some(begun.token);
    let (email, name) = (person.0.email.clone(), person.0.name.clone());
    let mut response = reply::ok(&SignedIn { email, name, tenant: place.slug.clone(), token, expires_at })?;
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// A session that begins.
pub(super) struct Begun {
    token: String,
    lasts: Duration,
    expires_at: Timestamp,
}

/// Begins a session.
pub(super) async fn open(
    app: &App,
    (asked, headers): (&Asked, &HeaderMap),
    (Proven(account), place): (&Proven, &Membership),
    method: &'static str,
) -> Result<Begun, Problem> {
    end_old(app, (asked, headers), account).await?;
    let text = token::secret(SecretKind::Session)?;
    let lasts = app.bounds(place.tenant).await?.people.session;
    let expires_at = app.store().now().after(lasts);
    let new = NewSession {
        user: account.id,
        hash: *TokenHash::of(&text).as_bytes(),
        method: method.to_owned(),
        acting: None,
        address: asked.address.map(|address| address.to_string()),
        expires_at,
    };
    app.store().add_session(place.tenant, new, signed(asked, account)).await?;
    Ok(Begun { token: text, lasts, expires_at })
}

/// The cookie of a session.
pub(super) fn session_cookie(begun: &Begun) -> HeaderValue {
    auth::set_cookie(COOKIE, &begun.token, begun.lasts)
}

/// The account of that password.
///
/// # Errors
/// 401, the same whatever is wrong; 429 after too many attempts.
pub(super) async fn by_password(app: &App, asked: &Asked, (email, password): (&str, &str)) -> Result<Account, Problem> {
    let email = email.trim().to_lowercase();
    if email.chars().count() > EMAIL_CHARS_MAX || password.chars().count() > auth::PASSWORD_CHARS_MAX {
        return Err(refused());
    }
    app.attempts().attempt(asked.address, Some(&email)).await?;
    let account = app.store().account_by_email(&email).await?;
    let hash = account.as_ref().and_then(|it| it.password_hash.clone());
    let right = app.passwords().matches(password, hash.into_iter().collect()).await?;
    match account {
        Some(account) if right && account.active => {
            app.attempts().forgive(asked.address, &email).await?;
            Ok(account)
        }
        Some(account) => {
            note_failure(app, asked, &account).await?;
            Err(refused())
        }
        None => Err(refused()),
    }
}

/// A failure stands in the audit of each tenant that the account is a member of, or of the first one.
async fn note_failure(app: &App, asked: &Asked, account: &Account) -> Result<(), Problem> {
    let mut tenants: Vec<TenantKey> =
        app.store().memberships(account.id).await?.into_iter().map(|it| it.tenant).collect();
    if tenants.is_empty() {
        tenants.push(TenantKey::DEFAULT);
    }
    for tenant in tenants {
        let changes = json!({ "address": { "to": asked.address.map(|it| it.to_string()) } });
        let what = ("sign_in_failed", Some(account.id));
        app.store().note_event((tenant, &USERS), what, (signed(asked, account), changes)).await?;
    }
    Ok(())
}

/// Somebody who has shown everything that is asked for: nobody else begins a session.
pub(super) struct Proven(Account);

/// Lets somebody through who has no second factor, or came with a code of it.
///
/// # Errors
/// 401 `second_factor_required` without a code, 401 with a wrong one; 429 after too many.
pub(super) async fn pass_second_factor(
    app: &App,
    asked: &Asked,
    (account, code): (Account, Option<&str>),
) -> Result<Proven, Problem> {
    let Some(factor) = second_factor::asked_for(app, account.id).await? else { return Ok(Proven(account)) };
    let Some(code) = code else {
        let detail = "the account has a second factor: send a `code` of it as well";
        return Err(unauthorized("second_factor_required", detail));
    };
    if second_factor::take(app, (account.id, &factor), code).await? {
        return Ok(Proven(account));
    }
    note_failure(app, asked, &account).await?;
    Err(unauthorized("wrong_code", "that is no code of the second factor, or it was used before"))
}

async fn by_link(app: &App, asked: &Asked, (link, code): (&str, Option<&str>)) -> Result<Proven, Problem> {
    app.attempts().attempt(asked.address, None).await?;
    if SecretKind::of(link) != Some(SecretKind::Link) || link.len() > token::TOKEN_CHARS_MAX {
        return Err(refused());
    }
    let hash = *TokenHash::of(link).as_bytes();
    let user = app.store().linked(hash).await?.ok_or_else(refused)?;
    let account = app.store().account(user).await?.filter(|account| account.active).ok_or_else(refused)?;
    // It is used up only by whoever has shown the second factor too.
    let person = pass_second_factor(app, asked, (account, code)).await?;
    app.store().use_link(hash).await?.ok_or_else(refused)?;
    Ok(person)
}

/// One answer for all that is wrong with an attempt.
fn refused() -> Problem {
    unauthorized("sign_in_refused", "that is no account with this password, or no link that still works")
}

fn unauthorized(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"windlass\""))
}

/// Where somebody comes in.
pub(super) async fn place(app: &App, user: Uuid, tenant: Option<&str>) -> Result<Membership, Problem> {
    let all = app.store().memberships(user).await?;
    let found = match tenant {
        Some(slug) => all.into_iter().find(|it| it.slug == slug),
        None => all.into_iter().next(),
    };
    found.ok_or_else(|| {
        let detail = "the account is no active member of such a tenant that is not suspended";
        Problem::new(StatusCode::FORBIDDEN, "no_tenant", detail)
    })
}

/// Sign out: the session ends at once.
#[utoipa::path(post, path = "/sign-out", tag = "people", responses((status = 204, description = "Signed out")))]
pub async fn sign_out(caller: Authorized<Myself>, State(app): State<App>, asked: Asked, _: NoBody) -> Reply {
    let id = match caller.identity().with.as_deref() {
        Some(CameWith::Delegate { id, .. }) => *id,
        _ => session(&caller)?.0,
    };
    app.store().end_session(caller.tenant(), id, caller.signed(&asked)).await?;
    Ok(signed_out())
}

/// Sign out everywhere: all sessions of this user end at once, in all tenants, and what applications hold in its name; in
/// the one tenant alone whose identity provider let it in.
#[utoipa::path(post, path = "/sign-out/everywhere", tag = "people",
    responses((status = 204, description = "Signed out")))]
pub async fn sign_out_everywhere(caller: Authorized<Myself>, State(app): State<App>, asked: Asked, _: NoBody) -> Reply {
    let (_, user) = own_session(&caller)?;
    let within = by_provider(&caller).then(|| caller.tenant());
    app.store().end_sessions(EndSessions { user, except: None, within }, caller.signed(&asked)).await?;
    Ok(signed_out())
}

pub(super) fn no_content() -> Response {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn signed_out() -> Response {
    let mut response = no_content();
    response.headers_mut().insert(header::SET_COOKIE, auth::set_cookie(COOKIE, "", Duration::ZERO));
    response
}

/// A session of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnSession {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub is_this: bool,
    /// The slug of the tenant.
    pub tenant: String,
    /// By what it began.
    pub method: String,
    /// From where.
    pub address: Option<String>,
    /// With which program.
    pub user_agent: Option<String>,
    /// Since when.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Whether it lets in; one that does not is shown where somebody else acted.
    pub active: bool,
    /// Who acts in the caller's name, and why; null when it is the caller.
    #[schema(required)]
    pub acting: Option<ActsFor>,
}

/// Who acts in somebody's name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActsFor {
    /// Its name in the audit.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Sessions of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnSessions {
    /// The newest first; at most 1,000.
    pub items: Vec<OwnSession>,
}

/// Those that the caller may know of.
async fn own_sessions(app: &App, caller: &Authorized<Myself>, user: Uuid) -> Result<Vec<OwnedSession>, Problem> {
    let mut all = app.store().sessions_of(user).await?;
    all.retain(|it| it.tenant == caller.tenant() || !by_provider(caller));
    Ok(all)
}

/// Where the caller is signed in, and where others acted in its name: in all tenants, or in the one alone whose identity
/// provider let it in.
#[utoipa::path(get, path = "/me/sessions", tag = "people", responses((status = 200, body = OwnSessions)))]
pub async fn list_own_sessions(caller: Authorized<Myself>, State(app): State<App>) -> Reply {
    let (id, user) = own_session(&caller)?;
    let own = |it: OwnedSession| OwnSession {
        id: it.id,
        is_this: it.id == id,
        tenant: it.slug,
        method: it.method,
        address: it.address,
        user_agent: it.user_agent,
        created_at: it.created_at,
        expires_at: it.expires_at,
        active: it.active,
        acting: it.reason.map(|reason| ActsFor { who: it.created_by, reason }),
    };
    reply::ok(&OwnSessions { items: own_sessions(&app, &caller, user).await?.into_iter().map(own).collect() })
}

/// The id of a session in an address.
pub struct SessionPath(Uuid);

impl PathParts for SessionPath {
    fn read(parts: &[&str]) -> Result<SessionPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "session").map(SessionPath)
    }
}

/// End a session of the caller, at once.
#[utoipa::path(post, path = "/me/sessions/{id}/revoke", tag = "people", params(("id" = String, Path)),
    responses((status = 204, description = "It lets in no more")))]
pub async fn revoke_own_session(
    caller: Authorized<Myself>,
    State(app): State<App>,
    PathOf(SessionPath(id)): PathOf<SessionPath>,
    asked: Asked,
    _: NoBody,
) -> Reply {
    caller.itself()?;
    let Ok((_, user)) = session(&caller) else { return Err(Problem::not_found("session")) };
    let all = own_sessions(&app, &caller, user).await?;
    let found = all.into_iter().find(|it| it.id == id && it.active).ok_or_else(|| Problem::not_found("session"))?;
    app.store().end_session(found.tenant, id, caller.signed(&asked)).await?;
    Ok(no_content())
}

/// The session that the caller came in with, and whose it is.
fn session(caller: &Authorized<Myself>) -> Result<(Uuid, Uuid), Problem> {
    match caller.identity().with.as_deref() {
        Some(CameWith::Session { id, user, .. }) => Ok((*id, *user)),
        _ => Err(Problem::conflict("no_session", "this is about the session of a person, and there is none")),
    }
}

/// The same, where nobody else acts in its name.
pub(super) fn own_session(caller: &Authorized<Myself>) -> Result<(Uuid, Uuid), Problem> {
    caller.itself()?;
    session(caller)
}

/// The caller's account, for what asks for its password, if it has one.
///
/// # Errors
/// 401 when the password is wrong; 409 instead, and where there is none, when an identity provider opened the session: it
/// speaks for its own tenant, and what the account signs in with is about all of them.
pub(super) async fn with_password(
    app: &App,
    (caller, asked): (&Authorized<Myself>, &Asked),
    password: Option<&str>,
) -> Result<Account, Problem> {
    let (_, user) = own_session(caller)?;
    let account = app.store().account(user).await?.ok_or_else(|| Problem::not_found("user"))?;
    if account.password_hash.is_none() && !by_provider(caller) {
        return Ok(account);
    }
    let shown = by_password(app, asked, (&account.email, password.unwrap_or_default())).await;
    // The tenant's provider, which opened the session, does not learn whether there is a password.
    shown.map_err(|problem| match problem.status() {
        StatusCode::UNAUTHORIZED if by_provider(caller) => {
            let detail = "an identity provider opened the session, and the account has not this password, or none: sign in \
                          with a link for this";
            Problem::conflict("no_password", detail)
        }
        _ => problem,
    })
}

/// Whether an identity provider opened the caller's session: it is about its own tenant alone.
fn by_provider(caller: &Authorized<Myself>) -> bool {
    matches!(caller.identity().with.as_deref(), Some(CameWith::Session { by_provider: true, .. }))
}

/// What the caller may do in one place alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyPlace {
    /// `folder`, which is meant with those below it, or `workflow`.
    pub kind: &'static str,
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it may do there and not everywhere.
    pub permissions: Vec<String>,
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// Its name in the audit: `person:ada@example.org`, `token:ci`, `system`.
    pub who: String,
    /// The slug of the tenant in which it acts.
    pub tenant: String,
    /// Whether it shows a second factor when it signs in.
    pub second_factor: bool,
    /// Whether the tenant asks its members for one.
    pub second_factor_required: bool,
    /// Who acts in its name, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting: Option<ActsFor>,
    /// Everything that it may do there.
    pub permissions: Vec<&'static str>,
    /// What it may do besides, on folders and workflows alone.
    pub places: Vec<MyPlace>,
    /// The features that the tenant has: `api_keys`, `files`, `mcp`.
    pub features: Vec<&'static str>,
    /// The tenants that it is a member of; the one alone whose identity provider let it in.
    pub tenants: Vec<String>,
}

/// Who the caller is, and what it may do.
#[utoipa::path(get, path = "/me", tag = "people", responses((status = 200, body = Me)))]
pub async fn me(caller: Authorized<Myself>, State(app): State<App>) -> Reply {
    let identity = caller.identity();
    let all = windlass_resource::permission::all();
    let permissions = all.iter().map(|it| it.name).filter(|name| identity.may(name)).collect();
    let (tenants, second_factor) = match identity.with.as_deref() {
        Some(CameWith::Session { user, acting, second_factor, .. }) => {
            let mut all = app.store().memberships(*user).await?;
            // Whoever acts in somebody's name learns nothing of him elsewhere.
            all.retain(|it| it.tenant == caller.tenant() || !(by_provider(&caller) || acting.is_some()));
            let tenants = all.into_iter().map(|it| it.slug).collect();
            let has_one = match acting {
                Some(_) => *second_factor,
                None => second_factor::asked_for(&app, *user).await?.is_some(),
            };
            (tenants, has_one)
        }
        _ => (Vec::new(), false),
    };
    let here = app.store().tenant_by_key(caller.tenant()).await?;
    let tenant = here.map(|it| it.slug).unwrap_or_default();
    let acting = identity.acting().map(|it| ActsFor { who: format!("person:{}", it.email), reason: it.reason.clone() });
    let bounds = app.bounds(caller.tenant()).await?;
    let (features, second_factor_required) = (bounds.features.names(), bounds.people.second_factor_required);
    let places = places_of(&app, &caller).await?;
    let who = identity.who();
    reply::ok(&Me {
        who,
        tenant,
        second_factor,
        second_factor_required,
        acting,
        permissions,
        places,
        features,
        tenants,
    })
}

/// What the caller may do in places alone, by their names.
async fn places_of(app: &App, caller: &Authorized<Myself>) -> Result<Vec<MyPlace>, Problem> {
    let Holds::These(rights) = &caller.identity().holds else { return Ok(Vec::new()) };
    if rights.places.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = rights.places.keys().copied().collect();
    let mut places = Vec::new();
    for place in app.store().named_places(caller.tenant(), &ids).await? {
        let allowed = rights.places.get(&place.id).into_iter().flatten();
        let permissions: Vec<String> = allowed.filter(|name| !rights.may(name)).cloned().collect();
        let kind = if place.is_folder { "folder" } else { "workflow" };
        places.push(MyPlace { kind, id: place.id, name: place.name, permissions });
    }
    places.retain(|place| !place.permissions.is_empty());
    places.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    Ok(places)
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    /// The present one, if there is one.
    current: Option<String>,
    /// The new one: as long as `password_chars_min` says, and none of the last five.
    new: String,
}

/// Choose a password: all other sessions of this user end, and what applications hold in its name.
#[utoipa::path(put, path = "/me/password", tag = "people", request_body = PasswordBody,
    responses((status = 204, description = "It is the password now")))]
pub async fn set_password(
    caller: Authorized<Myself>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<PasswordBody>,
) -> Reply {
    let (session, user) = own_session(&caller)?;
    let account = with_password(&app, (&caller, &asked), body.current.as_deref()).await?;
    let chars_min = app.bounds(caller.tenant()).await?.people.password_chars_min;
    app.passwords().check_new(&body.new, &account.email, chars_min).await?;
    if app.passwords().matches(&body.new, app.store().old_passwords(user).await?).await? {
        return Err(Problem::invalid("weak_password", "the password was one of the last five"));
    }
    let hash = app.passwords().hash(&body.new).await?;
    app.store().set_password(user, hash, caller.signed(&asked)).await?;
    let others = EndSessions { user, except: Some(session), within: None };
    app.store().end_sessions(others, caller.signed(&asked)).await?;
    Ok(no_content())
}
