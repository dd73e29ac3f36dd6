//! Hostile requests, as data: each is refused with a 4xx problem, writes nothing, and leaves the server alive.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, send};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const EVENT: &str = "application/cloudevents+json";
const ID: &str = "01890000-0000-7000-8000-000000000000";

/// Method, path, media type (empty for none), body, expected status.
struct Case(&'static str, String, &'static str, Vec<u8>, u16);

fn case(
    method: &'static str,
    path: impl Into<String>,
    media_type: &'static str,
    body: impl Into<Vec<u8>>,
    status: u16,
) -> Case {
    Case(method, path.into(), media_type, body.into(), status)
}

/// Documents that are sent to `PUT /workflows/order`.
fn documents() -> Vec<Case> {
    let put = |media_type, body: Vec<u8>, status| case("PUT", "/workflows/order", media_type, body, status);
    let step =
        |with: &str| format!("name: order\nsteps:\n  - id: a\n    type: transform\n    with: {{ value: {with} }}\n");
    let aliases: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1)).collect();
    vec![
        put(YAML, b"".to_vec(), 422),
        put(YAML, b"\xff\xfe\x00".to_vec(), 400),
        put(YAML, b"name: order\0\nsteps: []\n".to_vec(), 400),
        put(YAML, b"name: [".to_vec(), 422),
        put(YAML, b"- a\n- b\n".to_vec(), 422),
        put(YAML, b"name: order\nname: order\nsteps: []\n".to_vec(), 422),
        put(YAML, b"name: other\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n".to_vec(), 422),
        put(YAML, b"name: order\nsteps:\n  - id: a\n    type: nope\n".to_vec(), 422),
        put(YAML, b"name: order\nsteps: 7\n".to_vec(), 422),
        put(
            YAML,
            b"name: order\nsteps:\n  - id: a\n    type: transform\n    needs: [a]\n    with: { value: 1 }\n".to_vec(),
            422,
        ),
        put(YAML, step("\"${{ (((((\"").into_bytes(), 422),
        put(YAML, step(&format!("\"${{{{ {} }}}}\"", "1+".repeat(2_000))).into_bytes(), 422),
        put(YAML, step(&"[".repeat(5_000)).into_bytes(), 422),
        put(YAML, format!("a0: &a0 [x, x]\n{aliases}name: order\nsteps: []\n").into_bytes(), 422),
        put(YAML, format!("name: order\ndescription: \"{}\"\nsteps: []\n", "x".repeat(2 << 20)).into_bytes(), 413),
        put(JSON, b"{".to_vec(), 422),
        put(JSON, b"null".to_vec(), 422),
        put(JSON, b"{\"name\":\"order\",\"name\":\"order\",\"steps\":[]}".to_vec(), 422),
        put(JSON, b"{\"name\":\"order\",\"steps\":[],\"nope\":1}".to_vec(), 422),
        put(JSON, "[".repeat(100_000).into_bytes(), 422),
        put("text/html", b"<b>".to_vec(), 415),
        put("application/x-www-form-urlencoded", b"name=order".to_vec(), 415),
        put("", b"name: order\n".to_vec(), 415),
        case("PUT", "/workflows/Order", YAML, step("1"), 404),
        case("PUT", "/workflows/..%2F..%2Fetc", YAML, step("1"), 404),
        case("PUT", "/workflows/a%00b", YAML, step("1"), 404),
        case("PUT", format!("/workflows/{}", "a".repeat(201)), YAML, step("1"), 404),
        case("PUT", "/workflows/%ff", YAML, step("1"), 404),
        case("POST", "/workflows/check", "", b"x".to_vec(), 415),
    ]
}

