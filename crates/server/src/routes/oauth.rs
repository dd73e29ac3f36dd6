//! OAuth 2, for people: what applications ask them for, their answers, and what they have consented to.

use std::time::Duration;

use axum::{
    body::Body as HttpBody,
    extract::{OriginalUri, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_resource::permission::{self, ApplicationsWrite, Myself};
use windlass_store::{CameWith, NewAuthorization, OwnConsent};

use super::sign_in;
use crate::{
    app::App,
    auth::{self, Asked, Authorized, Far, Identity},
    extract::{self, Body, BodyOrDefault, PathOf, PathParts, Query},
    oauth::{
        self, Form, Refused, page,
        request::{Asking, AuthorizationRequest, Wrong},
    },
    problem::{FieldError, Problem},
    reply::{self, Reply},
    token::{self, ChainLink, SecretKind, TokenHash},
};

/// Minutes for which the secret before may go on working.
const FORMER_MINUTES_MAX: u32 = 10_080;

/// Where an application sends a browser, to ask whoever is in front of it. Whoever is signed in there is asked, unless he
/// has consented before; others are told how to sign in. The answer goes to the application's redirect address.
#[utoipa::path(get, path = "/oauth/authorize", tag = "oauth", params(AuthorizationRequest),
    responses(
        (status = 200, description = "A page that asks, or says how to sign in", body = String, content_type = "text/html"),
        (status = 303, description = "Back to the application, with an answer", headers(("location" = String)))))]
pub async fn authorize(
    State(app): State<App>,
    OriginalUri(this): OriginalUri,
    Query(request): Query<AuthorizationRequest>,
    asked: Asked,
    headers: HeaderMap,
) -> Reply {
    app.attempts().attempt(asked.address, None).await?;
    let issuer = oauth::issuer(&app, &headers)?;
    // It is shown between single quotes, for a shell.
    let this = format!("{issuer}{this}").replace('\'', "%27");
    let asking = match request.read(&app, issuer).await {
        Ok(asking) => asking,
        Err(Wrong::There(address)) => return Ok(see_other(&address)),
        Err(Wrong::Here(problem)) => return Err(problem),
    };
    let Some(identity) = in_front(&app, (&headers, &asking)).await? else {
        let tenant = app.store().tenant_by_key(asking.application.tenant).await?.map(|it| it.slug).unwrap_or_default();
        let names = app.store().provider_names(asking.application.tenant).await?;
        let back: String = url::form_urlencoded::byte_serialize(this_path(&this).as_bytes()).collect();
        let path = |name: String| format!("/api/v1/sign-in/oidc/{name}?tenant={tenant}&return_to={back}");
        let paths: Vec<String> = names.into_iter().map(path).collect();
        return Ok(page::sign_in(app.installation_name(), &asking, (&this, &paths)));
    };
    let remembered = match identity.member() {
        Some(member) if asking.is_sure() => app.store().consented(&asking.application, member).await?,
        _ => None,
    };
    if remembered.is_some_and(|all| asking.scopes.iter().all(|it| all.contains(it))) {
        return Ok(see_other(&approve(&app, (&identity, &asked), asking).await?));
    }
    Ok(page::consent(app.installation_name(), &asking, &request, &identity))
}

fn this_path(this: &str) -> &str {
    this.find("/api/").map_or(this, |at| &this[at..])
}

