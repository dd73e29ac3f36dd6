//! What seals the audit, whose entries are a record.

use super::{TENANT, TableArea};
use crate::{Rows, Table, bytes, foreign_key, id, integer, refers, text, timestamp};

/// The seals of the audit.
pub static AREA: TableArea = TableArea {
    name: "sealing",
    doc: "What seals the audit: blocks of its entries, the heads of their chains, keys, and what was archived. Triggers \
          refuse whatever changes or deletes what is sealed.",
    tables: &[&AUDIT_UNSEALED, &AUDIT_BLOCKS, &AUDIT_HEADS, &AUDIT_KEYS, &AUDIT_ARCHIVES],
};

/// An entry that waits to be sealed.
pub static AUDIT_UNSEALED: Table = Table::of("audit_unsealed")
    .doc("An entry of the audit that no block holds yet. It is written with the entry; the sealer takes it about once a second.")
    .columns(&[TENANT, id("entry_id").required().doc("The entry.")])
    .key(&["tenant_key", "entry_id"])
    .references(&[
        foreign_key(&["tenant_key"], "tenants", &["key"]),
        refers(&["tenant_key", "entry_id"], "audit_entries", &["tenant_key", "id"]),
    ])
    .rows(Rows::InKey);

/// A block of entries.
pub static AUDIT_BLOCKS: Table = Table::of("audit_blocks")
    .doc("Entries of the audit, sealed together and chained to the block before. The sealer writes it; it goes once it is archived.")
    .columns(&[
        TENANT,
        integer("number").required().doc("Its place in the tenant's chain, from 1."),
        bytes("previous").required().doc("The hash of the block before it."),
        bytes("entries").required().doc("The id (16 bytes) and the SHA-256 (32 bytes) of each entry."),
        timestamp("sealed_at").required().doc("When it was sealed."),
        bytes("public_key").doc("The public half of the Ed25519 key that signed it; none while the vault was closed."),
        bytes("hash").required().doc("SHA-256 over all of the above."),
        bytes("signature").doc("The signature of the hash."),
    ])
    .key(&["tenant_key", "number"])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])]);

/// Where a chain ends.
pub static AUDIT_HEADS: Table = Table::of("audit_heads")
    .doc("Where a tenant's chain ends: a chain that was cut short is known by it. The sealer moves it forward; it stays.")
    .columns(&[
        TENANT,
        integer("number").required().doc("The number of the last block."),
        bytes("hash").required().doc("The hash of that block."),
        integer("entries").required().doc("How many entries the whole chain holds."),
        bytes("public_key").doc("The public half of the Ed25519 key that signed it; none while the vault was closed."),
        bytes("signature").doc("The signature of all this."),
    ])
    .key(&["tenant_key"])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])]);

/// A key that blocks were signed with.
pub static AUDIT_KEYS: Table = Table::of("audit_keys")
    .doc(
        "A key that signed blocks, and the one after it that vouches for it: a chain that several keys signed is judged by \
         these. The sealer writes it when another key goes on with a chain; it stays.",
    )
    .columns(&[
        bytes("public_key").required().doc("The public half of the Ed25519 key that came before."),
        timestamp("since").required().doc("When another first vouched for it."),
        bytes("endorsed_by").doc("The public half of the key that vouches for it."),
        bytes("endorsement").doc("That key's signature over both."),
    ])
    .key(&["public_key"]);

/// Blocks that are in a file.
pub static AUDIT_ARCHIVES: Table = Table::of("audit_archives")
    .doc("Blocks that were written into a file with their entries, and deleted here. Archiving writes it; it stays.")
    .columns(&[
        TENANT,
        integer("block_first").required().doc("The first block in the file."),
        integer("block_last").required().doc("The last one."),
        bytes("hash_last").required().doc("The hash of the last one: the chain goes on from it."),
        integer("entries").required().doc("How many entries the file holds."),
        timestamp("entries_until").required().doc("When the last of them was written."),
        text("file").required().doc("The file, as it was called when it was written."),
        bytes("file_hash").required().doc("SHA-256 of the file."),
        timestamp("archived_at").required().doc("When it was written."),
    ])
    .key(&["tenant_key", "block_first"])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])]);
