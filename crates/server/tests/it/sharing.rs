//! Secrets that are for some people, or for some workflows, alone: who may name them where, and no way around.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::IntoResponse as _,
    routing::any,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    harness::{Answer, Api, REACHED, TOKEN, send},
    identity::{administrator, member, member_id, with},
};

const VALUE: &str = "a-value-for-some-alone";

fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}

/// Which record it is, and which of its shares.
struct Kind {
    path: &'static str,
    shares: &'static str,
    which: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind { path: "/secrets", shares: "/secret-shares", which: "secret_id" },
    Kind { path: "/credentials", shares: "/credential-shares", which: "credential_id" },
];

impl Kind {
    fn body(&self, name: &str) -> Value {
        match self.path {
            "/secrets" => json!({ "name": name, "value": VALUE }),
            _ => json!({ "name": name, "credential_type": "bearer", "secret_fields": { "token": VALUE } }),
        }
    }

    /// Makes one with these limits besides; gives its id.
    async fn make(&self, api: &Api, (name, limits): (&str, Value)) -> String {
        let mut body = self.body(name);
        body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        id(&api.post(self.path, body).await.expect(201))
    }

    async fn share(&self, api: &Api, of: &str, (with, whom): (&str, &str)) -> Answer {
        let mut body = json!({ self.which: of });
        body[with] = json!(whom);
        api.post(self.shares, body).await
    }

    /// Takes a share back.
    async fn unshare(&self, api: &Api, share: &Value) {
        send(api.request(Method::DELETE, &format!("{}/{}", self.shares, id(share)))).await.expect(204);
    }

    /// A step that names it.
    fn step(&self, name: &str) -> Value {
        let with = match self.path {
            "/secrets" => {
                json!({ "url": "http://x.invalid/", "headers": { "a": format!("${{{{ secrets.{name} }}}}") } })
            }
            _ => json!({ "url": "http://x.invalid/", "credential": name }),
        };
        json!({ "id": "call", "type": "http", "with": with })
    }

    fn document(&self, workflow: &str, name: &str) -> String {
        json!({ "name": workflow, "steps": [self.step(name)] }).to_string()
    }
}

async fn put(api: &Api, token: &str, (path, document): (&str, &str)) -> Answer {
    let request = api.bare(Method::PUT, &format!("/api/v1/workflows/{path}")).bearer_auth(token);
    send(request.header("content-type", "application/json").body(document.to_owned())).await
}

async fn post(api: &Api, token: &str, path: &str) -> Answer {
    with(api, token, (Method::POST, path), None).await
}

/// A run is started: it goes on, or is over already, for nothing answers its step.
async fn starts(api: &Api, token: &str, runs: &str, body: Value) {
    let started = with(api, token, (Method::POST, runs), Some(body)).await;
    assert!(started.status.is_success(), "{}", started.body);
}

/// Whether what is refused names the secret, and how.
fn names(problem: &Value, name: &str) {
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(name) && !detail.contains(VALUE), "{problem}");
}

