//! Judging an audit: in the database, or in a file that was taken from it.
//!
//! Both come down to the same: blocks in their order, and for each the entries that it names. What is found names the
//! block and the entry.

use std::{
    collections::{HashMap, HashSet},
    io::BufRead,
};

use serde::Serialize;
use serde_json::Value as Json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use super::{
    AuditEntry, AuditHead, Block,
    block::{GONE, NOTHING},
    key::{PublicKey, signed},
    seal::endorsement,
};
use crate::{StoreError, database::Row, database::Value, store::Store};

/// Blocks that are read at once.
const PAGE_BLOCKS: i64 = 20;
/// Entries that are read at once when it is looked for one that no block has.
const PAGE_ENTRIES: i64 = 1_000;
/// Findings that are named; the others are counted.
const FINDINGS_MAX: usize = 100;
/// Bytes of a line of a file.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Whose signatures count.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The key that is known to be the server's. Without one, signatures have only to fit the keys that they name.
    pub key: Option<PublicKey>,
    /// A head that was noted elsewhere: the chain has to hold it.
    pub head: Option<(i64, [u8; 32])>,
}

impl Trust {
    /// Reads a head that was noted as `number:hash`.
    pub fn noted_head(text: &str) -> Option<(i64, [u8; 32])> {
        let (number, hash) = text.split_once(':')?;
        Some((number.parse().ok()?, read_hash(hash)?))
    }

    /// Reads a public key of 64 hexadecimal digits.
    pub fn known_key(text: &str) -> Option<PublicKey> {
        read_hash(text)
    }
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditFinding {
    /// In which block.
    pub block: Option<i64>,
    /// In which entry.
    pub entry: Option<Uuid>,
    /// What is wrong.
    pub problem: String,
}

/// What was judged, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Whose.
    pub tenant: String,
    /// Blocks that were judged.
    pub blocks: i64,
    /// Entries that were judged.
    pub entries: i64,
    /// Entries that no block had yet when the judging began, or that came since.
    pub unsealed: i64,
    /// Entries that an archive has and the database no more.
    pub archived: i64,
    /// The newest block.
    pub head: i64,
    /// Its hash.
    pub head_hash: String,
    /// The keys that signed blocks.
    pub signed_by: Vec<String>,
    /// Blocks that nobody signed.
    pub unsigned_blocks: i64,
    /// What is wrong; at most 100.
    pub findings: Vec<AuditFinding>,
    /// How much is wrong.
    pub findings_count: usize,
}

impl AuditReport {
    fn find(&mut self, block: Option<i64>, entry: Option<Uuid>, problem: impl Into<String>) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(AuditFinding { block, entry, problem: problem.into() });
        }
    }
}

/// Goes along a chain.
struct Walk {
    tenant: Uuid,
    trust: Trust,
    /// What each old key was endorsed by, and how.
    endorsed: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    /// The block before; `None` where it is not known, at the beginning of a part.
    before: Option<Block>,
    first: (i64, Option<[u8; 32]>),
    report: AuditReport,
}

impl Walk {
    fn block(&mut self, block: &Block) {
        let number = Some(block.number);
        let (expected, previous) = match &self.before {
            None => self.first,
            Some(before) => (before.number + 1, Some(before.hash)),
        };
        if block.number != expected {
            self.report.find(
                number,
                None,
                format!("block {expected} should be here: blocks are missing or were inserted"),
            );
        } else if previous.is_some_and(|previous| previous != block.previous) {
            self.report.find(number, None, "does not go on from the block before it");
        }
        if block.hashed(self.tenant) != block.hash {
            self.report.find(number, None, "is not what its hash says");
        }
        if self.before.as_ref().is_some_and(|before| block.sealed_at < before.sealed_at) {
            self.report.find(number, None, "was sealed before the block before it");
        }
        self.signature(number, block.is_signed(), block.public_key.as_deref());
        if let Some((at, hash)) = self.trust.head
            && at == block.number
            && hash != block.hash
        {
            self.report.find(number, None, "is not the block that was noted elsewhere");
        }
        self.report.blocks += 1;
        self.before = Some(block.clone());
    }

