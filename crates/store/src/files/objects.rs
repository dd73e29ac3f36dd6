//! The storage: a directory or a bucket, in which each version of a file is one object of its own name.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path as ObjectPath,
};
use uuid::Uuid;
use windlass_engine::id::TenantKey;

use super::FileError;

/// Bytes that are handed to a directory at once.
const DIRECTORY_PART_BYTES: usize = 1 << 20;
/// Bytes that are handed to a bucket at once: 10,000 of them are the most that an object can have.
const BUCKET_PART_BYTES: usize = 8 << 20;

/// An open storage.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    pub part_bytes: usize,
    directory: Option<PathBuf>,
}

fn failed(error: object_store::Error) -> FileError {
    match error {
        object_store::Error::NotFound { path, .. } => {
            FileError::Damaged(format!("`{path}` is not in the storage any more"))
        }
        other => FileError::Storage(other.to_string()),
    }
}

impl Objects {
    /// Opens the storage at that place: a directory, or `s3://bucket/prefix`.
    pub(super) fn open(place: &str) -> Result<Objects, FileError> {
        match place.strip_prefix("s3://") {
            Some(bucket) => open_bucket(bucket),
            None => open_directory(PathBuf::from(place)),
        }
    }

    /// The name of an object. The last two digits of an id are random: directories stay small.
    fn path(&self, tenant: TenantKey, object: Uuid) -> ObjectPath {
        let id = object.to_string();
        ObjectPath::from(format!("{}{}/{}/{id}", self.prefix, tenant.0, &id[id.len() - 2..]))
    }

    /// Keeps a small object: it is on disk when this returns.
    pub(super) async fn put(&self, (tenant, object): (TenantKey, Uuid), bytes: Bytes) -> Result<(), FileError> {
        self.store.put(&self.path(tenant, object), bytes.into()).await.map(|_| ()).map_err(failed)
    }

    /// Begins an object that comes in parts.
    pub(super) async fn begin(&self, (tenant, object): (TenantKey, Uuid)) -> Result<Parts, FileError> {
        self.store.put_multipart(&self.path(tenant, object)).await.map(Parts).map_err(failed)
    }

    /// The bytes of an object from one place to another.
    pub(super) async fn read(
        &self,
        (tenant, object): (TenantKey, Uuid),
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FileError>>, FileError> {
        use futures::{StreamExt as _, TryStreamExt as _};
        let options = object_store::GetOptions { range: Some(range.into()), ..Default::default() };
        let found = self.store.get_opts(&self.path(tenant, object), options).await.map_err(failed)?;
        Ok(found.into_stream().map_err(failed).boxed())
    }

    /// How many bytes an object has that is there.
    pub(super) async fn size(&self, (tenant, object): (TenantKey, Uuid)) -> Result<Option<u64>, FileError> {
        match self.store.head(&self.path(tenant, object)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes an object; one that is not there is as good as removed.
    pub(super) async fn remove(&self, (tenant, object): (TenantKey, Uuid)) -> Result<(), FileError> {
        let path = self.path(tenant, object);
        if let Some(directory) = &self.directory {
            // What an upload had written when its process was killed.
            let begun = directory.join(format!("{path}#1"));
            match tokio::fs::remove_file(&begun).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::Storage(format!("{}: {error}", begun.display())));
                }
                _ => {}
            }
        }
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// An object on its way.
pub(super) struct Parts(Box<dyn MultipartUpload>);

impl Parts {
    /// Hands over the next part, all of the same length but the last, and waits until it was taken.
    pub(super) async fn put(&mut self, bytes: Bytes) -> Result<(), FileError> {
        self.0.put_part(PutPayload::from(bytes)).await.map_err(failed)
    }

    /// Makes the object whole: it is on disk when this returns.
    pub(super) async fn end(mut self) -> Result<(), FileError> {
        self.0.complete().await.map(|_| ()).map_err(failed)
    }

    /// Gives it up.
    pub(super) async fn give_up(mut self) {
        // What cannot be taken back now is swept, or goes by a rule of the bucket.
        let _ = self.0.abort().await;
    }
}

fn open_directory(directory: PathBuf) -> Result<Objects, FileError> {
    let refused = |error: String| FileError::Storage(format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(&directory).map_err(|error| refused(error.to_string()))?;
    let store = LocalFileSystem::new_with_prefix(&directory).map_err(|error| refused(error.to_string()))?;
    Ok(Objects {
        store: Arc::new(store.with_fsync(true)),
        prefix: String::new(),
        part_bytes: DIRECTORY_PART_BYTES,
        directory: Some(directory),
    })
}

/// A bucket; its keys, its region and its endpoint are in the environment (`AWS_…`).
fn open_bucket(place: &str) -> Result<Objects, FileError> {
    // Its client asks for the process's cryptography; one that is there already stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let store = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(failed)?;
    let prefix = if prefix.is_empty() { String::new() } else { format!("{}/", prefix.trim_end_matches('/')) };
    Ok(Objects { store: Arc::new(store), prefix, part_bytes: BUCKET_PART_BYTES, directory: None })
}
