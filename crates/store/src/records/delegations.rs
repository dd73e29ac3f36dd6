//! Delegations: people of one tenant act in another with a role of it, in sessions of their own that end with the
//! delegation, with its time, with the session at home, and with the right to come by it.
//!
//! A delegation is a row of the tenant that lets others in. The other one accepts it by its link, so neither can look for
//! tenants.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, Record,
    permission::{self, PeopleDelegate, Permission as _},
    records::people::{DELEGATIONS, SESSIONS},
};

use super::{
    By, Holds, RecordError, RecordView, Target, texts,
    write::{Change, with_defaults},
};
use crate::{AuditNote, Caller, CameWith, NewSession, StoreError, Tenant, database::Row, store::Store};

const OFFERED: &str = "select d.id, d.tenant_key, t.slug, r.name from delegations d \
                       join tenants t on t.key = d.tenant_key and t.status = 'active' \
                       join roles r on r.tenant_key = d.tenant_key and r.id = d.role_id \
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

/// A delegation, for those who hold its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedDelegation {
    /// Its id.
    pub id: Uuid,
    /// The tenant that lets others in.
    pub tenant: TenantKey,
    /// Its name in commands.
    pub slug: String,
    /// The name of the role that they have there.
    pub role: String,
}

/// A delegation, for the tenant whose people may come by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What was offered.
    pub offered: OfferedDelegation,
    /// What they may do there.
    pub permissions: Vec<String>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub accepted_at: Option<Timestamp>,
    /// Until when.
    pub expires_at: Timestamp,
}

fn offered(row: &Row) -> Result<OfferedDelegation, StoreError> {
    Ok(OfferedDelegation { id: row.uuid(0)?, tenant: row.tenant(1)?, slug: row.string(2)?, role: row.string(3)? })
}

fn received(row: &Row) -> Result<Received, StoreError> {
    Ok(Received {
        offered: offered(row)?,
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

    /// The delegation of that link, as long as it is open.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn offered_delegation(&self, hash: [u8; 32]) -> Result<Option<OfferedDelegation>, StoreError> {
        let row = self.database().across_tenants().query_opt(OFFERED, vec![hash.into(), self.now().into()]).await?;
        row.as_ref().map(offered).transpose()
    }

    /// Uses the link of a delegation up, for the people of that tenant.
    ///
    /// # Errors
    /// It is not open any more.
    pub async fn accept_delegation(
        &self,
        offered: &OfferedDelegation,
        home: &Tenant,
        by: By,
    ) -> Result<Received, RecordError> {
        let unknown = || RecordError::NotFound { noun: DELEGATIONS.noun };
        let accept = DELEGATIONS.transition("accept").ok_or_else(unknown)?;
        let values = vec![("to_tenant", Datum::Text(home.slug.clone())), ("to_key", Datum::Int(home.key.0.into()))];
        let change = Change::Transition(Target { id: offered.id, expect: None }, accept, values);
        // Its row is locked meanwhile: of two who use the link, one does.
        self.write_for_both((offered, &DELEGATIONS), home, ("accept", by), change).await.map_err(
            |error| match error {
                RecordError::Transition { .. } | RecordError::Guarded { .. } => unknown(),
                other => other,
            },
        )?;
        let all = self.received_delegations(home.key).await?;
        all.into_iter().find(|it| it.offered.id == offered.id).ok_or_else(unknown)
    }

    /// Changes something of the tenant that lets others in. Both have it in their audits, by one transaction.
    async fn write_for_both(
        &self,
        (given, record): (&OfferedDelegation, &'static Record),
        home: &Tenant,
        (action, by): (&'static str, By),
        change: Change,
    ) -> Result<RecordView, RecordError> {
        let there = By { who: format!("{} of {}", by.who, home.slug), ..by.clone() };
        let mut write = self.write_on((given.tenant, record), there);
        let note = AuditNote {
            action,
            record: DELEGATIONS.name,
            record_id: Some(given.id),
            subject: None,
            changes: json!({ "tenant": given.slug, "role": given.role }),
            by,
            at: write.now,
        };
        write.elsewhere = Some((home.key, note));
        self.carry_out(write, change).await
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
    pub async fn return_delegation(&self, home: &Tenant, given: &OfferedDelegation, by: By) -> Result<(), RecordError> {
        let Some(revoke) = DELEGATIONS.transition("revoke") else { return Ok(()) };
        let change = Change::Transition(Target { id: given.id, expect: None }, revoke, Vec::new());
        self.write_for_both((given, &DELEGATIONS), home, ("return", by), change).await.map(|_| ())
    }

    /// Lets somebody in by a delegation: a session there, which ends with the one at home.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn enter(
        &self,
        (home, given): (&Tenant, &OfferedDelegation),
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
        let change = Change::Make("enter", with_defaults(&SESSIONS, values));
        self.write_for_both((given, &SESSIONS), home, ("enter", by), change).await.map(|_| id)
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