    fn signature(&mut self, number: Option<i64>, signed: Option<bool>, key: Option<&[u8]>) {
        match (signed, key) {
            (None, _) => {
                self.report.unsigned_blocks += i64::from(number.is_some());
                if !self.report.signed_by.is_empty() {
                    self.report.find(number, None, "is not signed, though blocks before it are");
                }
            }
            (Some(false), _) | (_, None) => self.report.find(number, None, "has a wrong signature"),
            (Some(true), Some(key)) => {
                let name = hex::encode(key);
                if !self.report.signed_by.contains(&name) {
                    if !self.trusts(key) {
                        self.report.find(
                            number,
                            None,
                            format!("is signed with the key {name}, which is not the server's"),
                        );
                    }
                    self.report.signed_by.push(name);
                }
            }
        }
    }

    /// Whether the key is the trusted one, or one that it took over from, step by step.
    fn trusts(&self, key: &[u8]) -> bool {
        let Some(trusted) = self.trust.key else { return true };
        let mut key = key.to_vec();
        for _ in 0..=self.endorsed.len() {
            if key[..] == trusted {
                return true;
            }
            match self.endorsed.get(&key) {
                Some((by, signature)) if signed(by, &endorsement(&key, by), signature) => key.clone_from(by),
                _ => return false,
            }
        }
        false
    }

    /// Judges the entries of a block, given those of them that are there.
    fn entries(&mut self, block: &Block, there: &HashMap<Uuid, AuditEntry>) {
        for sealed in &block.entries {
            match there.get(&sealed.id) {
                None => self.report.find(Some(block.number), Some(sealed.id), "was removed"),
                Some(_) if sealed.hash == GONE => {
                    self.report.find(Some(block.number), Some(sealed.id), "came back: it was gone when it was sealed");
                }
                Some(entry) if entry.hash(self.tenant) != sealed.hash => {
                    self.report.find(Some(block.number), Some(sealed.id), "was changed");
                }
                Some(_) => {}
            }
            self.report.entries += 1;
        }
    }

    /// Judges the end.
    fn end(mut self, head: Option<&AuditHead>) -> AuditReport {
        let last = self.before.as_ref().map(|block| (block.number, block.hash));
        let (number, hash) = last.unwrap_or((self.first.0 - 1, self.first.1.unwrap_or(NOTHING)));
        if let Some(head) = head {
            if (head.number, head.hash) != (number, hash) {
                let problem =
                    format!("the chain ends at block {number}, and its head says {}: its end was cut", head.number);
                self.report.find(None, None, problem);
            }
            if head.number > 0 {
                self.signature(None, head.is_signed(self.tenant), head.public_key.as_deref());
            }
        }
        if let Some((noted, _)) = self.trust.head.filter(|(noted, _)| *noted > number) {
            self.report.find(
                None,
                None,
                format!("the chain ends at block {number}, and block {noted} was noted elsewhere"),
            );
        }
        self.report.head = number;
        self.report.head_hash = hex::encode(hash);
        self.report
    }
}

const COUNTS: &str = "select (select count(*) from audit_entries where tenant_key = $1), \
                      (select count(*) from audit_unsealed where tenant_key = $1), \
                      (select coalesce(sum(length(entries)), 0) from audit_blocks where tenant_key = $1), \
                      (select coalesce(sum(length(entries)), 0) from audit_blocks where tenant_key = $1 and number > $2)";
const LOST: &str = "select u.entry_id from audit_unsealed u where u.tenant_key = $1 and not exists \
                    (select 1 from audit_entries e where e.tenant_key = u.tenant_key and e.id = u.entry_id) limit 100";

