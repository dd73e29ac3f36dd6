//! People: nobody gives or takes more than he may do himself, built-in roles do not change, and a tenant that has an
//! administrator never loses the last one.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, FieldError, permission};

use super::{
    Holds,
    behaviour::{Behaviour, NewRow},
};
use crate::{
    StoreError,
    database::{Dialect, Row, Tx, Value},
};

const ROLE: &str = "select name, built_in, permissions from roles where tenant_key = $1 and id = $2";
const ROLES_OF: &str = "select r.name, r.built_in, r.permissions from role_assignments a \
                        join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                        where a.tenant_key = $1 and a.member_id = $2 union all \
                        select r.name, r.built_in, r.permissions from group_members g \
                        join role_assignments a on a.tenant_key = g.tenant_key and a.group_id = g.group_id \
                        join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                        where g.tenant_key = $1 and g.member_id = $2";
/// An active member that has the built-in role of that name, by itself or by a group, apart from what is about to go.
const HOLDER: &str = "select 1 from members m join users u on u.id = m.user_id and u.status = 'active' \
                      where m.tenant_key = $1 and m.status = 'active' and m.id <> $3 and exists (select 1 \
                      from role_assignments a join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                      where a.tenant_key = $1 and r.built_in = true and r.name = $2 and a.folder_id is null and a.workflow_id is null \
                      and a.id <> $4 and (a.member_id = m.id \
                      or exists (select 1 from group_members g where g.tenant_key = $1 and g.group_id = a.group_id \
                      and g.member_id = m.id and g.id <> $5 and g.group_id <> $6))) limit 1";
/// Of two who take the last two away at once, one waits for the other.
const LOCK_ROLE: &str =
    "select id from roles where tenant_key = $1 and built_in = true and name = $2 for no key update";
const OF_PROVIDERS: &str = "select 1 from role_assignments a \
                            join groups g on g.tenant_key = a.tenant_key and g.id = a.group_id \
                            where a.tenant_key = $1 and a.role_id = $2 and g.provider_id is not null limit 1";
const KEPT_BY: &str = "select 1 from groups where tenant_key = $1 and id = $2 and provider_id is not null";
/// Why a role is not for a group that a provider keeps.
const OVER_PROVIDERS: &str = "is about the whole installation, and an identity provider says who is in the group";
/// The roles of which somebody must have each that somebody has.
const NEVER_LOST: &[&str] = &["tenant_admin", "system_admin"];

type Found<'a> = BoxFuture<'a, Result<Vec<FieldError>, StoreError>>;

pub(super) struct Roles;
pub(super) struct RoleAssignments;
pub(super) struct Members;

pub(super) struct Role {
    name: String,
    built_in: bool,
    permissions: Vec<String>,
}

pub(super) fn role(row: &Row) -> Result<Role, StoreError> {
    Ok(Role { name: row.string(0)?, built_in: row.bool(1)?, permissions: texts(row.text(2)?) })
}

/// A list of texts as the database keeps it.
pub(crate) fn texts(json: &str) -> Vec<String> {
    // The column takes nothing else.
    serde_json::from_str(json).unwrap_or_default()
}

pub(super) fn more_than_own(by: &Holds, role: &Role) -> Option<String> {
    let lacking = by.lacks(&role.permissions)?;
    Some(format!("the role `{}` allows `{lacking}`, which you may not do yourself", role.name))
}

/// What is about to go; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Going {
    pub member: Uuid,
    pub assignment: Uuid,
    pub membership: Uuid,
    pub group: Uuid,
}

/// Whether nobody is left who has a role that is never lost, and somebody has it now.
async fn is_last(tx: &mut Tx, (tenant, going): (TenantKey, Going), role: &Role) -> Result<bool, StoreError> {
    if !role.built_in || !NEVER_LOST.contains(&role.name.as_str()) {
        return Ok(false);
    }
    if tx.dialect() == Dialect::Postgres {
        tx.query(LOCK_ROLE, vec![tenant.into(), role.name.as_str().into()]).await?;
    }
    let without = |going: Going| {
        let ids = [going.member, going.assignment, going.membership, going.group];
        let ids = ids.into_iter().map(Value::from);
        [tenant.into(), Value::from(role.name.as_str())].into_iter().chain(ids).collect::<Vec<_>>()
    };
    Ok(tx.query(HOLDER, without(going)).await?.is_empty()
        && !tx.query(HOLDER, without(Going::default())).await?.is_empty())
}

