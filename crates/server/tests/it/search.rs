//! `?q=`: workflows and runs by their words.

use serde_json::{Value, json};

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
    let page = api.until("/runs?q=parcel%20trk-08*", |page| page["items"].as_array().unwrap().len() == 2).await;
    assert_eq!((&page["items"][0]["id"], &page["items"][1]["id"]), (&other["id"], &json!(run)));
    let millisecond = |time: &Value| time.as_str().map(|it| it[..23].to_owned());
    assert!(millisecond(&page["searched_until"]) >= millisecond(&other["created_at"]), "{page}");
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
