//! Documents under other names.

mod common;

use common::step_types;
use windlass_definition::{compile, rename, source::Format};

/// The text under the name `b-2`.
fn check(format: Format, text: &str, expected: &str) {
    let renamed = rename(text, format, "b-2", &step_types()).unwrap();
    assert_eq!(renamed, expected, "{text}");
    let (old, new) = (compile(text, format, &step_types()).unwrap(), compile(&renamed, format, &step_types()).unwrap());
    assert_eq!((&*new.plan.name, old.document.body), ("b-2", new.document.body), "{text}");
}

#[test]
fn only_the_name_changes() {
    for (text, expected) in [
        ("# of us\nname: a # this one\nsteps: []\n", "# of us\nname: b-2 # this one\nsteps: []\n"),
        ("steps: []   \nname:   'a'", "steps: []   \nname:   b-2"),
        ("{steps: [], name: \"a\"}", "{steps: [], name: b-2}"),
        ("name: !!str a\nsteps: []", "name: b-2\nsteps: []"),
        ("\u{feff}name: a\nsteps: []", "name: b-2\nsteps: []"),
        // Nothing else that says the same is meant.
        (
            "description: a\nname: a\nsteps: [{id: a, type: log, with: {message: a}, position: {x: 1, y: 2}}]\n",
            "description: a\nname: b-2\nsteps: [{id: a, type: log, with: {message: a}, position: {x: 1, y: 2}}]\n",
        ),
        // What stands for the name stands for more.
        ("description: &n a # both\nname: *n\nsteps: []", "name: b-2\ndescription: a\nsteps: []\n"),
    ] {
        check(Format::Yaml, text, expected);
    }
    check(Format::Json, "{\n \"steps\": [], \"name\": \"a\" }", "{\n \"steps\": [], \"name\": \"b-2\" }");
    check(
        Format::Json,
        r#"{"name":"\u0061","ui":{"a":"a"},"steps":[]}"#,
        r#"{"name":"b-2","ui":{"a":"a"},"steps":[]}"#,
    );
}

#[test]
fn a_name_that_reads_as_something_else_is_quoted() {
    for name in ["7", "1e3", "true", "null", "0o17"] {
        let renamed = rename("name: a # it\nsteps: []", Format::Yaml, name, &step_types()).unwrap();
        assert_eq!(renamed, format!("name: \"{name}\" # it\nsteps: []"));
    }
}

#[test]
fn what_is_wrong_is_told() {
    for (text, name) in [("name: a\nsteps: 3", "b"), ("name: a\nsteps: []", "No Name"), ("name: a\nsteps: []", "x: 1")]
    {
        assert!(!rename(text, Format::Yaml, name, &step_types()).unwrap_err().is_empty(), "{text} as {name}");
    }
}
