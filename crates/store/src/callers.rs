//! Who comes in: sessions and API keys are found by the hash of what their holders have, and what they may do is read off
//! scopes and roles. Whoever remembers an answer keeps the epoch beside it ([`Store::access_epoch`]).

use std::{collections::BTreeSet, sync::Arc};

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum,
    permission::{self, PeopleImpersonate, Permission as _},
    records::people::{INVITATIONS, LINKS, PASSWORDS, SESSIONS, USERS},
};

use crate::{
    By, Holds, RecordError, Rights, StoreError, Target,
    database::{Row, Statement},
    records::texts,
    store::Store,
};

/// Whoever acts in somebody's name has to be let in by a session of its own, and the second factor is that one's.
const SESSION: &str = "select s.tenant_key, s.id, s.user_id, s.expires_at, m.id, u.email, \
                       s.acting_session_id, am.id, au.email, s.reason, s.method, f.id is not null from sessions s \
                       join users u on u.id = s.user_id and u.status = 'active' \
                       join members m on m.tenant_key = s.tenant_key and m.user_id = s.user_id and m.status = 'active' \
                       left join sessions a on a.tenant_key = s.tenant_key and a.id = s.acting_session_id \
                       and a.status = 'active' and a.expires_at > $2 \
                       left join users au on au.id = a.user_id and au.status = 'active' \
                       left join members am on am.tenant_key = a.tenant_key and am.user_id = au.id and am.status = 'active' \
                       left join second_factors f on f.user_id = coalesce(a.user_id, s.user_id) and f.confirmed_at is not null \
                       where s.token_hash = $1 and s.delegation_id is null and s.status = 'active' and s.expires_at > $2";
const KEY: &str = "select k.tenant_key, k.id, k.name, k.scopes, k.expires_at, k.requests_per_minute, k.member_id, \
                   m.status, u.status, k.provider_id from api_keys k \
                   left join members m on m.tenant_key = k.tenant_key and m.id = k.member_id \
                   left join users u on u.id = m.user_id \
                   where k.token_hash = $1 and k.status = 'active' and (k.expires_at is null or k.expires_at > $2)";
const ACTIVE_MEMBER: &str = "select m.user_id from members m join users u on u.id = m.user_id and u.status = 'active' \
                             where m.tenant_key = $1 and m.id = $2 and m.status = 'active'";
const ACCOUNT: &str = "select id, email, name, status, password_hash from users where deleted_at is null and ";
const TENANTS_OF: &str = "select m.tenant_key, m.id, t.slug from members m join tenants t on t.key = m.tenant_key \
                          where m.user_id = $1 and m.status = 'active' and t.status = 'active' order by m.created_at, m.id limit 1000";
const USE_LINK: &str = "update sign_in_links set used_at = $2 where token_hash = $1 and used_at is null \
                        and expires_at > $2 returning user_id";
/// Those that let in, and those in which others acted, however these ended.
const SESSIONS_OF: &str = "select s.id, s.tenant_key, t.slug, s.method, s.address, s.user_agent, s.created_at, s.expires_at, \
                           s.status = 'active' and s.expires_at > $2, s.created_by, s.reason \
                           from sessions s join tenants t on t.key = s.tenant_key \
                           where s.user_id = $1 and (s.status = 'active' and s.expires_at > $2 or s.acting_session_id is not null) \
                           order by s.created_at desc, s.id desc limit 1000";
const END_ALL: &str = "update sessions set status = 'revoked', revoked_at = $2, updated_at = $2, updated_by = $3, \
                       revision = revision + 1 where user_id = $1 and status = 'active' and id <> $4";
/// Old passwords that are not chosen again.
const PASSWORDS_KEPT: i64 = 5;

/// Who came in, and what it may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where.
    pub tenant: TenantKey,
    /// What it may do.
    pub holds: Holds,
    /// Until when it may be remembered at all.
    pub until: Option<Timestamp>,
    /// What it came in with.
    pub with: CameWith,
}

