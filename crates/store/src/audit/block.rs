//! Blocks: the hashes of some entries, the hash of the block before, and a signature over both.

use serde_json::{Value as Json, json};
use uuid::Uuid;
use windlass_definition::time::Timestamp;

use super::{
    entry::Fields,
    key::{AuditKey, signed},
};
use crate::{StoreError, database::Row};

/// What comes before the first block.
pub(crate) const NOTHING: [u8; 32] = [0; 32];
/// The hash that stands for an entry that was gone when it was to be sealed.
pub(crate) const GONE: [u8; 32] = [0; 32];
const PLACE_BYTES: usize = 48;

/// An entry as its block names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The entry.
    pub id: Uuid,
    /// Its hash.
    pub hash: [u8; 32],
}

/// A block of the chain of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Counts from 1.
    pub number: i64,
    /// The hash of the block before.
    pub previous: [u8; 32],
    /// Its entries, by their ids.
    pub entries: Vec<Sealed>,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// The key that signed it.
    pub public_key: Option<Vec<u8>>,
    /// Its own hash.
    pub hash: [u8; 32],
    /// The key's signature of the hash.
    pub signature: Option<Vec<u8>>,
}

impl Block {
    pub(crate) const COLUMNS: &str = "number, previous, entries, sealed_at, public_key, hash, signature";

    /// Makes the block of what is given: its hash and its signature.
    pub(crate) fn seal(mut self, tenant: Uuid, key: Option<&AuditKey>) -> Block {
        self.public_key = key.map(|key| key.public().to_vec());
        self.hash = self.hashed(tenant);
        self.signature = key.map(|key| key.sign(&self.hash));
        self
    }

    /// The hash that it should have.
    pub(crate) fn hashed(&self, tenant: Uuid) -> [u8; 32] {
        let mut hash = Fields::begin(b"windlass.audit.block.1", tenant);
        hash.put(Some(&self.number.to_be_bytes()));
        hash.put(Some(&self.previous));
        hash.put(Some(&self.places()));
        hash.put(Some(&self.sealed_at.micros().to_be_bytes()));
        hash.put(self.public_key.as_deref());
        hash.end()
    }

    /// Whether its signature is one of its hash, by the key that it names; none at all is `None`.
    pub(crate) fn is_signed(&self) -> Option<bool> {
        match (&self.public_key, &self.signature) {
            (None, None) => None,
            (Some(key), Some(signature)) => Some(signed(key, &self.hash, signature)),
            _ => Some(false),
        }
    }

    /// Its entries as the column holds them: the id and the hash of each.
    pub(crate) fn places(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|it| [&it.id.as_bytes()[..], &it.hash[..]].concat()).collect()
    }

    pub(crate) fn read(row: &Row) -> Result<Block, StoreError> {
        let places = row.bytes(2)?;
        Ok(Block {
            number: row.int(0)?,
            previous: row.hash(1)?,
            entries: read_places(&places).ok_or_else(|| StoreError::damaged("a block of the audit is cut"))?,
            sealed_at: row.time(3)?,
            public_key: row.opt(4, Row::bytes)?,
            hash: row.hash(5)?,
            signature: row.opt(6, Row::bytes)?,
        })
    }

    /// As files hold it.
    pub fn to_json(&self) -> Json {
        json!({
            "number": self.number,
            "previous": hex::encode(self.previous),
            "entries": hex::encode(self.places()),
            "sealed_at": self.sealed_at.to_string(),
            "public_key": self.public_key.as_ref().map(hex::encode),
            "hash": hex::encode(self.hash),
            "signature": self.signature.as_ref().map(hex::encode),
        })
    }

    /// Reads what [`Block::to_json`] wrote.
    pub fn from_json(json: &Json) -> Option<Block> {
        let bytes = |name: &str| match &json[name] {
            Json::Null => Some(None),
            text => hex::decode(text.as_str()?).ok().map(Some),
        };
        Some(Block {
            number: json["number"].as_i64()?,
            previous: bytes("previous")??.try_into().ok()?,
            entries: read_places(&bytes("entries")??)?,
            sealed_at: Timestamp::parse(json["sealed_at"].as_str()?)?,
            public_key: bytes("public_key")?,
            hash: bytes("hash")??.try_into().ok()?,
            signature: bytes("signature")?,
        })
    }
}

fn read_places(bytes: &[u8]) -> Option<Vec<Sealed>> {
    let places = bytes.chunks(PLACE_BYTES).map(|place| {
        let (id, hash) = place.split_at_checked(16)?;
        Some(Sealed { id: Uuid::from_slice(id).ok()?, hash: hash.try_into().ok()? })
    });
    places.collect()
}

/// The end of a tenant's chain: what an outsider notes to find a tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The newest block; 0 before the first.
    pub number: i64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Entries that were ever sealed.
    pub entries: i64,
    /// The key that signed this.
    pub public_key: Option<Vec<u8>>,
    /// Its signature.
    pub signature: Option<Vec<u8>>,
}

impl AuditHead {
    pub(crate) const COLUMNS: &str = "number, hash, entries, public_key, signature";

    pub(crate) fn read(row: &Row) -> Result<AuditHead, StoreError> {
        Ok(AuditHead {
            number: row.int(0)?,
            hash: row.hash(1)?,
            entries: row.int(2)?,
            public_key: row.opt(3, Row::bytes)?,
            signature: row.opt(4, Row::bytes)?,
        })
    }

    /// The head behind a block.
    pub(crate) fn behind(&self, block: &Block, tenant: Uuid, key: Option<&AuditKey>) -> AuditHead {
        let mut head = AuditHead {
            number: block.number,
            hash: block.hash,
            entries: self.entries + block.entries.len() as i64,
            public_key: key.map(|key| key.public().to_vec()),
            signature: None,
        };
        head.signature = key.map(|key| key.sign(&head.hashed(tenant)));
        head
    }

    fn hashed(&self, tenant: Uuid) -> [u8; 32] {
        let mut hash = Fields::begin(b"windlass.audit.head.1", tenant);
        hash.put(Some(&self.number.to_be_bytes()));
        hash.put(Some(&self.hash));
        hash.put(Some(&self.entries.to_be_bytes()));
        hash.put(self.public_key.as_deref());
        hash.end()
    }

    /// Whether its signature is one of it; none at all is `None`.
    pub(crate) fn is_signed(&self, tenant: Uuid) -> Option<bool> {
        match (&self.public_key, &self.signature) {
            (None, None) => None,
            (Some(key), Some(signature)) => Some(signed(key, &self.hashed(tenant), signature)),
            _ => Some(false),
        }
    }

    /// As files and answers hold it.
    pub fn to_json(&self) -> Json {
        json!({
            "number": self.number,
            "hash": hex::encode(self.hash),
            "entries": self.entries,
            "public_key": self.public_key.as_ref().map(hex::encode),
            "signature": self.signature.as_ref().map(hex::encode),
        })
    }

    /// Reads what [`AuditHead::to_json`] wrote.
    pub fn from_json(json: &Json) -> Option<AuditHead> {
        let bytes = |name: &str| match &json[name] {
            Json::Null => Some(None),
            text => hex::decode(text.as_str()?).ok().map(Some),
        };
        Some(AuditHead {
            number: json["number"].as_i64()?,
            hash: bytes("hash")??.try_into().ok()?,
            entries: json["entries"].as_i64()?,
            public_key: bytes("public_key")?,
            signature: bytes("signature")?,
        })
    }
}
