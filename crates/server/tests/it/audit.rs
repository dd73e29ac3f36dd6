//! The audit over HTTP: what leaves entries, and what becomes of them.

use std::io::Cursor;

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;
use windlass_store::{Trust, verify_file};

use crate::{
    harness::{Api, send},
    identity::{administrator, member, member_id},
};

const WAITS: &str = "name: waits\nsteps:\n  - id: go\n    type: wait\n    with: { signal: go }\n";

/// The actions that the audit has of a kind of thing, the oldest first.
async fn actions(api: &Api, record: &str) -> Vec<Value> {
    let page = api.get(&format!("/audit-entries?record={record}&sort=id&limit=1000")).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

fn named(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|it| it["action"].as_str().unwrap()).collect()
}

/// Everything is sealed, by the server itself.
async fn sealed(api: &Api) -> Value {
    api.until("/audit/verify", |report| report["unsealed"] == 0 && report["entries"] != 0).await
}

pub async fn what_is_done_is_in_the_audit(api: Api) {
    let put = api.request(Method::PUT, "/workflows/waits").header("content-type", "application/yaml");
    let put = put.header("x-request-id", "r-7").header("user-agent", "tests").body(WAITS);
    send(put).await.expect(201);
    // Whoever sends no id is given one, and finds it in the audit.
    let published = api.post("/workflows/waits/publish", json!({})).await;
    let id = published.header("x-request-id").to_owned();
    published.expect(200);
    let workflows = actions(&api, "workflows").await;
    assert_eq!(workflows[1]["request_id"], id.as_str());
    assert_eq!(named(&workflows), ["draft", "publish"]);
    let first = &workflows[0];
    assert_eq!(
        [&first["created_by"], &first["request_id"], &first["user_agent"], &first["address"], &first["subject"]],
        [&json!("token:admin"), &json!("r-7"), &json!("tests"), &json!("127.0.0.1"), &json!("waits")]
    );
    assert_eq!(workflows[1]["changes"]["version"], json!({ "from": null, "to": 1 }));
    let versions = api.get("/workflows/waits/versions").await.expect(200);
    assert_eq!(versions["items"][0]["published_by"], "token:admin");

    let run = api.start_run("waits", json!({})).await;
    api.until(&format!("/runs/{run}"), |it| it["status"] == "waiting").await;
    assert!(actions(&api, "runs").await.is_empty(), "a start is in the journal alone");
    api.post(&format!("/runs/{run}/pause"), json!({})).await.expect(200);
    api.post(&format!("/runs/{run}/resume"), json!({})).await.expect(200);
    api.post(&format!("/runs/{run}/signals/stay"), json!({ "secret": "in the journal" })).await.expect(202);
    api.post(&format!("/runs/{run}/cancel"), json!({ "reason": "enough" })).await.expect(200);
    api.until(&format!("/runs/{run}"), |it| it["status"] == "cancelled").await;
    let again = api.post(&format!("/runs/{run}/rerun"), json!({})).await.expect(201);
    let runs = actions(&api, "runs").await;
    assert_eq!(named(&runs), ["pause", "resume", "signal", "cancel", "rerun"]);
    assert!(runs.iter().all(|it| it["created_by"] == "token:admin" && it["subject"] == "waits"));
    assert_eq!(runs[2]["changes"]["name"], "stay");
    assert_eq!(runs[3]["changes"]["reason"], "enough");
    assert_eq!((&runs[4]["record_id"], &runs[4]["changes"]["of"]), (&again["id"], &json!(run)));
    assert!(!json!(runs).to_string().contains("in the journal"), "payloads are not in the audit");
    // A refused act leaves nothing.
    assert_eq!(api.post(&format!("/runs/{run}/resume"), json!({})).await.status, 409);
    assert_eq!(actions(&api, "runs").await.len(), 5);

    let tokens = actions(&api, "api_keys").await;
    assert_eq!((named(&tokens), &tokens[0]["created_by"]), (vec!["create"], &json!("system")));
    let report = sealed(&api).await;
    assert_eq!(report["findings"], json!([]));
}

