//! The rules of the door, as the server reads them: those of every tenant at once.

use uuid::Uuid;
use windlass_engine::id::TenantKey;

use crate::{StoreError, database::Row, store::Store};

/// Rules that are read; a tenant with more has the others not kept.
const RULES_MAX: i64 = 10_000;
const RULES: &str = "select tenant_key, id, name, requests, window_seconds, counted_per, route, workflow, caller \
                     from rate_limit_rules where active = $1 order by tenant_key, name limit $2";

/// A rule that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitRule {
    /// Whose.
    pub tenant: TenantKey,
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// How many requests may come.
    pub requests: u32,
    /// In any span of so many seconds.
    pub window_seconds: u32,
    /// What counts together.
    pub counted_per: CountedPer,
    /// The route that it is about: method and template.
    pub route: Option<String>,
    /// The workflow that it is about.
    pub workflow: Option<String>,
    /// The caller that it is about.
    pub caller: Option<String>,
}

/// What counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedPer {
    /// All of the tenant.
    Tenant,
    /// Those of each caller.
    Caller,
    /// Those of each address.
    Address,
}

impl Store {
    /// The rules that are kept, of every tenant.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn rate_limit_rules(&self) -> Result<Vec<RateLimitRule>, StoreError> {
        let rows = self.database().across_tenants().query(RULES, vec![true.into(), RULES_MAX.into()]).await?;
        rows.iter().map(rule).collect()
    }
}

fn rule(row: &Row) -> Result<RateLimitRule, StoreError> {
    let count = |at| row.int(at).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(RateLimitRule {
        tenant: row.tenant(0)?,
        id: row.uuid(1)?,
        name: row.string(2)?,
        requests: count(3)?,
        window_seconds: count(4)?,
        counted_per: match row.text(5)? {
            "caller" => CountedPer::Caller,
            "address" => CountedPer::Address,
            _ => CountedPer::Tenant,
        },
        route: row.opt(6, Row::string)?,
        workflow: row.opt(7, Row::string)?,
        caller: row.opt(8, Row::string)?,
    })
}
