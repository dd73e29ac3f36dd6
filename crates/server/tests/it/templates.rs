//! Templates: marked, found, and copied by those who may.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_engine::id::TenantKey;

use crate::{
    harness::{Answer, Api, send},
    identity::{administrator, member, member_id, with},
    records::{THEIRS, other_tenant, token},
};

/// With all that a printer would lose.
const WELCOME: &str = "# for everybody\nname: welcome   # the name\nsteps:\n  - type: transform\n    id: say   # the id comes last\n    with: { value: hello }\n    position: { x: 1, y: 2 }\n";

async fn patch(api: &Api, (name, revision): (&str, Option<&str>), body: Value) -> Answer {
    let request = api.request(Method::PATCH, &format!("/workflows/{name}")).json(&body);
    send(match revision {
        Some(revision) => request.header("if-match", format!("\"{revision}\"")),
        None => request,
    })
    .await
}

async fn listed(api: &Api, query: &str) -> Vec<String> {
    let page = api.get(&format!("/workflows{query}")).await.expect(200);
    page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

pub async fn a_template_is_marked_found_and_copied(api: Api) {
    api.deploy("welcome", WELCOME).await;
    api.put("other", "name: other\nsteps: []\n").await.expect(201);
    let before = api.get("/workflows/welcome").await.expect(200);
    assert_eq!(
        [&before["is_template"], &before["template_category"], &before["made_from"]],
        [&json!(false), &json!(null), &json!(null)]
    );

    patch(&api, ("welcome", Some("7")), json!({ "is_template": true })).await.problem(412, "revision_mismatch");
    let category = json!({ "template_category": "greetings" });
    patch(&api, ("welcome", None), category.clone()).await.problem(422, "invalid_input");
    let marked = json!({ "is_template": true, "template_category": "greetings" });
    let marked = patch(&api, ("welcome", Some("1")), marked).await;
    assert_eq!(marked.header("etag"), "\"2\"");
    let marked = marked.expect(200);
    assert_eq!((&marked["is_template"], &marked["template_category"]), (&json!(true), &json!("greetings")));
    assert_eq!((&marked["updated_at"], &marked["source"]), (&before["updated_at"], &json!(WELCOME)));
    assert_eq!(patch(&api, ("welcome", None), category).await.expect(200)["revision"], 2, "it is so already");
    patch(&api, ("other", None), json!({ "is_template": true })).await.expect(200);

    for (query, names) in [
        ("?template=true", &["other", "welcome"][..]),
        ("?template=true&category=greetings", &["welcome"]),
        ("?category=greetings", &["welcome"]),
        ("?category=none", &[]),
        ("?template=true&q=hello", &["welcome"]),
        ("?template=false", &[]),
        ("?template=false&category=greetings", &[]),
    ] {
        assert_eq!(listed(&api, query).await, names, "{query}");
    }
    let run = api.post("/workflows/welcome/runs?wait=30s", json!({})).await.expect(200);
    assert_eq!(run["output"], "hello", "it runs as before");

    let made = api.post("/workflows/welcome/copies", json!({ "name": "hi" })).await;
    assert_eq!((made.header("location"), made.header("etag")), ("/api/v1/workflows/hi", "\"1\""));
    let made = made.expect(201);
    assert_eq!(made["source"], WELCOME.replace("name: welcome", "name: hi"));
    assert_eq!(made["made_from"], json!({ "workflow": "welcome", "version": 1 }));
    assert_eq!((&made["version"], &made["is_template"]), (&json!(null), &json!(false)), "a draft, and no template");
    assert_eq!(listed(&api, "?template=false").await, ["hi"]);
    assert_eq!(listed(&api, "?q=hi").await, ["hi"], "its words are written");

    // A version, a draft that was never published, a folder.
    api.put("welcome", &WELCOME.replace("hello", "hello there")).await.expect(200);
    api.post("/workflows/welcome/publish", json!({})).await.expect(200);
    let folder = api.post("/folders", json!({ "name": "Mine" })).await.expect(201);
    for (of, body, version, value) in [
        ("welcome", json!({ "name": "first", "version": 1, "folder": folder["id"] }), json!(1), "hello }"),
        ("welcome", json!({ "name": "newest" }), json!(2), "hello there }"),
        ("hi", json!({ "name": "again" }), json!(null), "hello }"),
    ] {
        let made = api.post(&format!("/workflows/{of}/copies"), body.clone()).await.expect(201);
        assert_eq!(made["made_from"], json!({ "workflow": of, "version": version }), "{body}");
        assert!(made["source"].as_str().unwrap().contains(value), "{made}");
    }
    assert_eq!(listed(&api, &format!("?folder={}", folder["id"].as_str().unwrap())).await, ["first"]);

    // Changed, deleted and restored, it is still known what it was made from; what is no template has no category.
    let changed = WELCOME.replace("name: welcome", "name: hi").replace("hello", "hullo");
    api.put("hi", &changed).await.expect(200);
    send(api.request(Method::DELETE, "/workflows/hi")).await.expect_text(204);
    patch(&api, ("hi", None), json!({ "is_template": true })).await.problem(404, "not_found");
    api.post("/workflows/hi/copies", json!({ "name": "hi-2" })).await.problem(404, "not_found");
    let restored = send(api.request(Method::POST, "/workflows/hi/restore")).await.expect(200);
    assert_eq!(restored["made_from"], json!({ "workflow": "welcome", "version": 1 }));
    let ordinary = patch(&api, ("welcome", None), json!({ "is_template": false })).await.expect(200);
    assert_eq!((&ordinary["is_template"], &ordinary["template_category"]), (&json!(false), &json!(null)));

    let entries = api.get("/audit-entries?record=workflows&subject=hi&action=copy").await.expect(200);
    let [entry] = &entries["items"].as_array().unwrap()[..] else { panic!("{entries}") };
    assert_eq!(entry["changes"]["made_from"]["to"], json!({ "workflow": "welcome", "version": 1 }));
    let entries =
        api.get("/audit-entries?record=workflows&subject=welcome&action=update&sort=created_at").await.expect(200);
    let told: Vec<&Value> =
        entries["items"].as_array().unwrap().iter().map(|it| &it["changes"]["template_category"]).collect();
    assert_eq!(told, [&json!({ "from": null, "to": "greetings" }), &json!({ "from": "greetings", "to": null })]);
}

pub async fn what_is_wrong_makes_no_copy(api: Api) {
    api.deploy("welcome", WELCOME).await;
    api.put("gone", "name: gone\nsteps: []\n").await.expect(201);
    send(api.request(Method::DELETE, "/workflows/gone")).await.expect_text(204);
    let nowhere = "019aa7d0-0000-7000-8000-000000000001";
    for (of, body, status, code) in [
        ("none", json!({ "name": "a" }), 404, "not_found"),
        ("welcome", json!({ "name": "a", "version": 2 }), 404, "not_found"),
        ("welcome", json!({ "name": "welcome" }), 409, "taken"),
        ("welcome", json!({ "name": "gone" }), 409, "workflow_deleted"),
        ("welcome", json!({ "name": "No Name" }), 422, "invalid_input"),
        ("welcome", json!({ "name": "" }), 422, "invalid_input"),
        ("welcome", json!({ "name": "a", "folder": nowhere }), 422, "invalid_input"),
        ("welcome", json!({ "name": "a", "with": 1 }), 422, "invalid_body"),
        ("welcome", json!({}), 422, "invalid_body"),
    ] {
        let refused = api.post(&format!("/workflows/{of}/copies"), body.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str().unwrap()), (status, code), "{body}");
    }
    for body in [
        json!({ "is_template": true, "template_category": "" }),
        json!({ "is_template": true, "template_category": "x".repeat(101) }),
        json!({ "is_template": true, "template_category": "a\u{7}" }),
        json!({ "is_template": false, "template_category": "a" }),
    ] {
        patch(&api, ("welcome", None), body).await.problem(422, "invalid_input");
    }
    assert_eq!(listed(&api, "").await, ["welcome"]);
    assert_eq!(api.get("/workflows/welcome").await.expect(200)["revision"], 1);

    // Two at once make one.
    let both = [(); 2].map(|()| api.post("/workflows/welcome/copies", json!({ "name": "twin" })));
    let mut told: Vec<u16> = futures::future::join_all(both).await.iter().map(|it| it.status.as_u16()).collect();
    told.sort_unstable();
    assert_eq!(told, [201, 409]);
    assert_eq!(api.get("/workflows/twin").await.expect(200)["revision"], 1);
}

