//! More requests than there is room for: who waits, who is refused, and that a refusal leaves nothing behind.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use windlass_server::Limits;

use crate::harness::{Answer, Api, TOKEN, send};

const DOCUMENT: &str = "name: order\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";
const BODY: &[u8] = b"{\"input\": {}}";

/// A start whose body has not come yet: it is worked on until it has.
struct Held(TcpStream);

impl Held {
    async fn start(api: &Api) -> Held {
        let mut stream = TcpStream::connect(api.base.trim_start_matches("http://")).await.unwrap();
        let head = format!(
            "POST /api/v1/workflows/order/runs HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        figure(api, "windlass_requests_admitted", 1.0).await;
        Held(stream)
    }

    /// Sends the body; gives the answer.
    async fn goes_on(mut self) -> String {
        self.0.write_all(BODY).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

async fn figures(api: &Api) -> String {
    let answer = send(api.bare(Method::GET, "/metrics").bearer_auth(TOKEN)).await;
    assert_eq!(answer.status, 200);
    answer.body
}

/// Waits until a figure has that value.
async fn figure(api: &Api, name: &str, value: f64) {
    let line = format!("{name} {value}");
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let figures = figures(api).await;
        if figures.lines().any(|it| it == line) {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "no {line} in\n{figures}");
        tokio::task::yield_now().await;
    }
}

fn start(api: &Api, token: &str, key: &str) -> RequestBuilder {
    let request = api.bare(Method::POST, "/api/v1/workflows/order/runs").bearer_auth(token);
    request.header("idempotency-key", key).json(&json!({ "input": {}, "key": key }))
}

/// Makes the workflow in the tenant of that token.
async fn deploy(api: &Api, token: &str) {
    let put = api.bare(Method::PUT, "/api/v1/workflows/order").bearer_auth(token);
    send(put.header("content-type", "application/yaml").body(DOCUMENT)).await.expect(201);
    let publish = api.bare(Method::POST, "/api/v1/workflows/order/publish").bearer_auth(token);
    send(publish.json(&json!({}))).await.expect(200);
}

async fn runs(api: &Api, token: &str) -> Vec<Value> {
    let list = send(api.bare(Method::GET, "/api/v1/runs?limit=100").bearer_auth(token)).await.expect(200);
    list["items"].as_array().unwrap().clone()
}

fn refused(answer: &Answer, status: u16, code: &str, setting: &str) {
    let problem = answer.problem(status, code);
    assert!((2..=3).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
    assert!(problem["detail"].as_str().unwrap().contains(setting), "{problem}");
}

pub async fn what_is_too_much_is_refused_and_leaves_nothing(api: Api) {
    let other = api.tenant("other").await;
    deploy(&api, TOKEN).await;
    deploy(&api, &other).await;
    let api = api
        .limited(Limits {
            requests_max: 2,
            requests_per_tenant_max: 1,
            request_wait: Duration::from_millis(20),
            ..Limits::default()
        })
        .await;
    let held = Held::start(&api).await;
    for _ in 0..3 {
        let answer = send(start(&api, TOKEN, "refused")).await;
        refused(&answer, 429, "too_many_requests", "`requests_per_tenant_max`");
    }
    refused(&api.get("/runs").await, 429, "too_many_requests", "`request_wait_ms`");
    // Whoever watches the server sees it, and the other tenant notices nothing.
    assert_eq!(send(api.bare(Method::GET, "/livez")).await.status, 200);
    assert_eq!(send(api.bare(Method::GET, "/readyz")).await.status, 200);
    assert!(figures(&api).await.contains("windlass_requests_shed_total{bound=\"tenant\"} 4\n"));
    assert!(figures(&api).await.contains("windlass_request_wait_seconds_count 4\n"));
    assert!(send(start(&api, &other, "one")).await.status.is_success());
    assert_eq!(runs(&api, &other).await.len(), 1);
    // A token that is none takes no place.
    send(start(&api, "wrong-token-of-nobody", "x")).await.problem(401, "unauthorized");
    let answer = held.goes_on().await;
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    let kept = runs(&api, TOKEN).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    // The key of what was refused is free: nothing was done under it.
    let again = send(start(&api, TOKEN, "refused")).await;
    assert!(again.status.is_success() && again.header("idempotent-replayed").is_empty(), "{}", again.body);
    figure(&api, "windlass_requests_admitted", 0.0).await;
}

pub async fn tenants_take_turns_at_the_door(api: Api) {
    let other = api.tenant("other").await;
    deploy(&api, TOKEN).await;
    deploy(&api, &other).await;
    let wait = Duration::from_secs(60);
    let api = api.limited(Limits { requests_max: 1, request_wait: wait, ..Limits::default() }).await;
    let held = Held::start(&api).await;
    let mut asked = tokio::task::JoinSet::new();
    for nth in 1..=8 {
        asked.spawn(send(start(&api, TOKEN, &format!("a{nth}"))));
        figure(&api, "windlass_requests_waiting", f64::from(nth)).await;
    }
    asked.spawn(send(start(&api, &other, "b")));
    figure(&api, "windlass_requests_waiting", 9.0).await;
    held.goes_on().await;
    while let Some(answer) = asked.join_next().await {
        assert!(answer.unwrap().status.is_success());
    }
    let (mut runs, mut others) = (runs(&api, TOKEN).await, runs(&api, &other).await);
    runs.append(&mut others);
    // Ids are in the order in which the runs were made.
    runs.sort_by_key(|run| run["id"].as_str().unwrap().to_owned());
    let order: Vec<&str> = runs.iter().filter_map(|run| run["key"].as_str()).collect();
    assert_eq!(order, ["a1", "b", "a2", "a3", "a4", "a5", "a6", "a7", "a8"]);
}

pub async fn who_waits_for_a_run_or_a_task_takes_no_place(api: Api) {
    let waits = "name: waits\nsteps:\n  - id: w\n    type: wait\n    with: { signal: go }\n";
    api.deploy("waits", waits).await;
    let api = api.limited(Limits { requests_max: 1, requests_per_tenant_max: 1, ..Limits::default() }).await;
    let wait = api.request(Method::POST, "/workflows/waits/runs?wait=60s").json(&json!({ "input": {}, "key": "one" }));
    let ended = tokio::spawn(send(wait));
    let claim = json!({ "queues": ["nothing"], "worker": "w", "wait": "60s" });
    let claimed = tokio::spawn(send(api.request(Method::POST, "/tasks/claim").json(&claim)));
    let list = api.until("/runs?key=one", |list| list["items"][0]["status"] == "waiting").await;
    let run = list["items"][0]["id"].as_str().unwrap();
    assert!(!claimed.is_finished());
    api.post(&format!("/runs/{run}/signals/go"), json!({})).await.expect(202);
    assert_eq!(ended.await.unwrap().expect(200)["status"], "completed");
    claimed.abort();
}
