//! Identity providers: who may do everything in the tenant sets one up, for its keeper comes in as whom he likes; and
//! somebody who comes by one is known by (provider, subject) alone.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, FieldError,
    records::{
        people::{INVITATIONS, MEMBERS},
        providers::MEMBER_IDENTITIES,
    },
};

use super::{
    By, Holds, RecordError, Target,
    behaviour::{Behaviour, NewRow},
    joining::{Invited, Joining, USER, join, make},
    people::{looks_after_installation, more_than_own, role, texts},
    row,
};
use crate::{
    StoreError, access,
    database::{Row, Tx},
    store::Store,
};

const BUILT_IN: &str =
    "select name, built_in, permissions from roles where tenant_key = $1 and built_in = true order by name";
const PROVIDER: &str = "select default_role_id, email_domains from identity_providers \
                        where tenant_key = $1 and id = $2 and enabled = true";
const KNOWN: &str = "select i.status, m.status, u.status, i.member_id, m.user_id from member_identities i \
                     join members m on m.tenant_key = i.tenant_key and m.id = i.member_id \
                     join users u on u.id = m.user_id \
                     where i.tenant_key = $1 and i.provider_id = $2 and i.subject = $3";
/// Who is signed in by a session.
const SIGNED_IN: &str = "select m.id, m.user_id from sessions s \
                         join members m on m.tenant_key = s.tenant_key and m.user_id = s.user_id and m.status = 'active' \
                         join users u on u.id = s.user_id and u.status = 'active' \
                         where s.tenant_key = $1 and s.id = $2 and s.status = 'active' and s.expires_at > $3";
/// Those whom the provider provisions and calls so; more than one is nobody in particular.
const BY_EXTERNAL_ID: &str = "select id, user_id from members where tenant_key = $1 and provider_id = $2 \
                              and external_id = $3 limit 2";
const BY_EMAIL: &str =
    "select id, user_id from members where tenant_key = $1 and provider_id = $2 and email = $3 limit 2";
const IDENTIFIED: &str =
    "select 1 from member_identities where tenant_key = $1 and provider_id = $2 and member_id = $3 limit 1";
const ACTIVE: &str = "select m.status, u.status from members m join users u on u.id = m.user_id \
                      where m.tenant_key = $1 and m.id = $2";
const INVITATION: &str = "select id, role_id from invitations where tenant_key = $1 and email = $2 \
                          and status = 'pending' and expires_at > $3 order by created_at desc, id limit 1";

pub(super) struct IdentityProviders;

type Found<'a> = BoxFuture<'a, Result<Vec<FieldError>, StoreError>>;

impl Behaviour for IdentityProviders {
    fn before_write<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let mut errors: Vec<_> = nobody_in_particular(row).into_iter().collect();
            errors.extend(not_by_this_keeper(tx, row).await?);
            Ok(errors)
        })
    }

    fn before_delete<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move { Ok(not_by_this_keeper(tx, row).await?.into_iter().collect()) })
    }
}

async fn not_by_this_keeper(tx: &mut Tx, row: &NewRow<'_>) -> Result<Option<FieldError>, StoreError> {
    let why = less_than_everything(tx, (row.tenant(), &row.write.by.holds)).await?;
    Ok(why.map(|why| FieldError::of("name", format!("its keeper comes in as whom he likes: {why}"))))
}

/// Which built-in role of the tenant allows what somebody may not do.
async fn less_than_everything(tx: &mut Tx, (tenant, holds): (TenantKey, &Holds)) -> Result<Option<String>, StoreError> {
    for found in tx.query(BUILT_IN, vec![tenant.into()]).await? {
        if let Some(why) = more_than_own(holds, &role(&found)?) {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// A role for whoever comes, from wherever, is a mistake: anybody has an account with some providers.
fn nobody_in_particular(row: &NewRow<'_>) -> Option<FieldError> {
    let everywhere = matches!(row.get("email_domains"), Datum::Json(json) if texts(json).is_empty());
    let open = everywhere && row.get("default_role_id").as_uuid().is_some();
    open.then(|| FieldError::of("email_domains", "must name the domains whose people get the default role"))
}

/// Somebody whom a provider has sent.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Which provider.
    pub provider: Uuid,
    /// By what it knows him.
    pub subject: String,
    /// His address, if the provider has verified it.
    pub email: Option<String>,
    /// By what it may have provisioned him.
    pub external_id: Option<String>,
    /// What people call him.
    pub name: Option<String>,
    /// Where his picture is.
    pub picture: Option<String>,
    /// The session in which he said that it is he.
    pub said_in: Option<Uuid>,
    /// Who asks.
    pub by: By,
}

/// What becomes of somebody whom a provider has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// This user comes in.
    User(Uuid),
    /// He does not.
    Refused(NotIn),
}

/// Why somebody whom a provider has sent does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIn {
    /// There is no such provider, or nobody signs in with it.
    NoProvider,
    /// Nobody here is known by that, and he is not one of those who are let in.
    Unknown,
    /// He is new, and no address of his is verified.
    NoEmail,
    /// He is new, and a user has his address: that is no proof that they are one.
    EmailTaken,
    /// The identity, the member or the user may not come in.
    Suspended,
    /// He said that he is one member, and is known as another one.
    IsAnother,
    /// The session in which he said so has ended.
    SignedOut,
    /// The provider provisions him, and he looks after the installation: he has to say himself that it is he.
    MustLink,
}