/// Bodies that are sent to a start of a workflow that exists.
fn starts() -> Vec<Case> {
    let start = |media_type, body: Vec<u8>, status| case("POST", "/workflows/echo/runs", media_type, body, status);
    let deep = format!("{{\"input\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    vec![
        start(JSON, b"{".to_vec(), 400),
        start(JSON, b"[]".to_vec(), 422),
        start(JSON, b"7".to_vec(), 422),
        start(JSON, b"\"input\"".to_vec(), 422),
        start(JSON, b"{\"input\":{}} trailing".to_vec(), 400),
        start(JSON, b"{\"input\":{},\"input\":{}}".to_vec(), 422),
        start(JSON, b"{\"input\":{\"a\":1,\"a\":2}}".to_vec(), 422),
        start(JSON, b"{\"inputs\":{}}".to_vec(), 422),
        start(JSON, b"{\"input\":{\"a\":\"\\u0000\"}}".to_vec(), 400),
        start(JSON, b"{\"input\":{\"a\":\"\0\"}}".to_vec(), 400),
        start(JSON, b"{\"input\":{\"a\":\"\xff\"}}".to_vec(), 400),
        start(JSON, b"{\"input\":{\"a\":\"\\ud800\"}}".to_vec(), 400),
        start(JSON, b"{\"input\":{\"a\":1e999}}".to_vec(), 400),
        start(JSON, b"{\"input\":{\"a\":NaN}}".to_vec(), 400),
        start(JSON, b"{\"input\":{\"a\":01}}".to_vec(), 400),
        start(JSON, deep.into_bytes(), 400),
        start(JSON, "{\"input\":".repeat(50_000).into_bytes(), 400),
        start(JSON, vec![b' '; 17 << 20], 413),
        start(JSON, b"{\"input\":[]}".to_vec(), 422),
        start(JSON, b"{\"input\":{\"n\":\"x\"}}".to_vec(), 422),
        start(JSON, b"{\"version\":\"1\"}".to_vec(), 422),
        start(JSON, b"{\"version\":99999999999}".to_vec(), 422),
        start(JSON, b"{\"version\":2}".to_vec(), 404),
        start(JSON, b"{\"mode\":\"fun\"}".to_vec(), 422),
        start(JSON, b"{\"mode\":\"test\",\"version\":1}".to_vec(), 422),
        start(JSON, b"{\"labels\":{\"a\":1}}".to_vec(), 422),
        start(JSON, json!({ "key": "k".repeat(201) }).to_string().into(), 422),
        start(JSON, json!({ "labels": { "l".repeat(201): "x" } }).to_string().into(), 422),
        start("text/plain", b"{}".to_vec(), 415),
        start("application/x-www-form-urlencoded", b"{}".to_vec(), 415),
        case("POST", "/workflows/echo/runs?wait=forever", JSON, "{}", 400),
        case("POST", "/workflows/echo/runs?wait=6m", JSON, "{}", 400),
        case("POST", "/workflows/echo/runs?wait=-1s", JSON, "{}", 400),
        case("POST", "/workflows/echo/runs?wait=1s&wait=2s", JSON, "{}", 400),
        case("POST", "/workflows/echo/runs?nope=1", JSON, "{}", 400),
        case("POST", "/workflows/echo/runs?wait=%00", JSON, "{}", 400),
        case("POST", "/workflows/nope/runs", JSON, "{}", 404),
    ]
}

