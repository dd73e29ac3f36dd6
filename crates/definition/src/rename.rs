//! A document under another name: the text as it was written, comments and all, but for the name.
//!
//! Invariant: what comes out means what went in, apart from its name. Where the name cannot be replaced in the text (an
//! alias stands for it), the document is printed anew.

use crate::{
    compile,
    diagnostic::Diagnostic,
    document::Document,
    print,
    source::{self, Format},
    step_type::StepTypes,
};

/// The text of a document under that name, which has to be one that a workflow can have.
///
/// # Errors
/// What is wrong with the document, or with the name.
pub fn rename(text: &str, format: Format, name: &str, types: &StepTypes) -> Result<String, Vec<Diagnostic>> {
    let old = compile(text, format, types)?.document;
    let mut renamed = old.clone();
    renamed.name.value = name.into();
    let without_mark = source::without_mark(text);
    let span = old.name.span;
    let (before, after) = (&without_mark[..span.start as usize], &without_mark[span.end as usize..]);
    for written in [name.to_owned(), format!("\"{name}\"")] {
        let replaced = format!("{before}{written}{after}");
        if is(&replaced, format, (&renamed, types)) {
            return Ok(replaced);
        }
    }
    let printed = match format {
        Format::Yaml => print::print_yaml(&renamed),
        Format::Json => print::print_json(&renamed),
    };
    compile(&printed, format, types).map(|_| printed)
}

fn is(text: &str, format: Format, (document, types): (&Document, &StepTypes)) -> bool {
    compile(text, format, types).is_ok_and(|compiled| compiled.document == *document)
}
