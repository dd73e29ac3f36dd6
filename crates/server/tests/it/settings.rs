//! Settings over HTTP.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;
use windlass_store::{Actor, SettingLayer};

use crate::harness::{Answer, Api, send};

async fn put(api: &Api, name: &str, body: Value) -> Answer {
    send(api.request(Method::PUT, &format!("/settings/{name}")).json(&body)).await
}

pub async fn settings_are_chosen_in_layers(api: Api) {
    let list = api.get("/settings").await.expect(200);
    let items = list["items"].as_array().unwrap();
    assert!(items.len() >= 20);
    assert_eq!(
        api.get("/settings?limit=1").await.expect(200)["items"].as_array().unwrap().len(),
        items.len(),
        "no pages"
    );
    assert!(items.iter().all(|it| it["source"] == "built_in" && it["value"] == it["built_in"]), "{list}");
    let get = async |name: &str| api.get(&format!("/settings/{name}")).await.expect(200);
    let standing = |it: &Value| (it["value"].as_u64().unwrap(), it["source"].as_str().unwrap().to_owned());
    assert_eq!(standing(&get("events_days").await), (30, "built_in".to_owned()));

    // A tenant chooses what is kept of it, at once.
    let chosen = put(&api, "events_days", json!({ "value": 9 })).await.expect(200);
    assert_eq!(standing(&chosen), (9, "tenant".to_owned()));
    let installation = Actor::from(TenantKey::DEFAULT);
    api.store.put_setting(installation.clone(), (SettingLayer::Installation, "events_days"), json!(5)).await.unwrap();
    api.store.put_setting(installation.clone(), (SettingLayer::Installation, "requests_max"), json!(77)).await.unwrap();
    assert_eq!(standing(&get("events_days").await), (9, "tenant".to_owned()), "the tenant's counts");
    let theirs = api.tenant("theirs").await;
    let theirs = send(api.bare(Method::GET, "/api/v1/settings/events_days").bearer_auth(&theirs)).await.expect(200);
    assert_eq!(standing(&theirs), (5, "database".to_owned()), "another tenant has the installation's");
    // What is the machine's is nothing to them.
    let machine = async |path: &str| send(api.bare(Method::GET, path).bearer_auth("a-token-for-theirs")).await;
    machine("/api/v1/settings/audit_archive").await.problem(404, "not_found");
    let all = machine("/api/v1/settings").await.expect(200);
    assert!(all["items"].as_array().unwrap().iter().all(|it| it["per_tenant"] == true), "{all}");
    send(api.request(Method::DELETE, "/settings/events_days")).await.expect(204);
    assert_eq!(standing(&get("events_days").await), (5, "database".to_owned()));
    send(api.request(Method::DELETE, "/settings/events_days")).await.problem(404, "not_found");
    // What needs a start is told, and not in effect.
    let waiting = get("requests_max").await;
    assert_eq!((standing(&waiting).1, &waiting["next_start"]), ("built_in".to_owned(), &json!(77)));

    // What may not be is refused.
    put(&api, "requests_max", json!({ "value": 5 })).await.problem(409, "not_a_tenants_setting");
    put(&api, "lanes", json!({ "value": 5, "layer": "database" })).await.problem(409, "not_in_the_database");
    put(&api, "events_days", json!({ "value": 5, "layer": "database" })).await.problem(403, "forbidden");
    put(&api, "events_days", json!({ "value": 5, "layer": "moon" })).await.problem(400, "invalid_query");
    put(&api, "events_days", json!({ "value": 100_001 })).await.problem(422, "invalid_input");
    for body in [
        json!({ "value": -1 }),
        json!({ "value": "5" }),
        json!({ "value": 1.5 }),
        json!({}),
        json!({ "value": 1, "x": 1 }),
    ] {
        let refused = put(&api, "events_days", body.clone()).await;
        assert!(matches!(refused.status.as_u16(), 400 | 422), "{body}: {}", refused.body);
    }
    put(&api, "nope", json!({ "value": 5 })).await.problem(404, "not_found");
    assert_eq!(standing(&get("events_days").await), (5, "database".to_owned()));

    let audit = api.get("/audit-entries?record=setting_values&sort=id").await.expect(200);
    let told: Vec<(&str, &str)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["action"].as_str().unwrap(), it["subject"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("set", "events_days"), ("set", "events_days"), ("set", "requests_max"), ("unset", "events_days")]
    );
}