/// What somebody came in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameWith {
    /// A session.
    Session {
        /// Its id.
        id: Uuid,
        /// Whose.
        user: Uuid,
        /// Who that is in the tenant.
        member: Uuid,
        /// What people know it by.
        email: String,
        /// Who acts in its name.
        acting: Option<Acting>,
        /// An identity provider of the tenant opened it: it is about that tenant alone.
        by_provider: bool,
        /// Whether there is a second factor that is asked for: of the user, or of who acts in its name.
        second_factor: bool,
    },
    /// A session of somebody of another tenant, by a delegation.
    Delegate {
        /// Its id.
        id: Uuid,
        /// What people know it by.
        email: String,
        /// Its tenant, by its name in commands.
        from: String,
        /// Whether there is a second factor that is asked for.
        second_factor: bool,
    },
    /// An API key.
    Key {
        /// Its id.
        id: Uuid,
        /// What people call it.
        name: String,
        /// Whose it is.
        member: Option<Uuid>,
        /// The identity provider that provisions people with it.
        provider: Option<Uuid>,
        /// Requests that it may send in a minute.
        per_minute: Option<u32>,
    },
    /// An access token of an application of a third party.
    Application {
        /// Which application.
        application: Uuid,
        /// What people call it.
        name: String,
        /// In whose name: the member and its address; its own when there is nobody.
        of: Option<(Uuid, String)>,
    },
}

/// Who acts in somebody's name, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// What people know it by.
    pub email: String,
    /// Why.
    pub reason: String,
}

/// A user, for whoever signs it in.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: Uuid,
    /// By what it signs in.
    pub email: String,
    /// What people call it.
    pub name: String,
    /// Whether it may sign in.
    pub active: bool,
    /// Its password, as Argon2id keeps it.
    pub password_hash: Option<String>,
}

/// A tenant that a user is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The tenant.
    pub tenant: TenantKey,
    /// The member there.
    pub member: Uuid,
    /// The tenant's name in commands.
    pub slug: String,
}

/// A session to be made.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Whose.
    pub user: Uuid,
    /// SHA-256 of its token.
    pub hash: [u8; 32],
    /// `password`, `link`, `invitation`, `oidc`; that of whoever acts in its name.
    pub method: String,
    /// The session of whoever acts in its name, and why.
    pub acting: Option<(Uuid, String)>,
    /// From where.
    pub address: Option<String>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A session, for whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedSession {
    /// Its id.
    pub id: Uuid,
    /// The tenant.
    pub tenant: TenantKey,
    /// The tenant's name in commands.
    pub slug: String,
    /// By what it began.
    pub method: String,
    /// From where.
    pub address: Option<String>,
    /// With which program.
    pub user_agent: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Whether it lets in.
    pub active: bool,
    /// Who began it.
    pub created_by: String,
    /// Why somebody acts in the user's name; `None` when it is the user.
    pub reason: Option<String>,
}

/// An invitation to be made.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// Who.
    pub email: String,
    /// With which role.
    pub role: Uuid,
    /// SHA-256 of its link.
    pub hash: [u8; 32],
    /// Until when.
    pub expires_at: Timestamp,
}

/// Whose sessions end.
#[derive(Debug, Clone, Copy)]
pub struct EndSessions {
    /// Of this user.
    pub user: Uuid,
    /// But for this one.
    pub except: Option<Uuid>,
    /// In this tenant alone.
    pub within: Option<TenantKey>,
}

fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.uuid(0)?,
        email: row.string(1)?,
        name: row.string(2)?,
        active: row.text(3)? == "active",
        password_hash: row.opt(4, Row::string)?,
    })
}

impl Store {
    /// Who has the session with that hash, in whichever tenant: this is where a tenant comes from.
    pub async fn caller_of_session(&self, hash: [u8; 32]) -> Result<Option<Caller>, StoreError> {
        let Some(row) =
            self.database().across_tenants().query_opt(SESSION, vec![hash.into(), self.now().into()]).await?
        else {
            return self.caller_by_delegation(hash).await;
        };
        let (tenant, member) = (row.tenant(0)?, row.uuid(4)?);
        let mut may = self.rights_of(tenant, member).await?;
        let mut acting = None;
        if row.opt(6, Row::uuid)?.is_some() {
            let (Some(who), Some(email)) = (row.opt(7, Row::uuid)?, row.opt(8, Row::string)?) else {
                return Ok(None);
            };
            let own = self.rights_of(tenant, who).await?;
            if !own.may(PeopleImpersonate::NAME) {
                return Ok(None);
            }
            // Never more than either may do now, whatever the roles of both have become.
            may = may.and(&own);
            may.retain(|name| !permission::is_personal(name));
            acting = Some(Acting { email, reason: row.opt(9, Row::string)?.unwrap_or_default() });
        }
        let (id, user, email) = (row.uuid(1)?, row.uuid(2)?, row.string(5)?);
        let (by_provider, second_factor) = (row.text(10)? == "oidc", row.bool(11)?);
        let with = CameWith::Session { id, user, member, email, acting, by_provider, second_factor };
        let holds = Holds::These(Arc::new(may));
        Ok(Some(Caller { tenant, holds, until: Some(row.time(3)?), with }))
    }

