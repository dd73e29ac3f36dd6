//! The OpenAPI document: pinned, and true.

use expect_test::expect_file;
use serde_json::{Value, json};
use windlass_server::openapi;

use crate::harness::Api;

#[test]
fn the_document_is_pinned() {
    let document = serde_json::to_string_pretty(&windlass_server::document()).unwrap();
    expect_file!["../../../../docs/openapi.json"].assert_eq(&format!("{document}\n"));
}

#[test]
fn every_operation_is_complete() {
    let document = serde_json::to_value(windlass_server::document()).unwrap();
    let text = document.to_string();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{place} says nothing");
            assert!(operation["tags"].is_array(), "{place} has no tag");
        }
    }
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is referred to and not there");
    }
}

/// Whether what is answered has exactly the properties of the schema, apart from those that may be left out.
fn check(name: &str, answer: &Value) {
    let document = windlass_server::document();
    let known = openapi::properties(&document, name);
    assert!(!known.is_empty(), "no schema {name}");
    let document = serde_json::to_value(&document).unwrap();
    let required: Vec<&str> = document["components"]["schemas"][name]["required"]
        .as_array()
        .map(|it| it.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let found = answer.as_object().unwrap_or_else(|| panic!("{name} is {answer}"));
    for key in found.keys() {
        assert!(known.contains(key), "{name} has `{key}`, which the document does not know");
    }
    for key in required {
        assert!(found.contains_key(key), "{name} lacks `{key}`: {answer}");
    }
}

pub async fn answers_are_what_the_document_says(api: Api) {
    let document = "name: all\nsteps:\n  - id: do\n    type: task\n    with: { queue: q }\n  - id: ok\n    type: approval\n    with: { title: May we? }\n";
    api.deploy("all", document).await;
    check("Workflow", &api.get("/workflows/all").await.expect(200));
    check("Workflow", &api.get("/workflows").await.expect(200)["items"][0]);
    check("Version", &api.get("/workflows/all/versions").await.expect(200)["items"][0]);
    check("Version", &api.get("/workflows/all/versions/1").await.expect(200));
    let run = api.start_run("all", json!({})).await;
    let claim = json!({ "queues": ["q"], "worker": "w", "wait": "20s" });
    let claimed = api.post("/tasks/claim", claim).await.expect(200);
    check("Claimed", &claimed);
    let task = &claimed["tasks"][0];
    check("ClaimedTask", task);
    check("Task", &api.get("/tasks?status=claimed").await.expect(200)["items"][0]);
    let path = format!("/tasks/{}", task["id"].as_str().unwrap());
    check("Heartbeat", &api.post(&format!("{path}/heartbeat"), json!({ "token": task["token"] })).await.expect(200));
    api.post(&format!("{path}/complete"), json!({ "token": task["token"] })).await;
    let page = api.until("/approvals", |page| page["items"][0].is_object()).await;
    check("Approval", &page["items"][0]);
    check("Run", &api.get(&format!("/runs/{run}")).await.expect(200));
    api.post(&format!("/approvals/{}/reject", page["items"][0]["id"].as_str().unwrap()), json!({})).await.expect(200);
    let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == "failed").await;
    check("Run", &ended);
    check("StepError", &ended["error"]);
    check("Undo", &ended["undo"]);
    check("RunSummary", &api.get("/runs").await.expect(200)["items"][0]);
    for step in api.get(&format!("/runs/{run}/steps")).await.expect(200)["items"].as_array().unwrap() {
        check("Step", step);
    }
    for entry in api.get(&format!("/runs/{run}/journal")).await.expect(200)["items"].as_array().unwrap() {
        check("JournalEntry", entry);
    }
    check("ProblemDocument", &api.get("/runs/x").await.json());
    assert!(api.get("/step-types").await.expect(200)["items"].as_array().unwrap().len() > 10);
    assert!(api.get("/schema/workflow").await.expect(200)["$defs"].is_object());
    let records = api.get("/schema/records").await.expect(200);
    let folders = records["items"].as_array().unwrap().iter().find(|it| it["name"] == "folders").unwrap();
    assert_eq!((&folders["place"], &folders["form"]["fields"][0]["name"]), (&json!("folders"), &json!("name")));
    assert_eq!(folders["new"]["required"], json!(["name"]));
    assert!(folders["change"]["properties"].is_object() && folders["change"].get("required").is_none(), "{folders}");
}
