//! Signing in with an identity provider: there, back, and who it is here.

use std::time::Duration;

use axum::{
    body::Body as HttpBody,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{permission::Myself, records::providers::IDENTITY_PROVIDERS};
use windlass_store::{Account, Arrival, Arrived, Holds, Membership, NotIn, Provider};

use super::sign_in::{self, Deliver, SignedIn};
use crate::{
    app::App,
    auth::{self, Asked, Authorized, second_factor},
    extract::{Body, Name, PathOf, PathParts, Query},
    oidc::{Begun, FLOW, Flow, Party, Person, TICKET, Ticket, Way, challenge_of, not_in, short},
    problem::Problem,
    reply::{self, Reply},
};

/// The cookie in which a browser carries a sign-in that has begun, or its ticket.
const COOKIE: &str = "__Host-windlass-flow";
/// Where a browser goes that named no place: who it is now.
const HOME: &str = "/api/v1/me";
const RETURN_CHARS_MAX: usize = 1_500;
/// Characters of a SHA-256 in base64url.
const CHALLENGE_CHARS: usize = 43;
const VERIFIER_CHARS_MAX: usize = 128;
const CODE_CHARS_MAX: usize = 4_096;

/// In which tenant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TenantQuery {
    /// The slug of the tenant; the first one when left out.
    tenant: Option<String>,
}

/// By what people of a tenant sign in beside passwords.
#[derive(Debug, Serialize, ToSchema)]
pub struct Providers {
    /// By name.
    pub items: Vec<ProviderView>,
}

/// An identity provider, for whoever is to choose one.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderView {
    /// Its name.
    pub name: String,
    /// Where a browser goes to sign in with it.
    pub path: String,
}

/// The identity providers that people of a tenant sign in with.
#[utoipa::path(get, path = "/sign-in/providers", tag = "people", params(TenantQuery),
    responses((status = 200, body = Providers)))]
pub async fn list_providers(State(app): State<App>, Query(query): Query<TenantQuery>) -> Reply {
    let (tenant, slug) = tenant_of(&app, query.tenant.as_deref()).await?;
    let view = |name: String| ProviderView { path: format!("/api/v1/sign-in/oidc/{name}?tenant={slug}"), name };
    reply::ok(&Providers { items: app.store().provider_names(tenant).await?.into_iter().map(view).collect() })
}

async fn tenant_of(app: &App, slug: Option<&str>) -> Result<(TenantKey, String), Problem> {
    let found = match slug {
        Some(slug) => app.store().tenant_by_slug(slug).await?,
        None => app.store().tenant_by_key(TenantKey::DEFAULT).await?,
    };
    found.map(|it| (it.key, it.slug)).ok_or_else(|| Problem::not_found("tenant"))
}

/// The name of a provider in an address.
pub struct ProviderPath(String);

impl PathParts for ProviderPath {
    fn read(parts: &[&str]) -> Result<ProviderPath, Problem> {
        let text = parts.first().copied().unwrap_or_default();
        Name::plain(text, "identity provider").map(|name| ProviderPath(name.0))
    }
}

/// How somebody signs in with a provider.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BeginQuery {
    /// The slug of the tenant; the first one when left out.
    tenant: Option<String>,
    /// Where the browser goes in the end: a path of this server. Its session is a cookie.
    return_to: Option<String>,
    /// For a program: the port of the browser's machine at which it listens.
    port: Option<u16>,
    /// For a program: SHA-256, in base64url, of what it shows to get the session.
    challenge: Option<String>,
}

/// Sign in with an identity provider: sends the browser there. A program gives `port` and `challenge`: in the end the
/// browser goes to `http://127.0.0.1:{port}/?ticket=…`, and the program sends the ticket to `/sign-in/ticket`.
#[utoipa::path(get, path = "/sign-in/oidc/{name}", tag = "people", params(("name" = String, Path), BeginQuery),
    responses((status = 303, description = "Go to the provider, with the cookie", headers(("location" = String)))))]
