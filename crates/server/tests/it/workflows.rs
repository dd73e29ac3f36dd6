//! Documents: saved, published, read in both forms, refused with every place.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;

use crate::{
    harness::{Api, send},
    records::{THEIRS, other_tenant, token},
};

const WRITER: &str = "a-token-that-writes-documents";

const DOCUMENT: &str =
    "name: order\ndescription: An order.\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

pub async fn a_workflow_is_saved_published_and_read(api: Api) {
    api.get("/workflows/order").await.problem(404, "not_found");
    api.post("/workflows/order/runs", json!({})).await.problem(404, "not_found");
    assert_eq!(api.put("order", DOCUMENT).await.expect(201)["version"], json!(null));
    assert_eq!(api.post("/workflows/order/publish", json!({})).await.expect(200)["version"], 1);
    assert_eq!(api.post("/workflows/order/publish", json!({})).await.expect(200)["version"], 1);
    api.put("order", &DOCUMENT.replace("value: 1", "value: 2")).await.expect(200);
    assert_eq!(api.post("/workflows/order/publish", json!({})).await.expect(200)["version"], 2);

    let listed = api.get("/workflows").await.expect(200);
    assert_eq!(listed["items"][0]["name"], "order");
    let versions = api.get("/workflows/order/versions").await.expect(200);
    assert_eq!(versions["items"].as_array().unwrap().iter().map(|it| &it["version"]).collect::<Vec<_>>(), [2, 1]);
    let first = api.get("/workflows/order/versions/1?format=json").await;
    assert_eq!(first.expect(200)["steps"][0]["with"]["value"], 1);
    let second = api.get("/workflows/order?format=yaml").await;
    assert_eq!((second.header("content-type"), second.body.contains("value: 2")), ("application/yaml", true));
    for version in ["3", "0", "-1", "x"] {
        api.get(&format!("/workflows/order/versions/{version}")).await.problem(404, "not_found");
    }

    // The same document as JSON is the same workflow.
    let as_json = json!({ "name": "order", "steps": [{ "id": "a", "type": "transform", "with": { "value": 3 } }] });
    send(api.request(Method::PUT, "/workflows/order").json(&as_json)).await.expect(200);
    let yaml = api.get("/workflows/order?format=yaml").await;
    assert!(yaml.body.contains("type: transform"), "{}", yaml.body);
}

pub async fn what_cannot_run_yet_is_not_published(api: Api) {
    for (name, more, code) in [
        ("timed", "triggers: [{schedule: {cron: '0 7 * * *'}}]\nsteps: []", "triggers_not_supported"),
        (
            "secret",
            "steps:\n  - {id: a, type: http, with: {url: 'https://a.example', headers: {K: '${{ secrets.k }}'}}}",
            "secrets_missing",
        ),
    ] {
        api.put(name, &format!("name: {name}\n{more}\n")).await.expect(201);
        api.post(&format!("/workflows/{name}/publish"), json!({})).await.problem(409, code);
        assert_eq!(api.get(&format!("/workflows/{name}")).await.expect(200)["version"], json!(null));
    }
    // Whoever may not use secrets saves no document with one, so that nobody runs such a draft for him.
    let document = api.get("/workflows/secret?format=yaml").await.body;
    token(&api, TenantKey::DEFAULT, WRITER, &["workflows.write", "vault.write"]).await;
    let save = api.bare(Method::PUT, "/api/v1/workflows/secret").header("content-type", "application/yaml");
    let refused = send(save.bearer_auth(WRITER).body(document)).await.problem(403, "forbidden");
    assert!(refused["detail"].as_str().unwrap().contains("vault.use"), "{refused}");
    let made = api.post("/secrets", json!({ "name": "k", "value": "nobody sees this" })).await.expect(201);
    assert_eq!((made.get("value"), &made["version"]), (None, &json!(1)));
    let id = made["id"].as_str().unwrap();
    let changed = send(api.request(Method::PATCH, &format!("/secrets/{id}")).json(&json!({ "value": "nor this" })));
    assert_eq!(changed.await.expect(200)["version"], 2);
    api.post("/workflows/secret/publish", json!({})).await.expect(200);
    let test = api.post("/credentials/019aa7d0-0000-7000-8000-000000000001/test", json!({})).await;
    test.problem(404, "not_found");
    // The vault is the installation's: another tenant's administrator does not replace its keys.
    other_tenant(&api).await;
    let rotate = api.bare(Method::POST, "/api/v1/vault/rotate").bearer_auth(THEIRS);
    send(rotate).await.problem(403, "forbidden");
    assert_eq!(api.get("/vault").await.expect(200)["is_open"], true);
}

