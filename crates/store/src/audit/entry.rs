//! Entries: what is noted, how it is written, and the hash that a block keeps of it.
//!
//! The hash covers every column as it is stored. JSON counts by what it means: PostgreSQL keeps it in another order
//! than it was written in, and SQLite as text.

use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::{id::TenantKey, start::Principal};
use windlass_resource::Record;

use crate::{
    By, StoreError,
    database::{Row, Tx, Value},
};

/// Characters of what a request says of itself.
const HEADER_CHARS_MAX: usize = 200;
/// Characters of a subject.
const SUBJECT_CHARS_MAX: usize = 300;
/// Bytes of an entry's changes; what is larger says how large it was.
const CHANGES_BYTES_MAX: usize = 256 << 10;

/// The columns of an entry, in the order of its values and of its hash.
pub(crate) const ENTRY_COLUMNS: &[(&str, &str)] = &[
    ("tenant_key", "integer"),
    ("id", "uuid"),
    ("created_at", "timestamptz"),
    ("created_by", "text"),
    ("action", "text"),
    ("record", "text"),
    ("record_id", "uuid"),
    ("subject", "text"),
    ("changes", "jsonb"),
    ("request_id", "text"),
    ("user_agent", "text"),
    ("address", "text"),
    ("search_text", "text"),
];
const INSERT: &str = "insert into audit_entries (tenant_key, id, created_at, created_by, action, record, record_id, \
                      subject, changes, request_id, user_agent, address, search_text) \
                      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
const UNSEALED: &str = "insert into audit_unsealed (tenant_key, entry_id) values ($1, $2)";

/// Who somebody is, as rows and the audit name it: `token:admin`, `person:ada@example.org`, `run:…`, `system`.
pub fn by_principal(principal: &Principal) -> String {
    match principal {
        Principal::Person(name) => format!("person:{name}"),
        Principal::Token(name) => format!("token:{name}"),
        Principal::Run(run) => format!("run:{run}"),
        Principal::Acting { who, of } => format!("person:{who} for {of}"),
        Principal::Delegate { who, of } => format!("person:{who} of {of}"),
        Principal::Application { name, of: None } => format!("application:{name}"),
        Principal::Application { name, of: Some(of) } => format!("application:{name} for {of}"),
        Principal::System => "system".to_owned(),
    }
}

/// Something that is done now, to be written in the same transaction.
#[derive(Debug, Clone)]
pub struct AuditNote {
    /// What: `create`, `publish`, `cancel`.
    pub action: &'static str,
    /// To which kind of thing: the name of its table.
    pub record: &'static str,
    /// To which one.
    pub record_id: Option<Uuid>,
    /// What people call it.
    pub subject: Option<String>,
    /// What differs, or what was said: an object.
    pub changes: Json,
    /// Who.
    pub by: By,
    /// When.
    pub at: Timestamp,
}

impl AuditNote {
    /// The values of its row, in the order of [`ENTRY_COLUMNS`].
    pub(crate) fn values(&self, tenant: TenantKey, id: Uuid) -> Vec<Value> {
        let cut = |text: &str, max: usize| text.chars().take(max).collect::<String>();
        let header = |text: &Option<String>, max| text.as_deref().filter(|it| !it.is_empty()).map(|it| cut(it, max));
        let subject = header(&self.subject, SUBJECT_CHARS_MAX);
        let mut changes = self.changes.to_string();
        if changes.len() > CHANGES_BYTES_MAX {
            changes = json!({ "omitted_bytes": changes.len() }).to_string();
        }
        let request_id = header(&self.by.request_id, HEADER_CHARS_MAX);
        let said =
            [Some(self.action), Some(self.record), subject.as_deref(), Some(&*self.by.who), request_id.as_deref()];
        let search_text = Record::search_text(said.into_iter().flatten());
        vec![
            tenant.into(),
            id.into(),
            self.at.into(),
            (&self.by.who).into(),
            self.action.into(),
            self.record.into(),
            self.record_id.into(),
            subject.into(),
            Value::Json(changes.into()),
            request_id.into(),
            header(&self.by.user_agent, HEADER_CHARS_MAX).into(),
            header(&self.by.address, 60).into(),
            search_text.into(),
        ]
    }

