//! Deny by type, seen from outside: read off the OpenAPI document, so a new route is tested without being named here.

use reqwest::Method;
use serde_json::Value;
use windlass_engine::id::TenantKey;
use windlass_server::token::TokenHash;
use windlass_store::NewApiKey;

use crate::harness::{Api, TOKEN, send};

/// The routes that need no token, the whole list, and what they answer to nothing: those by which somebody comes ask for
/// what it comes with, and the last one for a link's own token.
const PUBLIC: [(&str, u16); 15] = [
    ("/livez", 200),
    ("/readyz", 200),
    ("/api/v1/openapi.json", 200),
    ("/api/v1/sign-in", 400),
    ("/api/v1/sign-in/ticket", 400),
    ("/api/v1/sign-in/providers", 200),
    ("/api/v1/sign-in/oidc/order", 404),
    ("/api/v1/sign-in/oidc/order/callback", 400),
    ("/api/v1/invitations/accept", 400),
    ("/api/v1/shared-files/none", 404),
    ("/.well-known/oauth-authorization-server", 200),
    ("/api/v1/oauth/authorize", 400),
    ("/api/v1/oauth/token", 400),
    ("/api/v1/oauth/revoke", 400),
    ("/api/v1/oauth/introspect", 400),
];

/// Every operation: method, address with something in place of its parameters, and its permission.
fn operations(document: &Value) -> Vec<(Method, String, Option<String>)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let address = path
            .replace("{name}", "order")
            .replace("{id}", "01890000-0000-7000-8000-000000000000")
            .replace("{version}", "1")
            .replace("{path}", "a")
            .replace("{token}", "none");
        assert!(!address.contains('{'), "{path} has a parameter that this test does not know");
        for (method, operation) in item.as_object().unwrap() {
            let permission = operation["security"][0]["token"][0].as_str().map(str::to_owned);
            operations.push((method.to_uppercase().parse().unwrap(), address.clone(), permission));
        }
    }
    operations
}

pub async fn no_route_is_open_without_a_token(api: Api) {
    let document = send(api.bare(Method::GET, "/api/v1/openapi.json")).await.expect(200);
    let operations = operations(&document);
    assert!(operations.len() >= 30, "only {} operations", operations.len());
    let open: Vec<&str> =
        operations.iter().filter(|(_, _, permission)| permission.is_none()).map(|(_, it, _)| it.as_str()).collect();
    assert_eq!(open.len(), PUBLIC.len(), "{open:?}");
    for (method, address, permission) in operations {
        if permission.is_none() {
            let known = PUBLIC.iter().find(|(known, _)| *known == address);
            let (_, status) = known.unwrap_or_else(|| panic!("{address} is open"));
            assert_eq!(send(api.bare(method, &address)).await.status.as_u16(), *status, "{address}");
            continue;
        }
        for token in ["", "wrong", "wl_", "a-token-for-the-test", "a-token-for-the-testsx"] {
            let mut request = api.bare(method.clone(), &address);
            if !token.is_empty() {
                request = request.bearer_auth(token);
            }
            let answer = send(request).await;
            answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"windlass\"", "{method} {address}");
        }
    }
    for authorization in ["Basic YTpi", TOKEN, "Bearer", "Bearer  "] {
        let request = api.bare(Method::GET, "/api/v1/runs").header("authorization", authorization);
        send(request).await.problem(401, "unauthorized");
    }
}

pub async fn a_token_may_only_what_it_says(api: Api) {
    let token = "a-token-that-may-read-runs";
    let new = NewApiKey {
        id: uuid::Uuid::now_v7(),
        name: "reader".into(),
        prefix: "chosen".into(),
        hash: *TokenHash::of(token).as_bytes(),
        scopes: vec!["runs.read".into()],
        ..NewApiKey::default()
    };
    api.store.create_api_key(TenantKey::DEFAULT, new).await.unwrap();
    let document = send(api.bare(Method::GET, "/api/v1/openapi.json")).await.expect(200);
    for (method, address, permission) in operations(&document) {
        let Some(permission) = permission else { continue };
        let answer = send(api.bare(method.clone(), &address).bearer_auth(token)).await;
        // Whoever comes in sees itself.
        if permission == "runs.read" || permission == "me.read" {
            assert_ne!(answer.status, 403, "{method} {address}");
        } else {
            answer.problem(403, "forbidden");
        }
    }
}
