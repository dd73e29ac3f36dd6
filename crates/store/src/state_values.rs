//! State that outlives a run: values by key, a workflow's or a tenant's.
//!
//! Steps and callers of the API change it in the same way. How often a value is read is counted in memory and written
//! now and then, so a read writes nothing; what a process that is killed had counted since is lost.
//!
//! Invariant: a change reads and writes in one transaction, and happens once for a step's key: a repeated attempt gets
//! what the first one got, and changes nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use windlass_definition::{Timestamp, Value};
use windlass_engine::id::{RunId, TenantKey};

use crate::{
    AuditNote, By, Dialect, Row, StoreError,
    database::{Statement, Tx},
    store::Store,
};

/// Characters of what is said of a value.
pub const STATE_DESCRIPTION_CHARS_MAX: usize = 1_000;
/// The largest value that is kept, as JSON text.
pub const STATE_VALUE_BYTES_MAX: usize = 1 << 20;

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateAddress {
    /// Whose.
    pub tenant: TenantKey,
    /// A workflow's name, or none for the tenant's own.
    pub workflow: Option<String>,
    /// A space of keys.
    pub namespace: String,
    /// The key.
    pub key: String,
}

impl StateAddress {
    fn scope(&self) -> String {
        self.workflow.as_ref().map_or_else(|| "tenant".to_owned(), |name| format!("workflow:{name}"))
    }

    fn params(&self) -> Vec<crate::Value> {
        vec![self.tenant.into(), self.scope().into(), (&self.namespace).into(), (&self.key).into()]
    }
}

/// A value that is about to be changed.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// Where the value is.
    pub address: StateAddress,
    /// Who changes it.
    pub by: StateChanger,
}

/// Who changes a value.
#[derive(Debug, Clone)]
pub enum StateChanger {
    /// A step of a run: the same key changes it once.
    Step {
        /// The run.
        run: RunId,
        /// The step's idempotency key.
        key: String,
    },
    /// Somebody else: that is told to the audit.
    Caller {
        /// Who.
        by: By,
        /// The version that the caller has seen, 0 for none; any, when left out.
        expect: Option<i64>,
        /// What the audit calls the change.
        action: &'static str,
        /// What people are told of the value from now on, empty for nothing; as before, when left out.
        description: Option<String>,
    },
}

/// A value and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StateEntry {
    /// A space of keys.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// What it is for, in somebody's words.
    pub description: Option<String>,
    /// Counts its changes, from 1.
    pub version: i64,
    /// Since when it is there, where that is known.
    pub created_at: Option<Timestamp>,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// When it goes.
    pub expires_at: Option<Timestamp>,
    /// When it was last read, to about a minute.
    pub accessed_at: Option<Timestamp>,
    /// How often it was read, up to about a minute ago.
    pub access_count: i64,
}

/// Which values are listed.
#[derive(Debug, Clone, Default)]
pub struct FindState {
    /// A workflow's, or the tenant's own.
    pub workflow: Option<String>,
    /// Of this namespace; of all when left out.
    pub namespace: Option<String>,
    /// How their keys begin.
    pub prefix: String,
    /// Behind this namespace and key.
    pub after: Option<(String, String)>,
}

/// Reads that are counted and not written yet.
#[derive(Debug, Default)]
pub(crate) struct StateReads(Mutex<HashMap<StateAddress, (i64, Timestamp)>>);

impl StateReads {
    /// Values whose reads are counted at once; reads of others are not counted until these are written.
    const VALUES_MAX: usize = 10_000;

    fn count(&self, address: &StateAddress, now: Timestamp) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(address) {
            *count = (count.0 + 1, now);
        } else if counts.len() < Self::VALUES_MAX {
            counts.insert(address.clone(), (1, now));
        }
    }

    fn take(&self) -> HashMap<StateAddress, (i64, Timestamp)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What becomes of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum StateWrite {
    /// It stays as it is.
    Keep,
    /// It is this from now on.
    Put(Value, Expiry),
    /// It is gone.
    Remove,
}