/// What speaks against taking roles from somebody: the caller may not do that much, or nobody is left with one.
pub(super) async fn not_taken(
    tx: &mut Tx,
    (row, going): (&NewRow<'_>, Going),
    roles: Vec<Role>,
) -> Result<Option<String>, StoreError> {
    for role in &roles {
        let mut refused = more_than_own(&row.write.by.holds, role);
        if refused.is_none() && is_last(tx, (row.tenant(), going), role).await? {
            refused = Some(last(role));
        }
        if refused.is_some() {
            return Ok(refused);
        }
    }
    Ok(None)
}

/// All roles of a member, its groups' among them.
pub(super) async fn roles_of(tx: &mut Tx, (tenant, member): (TenantKey, Uuid)) -> Result<Vec<Role>, StoreError> {
    tx.query(ROLES_OF, vec![tenant.into(), member.into()]).await?.iter().map(role).collect()
}

/// Whether a member may do what is about the whole installation.
pub(super) async fn looks_after_installation(tx: &mut Tx, of: (TenantKey, Uuid)) -> Result<bool, StoreError> {
    Ok(of.0 == TenantKey::DEFAULT && roles_of(tx, of).await?.iter().any(Role::is_system))
}

impl Role {
    fn is_system(&self) -> bool {
        self.permissions.iter().any(|it| permission::is_system(it))
    }
}

fn last(role: &Role) -> String {
    format!("it is the last active member with the role `{}`: give it to another one first", role.name)
}

impl Behaviour for Roles {
    fn before_write<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let mut errors = match row.write.by.holds {
                Holds::Program => return Ok(Vec::new()),
                _ if row.get("built_in") == &Datum::Bool(true) => return Ok(vec![built_in()]),
                _ => wrong_permissions(row),
            };
            let system = permissions(row).iter().any(|it| permission::is_system(it));
            if system && !tx.query(OF_PROVIDERS, vec![row.tenant().into(), row.id.into()]).await?.is_empty() {
                errors.push(FieldError::of("permissions", OVER_PROVIDERS));
            }
            Ok(errors)
        })
    }

    fn before_delete<'a>(&'a self, _: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        let kept = row.get("built_in") == &Datum::Bool(true);
        Box::pin(async move { Ok(kept.then(built_in).into_iter().collect()) })
    }
}

fn built_in() -> FieldError {
    FieldError::of("name", "the role is built in and does not change: make one of your own")
}

fn permissions(row: &NewRow<'_>) -> Vec<String> {
    match row.get("permissions") {
        Datum::Json(json) => texts(json),
        _ => Vec::new(),
    }
}

fn wrong_permissions(row: &NewRow<'_>) -> Vec<FieldError> {
    let named = permissions(row);
    let wrong = |(at, name): (usize, &String)| {
        let known = permission::all().iter().any(|it| it.name == name);
        let message = match () {
            () if !known => "is no permission: `GET /api/v1/permissions` lists all there are",
            () if permission::is_system(name) && row.tenant() != TenantKey::DEFAULT => {
                "is about the whole installation: its first tenant alone may have it"
            }
            () if !row.write.by.holds.may(name) => "is more than you may do yourself",
            () => return None,
        };
        Some(FieldError { pointer: format!("/permissions/{at}"), message: format!("`{name}` {message}") })
    };
    named.iter().enumerate().filter_map(wrong).collect()
}

impl Behaviour for RoleAssignments {
    fn before_write<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let (member, group) = (row.get("member_id").as_uuid(), row.get("group_id").as_uuid());
            if member.is_some() == group.is_some() {
                return Ok(vec![FieldError::of("member_id", "give `member_id` or `group_id`, and not both")]);
            }
            let Some(role) = role_of(tx, row).await? else { return Ok(Vec::new()) };
            let mut wrong = Vec::new();
            wrong.extend(more_than_own(&row.write.by.holds, &role).map(|it| FieldError::of("role_id", it)));
            if let Some(group) = group
                && role.is_system()
                && !tx.query(KEPT_BY, vec![row.tenant().into(), group.into()]).await?.is_empty()
            {
                wrong.push(FieldError::of("role_id", format!("the role `{}` {OVER_PROVIDERS}", role.name)));
            }
            let places = ["folder_id", "workflow_id"].iter().filter(|name| !row.get(name).is_null()).count();
            if places > 0 && !role.permissions.iter().any(|name| permission::is_narrow(name)) {
                let message = format!("the role `{}` allows nothing that is about a folder or a workflow", role.name);
                wrong.push(FieldError::of("role_id", message));
            }
            if places > 1 {
                let message = "is given beside a folder: an assignment holds in one of them";
                wrong.push(FieldError::of("workflow_id", message));
            }
            Ok(wrong)
        })
    }

    fn before_delete<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let roles = role_of(tx, row).await?.into_iter().collect();
            let going = Going { assignment: row.id, ..Going::default() };
            let refused = not_taken(tx, (row, going), roles).await?;
            Ok(refused.map(|message| FieldError::of("role_id", message)).into_iter().collect())
        })
    }
}

async fn role_of(tx: &mut Tx, row: &NewRow<'_>) -> Result<Option<Role>, StoreError> {
    let id = row.get("role_id").as_uuid().unwrap_or_default();
    tx.query(ROLE, vec![row.tenant().into(), id.into()]).await?.first().map(role).transpose()
}

impl Behaviour for Members {
    fn before_write<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            if row.get("status").as_text() != Some("suspended") {
                return Ok(Vec::new());
            }
            not_gone(tx, row).await
        })
    }

    fn before_delete<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(not_gone(tx, row))
    }
}

/// What speaks against a member's having nothing any more.
async fn not_gone(tx: &mut Tx, row: &NewRow<'_>) -> Result<Vec<FieldError>, StoreError> {
    let roles = roles_of(tx, (row.tenant(), row.id)).await?;
    let going = Going { member: row.id, ..Going::default() };
    let refused = not_taken(tx, (row, going), roles).await?;
    Ok(refused.map(|message| FieldError::of("status", message)).into_iter().collect())
}
