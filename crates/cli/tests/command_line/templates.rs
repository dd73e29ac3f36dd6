//! Templates on the command line: the examples of docs/api.md, and what comes of them.

use crate::support::Folder;

/// The commands of the page.
fn examples() -> Vec<Vec<String>> {
    let page = include_str!("../../../../docs/api.md");
    let (_, section) = page.split_once("**Templates.**").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let words = |line: &str| line.split_whitespace().skip(1).map(str::to_owned).collect();
    block.lines().map(|line| words(line.split(" #").next().unwrap_or(line))).collect()
}

#[test]
fn the_examples_of_the_page_run() {
    let folder = Folder::new();
    let on = |arguments: &[&str]| folder.run(&[arguments, &["--data-dir", "data"]].concat());
    let file = folder.write("welcome.yaml", "# for all\nname: welcome\nsteps: []\n");
    on(&["deploy", file.to_str().unwrap()]).expect(0);
    let printed: Vec<String> = examples()
        .iter()
        .map(|words| on(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect(0).stdout.clone())
        .collect();
    let [marked, listed, copied, published] = &printed[..] else { panic!("{printed:?}") };
    assert_eq!(marked, "welcome: a template\n");
    assert!(listed.contains("welcome"), "{listed}");
    assert!(copied.starts_with("hello: made from welcome"), "{copied}");
    assert_eq!(published, "hello: version 1\n");
    assert_eq!(on(&["workflows", "show", "hello"]).expect(0).stdout, "# for all\nname: hello\nsteps: []\n");

    let taken = on(&["workflows", "copy", "welcome", "hello"]);
    assert!(taken.expect(2).stderr.contains("take another name"), "{}", taken.stderr);
    on(&["workflows", "copy", "welcome", "old", "--version", "9"]).expect(4);
    let cleared = on(&["workflows", "template", "welcome", "--category", "", "--json"]).expect(0).json();
    assert_eq!((&cleared["is_template"], &cleared["template_category"]), (&true.into(), &().into()));
    on(&["workflows", "template", "welcome", "--off", "--if-match", "1"]).expect(2);
    on(&["workflows", "template", "welcome", "--off"]).expect(0);
    assert!(!on(&["workflows", "list", "--template"]).expect(0).stdout.contains("welcome"));
}
