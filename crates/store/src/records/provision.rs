//! What an identity provider provisions by SCIM: members of its tenant, and groups of them. It sees and changes those alone
//! that are tied to it; what it says of a person is kept with the membership, and nothing of a user is changed by it.
//!
//! Invariants: a request is one transaction; and whether an address was a user's before is told to nobody: the answer is
//! the same, and that a user is made stands in the audit of the first tenant.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, FieldError, Record,
    records::{
        groups::{GROUP_MEMBERS, GROUPS},
        people::{MEMBERS, USERS},
    },
};

use super::{
    By, Holds, RecordError, Target,
    joining::{USER, make},
    leaving::end_sessions,
    people::looks_after_installation,
    row,
    write::{Named, Write},
};
use crate::{
    StoreError, access,
    database::{Scoped, Tx},
    store::Store,
};

const MEMBER_OF: &str = "select id, provider_id, status from members where tenant_key = $1 and user_id = $2";
/// What applications hold in a member's name.
const END_AUTHORIZATIONS: &str = "update oauth_authorizations set status = 'revoked', revoked_at = $3, updated_at = $3, \
    updated_by = $4, revision = revision + 1 where tenant_key = $1 and status = 'active' and consent_id in (select id \
    from oauth_consents where tenant_key = $1 and member_id = $2)";
const MEMBERSHIP: &str = "select id from group_members where tenant_key = $1 and group_id = $2 and member_id = $3";
/// How often a write is tried that another one passes.
const TRIES: u32 = 3;

/// A provider that provisions, and who speaks for it.
#[derive(Debug, Clone)]
pub struct Provisioner {
    /// Its tenant.
    pub tenant: TenantKey,
    /// Which provider.
    pub provider: Uuid,
    /// Who asks.
    pub by: By,
}

/// Somebody, as a provider says.
#[derive(Debug, Clone)]
pub struct PersonSaid {
    /// What it calls it, in lower case.
    pub user_name: String,
    /// What it knows it by.
    pub external_id: Option<String>,
    /// Its address, in lower case.
    pub email: String,
    /// What people call it.
    pub name: String,
    /// Where its picture is.
    pub avatar_url: Option<String>,
    /// Whether it may be here.
    pub active: bool,
    /// Everything that it says of it, as JSON.
    pub profile: String,
}

/// A group, as a provider says.
#[derive(Debug, Clone, Default)]
pub struct GroupSaid {
    /// Its name.
    pub name: String,
    /// What the provider knows it by.
    pub external_id: Option<String>,
    /// Members that come.
    pub joining: BTreeSet<Uuid>,
    /// Members that go.
    pub leaving: BTreeSet<Uuid>,
}

type Script<T> = Box<dyn for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, RecordError>> + Send>;

/// Runs a script in a transaction, of which nothing is left when it refuses.
pub(super) async fn within<T, F>(database: Scoped<'_>, script: F) -> Result<T, RecordError>
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, RecordError>> + Send + 'static,
{
    let refused: Arc<Mutex<Option<RecordError>>> = Arc::default();
    let (slot, script): (_, Script<T>) = (Arc::clone(&refused), Box::new(script));
    let done = database.transact(move |tx| {
        Box::pin(async move {
            match script(tx).await {
                Ok(done) => Ok(done),
                Err(RecordError::Store(error)) => Err(error),
                Err(other) => {
                    let text = other.to_string();
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(other);
                    Err(StoreError::conflict(text))
                }
            }
        })
    });
    let done = done.await;
    match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(refused) => Err(refused),
        None => Ok(done?),
    }
}

/// Whether the database refused what another write did a moment before.
fn is_passed(error: &RecordError) -> bool {
    matches!(error, RecordError::Store(error) if matches!(error.code(), Some("23505" | "sqlite:2067" | "sqlite:1555")))
}

