//! State that outlives a run: values by key, a workflow's or a tenant's.
//!
//! Invariant: a change reads and writes in one transaction, and happens once for a step's key: a repeated attempt gets
//! what the first one got, and changes nothing.

use std::time::Duration;

use windlass_definition::{Timestamp, Value};
use windlass_engine::id::{RunId, TenantKey};

use crate::{Dialect, Row, StoreError, database::Tx, store::Store};

/// The largest value that is kept, as JSON text.
pub const STATE_VALUE_BYTES_MAX: usize = 1 << 20;

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Who changes a value: the same key changes it once.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// Where the value is.
    pub address: StateAddress,
    /// The run.
    pub run: RunId,
    /// The step's idempotency key.
    pub step_key: String,
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
const PLACE: &str = "insert into state_values (tenant_key, scope, namespace, key, value, version, updated_at) \
                     values ($1, $2, $3, $4, 'null', 0, $5) on conflict (tenant_key, scope, namespace, key) do nothing";
const PUT: &str = "update state_values set value = $5, version = version + 1, updated_at = $6 \
                   where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const PUT_UNTIL: &str = "update state_values set value = $5, version = version + 1, updated_at = $6, expires_at = $7 \
                         where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const REMOVE: &str = "delete from state_values where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const REMOVE_PLACE: &str = "delete from state_values \
                            where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4 and version = 0";
const RENEW: &str = "update state_values set version = 0, expires_at = null \
                     where tenant_key = $1 and scope = $2 and namespace = $3 and key = $4";
const APPLIED: &str = "select result from state_applied where tenant_key = $1 and step_key = $2";
const APPLY: &str = "insert into state_applied (tenant_key, step_key, run_id, result, applied_at) \
                     values ($1, $2, $3, $4, $5)";
const EXPIRE: &str = "delete from state_values where (tenant_key, scope, namespace, key) in \
    (select tenant_key, scope, namespace, key from state_values where expires_at <= $1 limit 500)";

impl Store {
    /// A value as it is now.
    pub async fn state_value(&self, address: &StateAddress) -> Result<Option<Value>, StoreError> {
        let now = self.now();
        let Some(row) = self.database().query_opt(GET, address.params()).await? else { return Ok(None) };
        let expired = row.opt(1, Row::time)?.is_some_and(|at| at <= now);
        if expired { Ok(None) } else { read(row.text(0)?).map(Some) }
    }

    /// Changes a value once: `decide` sees it as it is and says what becomes of it. Nobody else changes it meanwhile.
    /// What `decide` refuses is in the inner result, and changes nothing.
    pub async fn change_state<E, F>(&self, change: StateChange, decide: F) -> Result<Result<Value, E>, StoreError>
    where
        E: Send + 'static,
        F: FnOnce(Option<Value>) -> Result<StateOutcome, E> + Send + 'static,
    {
        let now = self.now();
        self.database().transact(move |tx| Box::pin(async move { apply(tx, &change, now, decide).await })).await
    }

    /// Removes values whose time is over, some hundreds at once; gives how many, and is called again until that is none.
    pub async fn expire_state(&self) -> Result<u64, StoreError> {
        let params = vec![self.now().into()];
        self.database().execute(EXPIRE, params).await.map(|written| written.count)
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
        tx.execute(RENEW, address.clone()).await?;
    }
    let outcome = match decide(current) {
        Ok(outcome) => outcome,
        Err(refused) => {
            tx.execute(REMOVE_PLACE, address).await?;
            return Ok(Err(refused));
        }
    };
    write(tx, change, outcome.write, now).await?;
    let result = outcome.output.to_string();
    let whose = vec![change.address.tenant.into(), (&change.step_key).into(), change.run.into()];
    tx.execute(APPLY, [whose, vec![result.into(), now.into()]].concat()).await?;
    Ok(Ok(outcome.output))
}

async fn applied(tx: &mut Tx, change: &StateChange) -> Result<Option<Value>, StoreError> {
    let params = vec![change.address.tenant.into(), (&change.step_key).into()];
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
            let put = [address, vec![text.into(), now.into()]].concat();
            match expiry {
                Expiry::AsBefore => tx.execute(PUT, put).await?,
                Expiry::Never => tx.execute(PUT_UNTIL, [put, vec![crate::Value::Null]].concat()).await?,
                Expiry::After(ttl) => tx.execute(PUT_UNTIL, [put, vec![now.after(ttl).into()]].concat()).await?,
            }
        }
    };
    Ok(())
}

fn read(text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::damaged("a state value is no JSON"))
}
