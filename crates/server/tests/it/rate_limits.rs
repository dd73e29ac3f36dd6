//! The rules of the door.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, send};

const DOCUMENT: &str = "name: NAME\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

async fn rule(api: &Api, body: Value) -> String {
    let made = api.post("/rate-limit-rules", body).await.expect(201);
    format!("/rate-limit-rules/{}", made["id"].as_str().unwrap())
}

async fn start(api: &Api, name: &str, token: &str) -> Answer {
    let path = format!("/api/v1/workflows/{name}/runs");
    send(api.bare(Method::POST, &path).bearer_auth(token).json(&json!({}))).await
}

pub async fn rules_are_kept_at_the_door(api: Api) {
    for name in ["a", "b"] {
        api.deploy(name, &DOCUMENT.replace("NAME", name)).await;
    }
    let plain = api.get("/workflows/a").await;
    assert_eq!(
        (plain.header("ratelimit"), plain.header("ratelimit-policy")),
        ("", ""),
        "without a rule nothing is said"
    );

    // Of one route, of each caller.
    let route = "POST /workflows/{name}/runs";
    let starts = rule(
        &api,
        json!({ "name": "starts", "requests": 3, "window_seconds": 600, "counted_per": "caller", "route": route }),
    )
    .await;
    for left in [2, 1, 0] {
        let started = start(&api, "a", crate::harness::TOKEN).await;
        assert!(started.status.is_success(), "{}", started.body);
        assert_eq!(started.header("ratelimit-policy"), "\"starts\";q=3;w=600");
        assert!(
            started.header("ratelimit").starts_with(&format!("\"starts\";r={left};t=")),
            "{}",
            started.header("ratelimit")
        );
    }
    let refused = start(&api, "a", crate::harness::TOKEN).await;
    let problem = refused.problem(429, "rate_limited");
    assert!(problem["detail"].as_str().unwrap().contains("the rule `starts` allows 3 requests in 600 s"), "{problem}");
    assert!((1..=600).contains(&refused.header("retry-after").parse().unwrap()));
    assert!(refused.header("ratelimit").starts_with("\"starts\";r=0;t="));
    assert_eq!(refused.header("ratelimit-policy"), "\"starts\";q=3;w=600");
    let runs = api.get("/runs?limit=10").await;
    assert_eq!(runs.expect(200)["items"].as_array().unwrap().len(), 3, "what is refused did nothing");
    assert_eq!(runs.header("ratelimit"), "", "another route is not counted");
    // Another caller has permits of its own, and another tenant no such rule.
    let theirs = api.tenant("theirs").await;
    assert_eq!(start(&api, "a", &theirs).await.status, 404);
    assert_eq!(start(&api, "a", &theirs).await.header("ratelimit"), "");

    // A change counts at once; a rule of a workflow and a rule of the tenant hold together.
    send(api.request(Method::PATCH, &starts).json(&json!({ "active": false }))).await.expect(200);
    assert!(start(&api, "a", crate::harness::TOKEN).await.status.is_success());
    let of_b = rule(&api, json!({ "name": "of-b", "requests": 1, "window_seconds": 600, "workflow": "b" })).await;
    assert!(start(&api, "b", crate::harness::TOKEN).await.status.is_success());
    start(&api, "b", crate::harness::TOKEN).await.problem(429, "rate_limited");
    for disguised in ["/workflows/b", "/workflows/%62"] {
        api.get(disguised).await.problem(429, "rate_limited");
    }
    assert!(start(&api, "a", crate::harness::TOKEN).await.status.is_success());
    send(api.request(Method::DELETE, &of_b)).await.expect(204);
    assert!(start(&api, "b", crate::harness::TOKEN).await.status.is_success());
    rule(&api, json!({ "name": "ci", "requests": 1, "window_seconds": 600, "caller": "token:ci" })).await;
    assert!(start(&api, "b", crate::harness::TOKEN).await.status.is_success());

    // What is wrong is refused.
    for body in [
        json!({ "name": "x", "requests": 0, "window_seconds": 1 }),
        json!({ "name": "x", "requests": 1, "window_seconds": 0 }),
        json!({ "name": "no name\r\nx: y", "requests": 1, "window_seconds": 1 }),
        json!({ "name": "x", "requests": 1, "window_seconds": 1, "counted_per": "moon" }),
    ] {
        api.post("/rate-limit-rules", body).await.problem(422, "invalid_input");
    }
}

pub async fn two_servers_keep_one_rule(api: Api) {
    let other = api.another().await;
    rule(&api, json!({ "name": "all", "requests": 40, "window_seconds": 600, "route": "GET /workflows" })).await;
    // The other one reads the rules when it meets its first request.
    let mut passed = 0;
    for at in 0..120 {
        let server = if at % 2 == 0 { &api.base } else { &other };
        let answer = send(api.to(server, Method::GET, "/workflows")).await;
        match answer.status.as_u16() {
            200 => passed += 1,
            _ => drop(answer.problem(429, "rate_limited")),
        }
    }
    // Permits that one server took and did not use within a moment are lost to the other.
    assert!((30..=40).contains(&passed), "{passed}");
}
