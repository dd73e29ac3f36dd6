//! Features of a tenant: who switches them, what is off on which routes, and that nothing is lost by it.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;
use windlass_store::{Actor, SettingLayer};

use crate::{
    harness::{Answer, Api, send},
    identity::{administrator, member, with},
};

async fn switch(api: &Api, who: &str, (feature, body): (&str, Value)) -> Answer {
    with(api, who, (Method::PUT, &format!("/settings/feature_{feature}")), Some(body)).await
}

async fn features(api: &Api, who: &str) -> Value {
    with(api, who, (Method::GET, "/me"), None).await.expect(200)["features"].clone()
}

/// Asks the protocol's server for its tools.
async fn tools(api: &Api, who: &str) -> Answer {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let request = api.bare(Method::POST, "/mcp").bearer_auth(who).json(&call);
    send(request.header("accept", "application/json, text/event-stream")).await
}

pub async fn a_feature_is_switched_for_a_tenant(api: Api) {
    let (admin, theirs) = (administrator(&api).await, api.tenant("theirs").await);
    let all = json!(["api_keys", "files", "mcp"]);
    assert_eq!((features(&api, &admin).await, features(&api, &theirs).await), (all.clone(), all.clone()));
    let shown = with(&api, &theirs, (Method::GET, "/settings/feature_files"), None).await.expect(200);
    assert_eq!((&shown["per_tenant"], &shown["tenant_chooses"]), (&json!(true), &json!(false)));

    // Whoever administers the installation switches it, for one tenant.
    let off = |tenant: &str| json!({ "value": false, "tenant": tenant });
    let chosen = switch(&api, &admin, ("files", off("theirs"))).await.expect(200);
    assert_eq!((&chosen["value"], &chosen["source"]), (&json!(false), &json!("tenant")));
    assert_eq!(features(&api, &theirs).await, json!(["api_keys", "mcp"]), "at once");
    assert_eq!(features(&api, &admin).await, all, "nothing for the others");
    let asked = with(&api, &admin, (Method::GET, "/settings/feature_files?tenant=theirs"), None).await.expect(200);
    assert_eq!(asked["value"], false);
    switch(&api, &admin, ("files", off("nobody"))).await.problem(404, "not_found");
    let both = json!({ "value": false, "tenant": "theirs", "layer": "database" });
    switch(&api, &admin, ("files", both)).await.problem(400, "invalid_query");
    with(&api, &admin, (Method::GET, "/settings/log?tenant=theirs"), None).await.problem(404, "not_found");

    // The tenant itself does not, though it may do everything there: neither on nor off, nor by taking the choice back.
    for value in [true, false] {
        let refused = switch(&api, &theirs, ("files", json!({ "value": value }))).await.problem(403, "forbidden");
        assert!(refused["detail"].as_str().unwrap().contains("`tenants.write`"), "{refused}");
    }
    with(&api, &theirs, (Method::DELETE, "/settings/feature_files"), None).await.problem(403, "forbidden");
    for tenant in ["theirs", "default", "nobody"] {
        switch(&api, &theirs, ("files", off(tenant))).await.problem(403, "forbidden");
        let path = format!("/settings?tenant={tenant}");
        with(&api, &theirs, (Method::GET, &path), None).await.problem(403, "forbidden");
        let path = format!("/settings/session_hours?tenant={tenant}");
        with(&api, &theirs, (Method::DELETE, &path), None).await.problem(403, "forbidden");
    }
    // Nor does an administrator of the first tenant alone.
    let keeper = member(&api, &admin, ("keeper@example.org", "tenant_admin")).await;
    switch(&api, &keeper, ("files", json!({ "value": false }))).await.problem(403, "forbidden");

    // What is off for all is on for whom it was switched on.
    let layer = (SettingLayer::Installation, "feature_mcp");
    api.store.put_setting(Actor::from(TenantKey::DEFAULT), layer, json!(false)).await.unwrap();
    assert_eq!(features(&api, &admin).await, json!(["api_keys", "files"]));
    switch(&api, &theirs, ("mcp", json!({ "value": true }))).await.problem(403, "forbidden");
    switch(&api, &admin, ("mcp", json!({ "value": true, "tenant": "theirs" }))).await.expect(200);
    assert_eq!(features(&api, &theirs).await, json!(["api_keys", "mcp"]));
    with(&api, &admin, (Method::DELETE, "/settings/feature_files?tenant=theirs"), None).await.expect(204);
    assert_eq!(features(&api, &theirs).await, all);

    // It stands in the audit of the tenant that it is about, with who did it.
    let audit = "/audit-entries?record=setting_values&sort=id";
    let entries = with(&api, &theirs, (Method::GET, audit), None).await.expect(200);
    let told: Vec<_> = entries["items"].as_array().unwrap().iter().map(|it| (&it["action"], &it["subject"])).collect();
    let (set, unset) = (json!("set"), json!("unset"));
    let (files, mcp) = (json!("feature_files"), json!("feature_mcp"));
    assert_eq!(told, [(&set, &files), (&set, &mcp), (&unset, &files)]);
    assert!(
        entries["items"].as_array().unwrap().iter().all(|it| it["created_by"] == "person:admin@localhost"),
        "{entries}"
    );
}

/// The operations of the API: method, path with an id that nothing has, and what they are about.
fn operations() -> Vec<(Method, String, Option<&'static str>)> {
    let document = serde_json::to_value(windlass_server::document()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let part = |part: &str| if part.starts_with('{') { uuid::Uuid::now_v7().to_string() } else { part.to_owned() };
        let address: Vec<String> = path.split('/').map(part).collect();
        for (method, operation) in item.as_object().unwrap() {
            let permission = operation["security"][0]["token"][0].as_str().unwrap_or_default();
            let about = match permission {
                "files.read" | "files.write" => Some("files"),
                "keys.read" | "keys.write" => Some("api_keys"),
                _ => None,
            };
            all.push((method.to_uppercase().parse().unwrap(), address.join("/"), about));
        }
    }
    all
}

