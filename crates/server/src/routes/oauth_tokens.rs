//! OAuth 2, for applications: tokens, their end, what they are worth, and where all of this is.

use axum::{extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;
use windlass_resource::permission;
use windlass_store::{Application, Exchange, Exchanged, Held, Link, NewToken, NoTokens, ShownWith};

use crate::{
    app::App,
    auth::Asked,
    oauth::{
        self, Form, OauthError, Refused, Told,
        client::{Wanted, authenticate, signed},
        scopes,
    },
    oidc::challenge_of,
    reply::{self, Reply},
    token::{self, ChainLink, SecretKind, TOKEN_CHARS_MAX, TokenHash},
};

/// Characters of what a challenge is of (RFC 7636, section 4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// What an application asks tokens for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the form is read field by field")]
pub struct TokenForm {
    /// `authorization_code`, `refresh_token` or `client_credentials`.
    #[schema(example = "client_credentials")]
    grant_type: String,
    /// The code.
    code: Option<String>,
    /// Where the code was sent.
    redirect_uri: Option<String>,
    /// What the code's challenge was of.
    code_verifier: Option<String>,
    /// The refresh token.
    refresh_token: Option<String>,
    /// Fewer permissions than there could be, with spaces between.
    scope: Option<String>,
    /// The application's id, unless it says so with `Authorization: Basic …`.
    client_id: Option<String>,
    /// Its secret, if it keeps one.
    client_secret: Option<String>,
}

/// Tokens: shown this once.
#[derive(Serialize, ToSchema)]
pub struct TokenMade {
    /// For `Authorization: Bearer …`.
    #[schema(format = Password)]
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds for which the access token works.
    expires_in: u64,
    /// What gets the next tokens, once; none where the application acts in its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    refresh_token: Option<String>,
    /// For what at most, with spaces between permissions.
    scope: String,
}

/// Get tokens: for a code, for a refresh token, or for the application itself.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = TokenMade), (status = 400, body = OauthError), (status = 401, body = OauthError)))]
pub async fn token(State(app): State<App>, asked: Asked, headers: HeaderMap, form: Form) -> Told {
    let grant_type = form.must("grant_type")?;
    let wanted = if grant_type == "client_credentials" { Wanted::Confidential } else { Wanted::Any };
    let application = authenticate(&app, (&headers, &form), (&asked, wanted)).await?;
    let made = match grant_type {
        "authorization_code" => by_code(&app, (&application, &asked), &form).await?,
        "refresh_token" => by_refresh(&app, (&application, &asked), &form).await?,
        "client_credentials" => of_its_own(&app, (&application, &asked), &form).await?,
        _ => {
            let why = "`grant_type` is `authorization_code`, `refresh_token` or `client_credentials`";
            return Err(Refused::because("unsupported_grant_type", why));
        }
    };
    Ok(reply::ok(&made)?)
}

/// Who asks, and how.
type By<'a> = (&'a Application, &'a Asked);

async fn by_code(app: &App, by: By<'_>, form: &Form) -> Result<TokenMade, Refused> {
    let (code, verifier) = (form.must("code")?, form.must("code_verifier")?);
    let shown = ChainLink::read(code, SecretKind::Code).ok_or_else(|| refused(NoTokens::Unknown))?;
    if !VERIFIER_CHARS.contains(&verifier.len()) {
        return Err(Refused::because("invalid_request", "`code_verifier` has 43 to 128 characters"));
    }
    let redirect_uri = form.must("redirect_uri")?.to_owned();
    let with = ShownWith::Code { redirect_uri, challenge: challenge_of(verifier) };
    exchange(app, by, ((code, shown), with, None)).await
}

async fn by_refresh(app: &App, by: By<'_>, form: &Form) -> Result<TokenMade, Refused> {
    let refresh = form.must("refresh_token")?;
    let shown = ChainLink::read(refresh, SecretKind::Refresh).ok_or_else(|| refused(NoTokens::Unknown))?;
    exchange(app, by, ((refresh, shown), ShownWith::Refresh, form.get("scope").map(scopes))).await
}

async fn exchange(
    app: &App,
    (application, asked): By<'_>,
    ((text, shown), with, scopes): ((&str, Link), ShownWith, Option<Vec<String>>),
) -> Result<TokenMade, Refused> {
    let next = ChainLink::after(text, SecretKind::Refresh)?;
    let (access, token) = new_token(app, scopes)?;
    let exchange = Exchange { shown, next: next.hashes.link, token, with, by: signed(asked, application) };
    match app.store().exchange(application, exchange).await? {
        Exchanged::For(scopes) => Ok(made(access, Some(next.text), &scopes)),
        Exchanged::Refused(why) => Err(refused(why)),
    }
}

async fn of_its_own(app: &App, (application, asked): By<'_>, form: &Form) -> Result<TokenMade, Refused> {
    if !application.client_credentials {
        let why = "the application gets no tokens of its own: `client_credentials` of it is false";
        return Err(Refused::because("unauthorized_client", why));
    }
    let all = form.get("scope").map_or_else(|| application.scopes.clone(), scopes);
    if all.is_empty() || all.iter().any(|it| !application.scopes.contains(it)) {
        return Err(refused(NoTokens::Scopes));
    }
    let (access, token) = new_token(app, Some(all.clone()))?;
    app.store().issue_token(application, token, signed(asked, application)).await?;
    Ok(made(access, None, &all))
}

fn new_token(app: &App, scopes: Option<Vec<String>>) -> Result<(String, NewToken), Refused> {
    let access = token::secret(SecretKind::Access)?;
    let expires_at = app.store().now().after(oauth::ACCESS);
    let hash = *TokenHash::of(&access).as_bytes();
    Ok((access, NewToken { hash, scopes, expires_at }))
}

fn made(access_token: String, refresh_token: Option<String>, scopes: &[String]) -> TokenMade {
    let (expires_in, scope) = (oauth::ACCESS.as_secs(), scopes.join(" "));
    TokenMade { access_token, token_type: "Bearer", expires_in, refresh_token, scope }
}

fn refused(why: NoTokens) -> Refused {
    let (error, text) = match why {
        NoTokens::Unknown => ("invalid_grant", "there is no such code or refresh token that holds"),
        NoTokens::Reused => {
            ("invalid_grant", "it was used before: everything that followed from it has ended, ask the person again")
        }
        NoTokens::Over => ("invalid_grant", "it is too old: ask the person again"),
        NoTokens::AnotherAddress => ("invalid_grant", "`redirect_uri` is not where the code was sent"),
        NoTokens::WrongVerifier => ("invalid_grant", "`code_verifier` is not what the challenge was of"),
        NoTokens::Scopes => ("invalid_scope", "that is more than the application may have, or nothing"),
    };
    Refused::because(error, text)
}

/// A token that an application asks about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the form is read field by field")]
pub struct HeldForm {
    /// An access token or a refresh token.
    token: String,
    /// Not needed: tokens say what they are.
    token_type_hint: Option<String>,
    /// The application's id, unless it says so with `Authorization: Basic …`.
    client_id: Option<String>,
    /// Its secret, if it keeps one.
    client_secret: Option<String>,
}

/// What a text is the token of; `None` when of nothing.
fn held(form: &Form) -> Result<Option<Held>, Refused> {
    let text = form.must("token")?;
    if text.len() > TOKEN_CHARS_MAX {
        return Ok(None);
    }
    Ok(match SecretKind::of(text) {
        Some(SecretKind::Access) => Some(Held::Access(*TokenHash::of(text).as_bytes())),
        _ => ChainLink::read(text, SecretKind::Refresh).map(Held::Refresh),
    })
}

/// End a token (RFC 7009), with all tokens of the same authorization. One that is not there, or another application's,
/// is left as it is, and nobody is told.
#[utoipa::path(post, path = "/oauth/revoke", tag = "oauth",
    request_body(content = HeldForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It lets nobody in any more"), (status = 400, body = OauthError),
        (status = 401, body = OauthError)))]
