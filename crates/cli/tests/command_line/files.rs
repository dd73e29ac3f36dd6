//! `windlass files`: the examples of docs/files.md, run off the page.

use std::process::Command;

/// The commands of the page's first example.
fn example() -> &'static str {
    let page = include_str!("../../../../docs/files.md");
    let block = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the page has an example")
}

#[test]
fn the_examples_of_the_page_run() {
    let home = tempfile::tempdir().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_windlass"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let shell = Command::new("bash")
        .args(["-euo", "pipefail", "-c", example()])
        .current_dir(home.path())
        .env("PATH", path)
        .env("WINDLASS_DATA_DIR", home.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shell.stdout);
    assert!(shell.status.success(), "{text}{}", String::from_utf8_lossy(&shell.stderr));
    for expected in
        ["version 1, 12 bytes, text/csv", "version 2, 17 bytes, text/csv", "41 bytes", "/api/v1/shared-files/"]
    {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert_eq!((read("again.csv").as_str(), read("first.csv").as_str()), ("name,count\na,1\nb,", "name,count\n\n"));
}
