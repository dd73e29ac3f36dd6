//! Signing in with an identity provider: with one that signs whatever a test wants, and with a real one.

use std::process::Stdio;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use windlass_steps::egress::address::PrivateNetwork;
use windlass_testkit::sign_on::{Authenticator, CLIENT, Fake, SECRET, WRONGS, Wrong};

use crate::{
    browser::Browser,
    harness::{Answer, Api, send},
    identity::{administrator, come, token_of},
    second_factor::asking,
};

const PAGE: &str = include_str!("../../../../docs/sign-on.md");
const PASSWORD: &str = "correct horse battery";

/// The first block of JSON on the page, for that provider and with that role.
async fn body(api: &Api, issuer: &str, changes: Value) -> Value {
    let block = PAGE.split("```json").nth(1).and_then(|it| it.split("```").next()).unwrap();
    let mut body: Value = serde_json::from_str(block).unwrap();
    let fixed = json!({
        "issuer": issuer, "client_id": CLIENT, "client_secret": SECRET, "server_url": api.base,
        "default_role_id": role(api, "viewer").await,
    });
    for part in [fixed, changes] {
        body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    body
}

pub async fn provider(api: &Api, fake: &Fake, changes: Value) -> Value {
    api.post("/identity-providers", body(api, &fake.issuer, changes).await).await.expect(201)
}

pub async fn role(api: &Api, name: &str) -> Value {
    api.get(&format!("/roles?name={name}")).await.expect(200)["items"][0]["id"].clone()
}

/// Grace, as the provider knows her.
fn grace() -> Value {
    json!({ "sub": "248289761001", "email": "Grace@Example.org", "email_verified": true, "name": "Grace Hopper" })
}

/// The last answer of a sign-in.
pub async fn sign_in(api: &Api, browser: &mut Browser) -> Answer {
    let back = format!("{}/api/v1/sign-in/oidc/company/callback", api.base);
    let end = browser.until(&format!("{}/api/v1/sign-in/oidc/company", api.base), &back).await;
    browser.get(&end).await
}

pub async fn me(api: &Api, browser: &mut Browser) -> Value {
    browser.get(&format!("{}/api/v1/me", api.base)).await.expect(200)
}

pub fn may(me: &Value, permission: &str) -> bool {
    me["permissions"].as_array().unwrap().contains(&json!(permission))
}

/// How many rows there are of everything that a sign-in may write.
async fn written(api: &Api) -> Vec<usize> {
    let mut counts = Vec::new();
    for noun in ["users", "members", "role-assignments", "member-identities", "sessions", "invitations?status=accepted"]
    {
        counts.push(api.get(&format!("/{noun}")).await.expect(200)["items"].as_array().unwrap().len());
    }
    counts
}

/// Somebody does not come in, and nothing is written but why.
pub async fn refused(api: &Api, browser: &mut Browser, said: &str) {
    let before = written(api).await;
    let answer = sign_in(api, browser).await.problem(401, "sign_in_refused");
    assert!(answer["detail"].as_str().unwrap().contains(said), "{answer} does not say `{said}`");
    browser.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    assert_eq!(written(api).await, before, "{said}");
    let failed = api.get("/audit-entries?action=sign_in_failed&sort=-created_at&limit=1").await.expect(200);
    assert!(failed["items"][0]["changes"].to_string().contains(said), "{failed} does not say `{said}`");
}

pub async fn somebody_comes_by_a_provider(api: Api) {
    let fake = Fake::start().await;
    let made = provider(&api, &fake, json!({})).await;
    assert!(made.get("client_secret").is_none_or(Value::is_null), "{made}");
    let listed = send(api.bare(Method::GET, "/api/v1/sign-in/providers")).await.expect(200);
    assert_eq!(listed["items"], json!([{ "name": "company", "path": "/api/v1/sign-in/oidc/company?tenant=default" }]));

    fake.is(grace());
    let mut browser = Browser::new();
    let came = sign_in(&api, &mut browser).await;
    came.expect(303);
    assert_eq!(came.header("location"), "/api/v1/me");
    let is = me(&api, &mut browser).await;
    assert_eq!((&is["who"], &is["tenant"]), (&json!("person:grace@example.org"), &json!("default")));
    assert!(may(&is, "runs.read") && !may(&is, "workflows.publish"), "{is}");
    let identities = api.get("/member-identities").await.expect(200);
    assert_eq!(identities["items"][0]["subject"], "248289761001");
    // Another address of the same subject is the same user's.
    fake.is(json!({ "sub": "248289761001", "email": "hopper@example.org", "email_verified": true }));
    sign_in(&api, &mut browser).await.expect(303);
    assert_eq!(me(&api, &mut browser).await["who"], "person:grace@example.org");
    assert_eq!(api.get("/users?email=hopper@example.org").await.expect(200)["items"], json!([]));
    // Whoever keeps the provider does not get the account itself by it.
    let choose = json!({ "new": PASSWORD }).to_string();
    let chosen = browser.send(Method::PUT, &format!("{}/api/v1/me/password", api.base), Some(choose)).await;
    chosen.problem(409, "no_password");
    let out = browser.send(Method::POST, &format!("{}/api/v1/sign-out", api.base), None).await;
    out.expect(204);
    browser.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    let sessions = api.get("/sessions?method=oidc").await.expect(200);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2, "{sessions}");
    let path = format!("/identity-providers/{}", made["id"].as_str().unwrap());
    send(api.request(Method::PATCH, &path).json(&json!({ "enabled": false }))).await.expect(200);
    Browser::new().get(&format!("{}/api/v1/sign-in/oidc/company", api.base)).await.problem(404, "not_found");
}

