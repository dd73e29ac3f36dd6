//! People whom a provider provisions: how they come in, what groups give them, whom nobody reaches by it, and how they go.

use reqwest::Method;
use serde_json::{Value, json};
use windlass_testkit::sign_on::Fake;

use crate::{
    browser::Browser,
    harness::{Api, TOKEN, send},
    identity::{administrator, come, member, member_id, with},
    oidc::{link, may, me, provider, refused, refused as not_let_in, role, sign_in, with_password},
    scim::{Client, key},
};

pub async fn somebody_provisioned_signs_in_and_is_out_again(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({ "default_role_id": null })).await;
    let client = Client::with(&api, key(&api, TOKEN, "company").await);
    fake.is(json!({ "sub": "s-1", "email": "grace@example.org", "email_verified": true }));
    refused(&api, &mut Browser::new(), "ask for an invitation").await;
    let grace = client.person("grace@example.org", json!({ "externalId": "s-1" })).await;
    let mut browser = Browser::new();
    sign_in(&api, &mut browser).await.expect(303);
    let is = me(&api, &mut browser).await;
    assert_eq!((&is["who"], may(&is, "runs.read")), (&json!("person:grace@example.org"), false), "{is}");
    // A group gives what its roles allow, to the same session, and takes it again.
    let group = client.must("POST /Groups", json!({ "displayName": "Watchers" }), 201).await["id"].clone();
    let given = json!({ "group_id": group, "role_id": role(&api, "viewer").await });
    api.post("/role-assignments", given).await.expect(201);
    let path = format!("PATCH /Groups/{}", group.as_str().unwrap());
    for (op, has) in [("add", true), ("remove", false), ("add", true)] {
        let body = json!({ "Operations": [{ "op": op, "path": "members", "value": [{ "value": grace }] }] });
        client.must(&path, body, 200).await;
        assert_eq!(may(&me(&api, &mut browser).await, "runs.read"), has, "{op}");
    }
    // Suspended: her session ends at once, and does not begin again with her membership.
    let active = |it: bool| json!({ "Operations": [{ "op": "replace", "path": "active", "value": it }] });
    client.must(&format!("PATCH /Users/{grace}"), active(false), 200).await;
    browser.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    refused(&api, &mut Browser::new(), "suspended").await;
    client.must(&format!("PATCH /Users/{grace}"), active(true), 200).await;
    browser.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    let mut again = Browser::new();
    sign_in(&api, &mut again).await.expect(303);
    assert!(may(&me(&api, &mut again).await, "runs.read"));
    // Taken out: nothing is left, and nobody is let in by what was known of her.
    client.must(&format!("DELETE /Users/{grace}"), Value::Null, 204).await;
    again.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    refused(&api, &mut Browser::new(), "ask for an invitation").await;
    assert_eq!(api.get("/member-identities").await.expect(200)["items"], json!([]));
    let entries = api.get("/audit-entries?record=members&limit=50").await.expect(200);
    let actions: Vec<&str> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["record_id"] == grace.as_str())
        .map(|it| it["action"].as_str().unwrap())
        .collect();
    assert!(["create", "suspend", "reactivate", "delete"].iter().all(|it| actions.contains(it)), "{actions:?}");
}

