//! People of one tenant act in another, in their own names, as long as both let them.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_store::Dialect;

use crate::{
    harness::{Api, send},
    identity::{administrator, member, with},
};

const DOCUMENT: &str = "name: order\nsteps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n";

/// The first tenant, which lets others in, and another one with somebody who comes from there.
struct Two {
    /// An administrator of the first tenant.
    admin: String,
    /// A key of the other tenant that may do everything there.
    key: String,
    /// An administrator of the other tenant.
    grace: String,
}

async fn two(api: &Api) -> Two {
    let admin = administrator(api).await;
    let key = api.tenant("helpers").await;
    let grace = member(api, &key, ("grace@helpers.example", "tenant_admin")).await;
    Two { admin, key, grace }
}

fn offer(role: &str) -> Value {
    json!({ "role": role, "reason": "ticket 7", "days": 3 })
}

impl Two {
    /// A delegation that was accepted: its id.
    async fn accepted(&self, api: &Api, role: &str) -> String {
        let offered = with(api, &self.admin, (Method::POST, "/delegations"), Some(offer(role))).await.expect(201);
        let link = json!({ "link": offered["link"] });
        let accepted = with(api, &self.grace, (Method::POST, "/received-delegations"), Some(link)).await.expect(201);
        assert_eq!(accepted["id"], offered["id"]);
        offered["id"].as_str().unwrap().to_owned()
    }
}

async fn enter(api: &Api, who: &str, delegation: &str) -> Value {
    let path = format!("/received-delegations/{delegation}/enter");
    with(api, who, (Method::POST, &path), Some(json!({ "minutes": 30 }))).await.expect(201)
}

fn token(entered: &Value) -> String {
    entered["token"].as_str().unwrap().to_owned()
}