impl Store {
    /// Runs a script of a provisioner, again when another one was faster; then who may do what is looked at.
    async fn provision<T, F>(&self, as_who: &Provisioner, script: F) -> Result<T, RecordError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx, &'a Provisioning) -> BoxFuture<'a, Result<T, RecordError>> + Clone + Send + 'static,
    {
        // What a provider's people may do was given to its groups on purpose: it is not asked whether its key may that itself.
        let by = By { holds: Holds::Program, ..as_who.by.clone() };
        let asked = Provisioning { store: self.clone(), tenant: as_who.tenant, provider: as_who.provider, by };
        let mut tried = 0;
        let done = loop {
            tried += 1;
            let (asked, script) = (asked.clone(), script.clone());
            let done =
                within(self.database().of(as_who.tenant), move |tx| Box::pin(async move { script(tx, &asked).await }));
            match done.await {
                Err(error) if is_passed(&error) && tried < TRIES => {}
                done => break done,
            }
        };
        if done.is_ok() {
            self.audit_noted();
            self.look_at_access().await?;
        }
        done
    }

    /// Makes somebody a member whom the provider provisions, or ties a member to it whom nobody does; gives the member.
    ///
    /// # Errors
    /// It is provisioned already, is suspended here, or looks after the installation; or another one is called so.
    pub async fn provision_member(&self, as_who: &Provisioner, said: PersonSaid) -> Result<Uuid, RecordError> {
        self.provision(as_who, move |tx, it| {
            let said = said.clone();
            Box::pin(async move { it.make_member(tx, &said).await })
        })
        .await
    }

    /// Changes a member whom the provider provisions. Whoever is not active any more has no session and no application here
    /// from then on.
    ///
    /// # Errors
    /// There is none; somebody was faster; another one is called so; or it is the last administrator.
    pub async fn change_provisioned(
        &self,
        as_who: &Provisioner,
        (target, said): (Target, PersonSaid),
    ) -> Result<(), RecordError> {
        self.provision(as_who, move |tx, it| {
            let said = said.clone();
            Box::pin(async move { it.change_member(tx, target, &said).await })
        })
        .await
    }

    /// Takes a member out of the tenant whom the provider provisions.
    ///
    /// # Errors
    /// There is none; somebody was faster; or it is the last administrator.
    pub async fn remove_provisioned(&self, as_who: &Provisioner, target: Target) -> Result<(), RecordError> {
        self.provision(as_who, move |tx, it| Box::pin(it.remove_member(tx, target))).await
    }

    /// Makes a group that the provider keeps.
    ///
    /// # Errors
    /// Another one has its name; or a member of it is not the provider's.
    pub async fn provision_group(&self, as_who: &Provisioner, said: GroupSaid) -> Result<Uuid, RecordError> {
        self.provision(as_who, move |tx, it| {
            let said = said.clone();
            Box::pin(async move { it.make_group(tx, &said).await })
        })
        .await
    }

    /// Changes a group that the provider keeps, and who is in it.
    ///
    /// # Errors
    /// There is none; somebody was faster; another one has its name; a member is not the provider's; or nobody would be
    /// left as an administrator.
    pub async fn change_provisioned_group(
        &self,
        as_who: &Provisioner,
        (target, said): (Target, GroupSaid),
    ) -> Result<(), RecordError> {
        self.provision(as_who, move |tx, it| {
            let said = said.clone();
            Box::pin(async move { it.change_group(tx, target, &said).await })
        })
        .await
    }

    /// Deletes a group that the provider keeps.
    ///
    /// # Errors
    /// As [`Store::change_provisioned_group`].
    pub async fn remove_provisioned_group(&self, as_who: &Provisioner, target: Target) -> Result<(), RecordError> {
        self.provision(as_who, move |tx, it| Box::pin(it.remove_group(tx, target))).await
    }
}

#[derive(Clone)]
struct Provisioning {
    store: Store,
    tenant: TenantKey,
    provider: Uuid,
    by: By,
}

fn text_or_null(text: Option<&String>) -> Datum {
    text.map_or(Datum::Null, |text| Datum::Text(text.clone()))
}

/// Nothing is wrong with what was sent, but it does not go: as a conflict.
fn conflicting<T>(verb: &'static str, result: Result<T, RecordError>) -> Result<T, RecordError> {
    match result {
        Err(RecordError::Invalid { errors, .. }) => {
            Err(RecordError::Guarded { verb, unmet: errors.into_iter().map(|it| it.message).collect() })
        }
        other => other,
    }
}

/// Whether two values are the same; a database may write JSON in another way than it was given.
fn is_same(one: &Datum, other: &Datum) -> bool {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    match (one, other) {
        (Datum::Json(one), Datum::Json(other)) => one == other || json(one) == json(other),
        (one, other) => one == other,
    }
}

