//! Runs over the API.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, send};

const DOUBLE: &str = "name: double\ninput: { type: object, required: [n], properties: { n: { type: integer } } }\nsteps:\n  - id: a\n    \
                      type: transform\n    with: { value: \"${{ input.n * 2 }}\" }\noutput: ${{ steps.a.output }}\n";
const WAITS: &str =
    "name: waits\nsteps:\n  - id: go\n    type: wait\n    with: { signal: go }\noutput: ${{ steps.go.output }}\n";

pub async fn a_run_is_started_and_waited_for(api: Api) {
    api.deploy("double", DOUBLE).await;
    api.deploy("waits", WAITS).await;
    let big = 4_611_686_018_427_387_000_i64;
    let run = api.post("/workflows/double/runs?wait=30s", json!({ "input": { "n": big } })).await.expect(200);
    assert_eq!((&run["status"], &run["output"]), (&json!("completed"), &json!(big * 2)));
    assert_eq!(api.get(&format!("/runs/{}", run["id"].as_str().unwrap())).await.expect(200)["output"], json!(big * 2));

    let refused = api.post("/workflows/double/runs?wait=30s", json!({ "input": { "n": "x" } })).await;
    assert_eq!(refused.problem(422, "invalid_input")["errors"][0]["pointer"], "/input/n");
    api.post("/workflows/double/runs?wait=30s", json!({ "input": { "n": 1 }, "version": 9 }))
        .await
        .problem(404, "not_found");

    let waiting = api.post("/workflows/waits/runs?wait=10ms", json!({})).await;
    let id = waiting.expect(202)["id"].as_str().unwrap().to_owned();
    assert_eq!(waiting.header("location"), format!("/api/v1/runs/{id}"));
    let test = api.post("/workflows/waits/runs", json!({ "mode": "test", "key": "k", "labels": { "a": "b" } })).await;
    let test = test.expect(202);
    assert_eq!((&test["mode"], &test["version"], &test["key"]), (&json!("test"), &json!(null), &json!("k")));
    let found = api.get("/runs?key=k").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    let found = api.get("/runs?label=a:b&status=waiting,running&workflow=waits").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
}

pub async fn a_run_is_paused_signalled_and_cancelled(api: Api) {
    api.deploy("waits", WAITS).await;
    let run = api.start_run("waits", json!({})).await;
    let path = format!("/runs/{run}");
    api.until(&path, |it| it["status"] == "waiting").await;
    assert_eq!(api.post(&format!("{path}/pause"), json!({})).await.expect(200)["status"], "paused");
    api.post(&format!("{path}/pause"), json!({})).await.problem(409, "run_not_open");
    api.post(&format!("{path}/signals/go"), json!({ "by": "ada" })).await.expect(202);
    assert_eq!(api.get(&path).await.expect(200)["status"], "paused");
    api.post(&format!("{path}/resume"), json!({})).await.expect(200);
    let ended = api.until(&path, |it| it["status"] == "completed").await;
    assert_eq!(ended["output"], json!({ "by": "ada" }));
    api.post(&format!("{path}/cancel"), json!({})).await.problem(409, "run_not_open");
    api.post(&format!("{path}/signals/go"), json!(1)).await.problem(409, "run_not_open");
    api.post(&format!("{path}/undo"), json!({})).await.problem(409, "nothing_to_undo");
    api.post(&format!("{path}/steps/go/settle"), json!({ "outcome": "again" })).await.problem(409, "run_not_open");

    let other = api.start_run("waits", json!({})).await;
    let cancelled = api.post(&format!("/runs/{other}/cancel"), json!({ "reason": "enough", "undo": false })).await;
    cancelled.expect(200);
    api.until(&format!("/runs/{other}"), |it| it["status"] == "cancelled").await;
    let journal = api.get(&format!("/runs/{other}/journal")).await.expect(200);
    let entry = journal["items"].as_array().unwrap().iter().find(|it| it["kind"] == "cancelled").unwrap().clone();
    assert_eq!((&entry["data"]["reason"], &entry["data"]["undo"]), (&json!("enough"), &json!("leave")));
}

