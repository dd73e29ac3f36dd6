//! The second factor of people: what makes codes, sealed by the vault, the last step of time of which a code was taken, and
//! hashes of recovery codes.
//!
//! Invariant: of two who come with one code, one gets in.

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{Datum, records::people::SECOND_FACTORS};
use zeroize::Zeroizing;

use crate::{By, RecordError, StoreError, Target, database::Row, store::Store};

const OF_USER: &str = "select id, revision, confirmed_at from second_factors where user_id = $1";
const TAKE_STEP: &str = "update second_factors set last_step = $2 where user_id = $1 and last_step < $2";
const RECOVERY: &str = "select recovery_hashes from second_factors where user_id = $1 and recovery_hashes is not null";
const TAKE_RECOVERY: &str =
    "update second_factors set recovery_hashes = $3 where user_id = $1 and recovery_hashes = $2";
const PLACE: (TenantKey, &windlass_resource::Record) = (TenantKey::DEFAULT, &SECOND_FACTORS);
const HASH_BYTES: usize = 32;

/// A second factor.
#[derive(Debug, Clone)]
pub struct SecondFactor {
    id: Uuid,
    revision: i64,
    /// Since when it is asked for: its owner has shown a code. `None` when it was only begun.
    pub confirmed_at: Option<Timestamp>,
}

impl SecondFactor {
    /// Nobody has begun or confirmed another one meanwhile.
    fn as_it_was(&self) -> Target {
        Target { id: self.id, expect: Some(self.revision) }
    }
}

impl Store {
    /// The second factor of a user, when there is one.
    pub async fn second_factor(&self, user: Uuid) -> Result<Option<SecondFactor>, StoreError> {
        let row = self.database().across_tenants().query_opt(OF_USER, vec![user.into()]).await?;
        let read = |row: Row| {
            Ok(SecondFactor { id: row.uuid(0)?, revision: row.int(1)?, confirmed_at: row.opt(2, Row::time)? })
        };
        row.map(read).transpose()
    }

    /// What makes its codes; `None` when the vault was forgotten.
    ///
    /// # Errors
    /// The vault is closed, or the database does not answer.
    pub async fn second_factor_secret(&self, of: &SecondFactor) -> Result<Option<Zeroizing<Vec<u8>>>, RecordError> {
        self.reveal(PLACE, of.id, "secret").await
    }

    /// Keeps what makes the codes of a second factor that is not asked for yet, in place of another such.
    ///
    /// # Errors
    /// There is one that is asked for; the vault is closed; or the database does not answer.
    pub async fn begin_second_factor(&self, user: Uuid, secret: String, by: By) -> Result<(), RecordError> {
        let secret = ("secret", Datum::Text(secret));
        match self.second_factor(user).await? {
            Some(begun) if begun.confirmed_at.is_none() => {
                self.change_record(PLACE, begun.as_it_was(), (by, vec![secret])).await
            }
            // One that is asked for is in the way: users have one.
            _ => self.insert_record(PLACE, ("create", by), vec![("user_id", Datum::Uuid(user)), secret]).await,
        }
        .map(|_| ())
    }

    /// Asks for it from now on, with recovery codes of these hashes.
    ///
    /// # Errors
    /// It is another one by now, or gone; or the database does not answer.
    pub async fn confirm_second_factor(
        &self,
        of: &SecondFactor,
        recovery: &[[u8; HASH_BYTES]],
        by: By,
    ) -> Result<(), RecordError> {
        let values =
            vec![("confirmed_at", Datum::Time(self.now())), ("recovery_hashes", Datum::Bytes(recovery.concat()))];
        self.change_record(PLACE, of.as_it_was(), (by, values)).await.map(|_| ())
    }

    /// Takes the code of a step of time; `false` when it, or one of a later step, was taken before.
    pub async fn take_step(&self, user: Uuid, step: i64) -> Result<bool, StoreError> {
        Ok(self.database().across_tenants().execute(TAKE_STEP, vec![user.into(), step.into()]).await?.count > 0)
    }

    /// Takes a recovery code; `false` when there is none like it that was not taken.
    pub async fn take_recovery_code(&self, user: Uuid, hash: [u8; HASH_BYTES]) -> Result<bool, StoreError> {
        let found = self.database().across_tenants().query_opt(RECOVERY, vec![user.into()]).await?;
        let Some(row) = found else { return Ok(false) };
        let all = row.bytes(0)?.to_vec();
        let left: Vec<u8> = all.chunks(HASH_BYTES).filter(|it| *it != hash).flatten().copied().collect();
        if left.len() == all.len() {
            return Ok(false);
        }
        // Whoever took one meanwhile changed the row: then this one is asked for again.
        let params = vec![user.into(), all.into(), left.into()];
        let taken = self.database().across_tenants().execute(TAKE_RECOVERY, params).await?;
        Ok(taken.count > 0)
    }

    /// Asks for it no more, and forgets it.
    ///
    /// # Errors
    /// It is gone, or the database does not answer.
    pub async fn end_second_factor(&self, of: &SecondFactor, by: By) -> Result<(), RecordError> {
        self.delete_record(PLACE, Target { id: of.id, expect: None }, by).await
    }
}