pub async fn what_goes_with_something_is_in_the_audit(api: Api) {
    let admin = administrator(&api).await;
    member(&api, &admin, ("grace@example.org", "viewer")).await;
    let grace = member_id(&api, "grace@example.org").await;
    let role = api.get("/roles?name=builder").await.expect(200)["items"][0]["id"].clone();
    let group = api.post("/groups", json!({ "name": "Builders" })).await.expect(201)["id"].clone();
    let given = json!({ "role_id": role, "group_id": group });
    let given = api.post("/role-assignments", given).await.expect(201)["id"].clone();
    let joined = json!({ "group_id": group, "member_id": grace });
    let joined = api.post("/group-members", joined).await.expect(201)["id"].clone();
    // What went, of which kind, and what it said.
    let gone = async |record: &str| {
        let mut entries = actions(&api, record).await;
        entries.retain(|it| it["action"] == "delete");
        entries.into_iter().map(|it| (it["record_id"].clone(), it["changes"].clone())).collect::<Vec<_>>()
    };
    send(api.request(Method::DELETE, &format!("/groups/{}", group.as_str().unwrap()))).await.expect(204);
    assert_eq!(gone("groups").await[0].0, group);
    let (assignment, membership) = (gone("role_assignments").await, gone("group_members").await);
    assert_eq!((assignment.len(), &assignment[0].0), (1, &given));
    assert_eq!(assignment[0].1["role_id"], json!({ "from": role }), "it names the role that nobody has by it any more");
    assert_eq!((membership.len(), &membership[0].0), (1, &joined));
    assert_eq!(membership[0].1["member_id"], json!({ "from": grace }));
    assert_eq!(sealed(&api).await["findings"], json!([]));
}

pub async fn the_audit_is_exported_and_judged(api: Api) {
    for name in ["a", "b", "=1+1"] {
        api.post("/folders", json!({ "name": name })).await.expect(201);
    }
    let report = sealed(&api).await;
    assert_eq!(report["findings_count"], 0);
    let head = api.get("/audit/head").await.expect(200);
    assert_eq!(head["hash"], report["head_hash"]);
    let noted = format!("{}:{}", head["number"], head["hash"].as_str().unwrap());
    assert_eq!(api.get(&format!("/audit/verify?head={noted}")).await.expect(200)["findings_count"], 0);

    let lines = api.get("/audit-entries/export?record=folders").await;
    assert_eq!(lines.header("content-type"), "application/jsonl");
    let entries: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 3);
    let nothing = api.get("/audit-entries/export?q=nothingofthekind").await;
    assert_eq!((nothing.status, nothing.body.as_str()), (200.try_into().unwrap(), ""));
    let array = api.get("/audit-entries/export?format=json&record=folders").await;
    assert_eq!(array.header("content-type"), "application/json");
    assert_eq!(array.expect(200), json!(entries));
    assert_eq!(api.get("/audit-entries/export?format=json&q=nothingofthekind").await.expect(200), json!([]));
    let table = api.get("/audit-entries/export?format=csv&record=folders").await;
    assert_eq!(table.body.lines().count(), 4);
    assert!(table.body.starts_with("id,action,") && table.body.contains(",'=1+1,"), "{}", table.body);

    let proof = api.get("/audit/proof").await;
    assert!(proof.header("content-disposition").contains("audit-proof.jsonl"));
    let report = verify_file(Cursor::new(proof.body.clone()), Trust::default()).unwrap();
    assert_eq!((report.findings_count, report.head_hash.as_str()), (0, head["hash"].as_str().unwrap()));
    let forged = proof.body.replacen("token:admin", "token:eve!!", 1);
    assert_eq!(verify_file(Cursor::new(forged), Trust::default()).unwrap().findings_count, 1);

    for wrong in ["format=xml", "format=csv&format=csv", "format=csv&limit=5", "after=x", "nope=1", "q=%00"] {
        assert_eq!(api.get(&format!("/audit-entries/export?{wrong}")).await.status, 400, "{wrong}");
    }
    api.get("/audit/verify?head=nonsense").await.problem(400, "invalid_query");
    // The audit has no route that changes it, and another tenant has an audit of its own.
    let id = entries[0]["id"].as_str().unwrap();
    for method in [Method::PATCH, Method::DELETE, Method::PUT] {
        assert_eq!(send(api.request(method, &format!("/audit-entries/{id}"))).await.status, 405);
    }
    let theirs = api.tenant("theirs").await;
    let get = async |path: &str| send(api.bare(Method::GET, &format!("/api/v1{path}")).bearer_auth(&theirs)).await;
    assert_eq!(get(&format!("/audit-entries/{id}")).await.status, 404);
    let export = get("/audit-entries/export").await;
    assert!(!export.body.contains(r#""record":"folders""#), "{}", export.body);
    assert_ne!(api.store.audit_head(TenantKey::DEFAULT).await.unwrap().unwrap().number, 0);
    assert_ne!(get("/audit/head").await.expect(200)["hash"], head["hash"]);
}