pub async fn lists_are_pages(api: Api) {
    api.deploy("double", DOUBLE).await;
    for n in 0..5 {
        api.post("/workflows/double/runs?wait=30s", json!({ "input": { "n": n } })).await.expect(200);
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut after = String::new();
    loop {
        let page = api.get(&format!("/runs?limit=2{after}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|run| run["id"].clone()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    let all = api.get("/runs").await.expect(200);
    assert_eq!(seen, all["items"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect::<Vec<_>>());
    for query in ["limit=0", "limit=1001", "limit=x", "status=nope", "nope=1", "label=a", "parent=x"] {
        api.get(&format!("/runs?{query}")).await.problem(400, "invalid_query");
    }
    let run = seen[0].as_str().unwrap();
    let journal = api.get(&format!("/runs/{run}/journal?limit=2&after=1")).await.expect(200);
    assert_eq!((&journal["items"][0]["seq"], &journal["items"][1]["seq"]), (&json!(2), &json!(3)));
    assert_eq!(api.get(&format!("/runs/{run}/steps?limit=1")).await.expect(200)["items"][0]["path"], "a");
}

const CHILD: &str = "name: calls\nsteps:\n  - id: c\n    type: workflow\n    with: { name: tells, input: {} }\n";
const TELLS: &str =
    "name: tells\nsteps:\n  - id: a\n    type: transform\n    with: { value: \"${{ run.trace_id }}\" }\n";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

pub async fn a_run_joins_a_trace(api: Api) {
    api.deploy("tells", TELLS).await;
    api.deploy("calls", CHILD).await;
    let start = async |headers: &[(&str, &str)]| -> Value {
        let request = api.request(Method::POST, "/workflows/calls/runs?wait=30s").json(&json!({}));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let run = send(request).await.expect(200);
        assert_eq!((&run["status"], &run["output"]), (&json!("completed"), &run["trace_id"]), "{run}");
        run
    };
    // By name: a child may begin in the millisecond of its parent.
    let of_trace = async |trace: &str| -> Vec<String> {
        let found = api.get(&format!("/runs?trace_id={trace}")).await.expect(200);
        let runs = found["items"].as_array().unwrap().iter();
        let mut names: Vec<String> = runs.map(|run| run["workflow"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let joined = start(&[("traceparent", &parent), ("tracestate", "a=1"), ("tracestate", "b=2")]).await;
    assert_eq!(joined["trace_id"], TRACE);
    let path = format!("/runs/{}", joined["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200)["trace_id"], TRACE);
    let journal = api.get(&format!("{path}/journal?limit=1")).await.expect(200);
    let kept = json!({ "id": TRACE, "span": "00f067aa0ba902b7", "state": "a=1,b=2" });
    assert_eq!(journal["items"][0]["data"]["trace"], kept);

    // What cannot be read is as good as nothing: the run's own trace begins.
    let (bad, twice) = (format!("00-{TRACE}-0-01"), [("traceparent", &*parent), ("traceparent", &*parent)]);
    for headers in [&[][..], &[("traceparent", &*bad)], &[("tracestate", "a=1")], &twice] {
        let run = start(headers).await;
        let own = run["id"].as_str().unwrap().replace('-', "");
        assert_eq!(run["trace_id"], own, "{headers:?}");
        assert_eq!(of_trace(&own).await, ["calls", "tells"], "{headers:?}");
    }
    assert_eq!(of_trace(TRACE).await, ["calls", "tells"]);
    assert_eq!(of_trace(&format!("{TRACE}&workflow=tells&status=completed")).await, ["tells"]);
    assert_eq!(of_trace(&format!("{TRACE}&status=failed")).await, Vec::<String>::new());
    let upper = TRACE.to_uppercase();
    for trace in ["1", &"0".repeat(32), &upper, joined["id"].as_str().unwrap()] {
        let refused = api.get(&format!("/runs?trace_id={trace}")).await.problem(400, "invalid_query");
        assert!(refused["detail"].as_str().unwrap().contains("32 hexadecimal digits"), "{refused}");
    }

    // Under one key it is one run, whatever trace it is asked for in.
    let keyed = async |parent: &str| {
        let request = api.request(Method::POST, "/workflows/calls/runs").header("idempotency-key", "k");
        let answer = send(request.header("traceparent", parent).json(&json!({}))).await;
        (answer.json()["id"].clone(), answer.json()["trace_id"].clone())
    };
    let first = keyed(&parent).await;
    assert_eq!(
        (keyed(&format!("00-{}-00f067aa0ba902b7-01", "7".repeat(32))).await, &first.1),
        (first.clone(), &json!(TRACE))
    );
}

pub async fn a_run_is_rerun_and_forked(api: Api) {
    api.deploy("double", DOUBLE).await;
    let run = api.post("/workflows/double/runs?wait=30s", json!({ "input": { "n": 3 } })).await.expect(200);
    let path = format!("/runs/{}", run["id"].as_str().unwrap());
    for (verb, body) in [("rerun", json!({})), ("fork", json!({ "at": "a" }))] {
        let made = api.post(&format!("{path}/{verb}"), body).await;
        let id = made.expect(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(made.header("location"), format!("/api/v1/runs/{id}"));
        let ended = api.until(&format!("/runs/{id}"), |it| it["status"] == "completed").await;
        assert_eq!((&ended["output"], &ended["origin"]["kind"]), (&json!(6), &json!(verb)));
        assert_eq!(ended["origin"]["run_id"], run["id"]);
    }
    let nowhere = api.post(&format!("{path}/fork"), json!({ "at": "nope" })).await;
    assert!(nowhere.status.is_client_error(), "{}", nowhere.body);
}
