//! Workflows: drafts, published versions, and the documents that runs run on.

use super::{TENANT, TableArea};
use crate::{
    DefaultValue::Bool, Rows, Shape, Table, boolean, bytes, foreign_key, id, index, integer, json, number, text,
    timestamp, unique_key,
};

/// Workflows.
pub static AREA: TableArea = TableArea {
    name: "definitions",
    doc: "Workflows, their published versions, and the documents that runs run on.",
    tables: &[&DEFINITIONS, &WORKFLOWS, &WORKFLOW_VERSIONS, &WORKFLOW_REFERENCES],
};

/// A document, by its hash.
pub static DEFINITIONS: Table = Table::of("definitions")
    .doc(
        "A workflow's document as runs read it, by its hash: the same one is there once, whatever names it. It is written \
         where a draft is saved, a version published or a run started, and stays.",
    )
    .columns(&[
        TENANT,
        bytes("hash").required().doc("SHA-256 of the document."),
        bytes("document").required().doc("The document, compressed with zstd."),
        integer("document_bytes").required().doc("How many bytes it has when it is unfolded."),
        timestamp("created_at").required().doc("When it was first seen."),
    ])
    .key(&["tenant_key", "hash"])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])]);

/// A workflow and its draft.
pub static WORKFLOWS: Table = Table::of("workflows")
    .doc(
        "A workflow: its draft, and which of its versions is published. Saving a draft makes it. A deleted one keeps its \
         row and its name, and can be restored.",
    )
    .columns(&[
        TENANT,
        id("id").required().doc("Its id; ids grow with time."),
        text("name").required().doc("Its name: what runs, triggers and other workflows call it by."),
        text("description").required().doc("What the document says of it."),
        json("tags", Shape::Texts).required().doc("The words that the document files it under."),
        text("draft").required().doc("The draft's source, as somebody wrote it: YAML or JSON."),
        bytes("draft_hash").doc("The document that the draft reads as; none while it does not."),
        integer("revision").required().doc("Counts the changes of the draft: the ETag without its quotes."),
        number("published_version").doc("The version that new runs get; none before the first."),
        timestamp("created_at").required().doc("When it was made."),
        timestamp("updated_at").required().doc("When its draft was last changed."),
        text("created_by").doc("Who made it; unknown of those before schema 25."),
        text("updated_by").doc("Who last changed it; unknown of those before schema 25."),
        timestamp("deleted_at").doc("When it was deleted; none while it is there."),
        text("deleted_by").doc("Who deleted it."),
        number("noted_version").doc("The version whose references are in `workflow_references`; none before the first."),
        boolean("is_template").default(Bool(false)).doc("Whether others are made from it."),
        text("template_category").doc("Of a template: under which word it is listed."),
        text("made_from").doc("The name of the template that it was made from."),
        number("made_from_version").doc("The version of that; none for its draft."),
    ])
    .key(&["tenant_key", "id"])
    .unique(&[unique_key("workflows_tenant_key_name_key", &["tenant_key", "name"])])
    .indexes(&[
        index("workflows_templates", &["tenant_key", "name"]).only("is_template"),
        index("workflows_deleted", &["tenant_key", "name"]).only("deleted_at is not null"),
        index("workflows_to_note", &["tenant_key", "id"]).only(
            "published_version is not null and (noted_version is null or noted_version <> published_version)",
        ),
    ])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])]);

/// A published version.
pub static WORKFLOW_VERSIONS: Table = Table::of("workflow_versions")
    .doc("A version of a workflow, written when it is published. It never changes, and stays.")
    .columns(&[
        TENANT,
        id("workflow_id").required().doc("The workflow."),
        number("version").required().doc("Its number, from 1."),
        bytes("definition_hash").required().doc("The document that its runs run on."),
        text("source").required().doc("Its source, as somebody wrote it."),
        timestamp("published_at").required().doc("When it was published."),
        text("published_by").doc("Who published it, where that is known."),
    ])
    .key(&["tenant_key", "workflow_id", "version"])
    .references(&[
        foreign_key(&["tenant_key", "workflow_id"], "workflows", &["tenant_key", "id"]),
        foreign_key(&["tenant_key", "definition_hash"], "definitions", &["tenant_key", "hash"]),
    ]);

/// Which workflows start which others.
pub static WORKFLOW_REFERENCES: Table = Table::of("workflow_references")
    .doc(
        "That the newest version of a workflow names another one to start: what a deletion looks at. Publishing writes the \
         rows anew.",
    )
    .columns(&[
        TENANT,
        id("workflow_id").required().doc("The workflow whose document names the other."),
        text("refers_to").required().doc("The name of the other, which need not be there."),
    ])
    .key(&["tenant_key", "workflow_id", "refers_to"])
    .indexes(&[index("workflow_references_by_name", &["tenant_key", "refers_to", "workflow_id"])])
    .references(&[foreign_key(&["tenant_key", "workflow_id"], "workflows", &["tenant_key", "id"])])
    .rows(Rows::InKey);
