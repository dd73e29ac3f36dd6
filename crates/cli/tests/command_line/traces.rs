//! Traces: what a run joins, what its requests carry, and how it is found.

use serde_json::json;

use crate::{support::Folder, vault::echo};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn a_run_joins_the_trace_that_it_is_started_in() {
    let folder = Folder::new();
    let (url, seen) = echo();
    let file = folder.write(
        "calls.yaml",
        format!("name: calls\nsteps: [{{ id: ask, type: http, with: {{ url: '{url}' }} }}]\noutput: ${{{{ run.trace_id }}}}\n"),
    );
    let file = file.to_str().unwrap();
    let parent = format!("00-{ID}-00f067aa0ba902b7-00");
    let run = ["run", file, "--data-dir", "data", "--allow-private-network", "--json"];
    let last = || seen.lock().unwrap().last().cloned().unwrap();

    let mut command = folder.command(&run);
    command.env("TRACEPARENT", &parent).env("TRACESTATE", "a=1, b=2");
    let ended = crate::support::Ended::of(command.output().unwrap()).expect(0).json();
    assert_eq!(ended["output"], ID);
    let asked = last();
    let sent = asked.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    assert!(sent.starts_with(&format!("00-{ID}-")) && sent.ends_with("-00") && sent != parent, "{asked}");
    assert!(asked.contains("tracestate: a=1,b=2\r\n"), "{asked}");

    // An option goes before the environment, and what cannot be read is as good as nothing.
    let other = "0af7651916cd43dd8448eb211c80319c";
    for (given, joins) in [(format!("00-{other}-00f067aa0ba902b7-01"), true), (format!("00-{other}"), false)] {
        let mut command = folder.command(&[&run[..], &["--traceparent", &given]].concat());
        let ended = crate::support::Ended::of(command.env("TRACEPARENT", &parent).output().unwrap()).expect(0).json();
        let own = ended["run_id"].as_str().unwrap().replace('-', "");
        assert_eq!(ended["output"], if joins { other } else { &own });
        assert!(last().contains(&format!("traceparent: 00-{}-", ended["output"].as_str().unwrap())), "{}", last());
    }

    folder.run(&["deploy", file, "--data-dir", "data"]).expect(0);
    let start = ["start", "calls", "--mode", "test", "--data-dir", "data", "--json"];
    let started = folder.run(&[&start[..], &["--traceparent", &parent, "--tracestate", "c=3"]].concat());
    assert_eq!(started.expect(0).json()["trace_id"], ID);
    let found = folder.run(&["runs", "list", "--trace-id", ID, "--data-dir", "data", "--json"]).expect(0).json();
    let traces: Vec<_> = found["items"].as_array().unwrap().iter().map(|run| &run["trace_id"]).collect();
    assert_eq!(traces, [&json!(ID), &json!(ID)]);
    let refused = folder.run(&["runs", "list", "--trace-id", "none", "--data-dir", "data"]);
    assert!(refused.expect(2).stderr.contains("32 hexadecimal digits"), "{}", refused.stderr);
}
