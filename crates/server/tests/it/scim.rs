//! SCIM: conversations as data, what is refused, what filters find, and what nobody reaches by it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Map, Value, json};
use windlass_server::scim::{
    attributes::{GROUP, Schema, USER},
    filter, patch,
};
use windlass_testkit::sign_on::{CLIENT, SECRET};

use crate::{
    harness::{Answer, Api, TOKEN, send},
    identity::{come, with},
    oidc::{me, with_password},
};

const OKTA: &str = include_str!("scim/okta.json");
const ENTRA: &str = include_str!("scim/entra.json");
const REFUSALS: &str = include_str!("scim/refusals.json");
const FILTERS: &str = include_str!("scim/filters.json");
const PATCHES: &str = include_str!("scim/patches.json");

/// A client of one provider, and the ids that it keeps.
pub struct Client<'a> {
    api: &'a Api,
    key: String,
    kept: BTreeMap<String, String>,
}

impl<'a> Client<'a> {
    /// Of a provider of that name in the tenant of that token, which is made where there is none.
    pub async fn of(api: &'a Api, token: &str, name: &str) -> Client<'a> {
        let body = json!({ "name": name, "issuer": "https://login.example.org", "client_id": CLIENT,
            "client_secret": SECRET, "server_url": api.base, "email_domains": ["example.org"] });
        with(api, token, (Method::POST, "/identity-providers"), Some(body)).await;
        Client::with(api, key(api, token, name).await)
    }

    /// With a key that is there.
    pub fn with(api: &'a Api, key: String) -> Client<'a> {
        Client { api, key, kept: BTreeMap::new() }
    }

    fn filled(&self, text: &str) -> String {
        self.kept.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
    }

    async fn ask(&self, what: &str, body: Option<&Value>, headers: &Map<String, Value>) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let path = format!("/scim/v2{}", self.filled(path));
        let mut request = self.api.bare(method.parse().unwrap(), &path).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(name, value.as_str().unwrap());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/scim+json").body(self.filled(&body.to_string()));
        }
        send(request).await
    }

    pub async fn must(&self, what: &str, body: Value, status: u16) -> Value {
        self.ask(what, Some(&body).filter(|it| !it.is_null()), &Map::new()).await.expect(status)
    }

    /// Makes somebody; gives the id.
    pub async fn person(&self, address: &str, more: Value) -> String {
        let mut body = json!({ "userName": address });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.must("POST /Users", body, 201).await["id"].as_str().unwrap().to_owned()
    }

    /// Plays a conversation.
    async fn play(&mut self, text: &str) {
        for step in serde_json::from_str::<Vec<Value>>(text).unwrap() {
            let what = step["do"].as_str().unwrap();
            let headers = step["with"].as_object().cloned().unwrap_or_default();
            let answer = self.ask(what, step.get("send"), &headers).await;
            assert_eq!(u64::from(answer.status.as_u16()), step["status"], "{what}: {}", answer.body);
            if !answer.body.is_empty() {
                assert_eq!(answer.header("content-type"), "application/scim+json", "{what}");
            }
            if answer.status.is_client_error() {
                assert_eq!(answer.json()["requestId"], answer.header("x-request-id"), "{what}");
            }
            for (name, place) in step["keep"].as_object().into_iter().flatten() {
                let id = answer.json().pointer(place.as_str().unwrap()).unwrap().as_str().unwrap().to_owned();
                self.kept.insert(name.clone(), id);
            }
            for (name, value) in step["headers"].as_object().into_iter().flatten() {
                assert_eq!(answer.header(name), self.filled(value.as_str().unwrap()), "{what}: {name}");
            }
            if let Some(body) = step.get("body") {
                let expected: Value = serde_json::from_str(&self.filled(&body.to_string())).unwrap();
                let found = answer.json();
                assert!(is_within(&expected, &found), "{what}: {found:#} has not {expected:#}");
            }
        }
    }
}

pub async fn key(api: &Api, token: &str, provider: &str) -> String {
    let body = json!({ "name": format!("of {provider}"), "provider": provider });
    let made = with(api, token, (Method::POST, "/api-keys"), Some(body)).await.expect(201);
    made["key"].as_str().unwrap().to_owned()
}

/// Whether everything that is expected is found; null is nothing.
fn is_within(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(name, value)| is_within(value, found.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(one, other)| is_within(one, other))
        }
        (expected, found) => expected == found,
    }
}

pub async fn okta_provisions(api: Api) {
    Client::of(&api, TOKEN, "okta").await.play(OKTA).await;
    // No password is taken, and none is written anywhere.
    assert!(!api.get("/audit-entries?limit=200").await.expect(200).to_string().contains("1mz050nq"));
    assert!(!api.get("/members").await.expect(200).to_string().contains("1mz050nq"));
}