/// Who is signed in, in the application's tenant, in the browser that asks.
async fn in_front(app: &App, (headers, asking): (&HeaderMap, &Asking)) -> Result<Option<Identity>, Problem> {
    auth::is_not_suspended(app, asking.application.tenant)?;
    let Some(token) = auth::cookie(headers) else { return Ok(None) };
    match app.gate().identify(Some(token)).await {
        Ok(identity) if is_itself(&identity) && identity.tenant == asking.application.tenant => {
            // Whoever would not be let by to answer is not asked, and what he said before does not answer for him.
            auth::second_factor::let_by(app, &identity, None).await?;
            Ok(Some(identity))
        }
        Ok(_) => Ok(None),
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Whether it is a person who is signed in, and nobody acts in its name.
fn is_itself(identity: &Identity) -> bool {
    matches!(identity.with.as_deref(), Some(CameWith::Session { acting: None, .. }))
}

/// Keeps the consent; the address with the code.
async fn approve(app: &App, (identity, asked): (&Identity, &Asked), asking: Asking) -> Result<String, Problem> {
    let member = identity.member().ok_or_else(|| Problem::not_found("member"))?;
    let code = ChainLink::first(SecretKind::Code)?;
    let now = app.store().now();
    let address = asking.answer(&code.text);
    let new = NewAuthorization {
        application: asking.application.id,
        member,
        scopes: asking.scopes,
        redirect_uri: asking.redirect_uri,
        code_challenge: asking.challenge,
        code: code.hashes,
        code_expires_at: now.after(oauth::CODE),
        expires_at: now.after(oauth::CHAIN),
    };
    let by = asked.named(identity.who(), identity.holds.clone());
    app.store().authorize(asking.application.tenant, new, by).await?;
    Ok(address)
}

fn see_other(address: &str) -> Response {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, reply::header_value(address));
    response
}

/// What the page that asks sends.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the form is read field by field")]
pub struct AnswerForm {
    /// The request that is answered, as it came.
    #[serde(flatten)]
    request: AuthorizationRequest,
    /// The answer.
    decision: Decision,
}

/// Answer an application from the page that asked.
#[utoipa::path(post, path = "/oauth/answer", tag = "oauth",
    request_body(content = AnswerForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the application, with the answer", headers(("location" = String)))))]
pub async fn answer_on_page(
    caller: Authorized<Myself>,
    State(app): State<App>,
    asked: Asked,
    headers: HeaderMap,
    form: Result<Form, Refused>,
) -> Reply {
    let form = form?;
    let text = |name: &str| form.get(name).map(str::to_owned);
    let request = AuthorizationRequest {
        response_type: text("response_type"),
        client_id: text("client_id"),
        redirect_uri: text("redirect_uri"),
        scope: text("scope"),
        state: text("state"),
        code_challenge: text("code_challenge"),
        code_challenge_method: text("code_challenge_method"),
    };
    let decision = match form.must("decision")? {
        "approve" => Decision::Approve,
        "refuse" => Decision::Refuse,
        _ => return Err(Problem::bad_request("invalid_request", "`decision` is `approve` or `refuse`")),
    };
    Ok(see_other(&decide(&app, (&caller, &asked, &headers), (&request, decision)).await?))
}

/// The request, once whoever asks is a person of the application's tenant.
async fn asked_of(
    app: &App,
    (caller, headers): (&Authorized<Myself>, &HeaderMap),
    request: &AuthorizationRequest,
) -> Result<Asking, Problem> {
    sign_in::own_session(caller)?;
    let asking = request.read(app, oauth::issuer(app, headers)?).await?;
    if asking.application.tenant != caller.tenant() {
        let detail = "the application is another tenant's: sign in there";
        return Err(Problem::bad_request("unknown_application", detail));
    }
    Ok(asking)
}

/// Where the browser goes with the answer.
async fn decide(
    app: &App,
    (caller, asked, headers): (&Authorized<Myself>, &Asked, &HeaderMap),
    (request, decision): (&AuthorizationRequest, Decision),
) -> Result<String, Problem> {
    let asking = asked_of(app, (caller, headers), request).await?;
    match decision {
        Decision::Approve => approve(app, (caller.identity(), asked), asking).await,
        Decision::Refuse => Ok(asking.refusal("access_denied", "the person has refused")),
    }
}

/// What an application asks a person for.
#[derive(Debug, Serialize, ToSchema)]
pub struct AskedFor {
    /// The application's id.
    #[schema(value_type = String)]
    pub application_id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Where to read more.
    pub website: Option<String>,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What for.
    pub scopes: Vec<AskedScope>,
    /// Whether the person has consented to all of it before.
    pub consented: bool,
}

/// A permission that an application asks for.
#[derive(Debug, Serialize, ToSchema)]
pub struct AskedScope {
    /// The permission.
    pub name: String,
    /// What it allows.
    pub description: String,
    /// Whether the person may do it now: else the application may not either.
    pub allowed: bool,
}

/// What an application asks the caller for: the query is that of the address to which it sent the browser.
#[utoipa::path(get, path = "/me/authorization", tag = "oauth", params(AuthorizationRequest),
    responses((status = 200, body = AskedFor)))]
