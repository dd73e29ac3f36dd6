//! Applications of third parties, as a client library of others uses them.

use oauth2::url::form_urlencoded::Serializer;
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, IntrospectionUrl, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RevocationUrl,
    Scope, StandardRevocableToken, TokenIntrospectionResponse as _, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicTokenResponse},
};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};
use windlass_testkit::sign_on::Authenticator;

use crate::{
    browser::Browser,
    harness::{Answer, Api, TOKEN, send},
    identity::{PASSWORD, administrator, come, member, member_id, token_of, with},
    second_factor::{asking, require},
};

const PAGE: &str = include_str!("../../../../docs/oauth.md");
const BACK: &str = "https://reports.example.org/callback";
const DOCUMENT: &str = "name: order\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointSet, EndpointSet, EndpointSet>;

/// An application, and a library of somebody else's set up for it.
struct Application {
    id: String,
    secret: Option<String>,
    client: Client,
}

/// What the page shows to be registered, with these changes.
fn body(changes: Value) -> Value {
    let block = PAGE.split("```json").nth(1).and_then(|it| it.split("```").next()).unwrap();
    let mut body: Value = serde_json::from_str(block).unwrap();
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

/// Registers it as the administrator, and finds everything else by its metadata.
async fn register(api: &Api, changes: Value) -> Application {
    let made = api.post("/oauth-applications", body(changes)).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let mut secret = None;
    if made["client_type"] == "confidential" {
        let made = api.post(&format!("/oauth-applications/{id}/secret"), json!({})).await.expect(201);
        assert_eq!(made["client_id"], json!(id));
        secret = made["client_secret"].as_str().map(str::to_owned);
    }
    let found = send(api.bare(Method::GET, "/.well-known/oauth-authorization-server")).await.expect(200);
    assert_eq!(found["issuer"], json!(api.base));
    let at = |name: &str| found[name].as_str().unwrap().to_owned();
    let mut client = BasicClient::new(ClientId::new(id.clone()))
        .set_auth_uri(AuthUrl::new(at("authorization_endpoint")).unwrap())
        .set_token_uri(TokenUrl::new(at("token_endpoint")).unwrap())
        .set_introspection_url(IntrospectionUrl::new(at("introspection_endpoint")).unwrap())
        // The library insists on https here, and `carry` goes without it.
        .set_revocation_url(RevocationUrl::new(at("revocation_endpoint").replacen("http:", "https:", 1)).unwrap())
        .set_redirect_uri(RedirectUrl::new(BACK.to_owned()).unwrap());
    if let Some(secret) = &secret {
        client = client.set_client_secret(ClientSecret::new(secret.clone()));
    }
    Application { id, secret, client }
}

/// Sends what the library wants sent.
async fn carry(request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let mut request: reqwest::Request = request.try_into()?;
    request.url_mut().set_scheme("http").unwrap();
    let response = client.execute(request).await?;
    let mut carried = HttpResponse::new(Vec::new());
    *carried.status_mut() = response.status();
    *carried.headers_mut() = response.headers().clone();
    *carried.body_mut() = response.bytes().await?.to_vec();
    Ok(carried)
}

/// A request of an application that waits for a person's answer.
struct Asked {
    url: Url,
    state: CsrfToken,
    verifier: PkceCodeVerifier,
}

impl Application {
    fn ask(&self, scopes: &[&str]) -> Asked {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = scopes.iter().map(|it| Scope::new((*it).to_owned()));
        let asking = self.client.authorize_url(CsrfToken::new_random).add_scopes(scopes).set_pkce_challenge(challenge);
        let (url, state) = asking.url();
        Asked { url, state, verifier }
    }

    /// Tokens for the code in the address that the browser came back to.
    async fn tokens(&self, api: &Api, asked: Asked, back: &str) -> BasicTokenResponse {
        let code = code_of(api, (&asked, back));
        let exchange = self.client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(asked.verifier);
        exchange.request_async(&carry).await.unwrap()
    }

    async fn refreshed(&self, token: &str) -> Result<BasicTokenResponse, String> {
        let token = RefreshToken::new(token.to_owned());
        let refreshed = self.client.exchange_refresh_token(&token).request_async(&carry).await;
        refreshed.map_err(|error| format!("{error:?}"))
    }
}

/// What an answer says, once it is for this request and from this server.
fn code_of(api: &Api, (asked, back): (&Asked, &str)) -> String {
    let said = said(back);
    assert_eq!((&said["state"], &said["iss"]), (asked.state.secret(), &api.base), "{back}");
    said["code"].clone()
}

fn said(back: &str) -> std::collections::HashMap<String, String> {
    assert!(back.starts_with(&format!("{BACK}?")), "{back}");
    Url::parse(back).unwrap().query_pairs().into_owned().collect()
}

/// The query of a request, as the API takes it in a body.
fn request_of(url: &Url) -> Value {
    json!(url.query_pairs().into_owned().collect::<std::collections::HashMap<_, _>>())
}

/// Somebody answers over the API.
async fn answer(api: &Api, (token, decision): (&str, &str), asked: &Asked) -> Answer {
    let body = json!({ "decision": decision, "request": request_of(&asked.url) });
    with(api, token, (Method::POST, "/me/authorization"), Some(body)).await
}

/// Tokens in somebody's name.
async fn let_in(api: &Api, application: &Application, token: &str, scopes: &[&str]) -> BasicTokenResponse {
    let asked = application.ask(scopes);
    let answered = answer(api, (token, "approve"), &asked).await.expect(200);
    application.tokens(api, asked, answered["redirect_to"].as_str().unwrap()).await
}

fn access(tokens: &BasicTokenResponse) -> String {
    tokens.access_token().secret().clone()
}

fn refresh(tokens: &BasicTokenResponse) -> String {
    tokens.refresh_token().unwrap().secret().clone()
}

async fn is_out(api: &Api, token: &str) {
    with(api, token, (Method::GET, "/runs"), None).await.problem(401, "unauthorized");
}

async fn is_in(api: &Api, token: &str) {
    with(api, token, (Method::GET, "/runs"), None).await.expect(200);
}

/// Starts a run, and waits for its end.
async fn start(api: &Api, token: &str) -> Value {
    with(api, token, (Method::POST, "/workflows/order/runs?wait=30s"), Some(json!({}))).await.expect(200)
}

/// What is sent to a way for applications.
async fn form(api: &Api, way: &str, pairs: &[(&str, &str)]) -> Answer {
    send(fill(api.bare(Method::POST, &format!("/api/v1/oauth/{way}")), pairs)).await
}

pub fn fill(request: RequestBuilder, pairs: &[(&str, &str)]) -> RequestBuilder {
    let body = Serializer::new(String::new()).extend_pairs(pairs).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

fn error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.expect(status)["error"], error, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
}

pub async fn an_application_acts_in_the_name_of_somebody(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "operator")).await;
    let application = register(&api, json!({})).await;
    api.deploy("order", DOCUMENT).await;

    let asked = application.ask(&["runs.read", "runs.start"]);
    let query = asked.url.query().unwrap();
    let shown = with(&api, &ada, (Method::GET, &format!("/me/authorization?{query}")), None).await.expect(200);
    assert_eq!((&shown["name"], &shown["redirect_uri"]), (&json!("reports"), &json!(BACK)));
    assert_eq!(shown["scopes"][0]["description"], "See runs, their steps, journals and events.");
    assert_eq!((&shown["scopes"][1]["allowed"], &shown["consented"]), (&json!(true), &json!(false)));
    let refused = answer(&api, (&ada, "refuse"), &asked).await.expect(200);
    let refused = said(refused["redirect_to"].as_str().unwrap());
    assert_eq!((refused["error"].as_str(), &refused["iss"]), ("access_denied", &api.base));

    let answered = answer(&api, (&ada, "approve"), &asked).await.expect(200);
    let tokens = application.tokens(&api, asked, answered["redirect_to"].as_str().unwrap()).await;
    assert_eq!(tokens.expires_in().unwrap().as_secs(), 600);
    let token = access(&tokens);
    let me = with(&api, &token, (Method::GET, "/me"), None).await.expect(200);
    assert_eq!(me["who"], "application:reports for ada@example.org");
    assert_eq!(me["permissions"], json!(["runs.read", "runs.start"]));
    let run = start(&api, &token).await;
    assert_eq!(run["started_by"], json!({ "application": { "name": "reports", "of": "ada@example.org" } }), "{run}");
    for path in ["/workflows", "/audit-entries", "/oauth-applications", "/members"] {
        with(&api, &token, (Method::GET, path), None).await.problem(403, "forbidden");
    }
    // What is a person's own is nobody else's.
    for (method, path) in [
        (Method::GET, "/me/sessions"),
        (Method::POST, "/sign-out"),
        (Method::POST, "/sign-out/everywhere"),
        (Method::GET, "/me/oauth-consents"),
        (Method::POST, "/me/second-factor"),
    ] {
        let body = (method == Method::POST && path.ends_with("factor")).then(|| json!({ "password": PASSWORD }));
        with(&api, &token, (method, path), body).await.problem(409, "no_session");
    }
    let again = application.ask(&["runs.read"]);
    answer(&api, (&token, "approve"), &again).await.problem(409, "no_session");
    answer(&api, (TOKEN, "approve"), &again).await.problem(409, "no_session");

    let next = application.refreshed(&refresh(&tokens)).await.unwrap();
    is_in(&api, &token).await;
    is_in(&api, &access(&next)).await;
    let worth = application.client.introspect(next.access_token()).request_async(&carry).await.unwrap();
    assert!(worth.active());
    assert_eq!(worth.username(), Some("ada@example.org"));
    assert_eq!(worth.scopes().unwrap().len(), 2);
    let refresh_token = next.refresh_token().unwrap();
    let end = application.client.revoke_token(StandardRevocableToken::from(refresh_token)).unwrap();
    end.request_async(&carry).await.unwrap();
    let worth = application.client.introspect(next.access_token()).request_async(&carry).await.unwrap();
    assert!(!worth.active());
    is_out(&api, &token).await;
    is_out(&api, &access(&next)).await;
    assert!(application.refreshed(&refresh(&next)).await.unwrap_err().contains("invalid_grant"));

    let entries = api.get("/audit-entries?limit=200").await.expect(200);
    let entries = entries["items"].as_array().unwrap();
    let of = |record: &str, action: &str| entries.iter().find(|it| it["record"] == record && it["action"] == action);
    for (record, action, by) in [
        ("oauth_applications", "create", "token:admin"),
        ("oauth_applications", "make_secret", "token:admin"),
        ("oauth_consents", "consent", "person:ada@example.org"),
        ("oauth_authorizations", "authorize", "person:ada@example.org"),
        ("oauth_authorizations", "use_code", "application:reports for ada@example.org"),
        ("oauth_authorizations", "refresh", "application:reports for ada@example.org"),
        ("oauth_tokens", "issue", "application:reports for ada@example.org"),
        ("oauth_authorizations", "revoke", "application:reports"),
    ] {
        let entry = of(record, action).unwrap_or_else(|| panic!("no {action} of {record}: {entries:#?}"));
        assert_eq!(entry["created_by"], by, "{entry}");
    }
    for secret in [application.secret.as_deref().unwrap(), &token, &refresh(&next)] {
        assert!(!json!(entries).to_string().contains(secret), "the audit holds a secret");
    }
}

