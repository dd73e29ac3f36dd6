//! A client of the protocol starts the program and talks to it by standard input and output.

use std::process::Stdio;

use rmcp::{ServiceExt, model::CallToolRequestParams};
use serde_json::{Map, json};

use crate::support::Folder;

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_served_on_standard_input_and_output() {
    let folder = Folder::new();
    folder.run(&["db", "init", "--data-dir", "data"]).expect(0);
    let mut command = tokio::process::Command::from(folder.command(&["mcp", "--data-dir", "data"]));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let client = ().serve((child.stdout.take().unwrap(), child.stdin.take().unwrap())).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "start_run"));
    let call = |name: &'static str, arguments: serde_json::Value| {
        let arguments = arguments.as_object().cloned().unwrap_or_else(Map::new);
        client.call_tool(CallToolRequestParams::new(name).with_arguments(arguments))
    };
    let made = call("create_folder", json!({ "body": { "name": "Shop" } })).await.unwrap();
    assert_eq!(made.structured_content.unwrap()["name"], "Shop");
    let refused = call("create_folder", json!({ "body": { "name": "Shop" } })).await.unwrap();
    assert_eq!((refused.is_error, &refused.structured_content.unwrap()["code"]), (Some(true), &json!("taken")));
    client.cancel().await.unwrap();
    assert!(child.wait().await.unwrap().success());

    // Tools of what the tenant has not are left out, and without its own feature it does not begin.
    let switch = |name: &str| {
        folder.run(&["settings", "set", name, "off", "--tenant", "default", "--data-dir", "data"]).expect(0);
    };
    switch("feature_files");
    let mut command = tokio::process::Command::from(folder.command(&["mcp", "--data-dir", "data"]));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let client = ().serve((child.stdout.take().unwrap(), child.stdin.take().unwrap())).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().all(|tool| tool.name != "list_files") && tools.iter().any(|tool| tool.name == "list_folders"));
    client.cancel().await.unwrap();
    assert!(child.wait().await.unwrap().success());
    switch("feature_mcp");
    let refused = folder.run(&["mcp", "--data-dir", "data"]);
    assert!(refused.expect(5).stderr.contains("settings set feature_mcp on"), "{}", refused.stderr);
}
