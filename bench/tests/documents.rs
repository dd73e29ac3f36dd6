//! What is measured are workflows that the server accepts.

use windlass_bench::document;
use windlass_definition::{compile::compile, diagnostic::render, source::Format, step_types::built_in};
use windlass_steps::{Options, catalogue};

#[test]
fn every_measured_workflow_compiles() {
    let types = catalogue(Options::default()).unwrap().step_types(built_in());
    for document in [
        document::sequence(1),
        document::sequence(10),
        document::sequence(100),
        document::chain(10),
        document::tasks(10),
        document::fan_out(1_000),
        document::crowd_of_tasks(1_000),
        document::rounds(10_000),
    ]
    .into_iter()
    .chain(windlass_bench::scale::generate::documents())
    {
        let text = document.json.to_string();
        let problems = match compile(&text, Format::Json, &types) {
            Ok(compiled) => compiled.warnings,
            Err(problems) => problems,
        };
        assert!(problems.is_empty(), "{}", render(&problems, &document.name));
    }
}

#[test]
fn a_run_has_as_many_steps_as_it_is_counted_for() {
    for document in [document::sequence(1), document::sequence(100), document::chain(10), document::tasks(10)] {
        let steps = document.json["steps"].as_array().unwrap();
        assert_eq!(steps.len(), document.steps as usize, "{}", document.name);
    }
}
