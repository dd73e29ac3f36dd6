//! How people come: an invitation is accepted, and the first administrator is there from the beginning. One transaction
//! makes the user, its membership and its role, and uses the invitation up.

use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, Ownership, Record,
    records::people::{INVITATIONS, MEMBERS, ROLE_ASSIGNMENTS, USERS},
};

use super::{
    By, RecordError, Target,
    write::{Named, Write, with_defaults},
};
use crate::{StoreError, access, database::Tx, store::Store, vault};

const PENDING: &str = "select tenant_key, id, email, role_id from invitations \
                       where token_hash = $1 and status = 'pending' and expires_at > $2";
pub(super) const USER: &str = "select id, name from users where email = $1 and deleted_at is null";
const MEMBER: &str = "select id, status from members where tenant_key = $1 and user_id = $2";
const ROLE: &str = "select id from roles where tenant_key = $1 and built_in = true and name = $2";

/// Who joins, once the invitation was found.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The name of somebody new.
    pub name: String,
    /// The Argon2id hash of the password of somebody new; one who is a user already has shown his own.
    pub password_hash: Option<String>,
    /// Who asks.
    pub by: By,
}

/// Who has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Where.
    pub tenant: TenantKey,
    /// Who.
    pub user: Uuid,
}

impl Store {
    /// Uses an invitation up: its user is a member with the role then.
    ///
    /// # Errors
    /// There is no such invitation that is still open; or the member is suspended.
    pub async fn accept_invitation(&self, hash: [u8; 32], joining: Joining) -> Result<Joined, RecordError> {
        let (store, now) = (self.clone(), self.now());
        let joined = self.database().across_tenants().transact(move |tx| {
            Box::pin(async move {
                let found = tx.query(PENDING, vec![hash.into(), now.into()]).await?;
                let Some(row) = found.first() else {
                    return Ok(Err(RecordError::NotFound { noun: INVITATIONS.noun }));
                };
                let (tenant, invitation, role) = (row.tenant(0)?, row.uuid(1)?, row.uuid(3)?);
                let invited = Invited { tenant, email: row.string(2)?, role };
                tx.enter(tenant).await?;
                // It is locked by this: of two who use the link, one does.
                let accept = INVITATIONS.transition("accept");
                let Some(accept) = accept else { return Err(StoreError::Closed) };
                let write = store.write_on((tenant, &INVITATIONS), joining.by.clone());
                let target = Target { id: invitation, expect: None };
                let joined = async {
                    write.transition(tx, (target, accept), Vec::new()).await?;
                    join(&store, tx, (&invited, &joining)).await
                };
                match joined.await {
                    Ok(In { user, .. }) => access::count(tx).await.map(|()| Ok(Joined { tenant, user })),
                    Err(RecordError::Store(error)) => Err(error),
                    // Whatever else was refused was looked at before anything of it was written, but for the invitation.
                    Err(other) => Err(StoreError::conflict(other.to_string())),
                }
            })
        });
        let joined = joined.await.unwrap_or_else(|error| Err(RecordError::Store(error)));
        if joined.is_ok() {
            self.audit_noted();
            self.look_at_access().await?;
        }
        joined
    }

    /// Makes a user that has every role of an administrator in the first tenant; gives it when it is there already.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn first_administrator(&self, email: &str, name: &str) -> Result<Uuid, RecordError> {
        let store = self.clone();
        let (email, name) = (email.to_owned(), name.to_owned());
        let made = self.database().of(TenantKey::DEFAULT).transact(move |tx| {
            Box::pin(async move {
                let tenant = TenantKey::DEFAULT;
                let params = vec![tenant.into(), "system_admin".into()];
                let rows = tx.query(ROLE, params).await?;
                let Some(row) = rows.first() else { return Err(StoreError::damaged("there is no system_admin")) };
                let invited = Invited { tenant, email, role: row.uuid(0)? };
                let joining = Joining { name, password_hash: None, by: By::system() };
                match join(&store, tx, (&invited, &joining)).await {
                    Err(RecordError::Store(error)) => Err(error),
                    other => Ok(other.map(|joined| joined.user)),
                }
            })
        });
        let made = made.await?;
        self.audit_noted();
        made
    }
}

pub(super) struct Invited {
    pub tenant: TenantKey,
    pub email: String,
    pub role: Uuid,
}

/// Who is a member now.
pub(super) struct In {
    pub user: Uuid,
    pub member: Uuid,
}

/// Makes whatever of user, member and assignment is not there yet.
pub(super) async fn join(
    store: &Store,
    tx: &mut Tx,
    (invited, joining): (&Invited, &Joining),
) -> Result<In, RecordError> {
    let text = |text: &str| Datum::Text(text.to_owned());
    let by = By::system;
    let (tenant, email) = (invited.tenant, invited.email.as_str());
    let (user, name) = match tx.query(USER, vec![email.into()]).await?.first() {
        Some(row) => (row.uuid(0)?, row.string(1)?),
        None => {
            let mut values = vec![("email", text(email)), ("name", text(&joining.name))];
            if let Some(hash) = &joining.password_hash {
                values.push(("password_hash", text(hash)));
                values.push(("password_changed_at", Datum::Time(store.now())));
            }
            (make(store.write_on((tenant, &USERS), by()), tx, values).await?, joining.name.clone())
        }
    };
    let member = match tx.query(MEMBER, vec![tenant.into(), user.into()]).await?.first() {
        Some(row) if row.text(1)? == "suspended" => {
            return Err(RecordError::Guarded { verb: "accept", unmet: vec!["the member is suspended".to_owned()] });
        }
        Some(row) => row.uuid(0)?,
        None => {
            let values = vec![("user_id", Datum::Uuid(user)), ("email", text(email)), ("name", text(&name))];
            make(store.write_on((tenant, &MEMBERS), by()), tx, values).await?
        }
    };
    let values = vec![("member_id", Datum::Uuid(member)), ("role_id", Datum::Uuid(invited.role))];
    match make(store.write_on((tenant, &ROLE_ASSIGNMENTS), by()), tx, values).await {
        // It has the role already.
        Ok(_) | Err(RecordError::Taken { .. }) => Ok(In { user, member }),
        Err(error) => Err(error),
    }
}

pub(super) async fn make(write: Write, tx: &mut Tx, values: Named) -> Result<Uuid, RecordError> {
    let record: &'static Record = write.record;
    let id = match record.ownership {
        Ownership::Tenant => Uuid::now_v7(),
        // Tenants see the ids of users who are their members, and not when those came to the installation.
        Ownership::Global => uuid::Builder::from_random_bytes(random_id()?).into_uuid(),
    };
    let mut values = with_defaults(record, values);
    values.push(("id", Datum::Uuid(id)));
    write.create(tx, ("create", values)).await.map(|_| id)
}

fn random_id() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&vault::random()?.as_slice()[..16]);
    Ok(bytes)
}