pub async fn begin_oidc(
    State(app): State<App>,
    PathOf(ProviderPath(name)): PathOf<ProviderPath>,
    Query(query): Query<BeginQuery>,
    asked: Asked,
) -> Reply {
    let way = way(&query)?;
    app.attempts().attempt(asked.address, None).await?;
    let (tenant, _) = tenant_of(&app, query.tenant.as_deref()).await?;
    let (cookie, location) = begin(&app, (tenant, &name), (None, way)).await?;
    Ok(see_other(&location, [cookie]))
}

fn way(query: &BeginQuery) -> Result<Way, Problem> {
    let refused = |detail: &str| Err(Problem::bad_request("invalid_query", detail));
    match (&query.return_to, query.port, &query.challenge) {
        (None, Some(port), Some(challenge)) => {
            let is_text = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
            if port == 0 || challenge.len() != CHALLENGE_CHARS || !challenge.bytes().all(is_text) {
                return refused("`port` is 1 to 65535, and `challenge` a SHA-256 in base64url");
            }
            Ok(Way::Program(port, challenge.clone()))
        }
        (place, None, None) => {
            let place = place.as_deref().unwrap_or(HOME);
            let own = place.starts_with('/') && !place.starts_with("//") && !place.contains('\\');
            if !own || place.len() > RETURN_CHARS_MAX || !place.bytes().all(|it| it.is_ascii_graphic()) {
                return refused("`return_to` is a path of this server, such as `/api/v1/me`");
            }
            Ok(Way::Browser(place.to_owned()))
        }
        _ => refused("give `port` and `challenge` (a program), or `return_to` (a browser)"),
    }
}

/// The cookie that a browser carries, and where it goes.
async fn begin(
    app: &App,
    (tenant, name): (TenantKey, &str),
    (said_in, way): (Option<Uuid>, Way),
) -> Result<(HeaderValue, String), Problem> {
    let party = party(app, tenant, name).await?;
    let Begun { location, state, nonce, verifier } = app.oidc()?.of(app.store(), tenant).await?.begin(&party).await?;
    let flow = Flow { tenant: tenant.0, provider: party.provider.id, state, nonce, verifier, said_in, way };
    let note = FLOW.seal(app.store(), flow)?;
    Ok((auth::set_cookie(COOKIE, &note, FLOW.lasts()), location))
}

async fn party(app: &App, tenant: TenantKey, name: &str) -> Result<Party, Problem> {
    auth::is_not_suspended(app, tenant)?;
    let provider = app.store().provider(tenant, name).await?.ok_or_else(|| Problem::not_found("identity provider"))?;
    let secret = app.store().provider_secret(tenant, provider.id).await?;
    let secret = secret.map(|it| String::from_utf8_lossy(&it).into_owned());
    Ok(Party { provider, secret })
}

fn see_other(location: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, reply::header_value(location));
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// What a provider sends a browser back with; it may say more.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackQuery {
    /// What proves who it is, to whoever asks the provider.
    code: Option<String>,
    /// What was sent along.
    state: Option<String>,
    /// Who sends the browser.
    iss: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// Where an identity provider sends the browser back to. Somebody who may come in has a session then.
#[utoipa::path(get, path = "/sign-in/oidc/{name}/callback", tag = "people",
    params(("name" = String, Path), CallbackQuery),
    responses((status = 303, description = "Signed in: go on, with the session as a cookie or with a ticket for a program",
        headers(("location" = String)))))]
pub async fn end_oidc(
    State(app): State<App>,
    PathOf(ProviderPath(name)): PathOf<ProviderPath>,
    Query(query): Query<CallbackQuery>,
    asked: Asked,
    headers: HeaderMap,
) -> Reply {
    match end(&app, (&name, query), (&asked, &headers)).await {
        Ok((location, cookies)) => Ok(see_other(&location, cookies)),
        // Whatever was wrong with it, it does not come again.
        Err(problem) => Err(problem.with_header(header::SET_COOKIE, gone())),
    }
}

fn gone() -> HeaderValue {
    auth::set_cookie(COOKIE, "", Duration::ZERO)
}