pub async fn revoke_token(State(app): State<App>, asked: Asked, headers: HeaderMap, form: Form) -> Told {
    let application = authenticate(&app, (&headers, &form), (&asked, Wanted::Any)).await?;
    if let Some(held) = held(&form)? {
        app.store().revoke_held(&application, held, signed(&asked, &application)).await?;
    }
    Ok(axum::response::IntoResponse::into_response(()))
}

/// What a token is worth.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Introspection {
    /// Whether it is worth anything to the application that asks.
    active: bool,
    /// What whoever has it may do now, with spaces between permissions.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The application's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// In whose name: the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// In whose name: the id of the member; of the application when it is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// `Bearer`, of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// Until when, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

/// What a token of the application that asks is worth now (RFC 7662). Of others' it learns nothing.
#[utoipa::path(post, path = "/oauth/introspect", tag = "oauth",
    request_body(content = HeldForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Introspection), (status = 400, body = OauthError),
        (status = 401, body = OauthError)))]
pub async fn introspect_token(State(app): State<App>, asked: Asked, headers: HeaderMap, form: Form) -> Told {
    let application = authenticate(&app, (&headers, &form), (&asked, Wanted::Confidential)).await?;
    let held = held(&form)?;
    let live = match held {
        Some(held) => app.store().live(&application, held).await?,
        None => None,
    };
    let Some(live) = live else { return Ok(reply::ok(&Introspection::default())?) };
    let (member, email) = live.of.unzip();
    Ok(reply::ok(&Introspection {
        active: true,
        scope: Some(live.scopes.join(" ")),
        client_id: Some(application.id.to_string()),
        username: email,
        sub: Some(member.unwrap_or(application.id).to_string()),
        token_type: matches!(held, Some(Held::Access(_))).then_some("Bearer"),
        exp: Some(live.expires_at.micros() / 1_000_000),
        iat: Some(live.issued_at.micros() / 1_000_000),
        iss: Some(oauth::issuer(&app, &headers)?),
    })?)
}