    /// Writes it in this transaction.
    pub(crate) async fn write(&self, tx: &mut Tx, tenant: TenantKey) -> Result<(), StoreError> {
        let id = Uuid::now_v7();
        tx.execute(INSERT, self.values(tenant, id)).await?;
        tx.execute(UNSEALED, vec![tenant.into(), id.into()]).await.map(|_| ())
    }
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub created_at: Timestamp,
    /// Who.
    pub created_by: String,
    /// What.
    pub action: String,
    /// To which kind of thing.
    pub record: String,
    /// To which one.
    pub record_id: Option<Uuid>,
    /// What people call it.
    pub subject: Option<String>,
    /// What differs, or what was said.
    pub changes: Option<Json>,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// The program that it came from.
    pub user_agent: Option<String>,
    /// The address that it came from.
    pub address: Option<String>,
    /// What `?q=` looks into.
    pub search_text: String,
}

impl AuditEntry {
    /// The columns that [`AuditEntry::read`] reads, of the table of that alias.
    pub(crate) fn columns(alias: &str) -> String {
        let names = ENTRY_COLUMNS.iter().skip(1).map(|(name, _)| format!("{alias}.{name}"));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Reads a row of [`AuditEntry::columns`], from that column on.
    pub(crate) fn read(row: &Row, at: usize) -> Result<AuditEntry, StoreError> {
        Ok(AuditEntry {
            id: row.uuid(at)?,
            created_at: row.time(at + 1)?,
            created_by: row.string(at + 2)?,
            action: row.string(at + 3)?,
            record: row.string(at + 4)?,
            record_id: row.opt(at + 5, Row::uuid)?,
            subject: row.opt(at + 6, Row::string)?,
            changes: row.opt(at + 7, Row::json)?,
            request_id: row.opt(at + 8, Row::string)?,
            user_agent: row.opt(at + 9, Row::string)?,
            address: row.opt(at + 10, Row::string)?,
            search_text: row.string(at + 11)?,
        })
    }

    /// The whole of it as JSON: what files hold.
    pub fn to_json(&self) -> Json {
        let mut map = Map::new();
        let mut put = |name: &str, value: Json| {
            if !value.is_null() {
                map.insert(name.to_owned(), value);
            }
        };
        put("id", json!(self.id));
        put("created_at", json!(self.created_at.to_string()));
        put("created_by", json!(self.created_by));
        put("action", json!(self.action));
        put("record", json!(self.record));
        put("record_id", json!(self.record_id));
        put("subject", json!(self.subject));
        put("changes", self.changes.clone().unwrap_or(Json::Null));
        put("request_id", json!(self.request_id));
        put("user_agent", json!(self.user_agent));
        put("address", json!(self.address));
        put("search_text", json!(self.search_text));
        Json::Object(map)
    }

    /// Reads what [`AuditEntry::to_json`] wrote; what is not of that form is `None`.
    pub fn from_json(json: &Json) -> Option<AuditEntry> {
        const KNOWN: usize = 12;
        let map = json.as_object().filter(|map| map.len() <= KNOWN)?;
        let text = |name: &str| map.get(name).map_or(Some(None), |it| it.as_str().map(|it| Some(it.to_owned())));
        let uuid = |name: &str| text(name)?.map_or(Some(None), |it| it.parse::<Uuid>().ok().map(Some));
        Some(AuditEntry {
            id: uuid("id")??,
            created_at: Timestamp::parse(&text("created_at")??)?,
            created_by: text("created_by")??,
            action: text("action")??,
            record: text("record")??,
            record_id: uuid("record_id")?,
            subject: text("subject")?,
            changes: map.get("changes").cloned(),
            request_id: text("request_id")?,
            user_agent: text("user_agent")?,
            address: text("address")?,
            search_text: text("search_text")??,
        })
    }

    /// SHA-256 over every column, each with its length before it, and whose entry it is.
    pub fn hash(&self, tenant: Uuid) -> [u8; 32] {
        let mut hash = Fields::begin(b"windlass.audit.entry.1", tenant);
        hash.put(Some(self.id.as_bytes()));
        hash.put(Some(&self.created_at.micros().to_be_bytes()));
        hash.put(Some(self.created_by.as_bytes()));
        hash.put(Some(self.action.as_bytes()));
        hash.put(Some(self.record.as_bytes()));
        hash.put(self.record_id.as_ref().map(|id| &id.as_bytes()[..]));
        hash.put(self.subject.as_ref().map(String::as_bytes));
        let mut changes = String::new();
        if let Some(json) = &self.changes {
            canonical(json, &mut changes);
        }
        hash.put(self.changes.as_ref().map(|_| changes.as_bytes()));
        hash.put(self.request_id.as_ref().map(String::as_bytes));
        hash.put(self.user_agent.as_ref().map(String::as_bytes));
        hash.put(self.address.as_ref().map(String::as_bytes));
        hash.put(Some(self.search_text.as_bytes()));
        hash.end()
    }
}

/// A hash over fields that cannot be told apart wrongly: each has its length before it, and none is not empty.
pub(crate) struct Fields(Sha256);

impl Fields {
    /// Begins with what is hashed, and whose it is.
    pub(crate) fn begin(what: &[u8], tenant: Uuid) -> Fields {
        let mut fields = Fields(Sha256::new());
        fields.put(Some(what));
        fields.put(Some(tenant.as_bytes()));
        fields
    }

