//! Proofs: the audit as a file that can be judged without the database; and archives, which are such files of what the
//! database then lets go of.
//!
//! Invariant: an entry is deleted only in a transaction that also keeps the hash of the file that holds it, after that
//! file is on disk and was read back and judged. Killed in between, the same blocks are archived again under the same
//! name.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use super::{
    AuditHead, AuditNote, Block, Trust,
    block::NOTHING,
    verify::{days_before, verify_file},
};
use crate::{
    By, StoreError,
    database::{Row, Value},
    store::Store,
};

/// Entries of an archive, as soon as its last block has them.
const ARCHIVE_ENTRIES_MIN: usize = 10_000;
/// Blocks that are looked at for an archive.
const ARCHIVE_BLOCKS_MAX: i64 = 500;

/// What leaves the database, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePolicy {
    /// Blocks that were sealed before so many days.
    pub days: u32,
    /// The directory of the files.
    pub dir: PathBuf,
}

/// An archive that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditArchive {
    /// Its file.
    pub file: PathBuf,
    /// Its first and last block.
    pub blocks: (i64, i64),
    /// How many entries it holds.
    pub entries: usize,
}

/// A proof that is being written, chunk after chunk.
pub struct AuditExport {
    store: Store,
    tenant: TenantKey,
    id: Uuid,
    header: Option<Vec<u8>>,
    next: i64,
    head: Option<AuditHead>,
}

impl AuditExport {
    /// The next lines; `None` at the end.
    ///
    /// # Errors
    /// The database does not answer, or a block is not there.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        let Some(head) = &self.head else { return Ok(None) };
        if self.next > head.number {
            let line = line(&json!({ "head": head.to_json() }));
            self.head = None;
            return Ok(Some(line));
        }
        let block = self.store.audit_blocks(self.tenant, self.next - 1, 1).await?.into_iter().next();
        let Some(block) = block.filter(|block| block.number <= head.number) else {
            // The file then says that its end is missing.
            self.next = head.number + 1;
            return Box::pin(self.next()).await;
        };
        self.next = block.number + 1;
        let mut text = line(&json!({ "block": block.to_json() }));
        let there = self.store.audit_entries_of(self.tenant, &block).await?;
        for sealed in &block.entries {
            if let Some(entry) = there.get(&sealed.id) {
                text.extend(line(&json!({ "entry": entry.to_json() })));
            }
        }
        Ok(Some(text))
    }

    /// Whose it is.
    pub fn tenant_id(&self) -> Uuid {
        self.id
    }
}

fn line(json: &serde_json::Value) -> Vec<u8> {
    let mut text = json.to_string().into_bytes();
    text.push(b'\n');
    text
}

impl Store {
    /// The proof of a tenant's audit: everything that is sealed and not archived.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn export_audit(&self, tenant: TenantKey) -> Result<AuditExport, StoreError> {
        let none = AuditHead { number: 0, hash: NOTHING, entries: 0, public_key: None, signature: None };
        let head = self.audit_head(tenant).await?.unwrap_or(none);
        let (first, previous, _) = self.archived(tenant).await?;
        self.proof_of(tenant, (first, previous), head).await
    }

    async fn proof_of(
        &self,
        tenant: TenantKey,
        (first, previous): (i64, [u8; 32]),
        head: AuditHead,
    ) -> Result<AuditExport, StoreError> {
        let (id, slug) = self.tenant_identity(tenant).await?;
        let keys = self.endorsed_keys().await?;
        let keys: Vec<_> = keys
            .iter()
            .map(|(key, (by, signature))| {
                json!({
                    "public_key": hex::encode(key),
                    "endorsed_by": hex::encode(by),
                    "endorsement": hex::encode(signature),
                })
            })
            .collect();
        let header = json!({ "audit": {
            "version": 1,
            "tenant_id": id,
            "tenant": slug,
            "block_first": first,
            "previous": hex::encode(previous),
            "keys": keys,
            "exported_at": self.now().to_string(),
        }});
        Ok(AuditExport { store: self.clone(), tenant, id, header: Some(line(&header)), next: first, head: Some(head) })
    }

    /// Archives blocks of a tenant that are older than the policy says, and deletes what the file holds; `None` when
    /// there are none. It is called again until then.
    ///
    /// # Errors
    /// The file cannot be written, or does not hold what was sealed: then nothing is deleted.
    pub async fn archive_audit(
        &self,
        tenant: TenantKey,
        policy: &ArchivePolicy,
    ) -> Result<Option<AuditArchive>, StoreError> {
        let Some((first, last, previous, blocks)) = self.archivable(tenant, policy.days).await? else {
            return Ok(None);
        };
        let (id, slug) = self.tenant_identity(tenant).await?;
        let before = AuditHead { number: 0, hash: NOTHING, entries: 0, public_key: None, signature: None };
        let end = before.behind(&last, id, self.audit_key().as_ref());
        let export = self.proof_of(tenant, (first, previous), end).await?;
        let file = policy.dir.join(format!("audit-{slug}-{first:010}.jsonl"));
        let file_hash = write(&file, export).await.map_err(|error| {
            StoreError::Invalid(format!("the audit cannot be archived to {}: {error}", file.display()))
        })?;
        let ids: Vec<Uuid> = blocks.iter().flat_map(|block| block.entries.iter().map(|it| it.id)).collect();
        let entries = ids.len();
        let kept = Kept { tenant, first, last, ids, file: file.display().to_string(), file_hash, now: self.now() };
        let last = kept.last.number;
        self.database().of(tenant).transact(move |tx| Box::pin(async move { kept.let_go(tx).await })).await?;
        self.audit_noted();
        Ok(Some(AuditArchive { file, blocks: (first, last), entries }))
    }

    /// The oldest blocks, the newest of them, and what was before them.
    async fn archivable(
        &self,
        tenant: TenantKey,
        days: u32,
    ) -> Result<Option<(i64, Block, [u8; 32], Vec<Block>)>, StoreError> {
        let (first, previous, _) = self.archived(tenant).await?;
        let Some(head) = self.audit_head(tenant).await? else { return Ok(None) };
        let before = days_before(self.now(), days);
        let (mut blocks, mut entries): (Vec<Block>, usize) = (Vec::new(), 0);
        while entries < ARCHIVE_ENTRIES_MIN && (blocks.len() as i64) < ARCHIVE_BLOCKS_MAX {
            let after = first - 1 + blocks.len() as i64;
            let Some(block) = self.audit_blocks(tenant, after, 1).await?.into_iter().next() else { break };
            // The newest block stays: the next one goes on from it.
            if block.sealed_at >= before || block.number >= head.number {
                break;
            }
            entries += block.entries.len();
            blocks.push(block);
        }
        Ok(blocks.last().cloned().map(|last| (first, last, previous, blocks)))
    }
}