/// Everything else.
fn others() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["x", "0", "01890000", "01890000-0000-7000-8000-00000000000g", "%00", "..", "'; drop table runs; --"] {
        let path = path.replace('\'', "%27").replace(' ', "%20").replace(';', "%3B");
        let path = if path == ".." { "%2E%2E%2F".to_owned() } else { path };
        for rest in ["", "/steps", "/journal", "/events"] {
            cases.push(case("GET", format!("/runs/{path}{rest}"), "", "", 404));
        }
        cases.push(case("POST", format!("/runs/{path}/cancel"), JSON, "{}", 404));
        cases.push(case("POST", format!("/approvals/{path}/approve"), JSON, "{}", 404));
        cases.push(case("POST", format!("/tasks/{path}/heartbeat"), JSON, "{\"token\":\"x\"}", 404));
    }
    for verb in ["cancel", "pause", "resume", "rerun", "undo"] {
        cases.push(case("POST", format!("/runs/{ID}/{verb}"), JSON, "{}", 404));
        cases.push(case(
            "POST",
            format!("/runs/{ID}/{verb}"),
            JSON,
            "{\"nope\":1}",
            if verb == "cancel" { 422 } else { 400 },
        ));
    }
    cases.extend([
        case("POST", format!("/runs/{ID}/fork"), JSON, "", 400),
        case("POST", format!("/runs/{ID}/fork"), JSON, "{}", 422),
        case("POST", format!("/runs/{ID}/fork"), JSON, "{\"at\":7}", 422),
        case("POST", format!("/runs/{ID}/signals/go"), JSON, "{", 400),
        case("POST", format!("/runs/{ID}/signals/go"), JSON, "{\"a\":1,\"a\":1}", 422),
        case("POST", format!("/runs/{ID}/signals/{}", "s".repeat(201)), JSON, "1", 404),
        case("POST", format!("/runs/{ID}/signals/go"), JSON, "1", 404),
        case("POST", format!("/runs/{ID}/steps/a/settle"), JSON, "{\"outcome\":\"maybe\"}", 422),
        case("POST", format!("/runs/{ID}/steps/a/settle"), JSON, "{}", 422),
        case("POST", format!("/approvals/{ID}/approve"), JSON, "{\"by\":\"\"}", 422),
        case("POST", format!("/approvals/{ID}/approve"), JSON, "{}", 404),
        case("POST", "/tasks/claim", JSON, "", 400),
        case("POST", "/tasks/claim", JSON, "{}", 422),
        case("POST", "/tasks/claim", JSON, "{\"queues\":[],\"worker\":\"w\"}", 422),
        case("POST", "/tasks/claim", JSON, "{\"queues\":[\"q\"],\"worker\":\"\"}", 422),
        case("POST", "/tasks/claim", JSON, "{\"queues\":[\"q\"],\"worker\":\"w\",\"max\":0}", 422),
        case("POST", "/tasks/claim", JSON, "{\"queues\":[\"q\"],\"worker\":\"w\",\"max\":-1}", 422),
        case("POST", "/tasks/claim", JSON, "{\"queues\":[\"q\"],\"worker\":\"w\",\"wait\":\"2m\"}", 400),
        case("POST", "/tasks/claim", JSON, "{\"queues\":\"q\",\"worker\":\"w\"}", 422),
        case("POST", format!("/tasks/{ID}/complete"), JSON, "{\"token\":\"x\"}", 422),
        case("POST", format!("/tasks/{ID}/fail"), JSON, "{\"token\":\"x\",\"error\":\"boom\"}", 422),
        case(
            "POST",
            format!("/tasks/{ID}/fail"),
            JSON,
            "{\"token\":\"x\",\"error\":{\"class\":\"nope\",\"message\":\"\"}}",
            422,
        ),
        case("POST", "/events", EVENT, "", 400),
        case("POST", "/events", EVENT, "[]", 422),
        case("POST", "/events", EVENT, "{\"specversion\":\"1.0\",\"id\":7,\"source\":\"\",\"type\":null}", 422),
        case("POST", "/events", "text/plain", "hello", 415),
        case("GET", "/runs?after=nonsense", "", "", 422),
        case("GET", format!("/runs?after={}", "x".repeat(2_000)), "", "", 400),
        case("GET", format!("/runs?key={}", "x".repeat(20_000)), "", "", 414),
        case("DELETE", "/runs", "", "", 405),
        case("TRACE", "/runs", "", "", 405),
        case("GET", "/workflows/echo/runs", "", "", 405),
        case("GET", "/../../etc/passwd", "", "", 404),
    ]);
    cases
}

pub async fn what_is_hostile_is_refused_and_writes_nothing(api: Api) {
    let echo = "name: echo\ninput: { type: object, properties: { n: { type: integer } } }\nsteps:\n  - id: a\n    type: transform\n    \
                with: { value: 1 }\n";
    api.deploy("echo", echo).await;
    let cases: Vec<Case> = documents().into_iter().chain(starts()).chain(others()).collect();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for Case(method, path, media_type, body, status) in cases {
        let mut request = api.request(Method::from_bytes(method.as_bytes()).unwrap(), &path);
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let answer = send(request.body(body)).await;
        let is_problem = answer.header("content-type") == "application/problem+json";
        if answer.status.as_u16() != status || !is_problem {
            wrong.push(format!("{method} {path:.80} {shown:?}: {} for {status}: {:.200}", answer.status, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(api.get("/runs").await.expect(200)["items"], Value::Array(Vec::new()));
    let workflows = api.get("/workflows").await.expect(200);
    let names: Vec<&Value> = workflows["items"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!((names, &workflows["items"][0]["revision"]), (vec![&json!("echo")], &json!(1)));
    assert_eq!(api.get("/approvals").await.expect(200)["items"], Value::Array(Vec::new()));
    assert_eq!(send(api.bare(Method::GET, "/livez")).await.status, 200);
}
