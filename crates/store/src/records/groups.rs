//! Groups: whoever puts somebody into one gives him its roles, so nobody gives or takes more by it than he may do himself, nor
//! shares secrets by it who decides nothing about that; and a group that loses or gets a member counts as changed.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_resource::{
    FieldError,
    permission::{Permission as _, VaultShare},
};

use super::{
    behaviour::{Behaviour, NewRow},
    people::{Going, Role, more_than_own, not_taken, role},
};
use crate::{StoreError, database::Tx};

const ROLES_OF_GROUP: &str = "select r.name, r.built_in, r.permissions from role_assignments a \
                              join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                              where a.tenant_key = $1 and a.group_id = $2";
const SHARED: &str = "select 1 from secret_shares where tenant_key = $1 and group_id = $2 \
                      union all select 1 from credential_shares where tenant_key = $1 and group_id = $2 limit 1";
const TOUCH: &str = "update groups set revision = revision + 1, updated_at = $3, updated_by = $4 \
                     where tenant_key = $1 and id = $2";

pub(super) struct Groups;
pub(super) struct GroupMembers;

type Found<'a> = BoxFuture<'a, Result<Vec<FieldError>, StoreError>>;

async fn roles_of_group(tx: &mut Tx, row: &NewRow<'_>, group: Uuid) -> Result<Vec<Role>, StoreError> {
    tx.query(ROLES_OF_GROUP, vec![row.tenant().into(), group.into()]).await?.iter().map(role).collect()
}

impl Behaviour for Groups {
    fn before_write<'a>(&'a self, _: &'a mut Tx, _: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn before_delete<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let roles = roles_of_group(tx, row, row.id).await?;
            let refused = not_taken(tx, (row, Going { group: row.id, ..Going::default() }), roles).await?;
            Ok(refused.map(|message| FieldError::of("name", message)).into_iter().collect())
        })
    }
}

impl Behaviour for GroupMembers {
    fn before_write<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let roles = roles_of_group(tx, row, group_of(row)).await?;
            let mut refused = roles.iter().find_map(|role| more_than_own(&row.write.by.holds, role));
            if refused.is_none() && !row.write.by.holds.may(VaultShare::NAME) && has_shares(tx, row).await? {
                let message = "secrets are shared with the group: to put somebody into it takes the permission";
                refused = Some(format!("{message} `{}`", VaultShare::NAME));
            }
            Ok(refused.map(|message| FieldError::of("group_id", message)).into_iter().collect())
        })
    }

    fn before_delete<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        Box::pin(async move {
            let roles = roles_of_group(tx, row, group_of(row)).await?;
            let refused = not_taken(tx, (row, Going { membership: row.id, ..Going::default() }), roles).await?;
            if refused.is_none() {
                touch(tx, row).await?;
            }
            Ok(refused.map(|message| FieldError::of("group_id", message)).into_iter().collect())
        })
    }

    fn after_create<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(touch(tx, row))
    }
}

async fn has_shares(tx: &mut Tx, row: &NewRow<'_>) -> Result<bool, StoreError> {
    Ok(!tx.query(SHARED, vec![row.tenant().into(), group_of(row).into()]).await?.is_empty())
}

fn group_of(row: &NewRow<'_>) -> Uuid {
    row.get("group_id").as_uuid().unwrap_or_default()
}

/// Counts that the group is another one now.
async fn touch(tx: &mut Tx, row: &NewRow<'_>) -> Result<(), StoreError> {
    let (now, who) = (row.write.now.into(), row.write.by.who.as_str().into());
    tx.execute(TOUCH, vec![row.tenant().into(), group_of(row).into(), now, who]).await.map(|_| ())
}
