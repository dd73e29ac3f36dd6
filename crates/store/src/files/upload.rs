//! Taking a file: the bytes first, and on disk; then the rows, in one transaction.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::records::files::{CHUNK_BYTES, FILES};

use super::{
    FileError, UPLOAD_TIME_MAX,
    objects::{Objects, Parts},
    sniff::{HEAD_BYTES, sniff},
};
use crate::{
    Actor, RecordError, RecordView, StoreError, Target,
    database::Statement,
    records::{Keeping, Kept},
    store::Store,
};

/// The bytes of a file as they come, or why no more do.
pub type FileBody = BoxStream<'static, Result<Bytes, String>>;

/// What becomes of what is sent.
#[derive(Debug, Clone)]
pub enum UploadTo {
    /// A new file, of that body.
    New(Json),
    /// The next version of a file.
    VersionOf(Target),
}

/// A file that is sent.
pub struct Upload {
    /// What becomes of it.
    pub to: UploadTo,
    /// What the sender says it is.
    pub declared_type: Option<String>,
    /// How many bytes the sender says it has.
    pub bytes_declared: Option<u64>,
    /// Its bytes.
    pub body: FileBody,
}

/// What lies in the storage now.
#[derive(Debug)]
pub(super) struct Received {
    bytes: u64,
    sha256: [u8; 32],
    chunks: Vec<u8>,
    head: Vec<u8>,
}

