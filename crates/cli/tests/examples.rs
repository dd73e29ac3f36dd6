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
