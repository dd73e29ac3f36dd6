//! What an identity provider provisions, as it reads it: its members and groups, in the order in which they were made.

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use crate::{
    StoreError,
    database::{Row, Value},
    store::Store,
};

/// Memberships of groups in one answer at most.
pub const MEMBERSHIPS_SHOWN_MAX: usize = 20_000;

const MEMBERS: &str = "select id, revision, created_at, updated_at, status, user_name, external_id, email, name, \
                       avatar_url, profile from members where tenant_key = $1 and provider_id = $2 and id > $3";
const GROUPS: &str = "select id, revision, created_at, updated_at, name, external_id from groups \
                      where tenant_key = $1 and provider_id = $2 and id > $3";
const IN_ORDER: &str = " order by id limit $4 offset $5";
const COUNT_MEMBERS: &str = "select count(*) from members where tenant_key = $1 and provider_id = $2";
const COUNT_GROUPS: &str = "select count(*) from groups where tenant_key = $1 and provider_id = $2";
/// Who is in groups: of those whom the provider provisions.
const IN_GROUPS: &str = "select g.group_id, m.id, m.name from group_members g \
                         join members m on m.tenant_key = g.tenant_key and m.id = g.member_id and m.provider_id = $2 \
                         where g.tenant_key = $1 and g.group_id ";
/// The groups that members are in: of those that the provider keeps.
const GROUPS_OF: &str = "select m.member_id, g.id, g.name from group_members m \
                         join groups g on g.tenant_key = m.tenant_key and g.id = m.group_id and g.provider_id = $2 \
                         where m.tenant_key = $1 and m.member_id ";

/// Which of them, as far as the database finds them by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exactly {
    /// All of them.
    Any,
    /// The one of that id.
    Id(Uuid),
    /// The one that is called so; letters in lower case.
    UserName(String),
    /// Those that the provider knows by this.
    ExternalId(String),
    /// Those that may have this address; ASCII in lower case, without quotes and backslashes.
    Email(String),
    /// The group of that name; ASCII in lower case.
    Name(String),
    /// The groups that this member is in.
    With(Uuid),
}

/// Which part of them.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which.
    pub exactly: Exactly,
    /// Those after this one.
    pub after: Uuid,
    /// Of those, how many are left out.
    pub skip: u32,
    /// At most.
    pub limit: u32,
}

/// A member that a provider provisions.
#[derive(Debug, Clone)]
pub struct ProvisionedMember {
    /// Its id.
    pub id: Uuid,
    /// Counts its changes.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Whether it may be here.
    pub active: bool,
    /// What the provider calls it.
    pub user_name: String,
    /// What the provider knows it by.
    pub external_id: Option<String>,
    /// Its address.
    pub email: String,
    /// What people call it.
    pub name: String,
    /// Where its picture is.
    pub avatar_url: Option<String>,
    /// What the provider says of it.
    pub profile: serde_json::Value,
}

/// A group that a provider keeps.
#[derive(Debug, Clone)]
pub struct ProvisionedGroup {
    /// Its id.
    pub id: Uuid,
    /// Counts its changes.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its name.
    pub name: String,
    /// What the provider knows it by.
    pub external_id: Option<String>,
}

/// That one belongs to another: whose it is, which, and what people call that.
#[derive(Debug, Clone)]
pub struct Belongs {
    /// The one that was asked about.
    pub of: Uuid,
    /// What it has.
    pub id: Uuid,
    /// What people call that.
    pub name: String,
}

impl Exactly {
    /// The condition and its parameters, of which the first is `$6`.
    fn condition(&self) -> (&'static str, Vec<Value>) {
        let text = |text: &String| Value::from(text.as_str());
        match self {
            Exactly::Any => ("", vec![]),
            Exactly::Id(id) => (" and id = $6", vec![(*id).into()]),
            Exactly::UserName(name) => (" and user_name = $6", vec![text(name)]),
            Exactly::ExternalId(id) => (" and external_id = $6", vec![text(id)]),
            Exactly::Email(email) => {
                let escaped = email.replace('%', "\\%").replace('_', "\\_");
                let found = Value::from(format!("%\"{escaped}\"%"));
                (" and (email = $6 or lower(cast(profile as text)) like $7 escape '\\')", vec![text(email), found])
            }
            Exactly::Name(name) => (" and lower(name) = $6", vec![text(name)]),
            Exactly::With(member) => {
                let sql = " and id in (select group_id from group_members where tenant_key = $1 and member_id = $6)";
                (sql, vec![(*member).into()])
            }
        }
    }
}