pub async fn what_is_off_is_off_on_every_route_and_kept(api: Api) {
    let (admin, key) = (administrator(&api).await, api.tenant("theirs").await);
    let grace = member(&api, &key, ("grace@example.org", "tenant_admin")).await;
    let upload = api.bare(Method::POST, "/api/v1/files?name=report.txt").bearer_auth(&grace).body("the report");
    let file = send(upload).await.expect(201);
    let link = json!({ "file_id": file["id"], "expires_at": "2099-01-01T00:00:00Z", "downloads_max": 1 });
    let link = with(&api, &grace, (Method::POST, "/file-links"), Some(link)).await.expect(201);
    let sign = format!("/file-links/{}/sign", link["id"].as_str().unwrap());
    let signed = with(&api, &grace, (Method::POST, &sign), Some(json!({}))).await.expect(200);
    let shared = signed["path"].as_str().unwrap();
    let names = |tools: Answer| -> Vec<String> {
        let tools = tools.expect(200)["result"]["tools"].clone();
        tools.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(tools(&api, &grace).await).iter().any(|it| it == "list_files"));

    let switched = |value: bool| json!({ "value": value, "tenant": "theirs" });
    for feature in ["files", "api_keys"] {
        switch(&api, &admin, (feature, switched(false))).await.expect(200);
        let (mut refused, mut open) = (0, 0);
        for (method, path, about) in operations() {
            // What is of neither is only read: the session is needed still.
            if about != Some(feature) && (about.is_some() || method != Method::GET) {
                continue;
            }
            let answer = send(api.bare(method.clone(), &path).bearer_auth(&grace)).await;
            if about == Some(feature) {
                let problem = answer.problem(403, "feature_off");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("settings set feature_{feature} on")), "{detail}");
                refused += 1;
            } else {
                assert!(!answer.body.contains("feature_off"), "{method} {path}: {}", answer.body);
                open += 1;
            }
        }
        assert!(refused >= 5 && open > 50, "{feature}: {refused} {open}");
        let left = names(tools(&api, &grace).await);
        let of_it = if feature == "files" { "list_files" } else { "list_api_keys" };
        assert!(left.iter().any(|it| it == "list_folders") && left.iter().all(|it| it != of_it), "{left:?}");
        // Another tenant has it.
        let path = if feature == "files" { "/files" } else { "/api-keys" };
        with(&api, &admin, (Method::GET, path), None).await.expect(200);
    }
    // A link of it leads nowhere meanwhile, and is not used up by trying.
    send(api.bare(Method::GET, shared)).await.problem(403, "feature_off");
    send(api.bare(Method::GET, "/api/v1/shared-files/none")).await.problem(404, "not_found");
    for feature in ["files", "api_keys"] {
        switch(&api, &admin, (feature, switched(true))).await.expect(200);
    }
    assert_eq!(send(api.bare(Method::GET, shared)).await.body, "the report");
    let content = format!("/files/{}/content", file["id"].as_str().unwrap());
    assert_eq!(with(&api, &grace, (Method::GET, &content), None).await.body, "the report");

    switch(&api, &admin, ("mcp", switched(false))).await.expect(200);
    tools(&api, &grace).await.problem(403, "feature_off");
    tools(&api, &key).await.problem(403, "feature_off");
    tools(&api, "wl_none").await.problem(401, "unauthorized");
    assert!(!names(tools(&api, &admin).await).is_empty());
    with(&api, &grace, (Method::GET, "/folders"), None).await.expect(200);
    switch(&api, &admin, ("mcp", switched(true))).await.expect(200);
    assert!(!names(tools(&api, &key).await).is_empty());
}

pub async fn keys_let_nobody_in_while_they_are_off(api: Api) {
    let (admin, key) = (administrator(&api).await, api.tenant("theirs").await);
    let grace = member(&api, &key, ("grace@example.org", "tenant_admin")).await;
    let made = json!({ "name": "ci", "scopes": ["workflows.read"] });
    let made = with(&api, &grace, (Method::POST, "/api-keys"), Some(made)).await.expect(201);
    let own = made["key"].as_str().unwrap();
    let off = json!({ "value": false, "tenant": "theirs" });
    for key in [own, &key] {
        with(&api, key, (Method::GET, "/workflows"), None).await.expect(200);
    }
    switch(&api, &admin, ("api_keys", off)).await.expect(200);
    for key in [own, &key] {
        for (method, path) in [(Method::GET, "/workflows"), (Method::GET, "/me"), (Method::POST, "/workflows/a/runs")] {
            let refused = with(&api, key, (method, path), None).await.problem(403, "feature_off");
            assert!(refused["detail"].as_str().unwrap().contains("`feature_api_keys`"), "{refused}");
        }
        tools(&api, key).await.problem(403, "feature_off");
    }
    // People come in as before, and so do keys of others.
    with(&api, &grace, (Method::GET, "/workflows"), None).await.expect(200);
    api.get("/workflows").await.expect(200);
    with(&api, "wl_none", (Method::GET, "/workflows"), None).await.problem(401, "unauthorized");
    // They are there still, and let in again.
    with(&api, &admin, (Method::DELETE, "/settings/feature_api_keys?tenant=theirs"), None).await.expect(204);
    let path = format!("/api-keys/{}", made["id"].as_str().unwrap());
    assert_eq!(with(&api, &grace, (Method::GET, &path), None).await.expect(200)["status"], "active");
    for key in [own, &key] {
        with(&api, key, (Method::GET, "/workflows"), None).await.expect(200);
    }
}
