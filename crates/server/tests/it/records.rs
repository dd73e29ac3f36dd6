//! Records over HTTP: what holds for every route that a descriptor makes, and folders and tags from end to end.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;
use windlass_resource::{Operation, openapi, records, schema};
use windlass_server::token::TokenHash;
use windlass_store::NewApiKey;
use windlass_testkit::library;

use crate::harness::{Api, send};

const OTHER: TenantKey = TenantKey(2);
pub const THEIRS: &str = "a-token-of-another-tenant";
const READER: &str = "a-token-that-only-reads";
const DOCUMENT: &str = "name: order\ntags: [shop]\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

pub async fn token(api: &Api, tenant: TenantKey, text: &str, scopes: &[&str]) {
    let token = NewApiKey {
        id: uuid::Uuid::now_v7(),
        name: "t".to_owned(),
        prefix: String::new(),
        hash: *TokenHash::of(text).as_bytes(),
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
        ..NewApiKey::default()
    };
    api.store.create_api_key(tenant, token).await.unwrap();
}

pub async fn other_tenant(api: &Api) {
    api.store.add_tenant(OTHER, "other").await.unwrap();
    token(api, OTHER, THEIRS, &["*"]).await;
}

async fn made(api: &Api, path: &str, body: Value) -> Value {
    api.post(path, body).await.expect(201)
}

async fn workflow(api: &Api, name: &str) -> Value {
    api.put(name, &DOCUMENT.replace("order", name)).await.expect(201)
}

const SLOW: &str = "name: slow\nsteps:\n  - id: a\n    type: bench\n    with: { sleep_ms: 600000 }\n";
const HOLDS: &str = "name: holds\nsteps:\n  - id: a\n    type: bench\n";

pub async fn a_suspended_tenant_is_refused_and_its_runs_hold(api: Api) {
    let token = api.tenant("acme").await;
    let tenants = api.get("/tenants?slug=acme").await.expect(200);
    let acme = format!("/tenants/{}", tenants["items"][0]["id"].as_str().unwrap());
    let theirs = |method, path: &str| api.bare(method, &format!("/api/v1{path}")).bearer_auth(&token);
    // What is about the whole installation is for its first tenant, whatever a token of another says.
    send(theirs(Method::GET, "/tenants")).await.problem(403, "forbidden");
    send(theirs(Method::POST, &format!("{acme}/suspend"))).await.problem(403, "forbidden");
    let put = theirs(Method::PUT, "/workflows/holds").header("content-type", "application/yaml").body(HOLDS);
    send(put).await.expect(201);
    send(theirs(Method::POST, "/workflows/holds/publish")).await.expect(200);
    let start = async || send(theirs(Method::POST, "/workflows/holds/runs").json(&json!({}))).await;
    api.post(&format!("{acme}/suspend"), json!({ "suspended_reason": "unpaid" })).await.expect(200);
    let refused = start().await.problem(403, "tenant_suspended");
    assert!(refused["detail"].as_str().unwrap().contains("suspended"), "{refused}");
    send(theirs(Method::GET, "/runs")).await.problem(403, "tenant_suspended");
    let again = api.post(&format!("{acme}/suspend"), json!({})).await.problem(409, "transition_not_allowed");
    assert!(again["detail"].as_str().unwrap().contains("allowed are resume"), "{again}");
    // What was accepted before it was suspended begins no step until it is resumed.
    let tenant = api.store.tenant_by_slug("acme").await.unwrap().unwrap().key;
    let target = windlass_runtime::Target::Published { name: "holds".into(), version: None };
    let request = windlass_runtime::StartRequest {
        tenant,
        target,
        input: serde_json::from_str("{}").unwrap(),
        mode: windlass_engine::start::Mode::Production,
        by: windlass_engine::start::Principal::System,
        idempotency_key: None,
        key: None,
        labels: std::collections::BTreeMap::default(),
        priority: 0,
        trace: None,
    };
    let run = api.runtime().start(request).await.unwrap().run;
    assert!(!api.runtime().run(tenant, run).await.unwrap().status.is_final());
    api.post(&format!("{acme}/resume"), json!({})).await.expect(200);
    let path = format!("/runs/{run}");
    loop {
        if send(theirs(Method::GET, &path)).await.expect(200)["status"] == "completed" {
            break;
        }
        tokio::task::yield_now().await;
    }
    // The first tenant looks after the others: it is never suspended itself.
    let first = api.get("/tenants?slug=default").await.expect(200)["items"][0]["id"].clone();
    let refused = api.post(&format!("/tenants/{}/suspend", first.as_str().unwrap()), json!({})).await;
    refused.problem(422, "invalid_input");
    let entries = api.get("/audit-entries?record=tenants&action=suspend").await.expect(200);
    assert_eq!(entries["items"].as_array().unwrap().len(), 1, "{entries}");
}

