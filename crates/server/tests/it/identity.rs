//! People and what they may do: from a link that works once to a viewer who can watch and not publish.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_testkit::sign_on::Authenticator;

use crate::harness::{Answer, Api, send};

const DOCUMENT: &str = "name: order\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";
pub const PASSWORD: &str = "correct horse battery";

/// A request with that token; the path is below `/api/v1`.
pub async fn with(api: &Api, token: &str, (method, path): (Method, &str), body: Option<Value>) -> Answer {
    let mut request = api.bare(method, &format!("/api/v1{path}")).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    send(request).await
}

pub async fn come(api: &Api, path: &str, body: Value) -> Answer {
    send(api.bare(Method::POST, &format!("/api/v1{path}")).json(&body)).await
}

pub fn token_of(answer: &Value) -> String {
    answer["token"].as_str().unwrap().to_owned()
}

/// The first administrator, signed in by a link.
pub async fn administrator(api: &Api) -> String {
    let user = api.store.first_administrator("admin@localhost", "Administrator").await.unwrap();
    let link = api.post(&format!("/users/{user}/link"), json!({})).await.expect(201);
    token_of(&come(api, "/sign-in", json!({ "link": link["link"] })).await.expect(200))
}

/// Somebody new with a role, signed in.
pub async fn member(api: &Api, admin: &str, (email, role): (&str, &str)) -> String {
    let body = json!({ "email": email, "role": role });
    let invited = with(api, admin, (Method::POST, "/invitations"), Some(body)).await.expect(201);
    let body = json!({ "link": invited["link"], "name": "Grace", "password": PASSWORD });
    token_of(&come(api, "/invitations/accept", body).await.expect(200))
}