pub async fn settings_are_of_several_kinds(api: Api) {
    let list = api.get("/settings").await.expect(200);
    let all = list["items"].as_array().unwrap();
    for category in ["execution", "storage", "security", "network", "integrations", "ai", "ui", "developer"] {
        assert!(all.iter().any(|it| it["category"] == category), "{category}");
    }
    for kind in ["number", "switch", "text", "choice", "list"] {
        assert!(all.iter().any(|it| it["kind"] == kind), "{kind}");
    }
    let session = api.get("/settings/session_hours").await.expect(200);
    assert_eq!((&session["unit"], &session["least"], &session["most"]), (&json!("hours"), &json!(1), &json!(720)));
    let format = api.get("/settings/log_format").await.expect(200);
    assert_eq!((&format["choices"], &format["least"]), (&json!(["text", "json"]), &Value::Null));

    let off = put(&api, "password_sign_in", json!({ "value": false })).await.expect(200);
    assert_eq!((&off["value"], &off["source"]), (&json!(false), &json!("tenant")));
    for value in [json!(0), json!("off"), json!([false]), json!({}), Value::Null] {
        let refused = put(&api, "password_sign_in", json!({ "value": value })).await.problem(422, "invalid_input");
        assert_eq!(refused["errors"][0]["pointer"], "/value", "{refused}");
    }
    assert_eq!(api.get("/settings/password_sign_in").await.expect(200)["value"], false, "nothing was written");

    // What holds for the installation is chosen on its machine, and read by every server: text and lists as well.
    let installation = Actor::from(TenantKey::DEFAULT);
    for (name, value) in [("log", json!("info,windlass_runtime=debug")), ("private_networks", json!(["10.1.0.0/16"]))] {
        if name == "log" {
            put(&api, name, json!({ "value": value })).await.problem(409, "not_a_tenants_setting");
        }
        put(&api, name, json!({ "value": value, "layer": "database" })).await.problem(403, "forbidden");
        let name = windlass_server::settings::Setting::named(name).unwrap().name;
        api.store.put_setting(installation.clone(), (SettingLayer::Installation, name), value).await.unwrap();
    }
    let log = api.get("/settings/log").await.expect(200);
    assert_eq!((&log["value"], &log["source"]), (&json!("info,windlass_runtime=debug"), &json!("database")));
    let networks = api.get("/settings/private_networks").await.expect(200);
    assert_eq!((&networks["value"], &networks["source"]), (&json!(["10.1.0.0/16"]), &json!("database")));
    // What takes effect at the next start is shown beside what the server works with.
    let name = windlass_server::settings::Setting::named("installation_name").unwrap().name;
    api.store.put_setting(installation, (SettingLayer::Installation, name), json!("Ours")).await.unwrap();
    let named = api.get("/settings/installation_name").await.expect(200);
    assert_eq!((&named["value"], &named["next_start"]), (&json!("Windlass"), &json!("Ours")));

    let audit = api.get("/audit-entries?record=setting_values&sort=id").await.expect(200);
    let changes: Vec<&Value> =
        audit["items"].as_array().unwrap().iter().map(|it| &it["changes"]["value"]["to"]).collect();
    let log = json!("info,windlass_runtime=debug");
    assert_eq!(changes, [&json!(false), &log, &json!(["10.1.0.0/16"]), &json!("Ours")]);
}
