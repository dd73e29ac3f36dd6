//! Straight on a data directory: kills, resumes, a socket, the commands of `db`.

use serde_json::json;

use crate::support::{Folder, Running};

const WAITS: &str = "name: waits\nsteps:\n  - id: first\n    type: transform\n    with: { value: 1 }\n  - id: go\n    type: wait\n    \
                     with: { signal: go }\noutput: ${{ steps.go.output }}\n";

/// The id of the run in `data`, once it waits.
fn waiting_run(folder: &Folder) -> String {
    let list = ["runs", "list", "--data-dir", "data", "--json"];
    let waits = folder.until(&list, |it| it.stdout.contains("\"status\":\"waiting\""));
    waits.json()["items"][0]["id"].as_str().unwrap().to_owned()
}

fn start_waiting(folder: &Folder) -> (Running, String) {
    folder.write("waits.yaml", WAITS);
    let running = folder.spawn(&["run", "waits.yaml", "--data-dir", "data"]);
    running.until_printed("first");
    let run = waiting_run(folder);
    (running, run)
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let folder = Folder::new();
    let (running, run) = start_waiting(&folder);
    running.kill();
    // Nobody holds the directory now: the signal goes straight to the database.
    folder.run(&["runs", "signal", &run, "go", "--payload", "{\"by\":\"ada\"}", "--data-dir", "data"]).expect(0);
    let resumed = folder.run(&["run", "--resume", "waits.yaml", "--data-dir", "data", "--json"]);
    let result = resumed.expect(0).json();
    assert_eq!((&result["run_id"], &result["output"]), (&json!(run), &json!({ "by": "ada" })));
    let paths: Vec<&str> = result["steps"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["first", "go"]);
    // Once more changes nothing, by name or by id.
    folder.run(&["run", "waits.yaml", "--resume", "--data-dir", "data"]).expect(0);
    folder.run(&["run", "--resume", &run, "--data-dir", "data"]).expect(0);
    let list = folder.run(&["runs", "list", "--data-dir", "data", "--json"]).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_run_that_holds_the_directory_is_reached_through_its_socket() {
    let folder = Folder::new();
    let (mut running, run) = start_waiting(&folder);
    running.until_printed("give it: windlass runs signal");
    let second = folder.run(&["run", "waits.yaml", "--data-dir", "data"]);
    assert!(second.expect(3).stderr.contains("in use by"), "{}", second.stderr);
    folder.run(&["runs", "signal", &run, "go", "--payload", "7", "--data-dir", "data"]).expect(0);
    let printed = running.until_printed("is completed");
    assert!(printed.contains("completed go"), "{printed}");
    running = folder.spawn(&["version"]);
    drop(running);
}

#[test]
fn an_interrupted_run_is_kept_and_says_how_to_go_on() {
    let folder = Folder::new();
    let (running, run) = start_waiting(&folder);
    let printed = {
        let folder_path = folder.path().to_path_buf();
        assert_eq!(running.signal("INT"), 1);
        std::fs::read_to_string(folder_path.join("spawned.err")).unwrap()
    };
    assert!(printed.contains(&format!("windlass run --resume {run} --data-dir data")), "{printed}");
    assert_eq!(waiting_run(&folder), run);
}

#[test]
fn a_database_is_made_looked_at_copied_and_emptied() {
    let folder = Folder::new();
    folder.write("waits.yaml", WAITS);
    let at = |directory: &'static str, words: &[&str]| {
        let mut arguments = vec!["db"];
        arguments.extend(words);
        arguments.extend(["--data-dir", directory]);
        folder.run(&arguments)
    };
    assert_eq!(at("data", &["status"]).expect(4).stdout, "");
    assert!(!folder.path().join("data").exists());
    at("data", &["init"]).expect(0);
    at("data", &["init"]).expect(2);
    folder.run(&["deploy", "waits.yaml", "--data-dir", "data"]).expect(0);
    folder.run(&["start", "waits", "--data-dir", "data"]).expect(0);
    at("data", &["migrate"]).expect(0);
    assert_eq!(at("data", &["status", "--json"]).expect(0).json()["database"], "sqlite");
    assert_eq!(at("data", &["validate", "--json"]).expect(0).json(), json!({ "valid": true, "differences": [] }));
    assert!(at("data", &["stats"]).expect(0).stdout.contains("workflows"));
    assert!(at("data", &["check"]).expect(0).stdout.contains("sound: 1 runs"));
    let schema = at("data", &["schema"]).expect(0).stdout.clone();
    assert!(schema.contains(" runs (") && schema.contains(" folders ("), "{schema}");
    let status = folder.run(&["vault", "status", "--data-dir", "data", "--json"]).expect(0).json();
    let key = status["accepted"][0]["id"].as_str().unwrap();
    // No copy holds the master key, and each says which one it needs.
    assert!(at("data", &["backup", "copy.windlass"]).expect(0).stderr.contains(key));
    assert!(at("restored", &["restore", "copy.windlass"]).expect(0).stderr.contains(key));
    assert!(at("restored", &["move", "--to-data-dir", "moved"]).expect(0).stderr.contains(key));
    let list = ["runs", "list", "--data-dir", "moved", "--json"];
    let refused = folder.run(&list).expect(2).json();
    assert_eq!(refused["error"]["code"], "vault_locked");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains(key) && message.contains("To recover"), "{message}");
    let runs = folder.run(&[&list[..], &["--master-key-file", "data/master.key"]].concat()).expect(0).json();
    assert_eq!(runs["items"][0]["workflow"], "waits");
    at("data", &["reset"]).expect(2);
    at("data", &["reset", "--yes"]).expect(0);
    at("data", &["status"]).expect(4);
    at("moved", &["check"]).expect(0);
    // Whoever lost the key for good gives up what it sealed, and nothing else.
    folder.run(&["vault", "forget", "--data-dir", "moved"]).expect(2);
    folder.run(&["vault", "forget", "--yes", "--data-dir", "moved"]).expect(0);
    assert_eq!(folder.run(&list).expect(0).json(), runs);
    assert!(folder.path().join("moved/master.key").exists());
    let key = folder.run(&["vault", "new-key"]).expect(0).stdout.clone();
    assert!(key.starts_with("wmk_") && key.trim().len() == 47, "{key}");
}

