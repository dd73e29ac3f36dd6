//! The sweep: objects that no version refers to leave the storage.

use std::sync::PoisonError;

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use super::{FileError, ORPHAN_AGE};
use crate::{StoreError, store::Store};

/// Objects that one turn looks at.
const OBJECTS_PER_TURN: i64 = 500;

const LOOK: &str = "select o.tenant_key, o.id, exists (select 1 from file_versions v \
                    where v.tenant_key = o.tenant_key and v.object_id = o.id) from file_objects o \
                    where (o.tenant_key, o.id) > ($1, $2) order by o.tenant_key, o.id limit $3";
const FORGET: &str = "delete from file_objects where tenant_key = $1 and id = $2 and created_at < $3 \
                      and not exists (select 1 from file_versions v where v.tenant_key = $1 and v.object_id = $2) \
                      returning coalesce(bytes, 0)";
const FREE: &str = "update file_usage set bytes = bytes - $2 where tenant_key = $1";

/// What a turn did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptFiles {
    /// Objects that were looked at; 0 behind the last.
    pub seen: u64,
    /// Of those, how many were removed.
    pub removed: u64,
}

impl Store {
    /// One turn: looks at the next objects, and removes those that nothing has referred to for a day. Behind the last it
    /// begins anew. Does nothing where no storage was named.
    ///
    /// # Errors
    /// The database or the storage does not answer.
    pub async fn sweep_files(&self) -> Result<SweptFiles, FileError> {
        self.sweep_files_older_than(ORPHAN_AGE).await
    }

    /// The same with another patience, for tests.
    ///
    /// # Errors
    /// As [`Store::sweep_files`].
    pub async fn sweep_files_older_than(&self, age: std::time::Duration) -> Result<SweptFiles, FileError> {
        let files = &self.inner.files;
        if files.place.is_none() {
            return Ok(SweptFiles::default());
        }
        let (tenant, after) = *files.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let params = vec![tenant.into(), after.into(), OBJECTS_PER_TURN.into()];
        let rows = self.database().across_tenants().query(LOOK, params).await?;
        let mut swept = SweptFiles { seen: rows.len() as u64, removed: 0 };
        let mut next = (TenantKey(0), Uuid::nil());
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.now().micros().saturating_sub(micros));
        for row in &rows {
            next = (row.tenant(0)?, row.uuid(1)?);
            // Ids are times of birth: what is too young is not asked for.
            let young = next.1.get_timestamp().is_some_and(|at| {
                let (seconds, nanos) = at.to_unix();
                i64::try_from(seconds * 1_000_000 + u64::from(nanos / 1_000)).unwrap_or(i64::MAX) >= before.micros()
            });
            if !row.bool(2)? && !young {
                swept.removed += u64::from(self.forget(next, before).await?);
            }
        }
        if (rows.len() as i64) < OBJECTS_PER_TURN {
            next = (TenantKey(0), Uuid::nil());
            swept.seen = 0;
        }
        *files.swept.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(swept)
    }

    /// Removes an object that was not taken after all.
    pub(super) async fn forget_object(&self, object: (TenantKey, Uuid)) -> Result<(), FileError> {
        let now = Timestamp::from_micros(self.now().micros().saturating_add(1));
        self.forget(object, now).await.map(|_| ())
    }

    /// The object goes first: without its row nobody would know of it.
    async fn forget(&self, (tenant, object): (TenantKey, Uuid), before: Timestamp) -> Result<bool, FileError> {
        self.inner.files.objects().await?.remove((tenant, object)).await?;
        let forgotten = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                let gone = tx.query(FORGET, vec![tenant.into(), object.into(), before.into()]).await?;
                let Some(row) = gone.first() else { return Ok(false) };
                tx.execute(FREE, vec![tenant.into(), row.int(0)?.into()]).await?;
                Ok::<_, StoreError>(true)
            })
        });
        Ok(forgotten.await?)
    }
}