    pub(crate) fn put(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes.unwrap_or_default());
    }

    pub(crate) fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// JSON by what it means: keys in order, whole numbers without a point.
fn canonical(json: &Json, text: &mut String) {
    match json {
        Json::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        Json::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            text.push('{');
            for (at, name) in names.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Json::from(name.as_str()).to_string());
                text.push(':');
                canonical(&map[name], text);
            }
            text.push('}');
        }
        Json::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                text.push_str(&format!("{float:.0}").replace("-0", "0"));
            }
            _ => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            id: Uuid::from_u128(7),
            created_at: Timestamp::from_micros(1_700_000_000_123_456),
            created_by: "token:admin".to_owned(),
            action: "create".to_owned(),
            record: "tags".to_owned(),
            record_id: Some(Uuid::from_u128(8)),
            subject: None,
            changes: Some(json!({ "b": [1, 2.5], "a": { "to": "ü\n" } })),
            request_id: None,
            user_agent: Some("curl".to_owned()),
            address: None,
            search_text: "create tags".to_owned(),
        }
    }

    #[test]
    fn json_counts_by_what_it_means() {
        for (one, other) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            ("1.0", "1"),
            ("-0.0", "0"),
            ("-20.0", "-20"),
            ("1e20", "100000000000000000000"),
        ] {
            let text = |json: &str| {
                let mut text = String::new();
                canonical(&serde_json::from_str(json).unwrap(), &mut text);
                text
            };
            assert_eq!(text(one), text(other), "{one}");
        }
    }

    #[test]
    fn files_hold_the_whole_of_it() {
        let entry = entry();
        let read = AuditEntry::from_json(&entry.to_json()).unwrap();
        assert_eq!(read, entry);
        assert_eq!(read.hash(Uuid::nil()), entry.hash(Uuid::nil()));
        assert_ne!(entry.hash(Uuid::nil()), entry.hash(Uuid::max()), "another tenant's is another entry");
    }

    #[test]
    fn every_column_is_in_the_hash() {
        let changes: [fn(&mut AuditEntry); 12] = [
            |it| it.id = Uuid::nil(),
            |it| it.created_at = Timestamp::from_micros(0),
            |it| it.created_by.push('x'),
            |it| it.action.push('x'),
            |it| it.record.push('x'),
            |it| it.record_id = None,
            |it| it.subject = Some(String::new()),
            |it| it.changes = None,
            |it| it.request_id = Some("curl".to_owned()),
            |it| it.user_agent = None,
            |it| it.address = Some("::1".to_owned()),
            |it| it.search_text.clear(),
        ];
        let mut seen = std::collections::HashSet::from([entry().hash(Uuid::nil())]);
        for change in changes {
            let mut other = entry();
            change(&mut other);
            assert!(seen.insert(other.hash(Uuid::nil())), "{other:?}");
        }
    }
}