pub async fn a_browser_is_asked_once(api: Api) {
    let admin = administrator(&api).await;
    member(&api, &admin, ("ada@example.org", "viewer")).await;
    let application = register(&api, json!({ "description": "<b>figures</b>" })).await;
    let asked = application.ask(&["runs.read"]);
    let mut browser = Browser::new();
    let page = browser.get(asked.url.as_str()).await;
    page.expect_text(200);
    assert!(page.body.contains("Sign in first") && page.body.contains("windlass oauth answer"), "{}", page.body);
    let signs_in = json!({ "email": "ada@example.org", "password": PASSWORD, "deliver": "cookie" });
    let sign_in = format!("{}/api/v1/sign-in", api.base);
    browser.send(Method::POST, &sign_in, Some(signs_in.to_string())).await.expect(200);

    let page = browser.get(asked.url.as_str()).await;
    page.expect_text(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert!(page.body.contains("person:ada@example.org") && page.body.contains("&lt;b&gt;figures"), "{}", page.body);
    // Nothing was answered yet, and no other site answers.
    assert_eq!(api.get("/oauth-consents").await.expect(200)["items"], json!([]));
    let fields = asked.url.query().unwrap();
    let way = format!("{}/api/v1/oauth/answer", api.base);
    let cookie = browser.clone();
    let forged = send(
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(&way)
            .header("origin", "https://evil.example.org")
            .header("cookie", cookie.cookies(&api.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("{fields}&decision=approve")),
    );
    forged.await.problem(403, "origin_refused");
    let back = browser.submit(&way, &format!("{fields}&decision=approve")).await;
    let tokens = application.tokens(&api, asked, &back).await;
    is_in(&api, &access(&tokens)).await;

    // Another time nobody is asked, but for more.
    let asked = application.ask(&["runs.read"]);
    let page = browser.get(asked.url.as_str()).await;
    page.expect(303);
    let tokens = application.tokens(&api, asked, page.header("location")).await;
    is_in(&api, &access(&tokens)).await;
    let more = application.ask(&["runs.read", "runs.start"]);
    browser.get(more.url.as_str()).await.expect_text(200);
    let refused = browser.submit(&way, &format!("{}&decision=refuse", more.url.query().unwrap())).await;
    assert_eq!(said(&refused)["error"], "access_denied");
    // Somebody who is no application's own is asked each time.
    let public = json!({ "name": "shell", "client_type": "public", "redirect_uris": ["http://127.0.0.1:7777/back"] });
    let public = register(&api, public).await;
    let mut asked = public.ask(&["runs.read"]);
    let pairs: Vec<(String, String)> =
        asked.url.query_pairs().into_owned().filter(|(it, _)| it != "redirect_uri").collect();
    asked.url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("redirect_uri", "http://127.0.0.1:7777/back");
    for _ in 0..2 {
        browser.get(asked.url.as_str()).await.expect_text(200);
        let to = browser.submit(&way, &format!("{}&decision=approve", asked.url.query().unwrap())).await;
        assert!(to.starts_with("http://127.0.0.1:7777/back?code="), "{to}");
    }
}

pub async fn a_code_and_a_refresh_token_work_once(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "viewer")).await;
    let application = register(&api, json!({})).await;
    let (id, secret) = (application.id.clone(), application.secret.clone().unwrap());
    let asked = application.ask(&["runs.read"]);
    let answered = answer(&api, (&ada, "approve"), &asked).await.expect(200);
    let code = code_of(&api, (&asked, answered["redirect_to"].as_str().unwrap()));
    let verifier = asked.verifier.secret().clone();
    let exchange = |pairs: &[(&'static str, &str)]| {
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &id),
            ("client_secret", &secret),
            ("code", &code),
            ("redirect_uri", BACK),
            ("code_verifier", &verifier),
        ];
        all.retain(|(name, _)| !pairs.iter().any(|(other, _)| other == name));
        all.extend(pairs);
        all.into_iter().filter(|(_, it)| !it.is_empty()).map(|(a, b)| (a, b.to_owned())).collect::<Vec<_>>()
    };
    let try_code = async |pairs: &[(&'static str, &str)]| {
        let pairs = exchange(pairs);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (*a, b.as_str())).collect();
        form(&api, "token", &pairs).await
    };
    let other = register(&api, json!({ "name": "other" })).await;
    let (other_id, other_secret) = (other.id.clone(), other.secret.clone().unwrap());
    // What does not fit uses nothing up.
    for (pairs, said) in [
        (vec![("code_verifier", "")], "invalid_request"),
        (vec![("code_verifier", "another-verifier-of-which-the-challenge-was-not")], "invalid_grant"),
        (vec![("redirect_uri", "https://reports.example.org/callback/")], "invalid_grant"),
        (vec![("redirect_uri", "")], "invalid_request"),
        (vec![("code", "wlc_none")], "invalid_grant"),
        (vec![("client_id", other_id.as_str()), ("client_secret", other_secret.as_str())], "invalid_grant"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (vec![("grant_type", "")], "invalid_request"),
    ] {
        error(&try_code(&pairs).await, 400, said);
    }
    let tokens = try_code(&[]).await.expect(200);
    let (first, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    is_in(&api, first).await;
    assert_eq!(tokens["scope"], "runs.read");
    let twice = try_code(&[]).await;
    error(&twice, 400, "invalid_grant");
    assert!(twice.body.contains("used before"), "{}", twice.body);
    is_out(&api, first).await;
    assert!(application.refreshed(refresh).await.is_err());

    // The same for refresh tokens: the thief and the robbed one both are out.
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    let stolen = tokens.refresh_token().unwrap().secret().clone();
    let second = application.refreshed(&stolen).await.unwrap();
    let third = application.refreshed(second.refresh_token().unwrap().secret()).await.unwrap();
    assert!(other.refreshed(&stolen).await.is_err());
    is_in(&api, &access(&third)).await;
    assert!(application.refreshed(&stolen).await.unwrap_err().contains("used before"));
    is_out(&api, &access(&third)).await;
    assert!(application.refreshed(third.refresh_token().unwrap().secret()).await.is_err());
    let ended = api.get("/audit-entries?action=end_reused").await.expect(200);
    assert_eq!(ended["items"].as_array().unwrap().len(), 2, "{ended}");
    // Of two who come at once with one token, one gets tokens, and those end.
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    let same = refresh_of(&tokens);
    let (one, two) = tokio::join!(application.refreshed(&same), application.refreshed(&same));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    is_out(&api, &access(&one.or(two).unwrap())).await;
    // Fewer scopes for one token, and never more.
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    let wide = [
        ("grant_type", "refresh_token"),
        ("client_id", &id),
        ("client_secret", &secret),
        ("scope", "runs.read runs.start"),
    ];
    let same = refresh_of(&tokens);
    let wide: Vec<(&str, &str)> = wide.into_iter().chain([("refresh_token", same.as_str())]).collect();
    error(&form(&api, "token", &wide).await, 400, "invalid_scope");
    assert!(application.refreshed(&same).await.is_ok());
}

fn refresh_of(tokens: &BasicTokenResponse) -> String {
    refresh(tokens)
}

pub async fn what_an_application_holds_ends(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "operator")).await;
    let application = register(&api, json!({})).await;
    let id = member_id(&api, "ada@example.org").await;
    let signs_in = json!({ "email": "ada@example.org", "password": PASSWORD });
    // By whom it was given.
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    let own = with(&api, &ada, (Method::GET, "/me/oauth-consents"), None).await.expect(200);
    assert_eq!((&own["items"][0]["name"], &own["items"][0]["scopes"]), (&json!("reports"), &json!(["runs.read"])));
    assert!(own["items"][0]["last_token_at"].is_string(), "{own}");
    let path = format!("/me/oauth-consents/{}/revoke", own["items"][0]["id"].as_str().unwrap());
    with(&api, &admin, (Method::POST, &path), None).await.problem(404, "not_found");
    with(&api, &ada, (Method::POST, &path), None).await.expect(204);
    with(&api, &ada, (Method::POST, &path), None).await.problem(404, "not_found");
    is_out(&api, &access(&tokens)).await;
    assert!(application.refreshed(&refresh(&tokens)).await.is_err());
    // It has to be given anew, and what was there before stays away.
    let newer = let_in(&api, &application, &ada, &["runs.read", "runs.start"]).await;
    is_out(&api, &access(&tokens)).await;
    assert!(application.refreshed(&refresh(&tokens)).await.is_err());
    is_in(&api, &access(&newer)).await;

    // It is never more than the person may do now.
    let all = api.get(&format!("/role-assignments?member_id={id}")).await.expect(200);
    let assignment = all["items"][0].clone();
    let path = format!("/role-assignments/{}", assignment["id"].as_str().unwrap());
    send(api.request(Method::DELETE, &path)).await.expect(204);
    with(&api, &access(&newer), (Method::GET, "/runs"), None).await.problem(403, "forbidden");
    let again = json!({ "member_id": id, "role_id": assignment["role_id"] });
    api.post("/role-assignments", again).await.expect(201);
    is_in(&api, &access(&newer)).await;
    // Nor than the application may.
    let path = format!("/oauth-applications/{}", application.id);
    send(api.request(Method::PATCH, &path).json(&json!({ "scopes": ["runs.start"] }))).await.expect(200);
    with(&api, &access(&newer), (Method::GET, "/runs"), None).await.problem(403, "forbidden");
    send(api.request(Method::PATCH, &path).json(&json!({ "scopes": ["runs.read", "runs.start"] }))).await.expect(200);
    is_in(&api, &access(&newer)).await;

    // The member, the user and the application may be held up.
    for (suspend, resume) in [
        (format!("/members/{id}/suspend"), format!("/members/{id}/reactivate")),
        (format!("{path}/suspend"), format!("{path}/reactivate")),
    ] {
        api.post(&suspend, json!({})).await.expect(200);
        is_out(&api, &access(&newer)).await;
        assert!(application.refreshed(&refresh(&newer)).await.is_err());
        api.post(&resume, json!({})).await.expect(200);
        is_in(&api, &access(&newer)).await;
    }
    // Signing out everywhere ends it for good, and so does another password.
    with(&api, &ada, (Method::POST, "/sign-out/everywhere"), None).await.expect(204);
    is_out(&api, &access(&newer)).await;
    assert!(application.refreshed(&refresh(&newer)).await.is_err());
    let ada = token_of(&come(&api, "/sign-in", signs_in).await.expect(200));
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    let change = json!({ "current": PASSWORD, "new": "staple correct horse" });
    with(&api, &ada, (Method::PUT, "/me/password"), Some(change)).await.expect(204);
    is_out(&api, &access(&tokens)).await;
    // Whoever looks after applications ends what they hold, too.
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    let authorizations = api.get("/oauth-authorizations?status=active").await.expect(200);
    let path_of = format!("/oauth-authorizations/{}/revoke", authorizations["items"][0]["id"].as_str().unwrap());
    api.post(&path_of, json!({})).await.expect(200);
    is_out(&api, &access(&tokens)).await;
    // With the application goes everything.
    let tokens = let_in(&api, &application, &ada, &["runs.read"]).await;
    is_in(&api, &access(&tokens)).await;
    send(api.request(Method::DELETE, &path)).await.expect(204);
    is_out(&api, &access(&tokens)).await;
    assert!(application.refreshed(&refresh(&tokens)).await.unwrap_err().contains("invalid_client"));
    for noun in ["oauth-consents", "oauth-authorizations", "oauth-tokens"] {
        assert_eq!(api.get(&format!("/{noun}")).await.expect(200)["items"], json!([]), "{noun}");
    }
}