    /// Who has the API key with that hash, in whichever tenant. A key never does more than its owner may.
    pub async fn caller_of_key(&self, hash: [u8; 32]) -> Result<Option<Caller>, StoreError> {
        let Some(row) = self.database().across_tenants().query_opt(KEY, vec![hash.into(), self.now().into()]).await?
        else {
            return Ok(None);
        };
        let (tenant, member) = (row.tenant(0)?, row.opt(6, Row::uuid)?);
        let scopes = texts(row.text(3)?);
        let mut holds = match scopes.iter().any(|scope| scope == permission::EVERYTHING) {
            true => Holds::Everything,
            false => Holds::These(Arc::new(scopes.into_iter().collect::<BTreeSet<_>>().into())),
        };
        if let Some(member) = member {
            let gone = [7, 8].iter().any(|at| row.text(*at).is_ok_and(|status| status != "active"));
            if gone {
                return Ok(None);
            }
            holds = holds.and(Holds::These(Arc::new(self.rights_of(tenant, member).await?)));
        }
        let per_minute = row.opt(5, Row::int)?.and_then(|rate| u32::try_from(rate).ok());
        let (name, provider) = (row.string(2)?, row.opt(9, Row::uuid)?);
        let with = CameWith::Key { id: row.uuid(1)?, name, member, provider, per_minute };
        Ok(Some(Caller { tenant, holds, until: row.opt(4, Row::time)?, with }))
    }

    /// The user who is that member, when both are active, and what it may do.
    pub async fn active_member(&self, tenant: TenantKey, member: Uuid) -> Result<Option<(Uuid, Rights)>, StoreError> {
        let found = self.database().of(tenant).query_opt(ACTIVE_MEMBER, vec![tenant.into(), member.into()]).await?;
        let Some(row) = found else { return Ok(None) };
        Ok(Some((row.uuid(0)?, self.rights_of(tenant, member).await?)))
    }

