//! What a record does beyond its descriptor: Rust beside it, within the transaction that writes it.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, FieldError, Record};

use super::{folders::Folders, row, write::Write};
use crate::{StoreError, database::Tx};

/// The rules of one record that a descriptor cannot say.
pub(super) trait Behaviour: Send + Sync {
    /// Looks at a row before it is written. What it says against it is told to the caller, and nothing is written.
    ///
    /// On SQLite this runs on the writer thread: it waits for nothing but its own statements.
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>>;
}

/// A row that is about to be written.
pub(super) struct NewRow<'a> {
    pub write: &'a Write,
    pub id: Uuid,
    pub values: &'a [Datum],
}

impl NewRow<'_> {
    /// The tenant.
    pub(super) fn tenant(&self) -> TenantKey {
        self.write.writer.tenant
    }

    /// A value by its column.
    pub(super) fn get(&self, name: &str) -> &Datum {
        row::get(self.write.record, self.values, name)
    }
}

/// The behaviour of a record, if it has one.
pub(super) fn of(record: &Record) -> Option<&'static dyn Behaviour> {
    match record.name {
        "folders" => Some(&Folders),
        _ => None,
    }
}