async fn end(
    app: &App,
    (name, query): (&str, CallbackQuery),
    (asked, headers): (&Asked, &HeaderMap),
) -> Result<(String, Vec<HeaderValue>), Problem> {
    app.attempts().attempt(asked.address, None).await?;
    let flow: Flow = FLOW.open(app.store(), auth::cookie_of(headers, COOKIE).unwrap_or_default())?;
    if query.state.as_deref() != Some(flow.state.as_str()) {
        let detail = "this browser has begun another sign-in since: begin again";
        return Err(Problem::bad_request("sign_in_lost", detail));
    }
    let tenant = TenantKey(flow.tenant);
    let party = party(app, tenant, name).await?;
    // Each provider has an address of its own to come back to: what one began, no other ends.
    if party.provider.id != flow.provider || query.iss.is_some_and(|iss| iss != party.provider.issuer) {
        return Err(not_in("another identity provider has sent the browser"));
    }
    let code = match (query.code, query.error) {
        (Some(code), None) if code.len() <= CODE_CHARS_MAX => code,
        (_, Some(error)) => {
            return Err(not_in(&format!("the provider says `{}`", short(&error))));
        }
        _ => return Err(Problem::bad_request("invalid_query", "the provider sent no `code`, or one that is too long")),
    };
    let oidc = app.oidc()?.of(app.store(), tenant).await?;
    let person = match oidc.finish(&party, (&flow, &code), app.store().now()).await {
        Ok(person) => person,
        Err(problem) => {
            note(app, (tenant, asked), (&party.provider, None, problem.detail())).await?;
            return Err(problem);
        }
    };
    let user = arrive(app, (tenant, asked), (&party.provider, person, flow.said_in)).await?;
    match flow.way {
        Way::Program(port, challenge) => {
            let ticket = TICKET.seal(app.store(), Ticket { tenant: flow.tenant, user, challenge: Some(challenge) })?;
            Ok((format!("http://127.0.0.1:{port}/?ticket={ticket}"), vec![gone()]))
        }
        // The page there asks for the code.
        Way::Browser(place) if second_factor::asked_for(app, user).await?.is_some() => {
            let ticket = TICKET.seal(app.store(), Ticket { tenant: flow.tenant, user, challenge: None })?;
            Ok((place, vec![auth::set_cookie(COOKIE, &ticket, TICKET.lasts())]))
        }
        Way::Browser(place) => {
            let (account, membership) = whom(app, (tenant, user)).await?;
            let person = sign_in::pass_second_factor(app, asked, (account, None)).await?;
            let begun = sign_in::open(app, (asked, headers), (&person, &membership), "oidc").await?;
            Ok((place, vec![sign_in::session_cookie(&begun), gone()]))
        }
    }
}

/// The user whom the provider has sent.
async fn arrive(
    app: &App,
    (tenant, asked): (TenantKey, &Asked),
    (provider, person, said_in): (&Provider, Person, Option<Uuid>),
) -> Result<Uuid, Problem> {
    let Person { subject, email, external_id, name, picture } = person;
    let by = asked.named(format!("provider:{}", provider.name), Holds::These(std::sync::Arc::default()));
    let provider_id = provider.id;
    let arrival =
        Arrival { provider: provider_id, subject: subject.clone(), email, external_id, name, picture, said_in, by };
    let why = match app.store().arrive(tenant, arrival).await? {
        Arrived::User(user) => return Ok(user),
        Arrived::Refused(why) => why,
    };
    let detail = match why {
        NotIn::NoProvider => return Err(Problem::not_found("identity provider")),
        NotIn::Unknown => {
            "nobody here is known by that identity or invited: ask for an invitation, or sign in as before and link your \
             identity (`POST /api/v1/me/identities`)"
        }
        NotIn::NoEmail => "the provider knows no verified address of yours",
        NotIn::EmailTaken => {
            "somebody has your address already: sign in as before and link your identity \
             (`POST /api/v1/me/identities`)"
        }
        NotIn::Suspended => "the identity is blocked, or the account is suspended",
        NotIn::IsAnother => "the identity is another member's",
        NotIn::MustLink => {
            "the account looks after the installation: sign in as before and link your identity \
             (`POST /api/v1/me/identities`)"
        }
        NotIn::SignedOut => "the session in which you began has ended: sign in, and begin again",
    };
    note(app, (tenant, asked), (provider, Some(&subject), detail)).await?;
    Err(not_in(detail))
}