#[test]
fn tenants_and_keys_are_made_listed_and_revoked() {
    let folder = Folder::new();
    let on = ["--data-dir", "data", "--json"];
    let run = |arguments: &[&str]| folder.run(&[arguments, &on].concat());
    run(&["db", "init"]).expect(0);
    run(&["tenants", "create", "--slug", "Not a slug", "--name", "x"]).expect(2);
    let tenant = run(&["tenants", "create", "--slug", "acme", "--name", "Acme Ltd"]).expect(0).json();
    assert_eq!((&tenant["slug"], &tenant["name"], &tenant["key"]), (&json!("acme"), &json!("Acme Ltd"), &json!(2)));
    run(&["tenants", "create", "--slug", "acme", "--name", "Other"]).expect(2);
    let tenant =
        run(&["tenants", "suspend", tenant["id"].as_str().unwrap(), "--suspended-reason", "unpaid"]).expect(0).json();
    assert_eq!((&tenant["status"], &tenant["suspended_reason"]), (&json!("suspended"), &json!("unpaid")));
    let list = run(&["tenants", "list"]).expect(0).json();
    let slugs: Vec<&str> = list["items"].as_array().unwrap().iter().map(|it| it["slug"].as_str().unwrap()).collect();
    assert_eq!(slugs, ["acme", "default"], "the newest first");

    let create = ["api-keys", "create", "ci"];
    run(&[&create[..], &["--tenant", "nobody"]].concat()).expect(4);
    run(&[&create[..], &["--tenant", "acme", "--scope", "runs.fly"]].concat()).expect(2);
    run(&[&create[..], &["--scope", "runs.fly"]].concat()).expect(2);
    let of_acme = run(&[&create[..], &["--tenant", "acme", "--scope", "runs.read"]].concat()).expect(0).json();
    let made = run(&[&create[..], &["--scope", "runs.read", "--days", "30"]].concat()).expect(0).json();
    assert!(of_acme["key"].as_str().unwrap().starts_with("wl_") && of_acme["expires_at"].is_null());
    assert!(made["key"].as_str().unwrap().starts_with("wl_") && made["expires_at"].is_string());
    let id = made["id"].as_str().unwrap();
    let listed = || run(&["api-keys", "list"]).expect(0).json()["items"].clone();
    assert_eq!((&listed()[0]["id"], &listed()[0]["scopes"]), (&json!(id), &json!(["runs.read"])));
    assert!(listed()[1].is_null() && listed()[0]["revoked_at"].is_null(), "{}", listed());
    run(&["api-keys", "revoke", of_acme["id"].as_str().unwrap()]).expect(4);
    run(&["api-keys", "revoke", id]).expect(0);
    assert!(listed()[0]["revoked_at"].is_string());
    let elsewhere = ["--tenant", "acme", "--url", "http://127.0.0.1:1"];
    assert!(folder.run(&[&create[..], &elsewhere].concat()).expect(2).stderr.contains("leave --tenant out"));
}

