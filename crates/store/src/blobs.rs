//! Large values: compressed, addressed by the SHA-256 of what they hold, stored once per tenant.

use sha2::{Digest, Sha256};
use windlass_engine::id::TenantKey;

use crate::{StoreError, committer::commit::RowChange, store::Store};

/// The level that is quick and still worth it.
const LEVEL: i32 = 3;
/// The most that a stored value may unfold to: a value's limit is 16 MiB, documents and states included.
const RAW_BYTES_MAX: usize = 256 << 20;

/// Compresses bytes.
pub fn compress(raw: &[u8]) -> Result<Vec<u8>, StoreError> {
    zstd::bulk::compress(raw, LEVEL).map_err(|error| StoreError::Invalid(format!("cannot compress: {error}")))
}

/// The bytes that [`compress`] was given, `raw_bytes` of them.
pub fn decompress(bytes: &[u8], raw_bytes: i64) -> Result<Vec<u8>, StoreError> {
    let capacity = usize::try_from(raw_bytes).unwrap_or(usize::MAX);
    if capacity > RAW_BYTES_MAX {
        return Err(StoreError::damaged(format!("a value of {raw_bytes} bytes")));
    }
    let raw = zstd::bulk::decompress(bytes, capacity).map_err(|error| StoreError::damaged(error.to_string()))?;
    if raw.len() == capacity { Ok(raw) } else { Err(StoreError::damaged("a value is shorter than it was")) }
}

/// The SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What a commit carries for a large value, and the hash that the journal names it by.
pub fn put(raw: &[u8]) -> Result<([u8; 32], RowChange), StoreError> {
    let hash = sha256(raw);
    let raw_bytes = i64::try_from(raw.len()).unwrap_or(i64::MAX);
    Ok((hash, RowChange::PutBlob { hash, raw_bytes, bytes: compress(raw)? }))
}

const GET: &str = "select bytes, raw_bytes from blobs where tenant_key = $1 and hash = $2";

impl Store {
    /// A large value by its hash; it is checked against it.
    pub async fn blob(&self, tenant: TenantKey, hash: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(row) = self.database().of(tenant).query_opt(GET, vec![tenant.into(), hash.into()]).await? else {
            return Ok(None);
        };
        let raw = decompress(&row.bytes(0)?, row.int(1)?)?;
        if sha256(&raw) == hash {
            Ok(Some(raw))
        } else {
            Err(StoreError::damaged(format!("blob {} is not what its name says", hex::encode(hash))))
        }
    }
}