/// Writes the file beside its name, judges what is on disk, and gives it its name; its SHA-256.
async fn write(file: &Path, mut export: AuditExport) -> Result<[u8; 32], String> {
    let words = |error: std::io::Error| error.to_string();
    let dir = file.parent().ok_or("it has no directory")?.to_owned();
    tokio::fs::create_dir_all(&dir).await.map_err(words)?;
    let beside = file.with_extension("part");
    let mut part = tokio::fs::File::create(&beside).await.map_err(words)?;
    while let Some(chunk) = export.next().await.map_err(|error| error.to_string())? {
        part.write_all(&chunk).await.map_err(words)?;
    }
    part.flush().await.map_err(words)?;
    part.sync_all().await.map_err(words)?;
    let file = file.to_owned();
    let judged = tokio::task::spawn_blocking(move || {
        let open = || std::fs::File::open(&beside).map_err(words);
        let report = verify_file(BufReader::new(open()?), Trust::default())?;
        if let Some(finding) = report.findings.first() {
            let place = finding.block.map(|block| format!("block {block} ")).unwrap_or_default();
            let entry = finding.entry.map(|entry| format!("entry {entry} ")).unwrap_or_default();
            return Err(format!("{place}{entry}{}: nothing was deleted", finding.problem));
        }
        let mut hash = Sha256::new();
        std::io::copy(&mut open()?, &mut HashWriter(&mut hash)).map_err(words)?;
        std::fs::rename(&beside, &file).map_err(words)?;
        std::fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(words)?;
        Ok(hash.finalize().into())
    });
    judged.await.map_err(|error| error.to_string())?
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What goes, and where it is from then on.
struct Kept {
    tenant: TenantKey,
    first: i64,
    last: Block,
    ids: Vec<Uuid>,
    file: String,
    file_hash: [u8; 32],
    now: Timestamp,
}

impl Kept {
    async fn let_go(self, tx: &mut crate::database::Tx) -> Result<(), StoreError> {
        let tenant = Value::from(self.tenant);
        let last_made = format!(
            "select max(created_at) from audit_entries where tenant_key = $1 and id {}",
            tx.dialect().in_uuids(2)
        );
        let rows = tx.query(last_made, vec![tenant.clone(), Value::Uuids(self.ids.clone())]).await?;
        let until = rows.first().map_or(Ok(None), |row| row.opt(0, Row::time))?.unwrap_or(self.now);
        let put = "insert into audit_archives (tenant_key, block_first, block_last, hash_last, entries, entries_until, file, \
                   file_hash, archived_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let params = vec![
            tenant.clone(),
            self.first.into(),
            self.last.number.into(),
            self.last.hash.into(),
            (self.ids.len() as i64).into(),
            until.into(),
            self.file.as_str().into(),
            self.file_hash.into(),
            self.now.into(),
        ];
        tx.execute(put, params).await?;
        let gone = format!("delete from audit_entries where tenant_key = $1 and id {}", tx.dialect().in_uuids(2));
        tx.execute(gone, vec![tenant.clone(), Value::Uuids(self.ids.clone())]).await?;
        let gone = "delete from audit_blocks where tenant_key = $1 and number <= $2";
        tx.execute(gone, vec![tenant, self.last.number.into()]).await?;
        let note = AuditNote {
            action: "archive",
            record: "audit_blocks",
            record_id: None,
            subject: Some(self.file),
            changes: json!({
                "blocks": { "from": self.first, "to": self.last.number },
                "entries": self.ids.len(),
                "sha256": hex::encode(self.file_hash),
            }),
            by: By::system(),
            at: self.now,
        };
        note.write(tx, self.tenant).await
    }
}
