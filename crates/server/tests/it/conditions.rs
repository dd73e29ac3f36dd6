//! Headers: what answers carry, and what requests ask for with them.

use reqwest::Method;

use crate::harness::{Api, send};

const DOCUMENT: &str = "name: order\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

pub async fn answers_carry_their_headers(api: Api) {
    for path in ["/runs", "/runs/nope", "/nope"] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let answer = send(api.request(Method::PATCH, "/runs")).await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD");
    let id = "my-own-id_1";
    let answer = send(api.request(Method::GET, "/nope").header("x-request-id", id)).await;
    assert_eq!(answer.problem(404, "no_such_route")["request_id"], id);
    send(api.request(Method::GET, "/runs").header("accept", "application/xml")).await.problem(406, "not_acceptable");
    let figures = send(api.bare(Method::GET, "/metrics").bearer_auth(crate::harness::TOKEN)).await;
    assert_eq!(figures.status, 200);
    for name in
        ["windlass_http_requests_total{class=\"4xx\"}", "windlass_runs_started_total", "windlass_runs_in_memory"]
    {
        assert!(figures.body.contains(name), "{name} in\n{}", figures.body);
    }
    assert!(send(api.bare(Method::GET, "/readyz")).await.body.contains("ok"));
}

pub async fn preconditions_hold(api: Api) {
    let put = |name: &'static str, value: &str| {
        let request = api.request(Method::PUT, "/workflows/order").header("content-type", "application/yaml");
        send(request.header(name, value).body(DOCUMENT.replace("value: 1", &format!("value: {}", value.len()))))
    };
    put("if-match", "\"1\"").await.problem(412, "revision_mismatch");
    put("if-none-match", "*").await.expect(201);
    put("if-none-match", "*").await.problem(412, "revision_mismatch");
    let etag = api.get("/workflows/order").await.header("etag").to_owned();
    assert_eq!(etag, "\"1\"");
    let saved = put("if-match", &etag).await;
    saved.expect(200);
    assert_eq!(saved.header("etag"), "\"2\"");
    put("if-match", &etag).await.problem(412, "revision_mismatch");
    put("if-match", "\"nonsense\"").await.problem(412, "revision_mismatch");
    assert_eq!(api.get("/workflows/order").await.expect(200)["revision"], 2);
}