pub async fn who_lacks_a_second_factor_lets_no_application_in(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "operator")).await;
    let application = register(&api, json!({ "client_credentials": true })).await;
    let before = let_in(&api, &application, &ada, &["runs.read"]).await;
    let waiting = application.ask(&["runs.read"]);
    let keeper = asking(&api, &admin).await;
    // What she let in before goes on: it acts for her, and is no person.
    is_in(&api, &access(&before)).await;
    let next = application.refreshed(&refresh(&before)).await.unwrap();
    is_in(&api, &access(&next)).await;
    let own = [
        ("grant_type", "client_credentials"),
        ("client_id", application.id.as_str()),
        ("client_secret", application.secret.as_deref().unwrap()),
    ];
    let own = form(&api, "token", &own).await.expect(200);
    is_in(&api, own["access_token"].as_str().unwrap()).await;
    // She lets in nothing new, by whatever way she answers, nor by what she said before.
    for decision in ["approve", "refuse"] {
        answer(&api, (&ada, decision), &waiting).await.problem(403, "second_factor_needed");
    }
    let authorizations = api.get("/oauth-authorizations").await.expect(200)["items"].as_array().unwrap().len();
    let cookie = format!("__Host-windlass={ada}");
    let in_browser = |cookie: &str| {
        let path = waiting.url.as_str().strip_prefix(&api.base).unwrap();
        let request = api.bare(Method::GET, path).header("cookie", cookie);
        request.header("accept", "text/html,*/*")
    };
    send(in_browser(&cookie)).await.problem(403, "second_factor_needed");
    let form = [request_of(&waiting.url), json!({ "decision": "approve" })];
    let form = form.iter().flat_map(|it| it.as_object().unwrap());
    let form = Serializer::new(String::new()).extend_pairs(form.map(|(k, v)| (k, v.as_str().unwrap()))).finish();
    let page = api.bare(Method::POST, "/api/v1/oauth/answer").header("cookie", &cookie).header("origin", &api.base);
    let page = page.header("content-type", "application/x-www-form-urlencoded").body(form);
    send(page).await.problem(403, "second_factor_needed");
    let after = api.get("/oauth-authorizations").await.expect(200)["items"].as_array().unwrap().len();
    assert_eq!(after, authorizations, "nothing was let in");
    // Once she has one, she answers.
    crate::identity::second_factor(&api, &ada).await;
    answer(&api, (&ada, "approve"), &waiting).await.expect(200);
    require(&api, &keeper, false).await.expect(200);
}