impl Store {
    /// Why somebody may not set up how people come into a tenant; `None` when he may do everything there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn not_a_keeper(&self, tenant: TenantKey, holds: Holds) -> Result<Option<String>, StoreError> {
        let look = self
            .database()
            .of(tenant)
            .transact(move |tx| Box::pin(async move { less_than_everything(tx, (tenant, &holds)).await }));
        look.await
    }

    /// Finds whom a provider has sent, or makes him a member.
    ///
    /// # Errors
    /// The database does not answer; or he came twice at the same moment.
    pub async fn arrive(&self, tenant: TenantKey, arrival: Arrival) -> Result<Arrived, StoreError> {
        let store = self.clone();
        let arrived = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                let arriving = Arriving { store: &store, tenant, arrival: &arrival };
                match arriving.decide(tx).await {
                    Ok(arrived) => Ok(arrived),
                    Err(RecordError::Store(error)) => Err(error),
                    Err(other) => Err(StoreError::conflict(other.to_string())),
                }
            })
        });
        let arrived = arrived.await?;
        self.audit_noted();
        self.look_at_access().await?;
        Ok(arrived)
    }
}

struct Arriving<'a> {
    store: &'a Store,
    tenant: TenantKey,
    arrival: &'a Arrival,
}

impl Arriving<'_> {
    async fn decide(&self, tx: &mut Tx) -> Result<Arrived, RecordError> {
        let Arrival { provider, subject, said_in, .. } = self.arrival;
        let found = tx.query(PROVIDER, vec![self.tenant.into(), (*provider).into()]).await?;
        let Some(kept) = found.first() else { return Ok(Arrived::Refused(NotIn::NoProvider)) };
        let said = match said_in {
            None => None,
            Some(session) => {
                let params = vec![self.tenant.into(), (*session).into(), self.store.now().into()];
                let found = tx.query(SIGNED_IN, params).await?;
                let Some(row) = found.first() else { return Ok(Arrived::Refused(NotIn::SignedOut)) };
                Some((row.uuid(0)?, row.uuid(1)?))
            }
        };
        let params = vec![self.tenant.into(), (*provider).into(), subject.as_str().into()];
        let known = tx.query(KNOWN, params).await?;
        match (known.first(), said) {
            (Some(row), said) => {
                for at in 0..3 {
                    if row.text(at)? != "active" {
                        return Ok(Arrived::Refused(NotIn::Suspended));
                    }
                }
                let member = row.uuid(3)?;
                match said {
                    Some((said, _)) if said != member => Ok(Arrived::Refused(NotIn::IsAnother)),
                    _ => self.comes_in(tx, (member, row.uuid(4)?)).await,
                }
            }
            (None, Some((member, user))) => {
                self.identify(tx, member).await?;
                self.comes_in(tx, (member, user)).await
            }
            (None, None) => match self.provisioned(tx, kept).await? {
                Some(arrived) => Ok(arrived),
                None => self.newcomer(tx, kept).await,
            },
        }
    }

    /// Somebody whom the provider has provisioned, and who comes for the first time: he is known by what it calls him, or
    /// by an address in one of its domains that it has verified.
    async fn provisioned(&self, tx: &mut Tx, provider: &Row) -> Result<Option<Arrived>, RecordError> {
        let of_domains = match &self.arrival.email {
            Some(email) => {
                let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
                texts(provider.text(1)?).iter().any(|it| it.eq_ignore_ascii_case(domain))
            }
            None => false,
        };
        let ways = [
            (BY_EXTERNAL_ID, self.arrival.external_id.as_deref()),
            (BY_EMAIL, self.arrival.email.as_deref().filter(|_| of_domains)),
        ];
        for (sql, known_by) in ways {
            let Some(known_by) = known_by else { continue };
            let params = vec![self.tenant.into(), self.arrival.provider.into(), known_by.into()];
            let found = tx.query(sql, params).await?;
            let [row] = &found[..] else { continue };
            let (member, user) = (row.uuid(0)?, row.uuid(1)?);
            // Of two who come at once, one is looked at after the other.
            let write = self.store.write_on((self.tenant, &MEMBERS), By::system());
            write.locked(tx, Target { id: member, expect: None }).await?;
            let params = vec![self.tenant.into(), self.arrival.provider.into(), member.into()];
            if !tx.query(IDENTIFIED, params).await?.is_empty() {
                continue;
            }
            if self.is_suspended(tx, member).await? {
                return Ok(Some(Arrived::Refused(NotIn::Suspended)));
            }
            if looks_after_installation(tx, (self.tenant, member)).await? {
                return Ok(Some(Arrived::Refused(NotIn::MustLink)));
            }
            self.identify(tx, member).await?;
            return self.comes_in(tx, (member, user)).await.map(Some);
        }
        Ok(None)
    }

    async fn is_suspended(&self, tx: &mut Tx, member: Uuid) -> Result<bool, StoreError> {
        let found = tx.query(ACTIVE, vec![self.tenant.into(), member.into()]).await?;
        let active = |row: &Row| Ok::<bool, StoreError>(row.text(0)? == "active" && row.text(1)? == "active");
        Ok(!found.first().map(active).transpose()?.unwrap_or(false))
    }

    /// He is let in; what the provider says of him is kept with his membership, where it is another than before.
    async fn comes_in(&self, tx: &mut Tx, (member, user): (Uuid, Uuid)) -> Result<Arrived, RecordError> {
        let write = self.store.write_on((self.tenant, &MEMBERS), By::system());
        let target = Target { id: member, expect: None };
        let old = write.locked(tx, target).await?;
        let of = |name: &str| row::get(&MEMBERS, &old, name);
        let mut says = Vec::new();
        if self.arrival.email.is_some() && self.arrival.email.as_deref() == of("email").as_text() {
            says.push(("email_verified", Datum::Bool(true)));
        }
        // What it provisions, it says by SCIM.
        if let (Some(picture), true) = (&self.arrival.picture, of("profile").is_null()) {
            says.push(("avatar_url", Datum::Text(picture.clone())));
        }
        write.update(tx, target, says).await?;
        Ok(Arrived::User(user))
    }

    /// Keeps that the member is whom the provider sent.
    async fn identify(&self, tx: &mut Tx, member: Uuid) -> Result<(), RecordError> {
        let mut values = vec![
            ("provider_id", Datum::Uuid(self.arrival.provider)),
            ("member_id", Datum::Uuid(member)),
            ("subject", Datum::Text(self.arrival.subject.clone())),
        ];
        values.extend(self.arrival.email.clone().map(|email| ("email", Datum::Text(email))));
        make(self.store.write_on((self.tenant, &MEMBER_IDENTITIES), By::system()), tx, values).await.map(|_| ())
    }

    /// An invitation of his address counts, or the default role; the server has looked at the domain.
    async fn newcomer(&self, tx: &mut Tx, provider: &Row) -> Result<Arrived, RecordError> {
        let Some(email) = self.arrival.email.clone() else { return Ok(Arrived::Refused(NotIn::NoEmail)) };
        let params = vec![self.tenant.into(), email.as_str().into(), self.store.now().into()];
        let invitations = tx.query(INVITATION, params).await?;
        let role = match invitations.first() {
            Some(row) => Some(row.uuid(1)?),
            None => provider.opt(0, Row::uuid)?,
        };
        let Some(role) = role else { return Ok(Arrived::Refused(NotIn::Unknown)) };
        if !tx.query(USER, vec![email.as_str().into()]).await?.is_empty() {
            return Ok(Arrived::Refused(NotIn::EmailTaken));
        }
        if let Some(row) = invitations.first()
            && let Some(accept) = INVITATIONS.transition("accept")
        {
            let target = Target { id: row.uuid(0)?, expect: None };
            let write = self.store.write_on((self.tenant, &INVITATIONS), self.arrival.by.clone());
            write.transition(tx, (target, accept), Vec::new()).await?;
        }
        let name = self.arrival.name.clone().unwrap_or_else(|| email.clone());
        let joining = Joining { name, password_hash: None, by: self.arrival.by.clone() };
        let joined = join(self.store, tx, (&Invited { tenant: self.tenant, email, role }, &joining)).await?;
        self.identify(tx, joined.member).await?;
        access::count(tx).await?;
        self.comes_in(tx, (joined.member, joined.user)).await
    }
}