pub async fn who_is_linked_to_whom_is_provisioned(api: Api) {
    let fake = Fake::start().await;
    let made = provider(&api, &fake, json!({ "default_role_id": null })).await;
    let client = Client::with(&api, key(&api, TOKEN, "company").await);
    let by_address = client.person("ada@example.org", json!({ "externalId": "another-id" })).await;
    let by_id = client.person("grace@example.org", json!({ "externalId": "s-2" })).await;
    client.person("twin-1@example.org", json!({ "externalId": "twin" })).await;
    client.person("twin-2@example.org", json!({ "externalId": "twin" })).await;
    client.person("later@example.org", json!({ "active": false, "externalId": "s-7" })).await;
    let verified = |sub: &str, email: &str| json!({ "sub": sub, "email": email, "email_verified": true });
    // Of others than those whom it knows nobody comes in.
    fake.says(json!({ "sub": "s-9" }));
    for (claims, said) in [
        // An address that is not verified, or of another domain, says nothing.
        (json!({ "sub": "s-9", "email": "ada@example.org" }), "no verified address"),
        (verified("s-9", "ada@evil.example"), "no verified address"),
        // Two who are called so are nobody.
        (verified("twin", "x@example.org"), "ask for an invitation"),
        (verified("s-7", "later@example.org"), "suspended"),
        (verified("S-2", "x@example.org"), "ask for an invitation"),
    ] {
        fake.is(claims);
        refused(&api, &mut Browser::new(), said).await;
    }
    fake.is(verified("s-1", "ADA@example.org"));
    let mut ada = Browser::new();
    sign_in(&api, &mut ada).await.expect(303);
    assert_eq!(me(&api, &mut ada).await["who"], "person:ada@example.org");
    // What the provider calls her counts more than an address, and the first who comes is it.
    fake.is(verified("s-2", "ada@example.org"));
    let mut grace = Browser::new();
    sign_in(&api, &mut grace).await.expect(303);
    assert_eq!(me(&api, &mut grace).await["who"], "person:grace@example.org");
    let identities = api.get("/member-identities?sort=created_at").await.expect(200);
    let who: Vec<(&Value, &Value)> =
        identities["items"].as_array().unwrap().iter().map(|it| (&it["member_id"], &it["subject"])).collect();
    assert_eq!(who, [(&json!(by_address), &json!("s-1")), (&json!(by_id), &json!("s-2"))]);
    // Somebody else at the provider who has got that address is not she.
    for (sub, email) in [("s-3", "ada@example.org"), ("s-4", "grace@example.org")] {
        fake.is(verified(sub, email));
        refused(&api, &mut Browser::new(), "ask for an invitation").await;
    }
    // Nor is somebody else once her identity is blocked.
    let path = format!("/member-identities/{}/block", identities["items"][0]["id"].as_str().unwrap());
    api.post(&path, json!({})).await.expect(200);
    fake.is(verified("s-3", "ada@example.org"));
    refused(&api, &mut Browser::new(), "ask for an invitation").await;
    // Without domains an address links nobody.
    client.person("open@example.org", json!({})).await;
    let path = format!("/identity-providers/{}", made["id"].as_str().unwrap());
    send(api.request(Method::PATCH, &path).json(&json!({ "email_domains": [] }))).await.expect(200);
    fake.is(verified("s-5", "open@example.org"));
    refused(&api, &mut Browser::new(), "ask for an invitation").await;
    // Another claim than `sub`, for providers whose subject is another one for each application.
    client.person("oid@corp.example", json!({ "externalId": "o-1" })).await;
    send(api.request(Method::PATCH, &path).json(&json!({ "external_id_claim": "oid" }))).await.expect(200);
    fake.is(json!({ "sub": "pairwise", "oid": "o-1", "email": "oid@corp.example" }));
    let mut by_oid = Browser::new();
    sign_in(&api, &mut by_oid).await.expect(303);
    assert_eq!(me(&api, &mut by_oid).await["who"], "person:oid@corp.example");
}

