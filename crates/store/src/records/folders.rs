//! Folders: none is inside itself, and they do not go too deep.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, FieldError, records::workflows::WORKFLOW_PLACES};

use super::{
    By, RecordError,
    behaviour::{Behaviour, NewRow},
    joining::make,
};
use crate::{
    StoreError,
    database::{Row, Tx},
    store::Store,
};

/// Folders within each other at most; `docs/schema.md` names it.
const DEPTH_MAX: i64 = 16;
/// How many folders deep it goes below one, itself included.
const HEIGHT: &str = "with recursive below (id, depth) as (\
                      select id, 1 from folders where tenant_key = $1 and id = $2 \
                      union all select f.id, b.depth + 1 from folders f join below b on f.parent_id = b.id \
                      where f.tenant_key = $1 and f.deleted_at is null and b.depth <= 16) \
                      select max(depth) from below";

pub(super) struct Folders;

impl Behaviour for Folders {
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move {
            let refused = |message: String| Ok(vec![FieldError::of("parent_id", message)]);
            let Some(depth) = depth_of(tx, row).await? else {
                return refused("would put the folder into itself".to_owned());
            };
            // With nothing above it, what it holds went no deeper before.
            let params = vec![row.tenant().into(), row.id.into()];
            let height = match depth {
                1 => 1,
                _ => tx.query(HEIGHT, params).await?.first().map_or(Ok(None), |row| row.opt(0, Row::int))?.unwrap_or(1),
            };
            let deepest = depth + height - 1;
            if deepest > DEPTH_MAX {
                return refused(format!("would put a folder {deepest} deep; at most {DEPTH_MAX} are allowed"));
            }
            Ok(Vec::new())
        })
    }
}

/// Puts a workflow that was just made into a folder that is there, and locked.
pub(crate) async fn place_workflow(
    store: &Store,
    tx: &mut Tx,
    (tenant, workflow, folder): (TenantKey, Uuid, Uuid),
    by: By,
) -> Result<(), StoreError> {
    let values = vec![("workflow_id", Datum::Uuid(workflow)), ("folder_id", Datum::Uuid(folder))];
    match make(store.write_on((tenant, &WORKFLOW_PLACES), by), tx, values).await {
        Ok(_) => Ok(()),
        Err(RecordError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::conflict(other.to_string())),
    }
}

/// How deep the row will lie, 1 at the top; `None` if that leads back to itself. Folders on the way are locked, so that
/// no two moves pass each other.
async fn depth_of(tx: &mut Tx, row: &NewRow<'_>) -> Result<Option<i64>, StoreError> {
    let mut depth = 1;
    let mut above = row.get("parent_id").as_uuid();
    while let Some(id) = above {
        if id == row.id {
            return Ok(None);
        }
        depth += 1;
        if depth > DEPTH_MAX {
            break;
        }
        above = parent(tx, row.tenant(), id).await?;
    }
    Ok(Some(depth))
}

async fn parent(tx: &mut Tx, tenant: TenantKey, id: Uuid) -> Result<Option<Uuid>, StoreError> {
    let lock = tx.dialect().pick("", " for update");
    let sql = format!("select parent_id from folders where tenant_key = $1 and id = $2{lock}");
    let rows = tx.query(sql, vec![tenant.into(), id.into()]).await?;
    rows.first().map_or(Ok(None), |row| row.opt(0, Row::uuid))
}
