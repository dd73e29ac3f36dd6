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
    database::{Row, Tx},
};

const ROLE: &str = "select name, built_in, permissions from roles where tenant_key = $1 and id = $2";
const ROLES_OF: &str = "select r.name, r.built_in, r.permissions, coalesce(a.folder_id, a.workflow_id) from role_assignments a \
                        join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                        where a.tenant_key = $1 and a.member_id = $2";
/// The active administrators of that name, but for one member.
const OTHERS: &str = "select 1 from role_assignments a \
                      join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                      join members m on m.tenant_key = a.tenant_key and m.id = a.member_id \
                      where a.tenant_key = $1 and r.built_in = true and r.name = $2 and m.status = 'active' \
                      and m.id <> $3 and a.folder_id is null and a.workflow_id is null limit 1";
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

/// Whether a member is the last who has a role that is never lost.
async fn is_last(tx: &mut Tx, (tenant, member): (TenantKey, Uuid), role: &Role) -> Result<bool, StoreError> {
    if !role.built_in || !NEVER_LOST.contains(&role.name.as_str()) {
        return Ok(false);
    }
    let params = vec![tenant.into(), role.name.as_str().into(), member.into()];
    Ok(tx.query(OTHERS, params).await?.is_empty())
}

fn last(role: &Role) -> String {
    format!("it is the last active member with the role `{}`: give it to another one first", role.name)
}

impl Behaviour for Roles {
    fn before_write<'a>(&'a self, _: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        let errors = match row.write.by.holds {
            Holds::Program => Vec::new(),
            _ if row.get("built_in") == &Datum::Bool(true) => vec![built_in()],
            _ => wrong_permissions(row),
        };
        Box::pin(async move { Ok(errors) })
    }

    fn before_delete<'a>(&'a self, _: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        let kept = row.get("built_in") == &Datum::Bool(true);
        Box::pin(async move { Ok(kept.then(built_in).into_iter().collect()) })
    }
}

fn built_in() -> FieldError {
    FieldError::of("name", "the role is built in and does not change: make one of your own")
}

fn wrong_permissions(row: &NewRow<'_>) -> Vec<FieldError> {
    let named = match row.get("permissions") {
        Datum::Json(json) => texts(json),
        _ => Vec::new(),
    };
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
            let Some(role) = role_of(tx, row).await? else { return Ok(Vec::new()) };
            let mut wrong = Vec::new();
            wrong.extend(more_than_own(&row.write.by.holds, &role).map(|it| FieldError::of("role_id", it)));
            if is_in_place(row) && !role.permissions.iter().any(|name| permission::is_narrow(name)) {
                let message = format!("the role `{}` allows nothing that is about a folder or a workflow", role.name);
                wrong.push(FieldError::of("role_id", message));
            }
            if !row.get("folder_id").is_null() && !row.get("workflow_id").is_null() {
                wrong.push(FieldError::of(
                    "workflow_id",
                    "is given beside a folder: an assignment holds in one of them",
                ));
            }
            Ok(wrong)
        })
    }

    fn before_delete<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let Some(role) = role_of(tx, row).await? else { return Ok(Vec::new()) };
            let member = row.get("member_id").as_uuid().unwrap_or_default();
            let mut refused = more_than_own(&row.write.by.holds, &role);
            if refused.is_none() && !is_in_place(row) && is_last(tx, (row.tenant(), member), &role).await? {
                refused = Some(last(&role));
            }
            Ok(refused.map(|message| FieldError::of("role_id", message)).into_iter().collect())
        })
    }
}

/// Whether an assignment holds on a folder or a workflow alone.
fn is_in_place(row: &NewRow<'_>) -> bool {
    !row.get("folder_id").is_null() || !row.get("workflow_id").is_null()
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
            for found in tx.query(ROLES_OF, vec![row.tenant().into(), row.id.into()]).await? {
                let role = role(&found)?;
                let mut refused = more_than_own(&row.write.by.holds, &role);
                let in_place = found.opt(3, Row::uuid)?.is_some();
                if refused.is_none() && !in_place && is_last(tx, (row.tenant(), row.id), &role).await? {
                    refused = Some(last(&role));
                }
                if let Some(message) = refused {
                    return Ok(vec![FieldError::of("status", message)]);
                }
            }
            Ok(Vec::new())
        })
    }
}