pub async fn get_request(
    caller: Authorized<Myself>,
    State(app): State<App>,
    Query(request): Query<AuthorizationRequest>,
    headers: HeaderMap,
) -> Reply {
    let asking = asked_of(&app, (&caller, &headers), &request).await?;
    let identity = caller.identity();
    let consented = match identity.member() {
        Some(member) => app.store().consented(&asking.application, member).await?.unwrap_or_default(),
        None => Vec::new(),
    };
    let scope = |name: &String| {
        let allowed = identity.goes(name, Far::Somewhere);
        AskedScope { name: name.clone(), description: described(name), allowed }
    };
    reply::ok(&AskedFor {
        application_id: asking.application.id,
        scopes: asking.scopes.iter().map(scope).collect(),
        consented: asking.scopes.iter().all(|it| consented.contains(it)),
        redirect_uri: asking.redirect_uri,
        name: asking.application.name,
        description: asking.application.description,
        website: asking.application.website,
    })
}

fn described(scope: &str) -> String {
    permission::all().iter().find(|it| it.name == scope).map(|it| it.description.clone()).unwrap_or_default()
}

/// What a person says to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may act in the person's name.
    Approve,
    /// It may not.
    Refuse,
}

/// An answer to an application.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    /// The answer.
    decision: Decision,
    /// The request that is answered: the query of the address to which the application sent the browser.
    request: AuthorizationRequest,
}

/// Where the browser goes with an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answered {
    /// The application's redirect address with the answer. With an approval it holds a code, which works once, for two
    /// minutes.
    #[schema(format = Password)]
    pub redirect_to: String,
}

/// Answer an application that asks the caller.
#[utoipa::path(post, path = "/me/authorization", tag = "oauth", request_body = AnswerBody,
    responses((status = 200, body = Answered)))]
pub async fn answer_request(
    caller: Authorized<Myself>,
    State(app): State<App>,
    asked: Asked,
    headers: HeaderMap,
    Body(body): Body<AnswerBody>,
) -> Reply {
    let redirect_to = decide(&app, (&caller, &asked, &headers), (&body.request, body.decision)).await?;
    reply::ok(&Answered { redirect_to })
}

/// What the caller has consented to.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnConsents {
    /// The newest first; at most 1,000.
    pub items: Vec<ConsentView>,
}

/// What the caller lets an application do in its name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsentView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Uuid,
    /// The application's id.
    #[schema(value_type = String)]
    pub application_id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Where to read more.
    pub website: Option<String>,
    /// To what.
    pub scopes: Vec<String>,
    /// Since when.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When the application last got a token by it, in the last two days.
    #[schema(value_type = Option<String>)]
    pub last_token_at: Option<Timestamp>,
}

/// The caller as a member, when it is a person who is signed in.
fn own_member(caller: &Authorized<Myself>) -> Result<Uuid, Problem> {
    sign_in::own_session(caller)?;
    caller.identity().member().ok_or_else(|| Problem::not_found("member"))
}

