//! Documents as data: every good one compiles, every bad one is refused with exactly the text beside it.
//!
//! `WINDLASS_BLESS=1` writes what is said now into the texts.

use std::{fs, path::Path};

mod common;

use common::step_types;
use windlass_definition::{
    compile,
    diagnostic::render,
    print::{print_json, print_yaml},
    source::Format,
};

fn documents(folder: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents").join(folder);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it != "txt")).collect();
    paths.sort();
    paths
}

fn format_of(path: &Path) -> Format {
    if path.extension().is_some_and(|it| it == "json") { Format::Json } else { Format::Yaml }
}

#[test]
fn good_documents_compile() {
    let types = step_types();
    for path in documents("good") {
        let text = fs::read_to_string(&path).unwrap();
        if let Err(diagnostics) = compile(&text, format_of(&path), &types) {
            panic!("{}", render(&diagnostics, &path.display().to_string()));
        }
    }
}

#[test]
fn bad_documents_say_what_is_wrong() {
    let types = step_types();
    let bless = std::env::var_os("WINDLASS_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in documents("bad") {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let shown = match compile(&text, format_of(&path), &types) {
            Ok(_) => format!("{name} is taken, and should be refused\n"),
            Err(diagnostics) => render(&diagnostics, &name),
        };
        let beside = path.with_extension("txt");
        if bless {
            fs::write(&beside, &shown).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if shown != expected || shown.contains("should be refused") {
            wrong.push(format!("{name}\n--- expected\n{expected}--- shown\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{} documents differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_printed_is_the_same_document() {
    let types = step_types();
    for path in documents("good") {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display();
        let first = compile(&text, format_of(&path), &types).unwrap();
        for (format, printed) in
            [(Format::Yaml, print_yaml(&first.document)), (Format::Json, print_json(&first.document))]
        {
            let again = compile(&printed, format, &types)
                .unwrap_or_else(|it| panic!("{name}\n{printed}\n{}", render(&it, "printed")));
            assert_eq!(again.document, first.document, "{name}\n{printed}");
            assert_eq!(again.plan.hash, first.plan.hash, "{name}");
        }
    }
}
