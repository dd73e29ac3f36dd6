//! A second factor that a tenant asks its members for.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;
use windlass_store::{Actor, SettingLayer};

use crate::{
    harness::{Answer, Api, send},
    identity::{PASSWORD, administrator, come, member, member_id, second_factor, token_of, with},
};

const SETTING: &str = "/settings/second_factor_required";
/// What is open without one: to see who one is, to set it up, and to sign out.
const OPEN: [&str; 5] = ["/me", "/me/second-factor", "/me/second-factor/confirm", "/sign-out", "/sign-out/everywhere"];

pub async fn require(api: &Api, who: &str, value: bool) -> Answer {
    with(api, who, (Method::PUT, SETTING), Some(json!({ "value": value }))).await
}

/// An administrator of the tenant who has a second factor and asks the others for one.
pub async fn asking(api: &Api, admin: &str) -> String {
    let keeper = member(api, admin, ("keeper@example.org", "tenant_admin")).await;
    second_factor(api, &keeper).await;
    require(api, &keeper, true).await.expect(200);
    keeper
}

async fn ask(api: &Api, who: &str, path: &str) -> Answer {
    with(api, who, (Method::GET, path), None).await
}

pub async fn who_has_no_second_factor_may_only_set_one_up(api: Api) {
    let admin = administrator(&api).await;
    let grace = member(&api, &admin, ("grace@example.org", "tenant_admin")).await;
    let made = json!({ "name": "ci", "scopes": ["workflows.read"] });
    let made = with(&api, &grace, (Method::POST, "/api-keys"), Some(made)).await.expect(201);
    let key = made["key"].as_str().unwrap();
    let theirs = api.tenant("theirs").await;
    let linus = member(&api, &theirs, ("linus@example.org", "viewer")).await;
    assert_eq!(ask(&api, &grace, "/me").await.expect(200)["second_factor_required"], false);
    let keeper = asking(&api, &admin).await;

    let document = serde_json::to_value(windlass_server::document()).unwrap();
    let (mut refused, mut open) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let of_api = path.strip_prefix("/api/v1").unwrap_or(path);
        let part = |part: &str| if part.starts_with('{') { uuid::Uuid::now_v7().to_string() } else { part.to_owned() };
        let address = path.split('/').map(part).collect::<Vec<_>>().join("/");
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"][0]["token"].is_null() {
                continue;
            }
            if OPEN.contains(&of_api) {
                open += 1;
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let problem = send(api.bare(method, &address).bearer_auth(&grace)).await;
            let problem = problem.problem(403, "second_factor_needed");
            for said in ["windlass second-factor begin", "/api/v1/me/second-factor", "windlass users link"] {
                assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
            }
            refused += 1;
        }
    }
    assert!(open == OPEN.len() && refused > 150, "{open} {refused}");
    let call = api.bare(Method::POST, "/mcp").bearer_auth(&grace).json(&json!({}));
    send(call.header("accept", "application/json, text/event-stream")).await.problem(403, "second_factor_needed");
    let me = ask(&api, &grace, "/me").await.expect(200);
    assert_eq!((&me["second_factor"], &me["second_factor_required"]), (&json!(false), &json!(true)));

    // Programs go on, people with a second factor too, and other tenants.
    for token in [key, crate::harness::TOKEN, &keeper, &linus, &theirs] {
        ask(&api, token, "/workflows").await.expect(200);
    }
    // Whoever signs in now is asked as well, and can leave.
    let body = json!({ "email": "grace@example.org", "password": PASSWORD });
    let again = token_of(&come(&api, "/sign-in", body).await.expect(200));
    ask(&api, &again, "/workflows").await.problem(403, "second_factor_needed");
    with(&api, &again, (Method::POST, "/sign-out"), None).await.expect(204);
    ask(&api, &again, "/me").await.problem(401, "unauthorized");

    // One that was only begun is none; with a code of it the session goes on, and without it no more.
    let password = Some(json!({ "password": PASSWORD }));
    with(&api, &grace, (Method::POST, "/me/second-factor"), password).await.expect(201);
    ask(&api, &grace, "/workflows").await.problem(403, "second_factor_needed");
    let (_, recovery) = second_factor(&api, &grace).await;
    ask(&api, &grace, "/workflows").await.expect(200);
    let end = json!({ "password": PASSWORD, "code": recovery[0] });
    with(&api, &grace, (Method::POST, "/me/second-factor/end"), Some(end)).await.expect(204);
    ask(&api, &grace, "/workflows").await.problem(403, "second_factor_needed");
    require(&api, &grace, false).await.problem(403, "second_factor_needed");
    require(&api, &keeper, false).await.expect(200);
    ask(&api, &grace, "/workflows").await.expect(200);
    let audit = api.get("/audit-entries?record=setting_values&sort=id").await.expect(200);
    let told: Vec<(&Value, &Value)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["created_by"], &it["changes"]["value"]["to"]))
        .collect();
    let keeper = json!("person:keeper@example.org");
    assert_eq!(told, [(&keeper, &json!(true)), (&keeper, &json!(false))], "{audit}");
}

pub async fn who_asks_for_a_second_factor_has_one(api: Api) {
    let admin = administrator(&api).await;
    let keeper = member(&api, &admin, ("keeper@example.org", "tenant_admin")).await;
    let refused = require(&api, &keeper, true).await.problem(409, "second_factor_needed");
    assert!(refused["detail"].as_str().unwrap().contains("windlass second-factor begin"), "{refused}");
    let password = Some(json!({ "password": PASSWORD }));
    with(&api, &keeper, (Method::POST, "/me/second-factor"), password).await.expect(201);
    require(&api, &keeper, true).await.problem(409, "second_factor_needed");
    require(&api, &keeper, false).await.expect(200);
    // Nor by taking back what keeps it off.
    let everywhere = (SettingLayer::Installation, "second_factor_required");
    api.store.put_setting(Actor::from(TenantKey::DEFAULT), everywhere, json!(true)).await.unwrap();
    with(&api, &keeper, (Method::DELETE, SETTING), None).await.problem(409, "second_factor_needed");
    ask(&api, &keeper, "/workflows").await.expect(200);
    second_factor(&api, &keeper).await;
    with(&api, &keeper, (Method::DELETE, SETTING), None).await.expect(204);
    require(&api, &keeper, true).await.expect(200);
    ask(&api, &keeper, "/workflows").await.expect(200);
    ask(&api, &admin, "/workflows").await.problem(403, "second_factor_needed");
}

pub async fn who_acts_in_anothers_name_shows_his_own_second_factor(api: Api) {
    let admin = administrator(&api).await;
    member(&api, &admin, ("grace@example.org", "viewer")).await;
    let path = format!("/members/{}/impersonate", member_id(&api, "grace@example.org").await);
    let act = async |who: &str| {
        let body = Some(json!({ "reason": "ticket 7" }));
        token_of(&with(&api, who, (Method::POST, &path), body).await.expect(201))
    };
    let without = act(&admin).await;
    ask(&api, &without, "/workflows").await.expect(200);
    let keeper = asking(&api, &admin).await;
    ask(&api, &without, "/workflows").await.problem(403, "second_factor_needed");
    with(&api, &admin, (Method::POST, &path), None).await.problem(403, "second_factor_needed");
    ask(&api, &act(&keeper).await, "/workflows").await.expect(200);
}
