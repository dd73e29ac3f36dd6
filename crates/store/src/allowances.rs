//! Allowances: how many active runs of a tenant with a quota this node may have, counted for all nodes at once.
//!
//! A node writes what it wants in a transaction of its own, never in a run's commit, and gets what the quota leaves of
//! it. Invariant: an allowance grows beyond what a node's runs use only while those of all nodes add up to the quota at
//! most. A dead node's counts for a moment after it was first
//! seen to be gone: its runs are being taken over, and whoever takes them says so by then.

use windlass_engine::id::TenantKey;

use crate::{
    StoreError,
    database::{Database, Row, Statement, Value},
    store::Store,
};

/// What a node wants of a tenant's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowanceWish {
    /// Whose.
    pub tenant: TenantKey,
    /// Active runs that the node has: the others count them, whatever it may have.
    pub used: u32,
    /// How many it would like to be allowed.
    pub wanted: u32,
}

/// What a node may have of a tenant's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Whose.
    pub tenant: TenantKey,
    /// How many active runs it may have: those that it has beyond that end, and no other takes their place.
    pub runs: u32,
    /// How many the others take it to have: what it may have, or has.
    pub counted: u32,
    /// The quota that this was taken of; none when the tenant has none any more.
    pub quota: Option<u32>,
}

/// Any number will do, as long as everybody takes the same one.
const LOCK: i64 = 0x57_4c_51;
// In the order of the tenants: two who want the same ones wait for each other in one order.
const TAKE_TURNS: &str = "select pg_advisory_xact_lock($1::integer, t.tenant_key) \
                          from (select unnest($2::integer[]) as tenant_key) t";
const MARK_GONE: &str = "update run_allowances a set gone_at = clock_timestamp() where a.tenant_key = any($1::integer[]) \
                         and a.gone_at is null \
                         and not exists (select 1 from nodes n where n.id = a.node_id and n.state = 'alive')";
const FORGET_GONE: &str = "delete from run_allowances where tenant_key = any($1::integer[]) \
                           and gone_at < clock_timestamp() - interval '2 seconds'";
// A node that was buried meanwhile gets nothing.
const SETTLE: &str = "with asked as (select * from unnest($1::integer[], $2::bigint[], $3::bigint[]) \
                      as w(tenant_key, used, wanted)), \
                      fair as (select w.tenant_key, t.max_concurrent_runs as quota, w.used, \
                      greatest(0, least(w.wanted, coalesce(t.max_concurrent_runs - coalesce( \
                      (select sum(o.runs) from run_allowances o where o.tenant_key = w.tenant_key and o.node_id <> $4::uuid), \
                      0), w.wanted)))::bigint as runs from asked w join tenants t on t.key = w.tenant_key), \
                      kept as (insert into run_allowances (tenant_key, node_id, runs) \
                      select f.tenant_key, n.id, greatest(f.runs, f.used) from fair f cross join nodes n \
                      where n.id = $4 and n.state = 'alive' \
                      on conflict (tenant_key, node_id) do update set runs = excluded.runs returning tenant_key, runs) \
                      select k.tenant_key, f.runs, k.runs, f.quota from kept k join fair f on f.tenant_key = k.tenant_key";
const DROP_EMPTY: &str =
    "delete from run_allowances where tenant_key = any($1::integer[]) and node_id = $2::uuid and runs = 0";

impl Store {
    /// Writes what this node wants of these tenants' quotas, each named once; what it may have of them then. Nothing
    /// when the node is not alive any more, and on SQLite, where one server has all.
    ///
    /// # Errors
    /// The database does not answer; then it may or may not have been written.
    pub async fn settle_allowances(&self, mut wishes: Vec<AllowanceWish>) -> Result<Vec<Allowance>, StoreError> {
        if matches!(self.database(), Database::Sqlite(_)) || wishes.is_empty() {
            return Ok(Vec::new());
        }
        wishes.sort_unstable_by_key(|wish| wish.tenant);
        let ints = |of: fn(&AllowanceWish) -> i64| Value::Ints(wishes.iter().map(of).collect());
        let tenants = || ints(|wish| wish.tenant.0.into());
        let node = || Value::Uuid(self.inner.ownership.node());
        let settle = vec![tenants(), ints(|wish| wish.used.into()), ints(|wish| wish.wanted.into()), node()];
        let flight = vec![
            Statement::new(TAKE_TURNS, vec![LOCK.into(), tenants()]),
            Statement::new(MARK_GONE, vec![tenants()]),
            Statement::new(FORGET_GONE, vec![tenants()]),
            Statement::new(SETTLE, settle),
            Statement::new(DROP_EMPTY, vec![tenants(), node()]),
        ];
        let mut written = self.database().across_tenants().write(flight).await?;
        written.truncate(4);
        let rows = written.pop().map(|written| written.rows).unwrap_or_default();
        let count = |row: &Row, at| row.int(at).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let allowance = |row: &Row| {
            let (runs, counted) = (count(row, 1)?, count(row, 2)?);
            Ok(Allowance { tenant: row.tenant(0)?, runs, counted, quota: row.opt(3, count)? })
        };
        rows.iter().map(allowance).collect()
    }
}