pub async fn people_of_another_tenant_act_in_their_own_names(api: Api) {
    let two = two(&api).await;
    api.deploy("order", DOCUMENT).await;
    let post = async |who: &str, path: &str, body: Value| with(&api, who, (Method::POST, path), Some(body)).await;
    let viewer = member(&api, &two.admin, ("eve@example.org", "viewer")).await;
    post(&viewer, "/delegations", offer("viewer")).await.problem(403, "forbidden");
    for (wrong, pointer) in [
        (json!({ "role": "queen", "reason": "x" }), "/role"),
        (json!({ "role": "operator", "reason": " " }), "/reason"),
        (json!({ "role": "operator", "reason": "x", "days": 0 }), "/days"),
        (json!({ "role": "operator", "reason": "x", "days": 367 }), "/days"),
    ] {
        let refused = post(&two.admin, "/delegations", wrong).await.problem(422, "invalid_input");
        assert_eq!(refused["errors"][0]["pointer"], pointer);
    }
    let keeper = member(&api, &two.admin, ("keeper@example.org", "tenant_admin")).await;
    let more = post(&keeper, "/delegations", offer("system_admin")).await.problem(422, "invalid_input");
    assert!(more["errors"][0]["message"].as_str().unwrap().contains("may not do yourself"), "{more}");

    let offered = post(&keeper, "/delegations", offer("operator")).await.expect(201);
    let link = json!({ "link": offered["link"] });
    post(&two.admin, "/received-delegations", link.clone()).await.problem(409, "oneself");
    let bob = member(&api, &two.key, ("bob@helpers.example", "viewer")).await;
    post(&bob, "/received-delegations", link.clone()).await.problem(403, "forbidden");
    let accepted = post(&two.grace, "/received-delegations", link.clone()).await.expect(201);
    assert_eq!((&accepted["tenant"], &accepted["role"]), (&json!("default"), &json!("operator")));
    post(&two.grace, "/received-delegations", link).await.problem(404, "not_found");
    let received = with(&api, &two.grace, (Method::GET, "/received-delegations"), None).await.expect(200);
    assert_eq!(received["items"], json!([accepted]));
    let given = api.get("/delegations").await.expect(200)["items"][0].clone();
    assert_eq!((&given["status"], &given["to_tenant"]), (&json!("accepted"), &json!("helpers")));
    assert!(given.get("token_hash").is_none() && given.get("to_key").is_none(), "{given}");

    let path = format!("/received-delegations/{}/enter", accepted["id"].as_str().unwrap());
    post(&bob, &path, json!({})).await.problem(403, "forbidden");
    post(&two.key, &path, json!({})).await.problem(409, "no_session");
    post(&two.admin, &path, json!({})).await.problem(404, "not_found");
    for minutes in [0, 481] {
        post(&two.grace, &path, json!({ "minutes": minutes })).await.problem(422, "invalid_input");
    }
    let there = token(&post(&two.grace, &path, json!({})).await.expect(201));
    let me = with(&api, &there, (Method::GET, "/me"), None).await.expect(200);
    let who = "person:grace@helpers.example of helpers";
    assert_eq!((&me["who"], &me["tenant"], &me["tenants"]), (&json!(who), &json!("default"), &json!([])));
    let run = post(&there, "/workflows/order/runs?wait=30s", json!({})).await.expect(200);
    assert_eq!(run["started_by"], json!({ "delegate": { "who": "grace@helpers.example", "of": "helpers" } }));
    for (method, path, status, code) in [
        (Method::PUT, "/workflows/other", 403, "forbidden"),
        (Method::POST, "/invitations", 403, "forbidden"),
        (Method::POST, "/delegations", 403, "forbidden"),
        (Method::POST, "/api-keys", 403, "forbidden"),
        (Method::GET, "/received-delegations", 403, "forbidden"),
        (Method::PUT, "/me/password", 409, "no_session"),
        (Method::GET, "/me/sessions", 409, "no_session"),
        (Method::POST, "/sign-out/everywhere", 409, "no_session"),
    ] {
        let body = match path {
            "/me/password" => Some(json!({ "new": "staple correct horse nine" })),
            _ => None,
        };
        with(&api, &there, (method, path), body).await.problem(status, code);
    }
    // Both tenants can read who came.
    let entered = api.get("/audit-entries?action=enter").await.expect(200);
    assert_eq!((&entered["items"][0]["created_by"], &entered["items"][1]), (&json!(who), &Value::Null));
    let accepts = api.get("/audit-entries?record=delegations&action=accept").await.expect(200);
    assert_eq!(accepts["items"][0]["created_by"], who);
    let theirs = with(&api, &two.key, (Method::GET, "/audit-entries?record=delegations"), None).await.expect(200);
    let actions: Vec<&Value> = theirs["items"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!((actions.len(), theirs["items"][0]["created_by"].as_str()), (2, Some("person:grace@helpers.example")));
    assert!(actions.contains(&&json!("accept")) && actions.contains(&&json!("enter")), "{theirs}");
}

pub async fn a_delegation_lets_nobody_in_to_what_is_personal_or_the_installations(api: Api) {
    let two = two(&api).await;
    let delegation = two.accepted(&api, "system_admin").await;
    let there = token(&enter(&api, &two.grace, &delegation).await);
    let me = with(&api, &there, (Method::GET, "/me"), None).await.expect(200);
    let may = |name: &str| me["permissions"].as_array().unwrap().contains(&json!(name));
    for name in ["workflows.publish", "runs.start", "approvals.decide", "settings.write", "people.read"] {
        assert!(may(name), "{name}");
    }
    for name in ["people.write", "people.delegate", "people.impersonate", "keys.write", "users.read", "tenants.write"] {
        assert!(!may(name), "{name}");
    }
}

pub async fn who_came_by_a_delegation_is_out_when_it_ends(api: Api) {
    let two = two(&api).await;
    let at = |token: &str, method: Method, path: &str| api.bare(method, &format!("/api/v1{path}")).bearer_auth(token);
    let is_in = async |token: &str| send(at(token, Method::GET, "/runs")).await.expect(200);
    let is_out = async |token: &str| send(at(token, Method::GET, "/runs")).await.problem(401, "unauthorized");

    let kept = two.accepted(&api, "viewer").await;
    // He ends his session there, and is at home still.
    let there = token(&enter(&api, &two.grace, &kept).await);
    send(at(&there, Method::POST, "/sign-out")).await.expect(204);
    is_out(&there).await;
    is_in(&two.grace).await;

    // One takes it back, the other gives it back.
    for ends_here in [true, false] {
        let delegation = two.accepted(&api, "viewer").await;
        let there = token(&enter(&api, &two.grace, &delegation).await);
        is_in(&there).await;
        let end = match ends_here {
            true => at(&two.admin, Method::POST, &format!("/delegations/{delegation}/revoke")),
            false => at(&two.grace, Method::DELETE, &format!("/received-delegations/{delegation}")),
        };
        assert!(send(end).await.status.is_success());
        is_out(&there).await;
        let again = at(&two.grace, Method::POST, &format!("/received-delegations/{delegation}/enter"));
        send(again).await.problem(404, "not_found");
        let given = api.get(&format!("/delegations/{delegation}")).await.expect(200);
        assert_eq!(given["status"], "revoked");
    }

    // At home: the session, the right, the membership, the tenant.
    let bob = member(&api, &two.key, ("bob@helpers.example", "tenant_admin")).await;
    let there = token(&enter(&api, &bob, &kept).await);
    is_in(&there).await;
    send(at(&bob, Method::POST, "/sign-out")).await.expect(204);
    is_out(&there).await;

    let theirs = async |path: &str| send(at(&two.key, Method::GET, path)).await.expect(200)["items"][0]["id"].clone();
    let grace = theirs("/members?email=grace@helpers.example").await;
    let there = token(&enter(&api, &two.grace, &kept).await);
    let given = theirs(&format!("/role-assignments?member_id={}", grace.as_str().unwrap())).await;
    let role = theirs("/roles?name=tenant_admin").await;
    send(at(&two.key, Method::DELETE, &format!("/role-assignments/{}", given.as_str().unwrap()))).await.expect(204);
    is_out(&there).await;
    let back = json!({ "member_id": grace, "role_id": role });
    send(at(&two.key, Method::POST, "/role-assignments").json(&back)).await.expect(201);
    is_in(&there).await;
    let suspend = |verb: &str| at(&two.key, Method::POST, &format!("/members/{}/{verb}", grace.as_str().unwrap()));
    send(suspend("suspend")).await.expect(200);
    is_out(&there).await;
    send(suspend("reactivate")).await.expect(200);
    let helpers = api.get("/tenants?slug=helpers").await.expect(200)["items"][0]["id"].clone();
    let tenant =
        async |verb: &str| api.post(&format!("/tenants/{}/{verb}", helpers.as_str().unwrap()), json!({})).await;
    tenant("suspend").await.expect(200);
    is_out(&there).await;
    tenant("resume").await.expect(200);
    is_in(&there).await;
}

/// Lets the database refuse all entries in the audit of a tenant, or takes that back.
async fn refuse_entries(api: &Api, slug: &str, refused: bool) {
    let tenant = api.store.tenant_by_slug(slug).await.unwrap().unwrap().key.0;
    let statements = match (api.store.database().dialect(), refused) {
        (Dialect::Sqlite, true) => vec![format!(
            "create trigger refused before insert on audit_entries when new.tenant_key = {tenant} \
             begin select raise(abort, 'refused'); end"
        )],
        (Dialect::Sqlite, false) => vec!["drop trigger refused".to_owned()],
        (Dialect::Postgres, true) => vec![
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$".to_owned(),
            format!(
                "create trigger refused before insert on audit_entries for each row \
                 when (new.tenant_key = {tenant}) execute function refuse()"
            ),
        ],
        (Dialect::Postgres, false) => vec!["drop function refuse cascade".to_owned()],
    };
    for statement in statements {
        api.store.database().across_tenants().execute(statement, vec![]).await.unwrap();
    }
}

pub async fn a_delegation_changes_with_both_audits_or_not_at_all(api: Api) {
    let two = two(&api).await;
    let offered = with(&api, &two.admin, (Method::POST, "/delegations"), Some(offer("viewer"))).await.expect(201);
    let id = offered["id"].as_str().unwrap();
    let path = format!("/received-delegations/{id}");
    let accept = (Method::POST, "/received-delegations".to_owned(), Some(json!({ "link": offered["link"] })));
    let enter = (Method::POST, format!("{path}/enter"), Some(json!({})));
    let give_back = (Method::DELETE, path.clone(), None);
    // What is seen of it in the tenant that lets others in.
    let seen = async || {
        let given = api.get("/delegations").await.expect(200)["items"][0]["status"].clone();
        let sessions =
            api.get(&format!("/sessions?delegation_id={id}")).await.expect(200)["items"].as_array().unwrap().len();
        let entries = api.get("/audit-entries").await.expect(200)["items"].as_array().unwrap().len();
        (given, sessions, entries)
    };
    for (method, path, body) in [accept, enter, give_back] {
        let before = seen().await;
        refuse_entries(&api, "helpers", true).await;
        let refused = with(&api, &two.grace, (method.clone(), &path), body.clone()).await;
        assert!(!refused.status.is_success(), "{method} {path}: {}", refused.body);
        assert_eq!(seen().await, before, "{method} {path}");
        refuse_entries(&api, "helpers", false).await;
        let done = with(&api, &two.grace, (method.clone(), &path), body).await;
        assert!(done.status.is_success(), "{method} {path}: {}", done.body);
        assert_ne!(seen().await, before, "{method} {path}");
    }
}