pub async fn a_bad_document_is_refused_with_every_place(api: Api) {
    let bad = "name: order\nsteps:\n  - id: a\n    type: htpp\n  - id: a\n    type: transform\n    with: { value: \"${{ inputs.x }}\" }\n";
    let problem = api.put("order", bad).await.problem(422, "invalid_document");
    let errors = problem["errors"].as_array().unwrap();
    assert!(errors.len() >= 3, "{problem}");
    let first = &errors[0];
    assert_eq!((&first["line"], &first["column"], &first["pointer"]), (&json!(4), &json!(11), &json!("/steps/0/type")));
    assert_eq!((&first["suggestion"], &first["excerpt"]), (&json!("http"), &json!("    type: htpp")));
    api.get("/workflows/order").await.problem(404, "not_found");

    let request = api.request(Method::POST, "/workflows/check").header("content-type", "application/yaml");
    let report = send(request.body(bad)).await.expect(200);
    assert_eq!((&report["valid"], report["diagnostics"].as_array().unwrap().len()), (&json!(false), errors.len()));
    let request = api.request(Method::POST, "/workflows/check").header("content-type", "application/yaml");
    assert_eq!(send(request.body(DOCUMENT)).await.expect(200)["valid"], true);
    api.put("other", DOCUMENT).await.problem(422, "invalid_input");

    let triggered = format!("{DOCUMENT}triggers:\n  - schedule: {{ cron: \"0 7 * * *\" }}\n");
    api.put("order", &triggered).await.expect(201);
    api.post("/workflows/order/publish", json!({})).await.problem(409, "triggers_not_supported");
}

/// A document with what an editor keeps at a step, at one with a body, and for itself.
const DRAWN: &str = "# drawn by hand
name: drawn
steps:
  - id: each
    type: foreach
    items: [1, 2]
    position: { x: 120, y: -40.5 }
    ui: { width: 480, height: 260.25, colour: \"#88f\" }
    do:
      - { id: say, type: log, with: { message: hi }, position: { x: 10, y: 20 } }
ui: { zoom: 1.5 }
";

pub async fn what_the_editor_keeps_comes_back(api: Api) {
    api.put("drawn", DRAWN).await.expect(201);
    let first = api.post("/workflows/drawn/publish", json!({})).await.expect(200);
    let hash = api.get("/workflows/drawn/versions/1").await.expect(200)["hash"].clone();
    for path in ["/workflows/drawn", "/workflows/drawn/versions/1"] {
        assert_eq!(api.get(path).await.expect(200)["source"], DRAWN);
        assert_eq!(api.get(&format!("{path}?format=yaml")).await.body, DRAWN);
        let document = api.get(&format!("{path}?format=json")).await.expect(200);
        let each = &document["steps"][0];
        assert_eq!(
            [&each["position"], &each["ui"], &each["do"][0]["position"], &document["ui"]],
            [
                &json!({ "x": 120, "y": -40.5 }),
                &json!({ "width": 480, "height": 260.25, "colour": "#88f" }),
                &json!({ "x": 10, "y": 20 }),
                &json!({ "zoom": 1.5 })
            ]
        );
    }

    // Written as JSON and read as YAML, it is all still there.
    let document = api.get("/workflows/drawn?format=json").await.expect(200);
    send(api.request(Method::PUT, "/workflows/drawn").json(&document)).await.expect(200);
    let yaml = api.get("/workflows/drawn?format=yaml").await.body;
    api.put("drawn", &yaml).await.expect(200);
    assert_eq!(api.get("/workflows/drawn?format=json").await.expect(200), document);

    // What was only moved means the same, and what cannot be drawn is refused.
    api.put("drawn", &DRAWN.replace("x: 120", "x: 121")).await.expect(200);
    assert_eq!(api.post("/workflows/drawn/publish", json!({})).await.expect(200)["version"], 2);
    assert_eq!(
        (&first["version"], &api.get("/workflows/drawn/versions/2").await.expect(200)["hash"]),
        (&json!(1), &hash)
    );
    for (from, to, message) in [
        ("x: 120", "x: 1000001", "`x` must be from -1000000 to 1000000"),
        ("width: 480", "width: 0", "`width` must be above 0, at most 1000000"),
        ("height: 260.25", "height: tall", "`height` must be a number, not a text"),
        ("{ zoom: 1.5 }", "wide", "`ui` must be a map, not a text"),
    ] {
        let problem = api.put("drawn", &DRAWN.replace(from, to)).await.problem(422, "invalid_document");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["message"]), (1, &json!(message)), "{problem}");
    }
    assert_eq!(api.get("/workflows/drawn").await.expect(200)["source"], DRAWN.replace("x: 120", "x: 121"));
}

const CALLS: &str = "name: calls\nsteps:\n  - id: c\n    type: workflow\n    with: { name: order }\n";
const WAITS: &str = "name: waits\nsteps:\n  - id: w\n    type: wait\n    with: { signal: go }\n";

