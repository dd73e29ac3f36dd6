//! Giving a file: chunk after chunk, each only once its checksum was found right.

use std::{collections::VecDeque, ops::Range};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::records::files::CHUNK_BYTES;

use super::FileError;
use crate::{
    Actor, AuditNote, By, StoreError,
    database::{Row, Value},
    store::Store,
};

const FIND: &str = "select f.name, v.number, v.size_bytes, v.sha256, v.media_type, v.object_id, v.chunks, v.created_at \
                    from files f join file_versions v on v.tenant_key = f.tenant_key and v.file_id = f.id \
                    where f.tenant_key = $1 and f.id = $2 and f.deleted_at is null and v.number = ";

/// What a file holds, before any of it is read.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// The file.
    pub file: Uuid,
    /// What it is called.
    pub name: String,
    /// Which version.
    pub number: i64,
    /// Its bytes.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// What its first bytes say it is.
    pub media_type: String,
    /// When it came.
    pub created_at: Timestamp,
    tenant: TenantKey,
    object: Uuid,
    chunks: Vec<u8>,
}

impl FileContent {
    /// Its object in the storage.
    pub(super) fn object(&self) -> (TenantKey, Uuid) {
        (self.tenant, self.object)
    }
}

impl Store {
    /// What a file holds: its newest version, or that one.
    ///
    /// # Errors
    /// There is none, or the database does not answer.
    pub async fn file_content(
        &self,
        tenant: TenantKey,
        file: Uuid,
        version: Option<i64>,
    ) -> Result<FileContent, FileError> {
        let mut params: Vec<Value> = vec![tenant.into(), file.into()];
        params.extend(version.map(Value::from));
        let sql = format!("{FIND}{}", if version.is_some() { "$3" } else { "f.version" });
        let row = self.database().of(tenant).query_opt(sql, params).await?;
        let noun = if version.is_some() { "version of the file" } else { "file" };
        let row = row.ok_or(FileError::NotFound(noun))?;
        Ok(content(tenant, file, &row)?)
    }

    /// Reads a range of it. The first chunk was found right when this returns.
    ///
    /// # Errors
    /// All transfers are under way, the storage does not answer, or what lies there is damaged.
    pub async fn read_file(&self, content: &FileContent, range: Range<u64>) -> Result<FileChunks, FileError> {
        let files = &self.inner.files;
        let objects = files.objects().await?;
        let place = files.enter().await?;
        let from = range.start / CHUNK_BYTES * CHUNK_BYTES;
        let until = range.end.next_multiple_of(CHUNK_BYTES).min(content.size_bytes);
        let pieces = if range.is_empty() {
            futures::stream::empty().boxed()
        } else {
            objects.read(content.object(), from..until).await?
        };
        let mut chunks = FileChunks {
            content: content.clone(),
            pieces,
            waiting: BytesMut::new(),
            at: from,
            range,
            ready: VecDeque::new(),
            _place: place,
        };
        if let Some(first) = chunks.read().await? {
            chunks.ready.push_back(first);
        }
        Ok(chunks)
    }

    /// Notes in the audit that somebody fetched a file.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn note_download(&self, actor: Actor, content: &FileContent) -> Result<(), StoreError> {
        let changes = json!({ "version": content.number });
        self.note_fetch(content, actor.by, changes).await
    }

    pub(super) async fn note_fetch(&self, content: &FileContent, by: By, changes: Json) -> Result<(), StoreError> {
        let note = AuditNote {
            action: "download",
            record: "files",
            record_id: Some(content.file),
            subject: Some(content.name.clone()),
            changes,
            by,
            at: self.now(),
        };
        self.note(content.tenant, note).await
    }
}

pub(super) fn content(tenant: TenantKey, file: Uuid, row: &Row) -> Result<FileContent, StoreError> {
    Ok(FileContent {
        file,
        name: row.string(0)?,
        number: row.int(1)?,
        size_bytes: row.int(2)?.unsigned_abs(),
        sha256: row.string(3)?,
        media_type: row.string(4)?,
        object: row.uuid(5)?,
        chunks: row.opt(6, Row::bytes)?.unwrap_or_default(),
        created_at: row.time(7)?,
        tenant,
    })
}

/// A range of a file as it is read.
pub struct FileChunks {
    content: FileContent,
    pieces: BoxStream<'static, Result<Bytes, FileError>>,
    waiting: BytesMut,
    /// Where the next chunk begins.
    at: u64,
    range: Range<u64>,
    ready: VecDeque<Bytes>,
    /// Held until all is read.
    _place: OwnedSemaphorePermit,
}

impl FileChunks {
    /// The next bytes of the range; `None` behind its end.
    ///
    /// # Errors
    /// The storage does not answer, or what lies there is damaged: then nothing of the chunk is given.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        match self.ready.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, FileError> {
        if self.at >= self.range.end {
            return Ok(None);
        }
        let size = usize::try_from((self.content.size_bytes - self.at).min(CHUNK_BYTES)).unwrap_or(usize::MAX);
        while self.waiting.len() < size {
            match self.pieces.next().await {
                Some(piece) => self.waiting.extend_from_slice(&piece?),
                None => return Err(self.damaged("is shorter than it was")),
            }
        }
        let chunk = self.waiting.split_to(size).freeze();
        let number = usize::try_from(self.at / CHUNK_BYTES).unwrap_or(usize::MAX);
        let expected = self.content.chunks.chunks_exact(32).nth(number);
        if expected != Some(Sha256::digest(&chunk).as_slice()) {
            return Err(self.damaged("does not have the checksum that it had"));
        }
        let within = |place: u64| usize::try_from(place.saturating_sub(self.at)).unwrap_or(usize::MAX).min(size);
        let wanted = chunk.slice(within(self.range.start)..within(self.range.end));
        self.at += size as u64;
        Ok(Some(wanted))
    }

    fn damaged(&self, how: &str) -> FileError {
        let FileContent { file, number, .. } = self.content;
        FileError::Damaged(format!("version {number} of {file} {how}, from byte {} on", self.at))
    }
}
