//! Server-sent events: everything once, in order, resumable, and an end.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Api, send};

pub async fn a_stream_tells_all_and_ends(api: Api) {
    let document = "name: order\nsteps:\n  - id: first\n    type: transform\n    with: { value: 1 }\n  - id: go\n    type: wait\n    \
                    with: { signal: go }\n  - id: last\n    type: transform\n    with: { value: 2 }\n";
    api.deploy("order", document).await;
    let run = api.start_run("order", json!({})).await;
    let live = {
        let request = api.request(Method::GET, &format!("/runs/{run}/events")).header("accept", "text/event-stream");
        tokio::spawn(send(request))
    };
    api.until(&format!("/runs/{run}"), |it| it["status"] == "waiting").await;
    api.post(&format!("/runs/{run}/signals/go"), json!(7)).await.expect(202);
    // It ends by itself, with the run.
    let live = live.await.unwrap();
    assert_eq!(live.header("content-type"), "text/event-stream");
    let again = send(api.request(Method::GET, &format!("/runs/{run}/events"))).await;
    let journal = api.get(&format!("/runs/{run}/journal")).await.expect(200);
    let count = journal["items"].as_array().unwrap().len();
    let all: Vec<String> = (1..=count).map(|seq| seq.to_string()).collect();
    assert_eq!(ids(&live.body), all);
    assert_eq!(ids(&again.body), all);
    assert!(again.body.contains("event: finished"), "{}", again.body);
    let resumed = send(api.request(Method::GET, &format!("/runs/{run}/events")).header("last-event-id", "2")).await;
    assert_eq!(ids(&resumed.body), all[2..]);
    let nothing_left = send(api.request(Method::GET, &format!("/runs/{run}/events?after={count}"))).await;
    assert_eq!(ids(&nothing_left.body), [""; 0]);
    let bad = send(api.request(Method::GET, &format!("/runs/{run}/events")).header("last-event-id", "x")).await;
    bad.problem(400, "invalid_event_id");
    api.get("/runs/01890000-0000-7000-8000-000000000000/events").await.problem(404, "not_found");
}

fn ids(body: &str) -> Vec<&str> {
    body.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}
