//! The audit: who did what, when; written with what it tells of, sealed behind it, and judged by anybody.
//!
//! An entry is a row of the record `audit_entries`, written in the transaction of what it tells of ([`AuditNote`]). Once
//! a second a sealer takes what was written since and makes a block of it: the hash of each entry, the hash of the block
//! before, a signature ([`seal`]). So nothing waits for a chain, and a chain stands over everything all the same.
//!
//! Invariants: the program has no statement that changes or deletes an entry or a block but those of [`archive`], which
//! come after a file that holds the same; no secret gets into an entry.

mod archive;
mod block;
mod entry;
mod key;
mod seal;
mod verify;

pub use archive::{ArchivePolicy, AuditArchive, AuditExport};
pub use block::{AuditHead, Block, Sealed};
pub use entry::{AuditEntry, AuditNote, by_principal};
pub use key::{AuditKey, PublicKey};
pub use verify::{AuditFinding, AuditReport, Trust, verify_file};

pub(crate) use entry::ENTRY_COLUMNS;
pub(crate) use seal::Sealer;