pub async fn an_application_acts_in_its_own_name(api: Api) {
    let changes = json!({ "client_credentials": true, "redirect_uris": [], "scopes": ["runs.read", "runs.start"] });
    let application = register(&api, changes).await;
    api.deploy("order", DOCUMENT).await;
    let asked = application.client.exchange_client_credentials().add_scope(Scope::new("runs.read".to_owned()));
    let tokens = asked.request_async(&carry).await.unwrap();
    assert!(tokens.refresh_token().is_none());
    let me = with(&api, &access(&tokens), (Method::GET, "/me"), None).await.expect(200);
    assert_eq!((&me["who"], &me["permissions"]), (&json!("application:reports"), &json!(["runs.read"])));
    with(&api, &access(&tokens), (Method::POST, "/workflows/order/runs"), Some(json!({})))
        .await
        .problem(403, "forbidden");
    let all = application.client.exchange_client_credentials().request_async(&carry).await.unwrap();
    assert_eq!(start(&api, &access(&all)).await["started_by"]["application"]["of"], Value::Null);
    let more = application.client.exchange_client_credentials().add_scope(Scope::new("audit.read".to_owned()));
    assert!(format!("{:?}", more.request_async(&carry).await.unwrap_err()).contains("invalid_scope"));
    // One that ends does not end the others.
    let end = application.client.revoke_token(StandardRevocableToken::from(tokens.access_token())).unwrap();
    end.request_async(&carry).await.unwrap();
    is_out(&api, &access(&tokens)).await;
    is_in(&api, &access(&all)).await;

    // Secrets are replaced with an overlap, or at once.
    let path = format!("/oauth-applications/{}/secret", application.id);
    let (id, old) = (application.id.as_str(), application.secret.clone().unwrap());
    let token = async |secret: &str| {
        let pairs = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        form(&api, "token", &pairs).await
    };
    let made = api.post(&path, json!({ "former_minutes": 10 })).await.expect(201);
    let new = made["client_secret"].as_str().unwrap();
    assert!(made["former_until"].is_string(), "{made}");
    token(&old).await.expect(200);
    token(new).await.expect(200);
    let newest = api.post(&path, json!({})).await.expect(201);
    error(&token(&old).await, 401, "invalid_client");
    error(&token(new).await, 401, "invalid_client");
    token(newest["client_secret"].as_str().unwrap()).await.expect(200);
    let shown = api.get(&format!("/oauth-applications/{id}")).await.expect(200);
    assert!(shown.get("secret_hash").is_none_or(Value::is_null), "{shown}");
    // Guesses are bounded, and the application itself still comes in from elsewhere.
    for _ in 0..10 {
        token("wla_guess").await;
    }
    token("wla_guess").await.problem(429, "too_many_attempts");
    let failed = api.get("/audit-entries?action=sign_in_failed").await.expect(200);
    assert_eq!(failed["items"][0]["record"], "oauth_applications", "{failed}");
}

