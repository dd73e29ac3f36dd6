//! How commands end: each exit code, and what is said with it.

use crate::support::Folder;

const GOOD: &str = "name: good\ninput: { type: object, properties: { n: { type: integer } } }\nsteps:\n  - id: a\n    type: transform\n    \
                    with: { value: \"${{ default(input.n, 1) + 1 }}\" }\noutput: ${{ steps.a.output }}\n";
const FAILS: &str =
    "name: fails\nsteps:\n  - id: a\n    type: fail\n    with: { code: denied_by_rule, message: it is what it is }\n";

/// Arguments, exit code, what standard output and standard error hold.
type Case = (&'static [&'static str], i32, &'static str, &'static str);

const CASES: &[Case] = &[
    (&["--help"], 0, "Exit codes:", ""),
    (&["--version"], 0, "windlass 0", ""),
    (&["version", "--json"], 0, "{\"version\":", ""),
    (&[], 2, "", "Usage"),
    (&["nope"], 2, "", "unrecognized subcommand"),
    (&["run"], 2, "", "FILE"),
    (&["check", "good.yaml"], 0, "good.yaml: ok", ""),
    (&["check", "good.yaml", "bad.yaml"], 2, "good.yaml: ok", "did you mean `transform`?"),
    (&["check", "bad.yaml", "--json"], 2, "\"suggestion\":\"transform\"", ""),
    (&["check", "missing.yaml"], 2, "", "cannot read missing.yaml"),
    (&["check", "."], 2, "", "it is a directory"),
    (&["check", "binary.yaml"], 2, "", "not UTF-8"),
    (&["run", "good.yaml", "--input", "{\"n\": 41}"], 0, "42", "is completed"),
    (&["run", "good.yaml", "--input", "@input.json"], 0, "8", ""),
    (
        &["run", "good.yaml", "--input", "{\"n\": 41}", "--json"],
        0,
        "\"output\":42,\"error\":null,\"steps\":[{\"path\":\"a\"",
        "",
    ),
    (&["run", "good.yaml", "--input", "{\"n\": \"x\"}"], 2, "", "/input/n"),
    (&["run", "good.yaml", "--input", "{\"n\": 1, \"n\": 2}"], 2, "", "twice"),
    (&["run", "good.yaml", "--input", "nonsense"], 2, "", "--input is refused"),
    (&["run", "good.yaml", "--input", "@nowhere.json"], 2, "", "cannot read nowhere.json"),
    (&["run", "bad.yaml", "--json"], 2, "\"code\":\"invalid_document\"", "bad.yaml:4:11"),
    (&["run", "fails.yaml"], 1, "", "user/denied_by_rule: it is what it is"),
    (&["run", "fails.yaml", "--json"], 1, "\"status\":\"failed\"", ""),
    (&["run", "good.yaml", "--data-dir", "input.json"], 3, "", "input.json"),
    (&["run", "good.yaml", "--database-url", "postgres://nobody@127.0.0.1:1/x"], 3, "", "127.0.0.1:1"),
    (&["run", "good.yaml", "--database-url", "nonsense"], 3, "", "cannot open"),
    (&["run", "good.yaml", "--data-dir", "a", "--database-url", "b"], 2, "", "name one database"),
    (&["runs", "list", "--data-dir", "a", "--url", "http://127.0.0.1:1"], 2, "", "name one place"),
    (&["run", "--resume", "--data-dir", "fresh"], 2, "", "there is no run"),
    (&["runs", "list", "--url", "http://127.0.0.1:1"], 3, "", "no server answers at http://127.0.0.1:1"),
    (&["runs", "list", "--url", "ftp://x"], 2, "", "no address of a server"),
    (&["runs", "show", "nope", "--data-dir", "data"], 4, "", "there is no such run"),
    (&["workflows", "show", "nope", "--data-dir", "data"], 4, "", "nope"),
    (&["start", "nope", "--data-dir", "data"], 4, "", "nope"),
    (&["deploy", "bad.yaml", "--data-dir", "data"], 2, "", "--> bad.yaml:4:11"),
    (&["deploy", "nameless.yaml", "--data-dir", "data"], 2, "", "name"),
    (&["deploy", "good.yaml", "--data-dir", "data"], 0, "good: version 1", ""),
    (&["start", "good", "--wait", "10s", "--input", "{\"n\": 1}", "--data-dir", "data"], 0, "2", ""),
    (&["start", "good", "--wait", "10m", "--data-dir", "data"], 2, "", "at most 300 s"),
    (&["workflows", "list", "--data-dir", "data"], 0, "good", ""),
    (&["workflows", "show", "good", "--data-dir", "data"], 0, "type: transform", ""),
    (&["workflows", "versions", "good", "--json", "--data-dir", "data"], 0, "\"version\":1", ""),
    (&["approvals", "list", "--data-dir", "data"], 0, "", "no approvals"),
    (&["tasks", "list", "--data-dir", "data"], 0, "", "no tasks"),
    (&["completions", "bash"], 0, "_windlass", ""),
    (&["schema"], 0, "\"$defs\"", ""),
    (&["serve", "--bootstrap-token", "short", "--data-dir", "data", "--listen", "127.0.0.1:0"], 2, "", "16 to 256"),
    (&["serve", "--listen", "256.0.0.1:1"], 2, "", "invalid value"),
];

#[test]
fn every_way_to_end_has_its_code() {
    let folder = Folder::new();
    folder.write("good.yaml", GOOD);
    folder.write("fails.yaml", FAILS);
    folder.write("bad.yaml", "name: bad\nsteps:\n  - id: a\n    type: trnsform\n    with: { value: 1 }\n");
    folder.write("nameless.yaml", "steps:\n  - id: a\n    type: transform\n    with: { value: 1 }\n");
    folder.write("binary.yaml", [0xff, 0xfe]);
    folder.write("input.json", "{\"n\": 7}");
    let mut wrong = Vec::new();
    for (arguments, code, stdout, stderr) in CASES {
        let ended = folder.run(arguments);
        if ended.code != *code || !ended.stdout.contains(stdout) || !ended.stderr.contains(stderr) {
            wrong.push(format!("{arguments:?}: {} for {code}\n{}{}", ended.code, ended.stdout, ended.stderr));
        }
        if arguments.contains(&"--json") {
            ended.json();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