pub async fn member_id(api: &Api, email: &str) -> String {
    let found = api.get(&format!("/members?email={email}")).await.expect(200);
    found["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn user_id(api: &Api, email: &str) -> String {
    let found = api.get(&format!("/users?email={email}")).await.expect(200);
    found["items"][0]["id"].as_str().unwrap().to_owned()
}

pub async fn a_viewer_comes_by_invitation_and_can_watch_but_not_publish(api: Api) {
    let user = api.store.first_administrator("admin@localhost", "Administrator").await.unwrap();
    let link = api.post(&format!("/users/{user}/link"), json!({})).await.expect(201);
    let body = json!({ "link": link["link"] });
    let admin = token_of(&come(&api, "/sign-in", body.clone()).await.expect(200));
    come(&api, "/sign-in", body).await.problem(401, "sign_in_refused");
    let me = with(&api, &admin, (Method::GET, "/me"), None).await.expect(200);
    assert_eq!((&me["who"], &me["tenant"]), (&json!("person:admin@localhost"), &json!("default")));
    assert!(me["permissions"].as_array().unwrap().contains(&json!("users.write")), "{me}");

    let weak = json!({ "new": "short" });
    with(&api, &admin, (Method::PUT, "/me/password"), Some(weak)).await.problem(422, "weak_password");
    let chosen = json!({ "new": PASSWORD });
    with(&api, &admin, (Method::PUT, "/me/password"), Some(chosen)).await.expect(204);
    let again = json!({ "current": PASSWORD, "new": PASSWORD });
    with(&api, &admin, (Method::PUT, "/me/password"), Some(again)).await.problem(422, "weak_password");
    let by_password = json!({ "email": "Admin@localhost", "password": PASSWORD });
    come(&api, "/sign-in", by_password).await.expect(200);

    let invite = |role: &str| Some(json!({ "email": "grace@example.org", "role": role }));
    with(&api, &admin, (Method::POST, "/invitations"), invite("queen")).await.problem(422, "invalid_input");
    let invited = with(&api, &admin, (Method::POST, "/invitations"), invite("viewer")).await.expect(201);
    let accept = json!({ "link": invited["link"], "name": "Grace", "password": PASSWORD });
    let viewer = token_of(&come(&api, "/invitations/accept", accept.clone()).await.expect(200));
    come(&api, "/invitations/accept", accept).await.problem(404, "not_found");

    api.put("order", DOCUMENT).await.expect(201);
    with(&api, &viewer, (Method::GET, "/workflows"), None).await.expect(200);
    with(&api, &viewer, (Method::GET, "/runs"), None).await.expect(200);
    for (method, path) in [
        (Method::POST, "/workflows/order/publish"),
        (Method::POST, "/workflows/order/runs"),
        (Method::POST, "/invitations"),
        (Method::POST, "/api-keys"),
        (Method::GET, "/members"),
        (Method::GET, "/users"),
        (Method::GET, "/tenants"),
        (Method::GET, "/audit-entries"),
    ] {
        with(&api, &viewer, (method, path), None).await.problem(403, "forbidden");
    }
    // Another role is there at once, and gone at once; so is the session.
    let role = api.get("/roles?name=builder").await.expect(200)["items"][0]["id"].clone();
    let given = json!({ "member_id": member_id(&api, "grace@example.org").await, "role_id": role });
    let given = api.post("/role-assignments", given).await.expect(201);
    with(&api, &viewer, (Method::POST, "/workflows/order/publish"), Some(json!({}))).await.expect(200);
    let path = format!("/role-assignments/{}", given["id"].as_str().unwrap());
    send(api.request(Method::DELETE, &path)).await.expect(204);
    with(&api, &viewer, (Method::POST, "/workflows/order/publish"), None).await.problem(403, "forbidden");
    with(&api, &viewer, (Method::POST, "/sign-out"), None).await.expect(204);
    with(&api, &viewer, (Method::GET, "/me"), None).await.problem(401, "unauthorized");

    let entries = api.get("/audit-entries?action=sign_in").await.expect(200);
    assert_eq!(entries["items"].as_array().unwrap().len(), 3, "{entries}");
    assert!(!entries.to_string().contains("token_hash\":{\"to\":\"A"), "{entries}");
}

pub async fn nobody_gives_or_takes_more_than_he_may(api: Api) {
    let admin = administrator(&api).await;
    let keeper = member(&api, &admin, ("keeper@example.org", "tenant_admin")).await;
    let system = api.get("/roles?name=system_admin").await.expect(200)["items"][0]["id"].clone();
    let own = member_id(&api, "keeper@example.org").await;
    let first = member_id(&api, "admin@localhost").await;
    let up = json!({ "member_id": own, "role_id": system });
    let refused = with(&api, &keeper, (Method::POST, "/role-assignments"), Some(up)).await;
    assert!(refused.problem(422, "invalid_input")["errors"][0]["message"].as_str().unwrap().contains("tenants.read"));
    let up = json!({ "email": "x@example.org", "role": "system_admin" });
    with(&api, &keeper, (Method::POST, "/invitations"), Some(up)).await.problem(422, "invalid_input");
    for permissions in [json!(["users.write"]), json!(["runs.fly"])] {
        let role = json!({ "name": "own", "permissions": permissions });
        with(&api, &keeper, (Method::POST, "/roles"), Some(role)).await.problem(422, "invalid_input");
    }
    let role = json!({ "name": "own", "permissions": ["runs.read"] });
    with(&api, &keeper, (Method::POST, "/roles"), Some(role)).await.expect(201);
    // What the program keeps does not change, and who may do more is not suspended by who may do less.
    let built_in = format!("/roles/{}", system.as_str().unwrap());
    let less = json!({ "permissions": [] });
    send(api.request(Method::PATCH, &built_in).json(&less)).await.problem(422, "invalid_input");
    let path = format!("/members/{first}/suspend");
    with(&api, &keeper, (Method::POST, &path), None).await.problem(422, "invalid_input");
    // The last one stays.
    let last = api.post(&path, json!({})).await.problem(422, "invalid_input");
    assert!(last["errors"][0]["message"].as_str().unwrap().contains("last active member"), "{last}");
    member(&api, &admin, ("second@example.org", "tenant_admin")).await;
    // Whoever is suspended is out at once, with the keys that it made.
    let body = json!({ "name": "mine", "scopes": ["*"] });
    let key = with(&api, &keeper, (Method::POST, "/api-keys"), Some(body)).await.expect(201);
    let key = key["key"].as_str().unwrap().to_owned();
    with(&api, &key, (Method::GET, "/members"), None).await.expect(200);
    with(&api, &key, (Method::GET, "/users"), None).await.problem(403, "forbidden");
    api.post(&format!("/members/{own}/suspend"), json!({})).await.expect(200);
    for token in [&keeper, &key] {
        with(&api, token, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
    }
}

pub async fn keys_are_scoped_bounded_and_revoked(api: Api) {
    let make = async |body: Value| api.post("/api-keys", body).await;
    for wrong in [
        json!({ "name": "k", "scopes": [] }),
        json!({ "name": "k", "scopes": ["runs.fly"] }),
        json!({ "name": "", "scopes": ["runs.read"] }),
        json!({ "name": "k", "scopes": ["runs.read"], "days": 0 }),
        json!({ "name": "k", "scopes": ["runs.read"], "requests_per_minute": 0 }),
    ] {
        make(wrong).await.problem(422, "invalid_input");
    }
    let made = make(json!({ "name": "ci", "scopes": ["runs.read"], "days": 1, "requests_per_minute": 2 })).await;
    let made = made.expect(201);
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("wl_") && key.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    with(&api, key, (Method::GET, "/runs"), None).await.expect(200);
    with(&api, key, (Method::GET, "/workflows"), None).await.problem(403, "forbidden");
    let refused = with(&api, key, (Method::GET, "/runs"), None).await;
    refused.problem(429, "too_many_requests");
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    let path = format!("/api-keys/{}", made["id"].as_str().unwrap());
    let shown = api.get(&path).await.expect(200);
    assert!(shown["token_hash"].is_null() && !shown.to_string().contains(key), "{shown}");
    api.post(&format!("{path}/revoke"), json!({})).await.expect(200);
    with(&api, key, (Method::GET, "/runs"), None).await.problem(401, "unauthorized");
}

pub async fn cookies_change_nothing_from_elsewhere(api: Api) {
    let user = api.store.first_administrator("admin@localhost", "Administrator").await.unwrap();
    let link = api.post(&format!("/users/{user}/link"), json!({})).await.expect(201);
    let came = come(&api, "/sign-in", json!({ "link": link["link"], "deliver": "cookie" })).await;
    assert!(came.expect(200)["token"].is_null());
    let cookie = came.header("set-cookie").to_owned();
    for word in ["__Host-windlass=wls_", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let request = |method: Method, path: &str| api.bare(method, path).header("cookie", format!("a=b; {cookie}"));
    send(request(Method::GET, "/api/v1/me")).await.expect(200);
    let put = || request(Method::POST, "/api/v1/folders").json(&json!({ "name": "Mine" }));
    send(put()).await.problem(403, "origin_refused");
    send(put().header("origin", "https://evil.example")).await.problem(403, "origin_refused");
    let host = api.base.clone();
    send(put().header("origin", host.as_str())).await.expect(201);
    // Who signs in again in this browser has another session: the old one is over.
    let link = api.post(&format!("/users/{user}/link"), json!({})).await.expect(201);
    send(request(Method::POST, "/api/v1/sign-in").json(&json!({ "link": link["link"] }))).await.expect(200);
    send(request(Method::GET, "/api/v1/me")).await.problem(401, "unauthorized");
}

pub async fn guesses_are_bounded_and_say_nothing(api: Api) {
    let admin = administrator(&api).await;
    member(&api, &admin, ("ada@example.org", "viewer")).await;
    let guess =
        async |email: &str| come(&api, "/sign-in", json!({ "email": email, "password": "a wrong guess" })).await;
    let (right, wrong) = (guess("ada@example.org").await, guess("nobody@example.org").await);
    let (right, wrong) = (right.problem(401, "sign_in_refused"), wrong.problem(401, "sign_in_refused"));
    assert_eq!(right["detail"], wrong["detail"]);
    let mut refused = 0;
    for _ in 0..7 {
        refused += u32::from(guess("ada@example.org").await.status == 429);
    }
    assert!(refused >= 1, "{refused}");
    let failed = api.get("/audit-entries?action=sign_in_failed").await.expect(200);
    assert!(!failed["items"].as_array().unwrap().is_empty(), "{failed}");
    for body in [json!({}), json!({ "email": "a" }), json!({ "email": "a", "password": "b", "link": "c" })] {
        come(&api, "/sign-in", body).await.problem(422, "invalid_body");
    }
    // Everywhere is everywhere.
    let body = json!({ "link": link_for(&api).await });
    let other = token_of(&come(&api, "/sign-in", body).await.expect(200));
    with(&api, &other, (Method::POST, "/sign-out/everywhere"), None).await.expect(204);
    for token in [&admin, &other] {
        with(&api, token, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
    }
    with(&api, crate::harness::TOKEN, (Method::POST, "/sign-out"), None).await.problem(409, "no_session");
}

async fn link_for(api: &Api) -> Value {
    let user = api.store.first_administrator("admin@localhost", "Administrator").await.unwrap();
    api.post(&format!("/users/{user}/link"), json!({})).await.expect(201)["link"].clone()
}

pub async fn people_see_and_end_their_own_sessions(api: Api) {
    let admin = administrator(&api).await;
    let first = member(&api, &admin, ("grace@example.org", "viewer")).await;
    let sign_in = json!({ "email": "grace@example.org", "password": PASSWORD });
    let second = token_of(&come(&api, "/sign-in", sign_in).await.expect(200));
    let mine = with(&api, &second, (Method::GET, "/me/sessions"), None).await.expect(200);
    let items = mine["items"].as_array().unwrap();
    let told: Vec<_> = items.iter().map(|it| (it["method"].as_str().unwrap(), it["is_this"] == true)).collect();
    assert_eq!(told, [("password", true), ("invitation", false)], "{mine}");
    assert!(!mine.to_string().contains("hash"), "{mine}");

    let revoke = async |who: &str, id: &Value| {
        let path = format!("/me/sessions/{}/revoke", id.as_str().unwrap());
        with(&api, who, (Method::POST, &path), None).await
    };
    let theirs = with(&api, &admin, (Method::GET, "/me/sessions"), None).await.expect(200)["items"][0]["id"].clone();
    revoke(&second, &theirs).await.problem(404, "not_found");
    revoke(&second, &json!("x")).await.problem(404, "not_found");
    // Keys have none.
    revoke(crate::harness::TOKEN, &theirs).await.problem(404, "not_found");
    with(&api, crate::harness::TOKEN, (Method::GET, "/me/sessions"), None).await.problem(409, "no_session");
    with(&api, &admin, (Method::GET, "/me"), None).await.expect(200);

    revoke(&second, &items[1]["id"]).await.expect(204);
    with(&api, &first, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
    revoke(&second, &items[1]["id"]).await.problem(404, "not_found");
    let left = with(&api, &second, (Method::GET, "/me/sessions"), None).await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    let entries = api.get("/audit-entries?record=sessions&action=revoke").await.expect(200);
    let entry = &entries["items"][0];
    assert_eq!(
        (&entry["record_id"], &entry["created_by"]),
        (&items[1]["id"], &json!("person:grace@example.org")),
        "{entries}"
    );
    // Its own is a sign-out.
    revoke(&second, &items[0]["id"]).await.expect(204);
    with(&api, &second, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
}

pub async fn guessable_passwords_are_refused_and_change_nothing(api: Api) {
    let admin = administrator(&api).await;
    let invite = json!({ "email": "grace@example.org", "role": "viewer" });
    let link = with(&api, &admin, (Method::POST, "/invitations"), Some(invite)).await.expect(201)["link"].clone();
    for password in ["qwertyuiop123", "grace@example.org", "Password123456", "aaaaaaaaaaaaaaaaaaaa"] {
        let join = json!({ "link": link, "name": "Grace", "password": password });
        come(&api, "/invitations/accept", join).await.problem(422, "weak_password");
    }
    assert_eq!(api.get("/members?email=grace@example.org").await.expect(200)["items"], json!([]));
    let join = json!({ "link": link, "name": "Grace", "password": PASSWORD });
    let grace = token_of(&come(&api, "/invitations/accept", join).await.expect(200));
    let change = async |current: &str, new: &str| {
        let body = json!({ "current": current, "new": new });
        with(&api, &grace, (Method::PUT, "/me/password"), Some(body)).await
    };
    change(PASSWORD, "qwertyuiop123").await.problem(422, "weak_password");
    // The five before are not chosen again; the sixth may be.
    let all: Vec<String> = (0..6).map(|at| format!("{PASSWORD} number {at}")).collect();
    let mut present = PASSWORD;
    for next in &all {
        change(present, next).await.expect(204);
        present = next;
    }
    for old in &all {
        change(present, old).await.problem(422, "weak_password");
    }
    change(present, PASSWORD).await.expect(204);
}

pub async fn who_acts_in_anothers_name_is_named_and_gains_nothing(api: Api) {
    let admin = administrator(&api).await;
    let keeper = member(&api, &admin, ("keeper@example.org", "tenant_admin")).await;
    let viewer = member(&api, &admin, ("grace@example.org", "viewer")).await;
    let path = async |email: &str| format!("/members/{}/impersonate", member_id(&api, email).await);
    let (of_grace, of_admin) = (path("grace@example.org").await, path("admin@localhost").await);
    let why = |minutes: u32| Some(json!({ "reason": "ticket 7", "minutes": minutes }));
    let act = async |who: &str, path: &str, body| with(&api, who, (Method::POST, path), body).await;

    act(&viewer, &of_admin, why(5)).await.problem(403, "forbidden");
    let more = act(&keeper, &of_admin, why(5)).await.problem(403, "forbidden");
    assert!(more["detail"].as_str().unwrap().contains("may not do yourself"), "{more}");
    act(&keeper, &path("keeper@example.org").await, why(5)).await.problem(409, "oneself");
    for wrong in
        [json!({ "reason": " " }), json!({ "reason": "x", "minutes": 481 }), json!({ "reason": "x", "minutes": 0 })]
    {
        act(&keeper, &of_grace, Some(wrong)).await.problem(422, "invalid_input");
    }
    let unknown = format!("/members/{}/impersonate", uuid::Uuid::now_v7());
    act(&keeper, &unknown, why(5)).await.problem(404, "not_found");
    // A program is nobody who could be asked why.
    act(crate::harness::TOKEN, &of_grace, why(5)).await.problem(409, "no_session");
    assert_eq!(api.get("/audit-entries?action=impersonate").await.expect(200)["items"], json!([]));

    let begun = act(&keeper, &of_grace, why(480)).await.expect(201);
    let session = begun["token"].as_str().unwrap();
    let me = with(&api, session, (Method::GET, "/me"), None).await.expect(200);
    let acting = json!({ "who": "person:keeper@example.org", "reason": "ticket 7" });
    assert_eq!((&me["who"], &me["acting"]), (&json!("person:keeper@example.org for grace@example.org"), &acting));
    with(&api, session, (Method::GET, "/runs"), None).await.expect(200);
    for (method, path, code) in [
        (Method::GET, "/members", "forbidden"),
        (Method::PUT, "/me/password", "impersonated"),
        (Method::POST, "/me/identities", "impersonated"),
        (Method::GET, "/me/sessions", "impersonated"),
        (Method::POST, "/sign-out/everywhere", "impersonated"),
        (Method::POST, &of_grace, "forbidden"),
    ] {
        let body = match path {
            "/me/password" => Some(json!({ "current": PASSWORD, "new": "staple correct horse nine" })),
            "/me/identities" => Some(json!({ "provider": "company" })),
            _ => None,
        };
        with(&api, session, (method, path), body).await.problem(403, code);
    }

    let entries = api.get("/audit-entries?action=impersonate").await.expect(200);
    let entry = &entries["items"][0];
    assert_eq!(entry["created_by"], "person:keeper@example.org");
    assert_eq!(entry["changes"]["reason"]["to"], "ticket 7", "{entry}");
    // She sees it, and ends it; and sees then that it was.
    let shown = async || with(&api, &viewer, (Method::GET, "/me/sessions"), None).await.expect(200)["items"][0].clone();
    assert_eq!((&shown().await["acting"], &shown().await["active"]), (&acting, &json!(true)));
    let revoke = format!("/me/sessions/{}/revoke", begun["session"].as_str().unwrap());
    act(session, &revoke, None).await.problem(403, "impersonated");
    act(&viewer, &revoke, None).await.expect(204);
    act(&viewer, &revoke, None).await.problem(404, "not_found");
    assert_eq!((&shown().await["acting"], &shown().await["active"]), (&acting, &json!(false)));
    with(&api, session, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
}

pub async fn acting_in_anothers_name_ends_with_the_right_and_the_session(api: Api) {
    let admin = administrator(&api).await;
    member(&api, &admin, ("second@example.org", "tenant_admin")).await;
    member(&api, &admin, ("grace@example.org", "viewer")).await;
    let grace = member_id(&api, "grace@example.org").await;
    let role = api.get("/roles?name=tenant_admin").await.expect(200)["items"][0]["id"].clone();
    let begin = async |email: &str| {
        let keeper = member(&api, &admin, (email, "tenant_admin")).await;
        let path = format!("/members/{grace}/impersonate");
        let begun = with(&api, &keeper, (Method::POST, &path), Some(json!({ "reason": "ticket 7" }))).await.expect(201);
        let acting = token_of(&begun);
        with(&api, &acting, (Method::GET, "/me"), None).await.expect(200);
        (keeper, acting)
    };
    let over = async |acting: &str| {
        with(&api, acting, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
    };
    let (_, acting) = begin("a@example.org").await;
    with(&api, &acting, (Method::POST, "/sign-out"), None).await.expect(204);
    over(&acting).await;
    let (keeper, acting) = begin("b@example.org").await;
    with(&api, &keeper, (Method::POST, "/sign-out"), None).await.expect(204);
    over(&acting).await;
    let (keeper, acting) = begin("c@example.org").await;
    let member = member_id(&api, "c@example.org").await;
    let given = api.get(&format!("/role-assignments?member_id={member}")).await.expect(200)["items"][0]["id"].clone();
    send(api.request(Method::DELETE, &format!("/role-assignments/{}", given.as_str().unwrap()))).await.expect(204);
    over(&acting).await;
    with(&api, &keeper, (Method::GET, "/me"), None).await.expect(200);
    // What the member gains meanwhile, and whoever acts has not, is not there.
    api.post("/role-assignments", json!({ "member_id": member, "role_id": role })).await.expect(201);
    let (_, acting) = begin("d@example.org").await;
    let system = api.get("/roles?name=system_admin").await.expect(200)["items"][0]["id"].clone();
    api.post("/role-assignments", json!({ "member_id": grace, "role_id": system })).await.expect(201);
    with(&api, &acting, (Method::GET, "/members"), None).await.expect(200);
    with(&api, &acting, (Method::GET, "/users"), None).await.problem(403, "forbidden");
    let key = Some(json!({ "name": "k", "scopes": ["runs.read"] }));
    for (path, body) in [("/api-keys", key), ("/invitations", None), ("/role-assignments", None)] {
        with(&api, &acting, (Method::POST, path), body).await.problem(403, "forbidden");
    }
    api.post(&format!("/members/{}/suspend", member_id(&api, "d@example.org").await), json!({})).await.expect(200);
    over(&acting).await;
}

pub async fn what_is_done_in_anothers_name_bears_both(api: Api) {
    let ask = "name: ask\nsteps:\n  - id: ok\n    type: approval\n    with: { to: [bob@example.org, admin@localhost, ada@example.org], title: May we? }\n";
    api.deploy("ask", ask).await;
    let admin = administrator(&api).await;
    let bob = member(&api, &admin, ("bob@example.org", "builder")).await;
    let ada = member(&api, &admin, ("ada@example.org", "builder")).await;
    let path = format!("/members/{}/impersonate", member_id(&api, "bob@example.org").await);
    let begun = with(&api, &admin, (Method::POST, &path), Some(json!({ "reason": "he is away" }))).await.expect(201);
    let acting = token_of(&begun);
    let both = json!("person:admin@localhost for bob@example.org");
    let tag = with(&api, &acting, (Method::POST, "/tags"), Some(json!({ "name": "his" }))).await.expect(201);
    assert_eq!(tag["created_by"], both);
    let entries = api.get("/audit-entries?record=tags").await.expect(200);
    assert_eq!(entries["items"][0]["created_by"], both);

    // Neither of the two may decide on what they started together, and nobody decides in another's name.
    let run = with(&api, &acting, (Method::POST, "/workflows/ask/runs"), Some(json!({}))).await.expect(202);
    let page = api.until("/approvals?status=pending", |page| !page["items"].as_array().unwrap().is_empty()).await;
    let approve = format!("/approvals/{}/approve", page["items"][0]["id"].as_str().unwrap());
    for who in [&acting, &bob, &admin] {
        let refused = with(&api, who, (Method::POST, &approve), None).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
    }
    with(&api, &ada, (Method::POST, &approve), None).await.expect(200);
    let run = format!("/runs/{}", run["id"].as_str().unwrap());
    let ended = api.until(&run, |it| it["status"] == "completed").await;
    assert_eq!(ended["started_by"], json!({ "acting": { "who": "admin@localhost", "of": "bob@example.org" } }));
}

/// Begins a second factor and confirms it; gives the app that makes its codes, and the recovery codes.
pub async fn second_factor(api: &Api, who: &str) -> (Authenticator, Vec<String>) {
    let password = Some(json!({ "password": PASSWORD }));
    let begun = with(api, who, (Method::POST, "/me/second-factor"), password).await.expect(201);
    let app = Authenticator::open(begun["url"].as_str().unwrap());
    let confirm = Some(json!({ "code": app.code(0) }));
    let confirmed = with(api, who, (Method::POST, "/me/second-factor/confirm"), confirm).await.expect(200);
    (app, confirmed["recovery_codes"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect())
}

pub async fn a_second_factor_is_asked_for_and_no_code_is_taken_twice(api: Api) {
    let admin = administrator(&api).await;
    let grace = member(&api, &admin, ("grace@example.org", "viewer")).await;
    let post = async |path: &str, body: Value| with(&api, &grace, (Method::POST, path), Some(body)).await;
    let begin = async |password: &str| post("/me/second-factor", json!({ "password": password })).await;
    let confirm = async |code: &str| post("/me/second-factor/confirm", json!({ "code": code })).await;
    let end = async |password: &str, code: &str| {
        post("/me/second-factor/end", json!({ "password": password, "code": code })).await
    };
    let sign_in = async |code: Option<&str>| {
        let body = json!({ "email": "grace@example.org", "password": PASSWORD, "code": code });
        come(&api, "/sign-in", body).await
    };
    confirm("123456").await.problem(409, "no_second_factor");
    end(PASSWORD, "123456").await.problem(409, "no_second_factor");
    // A session alone is not enough.
    begin("staple correct horse nine").await.problem(401, "sign_in_refused");
    post("/me/second-factor", json!({})).await.problem(401, "sign_in_refused");
    let first = begin(PASSWORD).await.expect(201);
    let (url, secret) = (first["url"].as_str().unwrap(), first["secret"].as_str().unwrap());
    assert!(url.starts_with("otpauth://totp/Windlass:grace%40example%2Eorg?") && url.contains(secret), "{url}");
    // Begun is not asked for, and is forgotten when another is begun.
    sign_in(None).await.expect(200);
    let begun = begin(PASSWORD).await.expect(201);
    let (other, app) = (Authenticator::open(url), Authenticator::open(begun["url"].as_str().unwrap()));
    for wrong in ["", "1234567", &other.code(0), &app.code(40)] {
        confirm(wrong).await.problem(422, "wrong_code");
    }
    let confirmed = confirm(&app.code(0)).await.expect(200);
    let recovery: Vec<&str> =
        confirmed["recovery_codes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(recovery.len(), 10);
    begin(PASSWORD).await.problem(409, "second_factor_there");
    confirm(&app.code(1)).await.problem(409, "no_second_factor");

    sign_in(None).await.problem(401, "second_factor_required");
    sign_in(Some(&app.code(0))).await.problem(401, "wrong_code");
    sign_in(Some(&app.code(1))).await.expect(200);
    sign_in(Some(&app.code(1))).await.problem(401, "wrong_code");
    sign_in(Some(recovery[0])).await.expect(200);
    sign_in(Some(recovery[0])).await.problem(401, "wrong_code");
    assert_eq!(with(&api, &grace, (Method::GET, "/me"), None).await.expect(200)["second_factor"], true);

    // A link of an administrator does not lead around it, and is not used up by a try; nor does an invitation.
    let users = api.get("/users?email=grace@example.org").await.expect(200);
    let user = users["items"][0]["id"].as_str().unwrap().to_owned();
    let link = api.post(&format!("/users/{user}/link"), json!({})).await.expect(201)["link"].clone();
    come(&api, "/sign-in", json!({ "link": link })).await.problem(401, "second_factor_required");
    come(&api, "/sign-in", json!({ "link": link, "code": recovery[1] })).await.expect(200);
    come(&api, "/sign-in", json!({ "link": link, "code": recovery[2] })).await.problem(401, "sign_in_refused");
    let invite = json!({ "email": "grace@example.org", "role": "viewer" });
    let invited = with(&api, &admin, (Method::POST, "/invitations"), Some(invite)).await.expect(201);
    let mut join = json!({ "link": invited["link"], "password": PASSWORD });
    come(&api, "/invitations/accept", join.clone()).await.problem(401, "second_factor_required");
    join["code"] = json!(recovery[2]);
    come(&api, "/invitations/accept", join).await.expect(200);

    // Nothing of it is shown.
    let kept = api.get("/second-factors").await.expect(200);
    let entries = api.get("/audit-entries?record=second_factors").await.expect(200);
    assert!(kept["items"][0]["secret"].is_null() && kept["items"][0]["recovery_hashes"].is_null(), "{kept}");
    for hidden in [begun["secret"].as_str().unwrap(), recovery[3]] {
        assert!(![&kept, &entries].iter().any(|it| it.to_string().contains(hidden)), "{hidden}");
    }
    assert_eq!(entries["items"][0]["created_by"], "person:grace@example.org", "{entries}");

    // It is hers alone: who acts in her name does not touch it.
    let path = format!("/members/{}/impersonate", member_id(&api, "grace@example.org").await);
    let acting = with(&api, &admin, (Method::POST, &path), Some(json!({ "reason": "ticket 7" }))).await.expect(201);
    let acting = token_of(&acting);
    let mine = json!({ "password": PASSWORD, "code": recovery[4] });
    with(&api, &acting, (Method::POST, "/me/second-factor/end"), Some(mine)).await.problem(403, "impersonated");
    let mine = json!({ "password": PASSWORD });
    with(&api, &acting, (Method::POST, "/me/second-factor"), Some(mine)).await.problem(403, "impersonated");

    end(PASSWORD, &app.code(1)).await.problem(422, "wrong_code");
    end("staple correct horse nine", recovery[4]).await.problem(401, "sign_in_refused");
    end(PASSWORD, recovery[4]).await.expect(204);
    sign_in(None).await.expect(200);
    second_factor(&api, &grace).await;
    sign_in(None).await.problem(401, "second_factor_required");
    // Whoever lost everything asks an administrator, who is not asked by himself.
    let path = format!("/users/{user}/end-second-factor");
    with(&api, &grace, (Method::POST, &path), None).await.problem(403, "forbidden");
    with(&api, &admin, (Method::POST, &path), None).await.expect(204);
    sign_in(None).await.expect(200);
    let ended = api.get("/audit-entries?record=second_factors&action=delete").await.expect(200);
    assert_eq!(ended["items"].as_array().unwrap().len(), 2, "{ended}");
    let own = api.get("/users?email=admin@localhost").await.expect(200)["items"][0]["id"].clone();
    let path = format!("/users/{}/end-second-factor", own.as_str().unwrap());
    with(&api, &admin, (Method::POST, &path), None).await.problem(409, "own_second_factor");
}

pub async fn codes_are_not_guessed_and_recovery_codes_work_once(api: Api) {
    let admin = administrator(&api).await;
    let grace = member(&api, &admin, ("grace@example.org", "viewer")).await;
    let (_, recovery) = second_factor(&api, &grace).await;
    let sign_in = async |code: &str| {
        let body = json!({ "email": "grace@example.org", "password": PASSWORD, "code": code });
        come(&api, "/sign-in", body).await
    };
    // Of two who come with one code, one gets in.
    let (first, second) = tokio::join!(sign_in(&recovery[0]), sign_in(&recovery[0]));
    let mut both = [first.status, second.status];
    both.sort_unstable();
    assert_eq!(both, [200, 401]);
    sign_in(&recovery[1]).await.expect(200);
    for _ in 0..10 {
        sign_in("000000x").await.problem(401, "wrong_code");
    }
    let refused = sign_in(&recovery[2]).await;
    refused.problem(429, "too_many_attempts");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() <= 300);
    let failed = api.get("/audit-entries?action=sign_in_failed").await.expect(200);
    assert!(failed["items"].as_array().unwrap().len() >= 10, "{failed}");
}

pub async fn how_people_come_in_is_a_setting(api: Api) {
    let admin = administrator(&api).await;
    let choose = async |name: &str, value: Value| {
        let body = Some(json!({ "value": value }));
        with(&api, &admin, (Method::PUT, &format!("/settings/{name}")), body).await.expect(200)
    };
    let span = |answer: &Value| {
        let until = windlass_definition::Timestamp::parse(answer["expires_at"].as_str().unwrap()).unwrap();
        until.since(api.store.now()).as_secs()
    };
    let invite = async |body: Value| with(&api, &admin, (Method::POST, "/invitations"), Some(body)).await.expect(201);
    let grace = json!({ "email": "grace@example.org", "role": "viewer" });

    choose("invitation_days", json!(2)).await;
    choose("session_hours", json!(1)).await;
    let invited = invite(grace.clone()).await;
    assert!((47 * 3_600..=48 * 3_600).contains(&span(&invited)), "{invited}");
    let own = json!({ "email": "other@example.org", "role": "viewer", "days": 9 });
    assert!(span(&invite(own).await) > 8 * 86_400, "who says is asked");

    // A password is as long as the installation asks for.
    let everywhere = windlass_store::Actor::from(windlass_engine::id::TenantKey::DEFAULT);
    let chars = (windlass_store::SettingLayer::Installation, "password_chars_min");
    api.store.put_setting(everywhere, chars, json!(30)).await.unwrap();
    let accept = |password: &str| json!({ "link": invited["link"], "name": "Grace", "password": password });
    let weak = come(&api, "/invitations/accept", accept(PASSWORD)).await.problem(422, "weak_password");
    assert!(weak["detail"].as_str().unwrap().contains("at least 30"), "{weak}");
    let long = "correct horse battery staple and more";
    let joined = come(&api, "/invitations/accept", accept(long)).await.expect(200);
    assert!((3_500..=3_600).contains(&span(&joined)), "{joined}");

    // Without sign-in by password the right one is refused too, a link lets in, and a wrong one is told nothing.
    let sign_in = |password: &str| json!({ "email": "grace@example.org", "password": password, "deliver": "cookie" });
    let signed_in = come(&api, "/sign-in", sign_in(long)).await;
    assert!(signed_in.header("set-cookie").ends_with("Max-Age=3600"), "{}", signed_in.header("set-cookie"));
    choose("password_sign_in", json!(false)).await;
    come(&api, "/sign-in", sign_in(long)).await.problem(403, "password_sign_in_off");
    come(&api, "/sign-in", sign_in("something else altogether")).await.problem(401, "sign_in_refused");
    let path = format!("/users/{}/link", user_id(&api, "grace@example.org").await);
    let link = api.post(&path, json!({})).await.expect(201);
    assert!((3_500..=3_600).contains(&span(&link)), "{link}");
    come(&api, "/sign-in", json!({ "link": link["link"] })).await.expect(200);
    choose("password_sign_in", json!(true)).await;
    come(&api, "/sign-in", sign_in(long)).await.expect(200);

    choose("impersonation_minutes_max", json!(20)).await;
    let path = format!("/members/{}/impersonate", member_id(&api, "grace@example.org").await);
    let act = async |body: Value| with(&api, &admin, (Method::POST, &path), Some(body)).await;
    for minutes in [0, 21, 480, u32::MAX] {
        act(json!({ "reason": "ticket 7", "minutes": minutes })).await.problem(422, "invalid_input");
    }
    let acting = act(json!({ "reason": "ticket 7" })).await.expect(201);
    assert!((1_100..=1_200).contains(&span(&acting)), "{acting}");
}
