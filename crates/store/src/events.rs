//! CloudEvents: kept in order, each once, and who waits for one.

use windlass_definition::time::Timestamp;
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    LaneId, StoreError,
    database::{Row, Value},
    inbox::Received,
    store::Store,
};

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Our own id: the order in which events came.
    pub id: uuid::Uuid,
    /// The sender.
    pub source: String,
    /// The sender's id of it: source and id name the event.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Its subject.
    pub subject: Option<String>,
    /// The whole of it, as JSON text.
    pub event: Vec<u8>,
    /// When it came.
    pub at: Timestamp,
}

/// Somebody who waits for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventWait {
    /// The run.
    pub run: RunId,
    /// Its lane.
    pub lane: LaneId,
    /// The path that waits.
    pub path: String,
    /// Events from then on count.
    pub since: Timestamp,
}

const COLUMNS: &str = "id, source, event_id, type, subject, event, at";

fn event(row: &Row) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        id: row.uuid(0)?,
        source: row.string(1)?,
        event_id: row.string(2)?,
        event_type: row.string(3)?,
        subject: row.opt(4, Row::string)?,
        event: row.bytes(5)?,
        at: row.time(6)?,
    })
}

impl Store {
    /// Keeps an event, unless the same one came before.
    pub async fn put_event(&self, tenant: TenantKey, new: EventRow) -> Result<Received, StoreError> {
        let sql = "insert into events (tenant_key, id, source, event_id, type, subject, event, at) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant_key, source, event_id) do nothing";
        let params = vec![
            tenant.into(),
            new.id.into(),
            new.source.into(),
            new.event_id.into(),
            new.event_type.into(),
            new.subject.into(),
            new.event.into(),
            new.at.into(),
        ];
        let written = self.database().of(tenant).execute(sql, params).await?;
        Ok(if written.count == 0 { Received::Duplicate } else { Received::New })
    }

    /// The events of a type (and subject, if given) that came at or after a time, in order, after an event.
    pub async fn events(
        &self,
        tenant: TenantKey,
        (event_type, subject): (&str, Option<&str>),
        (since, after): (Timestamp, Option<uuid::Uuid>),
        limit: i64,
    ) -> Result<Vec<EventRow>, StoreError> {
        let mut params = vec![Value::from(tenant), event_type.into(), since.into()];
        params.extend([after.unwrap_or(uuid::Uuid::nil()).into(), limit.clamp(1, 10_000).into()]);
        let with_subject = match subject {
            None => "",
            Some(subject) => {
                params.push(subject.into());
                "and subject = $6"
            }
        };
        let sql = format!(
            "select {COLUMNS} from events where tenant_key = $1 and type = $2 and at >= $3 and id > $4 {with_subject} \
             order by id limit $5"
        );
        self.database().of(tenant).query(sql, params).await?.iter().map(event).collect()
    }

    /// Who waits for an event of this type and subject.
    pub async fn event_waits(
        &self,
        tenant: TenantKey,
        event_type: &str,
        subject: Option<&str>,
    ) -> Result<Vec<EventWait>, StoreError> {
        let (condition, subject) = match subject {
            None => ("subject is null", Vec::new()),
            Some(subject) => ("(subject is null or subject = $3)", vec![Value::from(subject)]),
        };
        let sql = format!(
            "select run_id, lane_id, path, since from event_waits where tenant_key = $1 and type = $2 and {condition} \
             order by run_id, path"
        );
        let params = [Value::from(tenant), event_type.into()].into_iter().chain(subject).collect();
        let wait = |row: &Row| {
            Ok(EventWait { run: row.id(0)?, lane: LaneId(row.int32(1)?), path: row.string(2)?, since: row.time(3)? })
        };
        self.database().of(tenant).query(sql, params).await?.iter().map(wait).collect()
    }
}