/// Somebody came from the provider and did not come in.
async fn note(
    app: &App,
    (tenant, asked): (TenantKey, &Asked),
    (provider, subject, reason): (&Provider, Option<&str>, &str),
) -> Result<(), Problem> {
    let changes = json!({ "subject": { "to": subject }, "reason": { "to": reason } });
    let what = ("sign_in_failed", Some(provider.id));
    app.store().note_event((tenant, &IDENTITY_PROVIDERS), what, (asked.by_somebody(), changes)).await?;
    Ok(())
}

/// The account of a user, and its membership in that tenant: a provider speaks for its own tenant alone.
async fn whom(app: &App, (tenant, user): (TenantKey, Uuid)) -> Result<(Account, Membership), Problem> {
    let gone = || not_in("the account is suspended");
    let account = app.store().account(user).await?.filter(|it| it.active).ok_or_else(gone)?;
    let all = app.store().memberships(user).await?;
    Ok((account, all.into_iter().find(|it| it.tenant == tenant).ok_or_else(gone)?))
}

/// What is shown for a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketBody {
    /// What the browser brought to a program; a browser itself has it as a cookie.
    ticket: Option<String>,
    /// Of a program: what the challenge was of.
    verifier: Option<String>,
    /// A code of the second factor, of an account that has one; or a recovery code.
    code: Option<String>,
}

/// Get a session for the ticket that an identity provider's answer was worth, within five minutes: a program for the one
/// that a browser brought, with what its challenge was of; a browser for the one in its cookie, with a code of the second
/// factor.
#[utoipa::path(post, path = "/sign-in/ticket", tag = "people", request_body = TicketBody,
    responses((status = 200, body = SignedIn)))]
pub async fn use_ticket(
    State(app): State<App>,
    asked: Asked,
    headers: HeaderMap,
    Body(body): Body<TicketBody>,
) -> Reply {
    app.attempts().attempt(asked.address, None).await?;
    let carried = || auth::cookie_of(&headers, COOKIE).unwrap_or_default().to_owned();
    let ticket: Ticket = TICKET.open(app.store(), &body.ticket.unwrap_or_else(carried))?;
    let shown = body.verifier.filter(|it| it.len() <= VERIFIER_CHARS_MAX).map(|it| challenge_of(&it));
    if shown != ticket.challenge {
        return Err(not_in("the ticket is another program's"));
    }
    let deliver = if ticket.challenge.is_some() { Deliver::Token } else { Deliver::Cookie };
    let (account, membership) = whom(&app, (TenantKey(ticket.tenant), ticket.user)).await?;
    let person = sign_in::pass_second_factor(&app, &asked, (account, body.code.as_deref())).await?;
    let mut response = sign_in::begin(&app, (&asked, &headers), (&person, &membership), ("oidc", deliver)).await?;
    if deliver == Deliver::Cookie {
        response.headers_mut().append(header::SET_COOKIE, gone());
    }
    Ok(response)
}

/// With which provider.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityBody {
    /// The name of the identity provider.
    provider: String,
    /// Where the browser goes in the end: a path of this server.
    return_to: Option<String>,
}

/// Where to go.
#[derive(Debug, Serialize, ToSchema)]
pub struct GoTo {
    /// An address of the provider: for the browser that has the cookie of this answer.
    pub url: String,
}

/// Link an identity to yourself: the browser that asks, being signed in, goes to the provider and comes back.
#[utoipa::path(post, path = "/me/identities", tag = "people", request_body = IdentityBody,
    responses((status = 200, body = GoTo)))]
pub async fn link_identity(
    caller: Authorized<Myself>,
    State(app): State<App>,
    Body(body): Body<IdentityBody>,
) -> Reply {
    let (session, _) = sign_in::own_session(&caller)?;
    let query = BeginQuery { tenant: None, return_to: body.return_to, port: None, challenge: None };
    let way = way(&query)?;
    let name = Name::plain(&body.provider, "identity provider")?.0;
    let (cookie, url) = begin(&app, (caller.tenant(), &name), (Some(session), way)).await?;
    let mut response = reply::ok(&GoTo { url })?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}
