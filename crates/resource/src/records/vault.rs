//! Secrets and credentials: what workflows need and nobody may see.

use crate::{
    Area, Column,
    DefaultValue::{Int, Json, Text},
    OnDelete, Pattern, Record, Shape, Unique, Writing, credential, enumeration, integer, json, reference, text,
    timestamp,
};

/// What workflows need and nobody may see.
pub static VAULT: Area = AREA;
const AREA: Area = Area {
    name: "vault",
    read: "vault.read",
    write: "vault.write",
    doc: "Secrets and credentials, which workflows use and nobody sees.",
};

/// With whom, and where, those are shared that are not for everyone.
pub static SHARES: Area = Area { write: "vault.share", ..AREA };

/// `stripe_key`: what can stand behind `secrets.`.
static NAME: Pattern = Pattern::new(
    r"^[A-Za-z_][A-Za-z0-9_]*$",
    "letters, digits and `_`, and begin with a letter or `_`: it stands behind `secrets.`",
);

/// Who may name it in what he writes, publishes and tries out.
const USED_BY: Column = enumeration("used_by", &["everyone", "listed"])
    .default(Text("everyone"))
    .doc("Who may name it in workflows, of those who have `vault.use`: everyone, or the members and groups with whom it is shared alone. To change it takes `vault.share`.");
/// Which workflows may use it.
const USED_IN: Column = enumeration("used_in", &["everywhere", "listed"])
    .default(Text("everywhere"))
    .doc("Which workflows may use it, of those that `folder_id` lets: all, or those with which, or with whose folder, it is shared alone. To change it takes `vault.share`.");

/// To which hosts it may go.
const HOSTS: Column = json("hosts", Shape::Texts)
    .bytes_max(16 << 10)
    .default(Json("[]"))
    .doc("To which hosts requests may take it: `api.example.com`, `*.example.com` for those below it, either with a port such as `:8443`; none: to any. To change it later takes `vault.share`.");

/// A text that workflows use by its name. Its behaviour: no credential has its name, new values are
/// counted, and one that is not for everyone is changed by those with whom it is shared.
pub static SECRETS: Record = Record::of(&VAULT, "secrets", "secret")
    .doc("A text that workflows use as `secrets.<name>` and nobody sees again. Its value is sealed; what it was before is not kept.")
    .columns(&[
        text("name").required().write_once().chars(1, 100).pattern(&NAME).searchable().doc("Its name, unique among secrets and credentials."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What it is for."),
        text("value").required().chars(1, 32_768).secret().doc("The text itself."),
        reference("folder_id", "folders").doc("Only workflows in this folder, and in those below it, may use it; null: all of the tenant."),
        USED_BY,
        USED_IN,
        HOSTS,
        integer("version").range(1, i64::MAX).default(Int(1)).read_only().doc("Counts its values."),
        timestamp("last_used_at").read_only().doc("When a step last used it, to five minutes."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[r#"{"name": "stripe_key", "description": "Payments of the shop.", "value": "sk_live_4eC39HqLyjWDarjtT1zdp7dc"}"#]);

/// What another system asks for, by its type. Its behaviour: the fields are those of its type, and else that of secrets.
pub static CREDENTIALS: Record = Record::of(&VAULT, "credentials", "credential")
    .doc("What another system asks for: fields by type, of which some are secret. Workflows use them as `secrets.<name>.<field>`.")
    .columns(&[
        text("name").required().write_once().chars(1, 100).pattern(&NAME).searchable().doc("Its name, unique among secrets and credentials."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What it is for."),
        enumeration("credential_type", credential::TYPE_NAMES).required().write_once().doc("Which fields it has; docs/vault.md lists them."),
        json("fields", Shape::Object).default(Json("{}")).doc("Its fields that anybody may see who may see it."),
        json("secret_fields", Shape::Object).required().secret().doc("Its secret fields, all of them: they are sealed together."),
        reference("folder_id", "folders").doc("Only workflows in this folder, and in those below it, may use it; null: all of the tenant."),
        USED_BY,
        USED_IN,
        HOSTS,
        integer("version").range(1, i64::MAX).default(Int(1)).read_only().doc("Counts its secret values."),
        timestamp("last_used_at").read_only().doc("When a step last used it, to five minutes."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[r#"{"name": "shop_api", "credential_type": "basic_auth", "fields": {"username": "shop"}, "secret_fields": {"password": "correct-horse-battery"}}"#]);

const MEMBER: Column =
    reference("member_id", "members").on_delete(OnDelete::Cascade).doc("With whom, if it is a member: he may name it.");
const GROUP: Column = reference("group_id", "groups")
    .on_delete(OnDelete::Cascade)
    .doc("With whom, if it is a group: each of its members may name it.");
const FOLDER: Column = reference("folder_id", "folders")
    .doc("Where, if it is a folder: workflows in it, and in those below it, may use it.");
const WORKFLOW: Column = reference("workflow_id", "workflows")
    .on_delete(OnDelete::Cascade)
    .doc("Where, if it is a workflow: it may use it.");

/// With whom, or where, a secret is shared that is not for everyone, or not everywhere. Its behaviour: with one of them.
pub static SECRET_SHARES: Record = Record::of(&SHARES, "secret_shares", "share of a secret")
    .doc("With whom a secret is shared that `used_by` limits, or with which workflows, where `used_in` does. It lets nobody do more than `vault.use` does.")
    .columns(&[
        MEMBER,
        GROUP,
        FOLDER,
        WORKFLOW,
        reference("secret_id", "secrets").required().on_delete(OnDelete::Cascade).doc("Which secret."),
    ])
    .writing(Writing::Link)
    .unique(&[Unique(&["member_id", "group_id", "folder_id", "workflow_id", "secret_id"])])
    .examples(&[
        r#"{"secret_id": "019aa7d0-0000-7000-8000-000000000001", "member_id": "019aa7d0-0000-7000-8000-000000000002"}"#,
    ]);

/// With whom, or where, a credential is shared that is not for everyone, or not everywhere. Its behaviour: with one of them.
pub static CREDENTIAL_SHARES: Record = Record::of(&SHARES, "credential_shares", "share of a credential")
    .doc("With whom a credential is shared that `used_by` limits, or with which workflows, where `used_in` does. It lets nobody do more than `vault.use` does.")
    .columns(&[
        MEMBER,
        GROUP,
        FOLDER,
        WORKFLOW,
        reference("credential_id", "credentials").required().on_delete(OnDelete::Cascade).doc("Which credential."),
    ])
    .writing(Writing::Link)
    .unique(&[Unique(&["member_id", "group_id", "folder_id", "workflow_id", "credential_id"])])
    .examples(&[
        r#"{"credential_id": "019aa7d0-0000-7000-8000-000000000001", "member_id": "019aa7d0-0000-7000-8000-000000000002"}"#,
    ]);