pub async fn a_workflow_is_deleted_and_restored(api: Api) {
    let on = |method: Method, path: &str| send(api.request(method, path));
    let delete = |name: &str| on(Method::DELETE, &format!("/workflows/{name}"));
    let restore = |name: &str| on(Method::POST, &format!("/workflows/{name}/restore"));
    let listed = async |query: &str| -> Vec<Value> {
        api.get(&format!("/workflows{query}")).await.expect(200)["items"].as_array().unwrap().clone()
    };
    let names = |page: &[Value]| page.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    for (name, document) in [("order", DOCUMENT), ("calls", CALLS), ("waits", WAITS)] {
        api.deploy(name, document).await;
    }
    let order = api.get("/workflows/order").await.expect(200);
    assert_eq!(
        [&order["created_by"], &order["updated_by"], &order["deleted_at"], &order["deleted_by"]],
        [&json!("token:admin"), &json!("token:admin"), &json!(null), &json!(null)]
    );
    token(&api, TenantKey::DEFAULT, WRITER, &["workflows.read", "workflows.publish"]).await;
    for (method, path) in [(Method::DELETE, "/workflows/order"), (Method::POST, "/workflows/order/restore")] {
        let refused = send(api.bare(method, &format!("/api/v1{path}")).bearer_auth(WRITER)).await;
        assert!(refused.problem(403, "forbidden")["detail"].as_str().unwrap().contains("workflows.write"));
    }

    let refused = delete("order").await.problem(409, "in_use");
    assert!(refused["detail"].as_str().unwrap().contains("`calls`"), "{refused}");
    let run = api.start_run("waits", json!({})).await;
    delete("calls").await.expect_text(204);
    let stale = api.request(Method::DELETE, "/workflows/order").header("if-match", "\"7\"");
    send(stale).await.problem(412, "revision_mismatch");
    let seen = api.request(Method::DELETE, "/workflows/order").header("if-match", "\"1\"");
    send(seen).await.expect_text(204);
    delete("waits").await.expect_text(204);
    delete("waits").await.problem(404, "not_found");

    for path in ["/workflows/order", "/workflows/order/versions", "/workflows/order/versions/1"] {
        api.get(path).await.problem(404, "not_found");
    }
    for path in ["/workflows/order/runs", "/workflows/order/publish"] {
        on(Method::POST, path).await.problem(404, "not_found");
    }
    let taken = api.put("order", DOCUMENT).await.problem(409, "workflow_deleted");
    assert!(taken["detail"].as_str().unwrap().contains("windlass workflows restore order"), "{taken}");
    let place = json!({ "workflow_id": order["id"], "folder_id": order["id"] });
    let unplaced = api.post("/workflow-places", place).await.problem(422, "invalid_input");
    assert!(unplaced["errors"].to_string().contains("there is no such workflow"), "{unplaced}");
    assert_eq!(names(&listed("").await), Vec::<String>::new());
    assert_eq!(names(&listed("?deleted=false").await), Vec::<String>::new());
    let deleted = listed("?deleted=true").await;
    assert_eq!(names(&deleted), ["calls", "order", "waits"]);
    assert_eq!((&deleted[1]["deleted_by"], &deleted[1]["revision"]), (&json!("token:admin"), &json!(2)));
    assert!(deleted[1]["deleted_at"].is_string());
    // The run that was under way goes on, and is found by its workflow.
    assert_eq!(api.get("/runs?workflow=waits").await.expect(200)["items"][0]["id"], json!(run));
    on(Method::POST, &format!("/runs/{run}/signals/go")).await.expect(202);
    api.until(&format!("/runs/{run}"), |it| it["status"] == "completed").await;

    // Of another tenant it is neither hidden nor brought back.
    other_tenant(&api).await;
    for path in ["/api/v1/workflows/order/restore", "/api/v1/workflows/none/restore"] {
        send(api.bare(Method::POST, path).bearer_auth(THEIRS)).await.problem(404, "not_found");
    }
    let refused = restore("calls").await.problem(409, "workflow_deleted");
    assert!(refused["detail"].as_str().unwrap().contains("`order`"), "{refused}");
    let stale = api.request(Method::POST, "/workflows/order/restore").header("if-match", "\"1\"");
    send(stale).await.problem(412, "revision_mismatch");
    let back = restore("order").await;
    assert_eq!(back.header("etag"), "\"3\"");
    let back = back.expect(200);
    assert_eq!((&back["version"], &back["deleted_at"], &back["source"]), (&json!(1), &json!(null), &json!(DOCUMENT)));
    assert_eq!(restore("order").await.expect(200)["revision"], 3, "what is not deleted stays as it is");
    restore("calls").await.expect(200);
    let run = api.start_run("calls", json!({})).await;
    api.until(&format!("/runs/{run}"), |it| it["status"] == "completed").await;

    let entries = api.get(&format!("/audit-entries?record_id={}&sort=id", order["id"].as_str().unwrap())).await;
    let entries = entries.expect(200)["items"].as_array().unwrap().clone();
    let actions: Vec<&str> = entries.iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["draft", "publish", "delete", "restore"]);
    let (draft, deletion, restoration) = (&entries[0]["changes"], &entries[2]["changes"], &entries[3]["changes"]);
    assert_eq!((&deletion["version"], &deletion["revision"]), (&json!({ "from": 1 }), &json!({ "from": 1 })));
    assert_eq!(deletion["description"], json!({ "from": "An order." }));
    assert_eq!(deletion["document"]["from"], draft["document"]["to"]);
    assert_eq!(restoration["deleted_at"], json!({ "from": deleted[1]["deleted_at"] }));
    assert_eq!(restoration["deleted_by"], json!({ "from": "token:admin" }));
}