/// What the caller lets applications of this tenant do in its name.
#[utoipa::path(get, path = "/me/oauth-consents", tag = "oauth", responses((status = 200, body = OwnConsents)))]
pub async fn list_own_consents(caller: Authorized<Myself>, State(app): State<App>) -> Reply {
    let member = own_member(&caller)?;
    let view = |it: OwnConsent| ConsentView {
        id: it.id,
        application_id: it.application,
        name: it.name,
        description: it.description,
        website: it.website,
        scopes: it.scopes,
        created_at: it.created_at,
        last_token_at: it.last_token_at,
    };
    let all = app.store().consents_of(caller.tenant(), member).await?;
    reply::ok(&OwnConsents { items: all.into_iter().map(view).collect() })
}

/// The id of a consent in an address.
pub struct ConsentPath(Uuid);

impl PathParts for ConsentPath {
    fn read(parts: &[&str]) -> Result<ConsentPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "consent").map(ConsentPath)
    }
}

/// Take a consent of the caller back: whatever the application holds of it ends at once.
#[utoipa::path(post, path = "/me/oauth-consents/{id}/revoke", tag = "oauth", params(("id" = String, Path)),
    responses((status = 204, description = "It holds no more")))]
pub async fn revoke_own_consent(
    caller: Authorized<Myself>,
    State(app): State<App>,
    PathOf(ConsentPath(id)): PathOf<ConsentPath>,
    asked: Asked,
    _: extract::NoBody,
) -> Reply {
    caller.itself()?;
    let Ok(member) = own_member(&caller) else { return Err(Problem::not_found("consent")) };
    app.store().withdraw_consent((caller.tenant(), member), id, caller.signed(&asked)).await?;
    Ok(sign_in::no_content())
}

/// The id of an application in an address.
pub struct ApplicationPath(Uuid);

impl PathParts for ApplicationPath {
    fn read(parts: &[&str]) -> Result<ApplicationPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "application").map(ApplicationPath)
    }
}

/// How a secret is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretBody {
    /// Minutes for which the secret that there is goes on working: 0 when left out, 10,080 at most.
    former_minutes: Option<u32>,
}

/// A secret of an application.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretMade {
    /// The application's id.
    #[schema(value_type = String)]
    pub client_id: Uuid,
    /// The secret: shown this once.
    #[schema(format = Password)]
    pub client_secret: String,
    /// Until when the one before works; null when it does not.
    #[schema(value_type = Option<String>)]
    pub former_until: Option<Timestamp>,
}

/// Give a confidential application its secret, or another one.
#[utoipa::path(post, path = "/oauth-applications/{id}/secret", tag = "oauth", params(("id" = String, Path)),
    request_body(content = Option<SecretBody>), responses((status = 201, body = SecretMade)))]
pub async fn make_secret(
    caller: Authorized<ApplicationsWrite>,
    State(app): State<App>,
    PathOf(ApplicationPath(id)): PathOf<ApplicationPath>,
    asked: Asked,
    BodyOrDefault(body): BodyOrDefault<SecretBody>,
) -> Reply {
    let minutes = body.former_minutes.unwrap_or(0);
    if minutes > FORMER_MINUTES_MAX {
        let message = format!("must be at most {FORMER_MINUTES_MAX}");
        let error = FieldError { pointer: "/former_minutes".to_owned(), message, ..FieldError::default() };
        return Err(Problem::invalid("invalid_input", "the body is refused").with_errors(vec![error]));
    }
    let secret = token::secret(SecretKind::ApplicationSecret)?;
    let until = (minutes > 0).then(|| app.store().now().after(Duration::from_secs(60) * minutes));
    let made = (*TokenHash::of(&secret).as_bytes(), until);
    let view = app.store().set_application_secret((caller.tenant(), id), made, caller.signed(&asked)).await?;
    let former_until = until.filter(|_| !view.json["former_secret_until"].is_null());
    reply::json(StatusCode::CREATED, &SecretMade { client_id: id, client_secret: secret, former_until })
}