pub async fn a_group_gives_what_its_roles_allow(api: Api) {
    let admin = administrator(&api).await;
    let viewer = member(&api, &admin, ("viewer@example.org", "viewer")).await;
    let keeper = member(&api, &admin, ("keeper@example.org", "tenant_admin")).await;
    // Somebody who may look after people, and not much else.
    let body = json!({ "name": "people", "permissions": ["people.read", "people.write"] });
    api.post("/roles", body).await.expect(201);
    let clerk = member(&api, &admin, ("clerk@example.org", "people")).await;
    let make = |token: String, path: &'static str, body: Value| {
        let api = &api;
        async move { with(api, &token, (Method::POST, path), Some(body)).await }
    };
    let group = make(keeper.clone(), "/groups", json!({ "name": "Builders" })).await.expect(201)["id"].clone();
    let own = member_id(&api, "viewer@example.org").await;
    let publishes = |token: String| {
        let api = &api;
        async move { with(api, &token, (Method::POST, "/workflows/none/publish"), Some(json!({}))).await.status.as_u16() }
    };
    assert_eq!(publishes(viewer.clone()).await, 403);
    let builder = role(&api, "builder").await;
    for body in [json!({ "role_id": builder }), json!({ "role_id": builder, "group_id": group, "member_id": own })] {
        make(keeper.clone(), "/role-assignments", body).await.problem(422, "invalid_input");
    }
    let given = json!({ "role_id": builder, "group_id": group });
    make(clerk.clone(), "/role-assignments", given.clone()).await.problem(422, "invalid_input");
    let assigned = make(keeper.clone(), "/role-assignments", given.clone()).await.expect(201);
    make(keeper.clone(), "/role-assignments", given).await.problem(409, "taken");
    // Whoever puts somebody into the group gives its roles.
    let joins = json!({ "group_id": group, "member_id": own });
    let refused = make(clerk.clone(), "/group-members", joins.clone()).await.problem(422, "invalid_input");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("`builder` allows"), "{refused}");
    let joined = make(keeper.clone(), "/group-members", joins).await.expect(201);
    assert_eq!(publishes(viewer.clone()).await, 404, "she may, and there is nothing");
    let place = |noun: &str, row: &Value| format!("/{noun}/{}", row["id"].as_str().unwrap());
    let (membership, assignment) = (place("group-members", &joined), place("role-assignments", &assigned));
    let whole = format!("/groups/{}", group.as_str().unwrap());
    for path in [&membership, &assignment, &whole] {
        with(&api, &clerk, (Method::DELETE, path), None).await.problem(422, "invalid_input");
    }
    with(&api, &keeper, (Method::DELETE, &membership), None).await.expect(204);
    assert_eq!(publishes(viewer.clone()).await, 403);
    // Both ways count, and one is enough.
    make(keeper.clone(), "/group-members", json!({ "group_id": group, "member_id": own })).await.expect(201);
    make(keeper.clone(), "/role-assignments", json!({ "role_id": builder, "member_id": own })).await.expect(201);
    with(&api, &keeper, (Method::DELETE, &whole), None).await.expect(204);
    assert_eq!(publishes(viewer).await, 404);
    // The last administrator stays, also as a member of a group.
    let tenant = api.tenant("small").await;
    let small = |method: Method, path: String, body: Option<Value>| {
        let (api, tenant) = (&api, &tenant);
        async move { with(api, tenant, (method, &path), body).await }
    };
    let invited =
        small(Method::POST, "/invitations".to_owned(), Some(json!({ "email": "boss@example.org", "role": "viewer" })))
            .await;
    let join = json!({ "link": invited.expect(201)["link"], "name": "Boss", "password": "correct horse battery" });
    come(&api, "/invitations/accept", join).await.expect(200);
    let boss = small(Method::GET, "/members".to_owned(), None).await.expect(200)["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let admins = small(Method::POST, "/groups".to_owned(), Some(json!({ "name": "Admins" }))).await.expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let role =
        small(Method::GET, "/roles?name=tenant_admin".to_owned(), None).await.expect(200)["items"][0]["id"].clone();
    let assigned =
        small(Method::POST, "/role-assignments".to_owned(), Some(json!({ "group_id": admins, "role_id": role })))
            .await
            .expect(201);
    let joined =
        small(Method::POST, "/group-members".to_owned(), Some(json!({ "group_id": admins, "member_id": boss })))
            .await
            .expect(201);
    for (method, path) in [
        (Method::DELETE, place("group-members", &joined)),
        (Method::DELETE, place("role-assignments", &assigned)),
        (Method::DELETE, format!("/groups/{admins}")),
        (Method::POST, format!("/members/{boss}/suspend")),
    ] {
        let refused = small(method, path.clone(), None).await.problem(422, "invalid_input");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains("last active member"), "{path}: {refused}");
    }
}

