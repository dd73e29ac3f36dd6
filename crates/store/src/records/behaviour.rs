//! What a record does beyond its descriptor: Rust beside it, within the transaction that writes it.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, FieldError, Record};

use super::{
    files::Files,
    folders::Folders,
    groups::{GroupMembers, Groups},
    oauth::Applications,
    people::{Members, RoleAssignments, Roles},
    providers::IdentityProviders,
    row,
    tenants::Tenants,
    vault::{Credentials, Secrets, Shares},
    write::{Named, Write},
};
use crate::{StoreError, database::Tx};

/// The rules of one record that a descriptor cannot say.
///
/// On SQLite all of it runs on the writer thread: it waits for nothing but its own statements.
pub(super) trait Behaviour: Send + Sync {
    /// Fills in what is generated, when a row is made.
    fn fill<'a>(&'a self, tx: &'a mut Tx, row: &'a mut FreshRow<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = (tx, row);
        Box::pin(async { Ok(()) })
    }

    /// Looks at a row before it is written. What it says against it is told to the caller, and nothing is written.
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>>;

    /// What else a change sets, given the row as it was.
    fn beside(&self, _old: &NewRow<'_>, _sets: &Named) -> Named {
        Named::new()
    }

    /// Looks at a row before it is deleted.
    fn before_delete<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        let _ = (tx, row);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Does what follows from a row that was made.
    fn after_create<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = (tx, row);
        Box::pin(async { Ok(()) })
    }
}

/// A row that is about to be made, before it is looked at.
pub(super) struct FreshRow<'a> {
    pub write: &'a Write,
    pub values: &'a mut Vec<Datum>,
}

impl FreshRow<'_> {
    /// Sets a column that nobody has set.
    pub(super) fn fill(&mut self, name: &str, value: Datum) {
        let place = self.write.record.position(name).and_then(|at| self.values.get_mut(at));
        if let Some(place) = place.filter(|place| place.is_null()) {
            *place = value;
        }
    }
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
        "files" => Some(&Files),
        "folders" => Some(&Folders),
        "tenants" => Some(&Tenants),
        "secrets" => Some(&Secrets),
        "credentials" => Some(&Credentials),
        "secret_shares" | "credential_shares" => Some(&Shares),
        "roles" => Some(&Roles),
        "role_assignments" => Some(&RoleAssignments),
        "members" => Some(&Members),
        "groups" => Some(&Groups),
        "group_members" => Some(&GroupMembers),
        "oauth_applications" => Some(&Applications),
        "identity_providers" => Some(&IdentityProviders),
        _ => None,
    }
}
