//! A server and its clients, as processes.

use std::time::{Duration, Instant};

use crate::support::{Folder, Running};

const TOKEN: &str = "a-token-for-the-tests";
pub const GREET: &str = "name: greet\nsteps:\n  - id: a\n    type: transform\n    with: { value: \"Hello, ${{ input.name }}\" }\noutput: ${{ \
                     steps.a.output }}\n";

/// A server on a port of its own; what it printed and its address.
pub fn serve(folder: &Folder, further: &[&str]) -> (Running, String) {
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    arguments.extend(further);
    let running = folder.spawn(&arguments);
    let printed = running.until_printed("  data ");
    let url = printed.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    (running, url)
}

#[test]
fn a_server_is_deployed_to_and_asked() {
    let folder = Folder::new();
    let file = folder.write("greet.yaml", GREET);
    let (server, url) = serve(&folder, &["--bootstrap-token", TOKEN]);
    let on = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--url", &url, "--token", TOKEN]);
        folder.run(&arguments)
    };
    assert!(on(&["deploy", file.to_str().unwrap()]).expect(0).stdout.contains("greet: version 1"));
    let started = on(&["start", "greet", "--input", "{\"name\":\"Ada\"}", "--wait", "30s", "--json"]);
    let run = started.expect(0).json();
    assert_eq!(run["output"], "Hello, Ada");
    let run = run["id"].as_str().unwrap();
    assert!(on(&["runs", "show", run]).expect(0).stdout.contains("Hello, Ada"));
    assert!(on(&["runs", "journal", run]).expect(0).stdout.contains("finished"));
    assert!(on(&["runs", "watch", run]).expect(0).stderr.contains("completed a"));
    assert_eq!(on(&["runs", "rerun", run, "--json"]).expect(0).json()["origin"]["kind"], "rerun");
    on(&["runs", "cancel", run]).expect(2);
    folder.run(&["runs", "list", "--url", &url, "--token", "another-token-than-that"]).expect(5);
    folder.run(&["runs", "list", "--url", &url]).expect(5);
    // Its owner needs no token on this machine.
    assert!(folder.run(&["runs", "list", "--data-dir", "data"]).expect(0).stdout.contains("greet"));
    let second = folder.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    assert!(second.expect(3).stderr.contains("in use by"), "{}", second.stderr);
    let address = url.trim_start_matches("http://");
    let taken = folder.run(&["serve", "--listen", address, "--data-dir", "other"]);
    assert!(taken.expect(3).stderr.contains("cannot listen"), "{}", taken.stderr);
    assert_eq!(server.signal("TERM"), 0);
    assert!(!folder.path().join("data/windlass.sock").exists());
}

/// The example of docs/api.md.
#[test]
fn a_workflow_is_deleted_and_restored() {
    let folder = Folder::new();
    let (child, parent) = (
        folder.write("greet.yaml", GREET),
        folder.write("asks.yaml", "name: asks\nsteps: [{ id: g, type: workflow, with: { name: greet } }]\n"),
    );
    let (_server, url) = serve(&folder, &["--bootstrap-token", TOKEN]);
    let on = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--url", &url, "--token", TOKEN]);
        folder.run(&arguments)
    };
    on(&["deploy", child.to_str().unwrap(), parent.to_str().unwrap()]).expect(0);
    let refused = on(&["workflows", "delete", "greet"]);
    assert!(refused.expect(2).stderr.contains("it is started by `asks`"), "{}", refused.stderr);
    assert_eq!(on(&["workflows", "delete", "asks", "--json"]).expect(0).json()["deleted"], "asks");
    on(&["workflows", "delete", "greet", "--if-match", "9"]).expect(2);
    assert_eq!(on(&["workflows", "delete", "greet", "--if-match", "1"]).expect(0).stdout, "greet: deleted\n");
    on(&["start", "greet"]).expect(4);
    let taken = on(&["deploy", child.to_str().unwrap()]);
    assert!(taken.expect(2).stderr.contains("windlass workflows restore greet"), "{}", taken.stderr);
    let listed = on(&["workflows", "list"]);
    assert!(listed.expect(0).stderr.contains("no workflows"), "{}", listed.stdout);
    let deleted = on(&["workflows", "list", "--deleted"]).expect(0).stdout.clone();
    assert!(deleted.contains("DELETED") && deleted.contains("asks") && deleted.contains("token:"), "{deleted}");
    assert_eq!(on(&["workflows", "restore", "greet"]).expect(0).stdout, "greet: restored\n");
    let back = on(&["workflows", "restore", "asks", "--json"]).expect(0).json();
    assert_eq!((&back["name"], &back["deleted_at"]), (&"asks".into(), &serde_json::Value::Null));
    let started = on(&["start", "greet", "--input", "{\"name\":\"Ada\"}", "--wait", "30s", "--json"]);
    assert_eq!(started.expect(0).json()["output"], "Hello, Ada");
}