impl Store {
    /// The end of a tenant's chain; `None` before anything was sealed.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn audit_head(&self, tenant: TenantKey) -> Result<Option<AuditHead>, StoreError> {
        let sql = format!("select {} from audit_heads where tenant_key = $1", AuditHead::COLUMNS);
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into()]).await?;
        row.as_ref().map(AuditHead::read).transpose()
    }

    /// Judges the whole audit of a tenant, also while it is written.
    ///
    /// # Errors
    /// The database does not answer, or there is no such tenant.
    pub async fn verify_audit(&self, tenant: TenantKey, trust: Trust) -> Result<AuditReport, StoreError> {
        let (id, slug) = self.tenant_identity(tenant).await?;
        // Read first: what is sealed meanwhile is not judged.
        let head = self.audit_head(tenant).await?;
        let end = head.as_ref().map_or(0, |head| head.number);
        let (first, previous, archived) = self.archived(tenant).await?;
        let mut walk = Walk {
            tenant: id,
            trust,
            endorsed: self.endorsed_keys().await?,
            before: None,
            first: (first, Some(previous)),
            report: AuditReport { tenant: slug, archived, ..AuditReport::default() },
        };
        let mut after = first - 1;
        loop {
            let page = self.audit_blocks(tenant, after, PAGE_BLOCKS).await?;
            for block in page.iter().filter(|block| block.number <= end) {
                walk.block(block);
                let there = self.audit_entries_of(tenant, block).await?;
                walk.entries(block, &there);
            }
            match page.last() {
                Some(last) if page.len() as i64 >= PAGE_BLOCKS && last.number < end => after = last.number,
                // Blocks beyond the head are there only while it moves on: else they are not the sealer's.
                _ => break,
            }
        }
        self.beyond(&mut walk, (tenant, end)).await?;
        self.judge_strangers(&mut walk, (tenant, end)).await?;
        Ok(walk.end(head.as_ref()))
    }

    /// Blocks behind the head, when it has not moved on since it was read.
    async fn beyond(&self, walk: &mut Walk, (tenant, end): (TenantKey, i64)) -> Result<(), StoreError> {
        let sql = "select b.number from audit_blocks b where b.tenant_key = $1 and b.number > $2 and b.number > \
                   coalesce((select h.number from audit_heads h where h.tenant_key = $1), 0) order by b.number limit 10";
        for row in self.database().of(tenant).query(sql, vec![tenant.into(), end.into()]).await? {
            walk.report.find(Some(row.int(0)?), None, "stands behind the head: it was inserted");
        }
        Ok(())
    }

    /// Entries that are in no block and do not wait for one, and those that wait and are not there.
    async fn judge_strangers(&self, walk: &mut Walk, (tenant, end): (TenantKey, i64)) -> Result<(), StoreError> {
        for row in self.database().of(tenant).query(LOST, vec![tenant.into()]).await? {
            walk.report.find(None, Some(row.uuid(0)?), "was removed before it was sealed");
        }
        let removed = walk.report.findings.iter().filter(|it| it.problem.starts_with("was removed")).count() as i64;
        let counts = self.database().of(tenant).query_opt(COUNTS, vec![tenant.into(), end.into()]).await?;
        let row = counts.ok_or(StoreError::Closed)?;
        let (there, unsealed, sealed, since) = (row.int(0)?, row.int(1)?, row.int(2)? / 48, row.int(3)? / 48);
        walk.report.unsealed = unsealed + since;
        if there == unsealed + sealed - removed && walk.report.findings_count < FINDINGS_MAX {
            return Ok(());
        }
        let mut known: HashSet<Uuid> = HashSet::new();
        let mut after = 0;
        loop {
            let page = self.audit_blocks(tenant, after, PAGE_BLOCKS).await?;
            known.extend(page.iter().flat_map(|block| block.entries.iter().map(|it| it.id)));
            let Some(last) = page.last() else { break };
            after = last.number;
        }
        let sql = "select e.id from audit_entries e where e.tenant_key = $1 and e.id > $2 and not exists (select 1 from \
                   audit_unsealed u where u.tenant_key = e.tenant_key and u.entry_id = e.id) order by e.id limit $3";
        let mut after = Uuid::nil();
        loop {
            let rows =
                self.database().of(tenant).query(sql, vec![tenant.into(), after.into(), PAGE_ENTRIES.into()]).await?;
            for row in &rows {
                after = row.uuid(0)?;
                // What was sealed since the blocks were read is in none of these; it is in a newer one.
                if !known.contains(&after) && !self.is_sealed_since(tenant, after).await? {
                    walk.report.find(None, Some(after), "is in no block: it was inserted");
                }
            }
            if (rows.len() as i64) < PAGE_ENTRIES {
                return Ok(());
            }
        }
    }

    async fn is_sealed_since(&self, tenant: TenantKey, entry: Uuid) -> Result<bool, StoreError> {
        let newest =
            format!("select {} from audit_blocks where tenant_key = $1 order by number desc limit $2", Block::COLUMNS);
        let rows = self.database().of(tenant).query(newest, vec![tenant.into(), PAGE_BLOCKS.into()]).await?;
        let blocks = rows.iter().map(Block::read).collect::<Result<Vec<_>, _>>()?;
        Ok(blocks.iter().any(|block| block.entries.iter().any(|it| it.id == entry)))
    }

    /// Blocks of a tenant after that number.
    pub(crate) async fn audit_blocks(
        &self,
        tenant: TenantKey,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Block>, StoreError> {
        let sql = format!(
            "select {} from audit_blocks where tenant_key = $1 and number > $2 order by number limit $3",
            Block::COLUMNS
        );
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), after.into(), limit.into()]).await?;
        rows.iter().map(Block::read).collect()
    }

    /// The entries that a block names, as far as they are there.
    pub(crate) async fn audit_entries_of(
        &self,
        tenant: TenantKey,
        block: &Block,
    ) -> Result<HashMap<Uuid, AuditEntry>, StoreError> {
        let ids = block.entries.iter().map(|it| it.id).collect();
        let sql = format!(
            "select {} from audit_entries e where e.tenant_key = $1 and e.id {}",
            AuditEntry::columns("e"),
            self.database().dialect().in_uuids(2)
        );
        let rows = self.database().of(tenant).query(sql, vec![tenant.into(), Value::Uuids(ids)]).await?;
        rows.iter().map(|row| AuditEntry::read(row, 0).map(|entry| (entry.id, entry))).collect()
    }

    pub(crate) async fn tenant_identity(&self, tenant: TenantKey) -> Result<(Uuid, String), StoreError> {
        let sql = "select id, slug from tenants where key = $1";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into()]).await?;
        let row = row.ok_or_else(|| StoreError::Invalid(format!("there is no tenant {}", tenant.0)))?;
        Ok((row.uuid(0)?, row.string(1)?))
    }

    /// The first block that is not archived, the hash before it, and how many entries archives hold.
    pub(crate) async fn archived(&self, tenant: TenantKey) -> Result<(i64, [u8; 32], i64), StoreError> {
        let sql = "select block_last, hash_last, (select cast(sum(entries) as bigint) from audit_archives where tenant_key = $1) \
                   from audit_archives where tenant_key = $1 order by block_last desc limit 1";
        match self.database().of(tenant).query_opt(sql, vec![tenant.into()]).await? {
            None => Ok((1, NOTHING, 0)),
            Some(row) => Ok((row.int(0)? + 1, row.hash(1)?, row.opt(2, Row::int)?.unwrap_or(0))),
        }
    }

    pub(crate) async fn endorsed_keys(&self) -> Result<HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>, StoreError> {
        let sql = "select public_key, endorsed_by, endorsement from audit_keys where endorsed_by is not null";
        let rows = self.database().across_tenants().query(sql, vec![]).await?;
        rows.iter().map(|row| Ok((row.bytes(0)?, (row.bytes(1)?, row.bytes(2)?)))).collect()
    }
}