pub async fn entra_provisions(api: Api) {
    Client::of(&api, TOKEN, "entra").await.play(ENTRA).await;
}

/// Three people and a group.
async fn three<'a>(api: &'a Api) -> Client<'a> {
    let mut client = Client::of(api, TOKEN, "company").await;
    let work = |address: &str| json!({ "type": "work", "value": address, "primary": true });
    let people = [
        ("one", "one@example.org", json!({ "externalId": "X-1", "emails": [work("one@example.org")] })),
        (
            "two",
            "two@example.org",
            json!({ "externalId": "X-2", "active": false, "displayName": "Number Two",
                "emails": [{ "type": "work", "value": "two@example.org" }, { "type": "home", "value": "Home@example.net" }] }),
        ),
        (
            "three",
            "three@example.com",
            json!({ "name": { "familyName": "Three" },
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "three" } }),
        ),
    ];
    for (name, address, more) in people {
        let id = client.person(address, more).await;
        client.kept.insert(name.to_owned(), id);
    }
    let body = json!({ "displayName": "Group", "members": [{ "value": "{one}" }] });
    let group = client.must("POST /Groups", body, 201).await;
    client.kept.insert("group".to_owned(), group["id"].as_str().unwrap().to_owned());
    client
}

pub async fn filters_find_what_they_say(api: Api) {
    let client = three(&api).await;
    for case in serde_json::from_str::<Vec<(String, Vec<String>)>>(FILTERS).unwrap() {
        let (filter, expected) = case;
        let query = escape(&client.filled(&filter));
        let found = client.must(&format!("GET /Users?filter={query}"), Value::Null, 200).await;
        let ids: Vec<&str> =
            found["Resources"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
        let expected: Vec<&str> = expected.iter().map(|name| client.kept[name].as_str()).collect();
        assert_eq!(ids, expected, "{filter}");
        assert_eq!(found["totalResults"], expected.len(), "{filter}");
    }
    // Pages, with a filter and without one.
    let all = escape("userName pr");
    for query in ["", &format!("&filter={all}")] {
        let page = client.must(&format!("GET /Users?startIndex=2&count=1{query}"), Value::Null, 200).await;
        assert_eq!(
            (&page["totalResults"], &page["itemsPerPage"], &page["startIndex"]),
            (&json!(3), &json!(1), &json!(2))
        );
        assert_eq!(page["Resources"][0]["id"], client.kept["two"], "{page}");
        let none = client.must(&format!("GET /Users?startIndex=4&count=-7{query}"), Value::Null, 200).await;
        assert_eq!((&none["totalResults"], &none["Resources"]), (&json!(3), &json!([])));
    }
    let some = client.must("GET /Users/{one}?attributes=emails.value,name", Value::Null, 200).await;
    assert_eq!(some["emails"], json!([{ "value": "one@example.org" }]), "{some}");
    assert!(some["userName"].is_null() && some["id"].is_string() && some["schemas"].is_array(), "{some}");
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub async fn what_is_wrong_is_refused_in_scims_form(api: Api) {
    let mut client = three(&api).await;
    let before = everything(&api).await;
    client.play(REFUSALS).await;
    let long = json!({ "userName": "x@example.org", "title": "x".repeat(3_000) });
    client.must("POST /Users", long, 400).await;
    let addresses: Vec<Value> = (0..101).map(|at| json!({ "value": format!("{at}@example.org") })).collect();
    client.must("POST /Users", json!({ "userName": "x@example.org", "emails": addresses }), 400).await;
    let much: Vec<Value> = (0..100).map(|at| json!({ "value": "x".repeat(1_000), "type": at.to_string() })).collect();
    client.must("POST /Users", json!({ "userName": "x@example.org", "phoneNumbers": much }), 400).await;
    let large = json!({ "userName": "x@example.org", "title": "x".repeat(2 << 20) });
    client.must("POST /Users", large, 413).await;
    let many: Vec<Value> = (0..1_001).map(|_| json!({ "op": "remove", "path": "title" })).collect();
    client.must("PATCH /Users/{two}", json!({ "Operations": many }), 400).await;
    let ids: Vec<Value> = (0..1_001_u128).map(|at| json!({ "value": uuid::Uuid::from_u128(at) })).collect();
    let refused = client.must(
        "PATCH /Groups/{group}",
        json!({ "Operations": [{ "op": "add", "path": "members", "value": ids }] }),
        400,
    );
    assert_eq!(refused.await["scimType"], "tooMany");
    // No key, none of a provider, none that may.
    for (token, status) in [("", 401), ("wl_none", 401), (TOKEN, 403)] {
        let answer = send(api.bare(Method::GET, "/scim/v2/Users").bearer_auth(token)).await;
        assert_eq!(answer.expect(status)["status"], status.to_string(), "{}", answer.body);
        assert_eq!(answer.header("content-type"), "application/scim+json");
    }
    // A provider's key opens nothing else.
    for path in ["/members", "/workflows", "/users"] {
        with(&api, &client.key, (Method::GET, path), None).await.problem(403, "forbidden");
    }
    assert_eq!(everything(&api).await, before, "what was refused has left nothing");
}

/// All people and groups.
async fn everything(api: &Api) -> Vec<Value> {
    let mut all = Vec::new();
    for noun in ["users", "members", "groups", "group-members", "role-assignments", "member-identities"] {
        all.push(api.get(&format!("/{noun}?limit=200")).await.expect(200)["items"].clone());
    }
    all
}

pub async fn tenants_and_providers_know_nothing_of_each_other(api: Api) {
    let other = api.tenant("other").await;
    // Ada has an account, a password and a session in the first tenant.
    let mut ada = with_password(&api, "ada@example.org").await;
    let before = everything(&api).await;
    let (first, second) = (Client::of(&api, TOKEN, "company").await, Client::of(&api, &other, "company").await);
    let third = Client::of(&api, &other, "second").await;
    let said = json!({ "displayName": "Somebody", "active": true });
    let (known, new) =
        (second.person("ada@example.org", said.clone()).await, second.person("new@example.org", said).await);
    // Whoever had an account looks like whoever had none: in answers, in lists, in ids, and in the audit.
    let shape = |value: &Value| {
        let mut text = value.to_string();
        for (name, with) in [("ada@", "x@"), ("new@", "x@"), (&known, "id"), (&new, "id")] {
            text = text.replace(name, with);
        }
        text
    };
    let get = |path: String| {
        let (api, other) = (&api, &other);
        async move { with(api, other, (Method::GET, &path), None).await.expect(200) }
    };
    let as_scim = |id: String| {
        let second = &second;
        async move {
            let mut found = second.must(&format!("GET /Users/{id}"), Value::Null, 200).await;
            found["meta"]["created"].take();
            found["meta"]["lastModified"].take();
            found
        }
    };
    assert_eq!(shape(&as_scim(known.clone()).await), shape(&as_scim(new.clone()).await));
    let (one, two) = (get(format!("/members/{known}")).await, get(format!("/members/{new}")).await);
    for row in [&one, &two] {
        let id: uuid::Uuid = row["user_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            (id.get_version_num(), &row["name"], &row["email_verified"]),
            (4, &json!("Somebody"), &json!(false))
        );
    }
    let entries = get("/audit-entries?limit=200".to_owned()).await;
    let count = |id: &str| entries["items"].as_array().unwrap().iter().filter(|it| it["record_id"] == id).count();
    assert_eq!(count(&known), count(&new), "{entries:#}");
    assert!(!entries.to_string().contains("\"users\""), "{entries:#}");
    // Nothing of hers has changed, whatever the other tenant says.
    second
        .must(
            &format!("PATCH /Users/{known}"),
            json!({ "Operations": [
        { "op": "replace", "path": "emails", "value": [{ "value": "eve@example.org" }] },
        { "op": "replace", "path": "displayName", "value": "Eve" } ] }),
            200,
        )
        .await;
    second
        .must(
            &format!("PATCH /Users/{known}"),
            json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] }),
            200,
        )
        .await;
    second.must(&format!("DELETE /Users/{known}"), Value::Null, 204).await;
    assert_eq!(me(&api, &mut ada).await["who"], "person:ada@example.org");
    let after = everything(&api).await;
    let users = |all: &[Value]| {
        all[0].as_array().unwrap().iter().filter(|it| it["email"] != "new@example.org").cloned().collect::<Vec<_>>()
    };
    assert_eq!((users(&before), &before[1..]), (users(&after), &after[1..]));
    let password = json!({ "email": "ada@example.org", "password": "correct horse battery" });
    come(&api, "/sign-in", password).await.expect(200);
    // Neither the other tenant nor the other provider sees or reaches anybody.
    let group =
        second.must("POST /Groups", json!({ "displayName": "Group" }), 201).await["id"].as_str().unwrap().to_owned();
    for client in [&first, &third] {
        for noun in ["Users", "Groups"] {
            assert_eq!(client.must(&format!("GET /{noun}"), Value::Null, 200).await["totalResults"], 0);
        }
        let filter = escape("userName eq \"new@example.org\"");
        assert_eq!(client.must(&format!("GET /Users?filter={filter}"), Value::Null, 200).await["totalResults"], 0);
        for (path, body) in [
            (format!("Users/{new}"), json!({ "userName": "x@example.org" })),
            (format!("Groups/{group}"), json!({ "displayName": "X" })),
        ] {
            client.must(&format!("GET /{path}"), Value::Null, 404).await;
            client.must(&format!("PUT /{path}"), body, 404).await;
            let patch = json!({ "Operations": [{ "op": "replace", "path": "displayName", "value": "X" }] });
            client.must(&format!("PATCH /{path}"), patch, 404).await;
            client.must(&format!("DELETE /{path}"), Value::Null, 404).await;
        }
        client.must("POST /Groups", json!({ "displayName": "Mine", "members": [{ "value": new }] }), 400).await;
    }
    third.must("POST /Users", json!({ "userName": "new@example.org" }), 409).await;
    first.must("POST /Users", json!({ "userName": "new@example.org" }), 201).await;
}