pub async fn who_is_let_in(api: Api) {
    let fake = Fake::start().await;
    let made = provider(&api, &fake, json!({})).await;
    fake.says(json!({ "sub": "2" }));
    let outside = "no verified address of yours in a domain that is let in";
    for claims in [
        json!({ "sub": "2", "email": "eve@example.org" }),
        json!({ "sub": "2", "email": "eve@example.org", "email_verified": "true" }),
        json!({ "sub": "2", "email": "eve@evil.example", "email_verified": true }),
        json!({ "sub": "2", "email": "eve@sub.example.org", "email_verified": true }),
        json!({ "sub": "2" }),
    ] {
        fake.is(claims);
        refused(&api, &mut Browser::new(), outside).await;
    }
    // Those alone who are invited, with the role of the invitation.
    let path = format!("/identity-providers/{}", made["id"].as_str().unwrap());
    let invited = json!({ "default_role_id": null, "email_domains": [] });
    send(api.request(Method::PATCH, &path).json(&invited)).await.expect(200);
    fake.is(grace());
    refused(&api, &mut Browser::new(), "ask for an invitation").await;
    let invitation = api.post("/invitations", json!({ "email": "grace@example.org", "role": "builder" })).await;
    let invitation = invitation.expect(201)["id"].as_str().unwrap().to_owned();
    fake.is(json!({ "sub": "3", "email": "grace@example.org", "email_verified": false }));
    refused(&api, &mut Browser::new(), "no verified address").await;
    fake.says(json!({ "sub": "2" }));
    fake.is(json!({ "sub": "2" }));
    refused(&api, &mut Browser::new(), "no verified address").await;
    fake.is(grace());
    let mut browser = Browser::new();
    sign_in(&api, &mut browser).await.expect(303);
    let is = me(&api, &mut browser).await;
    assert!(may(&is, "workflows.publish") && !may(&is, "people.write"), "{is}");
    assert_eq!(api.get(&format!("/invitations/{invitation}")).await.expect(200)["status"], "accepted");
    let accepted = api.get("/audit-entries?action=accept").await.expect(200);
    assert_eq!(accepted["items"][0]["created_by"], "provider:company", "{accepted}");
    // What was taken back lets nobody in.
    let invitation = api.post("/invitations", json!({ "email": "eve@example.org", "role": "viewer" })).await;
    let path = format!("/invitations/{}/revoke", invitation.expect(201)["id"].as_str().unwrap());
    api.post(&path, json!({})).await.expect(200);
    fake.is(json!({ "sub": "4", "email": "eve@example.org", "email_verified": true }));
    refused(&api, &mut Browser::new(), "ask for an invitation").await;
}

pub async fn what_a_provider_says_has_to_hold(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    fake.is(grace());
    for (wrong, said) in WRONGS {
        fake.will_be(wrong);
        refused(&api, &mut Browser::new(), said).await;
    }
    fake.will_be(Wrong::Nothing);
    sign_in(&api, &mut Browser::new()).await.expect(303);
}