/// How long a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// For good.
    Never,
    /// As long as the value before it was to be kept.
    AsBefore,
    /// For that long from now on.
    After(Duration),
}

/// What becomes of a value, and what the step gives.
#[derive(Debug, Clone, PartialEq)]
pub struct StateOutcome {
    /// What becomes of the value.
    pub write: StateWrite,
    /// The step's output.
    pub output: Value,
}

const GET: &str = "select value, expires_at from state_values \
                   where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4 and version > 0";
const LOCK: &str = "select value, version, expires_at from state_values \
                    where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
// A row of version 0 is no value: it is there to be locked.
const PLACE: &str = "insert into state_values (tenant_key, scope, namespace, key, value, version, created_at, updated_at) \
                     values ($1, $2, $3, $4, 'null', 0, $5, $5) on conflict (tenant_key, scope, namespace, key) do nothing";
const PUT: &str = "update state_values set value = $5, version = version + 1, updated_at = $6 \
                   where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const PUT_UNTIL: &str = "update state_values set value = $5, version = version + 1, updated_at = $6, expires_at = $7 \
                         where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const DESCRIBE: &str = "update state_values set description = $5 \
                        where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const REMOVE: &str = "delete from state_values where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const REMOVE_PLACE: &str = "delete from state_values \
                            where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4 and version = 0";
const RENEW: &str = "update state_values set version = 0, expires_at = null, created_at = $5, accessed_at = null, \
                     access_count = 0, description = null where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const APPLIED: &str = "select result from state_applied where tenant_key = $1 and step_key = $2";
const APPLY: &str = "insert into state_applied (tenant_key, step_key, run_id, result, applied_at) \
                     values ($1, $2, $3, $4, $5)";
const ENTRY: &str = "namespace, key, value, version, created_at, updated_at, expires_at, accessed_at, access_count, \
                     description";
const COUNT: &str = "update state_values set access_count = access_count + $5, accessed_at = $6 \
                     where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const EXPIRE: &str = "delete from state_values where (tenant_key, scope, namespace, key) in \
    (select tenant_key, scope, namespace, key from state_values where expires_at <= $1 limit 500)";

impl Store {
    /// A value as it is now.
    pub async fn state_value(&self, address: &StateAddress) -> Result<Option<Value>, StoreError> {
        let now = self.now();
        let Some(row) = self.database().of(address.tenant).query_opt(GET, address.params()).await? else {
            return Ok(None);
        };
        let expired = row.opt(1, Row::time)?.is_some_and(|at| at <= now);
        if expired {
            return Ok(None);
        }
        self.inner.state_reads.count(address, now);
        read(row.text(0)?).map(Some)
    }

    /// A value and what is known of it; that counts as a read.
    pub async fn state_entry(&self, address: &StateAddress) -> Result<Option<StateEntry>, StoreError> {
        let sql = format!(
            "select {ENTRY} from state_values where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4 \
             and version > 0 and (expires_at is null or expires_at > $5)"
        );
        let now = self.now();
        let row =
            self.database().of(address.tenant).query_opt(sql, [address.params(), vec![now.into()]].concat()).await?;
        if row.is_some() {
            self.inner.state_reads.count(address, now);
        }
        row.as_ref().map(entry).transpose()
    }