impl Store {
    /// Takes a file: a new one, or another version. The row of the file is given as it is then.
    ///
    /// # Errors
    /// The rows refuse; it is too large; the tenant has no room; or the storage does not answer. Nothing is left of it.
    pub async fn upload_file(&self, actor: Actor, upload: Upload) -> Result<RecordView, FileError> {
        let files = &self.inner.files;
        let objects = files.objects().await?;
        let tenant = actor.tenant;
        let Upload { to, declared_type, bytes_declared, body } = upload;
        let keeping = match to {
            UploadTo::New(body) => {
                let values = windlass_resource::validate::create(&FILES, &body);
                let refused = |errors| RecordError::Invalid { noun: FILES.noun, errors };
                Keeping::New(values.map_err(refused)?.into_iter().map(|(column, value)| (column.name, value)).collect())
            }
            UploadTo::VersionOf(target) => {
                let found = self.record(tenant, &FILES, target.id).await?.revision.unwrap_or_default();
                if let Some(expected) = target.expect.filter(|expected| *expected != found) {
                    return Err(RecordError::Stale { noun: FILES.noun, expected, found }.into());
                }
                Keeping::VersionOf(target)
            }
        };
        self.has_room(tenant, bytes_declared.unwrap_or(0)).await?;
        let _place = files.enter().await?;
        let object = Uuid::now_v7();
        self.announce((tenant, object)).await?;
        let receiving = receive(objects, (tenant, object), files.bytes_max, body);
        let received = match tokio::time::timeout(UPLOAD_TIME_MAX, receiving).await {
            Ok(received) => received,
            Err(_) => Err(FileError::Cut(format!("it took longer than {} s", UPLOAD_TIME_MAX.as_secs()))),
        };
        let kept = match received {
            Ok(received) => {
                let sniffed = sniff(&received.head, declared_type.as_deref());
                let kept = Kept {
                    object,
                    bytes: received.bytes,
                    sha256: hex::encode(received.sha256),
                    chunks: received.chunks,
                    declared_type: declared_type
                        .map(|text| text.chars().take(200).collect())
                        .filter(|it: &String| !it.is_empty()),
                    sniffed,
                    bytes_max: self.rules_of(tenant).file_bytes_max,
                };
                self.keep_file(actor, keeping, kept).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &kept
            && !matches!(error, FileError::Record(RecordError::Store(_)))
        {
            // Of an error of the database nobody knows whether it was written: the sweep finds out.
            if let Err(error) = self.forget_object((tenant, object)).await {
                tracing::warn!(%error, "a file that was not taken is swept later");
            }
        }
        kept
    }

    /// Whether the tenant has room for so many bytes more, as far as it is known before they come.
    async fn has_room(&self, tenant: TenantKey, bytes: u64) -> Result<(), FileError> {
        let bytes_max = self.inner.files.bytes_max;
        if bytes > bytes_max {
            return Err(FileError::TooLarge { bytes_max });
        }
        let Some(bytes_max) = self.rules_of(tenant).file_bytes_max else { return Ok(()) };
        let bytes_used = self.file_usage(tenant).await?;
        if bytes_used.saturating_add(bytes) > bytes_max {
            return Err(FileError::Quota { bytes_max, bytes_used });
        }
        Ok(())
    }

    /// How many bytes a tenant has in the storage: of all versions, also of files that are deleted and not cleared away.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn file_usage(&self, tenant: TenantKey) -> Result<u64, StoreError> {
        let sql = "select bytes from file_usage where tenant_key = $1";
        let row = self.database().of(tenant).query_opt(sql, vec![tenant.into()]).await?;
        row.map_or(Ok(0), |row| Ok(row.int(0)?.unsigned_abs()))
    }

    /// Says that an object is about to lie in the storage.
    async fn announce(&self, (tenant, object): (TenantKey, Uuid)) -> Result<(), StoreError> {
        let announced = "insert into file_objects (tenant_key, id, bytes, created_at) values ($1, $2, null, $3)";
        let counted = "insert into file_usage (tenant_key, bytes) values ($1, 0) on conflict (tenant_key) do nothing";
        let statements = vec![
            Statement::new(announced, vec![tenant.into(), object.into(), self.now().into()]),
            Statement::new(counted, vec![tenant.into()]),
        ];
        self.database().of(tenant).write(statements).await.map(|_| ())
    }
}

/// Puts what comes into the storage, and knows it by its checksums.
pub(super) async fn receive(
    objects: &Objects,
    object: (TenantKey, Uuid),
    bytes_max: u64,
    body: impl Stream<Item = Result<Bytes, String>> + Send,
) -> Result<Received, FileError> {
    let mut parts: Option<Parts> = None;
    let taken = take(objects, object, (bytes_max, &mut parts), body).await;
    match (taken, parts) {
        (Ok((received, rest)), Some(mut parts)) => {
            if !rest.is_empty() {
                parts.put(rest).await?;
            }
            parts.end().await.map(|()| received)
        }
        (Ok((received, rest)), None) => objects.put(object, rest).await.map(|()| received),
        (Err(error), Some(parts)) => {
            parts.give_up().await;
            Err(error)
        }
        (Err(error), None) => Err(error),
    }
}

async fn take(
    objects: &Objects,
    object: (TenantKey, Uuid),
    (bytes_max, parts): (u64, &mut Option<Parts>),
    body: impl Stream<Item = Result<Bytes, String>> + Send,
) -> Result<(Received, Bytes), FileError> {
    let mut body = pin!(body);
    let mut sums = Sums::default();
    let (mut waiting, mut head) = (BytesMut::new(), Vec::new());
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(FileError::Cut)?;
        if sums.bytes + piece.len() as u64 > bytes_max {
            return Err(FileError::TooLarge { bytes_max });
        }
        head.extend_from_slice(&piece[..piece.len().min(HEAD_BYTES - head.len())]);
        sums.add(&piece);
        waiting.extend_from_slice(&piece);
        while waiting.len() > objects.part_bytes {
            let part = waiting.split_to(objects.part_bytes).freeze();
            if parts.is_none() {
                *parts = Some(objects.begin(object).await?);
            }
            if let Some(parts) = parts {
                parts.put(part).await?;
            }
        }
    }
    let (bytes, sha256, chunks) = sums.end();
    Ok((Received { bytes, sha256, chunks, head }, waiting.freeze()))
}

/// The checksums of a file and of its chunks, as its bytes come.
#[derive(Default)]
struct Sums {
    bytes: u64,
    all: Sha256,
    chunk: Sha256,
    chunks: Vec<u8>,
}

impl Sums {
    fn add(&mut self, mut piece: &[u8]) {
        self.all.update(piece);
        while !piece.is_empty() {
            let room = CHUNK_BYTES - self.bytes % CHUNK_BYTES;
            let (now, later) = piece.split_at(piece.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.chunk.update(now);
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(CHUNK_BYTES) {
                self.chunks.extend_from_slice(&self.chunk.finalize_reset());
            }
            piece = later;
        }
    }

    fn end(mut self) -> (u64, [u8; 32], Vec<u8>) {
        if !self.bytes.is_multiple_of(CHUNK_BYTES) {
            self.chunks.extend_from_slice(&self.chunk.finalize());
        }
        (self.bytes, self.all.finalize().into(), self.chunks)
    }
}