pub async fn what_a_token_does_not_say_is_asked_for(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    fake.is(json!({ "sub": "1" }));
    for (user, said) in [
        (Value::Null, "does not say who it is: 401"),
        (json!({ "email": "ada@example.org", "email_verified": true }), "is about another one"),
        (json!({ "sub": "2", "email": "ada@example.org", "email_verified": true }), "is about another one"),
        (json!({ "sub": "1", "email": "ada@example.org" }), "no verified address"),
    ] {
        fake.says(user);
        refused(&api, &mut Browser::new(), said).await;
    }
    fake.says(json!({ "sub": "1", "email": "ada@example.org", "email_verified": true }));
    sign_in(&api, &mut Browser::new()).await.expect(303);
}

pub async fn a_key_that_is_new_is_asked_for(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    fake.is(grace());
    sign_in(&api, &mut Browser::new()).await.expect(303);
    fake.rotate();
    sign_in(&api, &mut Browser::new()).await.expect(303);
}

pub async fn what_a_provider_publishes_has_to_hold(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    let begin = format!("{}/api/v1/sign-in/oidc/company", api.base);
    for (changes, said) in [
        (json!({ "issuer": "https://another.example" }), "another issuer"),
        (json!({ "authorization_endpoint": "javascript:alert(1)" }), "not https"),
        (json!({ "token_endpoint": null }), "configuration cannot be read"),
        (json!({ "jwks_uri": fake.issuer }), "answers 404"),
        (json!({ "jwks_uri": format!("{}/.well-known/openid-configuration", fake.issuer) }), "keys cannot be read"),
    ] {
        fake.publishes(changes);
        let answer = Browser::new().get(&begin).await.problem(502, "provider_unreachable");
        assert!(answer["detail"].as_str().unwrap().contains(said), "{answer} does not say `{said}`");
    }
    fake.publishes(json!({}));
    Browser::new().get(&begin).await.expect(303);
}

pub async fn a_sign_in_ends_where_it_began_and_once(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    provider(&api, &fake, json!({ "name": "second" })).await;
    fake.is(grace());
    let begin = format!("{}/api/v1/sign-in/oidc/company", api.base);
    let back = format!("{begin}/callback");
    let mut browser = Browser::new();
    let end = browser.until(&begin, &back).await;
    // Nobody else's browser, no other state, no other provider.
    let before = written(&api).await;
    Browser::new().get(&end).await.problem(400, "sign_in_lost");
    for (other, status, code) in [
        (end.replace("state=", "state=x"), 400, "sign_in_lost"),
        (end.split("&state=").next().unwrap().to_owned(), 400, "sign_in_lost"),
        (end.replace("/company/", "/second/"), 401, "sign_in_refused"),
        (format!("{end}&iss=https://another.example"), 401, "sign_in_refused"),
        (end.replace("code=", "error=access_denied&x="), 401, "sign_in_refused"),
        (end.replace("code=", "x="), 400, "invalid_query"),
        (end.replace("code=", "code=x"), 401, "sign_in_refused"),
    ] {
        // A browser as it was: a failure takes its cookie.
        browser.clone().get(&other).await.problem(status, code);
    }
    assert_eq!(written(&api).await, before);
    let mut again = browser.clone();
    browser.get(&end).await.expect(303);
    let after = written(&api).await;
    assert_ne!(after, before);
    browser.get(&end).await.problem(400, "sign_in_lost");
    // With the cookie as well the code is used up.
    again.get(&end).await.problem(401, "sign_in_refused");
    assert_eq!(written(&api).await, after);
    for query in [
        "?return_to=https://evil.example",
        "?return_to=//evil.example",
        "?return_to=/%5Cevil.example",
        "?port=80",
        "?port=0&challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "?port=80&challenge=short",
        "?port=80&challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&return_to=/",
    ] {
        Browser::new().get(&format!("{begin}{query}")).await.problem(400, "invalid_query");
    }
    Browser::new().get(&format!("{}/api/v1/sign-in/oidc/none", api.base)).await.problem(404, "not_found");
    Browser::new().get(&format!("{begin}?tenant=none")).await.problem(404, "not_found");
    api.tenant("other").await;
    Browser::new().get(&format!("{begin}?tenant=other")).await.problem(404, "not_found");
    let other = api.get("/tenants?slug=other").await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
    api.post(&format!("/tenants/{other}/suspend"), json!({})).await.expect(200);
    Browser::new().get(&format!("{begin}?tenant=other")).await.problem(403, "tenant_suspended");
    // A provider at an address that is not public is not asked, unless the server may.
    let base = api.another_that(PrivateNetwork::Refuse).await;
    Browser::new().get(&format!("{base}/api/v1/sign-in/oidc/company")).await.problem(502, "provider_unreachable");
    // Nor where its tenant chose that it may not, whatever the server may.
    let base = api.another().await;
    let none = json!({ "value": [] });
    send(api.request(Method::PUT, "/settings/private_networks").json(&none)).await.expect(200);
    Browser::new().get(&format!("{base}/api/v1/sign-in/oidc/company")).await.problem(502, "provider_unreachable");
    send(api.request(Method::DELETE, "/settings/private_networks")).await.expect(204);
    Browser::new().get(&format!("{base}/api/v1/sign-in/oidc/company")).await.expect(303);
}

