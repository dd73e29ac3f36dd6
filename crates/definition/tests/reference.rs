//! The examples of `docs/language.md` are documents that compile, and what it shows as refused is refused in those words.

mod common;

use std::{fs, path::Path};

use common::step_types;
use windlass_definition::{compile, diagnostic::render, source::Format};

/// The fenced blocks of a page: their language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn the_examples_of_the_reference_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/language.md");
    let blocks = blocks(&fs::read_to_string(path).unwrap());
    assert!(blocks.len() > 10);
    let types = step_types();
    for (index, (language, text)) in blocks.iter().enumerate() {
        if language != "yaml" {
            continue;
        }
        let shown = match compile(text, Format::Yaml, &types) {
            Ok(compiled) => render(&compiled.warnings, "broken.yaml"),
            Err(diagnostics) => render(&diagnostics, "broken.yaml"),
        };
        let expected = blocks.get(index + 1).filter(|(language, _)| language == "text");
        assert_eq!(shown, expected.map_or("", |(_, text)| text), "{text}");
    }
}
