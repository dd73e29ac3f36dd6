//! Sealing: what was written since the last block becomes the next one.
//!
//! Whoever notes something also notes its id among what is unsealed, in the same transaction; the sealer takes these ids
//! in one transaction of its own. So entries that were written side by side need no order among them, and none is
//! missed because it was committed late. Invariants: a tenant's chain has one sealer at a time, because each takes the
//! row of the head first; a chain that is not as its head says, or is shorter than this process has seen it, is not
//! gone on with.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use super::{
    AuditEntry, AuditHead, AuditKey, AuditNote, Block, Sealed,
    block::{GONE, NOTHING},
    entry::Fields,
};
use crate::{
    By, StoreError,
    database::{Tx, Value},
    store::Store,
};

/// Entries of a block at most.
const BLOCK_ENTRIES_MAX: i64 = 1_000;
/// Tenants that one turn seals.
const TENANTS_PER_TURN: i64 = 100;

const WAITING: &str =
    "select distinct u.tenant_key, t.id from audit_unsealed u join tenants t on t.key = u.tenant_key limit $1";
const MAKE_HEAD: &str = "insert into audit_heads (tenant_key, number, hash, entries) values ($1, 0, $2, 0) \
                         on conflict (tenant_key) do nothing";
const LAST: &str = "select hash, sealed_at from audit_blocks where tenant_key = $1 and number = $2";
const PUT_BLOCK: &str = "insert into audit_blocks (tenant_key, number, previous, entries, sealed_at, public_key, hash, signature) \
                         values ($1, $2, $3, $4, $5, $6, $7, $8)";
const PUT_HEAD: &str = "update audit_heads set number = $2, hash = $3, entries = $4, public_key = $5, signature = $6 \
                        where tenant_key = $1";
const ENDORSE: &str = "insert into audit_keys (public_key, since, endorsed_by, endorsement) values ($1, $2, $3, $4) \
                       on conflict (public_key) do update set endorsed_by = excluded.endorsed_by, \
                       endorsement = excluded.endorsement";

/// What this process knows of sealing.
#[derive(Debug, Default)]
pub(crate) struct Sealer {
    key: Mutex<Option<AuditKey>>,
    /// The heads that it has seen.
    heads: Mutex<HashMap<TenantKey, i64>>,
    noted: AtomicBool,
    wake: Notify,
}

impl Sealer {
    /// Says that there is something to seal.
    pub(crate) fn note(&self) {
        if !self.noted.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    fn key(&self) -> Option<AuditKey> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self, tenant: TenantKey) -> i64 {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied().unwrap_or(0)
    }

    fn sees(&self, tenant: TenantKey, number: i64) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = heads.entry(tenant).or_default();
        *seen = number.max(*seen);
    }
}

/// The bytes by which a key says that another one came before it.
pub(crate) fn endorsement(public_key: &[u8], by: &[u8]) -> [u8; 32] {
    let mut hash = Fields::begin(b"windlass.audit.key.1", Uuid::nil());
    hash.put(Some(public_key));
    hash.put(Some(by));
    hash.end()
}

