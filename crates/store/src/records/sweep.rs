//! Retention of records: what is over is cleared away, in small turns.

use std::time::Duration;

use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{Deletion, Ownership, Retention};

use super::row;
use crate::{StoreError, database::Row, store::Store};

const DAY: Duration = Duration::from_secs(86_400);

impl Store {
    /// Clears away rows of a tenant whose retention is over, and those that were deleted long ago; gives how many, and
    /// is called again until that is none.
    ///
    /// What is the installation's goes with the default tenant. A row that others still refer to stays.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sweep_records(&self, tenant: TenantKey) -> Result<u64, StoreError> {
        let before = |days: u32| {
            let span = i64::try_from((DAY * days).as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(self.now().micros().saturating_sub(span))
        };
        let writer = self.writer(tenant);
        let mut cleared = 0;
        for record in self.records() {
            if record.ownership == Ownership::Global && tenant != TenantKey::DEFAULT {
                continue;
            }
            let made = match record.retention {
                Retention::Kept => None,
                Retention::Days(days) => Some(before(days)),
            };
            let deleted = (record.deletion == Deletion::Soft).then(|| before(windlass_resource::DELETED_DAYS));
            let Some(over) = writer.over(record, made, deleted) else { continue };
            for found in self.database().of(tenant).query(over.sql, row::values(over.params)).await? {
                let delete = writer.delete(record, Row::uuid(&found, 0)?);
                match self.database().of(tenant).execute(delete.sql, row::values(delete.params)).await {
                    Ok(written) => cleared += written.count,
                    Err(error) if matches!(error.code(), Some("23503" | "23001" | "sqlite:787" | "sqlite:1811")) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(cleared)
    }
}