/// Somebody with a password, in a browser.
pub async fn with_password(api: &Api, email: &str) -> Browser {
    let invited = api.post("/invitations", json!({ "email": email, "role": "viewer" })).await.expect(201);
    let body = json!({ "link": invited["link"], "name": "Somebody", "password": PASSWORD, "deliver": "cookie" });
    let mut browser = Browser::new();
    let url = format!("{}/api/v1/invitations/accept", api.base);
    browser.send(Method::POST, &url, Some(body.to_string())).await.expect(200);
    browser
}

/// Links whoever the provider says to whoever is signed in in that browser, up to the last address.
async fn almost_link(api: &Api, browser: &mut Browser) -> String {
    let url = format!("{}/api/v1/me/identities", api.base);
    let body = json!({ "provider": "company" }).to_string();
    let go = browser.send(Method::POST, &url, Some(body)).await.expect(200);
    let back = format!("{}/api/v1/sign-in/oidc/company/callback", api.base);
    browser.until(go["url"].as_str().unwrap(), &back).await
}

pub async fn link(api: &Api, browser: &mut Browser) -> Answer {
    let end = almost_link(api, browser).await;
    browser.get(&end).await
}

pub async fn identities_are_linked_by_those_whose_they_are(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    let mut ada = with_password(&api, "ada@example.org").await;
    let mut eve = with_password(&api, "eve@example.org").await;
    // An address alone is no proof.
    fake.is(json!({ "sub": "ada", "email": "ada@example.org", "email_verified": true }));
    let refused = sign_in(&api, &mut Browser::new()).await.problem(401, "sign_in_refused");
    assert!(refused["detail"].as_str().unwrap().contains("link your identity"), "{refused}");
    // Nor is a session that has ended meanwhile.
    let mut gone = with_password(&api, "gone@example.org").await;
    let end = almost_link(&api, &mut gone).await;
    gone.send(Method::POST, &format!("{}/api/v1/sign-out", api.base), None).await.expect(204);
    let refused = gone.get(&end).await.problem(401, "sign_in_refused");
    assert!(refused["detail"].as_str().unwrap().contains("has ended"), "{refused}");
    assert_eq!(api.get("/member-identities").await.expect(200)["items"], json!([]));
    link(&api, &mut ada).await.expect(303);
    let mut browser = Browser::new();
    sign_in(&api, &mut browser).await.expect(303);
    assert_eq!(me(&api, &mut browser).await["who"], "person:ada@example.org");
    // What is somebody's is nobody else's.
    link(&api, &mut eve).await.problem(401, "sign_in_refused");
    link(&api, &mut ada).await.expect(303);
    let token = api.post("/me/identities", json!({ "provider": "company" })).await;
    token.problem(409, "no_session");
    let identity = api.get("/member-identities").await.expect(200)["items"][0].clone();
    let path = format!("/member-identities/{}", identity["id"].as_str().unwrap());
    api.post(&format!("{path}/block"), json!({})).await.expect(200);
    sign_in(&api, &mut Browser::new()).await.problem(401, "sign_in_refused");
    api.post(&format!("{path}/unblock"), json!({})).await.expect(200);
    sign_in(&api, &mut Browser::new()).await.expect(303);
    let member = format!("/members/{}", identity["member_id"].as_str().unwrap());
    api.post(&format!("{member}/suspend"), json!({})).await.expect(200);
    sign_in(&api, &mut Browser::new()).await.problem(401, "sign_in_refused");
}

