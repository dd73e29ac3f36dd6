//! Shared state over HTTP, beside a workflow that uses it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, send};

const COUNTS: &str = "name: counts\nsteps:\n  - id: add\n    type: state\n    with: { op: increment, scope: workflow, key: n, by: 2 }\noutput: ${{ steps.add.output }}\n";

async fn change(api: &Api, body: Value) -> Answer {
    api.post("/state", body).await
}

pub async fn shared_state_is_read_and_changed(api: Api) {
    // A step and a caller change the same value.
    api.deploy("counts", COUNTS).await;
    let run = api.post("/workflows/counts/runs?wait=20s", json!({})).await.expect(200);
    assert_eq!(run["output"], 2);
    let add = json!({ "op": "increment", "workflow": "counts", "key": "n", "by": 5 });
    assert_eq!(change(&api, add).await.expect(200), json!({ "output": 7 }));
    let run = api.post("/workflows/counts/runs?wait=20s", json!({})).await.expect(200);
    assert_eq!(run["output"], 9);
    let value = api.get("/state/value?key=n&workflow=counts").await;
    assert_eq!(value.header("etag"), "\"3\"");
    let value = value.expect(200);
    assert_eq!((&value["value"], &value["type"], &value["version"]), (&json!(9), &json!("number"), &json!(3)));
    api.get("/state/value?key=n").await.problem(404, "not_found");

    // Namespaces, prefixes and pages.
    for (space, key) in [("a", "x/1"), ("a", "x/2"), ("a", "y"), ("b", "x/1")] {
        let set = json!({ "op": "set", "namespace": space, "key": key, "value": { "of": space }, "ttl": "1h" });
        change(&api, set).await.expect(200);
    }
    let keys = async |query: &str| -> Vec<String> {
        let page = api.get(&format!("/state?{query}")).await.expect(200);
        let items = page["items"].as_array().unwrap().iter();
        items.map(|it| format!("{}:{}", it["namespace"].as_str().unwrap(), it["key"].as_str().unwrap())).collect()
    };
    assert_eq!(keys("").await, ["a:x/1", "a:x/2", "a:y", "b:x/1"]);
    assert_eq!(keys("namespace=a&prefix=x%2F").await, ["a:x/1", "a:x/2"]);
    assert_eq!(keys("workflow=counts").await, [":n"]);
    let page = api.get("/state?limit=3").await.expect(200);
    let next = page["next"].as_str().unwrap();
    let query: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(keys(&format!("limit=3&after={query}")).await, ["b:x/1"]);
    assert!(page["items"][0]["expires_at"].is_string() && page["items"][0]["created_at"].is_string());

    // What a value is for stays until somebody says otherwise, and goes with it.
    let described = async |op: Value| -> Value {
        let merged = Value::Object(
            json!({ "key": "told" })
                .as_object()
                .unwrap()
                .clone()
                .into_iter()
                .chain(op.as_object().unwrap().clone())
                .collect(),
        );
        change(&api, merged).await.expect(200);
        api.get("/state/value?key=told").await.expect(200)["description"].take()
    };
    assert_eq!(described(json!({ "op": "set", "value": 1, "ttl": "1h" })).await, Value::Null);
    assert_eq!(described(json!({ "op": "increment", "description": "how often" })).await, "how often");
    assert_eq!(described(json!({ "op": "set", "value": 5 })).await, "how often");
    assert_eq!(
        described(json!({ "op": "compare_and_set", "expected": 1, "value": 2, "description": "not swapped" })).await,
        "how often"
    );
    assert_eq!(described(json!({ "op": "increment", "description": "" })).await, Value::Null);
    assert_eq!(described(json!({ "op": "increment", "description": "again" })).await, "again");
    change(&api, json!({ "op": "delete", "key": "told" })).await.expect(200);
    assert_eq!(described(json!({ "op": "set", "value": 1 })).await, Value::Null);
    change(&api, json!({ "op": "delete", "key": "told", "description": "gone" })).await.problem(422, "invalid_input");
    change(&api, json!({ "op": "delete", "key": "told" })).await.expect(200);

    // Merge, compare and set, versions, delete.
    let merge = json!({ "op": "update", "namespace": "a", "key": "y", "value": { "more": true } });
    assert_eq!(change(&api, merge).await.expect(200)["output"], json!({ "of": "a", "more": true }));
    let swap =
        |expected: Value| json!({ "op": "compare_and_set", "key": "lock", "expected": expected, "value": "mine" });
    assert_eq!(change(&api, swap(Value::Null)).await.expect(200)["output"]["swapped"], true);
    assert_eq!(
        change(&api, swap(Value::Null)).await.expect(200)["output"],
        json!({ "swapped": false, "value": "mine" })
    );
    let set = async |version: &str, key: &str| {
        let set = api.request(Method::POST, "/state").json(&json!({ "op": "set", "key": key, "value": 1 }));
        send(set.header("if-match", version)).await
    };
    set("\"9\"", "lock").await.problem(412, "revision_mismatch");
    set("\"1\"", "lock").await.expect(200);
    set("\"0\"", "lock").await.problem(412, "revision_mismatch");
    set("\"0\"", "fresh").await.expect(200);
    set("nonsense", "lock").await.problem(400, "invalid_if_match");
    assert_eq!(change(&api, json!({ "op": "delete", "key": "lock" })).await.expect(200)["output"], 1);
    api.get("/state/value?key=lock").await.problem(404, "not_found");

    // What is wrong is refused and changes nothing.
    let long = "k".repeat(201);
    for body in [
        json!({ "op": "get", "key": "a" }),
        json!({ "op": "nope", "key": "a" }),
        json!({ "op": "set", "key": "", "value": 1 }),
        json!({ "op": "set", "key": long, "value": 1 }),
        json!({ "op": "increment", "namespace": "a", "key": "y" }),
        json!({ "op": "update", "key": "fresh", "value": {} }),
        json!({ "op": "set", "key": "a", "value": 1, "ttl": "soon" }),
        json!({ "op": "set", "key": "a", "value": 1, "scope": "run" }),
        json!({ "op": "set", "key": "a", "value": 1, "description": "x".repeat(1_001) }),
    ] {
        let refused = change(&api, body.clone()).await;
        assert!(matches!(refused.status.as_u16(), 400 | 422), "{body}: {}", refused.body);
    }
    let large = json!({ "op": "set", "key": "a", "value": "x".repeat(1 << 20) });
    assert_eq!(change(&api, large).await.status, 413);
    api.get("/state/value?key=a").await.problem(404, "not_found");

    // Reads are counted without a write of their own; another tenant has state of its own.
    for _ in 0..3 {
        api.get("/state/value?key=fresh").await.expect(200);
    }
    api.store.flush_state_reads().await.unwrap();
    let read = api.get("/state/value?key=fresh").await.expect(200);
    assert_eq!(read["access_count"], 3);
    assert!(read["accessed_at"].is_string());
    let theirs = api.tenant("theirs").await;
    let list = send(api.bare(Method::GET, "/api/v1/state").bearer_auth(&theirs)).await.expect(200);
    assert_eq!(list["items"], json!([]));

    // What callers change is in the audit, without the values.
    let audit = api.get("/audit-entries?record=state_values&sort=id").await.expect(200);
    let entries =
        |of_told| audit["items"].as_array().unwrap().iter().filter(move |it| (it["subject"] == "told") == of_told);
    let told: Vec<&Value> = entries(true).filter_map(|it| it["changes"].get("description")).collect();
    assert_eq!(told, [&json!({ "to": "how often" }), &json!({ "to": "" }), &json!({ "to": "again" })]);
    let actions: Vec<&str> = entries(false).map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["increment", "set", "set", "set", "set", "update", "compare_and_set", "set", "set", "delete"]);
    assert!(!audit.to_string().contains("mine"));
}
