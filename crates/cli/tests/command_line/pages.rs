//! The examples of pages, run off the page: each `sh` block, one after the other.

use std::process::Command;

use crate::support::Folder;

/// The commands of a page's examples.
fn examples(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect::<Vec<_>>().join("\n")
}

/// Runs commands in a shell that knows the program, on a data directory in that folder: how it ended, and what it printed.
fn shell(folder: &Folder, commands: &str) -> (Option<i32>, String) {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_windlass"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let ended = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("WINDLASS_CONFIG_DIR", folder.path().join("config"))
        .env("WINDLASS_DATA_DIR", folder.path().join("data"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), format!("{}{}", text(&ended.stdout), text(&ended.stderr)))
}

#[test]
fn the_examples_of_rate_limits_run() {
    let folder = Folder::new();
    let (status, text) = shell(&folder, &examples(include_str!("../../../../docs/rate-limits.md")));
    assert_eq!(status, Some(0), "{text}");
    let rules = folder.run(&["limits", "rules", "list", "--json", "--data-dir", "data"]).expect(0).json();
    let rule = &rules["items"][0];
    assert_eq!((&rule["name"], &rule["requests"], &rule["active"]), (&"starts".into(), &100.into(), &false.into()));
}

#[test]
fn the_examples_of_files_run() {
    let folder = Folder::new();
    let run = |commands: &str| shell(&folder, commands);
    let (status, text) = run(&examples(include_str!("../../../../docs/files.md")));
    assert_eq!(status, Some(0), "{text}");
    for expected in [
        "version 1, 12 bytes, text/csv",
        "version 2, 17 bytes, text/csv",
        "41 bytes",
        "/api/v1/shared-files/",
        "(3 versions, 41 B) are not in it: `windlass db copy-files` copies them",
        "copied to monday-files: 3 versions, 41 B",
        "copied to elsewhere/files: 3 versions, 41 B",
        "sound: 3 versions of files, 41 B, 0 problems",
    ] {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
    // What is copied already is left; what is not there, or not what was written, is named.
    let (status, text) = run("windlass db copy-files monday-files");
    assert!(status == Some(0) && text.contains("copied to monday-files: 0 versions, 0 B"), "{text}");
    let damage = "for it in $(find elsewhere/files -type f | sort | head -1); do tr a b < $it > it; cp it $it; done; \
                  rm $(find elsewhere/files -type f | sort | tail -1)";
    run(damage);
    let (status, text) = run("windlass db check --files --data-dir elsewhere");
    assert_eq!(status, Some(1), "{text}");
    for expected in ["does not have the checksum", "is not in the storage any more", "damaged: 3 versions"] {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
    let (_, text) = run("windlass db check --files --json --data-dir elsewhere");
    assert!(text.contains("\"problem_count\":2"), "{text}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!((read("again.csv").as_str(), read("first.csv").as_str()), ("name,count\na,1\nb,", "name,count\n\n"));
}
