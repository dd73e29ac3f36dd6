//! Bounds that hold over all servers: each is tried through two doors that know nothing of each other.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Api, send},
    identity::{PASSWORD, administrator, member, second_factor},
    oauth::fill,
};

/// Two servers' addresses, in turn.
struct Doors<'a> {
    api: &'a Api,
    bases: [String; 2],
}

impl<'a> Doors<'a> {
    async fn of(api: &'a Api) -> Doors<'a> {
        Doors { api, bases: [api.base.clone(), api.another().await] }
    }

    /// Sends it to one of them.
    async fn sign_in(&self, turn: usize, body: &Value) -> Answer {
        let path = format!("{}/api/v1/sign-in", self.bases[turn % 2]);
        send(self.api.anywhere(Method::POST, &path).json(body)).await
    }

    /// Sends it to one after the other until it is refused for good; how often it was let through.
    async fn until_refused(&self, body: &Value) -> usize {
        for turn in 0..100 {
            let answer = self.sign_in(turn, body).await;
            if answer.status == 429 {
                answer.problem(429, "too_many_attempts");
                assert!((1..=300).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
                // The other one knows it as well.
                self.sign_in(turn + 1, body).await.problem(429, "too_many_attempts");
                return turn;
            }
            assert_eq!(answer.status, 401, "{}", answer.body);
        }
        panic!("it was let through a hundred times");
    }
}

pub async fn wrong_passwords_and_codes_are_counted_over_all_servers(api: Api) {
    let admin = administrator(&api).await;
    let ada = member(&api, &admin, ("ada@example.org", "viewer")).await;
    member(&api, &admin, ("bob@example.org", "viewer")).await;
    second_factor(&api, &ada).await;
    let doors = Doors::of(&api).await;
    let right = |email: &str| json!({ "email": email, "password": PASSWORD });
    // Codes first: whoever tries them has the password.
    let wrong_code = json!({ "email": "ada@example.org", "password": PASSWORD, "code": "000000x" });
    assert_eq!(doors.until_refused(&wrong_code).await, 10);
    let guess = |email: &str| json!({ "email": email, "password": "a wrong guess" });
    for email in ["bob@example.org", "nobody@example.org"] {
        assert_eq!(doors.until_refused(&guess(email)).await, 6, "{email}");
    }
    // The right one is not looked at either, until there are attempts again.
    doors.sign_in(0, &right("bob@example.org")).await.problem(429, "too_many_attempts");
}

/// Right passwords are forgiven everywhere, so that nobody who knows his own is held up.
pub async fn who_knows_his_password_is_not_held_up(api: Api) {
    let admin = administrator(&api).await;
    member(&api, &admin, ("ada@example.org", "viewer")).await;
    let doors = Doors::of(&api).await;
    let (guess, right) = ("a wrong guess", PASSWORD);
    for turn in 0..3 {
        for password in [guess, guess, guess, right] {
            let body = json!({ "email": "ada@example.org", "password": password });
            let status = if password == right { 200 } else { 401 };
            assert_eq!(doors.sign_in(turn, &body).await.status, status);
        }
    }
}

pub async fn attempts_of_applications_are_counted_over_all_servers(api: Api) {
    let doors = Doors::of(&api).await;
    let mut statuses = Vec::new();
    for turn in 0..8 {
        let path = format!("{}/api/v1/oauth/token", doors.bases[turn % 2]);
        let id = uuid::Uuid::from_u128(7).to_string();
        let pairs = [("grant_type", "client_credentials"), ("client_id", id.as_str()), ("client_secret", "wla_guess")];
        statuses.push(send(fill(api.anywhere(Method::POST, &path), &pairs)).await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429, 429]);
}

/// What nobody counts any more leaves no row.
pub async fn attempts_that_are_long_ago_are_forgotten(api: Api) {
    let doors = Doors::of(&api).await;
    let guess = json!({ "email": "nobody@example.org", "password": "a wrong guess" });
    doors.sign_in(0, &guess).await.problem(401, "sign_in_refused");
    let rows = async || api.store.attempt_rows().await.unwrap();
    assert_eq!(rows().await, 3, "of the address, of the account, of both");
    // The address has all of its attempts again after a second.
    while rows().await == 3 {
        api.store.expire_attempts().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(rows().await, 2);
}

/// A key's limit: the statuses of that many requests, to one server after the other.
async fn asked(doors: &[&str], api: &Api, key: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for base in doors.iter().cycle().take(count) {
        let request = api.anywhere(Method::GET, &format!("{base}/api/v1/runs")).bearer_auth(key);
        let answer = send(request).await;
        if answer.status == 429 {
            answer.problem(429, "too_many_requests");
            assert!((1..=60).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
        }
        statuses.push(answer.status.as_u16());
    }
    statuses
}

async fn key(api: &Api, per_minute: u32) -> String {
    let body = json!({ "name": format!("k{per_minute}"), "scopes": ["runs.read"], "requests_per_minute": per_minute });
    api.post("/api-keys", body).await.expect(201)["key"].as_str().unwrap().to_owned()
}

pub async fn a_keys_limit_holds_on_one_server(api: Api) {
    for (per_minute, requests) in [(1, 3), (5, 9), (40, 60)] {
        let key = key(&api, per_minute).await;
        let statuses = asked(&[&api.base], &api, &key, requests).await;
        let let_in = statuses.iter().filter(|status| **status == 200).count();
        // Where one server counts for itself, what a key may send comes back while the requests come.
        assert!((per_minute as usize..=per_minute as usize + 4).contains(&let_in), "{per_minute}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_keys_limit_holds_over_all_servers() {
    let api = Api::postgres().await;
    let doors = Doors::of(&api).await;
    let third = api.another().await;
    let bases = [doors.bases[0].as_str(), doors.bases[1].as_str(), third.as_str()];
    for (per_minute, requests) in [(1, 6), (5, 18), (60, 120)] {
        let key = key(&api, per_minute).await;
        let statuses = asked(&bases, &api, &key, requests).await;
        let let_in = statuses.iter().filter(|status| **status == 200).count();
        let kinds: BTreeSet<u16> = statuses.iter().copied().collect();
        assert_eq!(kinds, BTreeSet::from([200, 429]), "{statuses:?}");
        // What servers have drawn and not used yet may be missing.
        let most = per_minute as usize;
        assert!(let_in <= most && let_in + most / 4 >= most, "{per_minute}: {let_in} of {statuses:?}");
    }
}

#[tokio::test]
async fn a_rule_of_the_door_holds_over_all_servers() {
    let api = Api::postgres().await;
    let doors = Doors::of(&api).await;
    let mut keys = Vec::new();
    for (requests, sent) in [(1, 6), (4, 12), (40, 90)] {
        let name = format!("k{requests}");
        let rule = json!({
            "name": name, "requests": requests, "window_seconds": 600, "counted_per": "caller", "route": "GET /runs",
            "caller": format!("token:{name}")
        });
        api.post("/rate-limit-rules", rule).await.expect(201);
        let made = api.post("/api-keys", json!({ "name": name, "scopes": ["runs.read"] })).await.expect(201);
        keys.push((requests, sent, made["key"].as_str().unwrap().to_owned()));
    }
    // The other one reads the rules with its first request.
    for (requests, sent, key) in keys {
        let mut let_in = 0;
        for base in doors.bases.iter().cycle().take(sent) {
            let answer = send(api.anywhere(Method::GET, &format!("{base}/api/v1/runs")).bearer_auth(&key)).await;
            if answer.status == 429 {
                answer.problem(429, "rate_limited");
                assert!((1..=600).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
            } else {
                let_in += u32::from(answer.status == 200);
            }
        }
        assert!(let_in <= requests && let_in + requests / 4 >= requests, "{requests}: {let_in}");
    }
}
