//! The shipped JSON Schema is that of the step types of this program, and every example fits it.
//!
//! `UPDATE_EXPECT=1` writes `docs/workflow.schema.json` anew.

use std::{fs, path::Path};

use windlass_definition::{
    schema::json_schema,
    source::{Format, parse},
    step_types::built_in,
};
use windlass_steps::{Options, catalogue};

const HOW: &str =
    "docs/workflow.schema.json is out of date: `UPDATE_EXPECT=1 cargo test -p windlass-cli --test schema`";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_shipped_schema_is_this_one() {
    let types = catalogue(Options::default()).unwrap().step_types(built_in());
    let schema = serde_json::to_string_pretty(&json_schema(&types)).unwrap() + "\n";
    let path = root().join("docs/workflow.schema.json");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == schema, "{HOW}");
}

#[test]
fn every_example_fits_the_schema() {
    let types = catalogue(Options::default()).unwrap().step_types(built_in());
    let validator = jsonschema::draft202012::new(&json_schema(&types)).unwrap();
    let mut misfits = String::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let instance = parse(&text, Format::Yaml).root.unwrap().to_value().to_serde();
        for error in validator.iter_errors(&instance) {
            misfits.push_str(&format!("{}{}: {error}\n", path.display(), error.instance_path()));
        }
    }
    assert!(misfits.is_empty(), "{misfits}");
}
