//! Approvals, tasks and events over the API.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Api, send};

pub async fn an_approval_is_decided(api: Api) {
    let document = "name: ask\nsteps:\n  - id: ok\n    type: approval\n    with: { to: [cfo@example.com], title: May we? }\noutput: ${{ steps.ok.output }}\n";
    api.deploy("ask", document).await;
    for (verb, status) in [("approve", "completed"), ("reject", "failed")] {
        let run = api.start_run("ask", json!({})).await;
        let mine = |page: &serde_json::Value| {
            let items = page["items"].as_array().unwrap().iter();
            items.filter(|it| it["run_id"] == run.as_str()).map(|it| it["id"].clone()).next()
        };
        let page = api.until("/approvals?status=pending", |page| mine(page).is_some()).await;
        let id = mine(&page).unwrap().as_str().unwrap().to_owned();
        let body = json!({ "by": "cfo@example.com", "comment": "fine" });
        let decided = api.post(&format!("/approvals/{id}/{verb}"), body.clone()).await.expect(200);
        assert_eq!(decided["run_id"], run.as_str());
        let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == status).await;
        if verb == "approve" {
            assert_eq!(ended["output"]["comment"], "fine");
        } else {
            assert_eq!(ended["error"]["code"], "approval_rejected");
        }
        let again = api.post(&format!("/approvals/{id}/{verb}"), body.clone()).await.expect(200);
        assert_eq!(again, decided, "what was decided is decided, and said again");
        let other = if verb == "approve" { "reject" } else { "approve" };
        let otherwise = api.post(&format!("/approvals/{id}/{other}"), body).await;
        assert_eq!(otherwise.status, 409, "{}", otherwise.body);
    }
    api.get("/approvals?status=nope").await.problem(400, "invalid_query");
}

pub async fn a_task_is_worked(api: Api) {
    let document = "name: work\nsteps:\n  - id: do\n    type: task\n    with: { queue: q, input: { n: 7 } }\noutput: ${{ steps.do.output }}\n";
    api.deploy("work", document).await;
    let run = api.start_run("work", json!({})).await;
    let claim = json!({ "queues": ["q"], "worker": "w1", "max": 10, "wait": "20s" });
    let claimed = api.post("/tasks/claim", claim.clone()).await.expect(200);
    let task = &claimed["tasks"][0];
    assert_eq!((&task["run_id"], &task["input"]), (&json!(run), &json!({ "n": 7 })));
    let listed = api.get("/tasks?queue=q&status=claimed").await.expect(200);
    assert_eq!(listed["items"][0]["id"], task["id"]);
    let path = format!("/tasks/{}", task["id"].as_str().unwrap());
    let beat = api.post(&format!("{path}/heartbeat"), json!({ "token": task["token"] })).await.expect(200);
    assert_eq!(beat["stop"], false);
    let wrong = json!({ "token": "01890000-0000-7000-8000-000000000000", "output": 1 });
    assert!(api.post(&format!("{path}/complete"), wrong).await.status.is_client_error());
    let answer = json!({ "token": task["token"], "output": { "done": true } });
    let answered = api.post(&format!("{path}/complete"), answer.clone()).await.expect(200);
    assert_eq!(answered, json!({ "id": task["id"], "status": "completed" }));
    let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == "completed").await;
    assert_eq!(ended["output"], json!({ "done": true }));
    assert_eq!(api.post(&format!("{path}/complete"), answer).await.expect(200), answered);
    let otherwise = json!({ "token": task["token"], "output": { "done": false } });
    assert_eq!(api.post(&format!("{path}/complete"), otherwise).await.status, 409);

    let run = api.start_run("work", json!({})).await;
    let claimed = api.post("/tasks/claim", claim).await.expect(200);
    let task = &claimed["tasks"][0];
    let path = format!("/tasks/{}", task["id"].as_str().unwrap());
    let answer = json!({ "token": task["token"], "error": { "code": "no_paper", "message": "out of paper" } });
    api.post(&format!("{path}/fail"), answer).await.expect(200);
    let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == "failed").await;
    assert_eq!((&ended["error"]["class"], &ended["error"]["code"]), (&json!("user"), &json!("no_paper")));
    // A worker can show its claim by its name, and say what failed in a word.
    let run = api.start_run("work", json!({})).await;
    let claimed = api.post("/tasks/claim", json!({ "queues": ["q"], "worker": "w1", "wait": "20s" })).await.expect(200);
    let path = format!("/tasks/{}", claimed["tasks"][0]["id"].as_str().unwrap());
    api.post(&format!("{path}/heartbeat"), json!({ "worker": "w1" })).await.expect(200);
    assert_eq!(api.post(&format!("{path}/complete"), json!({ "worker": "w2", "output": 1 })).await.status, 409);
    api.post(&format!("{path}/fail"), json!({ "worker": "w1", "error": "out of ink" })).await.expect(200);
    let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == "failed").await;
    assert_eq!((&ended["error"]["code"], &ended["error"]["message"]), (&json!("task_failed"), &json!("out of ink")));

    let nothing = api.post("/tasks/claim", json!({ "queues": ["empty"], "worker": "w" })).await.expect(200);
    assert_eq!(nothing, json!({ "tasks": [] }));
}

pub async fn an_event_wakes_a_run(api: Api) {
    let document = "name: hear\nsteps:\n  - id: e\n    type: event\n    with: { type: com.shop.paid, subject: A-1 }\noutput: ${{ steps.e.output.data }}\n";
    api.deploy("hear", document).await;
    let run = api.start_run("hear", json!({})).await;
    api.until(&format!("/runs/{run}"), |it| it["status"] == "waiting").await;
    let event = |subject: &str, id: &str| {
        let body = json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": "com.shop.paid", "subject": subject, "data": 7 });
        let request = api.request(Method::POST, "/events").header("content-type", "application/cloudevents+json");
        send(request.body(body.to_string()))
    };
    event("A-2", "1").await.expect(202);
    event("A-1", "2").await.expect(202);
    assert_eq!(event("A-1", "2").await.expect(202)["duplicate"], true);
    let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == "completed").await;
    assert_eq!(ended["output"], 7);

    let run = api.start_run("hear", json!({})).await;
    let request = api.request(Method::POST, "/events").header("content-type", "application/json");
    let request = request.header("ce-specversion", "1.0").header("ce-id", "3").header("ce-source", "/shop");
    let request = request.header("ce-type", "com.shop.paid").header("ce-subject", "A-1");
    send(request.body("{\"paid\":true}")).await.expect(202);
    let ended = api.until(&format!("/runs/{run}"), |it| it["status"] == "completed").await;
    assert_eq!(ended["output"], json!({ "paid": true }));
    let bad = api.post("/events", json!({ "specversion": "1.0" })).await;
    assert_eq!(bad.problem(422, "invalid_event")["errors"].as_array().unwrap().len(), 3);
}