impl Provisioning {
    fn write(&self, record: &'static Record) -> Write {
        self.store.write_on((self.tenant, record), self.by.clone())
    }

    fn values(&self, said: &PersonSaid) -> Named {
        vec![
            ("provider_id", Datum::Uuid(self.provider)),
            ("external_id", text_or_null(said.external_id.as_ref())),
            ("user_name", Datum::Text(said.user_name.clone())),
            ("email", Datum::Text(said.email.clone())),
            ("name", Datum::Text(said.name.clone())),
            ("avatar_url", text_or_null(said.avatar_url.as_ref())),
            ("profile", Datum::Json(said.profile.clone())),
        ]
    }

    /// The user of that address: the one that there is, or one without a password. What is the installation's stands in the
    /// audit of the first tenant.
    async fn user(&self, tx: &mut Tx, said: &PersonSaid) -> Result<Uuid, RecordError> {
        if let Some(row) = tx.query(USER, vec![said.email.as_str().into()]).await?.first() {
            return Ok(row.uuid(0)?);
        }
        let values = vec![("email", Datum::Text(said.email.clone())), ("name", Datum::Text(said.name.clone()))];
        tx.enter(TenantKey::DEFAULT).await?;
        let user = make(self.store.write_on((TenantKey::DEFAULT, &USERS), By::system()), tx, values).await?;
        tx.enter(self.tenant).await?;
        Ok(user)
    }

    async fn make_member(&self, tx: &mut Tx, said: &PersonSaid) -> Result<Uuid, RecordError> {
        let user = self.user(tx, said).await?;
        let there = tx.query(MEMBER_OF, vec![self.tenant.into(), user.into()]).await?;
        let Some(row) = there.first() else {
            let status = if said.active { "active" } else { "suspended" };
            let mut values = self.values(said);
            values.extend([("user_id", Datum::Uuid(user)), ("status", Datum::Text(status.to_owned()))]);
            return make(self.write(&MEMBERS), tx, values).await;
        };
        let member = row.uuid(0)?;
        let not = |why: &str| Err(RecordError::Guarded { verb: "provision", unmet: vec![why.to_owned()] });
        if !row.is_null(1) {
            let error = FieldError::of("userName", "its address is that of a member who is provisioned already");
            return Err(RecordError::Taken { noun: MEMBERS.noun, errors: vec![error] });
        }
        if row.text(2)? == "suspended" {
            return not("there is a member with this address, who is suspended here: reactivate it, then provision it");
        }
        if looks_after_installation(tx, (self.tenant, member)).await? {
            return not(
                "there is a member with this address, who looks after the installation: no provider provisions it",
            );
        }
        self.save_member(tx, Target { id: member, expect: None }, ("provision", said)).await?;
        Ok(member)
    }

