//! The installation: its servers, what they own, and what it knows of itself.

use super::{TENANT, TableArea};
use crate::{
    DefaultValue::{Bool, Text},
    Rows, Shape, Table, boolean, bytes, enumeration, foreign_key, id, index, integer, json, number, refers, text,
    timestamp,
};

/// The installation.
pub static AREA: TableArea = TableArea {
    name: "installation",
    doc: "The servers of the installation, the lanes that they own, settings, the sealed keys of the vault, and attempts to sign in.",
    tables: &[&NODES, &LANES, &SETTINGS, &SETTING_VALUES, &VAULT_MASTER_KEYS, &VAULT_DATA_KEYS, &SIGN_IN_ATTEMPTS],
};

/// A running server, or one that ran.
pub static NODES: Table = Table::of("nodes")
    .doc(
        "A server. It writes its row when it starts and renews its lease every second; the others bury it when the lease \
         has run out. Rows of servers that died or left go after seven days.",
    )
    .columns(&[
        id("id").required().doc("Its id, new with each start."),
        text("name").required().doc("What it calls itself."),
        text("host").required().doc("The machine it runs on."),
        integer("pid").required().doc("Its process there."),
        enumeration("state", &["alive", "dead", "left"])
            .required()
            .doc("`alive` while it renews, `dead` when others took its lanes, `left` when it gave them back."),
        timestamp("lease_until").required().doc("Until when it owns its lanes without renewing, by the database's clock."),
        timestamp("started_at").required().doc("When it started."),
        text("vault_keys")
            .default(Text(""))
            .doc("The ids of the master keys that it can open the vault with: no key is retired that one still needs."),
    ])
    .key(&["id"])
    .fillfactor(50);

/// What a server owns, and the fence of it.
pub static LANES: Table = Table::of("lanes")
    .doc(
        "A share of the runs, with one owner. A commit locks its lanes' rows and compares their epochs: whoever lost a \
         lane cannot write any more. Rows are made once and stay; on SQLite there is one.",
    )
    .columns(&[
        number("id").required().doc("Its number, which runs carry for good."),
        id("node_id").doc("The server that owns it; none while nobody does."),
        integer("epoch").required().doc("Counts its owners: the fence of every commit."),
    ])
    .key(&["id"])
    .references(&[refers(&["node_id"], "nodes", &["id"])])
    .rows(Rows::InKey)
    .fillfactor(50);

/// What the installation knows of itself.
pub static SETTINGS: Table = Table::of("settings")
    .doc(
        "What the program has to remember of the installation: `database_id`, by which a copy is told from its original, \
         and `access_epoch`, which counts what changes who may do what. It stays.",
    )
    .columns(&[
        text("name").required().doc("What it is."),
        text("value").required().doc("Its value, as text."),
    ])
    .key(&["name"])
    .rows(Rows::InKey);

/// What people chose while servers run.
pub static SETTING_VALUES: Table = Table::of("setting_values")
    .doc(
        "A setting that somebody chose while servers run, for the installation or for one tenant. It goes when it is \
         unset; what the configuration says holds then.",
    )
    .columns(&[
        number("tenant_key").required().doc("The key of the tenant it holds for; 0 for the whole installation."),
        text("name").required().doc("The setting's name."),
        json("value", Shape::Any).required().doc("Its value."),
        timestamp("updated_at").required().doc("When it was chosen."),
        text("updated_by").required().doc("Who chose it."),
    ])
    .key(&["tenant_key", "name"])
    .by_bytes(&["name"])
    .rows(Rows::InKey)
    .reads_installation();

/// The root of the vault, once for each master key.
pub static VAULT_MASTER_KEYS: Table = Table::of("vault_master_keys")
    .doc(
        "The root of the vault, sealed by one master key. The first start writes it, and a rotation adds and takes away \
         others. The master keys themselves are never in the database.",
    )
    .columns(&[
        id("id").required().doc("The id of the master key, which follows from the key."),
        id("root_id").required().doc("The root that it opens: all rows have the same."),
        bytes("root").required().doc("The root, sealed by this master key."),
        boolean("is_first").default(Bool(false)).doc("Whether it set the vault up: of two servers that start at once, one does."),
        timestamp("created_at").required().doc("When it was added."),
    ])
    .key(&["id"])
    .indexes(&[index("vault_master_keys_first", &["is_first"]).unique().only_each("is_first = 1", "is_first")]);

/// The keys that seal tenants' secrets.
pub static VAULT_DATA_KEYS: Table = Table::of("vault_data_keys")
    .doc(
        "A key that seals secrets of one tenant, sealed by the root itself. It is made with the tenant's first secret and \
         at each rotation; the one before goes when everything is sealed anew.",
    )
    .columns(&[
        TENANT,
        id("id").required().doc("Its id, which what it sealed names."),
        bytes("sealed").required().doc("The key, sealed by the root."),
        boolean("is_active").required().doc("Whether new secrets are sealed with it: one of a tenant's is."),
        timestamp("created_at").required().doc("When it was made."),
    ])
    .key(&["tenant_key", "id"])
    .indexes(&[index("vault_data_keys_active", &["tenant_key"]).unique().only_each("is_active = 1", "is_active")])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])]);

/// Attempts to sign in that were made lately.
pub static SIGN_IN_ATTEMPTS: Table = Table::of("sign_in_attempts")
    .doc(
        "Attempts to sign in that were made lately, counted over all servers: on an account, from an address, of codes, of an \
         application. A row goes when all of its attempts are there again, within the hour.",
    )
    .columns(&[
        bytes("bucket").required().doc("The hash of what is counted together."),
        timestamp("full_at").required().doc("When all of its attempts are there again."),
    ])
    .key(&["bucket"])
    .indexes(&[index("sign_in_attempts_by_end", &["full_at"])])
    .rows(Rows::InKey);