pub async fn a_copy_is_made_by_who_sees_and_writes(api: Api) {
    let admin = administrator(&api).await;
    let document = |name: &str, secret: &str| {
        format!(
            "name: {name}\nsteps:\n  - {{ id: a, type: http, with: {{ url: 'https://a.example', headers: {{ K: '{secret}' }} }} }}\n"
        )
    };
    let mut folders = Vec::new();
    for (name, workflow, secret) in [("Mine", "mine", "${{ secrets.k }}"), ("Theirs", "theirs", "v")] {
        let folder = api.post("/folders", json!({ "name": name })).await.expect(201)["id"].clone();
        let path = format!("/workflows/{workflow}?folder={}", folder.as_str().unwrap());
        let request = api.request(Method::PUT, &path).header("content-type", "application/yaml");
        send(request.body(document(workflow, secret))).await.expect(201);
        folders.push(folder);
    }
    // A builder in the one folder copies within it, and neither from the other nor to it; nor what uses secrets.
    let builder = member(&api, &admin, ("ada@example.org", "guest")).await;
    let role = api.get("/roles?name=builder").await.expect(200)["items"][0]["id"].clone();
    let id = member_id(&api, "ada@example.org").await;
    let given = json!({ "member_id": id, "role_id": role, "folder_id": folders[0] });
    api.post("/role-assignments", given).await.expect(201);
    let path = format!("/workflows/plain?folder={}", folders[0].as_str().unwrap());
    let request = api.request(Method::PUT, &path).header("content-type", "application/yaml");
    send(request.body(document("plain", "v"))).await.expect(201);
    for (of, folder, status) in [
        ("plain", &folders[0], 201),
        ("plain", &folders[1], 404),
        ("theirs", &folders[0], 404),
        ("mine", &folders[0], 403),
    ] {
        let body = json!({ "name": format!("{of}-{status}"), "folder": folder });
        let answer = with(&api, &builder, (Method::POST, &format!("/workflows/{of}/copies")), Some(body)).await;
        assert_eq!(answer.status.as_u16(), status, "{of}: {}", answer.body);
    }
    let made = with(&api, &builder, (Method::GET, "/workflows"), None).await.expect(200);
    let names: Vec<&str> = made["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mine", "plain", "plain-201"]);

    // Whoever may not read copies nothing, and neither does another tenant.
    token(&api, TenantKey::DEFAULT, "a-writer", &["workflows.write"]).await;
    other_tenant(&api).await;
    for bearer in ["a-writer", THEIRS] {
        for (method, path, body) in [
            (Method::POST, "/workflows/plain/copies", json!({ "name": "a" })),
            (Method::PATCH, "/workflows/plain", json!({ "is_template": true })),
        ] {
            let sees = bearer == THEIRS || method == Method::POST;
            let answer = with(&api, bearer, (method, path), Some(body)).await;
            assert_eq!(answer.status.as_u16(), if sees { 404 } else { 200 }, "{bearer} {path}: {}", answer.body);
        }
    }
}
