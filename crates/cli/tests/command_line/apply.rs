//! Documents become rows, the same documents change nothing, and what is taken out goes in elsewhere.

use serde_json::{Value, json};

use crate::support::{Ended, Folder};

const SHOP: &str = r##"# What the shop has.
record: folders
name: Orders
parent_id: { name: Shop, parent_id: null }
---
record: folders
name: Shop
description: All of it
---
record: tags
name: nightly
color: "#1f6feb"
---
name: hello
steps:
  - { id: say, type: transform, with: { value: 1 } }
---
record: workflow_places
workflow_id: hello
folder_id: { name: Orders, parent_id: { name: Shop, parent_id: null } }
---
record: workflow_tags
workflow_id: hello
tag_id: nightly
---
record: secrets
name: pay_key
value: very secret
"##;

/// Runs with a database.
fn on<'a>(folder: &'a Folder, database: &'a [&'a str]) -> impl Fn(&[&str]) -> Ended + 'a {
    move |arguments| {
        let mut command = folder.command(&[arguments, database].concat());
        command.env("WINDLASS_MASTER_KEY", "77".repeat(32));
        Ended::of(command.output().unwrap())
    }
}

/// The actions of a plan, by what they are about.
fn actions(plan: &Value) -> Vec<String> {
    let say = |it: &Value| format!("{} {}", it["action"].as_str().unwrap(), it["title"].as_str().unwrap());
    plan["items"].as_array().unwrap().iter().map(say).collect()
}

