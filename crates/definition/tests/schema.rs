//! The JSON Schema of the language against documents: what compiles fits, and common slips do not.

mod common;

use std::{fs, path::Path};

use common::step_types;
use windlass_definition::{
    compile,
    print::{Editor, to_node},
    schema::json_schema,
    source::{Format, parse},
};

fn good() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/good");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn every_good_document_fits() {
    let schema = json_schema(&step_types());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for (name, text) in good() {
        let format = if name.ends_with("json") { Format::Json } else { Format::Yaml };
        let compiled = compile(&text, format, &step_types()).unwrap();
        let written = parse(&text, format).root.unwrap().to_value().to_serde();
        let printed = to_node(&compiled.document, Editor::Kept).to_value().to_serde();
        for instance in [written, printed] {
            let errors: Vec<String> =
                validator.iter_errors(&instance).map(|it| format!("{}: {it}", it.instance_path())).collect();
            assert!(errors.is_empty(), "{name}:\n{}", errors.join("\n"));
        }
    }
}

#[test]
fn slips_do_not_fit() {
    let validator = jsonschema::draft202012::new(&json_schema(&step_types())).unwrap();
    for text in [
        "{name: Order, steps: []}",
        "{name: order}",
        "{name: order, steps: [], stepps: []}",
        "{name: order, steps: [{id: a, type: htpp}]}",
        "{name: order, steps: [{id: a, type: log, with: {message: hi}, retry: {}}]}",
        "{name: order, steps: [{id: a, type: log, with: {mesage: hi}}]}",
        "{name: order, steps: [{id: a, type: log, with: {message: hi, level: loud}}]}",
        "{name: order, steps: [{id: a, type: log, with: {message: hi}, do: []}]}",
        "{name: order, steps: [{id: a, type: if, when: true}]}",
        "{name: order, steps: [{id: a, type: foreach, items: 5, do: []}]}",
        "{name: order, steps: [{id: a, type: while, when: true, max: 0, do: []}]}",
        "{name: order, steps: [{id: 1a, type: join}]}",
        "{name: order, timeout: soon, steps: []}",
        "{name: order, triggers: [{poll: {}}], steps: []}",
        "{name: order, steps: [{id: a, type: http, with: {url: x}, undo: {type: log, with: {message: x}}}]}",
        "{name: order, steps: [{id: a, type: http, with: {url: x}, undo: {type: http, with: {uri: x}}}]}",
        "{name: order, steps: [{id: a, type: if, when: true, then: [{id: b, type: lgo}]}]}",
        "{name: order, ui: red, steps: []}",
        "{name: order, steps: [{id: a, type: log, with: {message: hi}, ui: {width: 0}}]}",
        "{name: order, steps: [{id: a, type: log, with: {message: hi}, position: {x: 1000000.5, y: 0}}]}",
    ] {
        let instance = parse(text, Format::Yaml).root.unwrap().to_value().to_serde();
        assert!(!validator.is_valid(&instance), "{text}");
    }
}

#[test]
fn expressions_fit_anywhere() {
    let validator = jsonschema::draft202012::new(&json_schema(&step_types())).unwrap();
    for text in [
        r#"{name: o, steps: [{id: a, type: task, with: {queue: "${{ x }}", priority: "${{ x }}", lease: "${{ x }}"}}]}"#,
        r#"{name: o, steps: [{id: a, type: http, with: {url: "${{ x }}", method: "${{ x }}", headers: "${{ x }}"}}]}"#,
        r#"{name: o, steps: [{id: a, type: log, with: "${{ x }}"}]}"#,
    ] {
        let instance = parse(text, Format::Yaml).root.unwrap().to_value().to_serde();
        let errors: Vec<String> = validator.iter_errors(&instance).map(|it| it.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    }
}