    /// Values by their namespace and key; that counts as no read.
    pub async fn list_state(
        &self,
        tenant: TenantKey,
        find: &FindState,
        limit: i64,
    ) -> Result<Vec<StateEntry>, StoreError> {
        let scope = find.workflow.as_ref().map_or_else(|| "tenant".to_owned(), |name| format!("workflow:{name}"));
        let (space, key) = find.after.clone().unwrap_or_default();
        let mut params: Vec<crate::Value> = vec![
            tenant.into(),
            scope.into(),
            self.now().into(),
            limit.clamp(1, 1_001).into(),
            find.prefix.as_str().into(),
            space.into(),
            key.into(),
        ];
        let mut of = String::new();
        if let Some(namespace) = &find.namespace {
            params.push(namespace.into());
            of = " and namespace = $8".to_owned();
        }
        if find.after.is_none() {
            // Nothing is before the first; an empty key is none.
            of.push_str(" and (namespace, key) >= ($6, $7)");
        } else {
            of.push_str(" and (namespace, key) > ($6, $7)");
        }
        let sql = format!(
            "select {ENTRY} from state_values where tenant_key = $1 and scope = $2 and version > 0 \
             and (expires_at is null or expires_at > $3) and substr(key, 1, length($5)) = $5{of} \
             order by namespace, key limit $4"
        );
        self.database().of(tenant).query(sql, params).await?.iter().map(entry).collect()
    }

    /// Writes down how often values were read since the last time; gives how many values.
    ///
    /// # Errors
    /// The database does not answer: then these reads are not counted.
    pub async fn flush_state_reads(&self) -> Result<usize, StoreError> {
        let counts = self.inner.state_reads.take();
        let statements: Vec<(TenantKey, Statement)> = counts
            .into_iter()
            .map(|(address, (count, at))| {
                let count = Statement::new(COUNT, [address.params(), vec![count.into(), at.into()]].concat());
                (address.tenant, count)
            })
            .collect();
        let count = statements.len();
        for chunk in statements.chunks(500) {
            self.database().write_each(chunk.to_vec()).await?;
        }
        Ok(count)
    }

    /// Changes a value once: `decide` sees it as it is and says what becomes of it. Nobody else changes it meanwhile.
    /// What `decide` refuses is in the inner result, and changes nothing.
    pub async fn change_state<E, F>(&self, change: StateChange, decide: F) -> Result<Result<Value, E>, StoreError>
    where
        E: Send + 'static,
        F: FnOnce(Option<Value>) -> Result<StateOutcome, E> + Send + 'static,
    {
        let now = self.now();
        let is_caller = matches!(change.by, StateChanger::Caller { .. });
        let within = self.database().of(change.address.tenant);
        let changed = within.transact(move |tx| Box::pin(async move { apply(tx, &change, now, decide).await })).await?;
        if is_caller {
            self.audit_noted();
        }
        Ok(changed)
    }

    /// Removes values whose time is over, some hundreds at once; gives how many, and is called again until that is none.
    pub async fn expire_state(&self) -> Result<u64, StoreError> {
        let params = vec![self.now().into()];
        self.database().across_tenants().execute(EXPIRE, params).await.map(|written| written.count)
    }
}