pub async fn a_secret_is_named_by_those_with_whom_it_is_shared(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "builder")).await;
    let bob = member(&api, &admin, ("bob@example.org", "builder")).await;
    let [ada_id, bob_id] = [member_id(&api, "ada@example.org").await, member_id(&api, "bob@example.org").await];
    let group = id(&api.post("/groups", json!({ "name": "Treasury" })).await.expect(201));
    for (number, kind) in KINDS.iter().enumerate() {
        let name = format!("limited_{number}");
        let made = kind.make(&api, (&name, json!({ "used_by": "listed" }))).await;
        let flow = format!("pays_{number}");
        let text = kind.document(&flow, &name);
        // Nobody as long as it is shared with nobody; at the machine itself, and with a key for everything, all may.
        for token in [&ada, &bob, &admin] {
            names(&put(&api, token, (&flow, &text)).await.problem(403, "secrets_not_shared"), &name);
        }
        api.get(&format!("/workflows/{flow}")).await.problem(404, "not_found");
        // With ada herself, then through a group.
        let own = kind.share(&api, &made, ("member_id", &ada_id)).await.expect(201);
        kind.share(&api, &made, ("member_id", &ada_id)).await.problem(409, "taken");
        put(&api, &ada, (&flow, &text)).await.expect(201);
        // Whoever publishes it or tries it out is asked as well.
        let publish = format!("/workflows/{flow}/publish");
        let runs = format!("/workflows/{flow}/runs");
        let test = json!({ "mode": "test" });
        names(&post(&api, &bob, &publish).await.problem(403, "secrets_not_shared"), &name);
        let tried = with(&api, &bob, (Method::POST, &runs), Some(test.clone())).await;
        names(&tried.problem(403, "secrets_not_shared"), &name);
        starts(&api, &ada, &runs, test).await;
        let seen = api.get(&format!("/workflows/{flow}")).await.expect(200);
        assert!(seen["version"].is_null(), "{seen}");
        post(&api, &ada, &publish).await.expect(200);
        starts(&api, &bob, &runs, json!({})).await;
        // Nobody acts in her name to get at it.
        let reason = json!({ "reason": "ticket 7" });
        let acting = format!("/members/{ada_id}/impersonate");
        let acting = with(&api, &admin, (Method::POST, &acting), Some(reason)).await.expect(201);
        put(&api, acting["token"].as_str().unwrap(), (&flow, &text)).await.problem(403, "secrets_not_shared");
        // What was taken back holds from the next time on.
        kind.unshare(&api, &own).await;
        let audit = api.get(&format!("/audit-entries?record_id={}", id(&own))).await.expect(200);
        assert_eq!(audit["items"].as_array().unwrap().len(), 2, "{audit}");
        put(&api, &ada, (&flow, &text)).await.problem(403, "secrets_not_shared");
        kind.share(&api, &made, ("group_id", &group)).await.expect(201);
        put(&api, &bob, (&flow, &text)).await.problem(403, "secrets_not_shared");
        let joined = json!({ "group_id": group, "member_id": bob_id });
        let joined = api.post("/group-members", joined).await.expect(201);
        put(&api, &bob, (&flow, &text)).await.expect(200);
        post(&api, &bob, &publish).await.expect(200);
        if kind.path == "/credentials" {
            let path = format!("/credentials/{made}/test");
            assert_eq!(post(&api, &bob, &path).await.expect(200)["verdict"], "unknown");
            names(&post(&api, &ada, &path).await.problem(403, "secrets_not_shared"), &name);
        }
        send(api.request(Method::DELETE, &format!("/group-members/{}", id(&joined)))).await.expect(204);
        // Who may see the vault sees that it is there, and for whom.
        let shown = with(&api, &ada, (Method::GET, &format!("{}/{made}", kind.path)), None).await.expect(200);
        assert_eq!(shown["used_by"], "listed");
        put(&api, TOKEN, (&flow, &text)).await.expect(200);
    }
}