/// Begins a second factor in that browser and confirms it: the recovery codes.
async fn second_factor(api: &Api, browser: &mut Browser) -> Vec<Value> {
    let url = format!("{}/api/v1/me/second-factor", api.base);
    let body = json!({ "password": PASSWORD }).to_string();
    let begun = browser.send(Method::POST, &url, Some(body)).await.expect(201);
    let code = Authenticator::open(begun["url"].as_str().unwrap()).code(0);
    let confirm = json!({ "code": code }).to_string();
    let confirmed = browser.send(Method::POST, &format!("{url}/confirm"), Some(confirm)).await.expect(200);
    confirmed["recovery_codes"].as_array().unwrap().clone()
}

pub async fn a_provider_does_not_lead_around_a_second_factor(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    fake.is(grace());
    // Whom a provider let in, and who has no password, gets none: it would be asked for in other tenants too.
    let mut grace = Browser::new();
    sign_in(&api, &mut grace).await.expect(303);
    let begin = format!("{}/api/v1/me/second-factor", api.base);
    grace.send(Method::POST, &begin, Some("{}".to_owned())).await.problem(409, "no_password");

    let mut ada = with_password(&api, "ada@example.org").await;
    fake.is(json!({ "sub": "ada", "email": "ada@example.org", "email_verified": true }));
    link(&api, &mut ada).await.expect(303);
    let codes = second_factor(&api, &mut ada).await;
    let who = format!("{}/api/v1/me", api.base);
    let ticket = format!("{}/api/v1/sign-in/ticket", api.base);
    let with_code = |code: &Value| Some(json!({ "code": code }).to_string());
    // A browser comes back without a session, and gets one for a code.
    let mut browser = Browser::new();
    sign_in(&api, &mut browser).await.expect(303);
    browser.get(&who).await.problem(401, "unauthorized");
    Browser::new().send(Method::POST, &ticket, with_code(&codes[0])).await.problem(400, "sign_in_lost");
    browser.send(Method::POST, &ticket, Some("{}".to_owned())).await.problem(401, "second_factor_required");
    browser.send(Method::POST, &ticket, with_code(&json!("0000000"))).await.problem(401, "wrong_code");
    let verifier = json!({ "code": codes[0], "verifier": "a verifier that nobody guesses" }).to_string();
    browser.send(Method::POST, &ticket, Some(verifier)).await.problem(401, "sign_in_refused");
    let came = browser.send(Method::POST, &ticket, with_code(&codes[0])).await.expect(200);
    assert!(came["token"].is_null(), "{came}");
    assert_eq!(browser.get(&who).await.expect(200)["who"], "person:ada@example.org");
    browser.send(Method::POST, &ticket, with_code(&codes[1])).await.problem(400, "sign_in_lost");
    // So does a program.
    let (verifier, challenge) = program();
    let begin = format!("{}/api/v1/sign-in/oidc/company?port=7&challenge={challenge}", api.base);
    let end = Browser::new().until(&begin, "http://127.0.0.1:7/").await;
    let mut body = json!({ "ticket": end.split_once("?ticket=").unwrap().1, "verifier": verifier });
    let use_it = async |body: &Value| send(api.bare(Method::POST, "/api/v1/sign-in/ticket").json(body)).await;
    use_it(&body).await.problem(401, "second_factor_required");
    body["code"] = codes[1].clone();
    assert!(use_it(&body).await.expect(200)["token"].is_string());
}

pub async fn a_provider_is_no_second_factor(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    fake.is(grace());
    let mut grace = Browser::new();
    sign_in(&api, &mut grace).await.expect(303);
    let workflows = format!("{}/api/v1/workflows", api.base);
    grace.get(&workflows).await.expect(200);
    asking(&api, &administrator(&api).await).await;
    grace.get(&workflows).await.problem(403, "second_factor_needed");
    // She has no password, and gets none by a provider; a link of an administrator lets her set one up.
    let begin = format!("{}/api/v1/me/second-factor", api.base);
    grace.send(Method::POST, &begin, Some("{}".to_owned())).await.problem(409, "no_password");
    let users = api.get("/users?email=grace@example.org").await.expect(200);
    let link = format!("/users/{}/link", users["items"][0]["id"].as_str().unwrap());
    let link = api.post(&link, json!({})).await.expect(201);
    let by_link = token_of(&come(&api, "/sign-in", json!({ "link": link["link"] })).await.expect(200));
    crate::identity::second_factor(&api, &by_link).await;
    // The session that the provider opened is hers, and goes on.
    grace.get(&workflows).await.expect(200);
}

