//! A server and its clients, as processes.

use crate::support::{Folder, Running};

const TOKEN: &str = "a-token-for-the-tests";
const GREET: &str = "name: greet\nsteps:\n  - id: a\n    type: transform\n    with: { value: \"Hello, ${{ input.name }}\" }\noutput: ${{ \
                     steps.a.output }}\n";

/// A server on a port of its own; what it printed and its address.
fn serve(folder: &Folder, further: &[&str]) -> (Running, String) {
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

#[test]
fn a_token_is_made_once_and_printed_once() {
    let folder = Folder::new();
    let (server, url) = serve(&folder, &[]);
    let printed = server.until_printed("keep it");
    let token = printed.split_whitespace().find(|word| word.starts_with("wl_")).unwrap().to_owned();
    folder.run(&["runs", "list", "--url", &url, "--token", &token]).expect(0);
    assert_eq!(server.signal("TERM"), 0);
    let (server, url) = serve(&folder, &[]);
    folder.run(&["runs", "list", "--url", &url, "--token", &token]).expect(0);
    assert!(!server.printed().contains("wl_"), "{}", server.printed());
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