pub async fn a_provider_never_takes_the_last_administrator(api: Api) {
    let tenant = api.tenant("small").await;
    let client = Client::of(&api, &tenant, "company").await;
    let (one, two) =
        (client.person("one@example.org", json!({})).await, client.person("two@example.org", json!({})).await);
    let body = json!({ "displayName": "Admins", "members": [{ "value": one }, { "value": two }] });
    let group = client.must("POST /Groups", body, 201).await["id"].as_str().unwrap().to_owned();
    let role = with(&api, &tenant, (Method::GET, "/roles?name=tenant_admin"), None).await.expect(200)["items"][0]["id"]
        .clone();
    let given = json!({ "group_id": group, "role_id": role });
    with(&api, &tenant, (Method::POST, "/role-assignments"), Some(given)).await.expect(201);
    let inactive = json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] });
    client.must(&format!("PATCH /Users/{one}"), inactive.clone(), 200).await;
    for (what, body) in [
        (format!("PATCH /Users/{two}"), inactive),
        (format!("PUT /Users/{two}"), json!({ "userName": "two@example.org", "active": false })),
        (format!("DELETE /Users/{two}"), Value::Null),
        (format!("PATCH /Groups/{group}"), json!({ "Operations": [{ "op": "remove", "path": "members" }] })),
        (format!("PUT /Groups/{group}"), json!({ "displayName": "Admins" })),
        (format!("DELETE /Groups/{group}"), Value::Null),
    ] {
        let refused = client.must(&what, body, 409).await;
        assert!(refused["detail"].as_str().unwrap().contains("last active member"), "{what}: {refused}");
    }
    let group = client.must(&format!("GET /Groups/{group}"), Value::Null, 200).await;
    assert_eq!(group["members"].as_array().unwrap().len(), 2, "nothing of it was done: {group}");
}

pub async fn a_provider_reaches_nobody_who_looks_after_the_installation(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({ "default_role_id": null })).await;
    let client = Client::with(&api, key(&api, TOKEN, "company").await);
    let admin = administrator(&api).await;
    member(&api, &admin, ("root@example.org", "system_admin")).await;
    let (ada, mut eve) =
        (member(&api, &admin, ("ada@example.org", "tenant_admin")).await, with_password(&api, "eve@example.org").await);
    // It does not take such a member over; others it does, and they stay who they are.
    let refused = client.must("POST /Users", json!({ "userName": "root@example.org" }), 409).await;
    assert!(refused["detail"].as_str().unwrap().contains("looks after the installation"), "{refused}");
    let taken_over = client.person("ada@example.org", json!({ "externalId": "s-1" })).await;
    assert_eq!(taken_over, member_id(&api, "ada@example.org").await);
    with(&api, &ada, (Method::GET, "/me"), None).await.expect(200);
    let suspended = member_id(&api, "eve@example.org").await;
    api.post(&format!("/members/{suspended}/suspend"), json!({})).await.expect(200);
    client.must("POST /Users", json!({ "userName": "eve@example.org" }), 409).await;
    eve.get(&format!("{}/api/v1/me", api.base)).await.problem(401, "unauthorized");
    // No group of its has such a role, and no role of such a group becomes one.
    let group = client.must("POST /Groups", json!({ "displayName": "All" }), 201).await["id"].clone();
    let system = role(&api, "system_admin").await;
    let given = json!({ "group_id": group, "role_id": system });
    api.post("/role-assignments", given).await.problem(422, "invalid_input");
    let own = api.post("/roles", json!({ "name": "own", "permissions": ["runs.read"] })).await.expect(201);
    api.post("/role-assignments", json!({ "group_id": group, "role_id": own["id"] })).await.expect(201);
    let path = format!("/roles/{}", own["id"].as_str().unwrap());
    let more = json!({ "permissions": ["runs.read", "users.write"] });
    send(api.request(Method::PATCH, &path).json(&more)).await.problem(422, "invalid_input");
    // A group by hand may; and who looks after the installation is not let in by what a provider says of him.
    let by_hand = api.post("/groups", json!({ "name": "By hand" })).await.expect(201);
    api.post("/role-assignments", json!({ "group_id": by_hand["id"], "role_id": system })).await.expect(201);
    api.post("/group-members", json!({ "group_id": by_hand["id"], "member_id": taken_over })).await.expect(201);
    fake.is(json!({ "sub": "s-1", "email": "ada@example.org", "email_verified": true }));
    not_let_in(&api, &mut Browser::new(), "looks after the installation").await;
    let url = format!("{}/api/v1/sign-in", api.base);
    let mut herself = Browser::new();
    let body = json!({ "email": "ada@example.org", "password": "correct horse battery", "deliver": "cookie" });
    herself.send(Method::POST, &url, Some(body.to_string())).await.expect(200);
    link(&api, &mut herself).await.expect(303);
    sign_in(&api, &mut Browser::new()).await.expect(303);
}