    /// Changes a member, and ends what it has here when it is not active any more.
    async fn save_member(
        &self,
        tx: &mut Tx,
        target: Target,
        (action, said): (&'static str, &PersonSaid),
    ) -> Result<(), RecordError> {
        let write = self.write(&MEMBERS);
        let old = write.locked(tx, target).await?;
        let of = |name: &str| row::get(&MEMBERS, &old, name);
        let (was, is) = (of("status").as_text() == Some("active"), said.active);
        let mut sets = self.values(said);
        let status = if is { "active" } else { "suspended" };
        sets.push(("status", Datum::Text(status.to_owned())));
        // That another address was verified says nothing of this one.
        if of("email").as_text() != Some(&said.email) {
            sets.push(("email_verified", Datum::Bool(false)));
        }
        sets.retain(|(name, value)| !is_same(of(name), value));
        if sets.is_empty() {
            return Ok(());
        }
        let action = match (was, is) {
            (true, false) => "suspend",
            (false, true) => "reactivate",
            _ => action,
        };
        conflicting(action, write.save(tx, (action, target.id), &old, sets).await)?;
        if was != is {
            access::count(tx).await?;
        }
        if was && !is {
            let user = of("user_id").as_uuid().unwrap_or_default();
            self.end_all(tx, (target.id, user)).await?;
        }
        Ok(())
    }

    async fn end_all(&self, tx: &mut Tx, (member, user): (Uuid, Uuid)) -> Result<(), StoreError> {
        end_sessions(tx, (&self.store, self.tenant, &self.by), user).await?;
        let (now, who) = (self.store.now().into(), self.by.who.as_str().into());
        tx.execute(END_AUTHORIZATIONS, vec![self.tenant.into(), member.into(), now, who]).await.map(|_| ())
    }

    /// The row, if it is one that the provider provisions or keeps.
    async fn own(&self, tx: &mut Tx, (record, target): (&'static Record, Target)) -> Result<Vec<Datum>, RecordError> {
        let write = self.write(record);
        // Whether it is another's is looked at before it is told that it has changed.
        let old = write.locked(tx, Target { expect: None, ..target }).await?;
        if row::get(record, &old, "provider_id").as_uuid() != Some(self.provider) {
            return Err(RecordError::NotFound { noun: record.noun });
        }
        write.locked(tx, target).await
    }

    async fn change_member(&self, tx: &mut Tx, target: Target, said: &PersonSaid) -> Result<(), RecordError> {
        self.own(tx, (&MEMBERS, target)).await?;
        self.save_member(tx, target, ("update", said)).await
    }

    async fn remove_member(&self, tx: &mut Tx, target: Target) -> Result<(), RecordError> {
        let old = self.own(tx, (&MEMBERS, target)).await?;
        let user = row::get(&MEMBERS, &old, "user_id").as_uuid().unwrap_or_default();
        conflicting("delete", self.write(&MEMBERS).delete(tx, target).await)?;
        end_sessions(tx, (&self.store, self.tenant, &self.by), user).await?;
        Ok(access::count(tx).await?)
    }

    async fn make_group(&self, tx: &mut Tx, said: &GroupSaid) -> Result<Uuid, RecordError> {
        let values = vec![
            ("name", Datum::Text(said.name.clone())),
            ("external_id", text_or_null(said.external_id.as_ref())),
            ("provider_id", Datum::Uuid(self.provider)),
        ];
        let group = make(self.write(&GROUPS), tx, values).await?;
        self.join_and_leave(tx, (group, said)).await?;
        Ok(group)
    }

    async fn change_group(&self, tx: &mut Tx, target: Target, said: &GroupSaid) -> Result<(), RecordError> {
        self.own(tx, (&GROUPS, target)).await?;
        let values =
            vec![("name", Datum::Text(said.name.clone())), ("external_id", text_or_null(said.external_id.as_ref()))];
        self.write(&GROUPS).update(tx, target, values).await?;
        self.join_and_leave(tx, (target.id, said)).await
    }

    async fn remove_group(&self, tx: &mut Tx, target: Target) -> Result<(), RecordError> {
        self.own(tx, (&GROUPS, target)).await?;
        conflicting("delete", self.write(&GROUPS).delete(tx, target).await)?;
        Ok(access::count(tx).await?)
    }

    async fn join_and_leave(&self, tx: &mut Tx, (group, said): (Uuid, &GroupSaid)) -> Result<(), RecordError> {
        if said.joining.is_empty() && said.leaving.is_empty() {
            return Ok(());
        }
        access::count(tx).await?;
        let write = self.write(&GROUP_MEMBERS);
        for member in &said.joining {
            let there = tx.query(MEMBERSHIP, vec![self.tenant.into(), group.into(), (*member).into()]).await?;
            if there.is_empty() {
                self.own(tx, (&MEMBERS, Target { id: *member, expect: None }))
                    .await
                    .map_err(|error| no_member(error, *member))?;
                let values = vec![("group_id", Datum::Uuid(group)), ("member_id", Datum::Uuid(*member))];
                make(write.clone(), tx, values).await?;
            }
        }
        for member in &said.leaving {
            let there = tx.query(MEMBERSHIP, vec![self.tenant.into(), group.into(), (*member).into()]).await?;
            if let Some(row) = there.first() {
                let target = Target { id: row.uuid(0)?, expect: None };
                conflicting("delete", write.delete(tx, target).await)?;
            }
        }
        Ok(())
    }
}

/// That there is no such user is about what was sent, and not about the group.
fn no_member(error: RecordError, member: Uuid) -> RecordError {
    match error {
        RecordError::NotFound { .. } => {
            let message = format!("there is no user `{member}`");
            RecordError::Invalid { noun: GROUPS.noun, errors: vec![FieldError::of("members", message)] }
        }
        other => other,
    }
}
