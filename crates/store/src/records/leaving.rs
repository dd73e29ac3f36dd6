//! How people leave: a user is deleted by who looks after the installation. One transaction ends all that it was in its
//! tenants and hides it, and its address is free.

use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum,
    records::people::{MEMBERS, USERS},
};

use super::{By, Holds, RecordError, Target, provision::within};
use crate::{
    StoreError, access,
    database::{Row, Tx},
    store::Store,
};

const MEMBERSHIPS: &str = "select m.tenant_key, m.id, t.slug from members m join tenants t on t.key = m.tenant_key \
                           where m.user_id = $1 order by m.tenant_key";
const END_SESSIONS: &str = "update sessions set status = 'revoked', revoked_at = $3, updated_at = $3, updated_by = $4, \
                            revision = revision + 1 where tenant_key = $1 and user_id = $2 and status = 'active'";
/// What it signed in with.
const FORGET: [&str; 3] = [
    "delete from second_factors where user_id = $1",
    "delete from sign_in_links where user_id = $1",
    "delete from password_history where user_id = $1",
];

/// Ends the sessions of a user in a tenant.
pub(super) async fn end_sessions(
    tx: &mut Tx,
    (store, tenant, by): (&Store, TenantKey, &By),
    user: Uuid,
) -> Result<(), StoreError> {
    let params = vec![tenant.into(), user.into(), store.now().into(), by.who.as_str().into()];
    tx.execute(END_SESSIONS, params).await.map(|_| ())
}

impl Store {
    /// Deletes a user: its memberships with their roles, identities, keys and consents, its sessions, and what it signs in
    /// with. The row is hidden, and cleared away later.
    ///
    /// # Errors
    /// There is no such user; or it is the last administrator of a tenant.
    pub async fn delete_user(&self, user: Uuid, by: By) -> Result<(), RecordError> {
        // Whether the caller has what the member has is not the question: he looks after the installation.
        let by = By { holds: Holds::Program, ..by };
        let store = self.clone();
        let deleted = within(self.database().across_tenants(), move |tx| {
            Box::pin(async move {
                let target = Target { id: user, expect: None };
                let users = store.write_on((TenantKey::DEFAULT, &USERS), by.clone());
                users.locked(tx, target).await?;
                let found = tx.query(MEMBERSHIPS, vec![user.into()]).await?;
                for row in &found {
                    leave(tx, (&store, &by, user), row).await?;
                }
                tx.enter(TenantKey::DEFAULT).await?;
                for sql in FORGET {
                    tx.execute(sql, vec![user.into()]).await?;
                }
                let gone = vec![("deleted_at", Datum::Time(store.now())), ("password_hash", Datum::Null)];
                let old = users.locked(tx, target).await?;
                users.save(tx, ("delete", user), &old, gone).await?;
                Ok(access::count(tx).await?)
            })
        });
        deleted.await?;
        self.audit_noted();
        Ok(self.look_at_access().await?)
    }
}

async fn leave(tx: &mut Tx, (store, by, user): (&Store, &By, Uuid), row: &Row) -> Result<(), RecordError> {
    let (tenant, member) = (row.tenant(0)?, row.uuid(1)?);
    tx.enter(tenant).await?;
    let members = store.write_on((tenant, &MEMBERS), by.clone());
    match members.delete(tx, Target { id: member, expect: None }).await {
        Ok(_) => Ok(end_sessions(tx, (store, tenant, by), user).await?),
        Err(RecordError::Invalid { errors, .. }) => {
            let why =
                errors.into_iter().map(|it| format!("in the tenant `{}`, {}", row.text(2).unwrap_or("?"), it.message));
            Err(RecordError::Guarded { verb: "delete", unmet: why.collect() })
        }
        Err(other) => Err(other),
    }
}
