//! Ids with types: the id of a run is not the id of a task.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_definition::Timestamp;

/// The UUID of one kind of thing. UUIDv7 where it names something that was made: it sorts by time.
pub struct Id<T> {
    uuid: Uuid,
    kind: PhantomData<fn() -> T>,
}

/// Names a run.
pub enum Run {}
/// Names a task for an outside worker.
pub enum Task {}
/// Names an approval.
pub enum Approval {}
/// Names a workflow.
pub enum Workflow {}
/// Names a node: one process, from its start to its end.
pub enum Node {}
/// Names an API token.
pub enum Token {}

/// The id of a run.
pub type RunId = Id<Run>;
/// The id of a task.
pub type TaskId = Id<Task>;
/// The id of an approval.
pub type ApprovalId = Id<Approval>;
/// The id of a workflow.
pub type WorkflowId = Id<Workflow>;
/// The id of a node.
pub type NodeId = Id<Node>;
/// The id of an API token.
pub type TokenId = Id<Token>;

/// The short key of a tenant: what tables with many rows carry instead of its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantKey(pub i32);

impl TenantKey {
    /// The tenant that every installation has.
    pub const DEFAULT: TenantKey = TenantKey(1);
}

impl<T> Id<T> {
    /// This UUID as an id of that kind.
    pub const fn new(uuid: Uuid) -> Id<T> {
        Id { uuid, kind: PhantomData }
    }

    /// The plain UUID.
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }

    /// When what it names was made, to the millisecond, as a UUIDv7 says.
    pub fn made_at(self) -> Timestamp {
        let ms = i64::try_from(self.uuid.as_u128() >> 80).unwrap_or(i64::MAX);
        Timestamp::from_micros(ms.saturating_mul(1_000))
    }

    /// A UUIDv7 with this time and, instead of random bits, these: the same arguments give the same id.
    pub fn from_parts(unix_ms: u64, bits: [u8; 10]) -> Id<T> {
        Id::new(uuid::Builder::from_unix_timestamp_millis(unix_ms, &bits).into_uuid())
    }
}

impl TaskId {
    /// Whether it is the task of this attempt of a run's step.
    pub fn is_of(self, run: RunId, path: &str, attempt: u32) -> bool {
        let unix_ms = (self.uuid.as_u128() >> 80) as u64;
        self == Id::from_parts(unix_ms, derived_bits(run, path, attempt, "task"))
    }
}

/// What is not time in an id that follows from the run, the path and the attempt.
pub(crate) fn derived_bits(run: RunId, path: &str, attempt: u32, purpose: &str) -> [u8; 10] {
    let digest = Sha256::digest(format!("{run}/{path}/{attempt}/{purpose}").as_bytes());
    digest[..10].try_into().expect("a digest is longer than ten bytes")
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.uuid == other.uuid
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Id<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Id<T>) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uuid, f)
    }
}

impl<T> FromStr for Id<T> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Id<T>, uuid::Error> {
        Uuid::try_parse(text).map(Id::new)
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uuid.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id<T>, D::Error> {
        Uuid::deserialize(deserializer).map(Id::new)
    }
}