async fn apply<E>(
    tx: &mut Tx,
    change: &StateChange,
    now: Timestamp,
    decide: impl FnOnce(Option<Value>) -> Result<StateOutcome, E>,
) -> Result<Result<Value, E>, StoreError> {
    let address = change.address.params();
    tx.execute(PLACE, [address.clone(), vec![now.into()]].concat()).await?;
    let lock = match tx.dialect() {
        Dialect::Sqlite => LOCK.to_owned(),
        Dialect::Postgres => format!("{LOCK} for update"),
    };
    let rows = tx.query(lock, address.clone()).await?;
    let row = rows.first().ok_or_else(|| StoreError::damaged("a row that was just written is not there"))?;
    if let Some(result) = applied(tx, change).await? {
        tx.execute(REMOVE_PLACE, address).await?;
        return Ok(Ok(result));
    }
    let gone = row.int(1)? == 0 || row.opt(2, Row::time)?.is_some_and(|at| at <= now);
    let current = if gone { None } else { Some(read(row.text(0)?)?) };
    if gone {
        // What is over passes nothing on, its end included.
        tx.execute(RENEW, [address.clone(), vec![now.into()]].concat()).await?;
    }
    let version = if gone { 0 } else { row.int(1)? };
    if let StateChanger::Caller { expect: Some(expect), .. } = &change.by
        && *expect != version
    {
        // What was done so far is taken back.
        return Err(StoreError::Conflict(format!("the value is at version {version}, not {expect}")));
    }
    let outcome = match decide(current) {
        Ok(outcome) => outcome,
        Err(refused) => {
            tx.execute(REMOVE_PLACE, address).await?;
            return Ok(Err(refused));
        }
    };
    let kept = outcome.write == StateWrite::Keep;
    write(tx, change, outcome.write, now).await?;
    match &change.by {
        StateChanger::Step { run, key } => {
            let result = outcome.output.to_string();
            let whose = vec![change.address.tenant.into(), key.into(), (*run).into()];
            tx.execute(APPLY, [whose, vec![result.into(), now.into()]].concat()).await?;
        }
        StateChanger::Caller { by, action, description, .. } if !kept => {
            let StateAddress { tenant, workflow, namespace, key } = &change.address;
            let mut changes = json!({ "workflow": workflow, "namespace": namespace, "version": { "from": version } });
            if let Some(description) = description {
                changes["description"] = json!({ "to": description });
            }
            let note = AuditNote {
                action,
                record: "state_values",
                record_id: None,
                subject: Some(key.clone()),
                // The value itself may be anything, also what only its workflow is to know.
                changes,
                by: by.clone(),
                at: now,
            };
            note.write(tx, *tenant).await?;
        }
        StateChanger::Caller { .. } => {}
    }
    Ok(Ok(outcome.output))
}

async fn applied(tx: &mut Tx, change: &StateChange) -> Result<Option<Value>, StoreError> {
    let StateChanger::Step { key, .. } = &change.by else { return Ok(None) };
    let params = vec![change.address.tenant.into(), key.into()];
    let rows = tx.query(APPLIED, params).await?;
    rows.first().map(|row| read(row.text(0)?)).transpose()
}

async fn write(tx: &mut Tx, change: &StateChange, write: StateWrite, now: Timestamp) -> Result<(), StoreError> {
    let address = change.address.params();
    match write {
        StateWrite::Keep => tx.execute(REMOVE_PLACE, address).await?,
        StateWrite::Remove => tx.execute(REMOVE, address).await?,
        StateWrite::Put(value, expiry) => {
            let text = value.to_string();
            if text.len() > STATE_VALUE_BYTES_MAX {
                let limit = format!("a state value of {} bytes; the limit is {STATE_VALUE_BYTES_MAX}", text.len());
                return Err(StoreError::Invalid(limit));
            }
            let put = [address.clone(), vec![text.into(), now.into()]].concat();
            match expiry {
                Expiry::AsBefore => tx.execute(PUT, put).await?,
                Expiry::Never => tx.execute(PUT_UNTIL, [put, vec![crate::Value::Null]].concat()).await?,
                Expiry::After(ttl) => tx.execute(PUT_UNTIL, [put, vec![now.after(ttl).into()]].concat()).await?,
            };
            let StateChanger::Caller { description: Some(description), .. } = &change.by else { return Ok(()) };
            let description = Some(description.as_str()).filter(|text| !text.is_empty());
            tx.execute(DESCRIBE, [address, vec![description.into()]].concat()).await?
        }
    };
    Ok(())
}

fn entry(row: &Row) -> Result<StateEntry, StoreError> {
    Ok(StateEntry {
        namespace: row.string(0)?,
        key: row.string(1)?,
        value: read(row.text(2)?)?,
        version: row.int(3)?,
        created_at: row.opt(4, Row::time)?,
        updated_at: row.time(5)?,
        expires_at: row.opt(6, Row::time)?,
        accessed_at: row.opt(7, Row::time)?,
        access_count: row.int(8)?,
        description: row.opt(9, Row::string)?,
    })
}

fn read(text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::damaged("a state value is no JSON"))
}