pub async fn who_sets_up_an_application_gains_nothing(api: Api) {
    let admin = administrator(&api).await;
    let role = json!({ "name": "keeper", "permissions": ["applications.read", "applications.write", "runs.read"] });
    api.post("/roles", role).await.expect(201);
    let keeper = member(&api, &admin, ("keeper@example.org", "keeper")).await;
    let post = async |body: Value| with(&api, &keeper, (Method::POST, "/oauth-applications"), Some(body)).await;
    for (changes, pointer) in [
        (json!({ "scopes": ["runs.start"] }), "/scopes/0"),
        (json!({ "scopes": ["runs.fly"] }), "/scopes/0"),
        (json!({ "scopes": ["runs.read", "runs.read"] }), "/scopes/1"),
        (json!({ "scopes": ["applications.write"] }), "/scopes/0"),
        (json!({ "scopes": ["approvals.decide"] }), "/scopes/0"),
        (json!({ "scopes": ["*"] }), "/scopes/0"),
        (json!({ "redirect_uris": ["http://reports.example.org/back"] }), "/redirect_uris/0"),
        (json!({ "redirect_uris": ["https://reports.example.org/back#here"] }), "/redirect_uris/0"),
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "/redirect_uris/0"),
        (json!({ "redirect_uris": ["https://reports.example.org/<b>"] }), "/redirect_uris/0"),
        (json!({ "redirect_uris": ["https://u:p@reports.example.org/"] }), "/redirect_uris/0"),
        (json!({ "client_type": "public", "client_credentials": true }), "/client_credentials"),
    ] {
        let mut body = body(json!({ "scopes": ["runs.read"] }));
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let refused = post(body).await.problem(422, "invalid_input");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let own = post(body(json!({ "name": "own", "scopes": ["runs.read"] }))).await.expect(201);
    // One that may do more is not his: not its addresses, not its secret, not its end.
    let strong = register(&api, json!({ "client_credentials": true })).await;
    let path = format!("/oauth-applications/{}", strong.id);
    let elsewhere = json!({ "redirect_uris": ["https://evil.example.org/"] });
    with(&api, &keeper, (Method::PATCH, &path), Some(elsewhere)).await.problem(422, "invalid_input");
    with(&api, &keeper, (Method::POST, &format!("{path}/secret")), None).await.problem(422, "invalid_input");
    with(&api, &keeper, (Method::DELETE, &path), None).await.problem(422, "invalid_input");
    with(&api, &keeper, (Method::POST, &format!("{path}/suspend")), None).await.problem(422, "invalid_input");
    let public = post(body(json!({ "name": "p", "client_type": "public", "scopes": ["runs.read"] }))).await.expect(201);
    let path = format!("/oauth-applications/{}/secret", public["id"].as_str().unwrap());
    with(&api, &keeper, (Method::POST, &path), None).await.problem(409, "transition_guarded");

    // Of another tenant nobody sees anything.
    let other = api.tenant("other").await;
    let path = format!("/oauth-applications/{}", own["id"].as_str().unwrap());
    with(&api, &other, (Method::GET, &path), None).await.problem(404, "not_found");
    with(&api, &other, (Method::POST, &format!("{path}/secret")), None).await.problem(404, "not_found");
    // A suspended tenant lets no application in.
    let elsewhere = json!({ "name": "theirs", "client_credentials": true });
    let theirs = with(&api, &other, (Method::POST, "/oauth-applications"), Some(body(elsewhere))).await.expect(201);
    let id = theirs["id"].as_str().unwrap();
    let path = format!("/oauth-applications/{id}/secret");
    let secret = with(&api, &other, (Method::POST, &path), None).await.expect(201);
    let pairs = [
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", secret["client_secret"].as_str().unwrap()),
    ];
    let token = form(&api, "token", &pairs).await.expect(200);
    let token = token["access_token"].as_str().unwrap();
    is_in(&api, token).await;
    let tenants = api.get("/tenants?slug=other").await.expect(200);
    let path = format!("/tenants/{}/suspend", tenants["items"][0]["id"].as_str().unwrap());
    api.post(&path, json!({})).await.expect(200);
    with(&api, token, (Method::GET, "/runs"), None).await.problem(403, "tenant_suspended");
    error(&form(&api, "token", &pairs).await, 401, "invalid_client");
}