impl Store {
    async fn part_of(
        &self,
        sql: &str,
        (tenant, provider): (TenantKey, Uuid),
        part: &Part,
    ) -> Result<Vec<Row>, StoreError> {
        let (condition, more) = part.exactly.condition();
        let (limit, skip) = (i64::from(part.limit).into(), i64::from(part.skip).into());
        let mut params = vec![tenant.into(), provider.into(), part.after.into(), limit, skip];
        params.extend(more);
        self.database().of(tenant).query(format!("{sql}{condition}{IN_ORDER}"), params).await
    }

    /// A part of the members that a provider provisions.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn provisioned_members(
        &self,
        whose: (TenantKey, Uuid),
        part: &Part,
    ) -> Result<Vec<ProvisionedMember>, StoreError> {
        let member = |row: &Row| {
            Ok(ProvisionedMember {
                id: row.uuid(0)?,
                revision: row.int(1)?,
                created_at: row.time(2)?,
                updated_at: row.time(3)?,
                active: row.text(4)? == "active",
                user_name: row.opt(5, Row::string)?.unwrap_or_default(),
                external_id: row.opt(6, Row::string)?,
                email: row.string(7)?,
                name: row.string(8)?,
                avatar_url: row.opt(9, Row::string)?,
                profile: row.opt(10, Row::json)?.unwrap_or_default(),
            })
        };
        self.part_of(MEMBERS, whose, part).await?.iter().map(member).collect()
    }

    /// A part of the groups that a provider keeps.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn provisioned_groups(
        &self,
        whose: (TenantKey, Uuid),
        part: &Part,
    ) -> Result<Vec<ProvisionedGroup>, StoreError> {
        let group = |row: &Row| {
            Ok(ProvisionedGroup {
                id: row.uuid(0)?,
                revision: row.int(1)?,
                created_at: row.time(2)?,
                updated_at: row.time(3)?,
                name: row.string(4)?,
                external_id: row.opt(5, Row::string)?,
            })
        };
        self.part_of(GROUPS, whose, part).await?.iter().map(group).collect()
    }

    async fn count(&self, sql: &'static str, (tenant, provider): (TenantKey, Uuid)) -> Result<u64, StoreError> {
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into(), provider.into()]).await?;
        row.map_or(Ok(0), |row| Ok(row.int(0)?.unsigned_abs()))
    }

    /// How many members a provider provisions.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn count_provisioned_members(&self, whose: (TenantKey, Uuid)) -> Result<u64, StoreError> {
        self.count(COUNT_MEMBERS, whose).await
    }

    /// How many groups a provider keeps.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn count_provisioned_groups(&self, whose: (TenantKey, Uuid)) -> Result<u64, StoreError> {
        self.count(COUNT_GROUPS, whose).await
    }

    /// Who is in these groups; `None` when they are more than [`MEMBERSHIPS_SHOWN_MAX`].
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn in_provisioned_groups(
        &self,
        whose: (TenantKey, Uuid),
        groups: Vec<Uuid>,
    ) -> Result<Option<Vec<Belongs>>, StoreError> {
        self.belonging((IN_GROUPS, "g.group_id, g.member_id"), whose, groups).await
    }

    /// The groups that these members are in; `None` when they are more than [`MEMBERSHIPS_SHOWN_MAX`].
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn provisioned_groups_of(
        &self,
        whose: (TenantKey, Uuid),
        members: Vec<Uuid>,
    ) -> Result<Option<Vec<Belongs>>, StoreError> {
        self.belonging((GROUPS_OF, "m.member_id, m.group_id"), whose, members).await
    }

    async fn belonging(
        &self,
        (sql, order): (&str, &str),
        (tenant, provider): (TenantKey, Uuid),
        ids: Vec<Uuid>,
    ) -> Result<Option<Vec<Belongs>>, StoreError> {
        let limit = MEMBERSHIPS_SHOWN_MAX + 1;
        let sql = format!("{sql}{} order by {order} limit {limit}", self.database().dialect().in_uuids(3));
        let rows =
            self.database().of(tenant).query(sql, vec![tenant.into(), provider.into(), Value::Uuids(ids)]).await?;
        if rows.len() >= limit {
            return Ok(None);
        }
        let belongs = |row: &Row| Ok(Belongs { of: row.uuid(0)?, id: row.uuid(1)?, name: row.string(2)? });
        rows.iter().map(belongs).collect::<Result<_, StoreError>>().map(Some)
    }
}
