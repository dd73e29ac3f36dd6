//! Every example is a document that the server accepts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use windlass_definition::{compile::compile, diagnostic::render, source::Format, step_types::built_in};
use windlass_steps::{Options, catalogue};

fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect();
    found.sort();
    found
}

#[test]
fn every_example_compiles() {
    let types = catalogue(Options::default()).unwrap().step_types(built_in());
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let (own, recorded) = (documents(&examples), documents(&examples.join("wfinstances")));
    assert!(own.len() >= 10 && recorded.len() >= 3, "{} and {} examples", own.len(), recorded.len());
    let mut refused = String::new();
    for path in own.into_iter().chain(recorded) {
        let text = fs::read_to_string(&path).unwrap();
        let problems = match compile(&text, Format::Yaml, &types) {
            Ok(compiled) => compiled.warnings,
            Err(problems) => problems,
        };
        refused.push_str(&render(&problems, &path.to_string_lossy()));
    }
    assert!(refused.is_empty(), "{refused}");
}

#[test]
fn a_program_that_is_none_is_refused_where_it_stands() {
    let types = catalogue(Options::default()).unwrap().step_types(built_in());
    let text = "name: x\nsteps:\n  - id: a\n    type: jq\n    with:\n      args: { n: 1 }\n      program: .[:$m]\n";
    let problems = compile(text, Format::Yaml, &types).unwrap_err();
    let shown = render(&problems, "x.yaml");
    assert!(shown.contains("x.yaml:7:16") && shown.contains("there is no variable `$m`"), "{shown}");
}
