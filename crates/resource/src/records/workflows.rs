//! Where workflows are kept and how they are found: folders and tags.

use crate::{
    Area,
    DefaultValue::Text,
    OnDelete, Record, Unique, Writing,
    patterns::{COLOR, SLUG},
    reference, text,
};

/// Workflows, and what orders them.
pub static WORKFLOWS: Area = Area {
    name: "workflows",
    read: "workflows.read",
    write: "workflows.write",
    doc: "Workflows, and the folders and tags by which people find them.",
};

/// A folder of workflows. Its behaviour: it is never inside itself.
pub static FOLDERS: Record = Record::of(&WORKFLOWS, "folders", "folder")
    .doc("A folder of workflows. Folders lie in folders, up to 16 deep; one that is not empty is not deleted.")
    .columns(&[
        text("name").required().chars(1, 200).searchable().doc("Its name, unique where it lies."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What belongs into it."),
        reference("parent_id", "folders").doc("The folder that it lies in; null at the top."),
    ])
    .unique(&[Unique(&["parent_id", "name"])])
    .soft_delete()
    .examples(&[r#"{"name": "Billing", "description": "Everything about invoices."}"#]);

/// In which folder a workflow lies.
pub static WORKFLOW_PLACES: Record = Record::of(&WORKFLOWS, "workflow_places", "workflow place")
    .command("placed")
    .doc("The folder in which a workflow lies. A workflow without one lies at the top.")
    .columns(&[
        reference("workflow_id", "workflows").required().write_once().on_delete(OnDelete::Cascade).doc("The workflow."),
        reference("folder_id", "folders").required().doc("The folder."),
    ])
    .unique(&[Unique(&["workflow_id"])])
    .examples(&[
        r#"{"workflow_id": "019aa7d0-0000-7000-8000-000000000001", "folder_id": "019aa7d0-0000-7000-8000-000000000002"}"#,
    ]);

/// A word by which workflows are found.
pub static TAGS: Record = Record::of(&WORKFLOWS, "tags", "tag")
    .doc("A word by which workflows are found, with a colour. Tags that stand in a workflow's document need none.")
    .columns(&[
        text("name").required().chars(1, 60).lower().pattern(&SLUG).searchable().doc("The word."),
        text("color").chars(7, 7).lower().pattern(&COLOR).default(Text("#808080")).doc("Its colour in lists."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("When it is used."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[r##"{"name": "nightly", "color": "#1f6feb"}"##]);

/// That a workflow has a tag.
pub static WORKFLOW_TAGS: Record = Record::of(&WORKFLOWS, "workflow_tags", "workflow tag")
    .command("tagged")
    .doc("That a workflow has a tag.")
    .columns(&[
        reference("workflow_id", "workflows").required().on_delete(OnDelete::Cascade).doc("The workflow."),
        reference("tag_id", "tags").required().on_delete(OnDelete::Cascade).doc("The tag."),
    ])
    .writing(Writing::Link)
    .unique(&[Unique(&["workflow_id", "tag_id"])])
    .examples(&[
        r#"{"workflow_id": "019aa7d0-0000-7000-8000-000000000001", "tag_id": "019aa7d0-0000-7000-8000-000000000003"}"#,
    ]);
