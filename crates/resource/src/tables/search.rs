//! Words by which workflows and runs are found.

use super::{TENANT, TableArea};
use crate::{Rows, Table, boolean, enumeration, id, index, refers, text};

/// Full text.
pub static AREA: TableArea = TableArea {
    name: "search",
    doc: "Words by which workflows and runs are found, and up to where runs have been read for them.",
    tables: &[&SEARCH_DOCUMENTS, &SEARCH_WORDS, &SEARCH_PROGRESS],
};

/// The kinds of things that are found.
const KINDS: &[&str] = &["workflow", "run"];

/// The words of one thing.
pub static SEARCH_DOCUMENTS: Table = Table::of("search_documents")
    .doc(
        "The words of one workflow or run: what has to go when it goes. A workflow's are written with its draft, a run's by \
         whoever reads what has come since.",
    )
    .columns(&[
        TENANT,
        enumeration("kind", KINDS).required().doc("What kind of thing it is."),
        id("id").required().doc("The workflow or run."),
        text("words").required().doc("Its words, each once, with spaces between them."),
        boolean("waits").required().doc("Whether it is a run that was not over when it was read: it is read once more."),
    ])
    .key(&["tenant_key", "kind", "id"])
    .indexes(&[index("search_documents_waiting", &["tenant_key", "id"]).only_each("waits = 1", "waits")])
    .listed(&["kind", "waits"])
    .rows(Rows::InKey);

/// A word of a thing.
pub static SEARCH_WORDS: Table = Table::of("search_words")
    .doc("A word of one thing: what a search looks for. It is written and goes with the thing's document.")
    .columns(&[
        TENANT,
        enumeration("kind", KINDS).required().doc("What kind of thing it is."),
        text("word").required().doc("The word, in lower case."),
        id("id").required().doc("The workflow or run."),
    ])
    .key(&["tenant_key", "kind", "word", "id"])
    .references(&[refers(&["tenant_key", "kind", "id"], "search_documents", &["tenant_key", "kind", "id"])])
    .listed(&["kind"])
    .by_bytes(&["word"])
    .rows(Rows::InKey);

/// Up to where runs have been read.
pub static SEARCH_PROGRESS: Table = Table::of("search_progress")
    .doc("Up to where a tenant's runs have been read for their words. Whoever reads them moves it on; it stays.")
    .columns(&[TENANT, id("run_id").required().doc("All runs whose ids are not above this one have been read.")])
    .key(&["tenant_key"])
    .rows(Rows::InKey);
