//! Delegations: people of one tenant act in another with a role of it, in sessions of their own that end with the
//! delegation, with its time, with the session at home, and with the right to come by it.
//!
//! A delegation is a row of the tenant that lets others in. The other one accepts it by its link, so neither can look for
//! tenants.

use std::{collections::BTreeSet, sync::Arc};

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum,
    permission::{self, PeopleDelegate, Permission as _},
    records::people::{DELEGATIONS, SESSIONS},
};

use super::{By, Holds, RecordError, Target, texts};
use crate::{Caller, CameWith, NewSession, StoreError, Tenant, access, database::Row, store::Store};

const OFFERED: &str = "select d.tenant_key, d.id from delegations d join tenants t on t.key = d.tenant_key and t.status = 'active' \
                       where d.token_hash = $1 and d.status = 'offered' and d.expires_at > $2";
const RECEIVED: &str = "select d.id, d.tenant_key, t.slug, r.name, r.permissions, d.reason, d.accepted_at, d.expires_at \
                        from delegations d join tenants t on t.key = d.tenant_key and t.status = 'active' \
                        join roles r on r.tenant_key = d.tenant_key and r.id = d.role_id \
                        where d.to_key = $1 and d.status = 'accepted' and d.expires_at > $2 \
                        order by d.id limit 1000";
/// Whoever comes by a delegation is let in at home, by a session and a membership that are there still.
const SESSION: &str = "select s.tenant_key, s.id, s.user_id, s.expires_at, u.email, t.slug, cast(d.to_key as integer), m.id, \
                       r.permissions, f.id is not null from sessions s \
                       join delegations d on d.tenant_key = s.tenant_key and d.id = s.delegation_id \
                       and d.status = 'accepted' and d.expires_at > $2 \
                       join roles r on r.tenant_key = d.tenant_key and r.id = d.role_id \
                       join tenants t on t.key = d.to_key and t.status = 'active' \
                       join users u on u.id = s.user_id and u.status = 'active' and u.deleted_at is null \
                       join members m on m.tenant_key = d.to_key and m.user_id = s.user_id and m.status = 'active' \
                       join sessions h on h.tenant_key = d.to_key and h.id = s.home_session_id \
                       and h.user_id = s.user_id and h.status = 'active' and h.expires_at > $2 \
                       left join second_factors f on f.user_id = s.user_id and f.confirmed_at is not null \
                       where s.token_hash = $1 and s.status = 'active' and s.expires_at > $2";

/// A delegation to be offered.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// With which role.
    pub role: Uuid,
    /// Why.
    pub reason: String,
    /// SHA-256 of its link.
    pub hash: [u8; 32],
    /// Until when.
    pub expires_at: Timestamp,
}

/// A delegation, for the tenant whose people may come by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id.
    pub id: Uuid,
    /// The tenant that lets them in.
    pub tenant: TenantKey,
    /// Its name in commands.
    pub slug: String,
    /// The name of the role that they have there.
    pub role: String,
    /// What they may do there.
    pub permissions: Vec<String>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub accepted_at: Option<Timestamp>,
    /// Until when.
    pub expires_at: Timestamp,
}

fn received(row: &Row) -> Result<Received, StoreError> {
    Ok(Received {
        id: row.uuid(0)?,
        tenant: row.tenant(1)?,
        slug: row.string(2)?,
        role: row.string(3)?,
        permissions: delegated(row.text(4)?),
        reason: row.string(5)?,
        accepted_at: row.opt(6, Row::time)?,
        expires_at: row.time(7)?,
    })
}

/// What a role allows to those who come from elsewhere.
fn delegated(permissions: &str) -> Vec<String> {
    texts(permissions).into_iter().filter(|name| permission::is_delegated(name)).collect()
}

/// The same request, as the tenant sees it that lets others in.
fn from_elsewhere(by: &By, home: &str) -> By {
    By { who: format!("{} of {home}", by.who), ..by.clone() }
}