/// Judges a file that [`Store::archive_audit`](crate::Store) or an export of proof wrote, without any database.
///
/// # Errors
/// It cannot be read, or is no such file.
pub fn verify_file(file: impl BufRead, trust: Trust) -> Result<AuditReport, String> {
    let mut lines = Lines { file, line: 0 };
    let header = lines.next()?.ok_or("the file is empty")?;
    let part = header.get("audit").ok_or("this is no proof of an audit: its first line does not say so")?;
    let tenant: Uuid = part["tenant_id"].as_str().and_then(|it| it.parse().ok()).ok_or("the tenant's id is missing")?;
    let first = part["block_first"].as_i64().ok_or("the number of the first block is missing")?;
    let previous = part["previous"].as_str().and_then(read_hash);
    let previous = if first == 1 { Some(NOTHING) } else { previous };
    let mut walk = Walk {
        tenant,
        trust,
        endorsed: read_keys(&part["keys"]),
        before: None,
        first: (first, previous),
        report: AuditReport {
            tenant: part["tenant"].as_str().unwrap_or_default().to_owned(),
            ..AuditReport::default()
        },
    };
    let mut open: Option<(Block, HashMap<Uuid, AuditEntry>)> = None;
    let mut head = None;
    while let Some(line) = lines.next()? {
        if let Some(json) = line.get("block") {
            close(&mut walk, open.take());
            let block = Block::from_json(json).ok_or_else(|| lines.wrong("is no block"))?;
            walk.block(&block);
            open = Some((block, HashMap::new()));
        } else if let Some(json) = line.get("entry") {
            let entry = AuditEntry::from_json(json).ok_or_else(|| lines.wrong("is no entry"))?;
            let Some((block, there)) = &mut open else { return Err(lines.wrong("stands before any block")) };
            let (number, id) = (block.number, entry.id);
            if !block.entries.iter().any(|it| it.id == id) {
                walk.report.find(Some(number), Some(id), "is not of this block: it was inserted or moved");
            } else if there.insert(id, entry).is_some() {
                walk.report.find(Some(number), Some(id), "is there twice");
            }
        } else if let Some(json) = line.get("head") {
            close(&mut walk, open.take());
            head = Some(AuditHead::from_json(json).ok_or_else(|| lines.wrong("is no head"))?);
        } else {
            return Err(lines.wrong("is neither a block nor an entry"));
        }
    }
    close(&mut walk, open.take());
    if head.is_none() {
        walk.report.find(None, None, "the file has no end: it was cut");
    }
    Ok(walk.end(head.as_ref()))
}