pub async fn who_decides_nothing_about_sharing_gets_around_no_limit(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "builder")).await;
    let bob = member(&api, &admin, ("bob@example.org", "builder")).await;
    let keeper = json!({ "name": "people_keeper", "permissions": ["people.read", "people.write"] });
    api.post("/roles", keeper).await.expect(201);
    let keeper = member(&api, &admin, ("keeper@example.org", "people_keeper")).await;
    let [ada_id, bob_id] = [member_id(&api, "ada@example.org").await, member_id(&api, "bob@example.org").await];
    let group = id(&api.post("/groups", json!({ "name": "Treasury" })).await.expect(201));
    for (number, kind) in KINDS.iter().enumerate() {
        let name = format!("limited_{number}");
        let made = kind.make(&api, (&name, json!({ "used_by": "listed" }))).await;
        let row = format!("{}/{made}", kind.path);
        kind.share(&api, &made, ("member_id", &ada_id)).await.expect(201);
        kind.share(&api, &made, ("group_id", &group)).await.expect(201);
        let change = async |token: &str, body: Value| with(&api, token, (Method::PATCH, &row), Some(body)).await;
        for (token, body, pointer) in [
            (&bob, json!({ "used_by": "everyone" }), "/used_by"),
            (&bob, json!({ "description": "mine" }), "/name"),
            (&ada, json!({ "used_by": "everyone" }), "/used_by"),
            (&ada, json!({ "used_in": "listed" }), "/used_in"),
        ] {
            let refused = change(token, body.clone()).await.problem(422, "invalid_input");
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}: {refused}");
            assert!(refused["errors"][0]["message"].as_str().unwrap().contains("vault.share"), "{refused}");
        }
        with(&api, &bob, (Method::DELETE, &row), None).await.problem(422, "invalid_input");
        let own = json!({ kind.which: made, "member_id": bob_id });
        with(&api, &bob, (Method::POST, kind.shares), Some(own)).await.problem(403, "forbidden");
        let mut new = kind.body("other");
        new["used_by"] = json!("listed");
        with(&api, &bob, (Method::POST, kind.path), Some(new)).await.problem(422, "invalid_input");
        let joining = json!({ "group_id": group, "member_id": bob_id });
        let refused = with(&api, &keeper, (Method::POST, "/group-members"), Some(joining)).await;
        let refused = refused.problem(422, "invalid_input");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains("vault.share"), "{refused}");
        // With whom it is shared, he keeps its value; what is for all is anybody's to change, as ever.
        change(&ada, json!({ "description": "ours" })).await.expect(200);
        for given in [json!({}), json!({ "member_id": ada_id, "group_id": group })] {
            let mut body = json!({ kind.which: made });
            body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            let refused = api.post(kind.shares, body).await.problem(422, "invalid_input");
            assert!(refused["errors"][0]["message"].as_str().unwrap().contains("give one of"), "{given}: {refused}");
        }
        with(&api, &admin, (Method::PATCH, &row), Some(json!({ "used_by": "everyone" }))).await.expect(200);
        change(&bob, json!({ "description": "mine" })).await.expect(200);
        // One that workflows elsewhere may not use is not led there by its fields either.
        let placed = kind.make(&api, (&format!("placed_{number}"), json!({ "used_in": "listed" }))).await;
        let placed = format!("{}/{placed}", kind.path);
        for body in [json!({ "used_in": "everywhere" }), json!({ "description": "mine" })] {
            with(&api, &bob, (Method::PATCH, &placed), Some(body)).await.problem(422, "invalid_input");
        }
    }
}

pub async fn a_secret_is_used_where_it_is_shared(api: Api) {
    let billing = id(&api.post("/folders", json!({ "name": "Billing" })).await.expect(201));
    let invoices = json!({ "name": "Invoices", "parent_id": billing });
    let invoices = id(&api.post("/folders", invoices).await.expect(201));
    let (url, _) = outside().await;
    for (number, kind) in KINDS.iter().enumerate() {
        let name = format!("limited_{number}");
        let made = kind.make(&api, (&name, json!({ "used_in": "listed" }))).await;
        // By its folder, by itself, not at all.
        let flows = [(format!("inside_{number}"), Some(&invoices)), (format!("own_{number}"), None)];
        for (flow, folder) in &flows {
            let query = folder.map(|folder| format!("?folder={folder}")).unwrap_or_default();
            let mut step = kind.step(&name);
            step["with"]["url"] = json!(url);
            let text = json!({ "name": flow, "steps": [step] }).to_string();
            let workflow = put(&api, TOKEN, (&format!("{flow}{query}"), &text)).await.expect(201);
            let publish = format!("/workflows/{flow}/publish");
            let refused = api.post(&publish, json!({})).await.problem(409, "secrets_missing");
            names(&refused, &name);
            assert!(refused["detail"].as_str().unwrap().contains("for other workflows"), "{refused}");
            let (of, place) = match folder {
                Some(_) => ("folder_id", billing.clone()),
                None => ("workflow_id", id(&workflow)),
            };
            let share = kind.share(&api, &made, (of, &place)).await.expect(201);
            api.post(&publish, json!({})).await.expect(200);
            let run = async || api.post(&format!("/workflows/{flow}/runs?wait=60s"), json!({})).await.json();
            let ended = run().await;
            assert_eq!(ended["status"], "completed", "{ended}");
            // It is asked for again by each attempt: a folder may be another one by then.
            match folder {
                Some(_) => {
                    let path = format!("/workflow-places?workflow_id={}", id(&workflow));
                    let lies = id(&api.get(&path).await.expect(200)["items"][0]);
                    send(api.request(Method::DELETE, &format!("/workflow-places/{lies}"))).await.expect(204);
                }
                None => kind.unshare(&api, &share).await,
            }
            let ended = run().await;
            let said = (ended["error"]["code"].as_str(), ended["error"]["message"].as_str().unwrap_or_default());
            assert!(said.0 == Some("secret_missing") && said.1.contains("for other workflows"), "{ended}");
        }
    }
    // A folder with which something is shared stays.
    send(api.request(Method::DELETE, &format!("/folders/{invoices}"))).await.expect(204);
    send(api.request(Method::DELETE, &format!("/folders/{billing}"))).await.problem(409, "in_use");
}