fn applies(database: &[&str]) {
    let folder = Folder::new();
    let run = on(&folder, database);
    run(&["db", "init"]).expect(0);
    folder.write("shop.yaml", SHOP);
    let plan = run(&["apply", "-f", "shop.yaml", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((&plan["written"], &plan["dry_run"]), (&json!(0), &json!(true)));
    let made = actions(&plan);
    assert_eq!(made.len(), 7);
    let place = |title: &str| made.iter().position(|it| it.contains(title)).unwrap();
    assert!(place("folder Shop") < place("Orders") && place("Orders") < place("workflow place"), "{made:?}");
    assert!(made.iter().all(|it| it.starts_with("create")), "{made:?}");
    assert_eq!(run(&["workflows", "folders", "list", "--json"]).expect(0).json()["items"], json!([]), "a dry run");

    let said = run(&["apply", "-f", "shop.yaml"]);
    assert!(said.expect(0).stdout.contains("7 made, 0 changed, 0 already so"), "{}", said.stdout);
    assert!(
        said.stdout.contains("+ folder Shop (shop.yaml:6)") && said.stdout.contains("value: ***"),
        "{}",
        said.stdout
    );
    let again = run(&["apply", "-f", "shop.yaml", "--json"]).expect(0).json();
    assert_eq!(again["written"], 0, "{again}");
    assert!(actions(&again).iter().all(|it| it.starts_with("keep")), "{again}");

    folder.write("shop.yaml", SHOP.replace("#1f6feb", "#000000").replace("value: 1", "value: 2"));
    let said = run(&["apply", "-f", "shop.yaml"]).expect(0).stdout.clone();
    assert!(said.contains(r##"color: "#1f6feb" → "#000000""##) && said.contains("0 made, 2 changed"), "{said}");
    assert_eq!(run(&["workflows", "versions", "hello", "--json"]).expect(0).json()["items"][0]["version"], 2);
    // What a document does not name stays, and what it may not change is refused before anything is written.
    folder.write("tag.json", r#"{"record": "tags", "name": "Nightly", "description": "At night."}"#);
    run(&["apply", "-f", "tag.json"]).expect(0);
    let tag = run(&["workflows", "tags", "list", "--json"]).expect(0).json()["items"][0].clone();
    assert_eq!(
        (&tag["color"], &tag["description"], &tag["revision"]),
        (&json!("#000000"), &json!("At night."), &json!(3))
    );
}

#[test]
fn documents_are_applied_on_sqlite() {
    applies(&["--data-dir", "data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_applied_on_postgres() {
    let postgres = windlass_testkit::postgres().await;
    applies(&["--database-url", &postgres.url]);
}

/// Everything that is wrong is said at once, by file and line, and nothing is written.
#[test]
fn what_is_wrong_is_said_with_its_line() {
    let folder = Folder::new();
    let run = on(&folder, &["--data-dir", "data"]);
    run(&["db", "init"]).expect(0);
    std::fs::create_dir(folder.path().join("all")).unwrap();
    folder.write(
        "all/a.yaml",
        "record: folders\nname: Good\n---\nrecord: folders\nnmae: x\n---\nrecord: tags\nname: Not a slug!\ncolor: red\n---\n\
         record: folderz\n---\nrecord: audit_entries\n---\nsay: nothing\n---\nname: bad\nsteps:\n  - { id: a, type: htpp }\n",
    );
    folder.write("all/b.jsonl", "{\"record\": \"tags\", \"name\": \"fine\"}\n\n{\"record\": \"tags\"\n");
    folder.write("all/ignored.txt", "x");
    let said = run(&["apply", "-f", "all"]).expect(2).stderr.clone();
    for (what, place) in [
        ("is no field of `folder`; did you mean `name`?", "all/a.yaml:5:1"),
        ("`name` is needed", "all/a.yaml:4:1"),
        ("`name` must be", "all/a.yaml:8:1"),
        ("`color`", "all/a.yaml:9:1"),
        ("there is no record `folderz`", "all/a.yaml:11:9"),
        ("are made by the program alone", "all/a.yaml:13:9"),
        ("says neither which `record` it is", "all/a.yaml:15:1"),
        ("htpp", "all/a.yaml:19:20"),
        ("", "all/b.jsonl:3:"),
    ] {
        assert!(said.contains(what) && said.contains(place), "{what} {place}\n{said}");
    }
    // What only the server can say comes with its line too.
    folder.write(
        "refs.yaml",
        "record: folders\nname: Good\n---\nrecord: folders\nname: In\nparent_id: { name: Nowhere, parent_id: null }\n---\n\
         record: workflow_tags\nworkflow_id: nope\ntag_id: nope\n---\nrecord: secrets\nname: s\n---\n\
         record: folders\nname: Good\n",
    );
    let said = run(&["apply", "-f", "refs.yaml"]).expect(2).stderr.clone();
    for place in ["refs.yaml:6:1", "refs.yaml:9:1", "refs.yaml:10:1", "refs.yaml:12:1", "refs.yaml:15:1"] {
        assert!(said.contains(place), "{place}\n{said}");
    }
    assert_eq!(run(&["workflows", "folders", "list", "--json"]).expect(0).json()["items"], json!([]));
    run(&["apply", "-f", "nowhere.yaml"]).expect(2);
}

/// What one installation gives out, another takes in, on the other database.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_goes_in_elsewhere() {
    let folder = Folder::new();
    let postgres = windlass_testkit::postgres().await;
    let here = on(&folder, &["--data-dir", "data"]);
    let there = ["--database-url", &*postgres.url];
    let there = on(&folder, &there);
    here(&["db", "init"]).expect(0);
    there(&["db", "init"]).expect(0);
    folder.write("shop.yaml", SHOP);
    here(&["apply", "-f", "shop.yaml"]).expect(0);
    let records = ["folders", "tags", "placed", "tagged"];
    let export =
        |run: &dyn Fn(&[&str]) -> Ended, noun: &str| run(&["workflows", noun, "export"]).expect(0).stdout.clone();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    for noun in records {
        folder.write(&format!("out/{noun}.jsonl"), export(&here, noun));
    }
    // In the order of their names, what refers to something comes before it in part.
    let same = here(&["apply", "-f", "out", "--json"]).expect(0).json();
    assert_eq!(same["written"], 0, "{same}");
    folder.write("out/hello.yaml", here(&["workflows", "show", "hello"]).expect(0).stdout.clone());
    let taken = there(&["apply", "-f", "out", "--json"]).expect(0).json();
    assert_eq!(taken["written"], 6, "{taken}");
    assert_eq!(there(&["apply", "-f", "out", "--json"]).expect(0).json()["written"], 0);
    let names = |text: String| {
        let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let mut lines: Vec<String> =
            text.lines().map(|line| format!("{} {}", read(line)["name"], read(line)["workflow_id"])).collect();
        lines.sort();
        lines
    };
    for noun in records {
        assert_eq!(names(export(&here, noun)), names(export(&there, noun)), "{noun}");
    }
    let secrets = here(&["vault", "secrets", "export"]).expect(0).stdout.clone();
    assert!(secrets.contains("pay_key") && !secrets.contains("very secret"), "{secrets}");
    let table = here(&["workflows", "tags", "export", "--format", "csv"]).expect(0).stdout.clone();
    assert!(table.starts_with("id,name,color,") && table.lines().count() == 2, "{table}");
}
