//! Credentials in steps: what a document that names one may do, and what becomes of a run whose secrets are gone.

use std::sync::{Arc, Mutex};

use axum::{Router, http::HeaderMap, routing::any};
use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;

use crate::{
    harness::{Api, REACHED, send},
    records::{THEIRS, other_tenant, token},
};

const WRITER: &str = "a-token-that-uses-no-secrets";
const PASSWORD: &str = "correct-horse-battery";

/// What a server outside was sent.
type Got = Arc<Mutex<Vec<HeaderMap>>>;

/// A server outside, where steps may go; it answers with what it was sent.
async fn outside() -> (String, Got) {
    let got = Got::default();
    let notes = Arc::clone(&got);
    let echo = any(move |headers: HeaderMap| async move {
        let said = format!("{headers:?}");
        notes.lock().unwrap().push(headers);
        said
    });
    let listener = tokio::net::TcpListener::bind((REACHED, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    (url, got)
}

fn document(name: &str, with: &Value) -> String {
    let step = json!({ "id": "call", "type": "http", "with": with });
    json!({ "name": name, "steps": [step], "output": "${{ steps.call.output }}" }).to_string()
}

async fn save(api: &Api, token: Option<&str>, document: &str) -> crate::harness::Answer {
    let name = serde_json::from_str::<Value>(document).unwrap()["name"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/workflows/{name}");
    let request = api.bare(Method::PUT, &path).header("content-type", "application/json").body(document.to_owned());
    send(request.bearer_auth(token.unwrap_or(crate::harness::TOKEN))).await
}

async fn publish(api: &Api, document: &str) {
    save(api, None, document).await.expect(201);
    let name = serde_json::from_str::<Value>(document).unwrap()["name"].as_str().unwrap().to_owned();
    api.post(&format!("/workflows/{name}/publish"), json!({})).await.expect(200);
}

async fn shop(api: &Api) -> String {
    id(&api.post("/credentials", of_shop()).await.expect(201))
}

fn id(row: &Value) -> String {
    row["id"].as_str().unwrap().to_owned()
}

/// Runs a workflow; gives its run.
async fn run(api: &Api, name: &str, input: Value) -> Value {
    api.post(&format!("/workflows/{name}/runs?wait=60s"), json!({ "input": input })).await.json()
}

/// Fails as it should: `class/code` and a part of the message.
fn failed(run: &Value, error: &str, part: &str) {
    let code = format!("{}/{}", run["error"]["class"].as_str().unwrap(), run["error"]["code"].as_str().unwrap());
    assert_eq!((&run["status"], code.as_str()), (&json!("failed"), error), "{run}");
    assert!(run["error"]["message"].as_str().unwrap().contains(part), "{part}: {run}");
}

pub async fn a_step_is_made_with_the_credential_that_it_names(api: Api) {
    let (url, got) = outside().await;
    let calls = document("calls", &json!({ "url": url, "credential": "shop" }));
    save(&api, None, &calls).await.expect(201);
    let missing = api.post("/workflows/calls/publish", json!({})).await.problem(409, "secrets_missing");
    assert!(missing["detail"].as_str().unwrap().contains("shop"), "{missing}");
    // One of another tenant is none.
    other_tenant(&api).await;
    let theirs = json!({ "name": "shop", "credential_type": "bearer", "secret_fields": { "token": "of-others" } });
    send(api.bare(Method::POST, "/api/v1/credentials").bearer_auth(THEIRS).json(&theirs)).await.expect(201);
    api.post("/workflows/calls/publish", json!({})).await.problem(409, "secrets_missing");

    let shop = shop(&api).await;
    api.post("/workflows/calls/publish", json!({})).await.expect(200);
    let ended = run(&api, "calls", json!({})).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    let sent = got.lock().unwrap().pop().unwrap();
    assert_eq!(sent["authorization"], "Basic YWRhOmNvcnJlY3QtaG9yc2UtYmF0dGVyeQ==");
    let used = api.get(&format!("/credentials/{shop}")).await.expect(200);
    assert!(used["last_used_at"].is_string(), "{used}");
    // What the server outside said of it is seen by nobody, and the record has the name alone.
    let run = id(&ended);
    for part in ["", "/steps", "/journal"] {
        let shown = api.get(&format!("/runs/{run}{part}")).await.body;
        assert!(!shown.contains(PASSWORD) && !shown.contains("YWRhOmNvcnJlY3Q"), "{shown}");
        assert!(part.is_empty() || shown.contains("shop"), "{shown}");
    }
}

pub async fn what_comes_back_holds_nothing_of_the_vault(api: Api) {
    let (url, got) = outside().await;
    shop(&api).await;
    let unused = "a-key-that-no-step-used";
    api.post("/secrets", json!({ "name": "unused", "value": unused })).await.expect(201);
    publish(&api, &document("asks", &json!({ "url": url, "headers": { "note": "${{ input.note }}" } }))).await;
    for (said, kept) in [(unused, "***"), (PASSWORD, "***"), ("a-key-that", "a-key-that")] {
        let ended = run(&api, "asks", json!({ "note": said })).await;
        // What callers send is theirs, and goes where it should.
        assert_eq!(got.lock().unwrap().pop().unwrap()["note"], said);
        assert_eq!(ended["input"], json!({ "note": said }), "{ended}");
        let output = ended["output"].to_string();
        assert!(output.contains(&format!("\\\"note\\\": \\\"{kept}\\\"")), "{output}");
    }

    // Nor what workers say, who say the same again when they did not hear the answer.
    let task = json!({ "name": "works", "steps": [{ "id": "task", "type": "task", "with": { "queue": "desk" } }],
        "output": "${{ steps.task.output }}" });
    publish(&api, &task.to_string()).await;
    let ends = [
        ("complete", json!({ "output": { "seen": unused, "by": "ada" } }), json!({ "seen": "***", "by": "ada" })),
        ("fail", json!({ "error": { "message": format!("{unused} is refused") } }), json!("*** is refused")),
    ];
    for (verb, said, kept) in ends {
        let begun = id(&api.post("/workflows/works/runs", json!({})).await.json());
        let claim = json!({ "queues": ["desk"], "worker": "ada", "wait": "20s" });
        let claimed = api.post("/tasks/claim", claim).await.expect(200)["tasks"][0].clone();
        let mut answer = said;
        answer["token"] = claimed["token"].clone();
        for _ in 0..2 {
            let answered = api.post(&format!("/tasks/{}/{verb}", id(&claimed)), answer.clone()).await;
            assert!(answered.status.is_success(), "{}", answered.body);
        }
        let ended = api.until(&format!("/runs/{begun}"), |run| !run["finished_at"].is_null()).await;
        let shown = if verb == "fail" { &ended["error"]["message"] } else { &ended["output"] };
        assert_eq!(*shown, kept, "{ended}");
        let journal = api.get(&format!("/runs/{begun}/journal")).await.body;
        assert!(!journal.contains(unused), "{journal}");
    }
}

pub async fn who_may_use_no_secrets_names_no_credential(api: Api) {
    let (url, got) = outside().await;
    shop(&api).await;
    token(&api, TenantKey::DEFAULT, WRITER, &["workflows.write", "vault.write"]).await;
    let with = json!({ "url": url, "credential": "shop" });
    let named = document("named", &with);
    let undo = json!({ "name": "undone", "steps": [
        { "id": "a", "type": "http", "with": { "url": url }, "undo": { "type": "http", "with": with } }
    ] });
    // However it is written.
    let escaped = named.replace("\"credential\"", "\"cr\\u0065dential\"");
    let secret = document("named", &json!({ "url": url, "headers": { "a": "${{ secrets.shop.password }}" } }));
    let escaped_secret = secret.replace("secrets", "s\\u0065crets");
    for text in [named, undo.to_string(), escaped, secret, escaped_secret] {
        let refused = save(&api, Some(WRITER), &text).await.problem(403, "forbidden");
        assert!(refused["detail"].as_str().unwrap().contains("vault.use"), "{text}: {refused}");
    }
    // A name that comes from elsewhere is none, whoever writes it.
    let input = document("input", &json!({ "url": url, "credential": "${{ input.credential }}" }));
    let refused = save(&api, None, &input).await.problem(422, "invalid_document");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("literal"), "{refused}");
    let whole = document("whole", &json!("${{ input }}"));
    save(&api, Some(WRITER), &whole).await.expect(201);
    api.post("/workflows/whole/publish", json!({})).await.expect(200);
    let ended = run(&api, "whole", json!({ "url": url, "credential": "shop" })).await;
    failed(&ended, "validation/credential_not_literal", "has to stand in the document itself");
    assert!(got.lock().unwrap().is_empty());
}

pub async fn what_is_no_credential_for_the_web_is_refused(api: Api) {
    let (url, got) = outside().await;
    let smtp = json!({
        "name": "mail", "credential_type": "smtp", "secret_fields": { "password": PASSWORD },
        "fields": { "host": "mail.example", "port": 587, "security": "starttls" },
    });
    api.post("/credentials", smtp).await.expect(201);
    api.post("/secrets", json!({ "name": "plain", "value": PASSWORD })).await.expect(201);
    for (name, part) in [("mail", "is of type `smtp`"), ("plain", "is a secret and no credential")] {
        // It is looked at when it is published, at its place.
        let flow = format!("with_{name}");
        save(&api, None, &document(&flow, &json!({ "url": url, "credential": name }))).await.expect(201);
        let refused = api.post(&format!("/workflows/{flow}/publish"), json!({})).await.problem(422, "invalid_document");
        let error = &refused["errors"][0];
        assert_eq!((&error["pointer"], &error["line"]), (&json!("/steps/0/with/credential"), &json!(1)), "{refused}");
        assert!(error["message"].as_str().unwrap().contains(part), "{refused}");
        assert!(api.get(&format!("/workflows/{flow}")).await.expect(200)["version"].is_null());
        // And when the step runs: it may be another one by then.
        let bearer = json!({ "name": "other", "credential_type": "bearer", "secret_fields": { "token": PASSWORD } });
        let made = id(&api.post("/credentials", bearer).await.expect(201));
        let flow = format!("changed_{name}");
        publish(&api, &document(&flow, &json!({ "url": url, "credential": "other" }))).await;
        send(api.request(Method::DELETE, &format!("/credentials/{made}"))).await.expect(204);
        let (path, body) = match name {
            "mail" => (
                "/credentials",
                json!({ "name": "other", "credential_type": "smtp", "fields": {
                "host": "mail.example", "port": 587, "security": "starttls" }, "secret_fields": {} }),
            ),
            _ => ("/secrets", json!({ "name": "other", "value": PASSWORD })),
        };
        let made = id(&api.post(path, body).await.expect(201));
        failed(&run(&api, &flow, json!({})).await, "validation/credential_type", part);
        send(api.request(Method::DELETE, &format!("{path}/{made}"))).await.expect(204);
    }
    assert!(got.lock().unwrap().is_empty());
}

/// What is taken away after a workflow was published, in each way, and given back.
pub async fn what_goes_missing_after_publishing_fails_the_step(api: Api) {
    let (url, got) = outside().await;
    let folder = id(&api.post("/folders", json!({ "name": "elsewhere" })).await.expect(201));
    let secret = json!({ "name": "key", "value": "a-value-of-a-key" });
    let cases = [
        ("/secrets", secret, json!({ "url": url, "headers": { "x-key": "${{ secrets.key }}" } }), None),
        (
            "/credentials",
            of_shop(),
            json!({ "url": url, "headers": { "a": "${{ secrets.shop.authorization }}" } }),
            None,
        ),
        ("/credentials", of_shop(), json!({ "url": url, "credential": "shop" }), None),
        ("/credentials", of_shop(), json!({ "url": url, "credential": "shop" }), Some(folder)),
    ];
    for (number, (path, body, with, moved_to)) in cases.into_iter().enumerate() {
        let name = format!("goes_{number}");
        let made = id(&api.post(path, body.clone()).await.expect(201));
        // It waits in between, so that a run is under way when it happens; the error can be caught.
        let call = json!({ "id": "call", "type": "http", "with": with, "retry": { "attempts": 3, "delay": "1ms" } });
        let caught = json!({ "id": "safe", "type": "try", "do": [call], "catch": [
            { "on": ["not_found"], "do": [{ "id": "why", "type": "transform", "with": { "value": "${{ e.code }}" } }] },
        ] });
        let waits = json!({ "id": "go", "type": "wait", "with": { "signal": "go" } });
        let bare = json!({ "name": name, "steps": [waits, call] }).to_string();
        publish(&api, &bare).await;
        publish(
            &api,
            &json!({ "name": format!("{name}_safe"), "steps": [caught], "output": "${{ steps.safe.output }}" })
                .to_string(),
        )
        .await;
        let under_way = api.start_run(&name, json!({})).await;
        api.until(&format!("/runs/{under_way}"), |run| run["status"] == "waiting").await;

        let row = format!("{path}/{made}");
        match &moved_to {
            None => send(api.request(Method::DELETE, &row)).await.expect(204),
            Some(folder) => {
                send(api.request(Method::PATCH, &row).json(&json!({ "folder_id": folder }))).await.expect(200)
            }
        };
        api.post(&format!("/runs/{under_way}/signals/go"), json!({})).await;
        let ended = api.until(&format!("/runs/{under_way}"), |run| run["status"] == "failed").await;
        let missing = body["name"].as_str().unwrap();
        let said = match moved_to {
            None => format!("there is no secret `{missing}`"),
            Some(_) => format!("secret `{missing}` is for other workflows"),
        };
        failed(&ended, "not_found/secret_missing", &said);
        let steps = api.get(&format!("/runs/{under_way}/steps")).await.expect(200);
        let call = steps["items"].as_array().unwrap().iter().find(|step| step["path"] == "call").unwrap().clone();
        assert_eq!(call["attempt"], 1, "nobody tries again what cannot succeed: {call}");
        let safe = run(&api, &format!("{name}_safe"), json!({})).await;
        assert_eq!((&safe["status"], &safe["output"]), (&json!("completed"), &json!("secret_missing")), "{safe}");
        assert!(got.lock().unwrap().is_empty(), "something was sent without it");

        // What is there again is used again, by what was published before.
        match &moved_to {
            None => api.post(path, body.clone()).await.expect(201),
            Some(_) => send(api.request(Method::PATCH, &row).json(&json!({ "folder_id": null }))).await.expect(200),
        };
        let again = run(&api, &format!("{name}_safe"), json!({})).await;
        assert_eq!(again["status"], "completed", "{again}");
        assert_eq!(got.lock().unwrap().drain(..).count(), 1);
        let list = api.get(path).await.expect(200);
        let row = list["items"].as_array().unwrap().iter().find(|row| row["name"] == missing).map(id).unwrap();
        send(api.request(Method::DELETE, &format!("{path}/{row}"))).await.expect(204);
    }
}

fn of_shop() -> Value {
    json!({
        "name": "shop", "credential_type": "basic_auth", "fields": { "username": "ada" },
        "secret_fields": { "password": PASSWORD },
    })
}
