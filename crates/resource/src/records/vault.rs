//! Secrets and credentials: what workflows need and nobody may see.

use crate::{
    Area,
    DefaultValue::{Int, Json, Text},
    Pattern, Record, Shape, Unique, credential, enumeration, integer, json, reference, text, timestamp,
};

/// What workflows need and nobody may see.
pub static VAULT: Area = Area {
    name: "vault",
    read: "vault.read",
    write: "vault.write",
    doc: "Secrets and credentials, which workflows use and nobody sees.",
};

/// `stripe_key`: what can stand behind `secrets.`.
static NAME: Pattern = Pattern::new(
    r"^[A-Za-z_][A-Za-z0-9_]*$",
    "letters, digits and `_`, and begin with a letter or `_`: it stands behind `secrets.`",
);

/// A text that workflows use by its name. Its behaviour: no credential has its name, and new values are counted.
pub static SECRETS: Record = Record::of(&VAULT, "secrets", "secret")
    .doc("A text that workflows use as `secrets.<name>` and nobody sees again. Its value is sealed; what it was before is not kept.")
    .columns(&[
        text("name").required().write_once().chars(1, 100).pattern(&NAME).searchable().doc("Its name, unique among secrets and credentials."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What it is for."),
        text("value").required().chars(1, 32_768).secret().doc("The text itself."),
        reference("folder_id", "folders").doc("Only workflows in this folder, and in those below it, may use it; null: all of the tenant."),
        integer("version").range(1, i64::MAX).default(Int(1)).read_only().doc("Counts its values."),
        timestamp("last_used_at").read_only().doc("When a step last used it, to five minutes."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[r#"{"name": "stripe_key", "description": "Payments of the shop.", "value": "sk_live_4eC39HqLyjWDarjtT1zdp7dc"}"#]);

/// What another system asks for, by its type. Its behaviour: the fields are those of its type.
pub static CREDENTIALS: Record = Record::of(&VAULT, "credentials", "credential")
    .doc("What another system asks for: fields by type, of which some are secret. Workflows use them as `secrets.<name>.<field>`.")
    .columns(&[
        text("name").required().write_once().chars(1, 100).pattern(&NAME).searchable().doc("Its name, unique among secrets and credentials."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What it is for."),
        enumeration("credential_type", credential::TYPE_NAMES).required().write_once().doc("Which fields it has; docs/vault.md lists them."),
        json("fields", Shape::Object).default(Json("{}")).doc("Its fields that anybody may see who may see it."),
        json("secret_fields", Shape::Object).required().secret().doc("Its secret fields, all of them: they are sealed together."),
        reference("folder_id", "folders").doc("Only workflows in this folder, and in those below it, may use it; null: all of the tenant."),
        integer("version").range(1, i64::MAX).default(Int(1)).read_only().doc("Counts its secret values."),
        timestamp("last_used_at").read_only().doc("When a step last used it, to five minutes."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[r#"{"name": "shop_api", "credential_type": "basic_auth", "fields": {"username": "shop"}, "secret_fields": {"password": "correct-horse-battery"}}"#]);
