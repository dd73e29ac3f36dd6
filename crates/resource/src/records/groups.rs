//! Groups: members who have roles together.

use super::people::PEOPLE;
use crate::{DefaultValue::Text, Index, OnDelete, Record, Unique, Writing, reference, text};

/// Members who have roles together.
pub static GROUPS: Record = Record::of(&PEOPLE, "groups", "group")
    .doc("Members who have roles together: what a group may do, each of its members may. See docs/identity.md.")
    .columns(&[
        text("name").required().chars(1, 200).searchable().doc("Its name, unique in the tenant."),
        text("description").chars(0, 500).searchable().default(Text("")).doc("Whom it is for."),
        text("external_id").chars(1, 255).searchable().doc("What others know it by; of a group that a provider keeps, what that one does."),
        reference("provider_id", "identity_providers").write_once().on_delete(OnDelete::SetNull).doc("The identity provider that keeps its members, by SCIM; null for none. Such a group never has a role that is about the whole installation."),
    ])
    .unique(&[Unique(&["name"])])
    .indexes(&[Index(&["provider_id", "id"])])
    .grants_access()
    .examples(&[r#"{"name": "Night shift", "description": "Who looks after runs at night."}"#]);

/// That a member belongs to a group.
pub static GROUP_MEMBERS: Record = Record::of(&PEOPLE, "group_members", "group member")
    .doc("That a member belongs to a group, and has its roles. Nobody gives, or takes, by this what allows more than he may do himself.")
    .columns(&[
        reference("group_id", "groups").required().on_delete(OnDelete::Cascade).doc("Which group."),
        reference("member_id", "members").required().on_delete(OnDelete::Cascade).doc("Who."),
    ])
    .writing(Writing::Link)
    .unique(&[Unique(&["group_id", "member_id"])])
    .grants_access()
    .examples(&[
        r#"{"group_id": "019aa7d0-0000-7000-8000-000000000001", "member_id": "019aa7d0-0000-7000-8000-000000000002"}"#,
    ]);
