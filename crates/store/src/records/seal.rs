//! Secret columns: sealed by the vault before they are written, opened for the program alone.
//!
//! Invariant: within a transaction that writes, the key that seals is the tenant's active one until the transaction ends.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Column, Datum, Ownership, Record, Secrecy, statement::Lock};
use zeroize::Zeroizing;

use super::{RecordError, row};
use crate::{
    StoreError,
    database::Tx,
    store::Store,
    vault::{Cipher, Place, key_of, seals_with},
};

/// What is said when a key is replaced again and again.
pub(super) const KEYS_REPLACED: &str = "the vault's keys are being replaced: try again";

/// What seals the secrets of a tenant's rows.
#[derive(Clone)]
pub(super) struct Seal {
    tenant: TenantKey,
    table: &'static str,
    key: Arc<Cipher>,
}

impl Seal {
    pub(super) async fn of(store: &Store, (tenant, record): (TenantKey, &Record)) -> Result<Seal, StoreError> {
        let tenant = owner(tenant, record);
        Ok(Seal { tenant, table: record.name, key: store.sealing_key(tenant).await? })
    }

    /// With the key of this moment.
    pub(super) async fn renewed(store: &Store, (tenant, record): (TenantKey, &Record)) -> Result<Seal, StoreError> {
        store.forget_sealing_key(owner(tenant, record));
        Seal::of(store, (tenant, record)).await
    }

    /// Whether its key is still the one that seals, and stays so until the transaction ends.
    pub(super) async fn holds(&self, tx: &mut Tx, writer: TenantKey) -> Result<bool, StoreError> {
        if self.tenant == writer {
            return seals_with(tx, self.tenant, self.key.id).await;
        }
        tx.enter(self.tenant).await?;
        let holds = seals_with(tx, self.tenant, self.key.id).await?;
        tx.enter(writer).await?;
        Ok(holds)
    }
}

/// Whose key seals the rows of a record.
fn owner(tenant: TenantKey, record: &Record) -> TenantKey {
    match record.ownership {
        Ownership::Tenant => tenant,
        Ownership::Global => TenantKey::DEFAULT,
    }
}

/// Turns the value of a secret column into what its table keeps.
pub(super) fn keep(column: &Column, row: Uuid, (seal, value): (Option<&Seal>, &mut Datum)) -> Result<(), StoreError> {
    if column.is_hash() {
        return Ok(());
    }
    let plain = match value {
        Datum::Null => return Ok(()),
        Datum::Text(text) | Datum::Json(text) => Zeroizing::new(std::mem::take(text).into_bytes()),
        Datum::Bytes(bytes) => Zeroizing::new(std::mem::take(bytes)),
        _ => return Err(StoreError::damaged(format!("`{}` cannot be kept as a secret", column.name))),
    };
    let kept = match (column.secrecy, seal) {
        (Secrecy::Hashed, _) => Sha256::digest(&*plain).to_vec(),
        (_, Some(Seal { tenant, table, key })) => {
            let place = Place { tenant: *tenant, table, column: column.name, row };
            key.seal(&place.bytes(), &plain)?
        }
        (_, None) => return Err(StoreError::damaged("a secret was to be kept without a key")),
    };
    *value = Datum::Bytes(kept);
    Ok(())
}

impl Store {
    /// What is sealed in a row, for the program alone: nobody may be shown it. `None` where there is nothing, also where
    /// the vault was forgotten.
    ///
    /// # Errors
    /// There is no such row; the vault is closed; or the database does not answer.
    pub async fn reveal(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        id: Uuid,
        column: &'static str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, RecordError> {
        let statement = self.writer(tenant).get(record, id, Lock::None);
        let found = self.database().of(tenant).query_opt(statement.sql, row::values(statement.params)).await?;
        let found = found.map(|found| row::read(record, &found)).transpose()?;
        let found = found.ok_or(RecordError::NotFound { noun: record.noun })?;
        let Datum::Bytes(sealed) = row::get(record, &found, column) else { return Ok(None) };
        let tenant = owner(tenant, record);
        self.opened(Place { tenant, table: record.name, column, row: id }, sealed).await.map_err(RecordError::Store)
    }

    /// Opens what is sealed for that place; nothing is where nothing was sealed.
    pub(crate) async fn opened(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(key) = key_of(sealed) else { return Ok(None) };
        let key = self.opening_key(place.tenant, key).await?;
        Ok(Some(key.open(&place.bytes(), sealed)?))
    }
}