pub async fn a_request_that_is_wrong_goes_nowhere(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "viewer")).await;
    let application = register(&api, json!({})).await;
    let mut browser = Browser::new();
    let change = |name: &str, value: Option<&str>| {
        let mut url = application.ask(&["runs.read"]).url;
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(it, _)| it != name).collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    };
    for (name, value, code) in [
        ("client_id", None, "unknown_application"),
        ("client_id", Some("019aa7d0-0000-7000-8000-000000000001"), "unknown_application"),
        ("redirect_uri", None, "unknown_redirect_uri"),
        ("redirect_uri", Some("https://reports.example.org/callback/"), "unknown_redirect_uri"),
        ("redirect_uri", Some("https://reports.example.org/callback?x=1"), "unknown_redirect_uri"),
        ("redirect_uri", Some("https://evil.example.org/"), "unknown_redirect_uri"),
    ] {
        let url = change(name, value);
        browser.get(url.as_str()).await.problem(400, code);
        let path = format!("/me/authorization?{}", url.query().unwrap());
        with(&api, &ada, (Method::GET, &path), None).await.problem(400, code);
    }
    for (name, value, error) in [
        ("response_type", Some("token"), "unsupported_response_type"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some("short"), "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("scope", Some("audit.read"), "invalid_scope"),
        ("scope", Some("*"), "invalid_scope"),
    ] {
        let url = change(name, value);
        let page = browser.get(url.as_str()).await;
        page.expect(303);
        let said = said(page.header("location"));
        assert_eq!((said["error"].as_str(), &said["iss"]), (error, &api.base), "{name}");
        assert!(said.contains_key("state") && !said.contains_key("code"));
        let body = json!({ "decision": "approve", "request": request_of(&url) });
        with(&api, &ada, (Method::POST, "/me/authorization"), Some(body)).await.problem(400, "invalid_request");
    }
    // Nobody answers in another's name, nor for another tenant.
    let asked = application.ask(&["runs.read"]);
    let id = member_id(&api, "ada@example.org").await;
    let (path, reason) = (format!("/members/{id}/impersonate"), Some(json!({ "reason": "x" })));
    let acting = token_of(&with(&api, &admin, (Method::POST, &path), reason).await.expect(201));
    answer(&api, (&acting, "approve"), &asked).await.problem(403, "impersonated");
    // A second factor is asked for before there is a session, and without one there is no answer.
    let begun = with(&api, &ada, (Method::POST, "/me/second-factor"), Some(json!({ "password": PASSWORD })));
    let begun = begun.await.expect(201);
    let phone = Authenticator::open(begun["url"].as_str().unwrap());
    let confirm = json!({ "code": phone.code(0) });
    with(&api, &ada, (Method::POST, "/me/second-factor/confirm"), Some(confirm)).await.expect(200);
    let signs_in = json!({ "email": "ada@example.org", "password": PASSWORD });
    come(&api, "/sign-in", signs_in).await.problem(401, "second_factor_required");
    assert_eq!(api.get("/oauth-consents").await.expect(200)["items"], json!([]));
    assert_eq!(api.get("/oauth-authorizations").await.expect(200)["items"], json!([]));
    // What is not a form, or says things twice, is told in the words of the RFC.
    let way = "/api/v1/oauth/token";
    error(&send(api.bare(Method::POST, way).json(&json!({}))).await, 400, "invalid_request");
    error(&form(&api, "token", &[("grant_type", "a"), ("grant_type", "a")]).await, 400, "invalid_request");
    let nobody = form(&api, "token", &[("grant_type", "client_credentials")]).await;
    error(&nobody, 401, "invalid_client");
    assert_eq!(nobody.header("www-authenticate"), "Basic realm=\"windlass\"");
    let (id, secret) = (application.id.as_str(), application.secret.as_deref().unwrap());
    let basic = api.bare(Method::POST, way).basic_auth(id, Some(secret));
    let both = [("grant_type", "client_credentials"), ("client_secret", secret)];
    error(&send(fill(basic, &both)).await, 400, "invalid_request");
    let own = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    error(&form(&api, "token", &own).await, 400, "unauthorized_client");
    // Tokens of others are worth nothing to an application.
    let other = register(&api, json!({ "name": "other" })).await;
    let theirs =
        [("token", TOKEN), ("client_id", other.id.as_str()), ("client_secret", other.secret.as_deref().unwrap())];
    assert_eq!(form(&api, "introspect", &theirs).await.expect(200), json!({ "active": false }));
    form(&api, "revoke", &theirs).await.expect_text(200);
    api.get("/runs").await.expect(200);
}