    /// The user of that address.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let row =
            self.database().across_tenants().query_opt(format!("{ACCOUNT} email = $1"), vec![email.into()]).await?;
        row.as_ref().map(account).transpose()
    }

    /// A user.
    pub async fn account(&self, user: Uuid) -> Result<Option<Account>, StoreError> {
        let row = self.database().across_tenants().query_opt(format!("{ACCOUNT} id = $1"), vec![user.into()]).await?;
        row.as_ref().map(account).transpose()
    }

    /// Where a user may be: its memberships that are active, in tenants that are.
    pub async fn memberships(&self, user: Uuid) -> Result<Vec<Membership>, StoreError> {
        let rows = self.database().across_tenants().query(TENANTS_OF, vec![user.into()]).await?;
        let membership =
            |row: &Row| Ok(Membership { tenant: row.tenant(0)?, member: row.uuid(1)?, slug: row.string(2)? });
        rows.iter().map(membership).collect()
    }

    /// Whether anybody has ever come in: a user has signed in, or there is an API key.
    pub async fn anybody_came(&self) -> Result<bool, StoreError> {
        let sql = "select 1 from users where last_sign_in_at is not null union all select 1 from api_keys limit 1";
        Ok(self.database().across_tenants().query_opt(sql, vec![]).await?.is_some())
    }

    /// Keeps a link that signs a user in once; links of the user that were not used end.
    pub async fn add_link(
        &self,
        user: Uuid,
        hash: [u8; 32],
        (expires_at, by): (Timestamp, By),
    ) -> Result<(), RecordError> {
        let end = "update sign_in_links set expires_at = $2 where user_id = $1 and used_at is null and expires_at > $2";
        self.database().across_tenants().execute(end, vec![user.into(), self.now().into()]).await?;
        let values = vec![
            ("user_id", Datum::Uuid(user)),
            ("token_hash", Datum::Bytes(hash.to_vec())),
            ("expires_at", Datum::Time(expires_at)),
        ];
        self.insert_record((TenantKey::DEFAULT, &LINKS), ("create", by), values).await.map(|_| ())
    }

    /// The user of a link that works.
    pub async fn linked(&self, hash: [u8; 32]) -> Result<Option<Uuid>, StoreError> {
        let sql = "select user_id from sign_in_links where token_hash = $1 and used_at is null and expires_at > $2";
        let row = self.database().across_tenants().query_opt(sql, vec![hash.into(), self.now().into()]).await?;
        row.map(|row| row.uuid(0)).transpose()
    }

    /// Uses a link up, once; the user that it is for.
    pub async fn use_link(&self, hash: [u8; 32]) -> Result<Option<Uuid>, StoreError> {
        let used = self.database().across_tenants().execute(USE_LINK, vec![hash.into(), self.now().into()]).await?;
        used.rows.first().map(|row| row.uuid(0)).transpose()
    }

    /// Signs a user in, or somebody in its name: the session, and an entry `sign_in` or `impersonate` of the audit.
    pub async fn add_session(&self, tenant: TenantKey, new: NewSession, by: By) -> Result<Uuid, RecordError> {
        let id = Uuid::now_v7();
        let mut values = vec![
            ("id", Datum::Uuid(id)),
            ("user_id", Datum::Uuid(new.user)),
            ("token_hash", Datum::Bytes(new.hash.to_vec())),
            ("method", Datum::Text(new.method)),
            ("expires_at", Datum::Time(new.expires_at)),
        ];
        values.extend(new.address.map(|address| ("address", Datum::Text(address))));
        let program = by.user_agent.as_deref().filter(|it| !it.is_empty());
        values.extend(program.map(|it| ("user_agent", Datum::Text(it.chars().take(400).collect()))));
        if let Some((session, reason)) = new.acting {
            values.extend([("acting_session_id", Datum::Uuid(session)), ("reason", Datum::Text(reason))]);
            self.insert_record((tenant, &SESSIONS), ("impersonate", by), values).await?;
            return Ok(id);
        }
        self.insert_record((tenant, &SESSIONS), ("sign_in", by), values).await?;
        let sql = "update users set last_sign_in_at = $2 where id = $1";
        self.database().of(tenant).execute(sql, vec![new.user.into(), self.now().into()]).await?;
        Ok(id)
    }

    /// The sessions of a user that let in, and those in which others acted in its name, in all tenants, the newest first;
    /// at most 1,000.
    pub async fn sessions_of(&self, user: Uuid) -> Result<Vec<OwnedSession>, StoreError> {
        let rows = self.database().across_tenants().query(SESSIONS_OF, vec![user.into(), self.now().into()]).await?;
        let open = |row: &Row| {
            Ok(OwnedSession {
                id: row.uuid(0)?,
                tenant: row.tenant(1)?,
                slug: row.string(2)?,
                method: row.string(3)?,
                address: row.opt(4, Row::string)?,
                user_agent: row.opt(5, Row::string)?,
                created_at: row.time(6)?,
                expires_at: row.time(7)?,
                active: row.bool(8)?,
                created_by: row.string(9)?,
                reason: row.opt(10, Row::string)?,
            })
        };
        rows.iter().map(open).collect()
    }

    /// Ends a session; `false` when it had ended.
    pub async fn end_session(&self, tenant: TenantKey, session: Uuid, by: By) -> Result<bool, RecordError> {
        let Some(revoke) = SESSIONS.transition("revoke") else { return Ok(false) };
        let target = (Target { id: session, expect: None }, revoke);
        match self.transition_record((tenant, &SESSIONS), target, &serde_json::json!({}), by).await {
            Ok(_) => Ok(true),
            Err(RecordError::Transition { .. } | RecordError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the sessions of a user, in all tenants or in one, at once for this server, and what applications hold in its
    /// name; how many sessions.
    pub async fn end_sessions(&self, whose: EndSessions, by: By) -> Result<u64, StoreError> {
        let except = whose.except.unwrap_or_default();
        let mut sessions = vec![whose.user.into(), self.now().into(), by.who.as_str().into()];
        let mut authorizations = sessions.clone();
        sessions.push(except.into());
        let (mut end_sessions, mut end_authorizations) =
            (END_ALL.to_owned(), crate::oauth::END_AUTHORIZATIONS.to_owned());
        if let Some(tenant) = whose.within {
            end_sessions.push_str(" and tenant_key = $5");
            end_authorizations.push_str(" and oauth_authorizations.tenant_key = $4");
            sessions.push(tenant.into());
            authorizations.push(tenant.into());
        }
        let statements = vec![
            Statement::new(end_sessions, sessions),
            Statement::new(end_authorizations, authorizations),
            Statement::new(crate::access::COUNT, vec![]),
        ];
        let written = self.database().across_tenants().write(statements).await?;
        self.look_at_access().await?;
        let ended = written.first().map_or(0, |it| it.count);
        let applications = written.get(1).map_or(0, |it| it.count);
        let changes = serde_json::json!({ "sessions": ended, "authorizations": applications });
        let what = ("sign_out_everywhere", Some(whose.user));
        self.note_event((TenantKey::DEFAULT, &USERS), what, (by, changes)).await?;
        Ok(ended)
    }

    /// The passwords that a user had last, the present one first.
    pub async fn old_passwords(&self, user: Uuid) -> Result<Vec<String>, StoreError> {
        let sql = "select password_hash from password_history where user_id = $1 order by id desc limit $2";
        let rows = self.database().across_tenants().query(sql, vec![user.into(), PASSWORDS_KEPT.into()]).await?;
        let mut all: Vec<String> = self.account(user).await?.and_then(|it| it.password_hash).into_iter().collect();
        for row in &rows {
            all.push(row.string(0)?);
        }
        Ok(all)
    }

    /// Gives a user another password; the one that it had is remembered.
    pub async fn set_password(&self, user: Uuid, hash: String, by: By) -> Result<(), RecordError> {
        if let Some(old) = self.account(user).await?.and_then(|it| it.password_hash) {
            let values = vec![("user_id", Datum::Uuid(user)), ("password_hash", Datum::Text(old))];
            self.insert_record((TenantKey::DEFAULT, &PASSWORDS), ("create", By::system()), values).await?;
        }
        let values = vec![("password_hash", Datum::Text(hash)), ("password_changed_at", Datum::Time(self.now()))];
        let target = Target { id: user, expect: None };
        self.change_record((TenantKey::DEFAULT, &USERS), target, (by, values)).await.map(|_| ())
    }

    /// A role of a tenant by its name, and what it allows.
    pub async fn role_by_name(&self, tenant: TenantKey, name: &str) -> Result<Option<(Uuid, Vec<String>)>, StoreError> {
        let sql = "select id, permissions from roles where tenant_key = $1 and name = $2";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), name.into()]).await?;
        row.map(|row| Ok((row.uuid(0)?, texts(row.text(1)?)))).transpose()
    }

    /// Keeps an invitation.
    pub async fn add_invitation(&self, tenant: TenantKey, new: NewInvitation, by: By) -> Result<Uuid, RecordError> {
        let id = Uuid::now_v7();
        let values = vec![
            ("id", Datum::Uuid(id)),
            ("email", Datum::Text(new.email)),
            ("role_id", Datum::Uuid(new.role)),
            ("token_hash", Datum::Bytes(new.hash.to_vec())),
            ("expires_at", Datum::Time(new.expires_at)),
        ];
        self.insert_record((tenant, &INVITATIONS), ("create", by), values).await.map(|_| id)
    }

    /// Whom an invitation that is still open is for.
    pub async fn invited(&self, hash: [u8; 32]) -> Result<Option<String>, StoreError> {
        let sql = "select email from invitations where token_hash = $1 and status = 'pending' and expires_at > $2";
        let row = self.database().across_tenants().query_opt(sql, vec![hash.into(), self.now().into()]).await?;
        row.map(|row| row.string(0)).transpose()
    }
}