/// Where everything is (RFC 8414).
#[derive(Debug, Serialize, ToSchema)]
pub struct Metadata {
    /// How this server calls itself.
    issuer: String,
    /// Where applications send browsers.
    authorization_endpoint: String,
    /// Where they get tokens.
    token_endpoint: String,
    /// Where they end them.
    revocation_endpoint: String,
    /// Where they ask what one is worth.
    introspection_endpoint: String,
    /// Every permission that an application may have.
    scopes_supported: Vec<&'static str>,
    /// `code`.
    response_types_supported: [&'static str; 1],
    /// `query`.
    response_modes_supported: [&'static str; 1],
    /// For what there are tokens.
    grant_types_supported: [&'static str; 3],
    /// How applications say who they are.
    token_endpoint_auth_methods_supported: [&'static str; 3],
    /// The same where they end tokens.
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    /// The same where they ask about them.
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// `S256`.
    code_challenge_methods_supported: [&'static str; 1],
    /// Answers say who sends them (RFC 9207).
    authorization_response_iss_parameter_supported: bool,
}

/// Where applications find the ways of OAuth 2 (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth",
    responses((status = 200, body = Metadata)))]
pub async fn metadata(State(app): State<App>, headers: HeaderMap) -> Reply {
    let issuer = oauth::issuer(&app, &headers)?;
    let at = |way: &str| format!("{issuer}/api/v1/oauth/{way}");
    let methods = ["client_secret_basic", "client_secret_post", "none"];
    let all = permission::all().iter().map(|it| it.name);
    reply::ok(&Metadata {
        authorization_endpoint: at("authorize"),
        token_endpoint: at("token"),
        revocation_endpoint: at("revoke"),
        introspection_endpoint: at("introspect"),
        scopes_supported: all.filter(|it| !permission::is_personal(it)).collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: ["authorization_code", "refresh_token", "client_credentials"],
        token_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_methods_supported: methods,
        introspection_endpoint_auth_methods_supported: [methods[0], methods[1]],
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
        issuer,
    })
}