/// A server outside that notes what it is asked; `/away` sends elsewhere.
async fn outside() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let notes = Arc::clone(&asked);
    let answer = any(move |request: Request| async move {
        let path = request.uri().path().to_owned();
        notes.lock().unwrap().push(path.clone());
        let away = [(header::LOCATION, "http://elsewhere.invalid/taken")];
        if path == "/away" { (StatusCode::FOUND, away).into_response() } else { "taken".into_response() }
    });
    let listener = tokio::net::TcpListener::bind((REACHED, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (url, asked)
}

pub async fn a_secret_goes_to_its_hosts_alone(api: Api) {
    let admin = administrator(&api).await;
    let bob = member(&api, &admin, ("bob@example.org", "builder")).await;
    let (url, asked) = outside().await;
    let port = url.rsplit(':').next().unwrap();
    for (number, kind) in KINDS.iter().enumerate() {
        for (at, (hosts, path, lets, requests)) in [
            (json!([]), "/", true, 1),
            (json!([REACHED]), "/", true, 1),
            (json!(["*.example.com", format!("{REACHED}:{port}")]), "/", true, 1),
            (json!(["*.example.com"]), "/", false, 0),
            (json!([format!("{REACHED}:1")]), "/", false, 0),
            (json!([REACHED]), "/away", false, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("bound_{number}_{at}");
            kind.make(&api, (&name, json!({ "hosts": hosts }))).await;
            let mut step = kind.step(&name);
            step["with"]["url"] = json!(format!("{url}{path}"));
            let flow = format!("goes_{number}_{at}");
            put(&api, TOKEN, (&flow, &json!({ "name": flow, "steps": [step] }).to_string())).await.expect(201);
            api.post(&format!("/workflows/{flow}/publish"), json!({})).await.expect(200);
            let ended = api.post(&format!("/workflows/{flow}/runs?wait=60s"), json!({})).await.json();
            if lets {
                assert_eq!(ended["status"], "completed", "{hosts} {path}: {ended}");
            } else {
                let error = &ended["error"];
                assert_eq!((&error["class"], &error["code"]), (&json!("denied"), &json!("secret_host")), "{ended}");
                let said = error["message"].as_str().unwrap();
                assert!(said.contains(&name) && said.contains(hosts[0].as_str().unwrap()), "{said}");
            }
            assert_eq!(asked.lock().unwrap().drain(..).count(), requests, "{hosts} {path}");
        }
        // They are patterns, and whoever decides nothing about sharing says where a secret goes only when he gives it.
        let mut body = kind.body("wrong");
        body["hosts"] = json!(["a.example", "https://b.example"]);
        let refused = api.post(kind.path, body).await.problem(422, "invalid_input");
        assert_eq!(refused["errors"][0]["pointer"], "/hosts/1", "{refused}");
        let mut body = kind.body("his");
        body["hosts"] = json!(["a.example"]);
        let made = with(&api, &bob, (Method::POST, kind.path), Some(body)).await.expect(201);
        let row = format!("{}/{}", kind.path, id(&made));
        let wider = json!({ "hosts": ["a.example", "b.example"] });
        let refused = with(&api, &bob, (Method::PATCH, &row), Some(wider.clone())).await.problem(422, "invalid_input");
        assert_eq!(refused["errors"][0]["pointer"], "/hosts", "{refused}");
        let same = json!({ "hosts": ["a.example"], "description": "his" });
        with(&api, &bob, (Method::PATCH, &row), Some(same)).await.expect(200);
        with(&api, &admin, (Method::PATCH, &row), Some(wider)).await.expect(200);
        send(api.request(Method::DELETE, &row)).await.expect(204);
    }
    // A credential is tried nowhere else either, nor is a token asked for.
    for (kind, fields, secret) in [
        ("bearer", json!({ "test_url": url }), json!({ "token": VALUE })),
        (
            "oauth2",
            json!({ "token_url": url, "client_id": "c", "grant": "client_credentials" }),
            json!({ "client_secret": VALUE }),
        ),
        ("smtp", json!({ "host": REACHED, "port": 1, "security": "none" }), json!({})),
    ] {
        let body = json!({
            "name": format!("tried_{kind}"), "credential_type": kind, "fields": fields, "secret_fields": secret,
            "hosts": ["api.example.com"],
        });
        let made = id(&api.post("/credentials", body).await.expect(201));
        let test = post(&api, TOKEN, &format!("/credentials/{made}/test")).await.expect(200);
        let detail = test["detail"].as_str().unwrap();
        assert!(test["verdict"] == "fails" && detail.contains("may go to api.example.com alone"), "{test}");
    }
    assert!(asked.lock().unwrap().is_empty());
}

/// What a tenant chose, whether its steps and the tests of its credentials reach the server outside, and whether they reach
/// this machine, which the installation does not.
pub async fn a_tenant_reaches_what_it_chose_within_the_installation(api: Api) {
    let (url, asked) = outside().await;
    let port = url.rsplit(':').next().unwrap();
    let call = |url: &str| json!({ "id": "call", "type": "http", "with": { "url": url } });
    for (flow, url) in [("outside", url.clone()), ("inside", format!("http://127.0.0.1:{port}"))] {
        put(&api, TOKEN, (flow, &json!({ "name": flow, "steps": [call(&url)] }).to_string())).await.expect(201);
        api.post(&format!("/workflows/{flow}/publish"), json!({})).await.expect(200);
    }
    let tried = json!({
        "name": "tried", "credential_type": "bearer", "fields": { "test_url": url }, "secret_fields": { "token": VALUE },
    });
    let tried = format!("/credentials/{}/test", id(&api.post("/credentials", tried).await.expect(201)));
    let setting = "/settings/private_networks";
    let other = api.tenant("acme").await;
    for (chosen, reaches) in [
        (None, true),
        (Some(json!([])), false),
        (Some(json!(["all"])), true),
        (Some(json!(["10.0.0.0/8"])), false),
        (Some(json!(["10.0.0.0/8", "127.0.0.0/8"])), true),
    ] {
        if let Some(value) = &chosen {
            send(api.request(Method::PUT, setting).json(&json!({ "value": value }))).await.expect(200);
        }
        let ended = api.post("/workflows/outside/runs?wait=60s", json!({})).await.json();
        let test = api.post(&tried, json!({})).await.expect(200);
        if reaches {
            assert_eq!(
                (&ended["status"], &test["verdict"]),
                (&json!("completed"), &json!("works")),
                "{chosen:?}: {ended}"
            );
        } else {
            assert_eq!(ended["error"]["code"], "private_address", "{chosen:?}: {ended}");
            assert!(test["detail"].as_str().unwrap().contains("may not be reached"), "{chosen:?}: {test}");
        }
        let requests = asked.lock().unwrap().drain(..).count();
        assert_eq!(requests, if reaches { 2 } else { 0 }, "{chosen:?}");
        let ended = api.post("/workflows/inside/runs?wait=60s", json!({})).await.json();
        assert_eq!(ended["error"]["code"], "private_address", "{chosen:?}: {ended}");
    }
    // It is this tenant's alone, and a word that names no network is refused.
    let theirs = send(api.bare(Method::GET, &format!("/api/v1{setting}")).bearer_auth(&other)).await.expect(200);
    assert_ne!(theirs["source"], "tenant", "{theirs}");
    let wrong = json!({ "value": ["nowhere"] });
    send(api.request(Method::PUT, setting).json(&wrong)).await.problem(422, "invalid_input");
    send(api.request(Method::DELETE, setting)).await.expect(204);
    let ended = api.post("/workflows/outside/runs?wait=60s", json!({})).await.json();
    assert_eq!(ended["status"], "completed", "{ended}");
}
