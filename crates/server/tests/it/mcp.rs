//! A client of the protocol, which is not ours, uses the tools: with the rights of its token, and no others.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use rmcp::{
    RoleClient, ServiceExt,
    model::{CallToolRequestParams, CallToolResult, Tool},
    service::RunningService,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};

use windlass_engine::id::TenantKey;
use windlass_server::token::TokenHash;
use windlass_store::NewApiKey;

use super::harness::{Api, TOKEN, send};

const HELLO: &str = "name: hello\nsteps:\n  - { id: say, type: transform, with: { value: '${{ input.whom }}' } }\n\
                     output: { said: '${{ steps.say.output }}' }\ninput: { type: object, properties: { whom: { type: string } } }\n";

type Client = RunningService<RoleClient, ()>;

async fn client(api: &Api, token: &str) -> Client {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", api.base)).auth_header(token);
    ().serve(StreamableHttpClientTransport::with_client(http, config)).await.unwrap()
}

/// The names of the tools that somebody is offered.
pub async fn tools_of(api: &Api, token: &str) -> BTreeSet<String> {
    client(api, token).await.list_all_tools().await.unwrap().iter().map(|tool| tool.name.to_string()).collect()
}

async fn call(client: &Client, name: &'static str, arguments: Value) -> CallToolResult {
    let Value::Object(arguments) = arguments else { panic!("no object") };
    client.call_tool(CallToolRequestParams::new(name).with_arguments(arguments)).await.unwrap()
}

/// What a call gave that succeeded.
async fn done(client: &Client, name: &'static str, arguments: Value) -> Value {
    let result = call(client, name, arguments).await;
    assert_ne!(result.is_error, Some(true), "{result:?}");
    result.structured_content.unwrap_or_default()
}

/// The problem of a call that was refused.
async fn refused(client: &Client, name: &'static str, arguments: Value) -> Value {
    let result = call(client, name, arguments).await;
    assert_eq!(result.is_error, Some(true), "{result:?}");
    result.structured_content.unwrap()
}

pub async fn a_model_works_with_tools(api: Api) {
    let admin = client(&api, TOKEN).await;
    let info = admin.peer_info().unwrap();
    assert!(serde_json::to_string(&*info).unwrap().contains("\"windlass\""), "{info:?}");
    let tools: Vec<Tool> = admin.list_all_tools().await.unwrap();
    let tool = |name: &str| tools.iter().find(|it| it.name == name).unwrap();
    let hints = |name: &str| {
        let hints = tool(name).annotations.clone().unwrap();
        (hints.read_only_hint, hints.destructive_hint, hints.open_world_hint)
    };
    assert_eq!(hints("list_folders"), (Some(true), Some(false), Some(false)));
    assert_eq!(hints("create_folder"), (Some(false), Some(false), Some(false)));
    assert_eq!(hints("delete_folder"), (Some(false), Some(true), Some(false)));
    assert_eq!(hints("start_run"), (Some(false), Some(false), Some(true)));
    assert_eq!(tool("create_folder").input_schema["required"], json!(["body"]));

    let made = done(&admin, "create_folder", json!({ "body": { "name": "Shop" } })).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let listed =
        done(&admin, "list_folders", json!({ "name": "Shop", "created_at.gte": "2026-01-01T00:00:00Z" })).await;
    assert_eq!(listed["items"][0]["id"], made["id"]);
    let changed = json!({ "id": id, "if_match": "\"1\"", "body": { "description": "All of it" } });
    assert_eq!(done(&admin, "update_folder", changed.clone()).await["revision"], 2);
    assert_eq!(refused(&admin, "update_folder", changed).await["status"], 412);
    let wrong = refused(&admin, "create_folder", json!({ "body": { "nmae": "x" } })).await;
    assert_eq!((&wrong["code"], wrong["errors"].as_array().unwrap().len()), (&json!("invalid_input"), 2), "{wrong}");

    api.deploy("hello", HELLO).await;
    let start =
        json!({ "name": "hello", "wait": "30s", "idempotency_key": "k", "body": { "input": { "whom": "ann" } } });
    let run = done(&admin, "start_run", start.clone()).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("completed"), &json!({ "said": "ann" })));
    assert_eq!(done(&admin, "start_run", start).await["id"], run["id"], "twice is once");
    assert_eq!(done(&admin, "list_steps", json!({ "id": run["id"] })).await["items"].as_array().unwrap().len(), 1);

    // What a token may not do is not listed, and refused; what is another tenant's is not there.
    let weak = NewApiKey {
        id: uuid::Uuid::now_v7(),
        name: "weak".to_owned(),
        prefix: "chosen".to_owned(),
        hash: *TokenHash::of("a-token-that-reads-runs").as_bytes(),
        scopes: vec!["runs.read".to_owned()],
        ..NewApiKey::default()
    };
    api.store.create_api_key(TenantKey::DEFAULT, weak).await.unwrap();
    let reader = client(&api, "a-token-that-reads-runs").await;
    let names: BTreeSet<String> = reader.list_all_tools().await.unwrap().iter().map(|it| it.name.to_string()).collect();
    assert!(names.contains("get_run") && !names.contains("start_run") && !names.contains("list_folders"), "{names:?}");
    assert_eq!(refused(&reader, "list_folders", json!({})).await["code"], "forbidden");
    let theirs = client(&api, &api.tenant("theirs").await).await;
    assert_eq!(refused(&theirs, "get_folder", json!({ "id": id })).await["status"], 404);
    assert_eq!(refused(&theirs, "get_run", json!({ "id": run["id"] })).await["status"], 404);
    assert_eq!(done(&theirs, "list_folders", json!({})).await["items"], json!([]));
    // What is done through a tool is in the audit like everything else.
    let audit = done(&admin, "list_audit_entries", json!({ "record": "folders", "action": "create" })).await;
    assert_eq!(audit["items"][0]["record_id"], made["id"]);

    for token in [None, Some("wdl_none")] {
        let request =
            api.bare(Method::POST, "/mcp").json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
        let request = request.header("accept", "application/json, text/event-stream");
        let request = token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token));
        send(request).await.problem(401, "unauthorized");
    }
    // A page in a browser is nobody who has a token.
    let browser = api.bare(Method::POST, "/mcp").bearer_auth(TOKEN).header("origin", "https://evil.example");
    let browser = browser.header("accept", "application/json, text/event-stream");
    assert_eq!(send(browser.json(&json!({}))).await.status, StatusCode::FORBIDDEN);
}
