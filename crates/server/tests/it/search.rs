//! `?q=`: workflows and runs by their words.

use serde_json::{Value, json};
use windlass_engine::id::RunId;

use crate::harness::Api;

const ORDER: &str = "name: order\ndescription: Takes money.\nsteps:\n  - id: charge_card\n    type: transform\n    with: { value: { tracking: Parcel TRK-0815 } }\n\
                     output: '${{ steps.charge_card.output }}'\n";
const REFUND: &str = "name: refund\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect()
}

pub async fn workflows_and_runs_are_found_by_words(api: Api) {
    api.deploy("order", ORDER).await;
    api.deploy("refund", REFUND).await;
    for (q, expected) in [
        ("charge", vec!["order"]),
        ("MONEY%20card", vec!["order"]),
        ("transform", vec!["order", "refund"]),
        ("re*", vec!["refund"]),
        ("money%20refund", vec![]),
    ] {
        let page = api.get(&format!("/workflows?q={q}")).await.expect(200);
        assert_eq!(names(&page), expected, "{q}");
    }

    let run = api.start_run("order", json!({})).await;
    let body = json!({ "input": {}, "key": "cust-7", "labels": { "team": "blue" } });
    let other = api.post("/workflows/order/runs?wait=30s", body).await.expect(200);
    // A page may show more than it promises: how far was searched is asked before the runs are.
    let last: RunId = other["id"].as_str().unwrap().parse().unwrap();
    let searched_until = json!(last.made_at().to_string());
    let page = api.until("/runs?q=parcel%20trk-08*", |page| page["searched_until"] == searched_until).await;
    let found: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
    assert_eq!(found, [&other["id"], &json!(run)]);
    for (query, expected) in [
        ("q=cust-7", vec![&other["id"]]),
        ("q=parcel&label=team:blue", vec![&other["id"]]),
        ("q=parcel&status=failed", vec![]),
        ("q=parcel&workflow=refund", vec![]),
    ] {
        let page = api.get(&format!("/runs?{query}")).await.expect(200);
        let found: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
        assert_eq!(found, expected, "{query}");
    }
    let first = api.get("/runs?q=parcel&limit=1").await.expect(200);
    let after = first["next"].as_str().unwrap();
    let second = api.get(&format!("/runs?q=parcel&limit=1&after={after}")).await.expect(200);
    assert_eq!((&second["items"][0]["id"], &second["next"]), (&json!(run), &Value::Null));
    assert!(api.get("/runs").await.expect(200).get("searched_until").is_none(), "nobody searched");

    for list in ["/runs", "/workflows"] {
        for (q, message) in [
            ("", "has no letter and no digit to look for"),
            ("-", "has no letter and no digit to look for"),
            ("t*", "must have at least 2 letters or digits before `*`"),
            ("1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17", "must be at most 16 words"),
        ] {
            let refused = api.get(&format!("{list}?q={q}")).await.problem(422, "invalid_input");
            assert_eq!(refused["errors"], json!([{ "pointer": "/q", "message": message }]), "{list}?q={q}");
        }
    }
}