impl Store {
    /// Notes something that is no row of a record: in a transaction of its own.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn note(&self, tenant: TenantKey, note: AuditNote) -> Result<(), StoreError> {
        self.database().of(tenant).transact(move |tx| Box::pin(async move { note.write(tx, tenant).await })).await?;
        self.audit_noted();
        Ok(())
    }

    /// From now on blocks are signed with this key; without one they are chained alone.
    pub fn sign_audit_with(&self, key: Option<AuditKey>) {
        *self.inner.sealer.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// The key that blocks are signed with.
    pub fn audit_key(&self) -> Option<AuditKey> {
        self.inner.sealer.key()
    }

    /// Says that there is something to seal, or will be as soon as it is on disk.
    pub fn audit_noted(&self) {
        self.inner.sealer.note();
    }

    /// Waits until this process has written something to seal.
    pub async fn audit_waits(&self) {
        self.inner.sealer.wake.notified().await;
        self.inner.sealer.noted.store(false, Ordering::Relaxed);
    }

    /// Seals what waits for it, a block of each tenant; gives how many entries, and is called again until that is none.
    ///
    /// # Errors
    /// The database does not answer, or a chain is not as it was left: then nothing of that tenant is sealed.
    pub async fn seal_audit(&self) -> Result<u64, StoreError> {
        let waiting = self.database().across_tenants().query(WAITING, vec![TENANTS_PER_TURN.into()]).await?;
        let (mut sealed, mut failed) = (0, None);
        for row in waiting {
            match self.seal_tenant(row.tenant(0)?, row.uuid(1)?).await {
                Ok(count) => sealed += count,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // The others go on: whoever asks again until there is nothing left comes to an end.
            Some(error) if sealed == 0 => Err(error),
            _ => Ok(sealed),
        }
    }

    async fn seal_tenant(&self, tenant: TenantKey, id: Uuid) -> Result<u64, StoreError> {
        let turn =
            Turn { tenant, id, seen: self.inner.sealer.seen(tenant), now: self.now(), key: self.inner.sealer.key() };
        let (number, count) =
            self.database().of(tenant).transact(move |tx| Box::pin(async move { turn.seal(tx).await })).await?;
        self.inner.sealer.sees(tenant, number);
        Ok(count)
    }
}

/// The sealing of one block.
struct Turn {
    tenant: TenantKey,
    id: Uuid,
    seen: i64,
    now: Timestamp,
    key: Option<AuditKey>,
}

impl Turn {
    /// The number of the head then, and how many entries the block has.
    async fn seal(&self, tx: &mut Tx) -> Result<(i64, u64), StoreError> {
        let tenant = Value::from(self.tenant);
        tx.execute(MAKE_HEAD, vec![tenant.clone(), NOTHING.into()]).await?;
        let lock = tx.dialect().pick("", " for update");
        let head = format!("select {} from audit_heads where tenant_key = $1{lock}", AuditHead::COLUMNS);
        let rows = tx.query(head, vec![tenant.clone()]).await?;
        let head = rows.first().ok_or(StoreError::Closed).and_then(AuditHead::read)?;
        let last = self.last(tx, &head).await?;
        if self.key.is_none() && head.public_key.is_some() {
            // A command that opens no vault leaves it to a server that does.
            return Ok((head.number, 0));
        }
        self.take_over(tx, &head).await?;
        let entries = self.waiting(tx).await?;
        if entries.is_empty() {
            return Ok((head.number, 0));
        }
        let block = Block {
            number: head.number + 1,
            previous: head.hash,
            entries,
            sealed_at: self.now.max(last),
            public_key: None,
            hash: NOTHING,
            signature: None,
        };
        let block = block.seal(self.id, self.key.as_ref());
        let head = head.behind(&block, self.id, self.key.as_ref());
        let put = vec![
            tenant.clone(),
            block.number.into(),
            block.previous.into(),
            block.places().into(),
            block.sealed_at.into(),
            block.public_key.clone().into(),
            block.hash.into(),
            block.signature.clone().into(),
        ];
        tx.execute(PUT_BLOCK, put).await?;
        let put = vec![
            tenant.clone(),
            head.number.into(),
            head.hash.into(),
            head.entries.into(),
            head.public_key.into(),
            head.signature.into(),
        ];
        tx.execute(PUT_HEAD, put).await?;
        let ids = block.entries.iter().map(|it| it.id).collect();
        let sealed =
            format!("delete from audit_unsealed where tenant_key = $1 and entry_id {}", tx.dialect().in_uuids(2));
        tx.execute(sealed, vec![tenant, Value::Uuids(ids)]).await?;
        Ok((block.number, block.entries.len() as u64))
    }

    /// When the newest block was sealed; it is the one that the head names.
    async fn last(&self, tx: &mut Tx, head: &AuditHead) -> Result<Timestamp, StoreError> {
        if head.number < self.seen {
            let (was, is) = (self.seen, head.number);
            return Err(StoreError::damaged(format!(
                "the audit was cut: it had {was} blocks and has {is}; nothing is sealed"
            )));
        }
        if head.number == 0 {
            return Ok(self.now);
        }
        let rows = tx.query(LAST, vec![self.tenant.into(), head.number.into()]).await?;
        match rows.first() {
            Some(row) if row.hash(0)? == head.hash => row.time(1),
            _ => Err(StoreError::damaged(format!(
                "the audit's block {} is not there, or is not the one that was sealed; nothing is sealed",
                head.number
            ))),
        }
    }

    /// Where another key signed before, this one says that it came after it; that is noted, too.
    async fn take_over(&self, tx: &mut Tx, head: &AuditHead) -> Result<(), StoreError> {
        let (Some(key), Some(old)) = (&self.key, &head.public_key) else { return Ok(()) };
        let public = key.public();
        if old[..] == public {
            return Ok(());
        }
        let signature = key.sign(&endorsement(old, &public));
        tx.execute(ENDORSE, vec![old.clone().into(), self.now.into(), public.to_vec().into(), signature.into()])
            .await?;
        let note = AuditNote {
            action: "change_key",
            record: "audit_blocks",
            record_id: None,
            subject: Some(hex::encode(public)),
            changes: serde_json::json!({ "public_key": { "from": hex::encode(old), "to": hex::encode(public) } }),
            by: By::system(),
            at: self.now,
        };
        note.write(tx, self.tenant).await
    }

    /// What waits, by id, each with its hash.
    async fn waiting(&self, tx: &mut Tx) -> Result<Vec<Sealed>, StoreError> {
        let sql = format!(
            "select u.entry_id, {} from audit_unsealed u \
             left join audit_entries e on e.tenant_key = u.tenant_key and e.id = u.entry_id \
             where u.tenant_key = $1 order by u.entry_id limit $2",
            AuditEntry::columns("e")
        );
        let rows = tx.query(sql, vec![self.tenant.into(), BLOCK_ENTRIES_MAX.into()]).await?;
        let sealed = rows.iter().map(|row| {
            let hash = if row.is_null(1) { GONE } else { AuditEntry::read(row, 1)?.hash(self.id) };
            Ok(Sealed { id: row.uuid(0)?, hash })
        });
        sealed.collect()
    }
}