pub async fn one_let_in_by_a_provider_knows_of_its_tenant_alone(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    let mut ada = with_password(&api, "ada@example.org").await;
    fake.is(json!({ "sub": "ada", "email": "ada@example.org", "email_verified": true }));
    link(&api, &mut ada).await.expect(303);
    // She joins another tenant, with her password.
    let other = api.tenant("other").await;
    let body = json!({ "email": "ada@example.org", "role": "viewer" });
    let invited = send(api.bare(Method::POST, "/api/v1/invitations").bearer_auth(&other).json(&body)).await.expect(201);
    let mut there = Browser::new();
    let body = json!({ "link": invited["link"], "name": "Ada", "password": PASSWORD, "deliver": "cookie" });
    let url = format!("{}/api/v1/invitations/accept", api.base);
    there.send(Method::POST, &url, Some(body.to_string())).await.expect(200);
    let mut by_provider = Browser::new();
    sign_in(&api, &mut by_provider).await.expect(303);
    let sessions = format!("{}/api/v1/me/sessions", api.base);
    for (browser, tenants) in [(&mut there, 2), (&mut by_provider, 1)] {
        assert_eq!(me(&api, browser).await["tenants"].as_array().unwrap().len(), tenants);
        let own = browser.get(&sessions).await.expect(200);
        assert_eq!(own["items"].as_array().unwrap().iter().any(|it| it["tenant"] == "other"), tenants == 2, "{own}");
    }
    let own = there.get(&sessions).await.expect(200);
    let elsewhere = own["items"].as_array().unwrap().iter().find(|it| it["tenant"] == "other").unwrap();
    let revoke = format!("{sessions}/{}/revoke", elsewhere["id"].as_str().unwrap());
    by_provider.send(Method::POST, &revoke, None).await.problem(404, "not_found");
    // Nor does it end what there is elsewhere, when it signs out everywhere.
    let everywhere = format!("{}/api/v1/sign-out/everywhere", api.base);
    by_provider.send(Method::POST, &everywhere, None).await.expect(204);
    by_provider.get(&sessions).await.problem(401, "unauthorized");
    let own = there.get(&sessions).await.expect(200);
    let tenants: Vec<&Value> = own["items"].as_array().unwrap().iter().map(|it| &it["tenant"]).collect();
    assert_eq!(tenants, ["other"], "{own}");
    there.send(Method::POST, &revoke, None).await.expect(204);
}

/// What a program has, and how it tells of it.
fn program() -> (&'static str, String) {
    let verifier = "a verifier that nobody guesses";
    (verifier, URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())))
}

pub async fn a_program_gets_a_session_for_a_ticket(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    fake.is(grace());
    let (verifier, challenge) = program();
    let mut browser = Browser::new();
    let begin = format!("{}/api/v1/sign-in/oidc/company?port=7&challenge={challenge}", api.base);
    let end = browser.until(&begin, "http://127.0.0.1:7/").await;
    let ticket = end.split_once("?ticket=").unwrap().1;
    browser.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    let use_it = async |ticket: &str, verifier: &str| {
        let body = json!({ "ticket": ticket, "verifier": verifier });
        send(api.bare(Method::POST, "/api/v1/sign-in/ticket").json(&body)).await
    };
    use_it(ticket, "another").await.problem(401, "sign_in_refused");
    use_it(&format!("{ticket}A"), verifier).await.problem(400, "sign_in_lost");
    use_it("", verifier).await.problem(400, "sign_in_lost");
    // One that is too old, and one that was sealed for something else.
    let now = api.store.now().micros();
    let user = api.get("/users?email=grace@example.org").await.expect(200)["items"][0]["id"].clone();
    let sealed = |purpose: &str, until: i64| {
        let note = json!({ "until": until, "note": { "tenant": 1, "user": user, "challenge": challenge } });
        URL_SAFE_NO_PAD.encode(api.store.seal_note(purpose, note.to_string().as_bytes()).unwrap())
    };
    use_it(&sealed("sign-in ticket", now), verifier).await.problem(400, "sign_in_lost");
    use_it(&sealed("sign-in flow", now + 60_000_000), verifier).await.problem(400, "sign_in_lost");
    use_it(&sealed("sign-in ticket", now + 60_000_000), verifier).await.expect(200);
    let session = use_it(ticket, verifier).await.expect(200);
    let me = send(api.bare(Method::GET, "/api/v1/me").bearer_auth(session["token"].as_str().unwrap())).await;
    assert_eq!(me.expect(200)["who"], "person:grace@example.org");
}