pub async fn quotas_narrow_what_a_tenant_starts(api: Api) {
    let token = api.tenant("small").await;
    let found = api.get("/tenants?slug=small").await.expect(200)["items"][0].clone();
    let path = format!("/tenants/{}", found["id"].as_str().unwrap());
    let change = async |body: Value| send(api.request(Method::PATCH, &path).json(&body)).await;
    for wrong in [json!({ "max_concurrent_runs": 0 }), json!({ "data_retention_days": -1 }), json!({ "slug": "other" })]
    {
        change(wrong).await.problem(422, "invalid_input");
    }
    change(json!({ "max_concurrent_runs": 1, "max_queued_runs": 1 })).await.expect(200);
    let theirs = |method, path: &str| api.bare(method, &format!("/api/v1{path}")).bearer_auth(&token);
    let put = theirs(Method::PUT, "/workflows/slow").header("content-type", "application/yaml").body(SLOW);
    send(put).await.expect(201);
    send(theirs(Method::POST, "/workflows/slow/publish")).await.expect(200);
    let start = async || send(theirs(Method::POST, "/workflows/slow/runs").json(&json!({}))).await;
    let first = start().await.expect(202);
    assert_eq!(start().await.expect(202)["status"], "queued");
    let refused = start().await.problem(429, "too_many_queued");
    assert!(refused["detail"].as_str().unwrap().contains("max_queued_runs"), "{refused}");
    send(theirs(Method::POST, &format!("/runs/{}/cancel", first["id"].as_str().unwrap()))).await.expect(200);
}