impl Store {
    /// Offers a delegation.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn add_delegation(&self, tenant: TenantKey, new: NewDelegation, by: By) -> Result<Uuid, RecordError> {
        let id = Uuid::now_v7();
        let values = vec![
            ("id", Datum::Uuid(id)),
            ("role_id", Datum::Uuid(new.role)),
            ("reason", Datum::Text(new.reason)),
            ("token_hash", Datum::Bytes(new.hash.to_vec())),
            ("expires_at", Datum::Time(new.expires_at)),
        ];
        self.insert_record((tenant, &DELEGATIONS), ("create", by), values).await.map(|_| id)
    }

    /// Who offers the delegation of that link, as long as it is open.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn offered_delegation(&self, hash: [u8; 32]) -> Result<Option<(TenantKey, Uuid)>, StoreError> {
        let row = self.database().across_tenants().query_opt(OFFERED, vec![hash.into(), self.now().into()]).await?;
        row.map(|row| Ok((row.tenant(0)?, row.uuid(1)?))).transpose()
    }

    /// Uses the link of a delegation up, for the people of that tenant. Both have it in their audits.
    ///
    /// # Errors
    /// There is no such delegation that is still open.
    pub async fn accept_delegation(&self, hash: [u8; 32], home: &Tenant, by: By) -> Result<Received, RecordError> {
        let (store, now) = (self.clone(), self.now());
        let (slug, key) = (home.slug.clone(), home.key);
        let there = from_elsewhere(&by, &slug);
        let accepted = self.database().across_tenants().transact(move |tx| {
            Box::pin(async move {
                let found = tx.query(OFFERED, vec![hash.into(), now.into()]).await?;
                let unknown = || RecordError::NotFound { noun: DELEGATIONS.noun };
                let (Some(row), Some(accept)) = (found.first(), DELEGATIONS.transition("accept")) else {
                    return Ok(Err(unknown()));
                };
                let (tenant, id) = (row.tenant(0)?, row.uuid(1)?);
                tx.enter(tenant).await?;
                let values = vec![("to_tenant", Datum::Text(slug)), ("to_key", Datum::Int(key.0.into()))];
                let write = store.write_on((tenant, &DELEGATIONS), there);
                // It is locked by this: of two who use the link, one does.
                match write.transition(tx, (Target { id, expect: None }, accept), values).await {
                    Ok(_) => access::count(tx).await.map(|()| Ok(id)),
                    Err(RecordError::Store(error)) => Err(error),
                    Err(RecordError::Transition { .. }) => Ok(Err(unknown())),
                    Err(other) => Ok(Err(other)),
                }
            })
        });
        let id = accepted.await??;
        self.audit_noted();
        self.look_at_access().await?;
        let all = self.received_delegations(home.key).await?;
        let received = all.into_iter().find(|it| it.id == id);
        let received = received.ok_or(RecordError::NotFound { noun: DELEGATIONS.noun })?;
        let changes = serde_json::json!({ "tenant": received.slug, "role": received.role });
        self.note_event((home.key, &DELEGATIONS), ("accept", Some(id)), (by, changes)).await?;
        Ok(received)
    }

    /// The delegations by which the people of a tenant may come elsewhere now.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn received_delegations(&self, home: TenantKey) -> Result<Vec<Received>, StoreError> {
        let rows = self.database().across_tenants().query(RECEIVED, vec![home.into(), self.now().into()]).await?;
        rows.iter().map(received).collect()
    }

    /// Gives a delegation back: nobody comes by it any more.
    ///
    /// # Errors
    /// It is over already.
    pub async fn return_delegation(&self, home: &Tenant, given: &Received, by: By) -> Result<(), RecordError> {
        let Some(revoke) = DELEGATIONS.transition("revoke") else { return Ok(()) };
        let target = (Target { id: given.id, expect: None }, revoke);
        let there = from_elsewhere(&by, &home.slug);
        self.transition_record((given.tenant, &DELEGATIONS), target, &serde_json::json!({}), there).await?;
        let changes = serde_json::json!({ "tenant": given.slug, "role": given.role });
        self.note_event((home.key, &DELEGATIONS), ("return", Some(given.id)), (by, changes)).await?;
        Ok(())
    }

    /// Lets somebody in by a delegation: a session there, which ends with the one at home. An entry `enter` stands in both
    /// audits.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn enter(
        &self,
        (home, given): (&Tenant, &Received),
        (new, home_session): (NewSession, Uuid),
        by: By,
    ) -> Result<Uuid, RecordError> {
        let id = Uuid::now_v7();
        let mut values = vec![
            ("id", Datum::Uuid(id)),
            ("user_id", Datum::Uuid(new.user)),
            ("token_hash", Datum::Bytes(new.hash.to_vec())),
            ("method", Datum::Text(new.method)),
            ("expires_at", Datum::Time(new.expires_at)),
            ("delegation_id", Datum::Uuid(given.id)),
            ("home_session_id", Datum::Uuid(home_session)),
        ];
        values.extend(new.address.map(|address| ("address", Datum::Text(address))));
        let there = from_elsewhere(&by, &home.slug);
        self.insert_record((given.tenant, &SESSIONS), ("enter", there), values).await?;
        let changes = serde_json::json!({ "tenant": given.slug, "role": given.role });
        self.note_event((home.key, &DELEGATIONS), ("enter", Some(given.id)), (by, changes)).await?;
        Ok(id)
    }

    /// Who came by a delegation with a session of that hash. He may do what its role allows, as long as he may come by
    /// delegations at home.
    pub(crate) async fn caller_by_delegation(&self, hash: [u8; 32]) -> Result<Option<Caller>, StoreError> {
        let params = vec![hash.into(), self.now().into()];
        let Some(row) = self.database().across_tenants().query_opt(SESSION, params).await? else { return Ok(None) };
        let (home, member) = (row.tenant(6)?, row.uuid(7)?);
        if !self.rights_of(home, member).await?.may(PeopleDelegate::NAME) {
            return Ok(None);
        }
        let with = CameWith::Delegate {
            id: row.uuid(1)?,
            email: row.string(4)?,
            from: row.string(5)?,
            second_factor: row.bool(9)?,
        };
        let allowed: BTreeSet<String> = delegated(row.text(8)?).into_iter().collect();
        let holds = Holds::These(Arc::new(allowed.into()));
        Ok(Some(Caller { tenant: row.tenant(0)?, holds, until: Some(row.time(3)?), with }))
    }
}