fn schema_of(name: &str) -> &'static Schema {
    if name == "Group" { &GROUP } else { &USER }
}

#[test]
fn patches_change_what_they_say() {
    for case in serde_json::from_str::<Vec<Value>>(PATCHES).unwrap() {
        let schema = schema_of(case["schema"].as_str().unwrap_or("User"));
        let mut resource = case["before"].as_object().cloned().unwrap_or_default();
        let body = json!({ "Operations": case["patch"] });
        let done = patch::apply(schema, &mut resource, body.as_object().unwrap());
        let found = match done {
            Ok(()) => Value::Object(resource),
            Err(problem) => json!(problem.code()),
        };
        assert_eq!(found, case["after"], "{case:#}");
    }
}

#[test]
fn hostile_filters_are_refused_with_their_place() {
    let deep = |count: usize| format!("{}userName pr{}", "(".repeat(count), ")".repeat(count));
    let nots = |count: usize| format!("{}userName pr{}", "not (".repeat(count), ")".repeat(count));
    let wide = |count: usize| vec!["userName pr"; count].join(" or ");
    for text in [deep(16), nots(16), wide(64)] {
        assert!(filter::parse(&USER, &text).is_ok(), "{text}");
    }
    let cases = [
        deep(17),
        nots(17),
        wide(65),
        "(".repeat(100_000),
        format!("userName eq \"{}\"", "x".repeat(3_000)),
        String::new(),
        "userName".to_owned(),
        "userName eq".to_owned(),
        "userName eq ada".to_owned(),
        "userName eq \"ada".to_owned(),
        "userName eq \"ada\\\"".to_owned(),
        "userName eq 7".to_owned(),
        "userName eq {}".to_owned(),
        "userName like \"a\"".to_owned(),
        "userName eq \"a\" and".to_owned(),
        "userName eq \"a\" userName eq \"b\"".to_owned(),
        "(userName eq \"a\"".to_owned(),
        "userName eq \"a\")".to_owned(),
        "not userName pr".to_owned(),
        "active gt true".to_owned(),
        "active eq \"perhaps\"".to_owned(),
        "meta.created gt \"yesterday\"".to_owned(),
        "meta.created co \"2026\"".to_owned(),
        "password eq \"x\"".to_owned(),
        "emails[type eq \"work\"".to_owned(),
        "emails[value[type eq \"x\"]]".to_owned(),
        "emails[type eq \"work\"].nothing eq \"x\"".to_owned(),
        "title[type eq \"work\"]".to_owned(),
        "name eq \"x\"".to_owned(),
        "\u{0}".to_owned(),
        "üserName eq \"x\"".to_owned(),
    ];
    for text in cases {
        let problem = filter::parse(&USER, &text).map(|_| ()).expect_err(&text);
        assert_eq!(problem.code(), "invalid_filter", "{text}");
        assert!(problem.detail().contains("at character"), "{text}: {}", problem.detail());
    }
}

/// Pieces of filters in any order: each is read or refused, and what is read can be judged.
#[test]
fn no_mixture_of_pieces_breaks_the_reader() {
    const PIECES: [&str; 22] = [
        "userName",
        "emails",
        "meta.created",
        "active",
        "[",
        "]",
        "(",
        ")",
        ".",
        "value",
        "type",
        " ",
        " eq ",
        " pr",
        " and ",
        " or ",
        "not ",
        "\"a\"",
        "\"",
        "\\",
        "true",
        "ü",
    ];
    let resource = json!({ "userName": "a", "emails": [{ "value": "a" }], "active": true });
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut read = 0;
    for _ in 0..200_000 {
        let mut text = String::new();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut rest = seed >> 8;
        for _ in 0..(seed >> 60) {
            text.push_str(PIECES[(rest % 22) as usize]);
            rest /= 22;
        }
        if let Ok(filter) = filter::parse(&USER, &text) {
            filter.holds(resource.as_object().unwrap());
            let _ = filter.exactly();
            read += 1;
        }
        let _ = filter::parse_path(&USER, &text);
    }
    assert!(read > 50, "{read}");
}