fn close(walk: &mut Walk, open: Option<(Block, HashMap<Uuid, AuditEntry>)>) {
    if let Some((block, there)) = open {
        walk.entries(&block, &there);
    }
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

fn read_keys(json: &Json) -> HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)> {
    let bytes = |json: &Json| hex::decode(json.as_str()?).ok();
    let keys = json.as_array().into_iter().flatten();
    keys.filter_map(|it| Some((bytes(&it["public_key"])?, (bytes(&it["endorsed_by"])?, bytes(&it["endorsement"])?))))
        .collect()
}

/// The lines of a file, each a JSON object of bounded length.
struct Lines<R> {
    file: R,
    line: usize,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Json>, String> {
        use std::io::Read as _;
        let mut text = Vec::new();
        let mut bounded = (&mut self.file).take(LINE_BYTES_MAX as u64 + 1);
        bounded.read_until(b'\n', &mut text).map_err(|error| format!("the file cannot be read: {error}"))?;
        self.line += 1;
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(self.wrong("is longer than 4 MiB"));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| self.wrong(&format!("is no JSON: {error}")))
    }

    fn wrong(&self, what: &str) -> String {
        format!("line {} {what}", self.line)
    }
}

/// A time before which, by a count of days.
pub(crate) fn days_before(now: Timestamp, days: u32) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_sub(i64::from(days) * 86_400_000_000))
}