/// The example of docs/api.md.
#[test]
fn workflows_and_runs_are_searched() {
    let folder = Folder::new();
    let order =
        "name: order\nsteps:\n  - id: charge_card\n    type: transform\n    with: { value: '${{ input.id }}' }\n";
    let file = folder.write("order.yaml", order);
    let (_server, url) = serve(&folder, &["--bootstrap-token", TOKEN]);
    let on = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--url", &url, "--token", TOKEN]);
        folder.run(&arguments)
    };
    on(&["deploy", file.to_str().unwrap()]).expect(0);
    assert!(on(&["workflows", "list", "--q", "charge card"]).expect(0).stdout.contains("order"));
    assert!(on(&["workflows", "list", "--q", "refund"]).expect(0).stderr.contains("no workflows"));
    let input = "{\"id\": \"ORD-4711\", \"of\": \"grace@example.org\"}";
    let run = on(&["start", "order", "--input", input, "--wait", "30s", "--json"]).expect(0).json();
    let id = run["id"].as_str().unwrap();
    let search = ["runs", "list", "--q", "ord-4711", "--url", &url, "--token", TOKEN];
    let found = folder.until(&search, |ended| ended.stdout.contains(id));
    assert!(found.stderr.contains("searched: runs that were made until"), "{}", found.stderr);
    assert!(on(&["runs", "list", "--q", "grace@example.org 47*"]).expect(0).stdout.contains(id));
    let failed = on(&["runs", "list", "--q", "grace@example.org 47*", "--status", "failed"]);
    assert!(failed.expect(0).stderr.contains("no runs"), "{}", failed.stdout);
    let refused = on(&["runs", "list", "--q", "4*"]);
    assert!(
        refused.expect(2).stderr.contains("must have at least 2 letters or digits before `*`"),
        "{}",
        refused.stderr
    );
    on(&["settings", "set", "search_runs", "off"]).expect(0);
    let off = on(&["runs", "list", "--q", "ord-4711"]);
    assert!(off.expect(2).stderr.contains("the setting `search_runs` is off"), "{}", off.stderr);
}

#[test]
fn a_killed_server_goes_on_with_its_runs() {
    let folder = Folder::new();
    let file = folder.write(
        "waits.yaml",
        "name: waits\nsteps:\n  - id: go\n    type: wait\n    with: { signal: go }\noutput: ${{ steps.go.output }}\n",
    );
    let (server, url) = serve(&folder, &["--bootstrap-token", TOKEN]);
    let to = |url: &str, arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--url", url, "--token", TOKEN, "--json"]);
        folder.run(&arguments)
    };
    to(&url, &["deploy", file.to_str().unwrap()]).expect(0);
    let run = to(&url, &["start", "waits"]).expect(0).json()["id"].as_str().unwrap().to_owned();
    to(&url, &["runs", "signal", &run, "go", "--payload", "7"]).expect(0);
    server.kill();
    let (_server, url) = serve(&folder, &["--bootstrap-token", TOKEN]);
    let watched = to(&url, &["runs", "watch", &run]).expect(0).json();
    assert_eq!(watched["output"], 7);
}

/// The grace time of servers that are stopped, in seconds, and how long they may take in all.
const GRACE: &str = "1";
const STOPPED_WITHIN: Duration = Duration::from_secs(1 + 30);

#[test]
fn a_server_stops_in_time_though_its_runs_and_requests_do_not_end() {
    let folder = Folder::new();
    let file = folder.write(
        "endless.yaml",
        "name: endless\nsteps:\n  - id: all\n    type: while\n    when: true\n    max: 1000000\n    do: [{ id: again, type: \
         bench, with: { value: 1 } }]\n",
    );
    let (server, url) = serve(&folder, &["--bootstrap-token", TOKEN, "--grace-seconds", GRACE]);
    let on = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--url", &url, "--token", TOKEN]);
        folder.run(&arguments)
    };
    on(&["deploy", file.to_str().unwrap()]).expect(0);
    let started = on(&["start", "endless", "--json"]);
    let run = started.expect(0).json()["id"].as_str().unwrap().to_owned();
    let waiting = folder.spawn(&["start", "endless", "--wait", "5m", "--url", &url, "--token", TOKEN]);
    let watching = folder.spawn(&["runs", "watch", &run, "--url", &url, "--token", TOKEN]);
    folder.until(&["runs", "steps", &run, "--url", &url, "--token", TOKEN], |it| it.stdout.contains("again"));
    let asked = Instant::now();
    assert_eq!(server.signal("TERM"), 0);
    assert!(asked.elapsed() < STOPPED_WITHIN, "{:?}", asked.elapsed());
    drop((waiting, watching));
    let (server, url) = serve(&folder, &["--bootstrap-token", TOKEN, "--grace-seconds", GRACE]);
    let shown = folder.run(&["runs", "show", &run, "--json", "--url", &url, "--token", TOKEN]);
    assert_eq!(shown.expect(0).json()["status"], "running");
    assert_eq!(server.signal("TERM"), 0);
}

#[test]
fn a_server_stops_in_time_though_its_database_is_away() {
    let folder = Folder::new();
    let database = windlass_testkit::OwnPostgres::start("").unwrap();
    let address = database.url();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--bootstrap-token", TOKEN, "--grace-seconds", GRACE];
    let server = folder.spawn(&[&arguments[..], &["--database-url", &address]].concat());
    let printed = server.until_printed("  data ");
    let url = printed.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let file = folder.write("naps.yaml", "name: naps\nsteps: [{ id: nap, type: bench, with: { sleep_ms: 1000 } }]\n");
    folder.run(&["deploy", file.to_str().unwrap(), "--url", &url, "--token", TOKEN]).expect(0);
    folder.run(&["start", "naps", "--url", &url, "--token", TOKEN]).expect(0);
    // Its end cannot be written any more.
    drop(database);
    server.until_printed("did not take a batch");
    let asked = Instant::now();
    server.signal("TERM");
    assert!(asked.elapsed() < STOPPED_WITHIN, "{:?}", asked.elapsed());
}
