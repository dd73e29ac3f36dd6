//! `windlass verify`: what it says of a database, and how it ends.

use crate::support::Folder;

const GOOD: &str = "name: good\nsteps: [{ id: a, type: transform, with: { value: 1 } }]\n";
const WAITS: &str = "name: waits\nsteps: [{ id: w, type: wait, with: { signal: go } }]\n";
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";

/// Arguments after `verify`, exit code, what standard output and standard error hold.
type Case = (&'static [&'static str], i32, &'static str, &'static str);

const CASES: &[Case] = &[
    // Sound.
    (&["--data-dir", "data"], 0, "sound: 1 runs (1 ended)", ""),
    (&["--data-dir", "data", "--json"], 0, "\"violation_count\":0", ""),
    (&["--data-dir", "data", "--finished", "--minimum-runs", "1", "--minimum-steps", "1"], 0, "sound", ""),
    (&["--data-dir", "data", "--ledger", "told.jsonl", "--minimum-told", "2"], 0, "2 answers", ""),
    (&["--data-dir", "data", "--effects", "none.jsonl"], 0, "0 effects", ""),
    (&["--data-dir", "open"], 0, "sound: 1 runs (0 ended)", ""),
    // Something must not be.
    (&["--data-dir", "open", "--finished"], 1, "run_has_ended: expected that every run has ended", ""),
    (&["--data-dir", "open", "--finished", "--json"], 1, "\"rule\":\"run_has_ended\"", ""),
    (&["--data-dir", "data", "--ledger", "false.jsonl"], 1, "told_start: expected that an accepted run is there", ""),
    (&["--data-dir", "data", "--effects", "seen.jsonl"], 1, "effect_has_journal", ""),
    // Too little to mean anything.
    (&["--data-dir", "data", "--minimum-runs", "2"], 1, "progress: expected that at least 2 ended runs; found: 1", ""),
    (&["--data-dir", "data", "--minimum-steps", "9"], 1, "at least 9 records of steps", ""),
    (&["--data-dir", "data", "--minimum-told", "1"], 1, "at least 1 lines of what clients were told", ""),
    (&["--data-dir", "data", "--minimum-effects", "1"], 1, "at least 1 effects", ""),
    // Bad usage.
    (&["--data-dir", "data", "--minimum-runs", "many"], 2, "", "invalid value"),
    (&["--data-dir", "data", "--sure"], 2, "", "unexpected argument"),
    (&["--data-dir", "data", "--database-url", "b"], 2, "", "name one database"),
    (&["--data-dir", "data", "--ledger", "nowhere.jsonl"], 2, "", "nowhere.jsonl"),
    (&["--data-dir", "data", "--ledger", "good.yaml"], 2, "", "good.yaml: line 1"),
    (&["--data-dir", "data", "--effects", "good.yaml"], 2, "", "good.yaml: line 1"),
    // Nobody there to ask.
    (&["--data-dir", "data", "--effects", "http://127.0.0.1:1"], 3, "", "127.0.0.1:1"),
    (&["--database-url", "postgres://nobody@127.0.0.1:1/x"], 3, "", "127.0.0.1:1"),
    (&["--data-dir", "held"], 3, "", "in use by"),
    (&["--data-dir", "nowhere"], 4, "", "there is no database in nowhere"),
];

#[test]
fn a_verdict_has_its_exit_code() {
    let folder = Folder::new();
    for (directory, name, document) in [("data", "good", GOOD), ("open", "waits", WAITS), ("held", "waits", WAITS)] {
        folder.write(&format!("{name}.yaml"), document);
        folder.run(&["deploy", &format!("{name}.yaml"), "--data-dir", directory]).expect(0);
    }
    let start = ["start", "good", "--idempotency-key", "once", "--wait", "10s", "--json", "--data-dir", "data"];
    let run = folder.run(&start).expect(0).json()["id"].as_str().unwrap().to_owned();
    folder.run(&["start", "waits", "--data-dir", "open"]).expect(0);
    let told = |run: &str| {
        let start = format!(r#"{{"told":"start","run":"{run}","workflow":"good","key":"once"}}"#);
        format!("{start}\n{{\"told\":\"final\",\"run\":\"{run}\",\"status\":\"completed\"}}\n")
    };
    folder.write("told.jsonl", told(&run));
    folder.write("false.jsonl", told(NOBODY));
    folder.write("none.jsonl", "");
    let seen = format!(r#"{{"effect":{{"key":"{NOBODY}/pay","kind":"charge","body":{{}},"answer":{{}},"at":"now"}}}}"#);
    folder.write("seen.jsonl", seen);
    let held = folder.spawn(&["run", "waits.yaml", "--data-dir", "held"]);
    held.until_printed("give it: windlass runs signal");
    let mut wrong = Vec::new();
    for (arguments, code, stdout, stderr) in CASES {
        let ended = folder.run(&[&["verify"], *arguments].concat());
        if ended.code != *code || !ended.stdout.contains(stdout) || !ended.stderr.contains(stderr) {
            wrong.push(format!("{arguments:?}: {} for {code}\n{}{}", ended.code, ended.stdout, ended.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    held.kill();
}