pub async fn a_key_of_a_provider_is_made_by_who_may_do_everything(api: Api) {
    let client = Client::of(&api, TOKEN, "company").await;
    let admin = administrator(&api).await;
    // Here a tenant's administrator may not do everything: there is one of the installation.
    let keeper = member(&api, &admin, ("keeper@example.org", "tenant_admin")).await;
    let make = |token: String, body: Value| {
        let api = &api;
        async move { with(api, &token, (Method::POST, "/api-keys"), Some(body)).await }
    };
    make(keeper, json!({ "name": "k", "provider": "company" })).await.problem(422, "invalid_input");
    for body in [
        json!({ "name": "k", "provider": "nothing" }),
        json!({ "name": "k", "provider": "company", "scopes": ["people.provision", "people.read"] }),
        json!({ "name": "k", "provider": "company", "scopes": ["*"] }),
        json!({ "name": "k", "scopes": ["people.provision"] }),
        json!({ "name": "k", "scopes": [] }),
    ] {
        make(admin.clone(), body).await.problem(422, "invalid_input");
    }
    let made = make(admin.clone(), json!({ "name": "k", "provider": "company", "days": 1 })).await.expect(201);
    let row = api.get(&format!("/api-keys/{}", made["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&row["scopes"], &row["member_id"]), (&json!(["people.provision"]), &Value::Null));
    assert!(row["provider_id"].is_string(), "{row}");
    // It ends when it is revoked, and with its provider; its people and groups stay.
    let key = made["key"].as_str().unwrap().to_owned();
    let other = Client::with(&api, key);
    let ada = other.person("ada@example.org", json!({ "externalId": "1" })).await;
    other.must("POST /Groups", json!({ "displayName": "Group", "members": [{ "value": ada }] }), 201).await;
    api.post(&format!("/api-keys/{}/revoke", made["id"].as_str().unwrap()), json!({})).await.expect(200);
    other.must("GET /Users", Value::Null, 401).await;
    client.must(&format!("GET /Users/{ada}"), Value::Null, 200).await;
    let path = format!("/identity-providers/{}", row["provider_id"].as_str().unwrap());
    send(api.request(Method::DELETE, &path)).await.expect(204);
    client.must("GET /Users", Value::Null, 401).await;
    let left = api.get(&format!("/members/{ada}")).await.expect(200);
    assert_eq!((&left["provider_id"], &left["status"]), (&Value::Null, &json!("active")));
    assert_eq!(api.get("/group-members").await.expect(200)["items"].as_array().unwrap().len(), 1);
    // Another provider takes them over.
    let next = Client::of(&api, TOKEN, "next").await;
    assert_eq!(next.person("ada@example.org", json!({ "externalId": "2" })).await, ada);
}

pub async fn users_are_deleted(api: Api) {
    let other = api.tenant("other").await;
    let client = Client::of(&api, &other, "company").await;
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "tenant_admin")).await;
    member(&api, &admin, ("second@example.org", "tenant_admin")).await;
    client.person("ada@example.org", json!({})).await;
    let body = json!({ "name": "mine", "scopes": ["runs.read"] });
    let key =
        with(&api, &ada, (Method::POST, "/api-keys"), Some(body)).await.expect(201)["key"].as_str().unwrap().to_owned();
    let user = api.get("/users?email=ada@example.org").await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
    let first =
        api.get("/users?email=admin@localhost").await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/users/{user}");
    with(&api, &ada, (Method::DELETE, &path), None).await.problem(403, "forbidden");
    with(&api, &admin, (Method::DELETE, &format!("/users/{first}")), None).await.problem(409, "oneself");
    let last = send(api.request(Method::DELETE, &format!("/users/{first}"))).await.problem(409, "transition_guarded");
    assert!(last["detail"].as_str().unwrap().contains("in the tenant `default`"), "{last}");
    with(&api, &admin, (Method::DELETE, &path), None).await.expect(204);
    with(&api, &admin, (Method::DELETE, &path), None).await.problem(404, "not_found");
    for token in [&ada, &key] {
        with(&api, token, (Method::GET, "/me"), None).await.problem(401, "unauthorized");
    }
    let password = json!({ "email": "ada@example.org", "password": "correct horse battery" });
    come(&api, "/sign-in", password).await.problem(401, "sign_in_refused");
    api.post(&format!("{path}/link"), json!({})).await.problem(404, "not_found");
    api.get(&path).await.problem(404, "not_found");
    let hidden = api.get("/users?deleted=true").await.expect(200);
    assert_eq!((&hidden["items"][0]["id"], hidden["items"][0]["deleted_at"].is_string()), (&json!(user), true));
    assert_eq!(api.get("/members?email=ada@example.org").await.expect(200)["items"], json!([]));
    assert_eq!(client.must("GET /Users", Value::Null, 200).await["totalResults"], 0);
    // The address is free, and whoever comes with it is somebody else.
    let ada = member(&api, &admin, ("ada@example.org", "viewer")).await;
    with(&api, &ada, (Method::GET, "/me"), None).await.expect(200);
    let now = api.get("/users?email=ada@example.org").await.expect(200);
    assert_ne!(now["items"][0]["id"], user);
}

pub async fn pictures_and_verified_addresses_are_kept(api: Api) {
    let fake = Fake::start().await;
    provider(&api, &fake, json!({})).await;
    let client = Client::with(&api, key(&api, TOKEN, "company").await);
    let of = |email: &'static str| {
        let api = &api;
        async move {
            let found = api.get(&format!("/members?email={email}")).await.expect(200)["items"][0].clone();
            (found["avatar_url"].clone(), found["email_verified"].clone())
        }
    };
    fake.is(json!({ "sub": "1", "email": "ada@example.org", "email_verified": true, "picture": "https://x.example/ada.png" }));
    sign_in(&api, &mut Browser::new()).await.expect(303);
    assert_eq!(of("ada@example.org").await, (json!("https://x.example/ada.png"), json!(true)));
    let photos =
        json!([{ "value": "http://x.example/a.png", "primary": true }, { "value": "https://x.example/b.png" }]);
    let grace = client.person("grace@example.org", json!({ "externalId": "2", "photos": photos })).await;
    assert_eq!(of("grace@example.org").await, (json!("https://x.example/b.png"), json!(false)));
    fake.is(json!({ "sub": "2", "email": "grace@example.org", "email_verified": true, "picture": "https://x.example/c.png" }));
    sign_in(&api, &mut Browser::new()).await.expect(303);
    assert_eq!(of("grace@example.org").await, (json!("https://x.example/b.png"), json!(true)));
    // Of another address nobody has said so.
    let body = json!({ "userName": "hopper@example.org", "externalId": "2" });
    client.must(&format!("PUT /Users/{grace}"), body, 200).await;
    assert_eq!(of("hopper@example.org").await, (Value::Null, json!(false)));
}