#[test]
fn folders_are_made_listed_changed_and_deleted() {
    let folder = Folder::new();
    folder.write("waits.yaml", WAITS);
    let run = |words: &[&str]| {
        let mut arguments = vec!["workflows"];
        arguments.extend(words);
        arguments.extend(["--data-dir", "data"]);
        folder.run(&arguments)
    };
    folder.run(&["deploy", "waits.yaml", "--data-dir", "data"]).expect(0);
    let workflow = folder.run(&["workflows", "list", "--json", "--data-dir", "data"]).expect(0).json();
    let workflow = workflow["items"][0]["id"].as_str().unwrap().to_owned();
    let made = run(&["folders", "create", "--name", "Shop", "--description", "All of it", "--json"]).expect(0).json();
    let id = made["id"].as_str().unwrap().to_owned();
    run(&["folders", "create", "--body", &json!({ "name": "Inner", "parent_id": id }).to_string()]).expect(0);
    run(&["placed", "create", "--workflow-id", &workflow, "--folder-id", &id]).expect(0);
    let list = run(&["folders", "list", "--sort", "-name", "--q", "shop"]).expect(0).stdout.clone();
    assert!(list.contains("NAME") && list.contains("Shop") && !list.contains("Inner"), "{list}");
    let page = run(&["folders", "list", "--where", &format!("parent_id={id}"), "--json"]).expect(0).json();
    assert_eq!(page["items"][0]["name"], "Inner");
    let inner = page["items"][0]["id"].as_str().unwrap().to_owned();
    let found = run(&["list", "--folder", &id, "--json"]).expect(0).json();
    assert_eq!(found["items"][0]["name"], "waits");
    let changed =
        run(&["folders", "update", &inner, "--clear", "parent-id", "--if-match", "1", "--json"]).expect(0).json();
    assert!(changed["parent_id"].is_null());
    run(&["folders", "update", &inner, "--name", "X", "--if-match", "1"]).expect(2);
    let refused = run(&["folders", "create", "--name", "", "--parent-id", "x"]).expect(2).stderr.clone();
    assert!(refused.contains("/name: must not be empty") && refused.contains("/parent_id: must be an id"), "{refused}");
    assert!(run(&["folders", "delete", &id]).expect(2).stderr.contains("in use"));
    run(&["folders", "delete", &inner]).expect(0);
    run(&["folders", "get", &inner]).expect(4);
    assert!(run(&["folders", "restore", &inner]).expect(0).stdout.contains("Inner"));
    let audit = folder.run(&["audit", "entries", "list", "--where", "record=folders", "--data-dir", "data"]);
    assert!(audit.expect(0).stdout.contains("restore"));
    let audit = |args: &[&str]| folder.run(&[&["audit"], args, &["--data-dir", "data"]].concat());
    let judged = audit(&["verify"]);
    assert!(judged.expect(0).stdout.contains("nothing was changed"), "{}", judged.stdout);
    assert_eq!(audit(&["verify", "--all", "--json"]).expect(0).json()["findings_count"], 0);
    let head = audit(&["head"]).expect(0).stdout.lines().next().unwrap().to_owned();
    audit(&["proof", "--output", "proof.jsonl"]).expect(0);
    audit(&["verify", "proof.jsonl", "--head", &head]).expect(0);
    audit(&["verify", "proof.jsonl", "--head", "nonsense"]).expect(2);
    let proof = std::fs::read_to_string(folder.path().join("proof.jsonl")).unwrap();
    folder.write("forged.jsonl", proof.replacen("\"action\":\"create\"", "\"action\":\"delete\"", 1));
    let forged = audit(&["verify", "forged.jsonl"]);
    assert!(forged.expect(1).stdout.contains("was changed"), "{}", forged.stdout);
    let table = audit(&["entries", "export", "--format", "csv", "--where", "record=folders"]).expect(0).stdout.clone();
    assert!(table.starts_with("id,action,") && table.contains("restore"), "{table}");
    let settings = |args: &[&str]| folder.run(&[&["settings"], args, &["--data-dir", "data"]].concat());
    settings(&["set", "retain_days", "90"]).expect(0);
    settings(&["set", "requests_max", "77", "--installation"]).expect(0);
    assert!(settings(&["get", "retain_days"]).expect(0).stdout.contains("tenant"));
    let list = settings(&["list"]);
    assert!(list.expect(0).stdout.contains("requests_max"), "{}", list.stdout);
    assert!(
        settings(&["get", "requests_max", "--json"]).expect(0).json()["source"] == "database",
        "it is after a start"
    );
    settings(&["set", "lanes", "7", "--installation"]).expect(2);
    settings(&["unset", "retain_days"]).expect(0);
    settings(&["get", "nope"]).expect(4);
    let state = |args: &[&str]| folder.run(&[&["state"], args, &["--data-dir", "data"]].concat());
    state(&[
        "set",
        "greeting",
        "\"hello\"",
        "--namespace",
        "demo",
        "--ttl",
        "1h",
        "--description",
        "what the door says",
    ])
    .expect(0);
    assert_eq!(state(&["increment", "visits", "2"]).expect(0).stdout.trim(), "2");
    state(&["update", "settings", "{\"colour\": \"blue\"}", "--workflow", "order"]).expect(0);
    assert!(state(&["compare-and-set", "lock", "null", "\"mine\""]).expect(0).stdout.contains("true"));
    assert_eq!(state(&["get", "visits"]).expect(0).stdout.trim(), "2");
    let listed = state(&["list", "--namespace", "demo", "--prefix", "gr"]).expect(0).stdout.clone();
    assert!(listed.contains("hello") && listed.contains("what the door says"), "{listed}");
    state(&["delete", "visits", "--if-match", "3"]).expect(2);
    state(&["delete", "visits", "--if-match", "1"]).expect(0);
    state(&["get", "visits"]).expect(4);
    let diagram = folder.run(&["db", "schema", "--mermaid"]).expect(0).stdout.clone();
    assert!(
        diagram.contains("folders ||--o{ workflow_places : folder_id")
            && diagram.contains("journal {")
            && diagram.contains("runs ||..o{ journal : run_id"),
        "{diagram}"
    );
    let schema = folder.run(&["db", "schema", "--json"]).expect(0).json();
    let records = schema["records"].as_array().unwrap();
    assert!(records.iter().any(|it| it["record"] == "folders"), "{records:?}");
    let core = schema["core"].as_array().unwrap();
    assert!(core.iter().any(|it| it["table"] == "runs" && it["doc"].is_string()), "{core:?}");
}