pub async fn a_provider_is_set_up_by_whoever_may_do_everything(api: Api) {
    let body = body(&api, "https://login.example.org", json!({})).await;
    let with = |changes: Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    // Its keeper comes in as whom he likes.
    let scopes = json!({ "name": "keeper", "scopes": ["people.read", "people.write", "runs.read"] });
    let key = api.post("/api-keys", scopes).await.expect(201)["key"].as_str().unwrap().to_owned();
    let few = send(api.bare(Method::POST, "/api/v1/identity-providers").bearer_auth(&key).json(&body)).await;
    assert_eq!(few.problem(422, "invalid_input")["errors"][0]["pointer"], "/name", "{}", few.body);
    for (changes, pointer) in [
        (json!({ "issuer": "ftp://example.org" }), "/issuer"),
        (json!({ "issuer": "http://example.org" }), "/issuer"),
        (json!({ "issuer": "https://ada@example.org" }), "/issuer"),
        (json!({ "issuer": "https://example.org?a=b" }), "/issuer"),
        (json!({ "server_url": "https://example.org/path" }), "/server_url"),
        (json!({ "server_url": "https://example.org/" }), "/server_url"),
        (json!({ "email_domains": [] }), "/email_domains"),
    ] {
        let refused = api.post("/identity-providers", with(changes.clone())).await.problem(422, "invalid_input");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{changes}: {refused}");
    }
    let made = api.post("/identity-providers", body.clone()).await.expect(201);
    let path = format!("/identity-providers/{}", made["id"].as_str().unwrap());
    let with_few = |method| api.bare(method, &format!("/api/v1{path}")).bearer_auth(&key);
    for request in [with_few(Method::PATCH).json(&json!({ "enabled": false })), with_few(Method::DELETE)] {
        send(request).await.problem(422, "invalid_input");
    }
    // By whom people are known does not change: identities would be somebody else's then.
    for change in [json!({ "issuer": "https://another.example" }), json!({ "client_id": "another" })] {
        send(api.request(Method::PATCH, &path).json(&change)).await.problem(422, "invalid_input");
    }
}

/// The provider of `proof/oidc-provider`, which ends with its input.
struct Real {
    issuer: String,
    process: Child,
}

impl Real {
    async fn start(server: &str) -> Real {
        let install = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proof/oidc-provider/install.sh");
        let installed = Command::new(install).output().await.unwrap();
        let said = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "the provider cannot be installed (it needs Node.js and npm): {said}");
        let program = String::from_utf8(installed.stdout).unwrap();
        let mut command = Command::new("node");
        command.arg(program.trim()).arg(server).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        // It goes on to talk: the pipe stays open.
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).await.unwrap();
        Real { issuer: line.trim().to_owned(), process }
    }
}

pub async fn a_real_provider_signs_somebody_in(api: Api) {
    let real = Real::start(&api.base).await;
    let page = format!("{}/interaction/", real.issuer);
    // It has a client for each algorithm, named like it.
    for name in ["rs256", "ps256", "es256", "eddsa"] {
        let made = json!({ "name": name, "client_id": name, "default_role_id": role(&api, "builder").await });
        api.post("/identity-providers", body(&api, &real.issuer, made).await).await.expect(201);
        let begin = format!("{}/api/v1/sign-in/oidc/{name}", api.base);
        let mut browser = Browser::new();
        let url = browser.until(&begin, &page).await;
        let next = browser.submit(&url, &format!("prompt=login&login={name}&password=anything")).await;
        let url = browser.until(&next, &page).await;
        let next = browser.submit(&url, "prompt=consent").await;
        let end = browser.until(&next, &format!("{begin}/callback")).await;
        browser.get(&end).await.expect(303);
        // Its token has the subject alone: all else it says when it is asked for the user.
        let is = me(&api, &mut browser).await;
        assert_eq!(is["who"], format!("person:{name}@example.org"));
        assert!(may(&is, "workflows.publish") && !may(&is, "people.write"), "{is}");
        let member = api.get(&format!("/members?email={name}@example.org")).await.expect(200);
        assert_eq!(member["items"][0]["name"], format!("{name} of the provider"));
    }
    assert!(real.process.id().is_some(), "it has not ended");
}
