//! Documents: saved, published, read in both forms, refused with every place.

use reqwest::Method;
use serde_json::json;
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