pub async fn workflows_are_put_into_folders_and_tagged(api: Api) {
    let (order, refund, other) =
        (workflow(&api, "order").await, workflow(&api, "refund").await, workflow(&api, "other").await);
    let shop = made(&api, "/folders", json!({ "name": "Shop" })).await;
    let inner = made(&api, "/folders", json!({ "name": "Inner", "parent_id": shop["id"] })).await;
    for (workflow, folder) in [(&order, &shop), (&refund, &inner)] {
        made(&api, "/workflow-places", json!({ "workflow_id": workflow["id"], "folder_id": folder["id"] })).await;
    }
    let twice = json!({ "workflow_id": order["id"], "folder_id": inner["id"] });
    api.post("/workflow-places", twice).await.problem(409, "taken");
    let urgent = made(&api, "/tags", json!({ "name": "URGENT", "color": "#FF0000" })).await;
    assert_eq!((&urgent["name"], &urgent["color"]), (&json!("urgent"), &json!("#ff0000")));
    let link = json!({ "workflow_id": other["id"], "tag_id": urgent["id"] });
    let link = made(&api, "/workflow-tags", link).await;
    let names = async |query: String| -> Vec<String> {
        let page = api.get(&format!("/workflows?{query}")).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let id = |folder: &Value| folder["id"].as_str().unwrap().to_owned();
    assert_eq!(names(format!("folder={}", id(&shop))).await, ["order"]);
    assert_eq!(names(format!("folder={}", id(&inner))).await, ["refund"]);
    assert_eq!(names("folder=top".into()).await, ["other"]);
    assert_eq!(names("tag=urgent".into()).await, ["other"]);
    assert_eq!(names("tag=shop".into()).await, ["order", "other", "refund"], "tags of the document");
    assert_eq!(names(format!("tag=shop&folder={}", id(&inner))).await, ["refund"]);
    api.get("/workflows?folder=nonsense").await.problem(400, "invalid_query");
    // A folder with something in it is not deleted; an empty one is, and comes back.
    let path = format!("/folders/{}", id(&shop));
    let refused = send(api.request(Method::DELETE, &path)).await;
    assert!(refused.problem(409, "in_use")["detail"].as_str().unwrap().contains("folders refer to it"));
    let place = api.get(&format!("/workflow-places?workflow_id={}", id(&refund))).await.expect(200);
    let place = format!("/workflow-places/{}", place["items"][0]["id"].as_str().unwrap());
    send(api.request(Method::PATCH, &place).json(&json!({ "folder_id": shop["id"] }))).await.expect(200);
    assert_eq!(names(format!("folder={}", id(&shop))).await, ["order", "refund"]);
    let inner_path = format!("/folders/{}", id(&inner));
    send(api.request(Method::DELETE, &inner_path)).await.expect(204);
    api.get(&inner_path).await.problem(404, "not_found");
    assert_eq!(api.get("/folders?deleted=true").await.expect(200)["items"][0]["name"], "Inner");
    assert_eq!(api.post(&format!("{inner_path}/restore"), json!({})).await.expect(200)["name"], "Inner");
    // What belongs to a deleted workflow comes back with it, and is in no export until then.
    let exported = async || api.get("/workflow-places/export").await.body.contains(r#""workflow_id":"refund""#);
    assert!(exported().await);
    send(api.request(Method::DELETE, "/workflows/refund")).await.expect_text(204);
    assert!(!exported().await);
    assert_eq!(names(format!("folder={}", id(&shop))).await, ["order"]);
    send(api.request(Method::POST, "/workflows/refund/restore")).await.expect(200);
    assert!(exported().await);
    assert_eq!(names(format!("folder={}", id(&shop))).await, ["order", "refund"]);
    // Without its tag, a workflow is found by it no more.
    send(api.request(Method::DELETE, &format!("/workflow-tags/{}", id(&link)))).await.expect(204);
    assert!(names("tag=urgent".into()).await.is_empty());
    let entries = api.get(&format!("/audit-entries?record_id={}&sort=id", id(&inner))).await.expect(200);
    let actions: Vec<&str> =
        entries["items"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create", "delete", "restore"]);
    assert_eq!(entries["items"][0]["created_by"], "token:admin");
}

pub async fn records_have_etags_and_problems(api: Api) {
    let made = api.post("/folders", json!({ "name": "A" })).await;
    let folder = made.expect(201);
    let path = format!("/folders/{}", folder["id"].as_str().unwrap());
    assert_eq!((made.header("etag"), made.header("location")), ("\"1\"", format!("/api/v1{path}").as_str()));
    let patch = |etag: &'static str, body: Value| {
        let request = api.request(Method::PATCH, &path).header("x-request-id", "request-7").json(&body);
        send(if etag.is_empty() { request } else { request.header("if-match", etag) })
    };
    assert_eq!(patch("\"1\"", json!({ "name": "B" })).await.header("etag"), "\"2\"");
    patch("\"1\"", json!({ "name": "C" })).await.problem(412, "revision_mismatch");
    patch("\"nonsense\"", json!({ "name": "C" })).await.problem(412, "revision_mismatch");
    patch("*", json!({ "name": "C" })).await.expect(200);
    patch("", json!({ "name": "D" })).await.expect(200);
    let delete = api.request(Method::DELETE, &path).header("if-match", "\"1\"");
    send(delete).await.problem(412, "revision_mismatch");
    let refused = patch("", json!({ "name": "", "nmae": 1, "id": 1, "parent_id": "x" })).await;
    let problem = refused.problem(422, "invalid_input");
    let pointers: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/id", "/nmae", "/name", "/parent_id"]);
    api.post("/folders", json!({ "name": "D" })).await.problem(409, "taken");
    api.post("/folders", json!({ "name": "E", "parent_id": "019aa7d0-0000-7000-8000-000000000001" }))
        .await
        .problem(422, "invalid_input");
    let twice = api.request(Method::POST, "/folders").header("content-type", "application/json");
    send(twice.body(r#"{"name": "a", "name": "b"}"#)).await.problem(422, "invalid_body");
    for id in ["x", "019aa7d0-0000-7000-8000-000000000001", "019AA7D0000070008000000000000001"] {
        api.get(&format!("/folders/{id}")).await.problem(404, "not_found");
    }
    let refused = api.get("/folders?limit=0&nope=1&sort=x&name.like=a").await.problem(400, "invalid_query");
    assert_eq!(refused["errors"].as_array().unwrap().len(), 4);
    send(api.request(Method::PUT, &path).json(&json!({}))).await.problem(405, "method_not_allowed");
    let entries = api.get("/audit-entries?request_id=request-7&action=update").await.expect(200);
    assert_eq!(entries["items"].as_array().unwrap().len(), 3);
}

pub async fn transitions_are_verbs(api: Api) {
    let shelf = made(&api, "/shelves", json!({ "name": "S" })).await;
    let body =
        json!({ "title": "T", "slug": "t", "shelf_id": shelf["id"], "due_at": "2020-01-01T00:00:00Z", "pin": "1234" });
    let book = made(&api, "/books", body).await;
    assert!(book.get("pin").is_none(), "{book}");
    let verb = |verb: &'static str, body: Value| {
        api.post_owned(format!("/books/{}/{verb}", book["id"].as_str().unwrap()), body)
    };
    let refused = verb("publish", json!({})).await;
    let detail = refused.problem(409, "transition_not_allowed")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`draft`") && detail.contains("allowed are submit, archive"), "{detail}");
    assert_eq!(verb("submit", json!({})).await.expect(200)["status"], "review");
    verb("reject", json!({})).await.problem(422, "invalid_input");
    verb("publish", json!({})).await.problem(409, "transition_guarded");
    let sent_back = verb("reject", json!({ "reason": "too long" })).await.expect(200);
    assert_eq!((&sent_back["status"], &sent_back["rejections"]), (&json!("draft"), &json!(1)));
    verb("nothing", json!({})).await.problem(404, "no_such_route");
    token(&api, TenantKey::DEFAULT, READER, &["library.read", "library.write"]).await;
    let path = format!("/api/v1/books/{}/publish", book["id"].as_str().unwrap());
    let forbidden = send(api.bare(Method::POST, &path).bearer_auth(READER)).await;
    assert!(forbidden.problem(403, "forbidden")["detail"].as_str().unwrap().contains("library.publish"));
}

/// Each route of each record: without a token, without the permission, and by another tenant.
pub async fn no_record_is_open_to_others(api: Api) {
    other_tenant(&api).await;
    token(&api, TenantKey::DEFAULT, READER, &["runs.read"]).await;
    let shelf = made(&api, "/shelves", json!({ "name": "S" })).await;
    let book = made(&api, "/books", json!({ "title": "T", "shelf_id": shelf["id"] })).await;
    let folder = made(&api, "/folders", json!({ "name": "F" })).await;
    let ids = [("shelves", &shelf), ("books", &book), ("folders", &folder)];
    let mut tried = 0;
    for record in library::and_the_products() {
        let ours = ids.iter().find(|(name, _)| *name == record.name).map(|(_, row)| row["id"].as_str().unwrap());
        for operation in record.operations() {
            let id = ours.unwrap_or("019aa7d0-0000-7000-8000-000000000001");
            let path = format!("/api/v1{}", openapi::path(record, operation).replace("{id}", id));
            let method: Method = openapi::method(operation).to_uppercase().parse().unwrap();
            let request = || api.bare(method.clone(), &path);
            send(request()).await.problem(401, "unauthorized");
            let forbidden = send(request().bearer_auth(READER)).await.problem(403, "forbidden");
            assert!(forbidden["detail"].as_str().unwrap().contains(record.permission(operation)));
            let theirs = request().bearer_auth(THEIRS);
            tried += 1;
            // What is about the whole installation is for its first tenant.
            if windlass_resource::permission::is_system(record.permission(operation)) {
                send(theirs).await.problem(403, "forbidden");
                continue;
            }
            match operation {
                Operation::List => {
                    let page = send(theirs).await.expect(200);
                    let own = api.get(&format!("/{}", record.slug())).await.expect(200);
                    let theirs = page["items"].as_array().unwrap();
                    for row in own["items"].as_array().unwrap() {
                        assert!(!theirs.iter().any(|it| it["id"] == row["id"]), "{path}: {row}");
                    }
                }
                Operation::Export => {
                    let lines = send(theirs).await;
                    let row = ours.unwrap_or("nothing");
                    assert!(lines.status == 200 && !lines.body.contains(row), "{path}: {}", lines.body);
                }
                Operation::Create => {}
                Operation::Update => drop(send(theirs.json(&json!({}))).await.problem(404, "not_found")),
                Operation::Transition(it) => {
                    let mut body = json!({});
                    for (column, _) in windlass_resource::validate::taken(record, it) {
                        body[column.name] = json!("because");
                    }
                    send(theirs.json(&body)).await.problem(404, "not_found");
                }
                _ => drop(send(theirs).await.problem(404, "not_found")),
            }
        }
    }
    assert!(tried >= 45, "{tried}");
    for (name, row) in ids {
        assert_eq!(&api.get(&format!("/{name}/{}", row["id"].as_str().unwrap())).await.expect(200), row);
    }
}

/// Nothing of what a descriptor says is lost on its way into the document.
#[test]
fn the_document_has_every_record_whole() {
    let document = serde_json::to_value(windlass_server::document()).unwrap();
    let known: BTreeSet<&str> = windlass_server::auth::all().iter().map(|it| it.name).collect();
    for record in records::ALL {
        for (name, schema) in schema::components(record) {
            assert_eq!(document["components"]["schemas"][&name], schema, "{name}");
        }
        for (path, item) in openapi::paths(record) {
            for (method, operation) in item.as_object().unwrap() {
                let mut there = document["paths"][format!("/api/v1{path}")][method].clone();
                assert!(there["responses"]["default"].is_object(), "{method} {path} has no problem");
                there["responses"].as_object_mut().unwrap().remove("default");
                let mut operation = operation.clone();
                if operation["parameters"].as_array().is_some_and(Vec::is_empty) {
                    operation.as_object_mut().unwrap().remove("parameters");
                    there.as_object_mut().unwrap().remove("parameters");
                }
                assert_eq!(there, operation, "{method} {path}");
            }
        }
        for operation in record.operations() {
            let permission = record.permission(operation);
            assert!(known.contains(permission), "{permission} of {} is none that tokens can have", record.name);
        }
    }
}
